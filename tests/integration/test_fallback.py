"""Plans that let routers decide in Redis while no owner answers: nothing is granted twice, whoever
is killed, stopped or away, and owners that come back have counted all of it."""

import os
import re
import signal
import subprocess
import time

from harness import (BIN, HOUR_MS, REPO, SLOW, SOAK, ClusterTest, Redis, Router, metronome,
                     new_directory, say, wait_for)
from load import Load
from move_tools import halt
from sp_client import RpcError

BURST = 4000
RESERVED = BURST // 8  # SHARD_RESERVE_PART
PASSWORD = "battery-staple"
SNAPSHOT_S = 0.1  # sluice-node's --snapshot-interval, unless told otherwise
WRITTEN_S = 0.4  # how long a snapshot may be under way, on a machine with other work
PLANS = {
    "default": "safe",
    "plans": [
        {"name": "safe", "limits": [{"rate": 1, "period_ms": HOUR_MS, "burst": BURST}],
         "on_unavailable": "redis"},
        {"name": "two", "limits": [{"rate": 1, "period_ms": HOUR_MS, "burst": 30},
                                   {"rate": 7, "period_ms": 10 * HOUR_MS, "burst": 20}],
         "on_unavailable": "redis"},
        {"name": "loose", "limits": [{"rate": 1, "period_ms": HOUR_MS, "burst": BURST}],
         "on_unavailable": "redis", "durability": "relaxed"},
        {"name": "firm", "limits": [{"rate": 1, "period_ms": HOUR_MS, "burst": 10}]},
    ],
}


def acl_line(name):
    with open(os.path.join(REPO, "deploy/redis", name)) as file:
        lines = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    assert len(lines) == 1 and " >replace-me " in lines[0], lines
    return lines[0].replace(">replace-me", ">" + PASSWORD)


def cluster_options():
    directory = new_directory()
    acl, password = os.path.join(directory, "users.acl"), os.path.join(directory, "password")
    with open(acl, "w") as file:
        file.write("user default on nopass ~* &* +@all\n%s\n" % acl_line("sluice-router.acl"))
    with open(password, "w") as file:
        file.write(PASSWORD + "\n")
    redis = Redis(directory, args=["--aclfile", acl])
    store = ["--redis", "redis://sluice-router@127.0.0.1:%d" % redis.port,
             "--redis-password-file", password]
    # Nobody takes over: what is decided meanwhile is decided in Redis.
    return {"nodes": 2, "shards": 1, "slots": 16, "plans": PLANS, "redis": redis,
            "router_args": store, "node_args": ["--lease-ttl", "60s"]}


class FallbackTest(ClusterTest):
    @classmethod
    def setUpClass(cls):
        cls.cluster_options = cluster_options()
        super().setUpClass()
        with cls.cluster.connect() as connection:
            wait_for("the router has a store", lambda: connection.call("cluster.status")["store"] == "up")

    def tearDown(self):
        for node in self.cluster.nodes:
            if node.alive:
                os.kill(node.pid, signal.SIGCONT)
            else:
                node.start()
        self.cluster.wait_ready()

    def counters(self):
        with self.cluster.connect() as connection:
            return connection.call("cluster.status")["counters"]

    def kill_all(self):
        for node in self.cluster.nodes:
            node.kill9()

    def start_all(self):
        for node in self.cluster.nodes:
            node.start()
        self.cluster.wait_ready()

    def degraded_take(self, connection, key, cost=1, plan=None):
        take = connection.take(key, cost, plan)
        self.assertTrue(take.degraded, take)
        return take

    def settle(self):
        """Until owners have taken back every slot that the router has decided in."""
        with self.cluster.redis.client() as client:
            fences = client.call("KEYS", "sluice:{*}:fence")
            wait_for("owners have taken their slots back", lambda: not any(
                client.call("GET", fence).endswith(b".5") for fence in fences))
        self.cluster.wait_ready()

    def check(self, load, keys, plan, changes):
        """Nothing was forgotten, by the clients' own records; returns (granted by owners, by
        routers, the most that a key has lost)."""
        self.settle()
        levels = self.cluster.levels(keys, plan)
        lost = 0
        for key in keys:
            spent, granted = BURST - levels[key], len(load.granted[key]) + len(load.fallen[key])
            self.assertGreaterEqual(spent, granted, "%s: granted more than is remembered" % key)
            # Charged twice at most: by an owner that did not answer, and in Redis.
            self.assertLessEqual(spent, 2 * load.sent[key] + changes * RESERVED, key)
            lost = max(lost, spent - granted)
        return (sum(map(len, load.granted.values())), sum(map(len, load.fallen.values())), lost)

    def spend_up(self, keys, plan):
        """The rest of each bucket, by owners."""
        rest = {}
        with self.cluster.connect() as connection:
            for key, level in self.cluster.levels(keys, plan).items():
                take = connection.take(key, level, plan)
                self.assertEqual((take.allowed, take.degraded), (True, False), key)
                self.assertFalse(connection.take(key, 1, plan).allowed)
                rest[key] = level
        return rest

    def test_all_nodes_killed_under_load(self):
        keys = [b"killed-%d" % i for i in range(20)]
        before = self.counters()
        load = Load(self.cluster.router.url, keys, "safe", window=32).start()
        rounds = 3 if SOAK else 1
        for _ in range(rounds):
            time.sleep(0.5)  # however slow: nobody is to have spent all before it begins
            self.kill_all()
            time.sleep(1.2 * SLOW)
            self.start_all()
        time.sleep(0.5 * SLOW)
        load.stop()
        self.assertEqual(load.errors, [])
        by_owner, by_router, lost = self.check(load, keys, "safe", rounds)
        self.assertGreater(by_owner, 200 / SLOW)
        self.assertGreater(by_router, 200 / SLOW)
        rest = self.spend_up(keys, "safe")
        total = {key: len(load.granted[key]) + len(load.fallen[key]) + rest[key] for key in keys}
        self.assertLessEqual(max(total.values()), BURST)
        after = self.counters()
        writes = after["fallback_writes"] - before["fallback_writes"]
        self.assertGreaterEqual(writes, by_router)
        self.assertEqual(after["fallback_disagreed"], 0)
        say("%d x all nodes killed under load: %d granted by owners, %d by the router in Redis (at "
            "most %d of %d a key over the whole run), a key lost %d tokens at most; %d writes, %d "
            "reads, median %d us, longest %d us" % (
                rounds, by_owner, by_router, max(total.values()), BURST, lost, writes,
                after["fallback_reads"] - before["fallback_reads"], after["fallback_median_us"],
                after["fallback_longest_us"]))

    def test_relaxed_plans_forget_an_interval_at_most(self):
        """What owners granted since their last snapshot comes on top, and nothing else does."""
        keys = [b"loose-%d" % i for i in range(20)]
        load = Load(self.cluster.router.url, keys, "loose", window=8).start()
        time.sleep(1.6)
        killed = time.monotonic()
        self.kill_all()
        time.sleep(0.8 * SLOW)
        self.start_all()
        started = time.monotonic()
        time.sleep(0.3 * SLOW)
        load.stop()
        self.assertEqual(load.errors, [])
        self.settle()
        levels = self.cluster.levels(keys, "loose")
        since = killed - SNAPSHOT_S - WRITTEN_S
        forgotten, most = 0, 0
        for key in keys:
            owed = len(load.granted[key]) + len(load.fallen[key]) - (BURST - levels[key])
            on_top = sum(since < at < started for at in load.granted[key])
            self.assertLessEqual(owed, on_top, key)
            forgotten, most = forgotten + max(owed, 0), most + on_top
        self.assertGreater(sum(map(len, load.granted.values())), 2 * most, "a part, not all")
        self.assertGreater(sum(map(len, load.fallen.values())), 20)  # routers, however slow
        say("relaxed, all nodes killed under load: %d tokens forgotten, of %d that were granted in "
            "the interval before" % (forgotten, most))

    def test_nodes_stopped_and_continued_under_load(self):
        """Alive, silent, and then back with all that they remember: none of it replaces what the
        router has written."""
        keys = [b"stopped-%d" % i for i in range(20)]
        load = Load(self.cluster.router.url, keys, "safe", window=32).start()
        rounds = 3 if SOAK else 1
        for _ in range(rounds):
            time.sleep(0.5)  # however slow: nobody is to have spent all before it begins
            for node in self.cluster.nodes:
                halt(node)
            time.sleep(1.0 * SLOW)
            for node in self.cluster.nodes:
                os.kill(node.pid, signal.SIGCONT)
            self.cluster.wait_ready()
        time.sleep(0.5 * SLOW)
        load.stop()
        by_owner, by_router, lost = self.check(load, keys, "safe", rounds)
        self.assertGreater(by_router, 200 / SLOW)
        after = max(max(load.fallen[key], default=0) for key in keys)
        self.assertTrue(any(times and times[-1] > after for times in load.granted.values()),
                        "owners decide again")
        rest = self.spend_up(keys, "safe")
        total = {key: len(load.granted[key]) + len(load.fallen[key]) + rest[key] for key in keys}
        self.assertLessEqual(max(total.values()), BURST)
        self.assertTrue(any(b"or a router has decided" in node.log() for node in self.cluster.nodes))
        say("%d x all nodes stopped and continued under load: %d granted by owners, %d by the "
            "router in Redis, at most %d of %d a key; a key lost %d tokens at most" % (
                rounds, by_owner, by_router, max(total.values()), BURST, lost))

    def test_each_kind_of_take(self):
        """Several limits, inline limits, assigned plans, plans that change, peeks and refunds: as
        their owner would have it, before and after."""
        inline = {"rate": 3, "period_ms": 7 * HOUR_MS, "burst": 50}
        mixed, assigned, limited, firm = (self.new_key(name) for name in
                                          ("mixed", "assigned", "limited", "firm"))
        self.assertEqual(self.cluster.ctl("key", "assign", assigned.decode(), "two")[0], 0)
        self.assertEqual(self.cluster.ctl("key", "assign", firm.decode(), "firm")[0], 0)
        with self.cluster.connect() as connection:
            self.assertEqual(connection.take(mixed, 5, "two").remaining, 15)
            self.assertEqual(connection.take(assigned, 5).remaining, 15)
            self.assertEqual(connection.take(limited, 5, inline).remaining, 45)
            self.kill_all()
            self.assertEqual(self.degraded_take(connection, mixed, 3, "two").remaining, 12)
            self.assertEqual(self.degraded_take(connection, assigned, 4).remaining, 11)
            self.assertEqual(self.degraded_take(connection, limited, 6, inline).remaining, 39)
            # Under another plan what was spent stays spent, limit by limit.
            take = self.degraded_take(connection, mixed, 1, "safe")
            self.assertEqual((take.allowed, take.remaining), (True, BURST - 9))
            take = self.degraded_take(connection, limited, 40, inline)
            self.assertEqual((take.allowed, take.remaining), (False, 39))
            self.assertGreater(take.retry_after_us, 0)
            self.assertEqual(self.degraded_take(connection, limited, 51, inline).retry_after_us, -1)
            self.assertEqual(connection.peek(limited, 0, inline).remaining, 39)
            with self.assertRaises(RpcError) as caught:
                connection.refund(limited, 1, inline)
            self.assertEqual(caught.exception.code, "UNAVAILABLE")
            # The plan that its key is assigned denies.
            take = self.degraded_take(connection, firm)
            self.assertEqual((take.allowed, take.remaining), (False, 0))
            answers = connection.take_many([[mixed, 1, "safe"], [b"fresh", 2, "safe"],
                                            [limited, 1, inline]])
            self.assertEqual([(one.allowed, one.degraded, one.remaining) for one in answers],
                             [(True, True, BURST - 10), (True, True, BURST - 2), (True, True, 38)])
            self.start_all()
            self.assertEqual(connection.take(mixed, 0, "safe").remaining, BURST - 10)
            self.assertEqual(connection.take(assigned, 0).remaining, 11)
            self.assertEqual(connection.take(limited, 0, inline).remaining, 38)
            self.assertEqual(connection.take(firm, 0).remaining, 10)
        with self.cluster.redis.client() as client:
            self.assertEqual(client.call("ACL", "LOG"), [])

    def test_redis_away_as_well(self):
        key = self.new_key("away")
        with self.cluster.connect() as connection:
            self.assertTrue(connection.take(key, 1, "safe").allowed)
            self.kill_all()
            halt(self.cluster.redis)
            try:
                metronome().reset()
                began = time.monotonic()
                take = self.degraded_take(connection, key, 1, "safe")
                late_s = time.monotonic() - began - 0.25
                self.assertEqual((take.allowed, take.remaining), (False, 0))
                self.assertLess(late_s, 0.1 * SLOW + metronome().slack_s())
            finally:
                os.kill(self.cluster.redis.pid, signal.SIGCONT)
            wait_for("it is decided in Redis again",
                     lambda: connection.take(key, 1, "safe").allowed)
            self.start_all()

    def test_an_idle_owner_hears_of_it(self):
        """Nobody asks the owner for anything; it looks at its fences all the same."""
        fence = "sluice:{3}:fence"
        began = time.monotonic()
        with self.cluster.redis.client() as client:
            held = int(client.call("GET", fence))
            client.call("SET", fence, "%d.5" % held)
            wait_for("the slot is taken back",
                     lambda: client.call("GET", fence) == b"%d" % (held + 1), within_s=15 * SLOW)
        say("an idle owner had taken its slot back %.1f s after a router had decided in it" %
            (time.monotonic() - began))

    def other_router(self, name, *args):
        router = Router(self.cluster.directory, self.cluster.nodes, args, name=name).start()
        self.addCleanup(router.end)
        connection = router.connect()
        self.addCleanup(connection.close)
        wait_for("it knows the plans", lambda: connection.call("cluster.status")["plans_version"])
        return router, connection

    def test_routers_that_may_not_decide(self):
        """One has no store, one that of no cluster: both say so, and deny."""
        key = self.new_key("denied")
        url = self.cluster.redis.url
        plain, without = self.other_router("plain")
        foreign, wrong = self.other_router("foreign", "--redis", url, "--key-prefix", "other:")
        wait_for("it says that there is none", lambda: b"has no --redis" in plain.log())
        wait_for("it says that it is not this cluster's",
                 lambda: b"it holds no map under this --key-prefix" in foreign.log())
        self.assertEqual(without.call("cluster.status")["store"], "none")
        self.assertEqual(wrong.call("cluster.status")["store"], "away")
        self.kill_all()
        for connection in (without, wrong):
            take = self.degraded_take(connection, key, 1, "safe")
            self.assertEqual((take.allowed, take.remaining), (False, 0))
        self.assertGreater(wrong.call("cluster.status")["counters"]["fallback_unready"], 0)
        self.start_all()

    def test_the_script_in_a_real_redis(self):
        """The same run as the model's, in the Lua and by the clock of a real server."""
        model = os.path.join(os.path.dirname(BIN), "tests", "test_model_fallback")
        if not os.path.exists(model):
            self.skipTest("not built without Lua 5.1")
        env = dict(os.environ, SLUICE_TEST_REDIS="127.0.0.1:%d" % self.cluster.redis.port)
        done = subprocess.run([model, "--steps", "100000" if SOAK else "5000"], env=env,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)
        say(re.sub(r"\s+", " ", done.stdout.strip()))


if __name__ == "__main__":
    import unittest
    unittest.main()
