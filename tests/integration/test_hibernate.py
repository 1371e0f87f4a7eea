"""More buckets than a node may keep in memory: the coldest are in Redis only, and every count is
exact, whoever is killed."""

import unittest

from harness import RELAXED_PLANS, Cluster, say, wait_for

BURST = 1000
KEYS = 3000
BOUND = 400  # of each shard

# What a shard has while it looks through a page, on its way out again.
MORE = BOUND // 4

PLANS = dict(RELAXED_PLANS, plans=RELAXED_PLANS["plans"] + [
    {"name": "strict", "limits": RELAXED_PLANS["plans"][0]["limits"]}])


class HibernateTest(unittest.TestCase):
    smoke = False

    def setUp(self):
        self.cluster = Cluster(nodes=1, shards=2, slots=64, plans=PLANS,
                               node_args=["--resident-buckets-max", BOUND])
        self.cluster.__enter__()
        self.addCleanup(self.cluster.end)
        self.keys = {plan: [b"%s-%04d" % (plan.encode(), i) for i in range(KEYS // 2)]
                     for plan in ("slow", "strict")}
        self.left = {key: BURST for keys in self.keys.values() for key in keys}

    def counters(self):
        with self.cluster.control() as control:
            shards = control.call("node.status")["shards"]
        return [shard["counters"] for shard in shards]

    def take(self, round_number):
        with self.cluster.connect() as connection:
            for plan, keys in self.keys.items():
                ids = [(key, 1 + (i + round_number) % 7, connection.send(
                    "take", key, 1 + (i + round_number) % 7, plan, {"deadline_ms": 20000}))
                    for i, key in enumerate(keys)]
                for key, cost, request in ids:
                    allowed, remaining, *_, flags = connection.result(request, 30)
                    self.left[key] -= cost
                    # Of an owner, and of all that was taken before: nothing was made up.
                    self.assertEqual((allowed, remaining, flags), (True, self.left[key], 0), key)

    def wait_within_bound(self):
        """The store has had the records for 3 s before their buckets leave memory."""
        wait_for("each shard is within its bound", lambda: all(
            one["buckets"] <= BOUND + MORE and one["slots_asleep"] > 0 for one in self.counters()))

    def restart(self):
        self.cluster.wait_written()
        node = self.cluster.nodes[0]
        node.kill9()
        node.start()
        self.cluster.wait_ready()

    def test_more_keys_than_memory_may_hold(self):
        self.take(1)
        self.restart()
        at_start = self.counters()
        for one in at_start:  # no more is read in than there is room for, and a page of 1,000
            self.assertLess(one["buckets"], KEYS // 2)
            self.assertGreater(one["slots_asleep"], 0)
        self.check_levels(0)
        self.wait_within_bound()
        after = self.counters()
        self.take(2)  # each is asked for before it is decided
        fetched = sum(one["keys_fetched"] for one in self.counters())
        self.assertGreater(fetched, KEYS - 2 * (BOUND + MORE))
        self.restart()
        self.check_levels(BURST // 8)
        self.cluster.__exit__(None, None, None)
        say("%d keys, %d read at a start, %s in memory of a bound of %d a shard; %d fetched; every "
            "count exact over two kills" % (
                KEYS, sum(one["buckets"] for one in at_start),
                " and ".join(str(one["buckets"]) for one in after), BOUND, fetched))

    def check_levels(self, reserved):
        """`reserved`: what a crash may cost a strict key, which comes to be taken again soon."""
        for plan, keys in self.keys.items():
            levels = self.cluster.levels(keys, plan)
            for key in keys:
                least = self.left[key] - (reserved if plan == "strict" else 0)
                self.assertTrue(least <= levels[key] <= self.left[key], (key, levels[key]))
                self.left[key] = levels[key]


if __name__ == "__main__":
    unittest.main()
