"""An idle cluster leaves the store alone, and full buckets leave it altogether."""

import time

from harness import SNAPSHOT_S, Cluster, ClusterTest, say, wait_for

# Commands that only look. Leases are written on: they are told apart by their key.
READS = {b"time", b"ping", b"info", b"get", b"mget", b"hget", b"hmget", b"hgetall", b"hscan",
         b"hlen", b"scan", b"exists", b"dump", b"pttl", b"ttl", b"exists", b"select", b"client",
         b"config", b"hello", b"type"}


def dump(client):
    """All that is stored, but for leases."""
    return {key: client.call("DUMP", key) for key in client.keys()
            if b"}:node:" not in key}


class IdleTest(ClusterTest):
    cluster_options = {"nodes": 2}

    def test_two_idle_snapshots_change_nothing(self):
        keys = [b"idle-%d" % i for i in range(2000)]
        with self.cluster.connect() as connection:
            connection.take_many([[key, 3, "slow"] for key in keys])
        self.cluster.wait_written()
        time.sleep(SNAPSHOT_S * 2)
        with self.cluster.redis.client() as client, self.cluster.redis.client() as watcher:
            before = dump(client)
            self.assertEqual(client.bucket_count(), len(keys))
            watcher.call("MONITOR")
            time.sleep(SNAPSHOT_S * 5)
            after = dump(client)
            client.call("PING", "the-end")
            seen, writes = 0, []
            while True:
                line = watcher.receive()
                seen += 1
                if b"the-end" in line:
                    break
                command = line.split(b"] ", 1)[1].split(b" ")[0].strip(b'"').lower()
                if command not in READS and b"}:node" not in line:
                    writes.append(line)
        self.assertEqual(before, after)
        self.assertEqual(writes, [])
        say("%d keys unchanged, %d commands seen in 5 intervals, none a write but of leases" %
            (len(before), seen))


    def test_peeks_of_strangers_store_nothing(self):
        with self.cluster.redis.client() as client, self.cluster.connect() as connection:
            before = client.bucket_count()
            connection.take_many([[b"stranger-%d" % i, 0, "slow"] for i in range(4096)])
            connection.take_many([[b"stranger-%d" % i, 1001, "slow"] for i in range(4096)])
            time.sleep(SNAPSHOT_S * 3)
            self.assertEqual(client.bucket_count(), before)


class RefilledTest(ClusterTest):
    cluster_options = {"nodes": 2}

    def test_full_buckets_leave_no_record(self):
        keys = [b"brief-%d" % i for i in range(20000)]
        limit = {"rate": 10, "period_ms": 1000, "burst": 10}
        with self.cluster.redis.client() as client, self.cluster.connect() as connection:
            for at in range(0, len(keys), 4096):
                connection.take_many([[key, 10, limit] for key in keys[at:at + 4096]])
            wait_for("buckets are written", lambda: client.bucket_count() > 0, 5)
            most = client.bucket_count()
            began = time.monotonic()
            wait_for("the store holds no bucket", lambda: client.bucket_count() == 0, 60, 0.1)
            say("%d records at most, none %.1f s later" % (most, time.monotonic() - began))
            self.assertEqual(client.keys("sluice:{*}:buckets"), [])

            def resident():
                count = 0
                for node in range(2):
                    with self.cluster.control(node) as control:
                        for shard in control.call("node.status")["shards"]:
                            count += shard["counters"]["buckets"]
                return count

            wait_for("memory holds no bucket", lambda: resident() == 0, 60, 0.1)


    def test_full_while_the_node_is_down(self):
        """A record whose bucket refilled in the meantime is removed after it was read."""
        with Cluster(nodes=1) as cluster, cluster.redis.client() as client:
            with cluster.connect() as connection:
                connection.take_many([[b"nap-%d" % i, 20, {"rate": 20}] for i in range(4000)])
            self.assertEqual(cluster.nodes[0].terminate(), 0)
            self.assertGreater(client.bucket_count(), 3000)
            time.sleep(1.1)
            cluster.nodes[0].start()
            cluster.wait_ready()
            wait_for("the store holds no bucket", lambda: client.bucket_count() == 0, 60, 0.1)
