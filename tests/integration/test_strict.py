"""Strict plans: whatever is killed or stopped, no key is granted more than its bound, and a crash
costs a key at most its reservation."""

import json
import os
import signal
import time
import unittest

from harness import (PLANS, QUICK, RELAXED_PLANS, SLOW, SMOKE, SOAK, Cluster, metronome, say, wait_for,
                     xxh3)
from load import Load
from move_tools import halt
from test_crash import spend

BURST = 1000
RESERVED = BURST // 8  # SHARD_RESERVE_PART
FENCE_RAISES = 1 << 20
BUSY = [b"busy-%04d" % i for i in range(200)]


class StrictTest(unittest.TestCase):
    smoke = True

    def open_cluster(self, **options):
        cluster = Cluster(**options)
        cluster.__enter__()
        self.addCleanup(cluster.end)
        self.cluster = cluster
        return cluster

    def close_cluster(self):
        self.cluster.__exit__(None, None, None)

    def check(self, loads, crashes):
        """Nothing was forgotten; what crashes cost is within the reservations. Returns the most that
        one key lost beyond what its callers cannot know."""
        levels = self.cluster.levels(BUSY, "slow")
        worst = 0
        for key in BUSY:
            spent = BURST - levels[key]
            granted = sum(len(load.granted[key]) for load in loads)
            sent = sum(load.sent[key] for load in loads)
            self.assertGreaterEqual(spent, granted, "%s: granted more than is remembered" % key)
            self.assertLessEqual(spent, sent + crashes * RESERVED, key)
            worst = max(worst, spent - sent)
        return worst

    def test_kill_nodes_again_and_again(self):
        cluster = self.open_cluster(nodes=2)
        load = Load(cluster.router.url, BUSY, "slow").start()
        crashes = 2 if SMOKE else 4
        for i in range(crashes):
            time.sleep(0.7 * SLOW)
            node = cluster.nodes[i % 2]
            node.kill9()
            time.sleep(0.05)
            node.start()
        cluster.wait_ready()
        time.sleep(0.3)
        load.stop()
        self.assertEqual(load.errors, [])
        granted = sum(len(times) for times in load.granted.values())
        self.assertGreater(granted, 1000 / SLOW)
        worst = self.check([load], crashes)
        say("%d kills under load: %d granted and none forgotten; a key lost %d tokens at most "
            "(%d reservations of %d)" % (crashes, granted, max(worst, 0), crashes, RESERVED))
        self.check_reset(cluster)
        self.close_cluster()

    def check_reset(self, cluster):
        """Who had the slot a moment ago may still grant, for all that its newer owner knows."""
        self.assertEqual(cluster.ctl("key", "reset", "never-taken")[0], 0)
        code, _, err = cluster.ctl("key", "reset", "--no-wait", BUSY[0].decode())
        self.assertEqual(code, 4, err)
        self.assertRegex(err, r"UNAVAILABLE.*may still grant what it had reserved.*asked again in \d+ ms")
        if not SOAK:
            return
        code, out, err = cluster.ctl("--json", "key", "reset", BUSY[0].decode())
        self.assertEqual(code, 0, err)
        self.assertIn("asking again in", err)
        self.assertEqual(list(json.loads(out)), ["slot"])
        self.assertEqual(cluster.levels(BUSY[:1], "slow")[BUSY[0]], BURST)

    def test_the_same_kills_forget_relaxed_takes(self):
        """What the strict plan is for: the same weather, relaxed, forgets grants."""
        cluster = self.open_cluster(nodes=1, plans=RELAXED_PLANS,
                                    node_args=["--snapshot-interval", "1s"])
        load = Load(cluster.router.url, BUSY, "slow").start()
        time.sleep(0.5 * SLOW)
        cluster.nodes[0].kill9()
        cluster.nodes[0].start()
        cluster.wait_ready()
        load.stop()
        levels = cluster.levels(BUSY, "slow")
        forgotten = sum(len(load.granted[key]) > BURST - levels[key] for key in BUSY)
        self.assertGreater(forgotten, 0)
        say("%d of %d keys forgot takes" % (forgotten, len(BUSY)))
        self.close_cluster()

    def test_a_store_that_does_not_answer(self):
        """Redis is stopped: a take beyond its mark is answered by policy at its deadline, never
        granted; relaxed plans go on."""
        plans = dict(PLANS, plans=PLANS["plans"] + [
            {"name": "loose", "limits": [{"rate": 1, "period_ms": 3600000, "burst": 1000}],
             "durability": "relaxed"}])
        cluster = self.open_cluster(nodes=1, plans=plans, node_args=["--lease-ttl", "30s"])
        with cluster.connect() as connection:
            self.assertFalse(connection.take("cold", 1, "slow").degraded)
            halt(cluster.redis)
            try:
                metronome().reset()
                began = time.monotonic()
                answer = connection.take("cold", 1, "slow", {"deadline_ms": 300})
                took_s = time.monotonic() - began
                self.assertTrue(answer.degraded and not answer.allowed, answer)
                self.assertGreaterEqual(took_s, 0.29)
                self.assertLess(took_s, 0.4 * SLOW + metronome().slack_s())
                answer = connection.take("cold", 1, "open", {"deadline_ms": 300})
                self.assertTrue(answer.degraded and answer.allowed, answer)
                answer = connection.take("cold-2", 1, "loose")
                self.assertTrue(answer.allowed and not answer.degraded, answer)
            finally:
                os.kill(cluster.redis.pid, signal.SIGCONT)
            def granted():
                answer = connection.take("colder", 1, "slow")
                return answer.allowed and not answer.degraded
            wait_for("strict takes are granted again", granted)
        say("no answer from Redis: by policy after %.0f ms (deadline 300)" % (took_s * 1000))
        self.close_cluster()

    def test_redis_is_away(self):
        """Nothing is granted meanwhile that a crash could forget, and what could not be granted
        costs its key nothing."""
        cluster = self.open_cluster(nodes=2)
        keys = [b"user-%04d" % i for i in range(300)]
        before = spend(cluster, keys, seed=4)
        load = Load(cluster.router.url, BUSY, "slow").start()
        time.sleep(0.7 * SLOW)
        cluster.redis.kill9()
        time.sleep(0.5)
        with cluster.connect() as connection:
            for key in keys[:20]:
                answer = connection.take(key, 1, "slow", {"deadline_ms": 50})
                self.assertTrue(answer.degraded and not answer.allowed, answer)
        cluster.redis.start()
        cluster.wait_ready()
        time.sleep(0.3)
        load.stop()
        self.assertEqual(load.errors, [])
        self.assertEqual(cluster.levels(keys, "slow"), before)
        self.check([load], 0)
        say("%d of %d takes by policy while Redis was away; not a token lost" %
            (len(load.degraded), load.answered))
        self.close_cluster()

    def test_a_slot_that_came_back_unseen(self):
        """A shard that lost a write raises its fence again, but not above one of an owner that had
        the slot in between, although the slot is its own by the newest map."""
        cluster = self.open_cluster(nodes=2, slots=64)
        key, node = BUSY[0], cluster.owner_node(BUSY[0])
        other = next(each for each in cluster.nodes if each is not node)
        moved = next(each for each in BUSY if cluster.owner_node(each) is node
                     and xxh3(each) % 64 != xxh3(key) % 64)
        fence = "sluice:{%d}:fence" % (xxh3(key) % 64)
        with cluster.connect() as connection:
            self.assertTrue(connection.take(key, 1, "slow").allowed)
            code, _, errors = cluster.ctl("slot", "move", str(xxh3(moved) % 64), other.id)
            self.assertEqual(code, 0, errors)
            cluster.wait_ready()
            with cluster.redis.client() as redis:
                held = int(redis.call("GET", fence))
                redis.call("SET", fence, "unreadable")
                answer = connection.take(key, 1, "slow", {"deadline_ms": 2000})
                self.assertFalse(answer.allowed, answer)
                log_from = len(node.log())
                redis.call("SET", fence, str((held // FENCE_RAISES + 1) * FENCE_RAISES + 1))
            wait_for("the newer owner is noticed",
                     lambda: b"a newer owner has raised the fence" in node.log()[log_from:])
            cluster.wait_ready()
            self.assertTrue(connection.take(key, 1, "slow").allowed)
        self.close_cluster()

    def test_in_order(self):
        """SIGTERM under load, again and again: exact."""
        cluster = self.open_cluster(nodes=2)
        load = Load(cluster.router.url, BUSY, "slow").start()
        for i in range(2 if QUICK else 4):
            time.sleep(0.4 * SLOW)
            node = cluster.nodes[i % 2]
            self.assertEqual(node.terminate(), 0)
            node.start()
        cluster.wait_ready()
        time.sleep(0.3)
        load.stop()
        self.check([load], 0)
        self.close_cluster()


if __name__ == "__main__":
    unittest.main()
