"""The operator's rebalance by sluicectl: interrupted, killed, twice at once, resumed."""

import json
import os
import re
import signal
import subprocess
import time

from harness import RpcError, program, say, wait_for
from move_tools import (DEGRADED, MoveLoad, Parked, events, key_of_each_slot, move, newest_map,
                        over_bound, owner_list, set_weight, slot_of, slots_by_node, wait_answered,
                        wait_in_map)
from test_move import BURST, RATE, MovingTest

# Seconds after which a record that nobody updates counts as left behind (ctl/job.h).
STALE_S = 10


def summary(out):
    return next(line for line in out.splitlines() if line.startswith("moved "))


class OperatorTest(MovingTest):
    smoke = False

    def ctl(self, *words, start=False):
        argv = [program("sluicectl"), "--control", self.cluster.nodes[0].control_url,
                "--router", self.cluster.router.url] + list(words)
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        self.addCleanup(lambda: process.poll() is None and process.kill())
        if start:
            return process
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def open_grown(self):
        cluster = self.open_cluster(nodes=2)
        self.keys = key_of_each_slot(1024)
        with cluster.connect() as connection:
            connection.take_many([[key, 3, "slow"] for key in self.keys])
        self.before = cluster.levels(self.keys, "slow")
        self.add_node("n3")
        wait_in_map(cluster, "n3")
        return cluster

    def moved(self):
        return slots_by_node(newest_map(self.cluster)).get("n3", 0)

    def start_slowly(self):
        process = self.ctl("rebalance", "--yes", "--batch", "4", "--throttle", "100", start=True)
        wait_for("slots are moving", lambda: self.moved() >= 8)
        return process

    def check_done(self):
        self.assertEqual(self.moved(), 340)
        wait_answered(self.cluster, self.keys, time.monotonic(), 5)
        self.assertEqual(self.cluster.levels(self.keys, "slow"), self.before)
        self.close_cluster()

    def test_interrupted_and_resumed(self):
        self.open_grown()
        process = self.start_slowly()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
        self.assertEqual(process.returncode, 130, out + err)
        self.assertIn("--resume", out + err)
        held = self.moved()
        self.assertLess(held, 340)
        code, out, err = self.ctl("rebalance", "--yes", "--resume")
        self.assertEqual(code, 0, out + err)
        say("Ctrl-C after %d slots; --resume moved the rest: %s" % (held, summary(out)))
        self.check_done()

    def test_parked_takes_are_shown(self):
        """What the job says of parked takes is what the router counted, and the clients waited."""
        cluster = self.open_grown()
        load = self.start_load()
        time.sleep(0.5)
        parked = Parked(cluster)
        code, out, err = self.ctl("rebalance", "--yes", "--batch", "4")
        self.assertEqual(code, 0, out + err)
        shown = re.search(r"^parked  (\d+) takes at the router; ([0-9.]+) ms median, "
                          r"([0-9.]+) ms longest$", out, re.M)
        self.assertTrue(shown, out)
        parked.finish()
        self.assertGreater(parked.count, 0)
        # Those that were parked still when the job asked were counted a moment later.
        self.assertIn(parked.count - int(shown.group(1)), range(20))
        if parked.count == int(shown.group(1)):
            self.assertAlmostEqual(float(shown.group(2)), parked.median_ms, delta=0.1)
            self.assertAlmostEqual(float(shown.group(3)), parked.longest_ms, delta=0.1)
        code, out, err = self.ctl("--json", "node", "drain", "n3", "--yes")
        document = json.loads(out)
        self.assertEqual((code, document["state"]), (0, "done"), out + err)
        self.assertLessEqual(document["parked"]["median_us"], document["parked"]["longest_us"])
        # Where no router answers, nothing is said of it.
        code, out, err = self.ctl("node", "resume", "n3")
        self.assertEqual(code, 0, out + err)
        code, out, err = self.ctl("--router", "tcp://127.0.0.1:1", "rebalance", "--yes")
        self.assertEqual(code, 0, out + err)
        self.assertNotIn("parked", out + err)
        load.stop()
        say("a rebalance told of %d parked takes, %.1f ms (median), %.1f ms at most: as the router "
            "did; %d of %d takes in all by policy" % (parked.count, parked.median_ms,
                                                      parked.longest_ms, load.count(DEGRADED),
                                                      len(load.records)))
        self.assertEqual((load.error_codes, load.reconnects), ({}, 0))
        self.assertEqual(over_bound(load.records, BURST), [])
        self.check_done()

    def takes_by_node(self, span_s):
        """Takes a second of each node, measured while nothing moves."""
        def looked():
            counts = {}
            for node in self.cluster.nodes:
                with node.control() as control:
                    counts[node.id] = sum(takes for _, _, takes in control.call("slots.list"))
            return counts

        before = looked()
        time.sleep(span_s)
        return {node: (count - before[node]) / span_s for node, count in looked().items()}

    def test_by_load_evens_out_what_is_measured(self):
        """Nine tenths of the load go to 32 slots of one shard. One node is drained."""
        cluster = self.open_cluster(nodes=3)
        self.keys = key_of_each_slot(1024)
        with cluster.connect() as connection:
            connection.take_many([[key, 3, "slow"] for key in self.keys])
        self.before = cluster.levels(self.keys, "slow")
        code, out, err = self.ctl("node", "drain", "n3", "--yes")
        self.assertEqual(code, 0, out + err)
        cluster_map = newest_map(cluster)
        hot_slots = [slot for slot, shard in enumerate(owner_list(cluster_map)) if shard == 0][:32]
        busy = [b"busy-" + key for key in self.keys]  # other keys, so that levels stay as they are
        hot = [key for key in (b"hot-%d" % i for i in range(100000))
               if slot_of(key, cluster_map) in hot_slots][:320]
        # A slot of n3 that nobody asks for: it must not stay there.
        set_weight(cluster, "n3", 100)
        move(cluster, newest_map(cluster), [owner_list(cluster_map).index(2)], 4)
        set_weight(cluster, "n3", 0)
        self.assertEqual(slots_by_node(newest_map(cluster))["n3"], 1)
        load = MoveLoad(cluster.router.url, hot + busy, "few", rate=RATE, hot=len(hot), share=0.9)
        self.addCleanup(load.end)
        load.start()
        uneven = self.takes_by_node(1.5)
        code, out, err = self.ctl("--json", "rebalance", "--by", "load", "--yes")
        self.assertEqual(code, 0, out + err)
        even = self.takes_by_node(2)
        load.stop()
        moved = json.loads(out)["moved"]
        say("by load, takes/s: %s before, %s after %d slots had moved" % (
            ", ".join("%s %.0f" % one for one in uneven.items()),
            ", ".join("%s %.0f" % one for one in even.items()), moved))
        self.assertGreater(uneven["n1"], 4 * uneven["n2"])
        self.assertEqual(slots_by_node(newest_map(cluster))["n3"], 0)
        # Of each shard five percent are left alone, a hot slot is three; and it is a sample.
        self.assertLess(abs(even["n1"] - even["n2"]), 0.12 * (even["n1"] + even["n2"]))
        self.assertEqual(over_bound(load.records, BURST), [])
        wait_answered(cluster, self.keys, time.monotonic(), 5)
        self.assertEqual(cluster.levels(self.keys, "slow"), self.before)
        self.close_cluster()

    def test_killed_and_resumed(self):
        self.open_grown()
        process = self.start_slowly()
        process.kill()
        process.wait(10)
        held = self.moved()
        code, out, err = self.ctl("rebalance", "--yes")
        self.assertEqual(code, 4, out + err)  # somebody's is under way, as far as anyone knows
        code, out, err = self.ctl("--json", "rebalance", "status")
        self.assertEqual((code, json.loads(out)["state"]), (0, "running"), out + err)
        time.sleep(STALE_S + 1)
        code, out, err = self.ctl("rebalance", "--yes")
        self.assertEqual(code, 4, out + err)
        self.assertIn("--resume", out + err)
        code, out, err = self.ctl("rebalance", "--yes", "--resume")
        self.assertEqual(code, 0, out + err)
        say("killed after %d slots; taken over with --resume: %s" % (held, summary(out)))
        self.check_done()

    def test_stopped_cancelled_and_resumed(self):
        self.open_grown()
        process = self.start_slowly()
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(1.5)
        held = self.moved()
        time.sleep(0.5)
        self.assertEqual(self.moved(), held)  # nothing is half-moved, and nobody waits for it
        wait_answered(self.cluster, self.keys, time.monotonic(), 5)
        code, out, err = self.ctl("rebalance", "cancel")
        self.assertEqual(code, 0, out + err)
        os.kill(process.pid, signal.SIGCONT)
        out, err = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 7, out + err)
        self.assertLess(self.moved(), 340)
        code, out, err = self.ctl("rebalance", "--yes", "--resume")
        self.assertEqual(code, 0, out + err)
        say("stopped after %d slots, cancelled by another, resumed: %s" %
            (held, summary(out)))
        self.check_done()

    def test_node_with_a_map_of_a_moment_ago(self):
        """Heartbeats a second apart: the node asked does not know of the third one yet."""
        cluster = self.open_cluster(nodes=2, node_args=("--lease-ttl", "10s"))
        self.add_node("n3", ("--lease-ttl", "10s"))
        wait_in_map(cluster, "n3")
        with cluster.control() as control:
            known = control.call("cluster.map")["map"]["epoch"]
        say("the node asked knew epoch %d of %d" % (known, newest_map(cluster)["epoch"]))
        code, out, err = self.ctl("--json", "rebalance", "--dry-run")
        self.assertEqual(code, 0, out + err)
        moves = json.loads(out)["plan"]["moves"]
        self.assertEqual(sum(len(move["slots"]) for move in moves), 340)
        self.close_cluster()

    def test_two_operators_at_once(self):
        self.open_grown()
        both = [self.ctl("rebalance", "--yes", start=True) for _ in range(2)]
        ends = [process.communicate(timeout=30) + (process.returncode,) for process in both]
        codes = sorted(end[2] for end in ends)
        # One does it; the other is refused, or came when it was done.
        self.assertIn(codes, [[0, 4], [0, 0], [0, 7]], ends)
        told = [event for event in events(self.cluster) if event["kind"] == "move"]
        self.assertEqual(self.moved(), 340)
        say("two operators at once ended with %s; %d moves in the events" % (codes, len(told)))
        self.check_done()
