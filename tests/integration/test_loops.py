"""A router of several loops: connections are spread over them, and callers cannot tell."""

import os
import threading
import unittest

from harness import (QUICK, SLOW, Cluster, Router, new_directory, say, wait_for)
from sp_client import Closed, RpcError, connect_when_up
from test_start import run

LOOPS = 3

# Enough that no loop is left out by chance: the kernel draws one for each, (2/3)^90 < 1e-15.
CONNECTIONS = 90


class LoopsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(nodes=2, shards=2, router_args=("--loops", LOOPS)).__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)

    def connections(self, count=CONNECTIONS):
        all_of_them = [self.cluster.connect() for _ in range(count)]
        for connection in all_of_them:
            self.addCleanup(connection.close)
        return all_of_them

    def test_takes_are_spread_and_summed(self):
        takes = 5 if QUICK else 20
        with self.cluster.connect() as watcher:
            before = watcher.call("cluster.status")
            connections = self.connections()
            sent = [(connection, connection.send("take", b"spread-%d-%d" % (i, j), 1))
                    for i, connection in enumerate(connections) for j in range(takes)]
            for connection, asked in sent:
                self.assertTrue(connection.result(asked)[0])
            after = watcher.call("cluster.status")
        self.assertEqual(len(after["loops"]), LOOPS)
        for was, now in zip(before["loops"], after["loops"]):
            self.assertGreater(now["connections_open"], 0)
            self.assertGreater(now["takes"], was["takes"])
        counters = after["counters"]
        self.assertEqual(counters["takes"] - before["counters"]["takes"], len(sent))
        self.assertEqual(sum(loop["takes"] for loop in after["loops"]), counters["takes"])
        self.assertEqual(sum(loop["connections_open"] for loop in after["loops"]),
                         counters["connections_open"])
        self.assertGreaterEqual(counters["connections_open"], CONNECTIONS + 1)
        self.assertEqual([link["up"] for link in after["links"]], [True] * 4)
        say("takes of each loop: %s" % [loop["takes"] for loop in after["loops"]])

    def test_a_bucket_has_one_level_for_all_loops(self):
        limit = {"rate": 1, "period_ms": 3600000, "burst": 100}
        asked = [(connection, connection.send("take", b"one-level", 1, limit))
                 for connection in self.connections() for _ in range(3)]
        granted = sum(connection.result(request)[0] for connection, request in asked)
        self.assertEqual(granted, 100)

    def test_many_ask_for_the_status_at_once(self):
        """Each is answered, by the status or by OVERLOADED, and takes go on meanwhile."""
        outcomes = {"status": 0, "OVERLOADED": 0}
        asked = [(connection, connection.send("cluster.status"))
                 for connection in self.connections(30) for _ in range(100)]
        with self.cluster.connect() as other:
            self.assertTrue(other.take(b"meanwhile").allowed)
        for connection, request in asked:
            try:
                self.assertEqual(len(connection.result(request)["loops"]), LOOPS)
                outcomes["status"] += 1
            except RpcError as error:
                self.assertEqual(error.code, "OVERLOADED")
                outcomes["OVERLOADED"] += 1
        self.assertGreater(outcomes["status"], 0)
        say("3,000 questions at once: %s" % outcomes)

    def test_every_loop_follows_the_map(self):
        """A change of plans is seen by whoever asks, on whichever loop."""
        with self.cluster.control() as control:
            version = control.call("plans.apply", self.cluster.plans)["version"]
        connections = self.connections(30)
        wait_for("all loops have the plans", lambda: connections[0].call(
            "cluster.status")["plans_version"] >= version)
        for connection in connections:
            self.assertGreaterEqual(connection.call("cluster.map")["policies"]["version"], version)

    def test_an_address_in_use_is_named(self):
        """Loops share an address with each other, and with nobody else."""
        nodes = self.cluster.nodes[0].control_url
        for loops in (1, 2):
            code, out = run("sluice-router", "--nodes", nodes, "--listen",
                            self.cluster.router.url, "--loops", loops)
            self.assertEqual(code, 1, out)
            self.assertIn("another process listens there", out)

    def test_loops_need_an_address_to_share(self):
        path = "ipc://" + os.path.join(new_directory(), "router.ipc")
        code, out = run("sluice-router", "--nodes", self.cluster.nodes[0].control_url,
                        "--listen", path, "--loops", 2)
        self.assertEqual(code, 1, out)
        self.assertIn("tcp://", out)
        code, out = run("sluice-router", "--loops", 1000)
        self.assertEqual(code, 2, out)
        self.assertIn("loops", out)

    def test_a_stop_answers_what_is_outstanding(self):
        """SIGTERM under load, several times: exit code 0, nothing left unanswered that was read."""
        for round_number in range(1 if QUICK else 2):
            router = Router(new_directory(), self.cluster.nodes, ("--loops", LOOPS),
                            name="stopped-%d" % round_number).start()
            try:
                self.stop_under_load(router)
            finally:
                router.end()

    def stop_under_load(self, router):
        connections = [router.connect() for _ in range(24)]
        wait_for("it knows the map", lambda: connections[0].call("cluster.status")["epoch"] > 0)
        answered, stop = [0] * len(connections), threading.Event()

        def ask(index):
            connection = connections[index]
            try:
                while not stop.is_set():
                    if index % 8 == 0:
                        connection.call("cluster.status")
                    else:
                        connection.take(b"stopped-%d" % index, plan="fast")
                    answered[index] += 1
            except (Closed, OSError, RpcError):
                pass

        threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(connections))]
        for thread in threads:
            thread.start()
        wait_for("all have been answered", lambda: all(answered))
        self.assertEqual(router.terminate(within_s=10 * SLOW), 0, router.tail())
        stop.set()
        for thread in threads:
            thread.join()
        for connection in connections:
            connection.close()
        self.assertNotIn(b"Assertion", router.log())


class NodeDiesTest(unittest.TestCase):
    """Each loop has links of its own, and each finds the way again."""

    smoke = False

    def test_every_loop_hears_of_a_node_that_died(self):
        with Cluster(nodes=2, shards=1, router_args=("--loops", LOOPS)) as cluster:
            connections = [cluster.connect() for _ in range(30)]
            cluster.nodes[0].kill9()
            for index, connection in enumerate(connections):
                wait_for("its keys are decided by the other", lambda: not connection.take(
                    b"moved-%d" % index, plan="open").degraded)
            for connection in connections:
                connection.close()
