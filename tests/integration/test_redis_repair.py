"""What can be wrong in Redis while nodes run: each thing is named in the log, takes of relaxed plans go
on from memory, nothing is lost, and when it is put right everything is written without a hand."""

import functools
import time
import unittest

from harness import RELAXED_PLANS, SLOW, Cluster, RpcError, ctl, wait_for, xxh3
from sp_client import Take, connect_when_up

BURST = 1000
SLOTS = 64


def slot_of(key):
    return xxh3(key) & (SLOTS - 1)


def key_in(slot, name=b"key"):
    return next(key for key in (b"%s-%d" % (name, i) for i in range(100000))
                if slot_of(key) == slot)


class RepairTest(unittest.TestCase):
    smoke = False

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(nodes=1, slots=SLOTS, plans=RELAXED_PLANS)
        cls.cluster.__enter__()
        cls.node = cls.cluster.nodes[0]

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)

    def setUp(self):
        self.redis = self.cluster.redis.client()
        self.addCleanup(self.redis.close)
        self.keys = [b"%s-%03d" % (self.id().rsplit("_", 1)[1].encode(), i) for i in range(300)]
        self.log_from = len(self.node.log())

    def take(self, keys, cost=1):
        with self.cluster.connect() as connection:  # one by one, for their deadline
            ids = [connection.send("take", key, cost, "slow", {"deadline_ms": 20000})
                   for key in keys]
            for request_id in ids:
                answer = Take(connection.result(request_id, 30))
                self.assertTrue(answer.allowed and not answer.degraded, answer)

    def dirty(self):
        with self.node.control() as control:
            shards = control.call("node.status")["shards"]
        return sum(shard["counters"]["buckets_dirty"] for shard in shards)

    def wait_written(self):
        wait_for("everything is written", lambda: self.dirty() == 0)

    def logged(self, text):
        return text in self.node.log()[self.log_from:]

    def wait_logged(self, text):
        wait_for("%r is in the log" % text, lambda: self.logged(text))

    def check_after_restart(self, left):
        """Nobody is left to remember but the store."""
        self.node.kill9()
        self.node.start()
        self.cluster.wait_ready()
        levels = self.cluster.levels(list(left), "slow")
        self.assertEqual(levels, left)

    def test_scripts_flushed_away(self):
        self.take(self.keys)
        for _ in range(5):
            self.assertEqual(self.redis.call("SCRIPT", "FLUSH"), b"OK")
            self.take(self.keys)
        self.wait_written()
        self.assertFalse(self.logged(b"ERROR"), self.node.tail())
        self.check_after_restart({key: BURST - 6 for key in self.keys})

    def test_a_redis_that_is_full(self):
        self.take(self.keys)
        self.wait_written()
        before = self.redis.bucket_count()
        with self.cluster.connect() as connection:  # these are full again in 200 ms
            connection.take_many([[b"short-%03d" % i, 20, "fast"] for i in range(100)])
        wait_for("they are stored", lambda: self.redis.bucket_count() == before + 100)
        self.redis.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
        self.redis.call("CONFIG", "SET", "maxmemory", "1")
        try:
            self.take(self.keys, 2)
            self.wait_logged(b"Redis is full")
            time.sleep(1.5 * SLOW)  # longer than a lease lasts
            self.assertGreater(self.redis.call("PTTL", "sluice:{cluster}:node:n1"), 0)
            self.assertTrue(self.node.alive)
            # What is to go goes: a Redis that is full gets emptier.
            wait_for("full buckets are deleted", lambda: self.redis.bucket_count() == before)
            self.take(self.keys, 3)
        finally:
            self.redis.call("CONFIG", "SET", "maxmemory", "0")
        self.wait_written()
        self.check_after_restart({key: BURST - 6 for key in self.keys})

    def test_a_redis_that_was_made_a_replica(self):
        self.take(self.keys)
        self.redis.call("REPLICAOF", "127.0.0.1", "1")
        try:
            self.take(self.keys, 2)
            self.wait_logged(b"it is a replica now")
            self.wait_logged(b"a replica, which takes no writes")
            self.take(self.keys, 3)
        finally:
            self.redis.call("REPLICAOF", "NO", "ONE")
        wait_for("it is master again, and written to", lambda: self.logged(b"takes us in again"))
        self.wait_written()
        self.check_after_restart({key: BURST - 6 for key in self.keys})

    def test_wrong_types_under_our_keys(self):
        """A slot whose hash was put aside: its writes wait, others' don't."""
        broken = slot_of(self.keys[0])
        mine = [key for key in self.keys if slot_of(key) == broken]
        name, aside = "sluice:{%d}:buckets" % broken, "aside:{%d}" % broken
        self.take(self.keys)
        self.wait_written()
        self.redis.call("RENAME", name, aside)
        self.redis.call("SET", name, "not a hash")
        self.take(self.keys, 2)
        self.wait_logged(b"WRONGTYPE")
        self.assertTrue(self.logged(b"slot %d: WRONGTYPE" % broken), self.node.tail())
        self.assertTrue(self.logged(b"wrote under our key prefix"))
        wait_for("only that slot's wait", lambda: self.dirty() == len(mine))
        self.redis.call("DEL", name)
        self.redis.call("RENAME", aside, name)
        self.wait_written()
        self.check_after_restart({key: BURST - 3 for key in self.keys})
        # The same when the slot is to be read: it waits, the others serve.
        self.node.kill9()
        self.redis.call("RENAME", name, aside)
        self.redis.call("SET", name, "not a hash")
        self.log_from = len(self.node.log())
        self.node.start()
        self.wait_logged(b"slot %d: WRONGTYPE" % broken)
        others = [key for key in self.keys if slot_of(key) != broken]
        self.assertEqual(set(self.cluster.levels(others, "slow").values()), {BURST - 3})
        with self.cluster.connect() as connection:
            self.assertTrue(connection.take(mine[0], 1, "slow").degraded)
        self.redis.call("DEL", name)
        self.redis.call("RENAME", aside, name)
        self.cluster.wait_ready()
        self.assertEqual(set(self.cluster.levels(mine, "slow").values()), {BURST - 3})

    def test_a_fence_that_is_no_number(self):
        key = key_in(11)
        self.take([key])
        self.wait_written()
        self.redis.call("SET", "sluice:{11}:fence", "eleven")
        self.take([key])
        self.wait_logged(b"BADFENCE no number in sluice:{11}:fence")
        self.assertEqual(self.dirty(), 1)
        self.redis.call("DEL", "sluice:{11}:fence")
        self.wait_written()
        self.assertGreater(int(self.redis.call("GET", "sluice:{11}:fence")), 0)
        self.check_after_restart({key: BURST - 2})

    def test_assignments_that_a_restart_lost(self):
        """As of a Redis that lost the end of its file: some are gone, one that was taken back is there."""
        with self.node.control() as control:
            for key in self.keys[:100]:
                control.call("key.assign", key, "slow")
            control.call("key.assign", self.keys[99], None)
        expected = {key: b"slow" for key in self.keys[:99]}
        self.assertEqual(self.assigned(), expected)
        for key in self.keys[:50]:
            self.redis.call("HDEL", "sluice:{%d}:keys" % slot_of(key), key)
        self.redis.call("HSET", "sluice:{%d}:keys" % slot_of(self.keys[99]), self.keys[99], "slow")
        self.assertNotEqual(self.assigned(), expected)
        self.cluster.redis.terminate()
        self.cluster.redis.start()
        self.redis = self.cluster.redis.client()
        self.addCleanup(self.redis.close)
        wait_for("Redis has what was assigned, and nothing else", lambda: self.assigned() == expected)
        self.node.kill9()
        self.node.start()
        self.cluster.wait_ready()
        with self.node.control() as control:
            self.assertEqual(control.call("key.show", self.keys[0])["plan"], "slow")
            for key in expected:  # as the other tests expect it
                control.call("key.assign", key, None)

    def assigned(self):
        held = {}
        for slot in {slot_of(key) for key in self.keys[:100]}:
            pairs = self.redis.call("HGETALL", "sluice:{%d}:keys" % slot)
            held.update(zip(pairs[::2], pairs[1::2]))
        return held

    def test_records_that_cannot_be_read(self):
        """One that is garbage and one of a later schema harm nobody but their keys, and stay."""
        garbage, later, fine = (key_in(5, name) for name in (b"garbage", b"later", b"fine"))
        self.take([garbage, later, fine])
        self.wait_written()
        self.node.kill9()
        name = "sluice:{5}:buckets"
        record = self.redis.call("HGET", name, later)
        later_record = record[:1] + b"\x7f" + record[2:]  # the schema is the first member
        self.redis.call("HSET", name, garbage, b"\xc1garbage", later, later_record)
        self.log_from = len(self.node.log())
        self.node.start()
        self.wait_logged(b"cannot be read")
        self.cluster.wait_ready()
        with self.cluster.connect() as connection:
            self.assertEqual(connection.take(fine, 1, "slow").remaining, BURST - 2)
            for key in (garbage, later):
                try:
                    self.assertTrue(connection.take(key, 1, "slow").degraded)
                except RpcError as error:
                    self.assertEqual(error.code, "UNAVAILABLE")
                self.assertTrue(self.logged(key), self.node.tail())
        self.wait_written()
        self.assertEqual(self.redis.call("HGET", name, later), later_record)
        self.assertEqual(self.redis.call("HGET", name, garbage), b"\xc1garbage")
        reset = functools.partial(ctl, "--control", self.node.control_url, "key", "reset")
        code, out, err = reset(garbage.decode())
        self.assertEqual(code, 0, out + err)
        code, out, err = reset(later.decode())
        self.assertEqual(code, 4, out + err)
        self.assertIn("of a later version of Sluice (upgrade this node)", err)
        with self.cluster.connect() as connection:
            self.assertEqual(connection.take(garbage, 1, "slow").remaining, BURST - 1)
        self.wait_written()
        self.assertEqual(self.redis.call("HGET", name, later), later_record)
        with connect_when_up(self.cluster.owner_url(later)) as shard:
            with self.assertRaises(RpcError) as caught:
                shard.take(later, 1, "slow")
            self.assertIn("of a later version", str(caught.exception))
        self.redis.call("HDEL", name, later)


if __name__ == "__main__":
    unittest.main()
