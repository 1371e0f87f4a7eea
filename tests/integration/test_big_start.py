"""A start with many stored buckets: answers at once, and in the end everything is in memory."""

import random
import subprocess
import time
import unittest

from harness import (PLANS, QUICK, SMOKE, Cluster, RpcError, program, say, wait_for, xxh3)
from sp_client import connect_when_up

BUCKETS = 20000 if SMOKE else 50000 if QUICK else 100000

# As `store-records fill` makes them: of a plan of a token an hour, 24 hours to 47 spent.
BURST = PLANS["plans"][0]["limits"][0]["burst"]


def key_of(number):
    return b"bench:%010d" % number


def left_of(key):
    return BURST - 24 - xxh3(key) % 24


class BigStartTest(unittest.TestCase):
    def fill(self, cluster):
        with cluster.redis.client() as redis:
            now_s, now_us = (int(part) for part in redis.call("TIME"))
            commands = subprocess.run(
                [program("store-records"), "fill", str(BUCKETS), str(cluster.slots), "slow",
                 str(now_s * 10 ** 9 + now_us * 1000)], stdout=subprocess.PIPE, check=True).stdout
            redis.socket.sendall(commands)
            self.assertEqual(BUCKETS, sum(redis.receive() for _ in range(commands.count(b"HSET"))))

    def shards(self, cluster):
        return cluster.status_of(cluster.nodes[0])["shards"]

    def ask_while_it_reads(self, cluster, keys):
        """Takes of stored keys at one shard, from the moment that it listens until it has read all.
        Returns how many were granted, each one exactly; a slot that has answered goes on to."""
        url, keys = cluster.nodes[0].shard_url(0), iter(keys)
        granted, done, answering = 0, False, set()
        with connect_when_up(url) as shard:
            while not done:
                done = all(one["state"] == "serving" for one in self.shards(cluster))
                part = [key for key, _ in zip(keys, range(64))]
                self.assertTrue(part, "no keys are left to ask for")
                for key, answer in zip(part, shard.take_many([[key, 1] for key in part])):
                    slot = xxh3(key) % cluster.slots
                    if isinstance(answer, RpcError):
                        self.assertEqual("UNAVAILABLE", answer.code)
                        self.assertNotIn(slot, answering)
                        continue
                    answering.add(slot)
                    self.assertTrue(answer.allowed)
                    self.assertEqual(left_of(key) - 1, answer.remaining, key)
                    self.taken.add(key)
                    granted += 1
        return granted

    def test_kill_9_with_many_stored_buckets(self):
        with Cluster(nodes=1, shards=2) as cluster:
            node, self.map, self.taken = cluster.nodes[0], cluster.map(), set()
            node.kill9()
            self.fill(cluster)
            keys = [key_of(number) for number in range(BUCKETS)]
            random.Random(1).shuffle(keys)
            keys_of_one = [key for key in keys[:BUCKETS // 2]
                           if cluster.owner_url(key, self.map) == node.shard_url(0)]
            node.start()
            granted = self.ask_while_it_reads(cluster, keys_of_one)
            self.assertGreater(granted, 0)
            shards = self.shards(cluster)
            say("%d buckets read at the start; %d takes granted meanwhile, %d of keys not yet read"
                % (BUCKETS, granted, sum(one["counters"]["takes_fetched"] for one in shards)))
            self.assertEqual(BUCKETS, sum(one["counters"]["buckets"] for one in shards))
            self.assertEqual(0, sum(one["counters"]["records_unreadable"] for one in shards))
            asked = keys[:4096] + keys[-4096:]
            levels = cluster.levels(asked)
            self.assertEqual({key: left_of(key) - (key in self.taken) for key in asked}, levels)
            # What nobody has touched is not written again.
            cluster.wait_written()
            written = sum(one["counters"]["records_written"] for one in self.shards(cluster))
            self.assertLessEqual(written, 2 * granted)  # ahead, and as they are
            began = time.monotonic()
            self.assertEqual(0, node.terminate())
            say("stopped %.0f ms after SIGTERM" % (1e3 * (time.monotonic() - began)))
            with cluster.redis.client() as redis:
                self.assertEqual(BUCKETS, redis.bucket_count())
            node.start()
            wait_for("all is in memory again", lambda: sum(
                one["counters"]["buckets"] for one in self.shards(cluster)) == BUCKETS)


if __name__ == "__main__":
    unittest.main()
