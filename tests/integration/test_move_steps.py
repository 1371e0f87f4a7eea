"""The owner of slots that are on their way stops, or dies, at each step of the handover.

SLUICE_TEST_STOP_AT makes a node stop itself (SIGSTOP) when its handover reaches that step. Whatever
the step, every slot answers again within a lease and a second, has one owner, and nothing that was
spent and written is forgotten.
"""

import os
import signal
import time

from harness import SLOW, metronome, say, wait_for
from move_tools import (events, key_of_each_slot, newest_map, node_of, owner_list, wait_answered,
                        wait_in_map)
from test_move import TTL_S, MovingTest, lease_args

STEPS = ["reaching", "sealing", "changing", "settling"]
MOVED_SLOTS = 16


def has_stopped(process):
    with open("/proc/%d/stat" % process.pid) as file:
        return file.read().rsplit(")", 1)[1].split()[0] == "T"


class MoveStepsTest(MovingTest):
    smoke = False

    def start_with(self, node, env):
        """Starts n1 again, with or without the hook."""
        node.env = dict(os.environ, **env)
        node.start()
        wait_for("%s is back" % node.id, lambda: self.alive(node))

    def alive(self, node):
        with self.cluster.control(1) as control:
            return any(member["id"] == node.id and member["alive"] and member["epoch"] > 0
                       for member in control.call("cluster.status")["nodes"])

    def slots_of(self, node_id):
        cluster_map = newest_map(self.cluster)
        return [slot for slot, shard in enumerate(owner_list(cluster_map))
                if node_of(cluster_map, shard) == node_id]

    def stopped_at(self, step):
        """n1 begins to hand slots to n2, and stops itself at the step."""
        node = self.cluster.nodes[0]
        node.terminate()
        self.start_with(node, {"SLUICE_TEST_STOP_AT": step})
        wait_answered(self.cluster, self.keys, time.monotonic(), 10)
        with node.control() as control:
            control.send("slots.move", self.slots_of("n1")[:MOVED_SLOTS], "n2", 0)
            metronome().reset()
            wait_for("n1 stops at %s" % step, lambda: has_stopped(node))
        return node, time.monotonic()

    def check(self, step, how, since):
        took_s = wait_answered(self.cluster, self.keys, since, 10 * SLOW)
        self.assertLess(took_s, (TTL_S + 1.0) * SLOW + metronome().slack_s())
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

    def test_each_step(self):
        cluster = self.open_cluster(nodes=3, node_args=lease_args())
        self.keys = key_of_each_slot(1024)
        with cluster.connect() as connection:
            connection.take_many([[key, 4, "slow"] for key in self.keys])
        before = cluster.levels(self.keys, "slow")
        took = {}
        for step in STEPS:
            time.sleep(3.2 * TTL_S)  # the calm that a takeover needs
            node, since = self.stopped_at(step)
            took[step, "stopped"] = self.check(step, "stopped", since)
            os.kill(node.pid, signal.SIGCONT)
            self.check_after(before)
            self.give_back()
            node, since = self.stopped_at(step)
            node.kill9()
            self.start_with(node, {})
            took[step, "killed"] = self.check(step, "killed", since)
            self.check_after(before)
            if len(self.slots_of("n1")) < MOVED_SLOTS:
                self.give_back()
        say("the owner stopped or was killed and started again at each step of a handover; every "
            "slot answered again after " + ", ".join(
                "%s, %s: %.2f s" % (step, how, took_s) for (step, how), took_s in took.items()))
        self.close_cluster()
