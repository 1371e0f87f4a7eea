"""Redis over TLS: certificates made here, client certificates required, and all that can be wrong."""

import functools
import os
import subprocess
import time
import unittest

from harness import RELAXED_PLANS, SLOW, Cluster, Redis, free_ports, new_directory, say, wait_for
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

    def __init__(self, directory, certificate, ca, name="redis", args=()):
        self.tls_port = free_ports()
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
