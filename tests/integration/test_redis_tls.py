"""Redis over TLS: certificates made here, client certificates required, and all that can be wrong."""

import functools
import json
import os
import subprocess
import time
import unittest

from harness import (RELAXED_PLANS, SLOW, Cluster, Redis, ctl, free_bus_port, free_ports, new_directory,
                     say, wait_for, xxh3)
from test_start import node_words, run


@functools.lru_cache
def tls_missing():
    """Why this build cannot; empty if it can."""
    code, out = run("sluice-node", *node_words("rediss://127.0.0.1:%d" % free_ports()))
    assert code == 1, out
    return "the build has no TLS to Redis" if "this build has no TLS to Redis" in out else ""


def openssl(*words, stdin=""):
    done = subprocess.run(["openssl"] + list(words), input=stdin, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout


class Authority:
    """Makes certificates that it signs: NAME.crt and NAME.key in the directory."""

    def __init__(self, directory, name):
        self.directory, self.name = directory, name
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                "-nodes", "-days", "2", "-subj", "/CN=" + name, "-keyout", self.path(name + ".key"),
                "-out", self.crt)

    def path(self, name):
        return os.path.join(self.directory, name)

    @property
    def crt(self):
        return self.path(self.name + ".crt")

    def sign(self, name, subject, more=()):
        """`subject` is what stands in subjectAltName, like IP:127.0.0.1."""
        with open(self.path(name + ".ext"), "w") as file:
            file.write("subjectAltName=%s\n" % subject)
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                "-nodes", "-subj", "/CN=" + name, "-keyout", self.path(name + ".key"), "-out",
                self.path(name + ".csr"))
        openssl("x509", "-req", "-in", self.path(name + ".csr"), "-CA", self.crt, "-CAkey",
                self.path(self.name + ".key"), "-CAcreateserial", "-days", "2", "-extfile",
                self.path(name + ".ext"), "-out", self.path(name + ".crt"), *more)
        return self.path(name + ".crt"), self.path(name + ".key")


class TlsRedis(Redis):
    """Plain at `port` for who looks in, TLS with client certificates at `tls_port`."""

    def __init__(self, directory, certificate, ca, name="redis", args=(), tls_port=None):
        self.tls_port = tls_port or free_ports()
        super().__init__(directory, name=name, args=[
            "--tls-port", self.tls_port, "--tls-cert-file", certificate[0], "--tls-key-file",
            certificate[1], "--tls-ca-cert-file", ca, "--tls-auth-clients", "yes"] + list(args))

    @property
    def tls_url(self):
        return "rediss://127.0.0.1:%d" % self.tls_port


class WithoutTlsTest(unittest.TestCase):
    def test_what_needs_tls_says_so(self):
        code, out = run("sluice-node", *node_words("redis://127.0.0.1:1", redis_ca="/ca.crt"))
        self.assertEqual(code, 1, out)
        self.assertIn("rediss://", out)
        code, out = run("sluice-node", *node_words("rediss://127.0.0.1:1", redis_cert="/my.crt"))
        self.assertEqual(code, 1, out)
        if tls_missing():
            self.assertIn("hiredis_ssl", out)
            self.assertIn("deploy/install-deps.sh", out)
        else:
            self.assertIn("go together", out)


class TlsTest(unittest.TestCase):
    smoke = False

    def setUp(self):
        if tls_missing():
            self.skipTest(tls_missing())
        self.directory = new_directory()
        self.ours = Authority(self.directory, "ours")
        self.server = self.ours.sign("server", "IP:127.0.0.1")
        self.client = self.ours.sign("client", "DNS:node")

    def redis(self, certificate=None):
        redis = TlsRedis(self.directory, certificate or self.server, self.ours.crt)
        self.addCleanup(redis.end)
        return redis

    def files(self, ca=None, client=None):
        client = client or self.client
        return ["--redis-ca", ca or self.ours.crt, "--redis-cert", client[0], "--redis-key",
                client[1]]

    def test_a_life_over_tls(self):
        redis = self.redis()
        cluster = Cluster(nodes=2, redis=redis, store_url=redis.tls_url, plans=RELAXED_PLANS,
                          node_args=self.files())
        cluster.__enter__()
        self.addCleanup(cluster.end)
        keys = [b"user-%06d" % i for i in range(10000 // SLOW)]
        with cluster.connect() as connection:
            for at in range(0, len(keys), 1000):
                for answer in connection.take_many([[key, 3, "slow"]
                                                    for key in keys[at:at + 1000]]):
                    self.assertTrue(answer.allowed and not answer.degraded)
        before = cluster.levels(keys, "slow")
        with redis.client() as client:
            wait_for("all is stored", lambda: client.bucket_count() == len(keys))
            clients = client.call("CLIENT", "LIST").decode()
        # Two shards and a membership each, all of them over TLS.
        tls = [line for line in clients.splitlines() if "laddr=127.0.0.1:%d " % redis.tls_port in line]
        self.assertGreaterEqual(len(tls), 6)
        for node in cluster.nodes:
            node.kill9()
        began = time.monotonic()
        for node in cluster.nodes:
            node.start()
        cluster.wait_ready()
        back_s = time.monotonic() - began
        self.assertEqual(cluster.levels(keys, "slow"), before)
        # Redis goes and comes back; takes go on; what they left is written over new connections.
        redis.kill9()
        with cluster.connect() as connection:
            connection.take_many([[key, 1, "slow"] for key in keys[:1000]])
        redis.start()
        for node in cluster.nodes:
            with node.control() as control:
                wait_for("connected again",
                         lambda: control.call("node.status")["store"]["up"])
            self.assertEqual(node.terminate(), 0)
            node.start()
        cluster.wait_ready()
        after = cluster.levels(keys, "slow")
        self.assertEqual([before[key] - after[key] for key in keys],
                         [1] * 1000 + [0] * (len(keys) - 1000))
        say("%d buckets read back over TLS %.2f s after both nodes were killed" %
            (len(keys), back_s))
        cluster.__exit__(None, None, None)

    def masters(self):
        """Two masters of a Redis Cluster that speak TLS to each other, too. Nodes are told of the
        second only, and learn from it where the first is."""
        servers = []
        for name, first, last in (("one", 0, 8191), ("two", 8192, 16383)):
            server = TlsRedis(self.directory, self.server, self.ours.crt, name, [
                "--cluster-enabled", "yes", "--cluster-config-file", name + ".conf", "--tls-cluster",
                "yes", "--tls-replication", "yes"], free_bus_port())
            self.addCleanup(server.end)
            servers.append(server.start())
            with server.client() as client:
                client.call("CLUSTER", "SET-CONFIG-EPOCH", len(servers))
                client.call("CLUSTER", "ADDSLOTSRANGE", first, last)
        with servers[0].client() as client:
            client.call("CLUSTER", "MEET", "127.0.0.1", servers[1].tls_port)
        for server in servers:
            with server.client() as client:
                wait_for("the cluster is whole", lambda: b"cluster_state:ok" in client.call(
                    "CLUSTER", "INFO") and client.call("CLUSTER", "NODES").count(b" connected") == 2)
        return servers

    def test_a_redis_cluster_over_tls(self):
        servers = self.masters()
        url = "rediss+cluster://127.0.0.1:%d" % servers[1].tls_port
        cluster = Cluster(nodes=1, slots=64, redis=servers[0], plans=RELAXED_PLANS, store_url=url,
                          node_args=self.files())
        cluster.__enter__()
        self.addCleanup(cluster.end)
        keys = [b"user-%05d" % i for i in range(2000)]

        def take(cost):
            with cluster.connect() as connection:
                ids = [connection.send("take", key, cost, "slow", {"deadline_ms": 20000})
                       for key in keys]
                for request in ids:
                    answer = connection.result(request, 30)
                    self.assertEqual((answer[0], answer[5]), (True, 0))

        def call(server, *words):
            with server.client() as client:
                return client.call(*words)

        take(3)
        cluster.wait_written()
        held = [sum(call(server, "HLEN", name) for name in call(server, "KEYS", "*:buckets"))
                for server in servers]
        self.assertEqual(sum(held), len(keys))
        self.assertTrue(all(held), held)
        for server in servers:
            clients = call(server, "CLIENT", "LIST").decode().splitlines()
            tls = [line for line in clients if "laddr=127.0.0.1:%d " % server.tls_port in line]
            self.assertGreaterEqual(len(tls), 2)  # two shards
        # One slot goes to the other master: that is answered with its name and port for TLS.
        name = "sluice:{%d}:buckets" % (xxh3(keys[0]) & 63)
        slot = call(servers[0], "CLUSTER", "KEYSLOT", name)
        source = servers[0] if slot <= 8191 else servers[1]
        target = servers[1] if source is servers[0] else servers[0]
        ids = {server: call(server, "CLUSTER", "MYID") for server in servers}
        call(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        call(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        for key in call(source, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            self.assertEqual(call(source, "MIGRATE", "127.0.0.1", target.tls_port, key, 0, 5000), b"OK")
        for server in (target, source):
            call(server, "CLUSTER", "SETSLOT", slot, "NODE", ids[target])
        take(2)
        cluster.wait_written()
        self.assertGreater(call(target, "HLEN", name), 0)
        code, out, err = ctl("backup", os.path.join(new_directory(), "backup"), "--json", "--redis",
                             url, *self.files())
        self.assertEqual(code, 0, out + err)
        self.assertEqual(json.loads(out)["buckets"], len(keys))
        # A master is killed and comes back; then the node is, and reads what both have.
        servers[1].kill9()
        take(1)
        servers[1].start()
        cluster.wait_written()
        cluster.nodes[0].kill9()
        cluster.nodes[0].start()
        cluster.wait_ready()
        self.assertEqual(set(cluster.levels(keys, "slow").values()), {1000 - 6})
        say("two masters over TLS had %d and %d buckets; a slot moved, a master and the node were "
            "killed, and every count is exact" % tuple(held))

    def refused(self, url, *args):
        began = time.monotonic()
        code, out = run("sluice-node", *node_words(url), *args)
        self.assertEqual(code, 1, out)
        self.assertLess(time.monotonic() - began, 5 * SLOW)
        return out

    def test_what_is_wrong_is_named(self):
        redis = self.redis().start()
        theirs = Authority(self.directory, "theirs")
        stranger = theirs.sign("stranger", "DNS:node")
        expired = self.ours.sign("expired", "DNS:node", ["-not_before", "20200101000000Z",
                                                         "-not_after", "20200102000000Z"]) \
            if b"not_before" in subprocess.run(["openssl", "x509", "-help"],
                                               stderr=subprocess.PIPE).stderr else None
        out = self.refused(redis.tls_url, *self.files(ca=theirs.crt))
        self.assertIn("certificate is refused", out)
        out = self.refused(redis.tls_url, "--redis-ca", self.ours.crt)  # none of ours
        self.assertIn("refuses us", out)
        self.assertIn("certificate", out)
        out = self.refused(redis.tls_url, *self.files(client=stranger))
        self.assertIn("refuses us", out)
        if expired:
            self.assertIn("expired", self.refused(redis.tls_url, *self.files(client=expired)))
        # The right certificate, for somebody else.
        out = self.refused(redis.tls_url, *self.files(), "--redis-server-name", "redis.example")
        self.assertRegex(out, "(?i)hostname mismatch")
        # Without TLS where TLS is, and with TLS where none is.
        out = self.refused("redis://127.0.0.1:%d" % redis.tls_port)
        self.assertIn("rediss://", out)
        out = self.refused("rediss://127.0.0.1:%d" % redis.port, *self.files())
        self.assertIn("redis://", out)
        self.assertIn("without TLS", out)
        # Files.
        out = self.refused(redis.tls_url, *self.files(ca="/no/such/ca.crt"))
        self.assertIn("/no/such/ca.crt", out)
        out = self.refused(redis.tls_url, *self.files(client=(self.client[0], self.server[1])))
        self.assertIn("not the certificate's", out)

    def test_a_name_is_checked(self):
        """A certificate for a name, asked for by that name, at an address that it does not say."""
        redis = self.redis(self.ours.sign("named", "DNS:redis.example")).start()
        self.assertRegex(self.refused(redis.tls_url, *self.files()), "(?i)IP address mismatch")
        cluster = Cluster(nodes=1, redis=redis, store_url=redis.tls_url,
                          node_args=self.files() + ["--redis-server-name", "redis.example"])
        cluster.__enter__()
        self.addCleanup(cluster.end)
        with cluster.connect() as connection:
            self.assertTrue(connection.take(b"a", 1, "slow").allowed)
        cluster.__exit__(None, None, None)


if __name__ == "__main__":
    unittest.main()
