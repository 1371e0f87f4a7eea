"""Nodes that die, come back, sleep, or are cut off: their slots answer again soon, and what a node
that lost them still believes reaches nobody.
"""

import os
import signal
import time
import unittest

from harness import SLOW, SNAPSHOT_S, Node, RpcError, free_ports, metronome, say, wait_for
from move_tools import (DEGRADED, Proxy, events, halt, key_of_each_slot, newest_map, node_of, over_bound,
                        owner_list, rebalance, slots_by_node, wait_answered)
from sp_client import connect_when_up
from test_move import BURST, TTL_S, MovingTest, lease_args



class FailoverTest(MovingTest):
    smoke = False

    def open_calm(self, **options):
        """Three nodes, with the calm that a takeover needs: three leases."""
        cluster = self.open_cluster(nodes=3, node_args=lease_args(), **options)
        self.keys = key_of_each_slot(1024)
        time.sleep(3.2 * TTL_S)
        return cluster

    def keys_of(self, node_id):
        cluster_map = newest_map(self.cluster)
        return [self.keys[slot] for slot, shard in enumerate(owner_list(cluster_map))
                if node_of(cluster_map, shard) == node_id]

    def spent(self):
        with self.cluster.connect() as connection:
            connection.take_many([[key, 7, "slow"] for key in self.keys])
        return self.cluster.levels(self.keys, "slow")

    def slack_s(self):
        """What the machine added since the load was started: this and that may take longer then,
        and what a node grants stays unwritten longer."""
        return metronome().slack_s()

    def last_by_policy(self, load, since):
        """When the last take was sent that nobody decided in time, in seconds since then."""
        late = [sent for sent, _, _, outcome in load.records if outcome == DEGRADED]
        return max(late) - since if late else 0.0

    def check_bound(self, load):
        """Nothing but answers by policy, and no grant was forgotten: the plans are strict."""
        self.assertEqual(load.error_codes, {})
        self.assertEqual(load.reconnects, 0)
        self.assertEqual(over_bound(load.records, BURST), [])

    def test_killed_under_load_and_taken_over(self):
        cluster = self.open_calm()
        before = self.spent()
        load = self.start_load()
        time.sleep(0.7)
        mine, at = self.keys_of("n3"), time.monotonic()
        with cluster.connect() as probe:
            cluster.nodes[2].kill9()
            took_s = wait_answered(cluster, mine, at, 10, connection=probe)
        time.sleep(0.3)
        load.stop()
        self.check_bound(load)
        say("a node of three was killed under %.0f takes/s: its %d slots answer %.2f s later (lease "
            "%.1f s); the last take by policy was sent after %.2f s; %d by policy in all" %
            (load.rate, len(mine), took_s, TTL_S, self.last_by_policy(load, at),
             load.count(DEGRADED)))
        self.assertLess(took_s, TTL_S + 0.5 + self.slack_s())
        self.assertLess(self.last_by_policy(load, at), TTL_S + 0.5 + self.slack_s())
        self.assertEqual(cluster.levels(self.keys, "slow"), before)
        # The two others saw the same: it was done once, and evenly.
        told = [event["kind"] for event in events(cluster) if "failover" in event["kind"]]
        self.assertEqual(told.count("failover"), 1, told)
        self.assertEqual(slots_by_node(newest_map(cluster)), {"n1": 512, "n2": 512, "n3": 0})
        # It comes back and owns nothing until it is told to.
        cluster.nodes[2].start()
        with cluster.nodes[2].control() as control:
            wait_for("it is back", lambda: control.call("cluster.map")["map"])
        self.assertEqual(slots_by_node(newest_map(cluster))["n3"], 0)
        self.close_cluster()

    def test_back_within_its_lease(self):
        cluster = self.open_cluster(nodes=3, node_args=["--lease-ttl", "5s"])
        self.keys = key_of_each_slot(1024)
        before = self.spent()
        load = self.start_load()
        time.sleep(0.5)
        owners, mine = newest_map(cluster)["owners"], self.keys_of("n2")
        killed_at = time.monotonic()
        cluster.nodes[1].kill9()
        time.sleep(0.3)
        at = time.monotonic()
        cluster.nodes[1].start()
        took_s = wait_answered(cluster, mine, at, 10)
        load.stop()
        self.check_bound(load)
        say("killed, and started again within its lease: its %d slots answer %.0f ms after its "
            "start" % (len(mine), took_s * 1000))
        self.assertLess(took_s, 0.5 + self.slack_s())
        self.assertEqual(cluster.levels(self.keys, "slow"), before)
        self.assertEqual(newest_map(cluster)["owners"], owners)
        self.close_cluster()

    def writes_of(self, node):
        with node.control() as control:
            shards = control.call("node.status")["shards"]
        return {name: sum(shard["counters"][name] for shard in shards)
                for name in ("writes", "writes_fenced", "slots_owned")}

    def direct_answers(self, node, keys, within_s):
        """Takes straight to the shards of a node, until each of them answers MOVED. Returns
        (seconds that took, takes granted meanwhile)."""
        at, granted = time.monotonic(), 0
        for number in range(node.shards):
            with connect_when_up(node.shard_url(number)) as direct:
                while True:
                    answers = direct.take_many([[key, 1, "slow"] for key in keys])
                    granted += sum(1 for one in answers
                                   if not isinstance(one, RpcError) and one.allowed)
                    if all(isinstance(one, RpcError) and one.code == "MOVED" for one in answers):
                        break
                    self.assertLess(time.monotonic() - at, within_s, answers[:3])
        return time.monotonic() - at, granted

    def test_asleep_for_longer_than_its_lease(self):
        """Whether it tries to write before it hears of the others is a matter of luck."""
        self.assertTrue(any(self.sleep_and_wake() for _ in range(3)),
                        "nothing was tried, so nothing was shown")

    def sleep_and_wake(self):
        """Returns the number of its writes that were refused."""
        cluster = self.open_calm()
        before = self.spent()
        load = self.start_load()
        time.sleep(0.5)
        zombie, mine = cluster.nodes[0], self.keys_of("n1")
        written = self.writes_of(zombie)["writes"]
        at = time.monotonic()
        halt(zombie)
        try:
            took_s = wait_answered(cluster, mine, at, 10)
            time.sleep(0.3)
        finally:
            os.kill(zombie.pid, signal.SIGCONT)
        moved_s, granted = self.direct_answers(zombie, mine, 10)
        status = wait_for("it owns nothing", lambda: next(
            (s for s in [self.writes_of(zombie)] if s["slots_owned"] == 0), None))
        time.sleep(2 * SNAPSHOT_S)
        load.stop()
        self.check_bound(load)
        # Had a write of it been accepted, a key would stand lower than its owner left it.
        self.assertEqual(cluster.levels(self.keys, "slow"), before)
        self.assertEqual(zombie.log().count(b"Assertion"), 0)
        say("stopped for %.1f s: its slots answer elsewhere after %.2f s; awake it answers MOVED "
            "after %.0f ms, until when it granted %d takes to who asked it; %d writes refused by "
            "fences (%d accepted before it was stopped)" %
            (time.monotonic() - at, took_s, moved_s * 1000, granted, status["writes_fenced"],
             written))
        self.assertLess(took_s, TTL_S + 1.0 + self.slack_s())
        self.assertLess(moved_s, 0.5 + self.slack_s())
        self.close_cluster()
        return status["writes_fenced"]

    def test_cut_off_from_redis_only(self):
        """Routers still reach it, and believe the map, not the node."""
        cluster = self.open_cluster(nodes=2, node_args=lease_args())
        proxy = Proxy(cluster.redis.port, free_ports())
        self.addCleanup(proxy.close)
        lonely = Node(cluster.directory, "n3", "redis://127.0.0.1:%d" % proxy.listen_port, 2,
                      lease_args())
        cluster.nodes.append(lonely)
        cluster.processes.insert(0, lonely)
        lonely.start()
        wait_for("n3 stands in the map", lambda: "n3" in slots_by_node(newest_map(cluster)))
        rebalance(cluster)
        self.keys = key_of_each_slot(1024)
        time.sleep(3.2 * TTL_S)
        before = self.spent()
        mine = self.keys_of("n3")
        load = self.start_load()
        time.sleep(0.3)
        at = time.monotonic()
        proxy.block()
        wait_for("the others take over", lambda: slots_by_node(self.map_of(0))["n3"] == 0, 10)
        over_s = time.monotonic() - at
        took_s = wait_answered(cluster, mine, at, 10)
        time.sleep(0.5)  # it owns its slots still, as far as it knows
        proxy.unblock()
        moved_s, _ = self.direct_answers(lonely, mine, 10)
        time.sleep(2 * SNAPSHOT_S)
        load.stop()
        self.assertEqual(load.error_codes, {})
        self.assertEqual(over_bound(load.records, BURST), [])
        self.assertEqual(cluster.levels(self.keys, "slow"), before)
        say("cut off from Redis alone: taken over after %.2f s, all slots answer for sure after %.2f s; "
            "%d takes by policy of %d; let in again it answers MOVED %.0f ms later" %
            (over_s, took_s, load.count(DEGRADED), len(load.records), moved_s * 1000))
        self.assertLess(over_s, TTL_S + 1.0 + self.slack_s())
        self.assertLess(moved_s, 2.0 + self.slack_s())
        self.close_cluster()

    def map_of(self, node):
        with self.cluster.control(node) as control:
            return control.call("cluster.map")["map"]


if __name__ == "__main__":
    unittest.main()
