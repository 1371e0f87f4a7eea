"""What an acknowledged write means: `--ack memory | aof | replicas:N`, checked against real servers
at the start, while they change, and after they were replaced."""

import os
import signal
import time
import unittest

from harness import (PLANS, RELAXED_PLANS, SLOW, SNAPSHOT_S, Cluster, Redis, end_all, free_ports, new_directory, say,
                     wait_for)
from sp_client import Take
from test_start import node_words, run


# A master waits five seconds for more replicas, unless it is told not to.
SYNC_AT_ONCE = ["--repl-diskless-sync-delay", "0"]


class Replica(Redis):
    def __init__(self, directory, master, name="replica"):
        super().__init__(directory, name=name, args=["--replicaof", "127.0.0.1", master.port])

    def wait_synced(self):
        with self.client() as client:
            wait_for("the replica is in step", lambda: b"master_link_status:up" in client.call(
                "INFO", "replication"))
        return self


def written(cluster):
    with cluster.control() as control:
        shards = control.call("node.status")["shards"]
    return {name: sum(shard["counters"][name] for shard in shards)
            for name in ("writes", "writes_failed", "buckets_dirty")}


def store_up(cluster):
    with cluster.control() as control:
        return control.call("node.status")["store"]["up"]


class AckTest(unittest.TestCase):
    smoke = False

    def setUp(self):
        self.directory = new_directory()
        self.addCleanup(end_all)

    def open_cluster(self, redis, ack, plans=RELAXED_PLANS):
        cluster = Cluster(nodes=1, redis=redis, node_args=["--ack", ack], plans=plans)
        cluster.__enter__()
        self.addCleanup(cluster.end)
        self.cluster = cluster
        return cluster

    def take(self, *keys):
        with self.cluster.connect() as connection:  # one by one, for their deadline
            ids = [connection.send("take", key, 1, "slow", {"deadline_ms": 20000}) for key in keys]
            for request_id in ids:
                answer = Take(connection.result(request_id, 30))
                self.assertTrue(answer.allowed and not answer.degraded, answer)

    def wait_clean(self, within_s=5 * SLOW):
        wait_for("everything is acknowledged",
                 lambda: written(self.cluster)["buckets_dirty"] == 0, within_s)

    def refused(self, redis, ack):
        code, out = run("sluice-node", *node_words(redis.url), "--ack", ack)
        self.assertEqual(code, 1, out)
        return out

    def test_what_a_server_cannot_keep_is_refused_at_the_start(self):
        words = node_words("redis://127.0.0.1:1")
        for ack in ("disk", "replicas", "replicas:", "replicas:0", "replicas:17", "replicas:1x"):
            code, out = run("sluice-node", *words, "--ack", ack)
            self.assertEqual(code, 2, out)
            self.assertIn("replicas:1", out)
        redis = Redis(self.directory).start()  # everysec
        with redis.client() as client:
            waitaof = client.call("COMMAND", "INFO", "WAITAOF") != [None]
        if not waitaof:
            out = self.refused(redis, "aof")
            self.assertIn("everysec", out)
            self.assertIn("appendfsync always", out)
        out = self.refused(redis, "replicas:1")
        self.assertIn("0 of the 1 replicas", out)
        with redis.client() as client:
            client.call("CONFIG", "SET", "appendonly", "no")
        self.assertIn("appendonly yes", self.refused(redis, "aof"))
        redis.end()

    def test_aof_and_a_server_that_becomes_weaker(self):
        redis = Redis(self.directory, args=["--appendfsync", "always"])
        with_waitaof = False
        cluster = self.open_cluster(redis, "aof")
        self.take(b"first")
        self.wait_clean()
        with redis.client() as client:
            with_waitaof = client.call("COMMAND", "INFO", "WAITAOF") != [None]
            # While it runs: without a reconnect it is noticed within a second.
            client.call("CONFIG", "SET", "appendonly" if with_waitaof else "appendfsync",
                        "no" if with_waitaof else "everysec")
            began = time.monotonic()
            wait_for("it is noticed", lambda: not store_up(cluster), 3 * SLOW)
            noticed_s = time.monotonic() - began
            self.assertIn(b"can no longer keep --ack", cluster.nodes[0].log())
            self.assertIn(b"appendonly yes" if with_waitaof else b"appendfsync always",
                          cluster.nodes[0].log())
            before = written(cluster)["writes"]
            self.take(b"second")  # the plan is one whose replies need no write
            time.sleep(3 * SNAPSHOT_S)
            after = written(cluster)
            self.assertEqual((after["writes"], after["buckets_dirty"]), (before, 1))
            client.call("CONFIG", "SET", "appendonly", "yes")
            client.call("CONFIG", "SET", "appendfsync", "always")
        wait_for("it is content again", lambda: store_up(cluster), 3 * SLOW)
        self.wait_clean()
        # It is replaced by one with a weaker configuration.
        redis.kill9()
        redis.argv = [word if word != "always" else "everysec" for word in redis.argv]
        if with_waitaof:
            redis.argv[redis.argv.index("--appendonly") + 1] = "no"
        redis.start()
        wait_for("the reconnect notices", lambda: cluster.nodes[0].log().count(
            b"can no longer keep --ack") >= 4, 5 * SLOW)  # each of two shards, twice
        self.assertFalse(store_up(cluster))
        self.take(b"third")
        with redis.client() as client:
            # Without its file it has come back empty.
            self.assertEqual(client.bucket_count(), 0 if with_waitaof else 2)
            client.call("CONFIG", "SET", "appendonly", "yes")
            client.call("CONFIG", "SET", "appendfsync", "always")
            wait_for("the third is written", lambda: client.bucket_count() == 3, 5 * SLOW)
        say("a server that stopped to fsync was noticed %.1f s later, and at a reconnect at once; "
            "nothing was written to it meanwhile" % noticed_s)
        cluster.__exit__(None, None, None)

    def test_aof_by_waitaof(self):
        """Redis 7.2 and newer fsync when they are asked to."""
        redis = Redis(self.directory).start()  # everysec
        with redis.client() as client:
            if client.call("COMMAND", "INFO", "WAITAOF") == [None]:
                redis.end()
                self.skipTest("this Redis is older than 7.2 and has no WAITAOF")
        cluster = self.open_cluster(redis, "aof")
        for i in range(3):
            self.take(b"key-%d" % i)
            self.wait_clean()
        with redis.client() as client:
            self.assertIn(b"cmdstat_waitaof:", client.call("INFO", "commandstats"))
        self.assertEqual(written(cluster)["writes_failed"], 0)
        cluster.__exit__(None, None, None)

    def test_replicas(self):
        """A replica that is stopped: writes are not acknowledged until it goes on."""
        redis = Redis(self.directory, args=SYNC_AT_ONCE).start()
        replica = Replica(self.directory, redis).start().wait_synced()
        cluster = self.open_cluster(redis, "replicas:1")
        self.take(b"first")
        self.wait_clean()
        with replica.client() as client:
            self.assertEqual(client.bucket_count(), 1)  # acknowledged means that it is here
        os.kill(replica.pid, signal.SIGSTOP)
        try:
            before = written(cluster)
            self.take(b"second")
            wait_for("a write fails", lambda: written(cluster)["writes_failed"] >
                     before["writes_failed"], 5 * SLOW)
            after = written(cluster)
            self.assertEqual((after["writes"], after["buckets_dirty"]), (before["writes"], 1))
            self.assertIn(b"not acknowledged as --ack asks", cluster.nodes[0].log())
            with redis.client() as client:
                self.assertEqual(client.bucket_count(), 2)  # it is written, and does not count
        finally:
            os.kill(replica.pid, signal.SIGCONT)
        self.wait_clean()
        # Its loss is noticed before a write has to find out.
        replica.kill9()
        wait_for("it is noticed", lambda: not store_up(cluster), 3 * SLOW)
        self.assertIn(b"0 of the 1 replicas", cluster.nodes[0].log())
        self.take(b"third")
        time.sleep(3 * SNAPSHOT_S)
        self.assertEqual(written(cluster)["buckets_dirty"], 1)
        replica.start().wait_synced()
        self.wait_clean()
        with replica.client() as client:
            self.assertEqual(client.bucket_count(), 3)
        cluster.__exit__(None, None, None)
        replica.end()

    def test_a_strict_take_waits_for_its_replica(self):
        redis = Redis(self.directory, args=SYNC_AT_ONCE).start()
        replica = Replica(self.directory, redis).start().wait_synced()
        cluster = self.open_cluster(redis, "replicas:1", plans=PLANS)
        self.take(b"first")
        with replica.client() as client:  # before the answer, not some time after it
            self.assertEqual(client.bucket_count(), 1)
        os.kill(replica.pid, signal.SIGSTOP)
        try:
            with cluster.connect() as connection:
                take = connection.take(b"second", 1, "slow")
            self.assertTrue(take.degraded, take)
            self.assertFalse(take.allowed, take)
        finally:
            os.kill(replica.pid, signal.SIGCONT)

        def granted():
            with cluster.connect() as connection:
                return not connection.take(b"third", 1, "slow").degraded

        wait_for("strict takes are granted again", granted, 5 * SLOW)
        cluster.__exit__(None, None, None)
        replica.end()

    def test_what_it_costs(self):
        """Takes until all is written, one key a slot and more, under each meaning."""
        keys = [b"user-%05d" % i for i in range(5000)]
        times = {}
        for ack, args in (("memory", []), ("aof", ["--appendfsync", "always"]),
                          ("replicas:1", SYNC_AT_ONCE)):
            redis = Redis(self.directory, name=ack.replace(":", "-"), args=args).start()
            if ack == "replicas:1":
                replica = Replica(self.directory, redis).start().wait_synced()
            cluster = self.open_cluster(redis, ack)
            began = time.monotonic()
            for at in range(0, len(keys), 1000):
                self.take(*keys[at:at + 1000])
            self.wait_clean(20 * SLOW)
            times[ack] = time.monotonic() - began
            self.assertEqual(written(cluster)["writes_failed"], 0)
            cluster.__exit__(None, None, None)
        replica.end()
        say("5000 new buckets written after: " + ", ".join(
            "%s %.2f s" % pair for pair in times.items()))


if __name__ == "__main__":
    unittest.main()
