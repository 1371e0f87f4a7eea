"""The owner of slots that are on their way, their target, or the operator's tool stops, or dies, at
each step of the handover.

SLUICE_TEST_STOP_AT names a file; a node stops itself (SIGSTOP) when its handover reaches the step that
the file names, and takes the file away. Whatever the step, every slot answers again within a lease and a second, has one
owner, and nothing that was spent and written is forgotten.
"""

import os
import select
import signal
import subprocess
import time

from harness import SLOW, SNAPSHOT_S, RpcError, metronome, program, say, wait_for
from move_tools import (DEGRADED, GRANTED, UNANSWERED, halt, key_of_each_slot, newest_map, node_of,
                        over_bound, owner_list, rebalance, wait_answered, wait_in_map)
from test_move import BURST, TTL_S, MovingTest

# A lease that is short, so that it can run out at each step.
SHORT_S = 0.6 * SLOW

# Beyond its interval a write may take so long here, where tests share two processors.
WRITE_S = 0.2 * SLOW

# Seconds that are waited for beyond what is promised, to say how late it was.
LATE_S = 5

STEPS = ["reaching", "sealing", "changing", "settling"]
MOVED_SLOTS = 16


def short_lease():
    return ["--lease-ttl", "%dms" % (SHORT_S * 1000)]


def has_stopped(process):
    with open("/proc/%d/stat" % process.pid) as file:
        return file.read().rsplit(")", 1)[1].split()[0] == "T"


class MoveStepsTest(MovingTest):
    smoke = False

    def start_again(self, node):
        node.start()
        wait_for("%s is back" % node.id, lambda: self.alive(node))
        wait_answered(self.cluster, self.keys, time.monotonic(), 10)

    def alive(self, node):
        with self.cluster.control(1) as control:
            return any(member["id"] == node.id and member["alive"] and member["epoch"] > 0
                       for member in control.call("cluster.status")["nodes"])

    def open_hooked(self, **options):
        """A cluster whose n1 stops where stop_at says. It is started anew for that."""
        cluster = self.open_cluster(**options)
        self.keys = key_of_each_slot(1024)
        self.hook = os.path.join(cluster.directory, "stop-at")
        node = cluster.nodes[0]
        node.terminate()
        node.env = dict(os.environ, SLUICE_TEST_STOP_AT=self.hook)
        self.start_again(node)
        with cluster.connect() as connection:
            connection.take_many([[key, 4, "slow"] for key in self.keys])
        time.sleep(SNAPSHOT_S + WRITE_S)
        return cluster, cluster.levels(self.keys, "slow")

    def stop_at(self, step):
        with open(self.hook + ".new", "w") as file:
            file.write(step)
        os.rename(self.hook + ".new", self.hook)

    def slots_of(self, node_id):
        cluster_map = newest_map(self.cluster)
        return [slot for slot, shard in enumerate(owner_list(cluster_map))
                if node_of(cluster_map, shard) == node_id]

    def stopped_at(self, step):
        """n1 begins to hand slots to n2, and stops itself at the step."""
        node = self.cluster.nodes[0]
        metronome().reset()
        self.hand_over(node, step)
        return node, time.monotonic()

    def hand_over(self, node, step):
        """n1 begins to hand slots to n2. Asked again if that is refused: its map may be older."""
        self.stop_at(step)
        with node.control() as control:
            asked = []

            def stopped():
                if has_stopped(node):
                    return True
                if not asked or select.select([control.socket], [], [], 0)[0]:
                    if asked:
                        try:
                            self.fail("n1 did not stop: %s" % control.result(asked.pop()))
                        except RpcError as error:
                            self.assertIn(error.code, ("MOVED", "OVERLOADED", "UNAVAILABLE"))
                    asked.append(control.send("slots.move", self.slots_of("n1")[:MOVED_SLOTS],
                                              "n2", 0))
                return False

            wait_for("n1 stops at %s" % step, stopped, every_s=0.005)

    def check(self, step, how, since):
        took_s = wait_answered(self.cluster, self.keys, since, 10 * SLOW)
        self.assertLess(took_s, SHORT_S + 1.0 * SLOW + metronome().slack_s())
        return took_s

    def check_after(self, before):
        wait_for("all nodes agree on the map", lambda: len(
            {str(self.map_of(node)) for node in self.cluster.nodes}) == 1)
        wait_answered(self.cluster, self.keys, time.monotonic(), 5)
        self.assertEqual(self.cluster.levels(self.keys, "slow"), before)

    def map_of(self, node):
        with node.control() as control:
            return control.call("cluster.map")["map"]

    def give_back(self):
        """n1 gets slots again, so that it has some to hand over."""
        with self.cluster.control(1) as control:
            control.call("slots.move", self.slots_of("n2")[:64], "n1", 0)
        wait_answered(self.cluster, self.keys, time.monotonic(), 5)

    def check_bound(self, load):
        """Whoever was stopped or killed, and at whatever step: no key was granted more than its
        burst (the plan is strict, so nothing is forgiven), and nothing was answered by an error."""
        load.stop()
        self.assertEqual(load.error_codes, {})
        self.assertEqual(over_bound(load.records, BURST), [])
        granted = {}
        for _, _, key, outcome in load.records:
            granted[key] = granted.get(key, 0) + (outcome == GRANTED)
        spent = sum(1 for count in granted.values() if count == BURST)
        self.assertGreater(spent, 50, "too few keys came to their bound")
        say("of %d takes meanwhile %d by policy; no key beyond its bound, which %d keys came to" %
            (len(load.records), load.count(DEGRADED), spent))

    def test_each_step(self):
        cluster, before = self.open_hooked(nodes=3, node_args=short_lease())
        load = self.start_load()
        took = {}
        for step in STEPS:
            time.sleep(3.2 * SHORT_S)  # the calm that a takeover needs
            node, since = self.stopped_at(step)
            took[step, "stopped"] = self.check(step, "stopped", since)
            os.kill(node.pid, signal.SIGCONT)
            self.check_after(before)
            self.give_back()
            node, since = self.stopped_at(step)
            node.kill9()
            self.start_again(node)
            took[step, "killed"] = self.check(step, "killed", since)
            self.check_after(before)
            if len(self.slots_of("n1")) < MOVED_SLOTS:
                self.give_back()
        self.check_bound(load)
        say("the owner stopped or was killed and started again at each step of a handover; every "
            "slot answered again after " + ", ".join(
                "%s, %s: %.2f s" % (step, how, took_s) for (step, how), took_s in took.items()))
        self.close_cluster()

    def say_took(self, who, took):
        say("%s stopped, or was killed and started again, at each step of a handover; every slot "
            "answered again after %s" % (who, ", ".join(
                "%s, %s: %.2f s" % (step, how, took_s) for (step, how), took_s in took.items())))

    def balance_again(self):
        """Every node has its share, so that the next handover has something to move."""
        rebalance(self.cluster)
        wait_answered(self.cluster, self.keys, time.monotonic(), 5)

    def one_owner_each(self, ids):
        """The nodes of those ids have the same map, in which they own everything."""
        maps = [self.map_of(node) for node in self.cluster.nodes if node.id in ids]
        return all(one == maps[0] for one in maps) and \
            {node_of(maps[0], shard) for shard in owner_list(maps[0])} <= set(ids)

    def test_target_at_each_step(self):
        cluster, before = self.open_hooked(nodes=3, node_args=short_lease())
        source, target, took = cluster.nodes[0], cluster.nodes[1], {}
        load = self.start_load()
        for how in ("stopped", "killed"):
            for step in STEPS:
                if how == "stopped":
                    time.sleep(3.2 * SHORT_S)  # the calm that a takeover needs
                self.hand_over(source, step)
                if how == "stopped":
                    halt(target)
                else:
                    target.kill9()
                    target.start()
                since = time.monotonic()
                os.kill(source.pid, signal.SIGCONT)
                took[step, how] = wait_answered(cluster, self.keys, since, SHORT_S + 1.0 + LATE_S)
                self.assertLess(took[step, how], SHORT_S + 1.0 + metronome().slack_s())
                if how == "stopped":
                    wait_for("one owner each", lambda: self.one_owner_each(["n1", "n3"]), 5)
                    os.kill(target.pid, signal.SIGCONT)
                wait_for("one owner each", lambda: self.one_owner_each(["n1", "n2", "n3"]), 5)
                self.check_after(before)
                self.balance_again()
        self.check_bound(load)
        self.say_took("the target", took)
        self.close_cluster()

    def ctl(self, *words):
        argv = [program("sluicectl"), "--control", self.cluster.nodes[1].control_url, "--router",
                self.cluster.router.url] + list(words)
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        self.addCleanup(lambda: process.poll() is None and process.kill())
        return process

    def ctl_done(self, process):
        out, err = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 0, out + err)

    def test_operator_at_each_step(self):
        """Under load: no node is lost here, so nothing may be."""
        # However long a machine takes over a step, nobody is to be taken for dead.
        cluster, before = self.open_hooked(nodes=2, node_args=["--lease-ttl", "10s"])
        source, took = cluster.nodes[0], {}
        self.add_node("n3", ["--lease-ttl", "10s"])
        wait_in_map(cluster, "n3")
        load = self.start_load()
        for step in STEPS:
            for how in ("stopped", "killed"):
                self.stop_at(step)
                process = self.ctl("rebalance", "--yes", "--batch", "16")
                wait_for("n1 stops at %s" % step, lambda: has_stopped(source), every_s=0.005)
                if how == "stopped":
                    os.kill(process.pid, signal.SIGSTOP)
                else:
                    process.kill()
                    process.wait(10)
                since = time.monotonic()
                os.kill(source.pid, signal.SIGCONT)
                took[step, how] = wait_answered(cluster, self.keys, since, TTL_S + 1.0 + LATE_S)
                self.assertLess(took[step, how], TTL_S + 1.0 + metronome().slack_s())
                wait_for("one owner each", lambda: self.one_owner_each(["n1", "n2", "n3"]), 5)
                self.assertLess(len(self.slots_of("n3")), 340)  # nobody goes on with it
                if how == "stopped":
                    os.kill(process.pid, signal.SIGCONT)
                    self.ctl_done(process)
                else:
                    self.ctl_done(self.ctl("rebalance", "--resume", "--yes"))
                self.assertEqual(len(self.slots_of("n3")), 340)
                self.ctl_done(self.ctl("node", "drain", "n3", "--yes"))
                self.ctl_done(self.ctl("node", "resume", "n3"))
        load.stop()
        self.check_after(before)
        self.assertEqual((load.error_codes, load.count(UNANSWERED), load.reconnects), ({}, 0, 0))
        self.assertEqual(over_bound(load.records, BURST), [])
        self.say_took("sluicectl", took)
        say("of %d takes meanwhile %d came to their deadline, while the owner was stopped" %
            (len(load.records), load.count(DEGRADED)))
        self.close_cluster()
