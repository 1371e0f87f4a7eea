"""Takes end to end, through the router and at the shards; plans that change."""

import time

from harness import HOUR_MS, INLINE, PLANS, Cluster, ClusterTest, wait_for
from sp_client import Connection, RpcError


class TakeTest(ClusterTest):

    def setUp(self):
        self.connection = self.cluster.connect()
        self.addCleanup(self.connection.close)

    def assert_error(self, code, call, *params):
        with self.assertRaises(RpcError) as caught:
            call(*params)
        self.assertEqual(caught.exception.code, code, caught.exception)
        return caught.exception

    def test_spends_until_empty(self):
        key = self.new_key()
        for left in range(6, -1, -1):
            take = self.connection.take(key, 1, INLINE)
            self.assertEqual((take.allowed, take.remaining, take.retry_after_us, take.limit,
                              take.flags), (True, left, 0, 7, 0))
        take = self.connection.take(key, 1, INLINE)
        self.assertEqual((take.allowed, take.remaining), (False, 0))
        self.assertTrue(0 < take.retry_after_us <= HOUR_MS * 1000, take)
        self.assertTrue(6 * HOUR_MS * 1000 < take.reset_after_us <= 7 * HOUR_MS * 1000, take)

    def test_refusal_spends_nothing(self):
        key = self.new_key()
        self.assertTrue(self.connection.take(key, 5, INLINE).allowed)
        self.assertFalse(self.connection.take(key, 3, INLINE).allowed)
        self.assertTrue(self.connection.take(key, 2, INLINE).allowed)

    def test_cost_above_the_burst_never_passes(self):
        take = self.connection.take(self.new_key(), 8, INLINE)
        self.assertEqual((take.allowed, take.retry_after_us, take.remaining), (False, -1, 7))

    def test_cost_zero_and_peek_spend_nothing(self):
        key = self.new_key()
        self.connection.take(key, 3, INLINE)
        for _ in range(3):
            self.assertEqual(self.connection.take(key, 0, INLINE).remaining, 4)
            self.assertEqual(self.connection.peek(key, 0, INLINE).remaining, 4)
        self.assertTrue(self.connection.peek(key, 4, INLINE).allowed)
        self.assertFalse(self.connection.peek(key, 5, INLINE).allowed)
        self.assertEqual(self.connection.peek(key, 0, INLINE).remaining, 4)

    def test_refund_never_above_full(self):
        key = self.new_key()
        self.connection.take(key, 5, INLINE)
        self.assertEqual(self.connection.refund(key, 3, INLINE).remaining, 5)
        self.assertEqual(self.connection.refund(key, 100, INLINE).remaining, 7)
        self.assertEqual(self.connection.peek(key, 0, INLINE).remaining, 7)

    def test_refills_with_time(self):
        key, limit = self.new_key(), {"rate": 20, "period_ms": 1000, "burst": 10}
        self.assertTrue(self.connection.take(key, 10, limit).allowed)
        take = self.connection.take(key, 5, limit)
        if not take.allowed:
            time.sleep(take.retry_after_us / 1e6)
            self.assertTrue(self.connection.take(key, 5, limit).allowed, "after retry_after")

    def test_defaults_of_an_inline_limit(self):
        take = self.connection.take(self.new_key(), 1, {"rate": 8})
        self.assertEqual((take.limit, take.remaining), (8, 7))

    def test_plan_by_name_and_default(self):
        self.assertEqual(self.connection.take(self.new_key()).limit, 1000)
        self.assertEqual(self.connection.take(self.new_key(), 1, "fast").limit, 20)

    def test_two_limits_pass_together_or_not_at_all(self):
        key = self.new_key()
        granted = 0
        for _ in range(60):  # 10 at once, then 100 a second, but never more than 25 an hour
            granted += self.connection.take(key, 1, "two").allowed
            time.sleep(0.01)
        self.assertEqual(granted, 25)
        take = self.connection.take(key, 1, "two")
        self.assertFalse(take.allowed)
        self.assertEqual(take.limit, 25, "the longest wait speaks")
        self.assertGreater(take.retry_after_us, 60 * 1000 * 1000)

    def test_binary_and_long_keys(self):
        for key in (b"\xff\xfe\x00\x01", b"\0", b"k" * 256, bytes(range(256))):
            self.assertEqual(self.connection.take(key, 2, INLINE).remaining, 5)
            self.assertEqual(self.connection.take(key, 2, INLINE).remaining, 3)

    def test_str_and_bin_name_the_same_key(self):
        key = self.new_key()
        self.connection.take(key, 2, INLINE)
        self.assertEqual(self.connection.take(key.decode(), 2, INLINE).remaining, 3)

    def test_take_many_decides_each_by_itself(self):
        keys = [self.new_key() for _ in range(3)]
        takes = [[keys[0], 1, INLINE], [keys[1], 8, INLINE], [keys[0], 6, INLINE],
                 [keys[2], 1, "no-such-plan"], [keys[0], 1, INLINE], [keys[2]]]
        for where in ("router", "again"):
            answers = self.connection.take_many(takes)
            first = where == "router"
            self.assertEqual(answers[0].allowed, first)
            self.assertEqual((answers[1].allowed, answers[1].retry_after_us), (False, -1))
            self.assertEqual(answers[2].allowed, first)
            self.assertEqual(answers[3].code, "UNKNOWN_PLAN")
            self.assertFalse(answers[4].allowed)
            self.assertEqual(answers[5].remaining, 999 if first else 998)

    def test_take_many_of_the_most_takes(self):
        keys = [b"many-%d" % i for i in range(4096)]
        began = time.monotonic()
        answers = self.connection.take_many([[key, 1, INLINE] for key in keys])
        if time.monotonic() - began < 0.2:  # a router's deadline is 0.25 s
            self.assertEqual({answer.remaining for answer in answers}, {6})
        # A slow build answers some by policy; when they are stored, looking at them is quick.
        answers = wait_for("all are answered by their owners", lambda: self.owners_answers(keys))
        self.assertLessEqual({answer.remaining for answer in answers}, {6, 7})
        self.assertIn(6, {answer.remaining for answer in answers})
        self.assertEqual(self.connection.call("take_many"), [])

    def owners_answers(self, keys):
        answers = self.connection.take_many([[key, 0, INLINE] for key in keys])
        return answers if not any(answer.degraded for answer in answers) else None

    def test_unknown_plan(self):
        error = self.assert_error("UNKNOWN_PLAN", self.connection.take, b"k", 1, "no-such-plan")
        self.assertTrue(error.text)

    def test_pipelined_requests_are_matched(self):
        keys = [b"pipe-%d" % i for i in range(2000)]
        ids = [self.connection.send("take", key, i % 7 + 1, INLINE) for i, key in enumerate(keys)]
        for i, request_id in reversed(list(enumerate(ids))):
            result = self.connection.result(request_id)
            self.assertEqual(result[:2], [True, 7 - (i % 7 + 1)])

    def test_results_agree_at_the_shard(self):
        """The same bucket through the router and at its owner; another shard says MOVED."""
        key = self.new_key()
        cluster_map = self.cluster.map()
        owner = self.cluster.owner_url(key, cluster_map)
        self.assertEqual(self.connection.take(key, 2, INLINE).remaining, 5)
        with Connection(owner) as direct:
            self.assertEqual(direct.take(key, 2, INLINE).remaining, 3)
            self.assertEqual(direct.take_many([[key, 1, INLINE]])[0].remaining, 2)
        self.assertEqual(self.connection.refund(key, 1, INLINE).remaining, 3)
        others = [shard[2] for shard in cluster_map["shards"] if shard[2] != owner]
        self.assertEqual(len(others), 3)
        for other in others:
            with Connection(other) as wrong:
                error = self.assert_error("MOVED", wrong.take, key, 1, INLINE)
                self.assertEqual(error.data[1:3], [cluster_map["epoch"], owner])
                one = wrong.take_many([[key, 1, INLINE]])[0]
                self.assertEqual(one.code, "MOVED")
        self.assertEqual(self.connection.peek(key, 0, INLINE).remaining, 3, "MOVED spent nothing")

    def test_every_shard_owns_its_part(self):
        cluster_map = self.cluster.map()
        self.assertEqual(sum(count for count, _ in cluster_map["owners"]), 1024)
        owned = [0] * len(cluster_map["shards"])
        for count, shard in cluster_map["owners"]:
            owned[shard] += count
        self.assertEqual(owned, [256] * 4)

    def test_status(self):
        status = self.connection.call("cluster.status")
        self.assertEqual(status["program"], "sluice-router")
        self.assertTrue(any(link["up"] for link in status["links"]))
        with self.cluster.control() as control:
            status = control.call("cluster.status")
            self.assertEqual(status["program"], "sluice-node")
            self.assertEqual([(node["id"], node["alive"]) for node in status["nodes"]],
                             [("n1", True), ("n2", True)])
            self.assertEqual(sum(node["slots_owned"] for node in status["nodes"]), 1024)
            node = control.call("node.status")
            self.assertTrue(node["store"]["up"])
            self.assertEqual(len(node["shards"]), 2)


class PlanTest(ClusterTest):
    """Plans that change, and keys that have one assigned."""

    def setUp(self):
        self.connection = self.cluster.connect()
        self.addCleanup(self.connection.close)

    def at_owner(self, key, method, *params):
        with self.cluster.owner_node(key).control() as control:
            return control.call(method, key, *params)

    def apply(self, plans):
        """Again while the node has not yet seen what was applied a moment before."""
        with self.cluster.control() as control:
            def applied():
                try:
                    return control.call("plans.apply", plans)
                except RpcError as error:
                    if error.code != "CONFLICT":
                        raise
                    return None

            return wait_for("the plans are applied", applied)

    def with_plan(self, name, limits, **terms):
        plans = [plan for plan in PLANS["plans"] if plan["name"] != name]
        return dict(PLANS, plans=plans + [dict({"name": name, "limits": limits}, **terms)])

    def test_assign_show_reset(self):
        key = self.new_key("assigned")
        shown = self.at_owner(key, "key.show")
        self.assertEqual((shown["plan"], shown["assigned"], shown["resident"]),
                         ("slow", False, False))
        self.at_owner(key, "key.assign", "fast")
        self.assertEqual(self.connection.take(key, 5).limit, 20)
        shown = self.at_owner(key, "key.show")
        self.assertEqual((shown["plan"], shown["assigned"]), ("fast", True))
        self.at_owner(key, "key.assign", "slow")
        self.assertEqual(self.connection.take(key, 10).limit, 1000)
        shown = self.at_owner(key, "key.show")
        self.assertEqual(shown["bucket_plan"], "slow")
        self.assertTrue(shown["resident"])
        left = shown["limits"][0]["level"]
        self.assertLessEqual(left, 990)
        self.at_owner(key, "key.reset")
        self.assertEqual(self.connection.peek(key).remaining, 1000)
        self.at_owner(key, "key.assign", None)
        self.assertFalse(self.at_owner(key, "key.show")["assigned"])

    def test_assignment_and_reset_outlive_the_node(self):
        with Cluster(nodes=1) as cluster:
            with cluster.control() as control, cluster.connect() as connection:
                connection.take(b"reset", 10)
                connection.take(b"kept", 10)
                cluster.wait_written()
                control.call("key.assign", b"assigned", "fast")
                control.call("key.reset", b"reset")
            cluster.nodes[0].kill9()
            cluster.nodes[0].start()
            cluster.wait_ready()
            with cluster.connect() as connection:
                self.assertEqual(connection.take(b"assigned").limit, 20)
                self.assertEqual(connection.peek(b"reset").remaining, 1000)
                self.assertEqual(connection.peek(b"kept").remaining, 990)

    def test_the_wrong_node_says_where(self):
        key = self.new_key()
        owner = self.cluster.owner_node(key)
        other = next(node for node in self.cluster.nodes if node is not owner)
        with other.control() as control:
            for method, params in (("key.show", []), ("key.reset", []), ("key.assign", ["fast"])):
                with self.assertRaises(RpcError) as caught:
                    control.call(method, key, *params)
                self.assertEqual(caught.exception.code, "MOVED")
                self.assertEqual(caught.exception.data[2], owner.control_url)

    def test_a_changed_plan_keeps_what_was_spent(self):
        key = self.new_key()
        self.apply(self.with_plan("changing", [{"rate": 1, "period_ms": HOUR_MS, "burst": 100}]))
        wait_for("the plan is known", lambda: self.limit_of("changing") == 100)
        self.assertEqual(self.connection.take(key, 60, "changing").remaining, 40)
        self.apply(self.with_plan("changing", [{"rate": 1, "period_ms": HOUR_MS, "burst": 150}]))
        wait_for("the raise arrives", lambda: self.limit_of("changing") == 150)
        self.assertEqual(self.connection.peek(key, 0, "changing").remaining, 90)
        self.apply(self.with_plan("changing", [{"rate": 1, "period_ms": HOUR_MS, "burst": 50}]))
        wait_for("the cut arrives", lambda: self.limit_of("changing") == 50)
        take = self.connection.take(key, 1, "changing")
        self.assertEqual((take.allowed, take.remaining), (False, 0))
        self.apply(PLANS)

    def limit_of(self, plan):
        """The burst that all shards know the plan by; None while they differ."""
        bursts = set()
        for key in [b"probe-%d" % i for i in range(40)]:
            try:
                bursts.add(self.connection.peek(key, 0, plan).limit)
            except RpcError as error:
                bursts.add(error.code)
        return bursts.pop() if len(bursts) == 1 else None

    def test_a_plan_that_goes(self):
        key = self.new_key()
        self.apply(self.with_plan("brief", [{"rate": 5}]))
        wait_for("the plan is known", lambda: self.limit_of("brief") == 5)
        self.at_owner(key, "key.assign", "brief")
        self.assertEqual(self.connection.take(key).limit, 5)
        self.apply(PLANS)
        wait_for("the plan is gone", lambda: self.limit_of("brief") == "UNKNOWN_PLAN")
        with self.assertRaises(RpcError) as caught:
            self.connection.take(key)
        self.assertEqual(caught.exception.code, "UNKNOWN_PLAN")
        self.assertIn("assign", caught.exception.text)
        self.at_owner(key, "key.assign", None)
        self.assertEqual(self.connection.take(key).limit, 1000)

    def test_apply_says_what_changed(self):
        with self.cluster.control() as control:
            before = control.call("plans.get")
            again = control.call("plans.apply", before)
            self.assertEqual((again["version"], again["changed"]), (before["version"], False))
            with self.assertRaises(RpcError) as caught:
                control.call("plans.apply", PLANS, {"base": before["version"] + 1})
            self.assertEqual(caught.exception.code, "CONFLICT")
            with self.assertRaises(RpcError) as caught:
                control.call("cluster.init")
            self.assertEqual(caught.exception.code, "CONFLICT")
