"""What is answered when nobody can decide: no owner, too much at once, no memory."""

import os
import signal
import time

from harness import INLINE, SLOW, ClusterTest, Router, metronome, say, wait_for
from move_tools import halt
from sp_client import RpcError


class PolicyTest(ClusterTest):
    """What is answered when no owner does: the plan's policy, marked, within the deadline."""

    cluster_options = {"nodes": 2, "shards": 1}

    def test_deny_and_allow_without_an_owner(self):
        cluster_map = self.cluster.map()
        dead, living = self.cluster.nodes
        lost = [key for key in (b"lost-%d" % i for i in range(200))
                if self.cluster.owner_node(key, cluster_map) is dead]
        kept = [key for key in (b"lost-%d" % i for i in range(200))
                if self.cluster.owner_node(key, cluster_map) is living]
        self.assertTrue(lost and kept)
        dead.kill9()
        slowest = 0.0
        metronome().reset()
        with self.cluster.connect() as connection:
            for plan, allowed in (("slow", False), (None, False), ("open", True)):
                for options, deadline_s in ((None, 0.25), ({"deadline_ms": 60}, 0.06)):
                    began = time.monotonic()
                    take = connection.take(lost[0], 1, plan, options)
                    late = time.monotonic() - began - deadline_s
                    slowest = max(slowest, late)
                    self.assertEqual((take.allowed, take.degraded, take.remaining),
                                     (allowed, True, 0))
                    self.assertLess(late, 0.1 * SLOW + metronome().slack_s(),
                                    "answered too late")
            answers = connection.take_many([[key, 1, "slow"] for key in lost + kept])
            for answer in answers[:len(lost)]:
                self.assertEqual((answer.allowed, answer.degraded), (False, True))
            for answer in answers[len(lost):]:
                self.assertEqual((answer.allowed, answer.degraded, answer.remaining),
                                 (True, False, 999))
            # The default plan speaks for a limit that is brought along, and denies.
            take = connection.take(lost[1], 1, INLINE)
            self.assertEqual((take.allowed, take.degraded), (False, True))
            with self.assertRaises(RpcError) as caught:
                connection.take(lost[0], 1, "no-such-plan")
            self.assertEqual(caught.exception.code, "UNKNOWN_PLAN")
        say("degraded answers came at most %.0f ms after the deadline" % (slowest * 1000))
        dead.start()
        self.cluster.wait_ready()
        with self.cluster.connect() as connection:
            self.assertEqual(connection.take(lost[0], 1, "slow").remaining, 999,
                             "degraded answers spent nothing")


class RoutersTest(ClusterTest):
    """Routers hold no state: any number of them is one."""

    cluster_options = {"nodes": 2, "shards": 1}

    def router(self, name, *args):
        router = Router(self.cluster.directory, self.cluster.nodes, args, name=name).start()
        self.addCleanup(router.end)
        return router

    def test_two_routers_share_the_buckets(self):
        key = self.new_key()
        with self.cluster.connect() as one, self.router("second").connect() as other:
            wait_for("the second router knows the map",
                     lambda: not other.take(self.new_key(), 0, INLINE).degraded)
            left = [connection.take(key, 1, INLINE).remaining for connection in (one, other) * 3]
        self.assertEqual(left, [6, 5, 4, 3, 2, 1])

    def test_overload_is_an_answer(self):
        """More takes than may wait, for shards that do not answer: the rest is refused at once."""
        router = self.router("small", "--pending", "4096")
        with router.connect() as connection:
            wait_for("the router knows the map",
                     lambda: not connection.take(self.new_key(), 0, INLINE).degraded)
            metronome().reset()
            for node in self.cluster.nodes:
                halt(node)
            try:
                began = time.monotonic()
                ids = connection.send_all([("take", b"over-%d" % i, 1, "slow",
                                            {"deadline_ms": 2000}) for i in range(6000)])
                answers = {"degraded": 0, "OVERLOADED": 0}
                overloaded_s = 0
                for request_id in reversed(ids):
                    try:
                        answers["degraded"] += connection.result(request_id)[5] & 1
                    except RpcError as error:
                        answers[error.code] += 1
                        overloaded_s = max(overloaded_s, time.monotonic() - began)
            finally:
                for node in self.cluster.nodes:
                    os.kill(node.pid, signal.SIGCONT)
            self.assertEqual(answers, {"degraded": 4096, "OVERLOADED": 6000 - 4096})
            self.assertLess(overloaded_s, 1.0 * SLOW + metronome().slack_s(),
                            "waited for those that wait")
            wait_for("it works again",
                     lambda: not connection.take(self.new_key(), 1, INLINE).degraded)
        self.cluster.wait_ready()


class MemoryTest(ClusterTest):
    cluster_options = {"nodes": 1, "shards": 1, "node_args": ["--shard-memory-max", "16MiB"]}

    def test_a_full_shard_keeps_what_it_holds(self):
        """Keys beyond its memory are refused by name; those it holds are decided as before."""
        with self.cluster.connect() as connection:
            held, refused = 0, 0
            while not refused and held < 1000000:
                answers = connection.take_many([[b"held-%d" % i, 1, "slow"]
                                                for i in range(held, held + 4096)])
                held += 4096
                refused = sum(isinstance(answer, RpcError) for answer in answers)
            self.assertEqual({answer.code for answer in answers if isinstance(answer, RpcError)},
                             {"OVERLOADED"})
            self.assertEqual(connection.take(b"held-0", 1, "slow").remaining, 998)
            with self.cluster.control() as control:
                counters = control.call("node.status")["shards"][0]["counters"]
        self.assertLessEqual(counters["memory_bytes"], 16 << 20)
        say("%d buckets in 16 MiB, %.0f bytes a bucket" %
            (counters["buckets"], counters["memory_bytes"] / counters["buckets"]))
