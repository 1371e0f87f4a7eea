"""Programs that cannot start say why and how to mend it, and harm nobody who runs."""

import json
import os
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import msgpack

from harness import (SLOW, ClusterTest, Node, Process, Redis, Router, end_all, free_bus_port,
                     free_ports, metronome, new_directory, program, say, wait_for)
from sp_client import RpcError, connect_when_up

# Seconds within which a program that cannot start has said so.
SOON_S = 10 * SLOW


def run(name, *words, env=None):
    """Runs a program that ends by itself; returns (exit code, what it wrote)."""
    environment = dict(os.environ, **(env or {}))
    done = subprocess.run([program(name)] + [str(word) for word in words], env=environment,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=SOON_S)
    return done.returncode, done.stdout


def node_words(redis_url, **changes):
    words = {"node-id": "n1", "redis": redis_url, "shards": 2,
             "listen": "tcp://127.0.0.1:%d" % free_ports(2),
             "control": "tcp://127.0.0.1:%d" % free_ports()}
    words.update({name.replace("_", "-"): value for name, value in changes.items()})
    return [part for name, value in words.items() for part in ("--" + name, value)]


class OptionsTest(unittest.TestCase):
    def test_wrong_options(self):
        url = "redis://127.0.0.1:6379"
        for words, speaks_of in (
                (node_words(url, shards=0), "shards"),
                (node_words(url, shards="many"), "shards"),
                (node_words(url, snapshot_interval="soon"), "snapshot"),
                (node_words(url, snapshot_interval="100"), "snapshot"),
                (node_words(url, lease_ttl="-1s"), "lease"),
                (node_words(url, listen="127.0.0.1:7500"), "listen"),
                (node_words(url, log_level="loud"), "log"),
                (node_words(url, node_id="a b"), "node-id"),
                (node_words(url) + ["--colour", "red"], "colour"),
                (node_words(url) + ["redis"], "redis"),
                (node_words("http://127.0.0.1"), "redis"),
                (node_words("redis://"), "redis"),
                (node_words("redis://127.0.0.1:port"), "redis"),
                (node_words("redis://127.0.0.1:70000"), "redis"),
                (["--redis", url], "node-id"),
                (["--config", "/nonexistent.yaml"], "nonexistent"),
        ):
            code, out = run("sluice-node", *words)
            self.assertEqual(code, 2, "%s: %s" % (words, out))
            self.assertIn(speaks_of, out, words)
        for words, speaks_of in ((["--nodes", "nowhere"], "nodes"),
                                 (["--listen", "7400", "--nodes", "tcp://127.0.0.1:7590"],
                                  "listen"), (["--frobnicate"], "frobnicate")):
            code, out = run("sluice-router", *words)
            self.assertEqual(code, 2, "%s: %s" % (words, out))
            self.assertIn(speaks_of, out, words)

    def test_a_wrong_config_file_names_its_lines(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "node.yaml")
            with open(path, "w") as file:
                file.write("node_id: n1\nshards: lots\ncolour: red\n")
            code, out = run("sluice-node", "--config", path)
            self.assertEqual(code, 2, out)
            self.assertIn(path + ":2", out)
            self.assertIn(path + ":3", out)

    def test_help_lists_every_option(self):
        code, out = run("sluice-node", "--help")
        self.assertEqual(code, 0)
        for word in ("node-id", "redis", "redis-password-file", "shards", "listen", "control",
                     "advertise-host", "snapshot-interval", "lease-ttl", "key-prefix",
                     "shard-memory-max", "resident-buckets-max", "stop-timeout", "log-level", "log-json", "config"):
            self.assertIn("--" + word, out)
        code, out = run("sluice-router", "--help")
        self.assertEqual(code, 0)
        self.assertIn("--nodes", out)

    def test_a_password_is_no_flag(self):
        code, out = run("sluice-node", *node_words("redis://127.0.0.1:6379"), "--redis-password",
                        "secret-word")
        self.assertEqual(code, 2)
        self.assertNotIn("secret-word", out)


class StoreTest(unittest.TestCase):
    """What Redis may be that a node cannot or should not use."""

    def setUp(self):
        self.directory = new_directory()
        self.addCleanup(end_all)

    def test_a_node_of_a_redis_cluster(self):
        redis = Redis(self.directory, free_bus_port(), args=["--cluster-enabled", "yes"]).start()
        code, out = run("sluice-node", *node_words(redis.url))
        self.assertEqual(code, 1, out)
        self.assertIn("Redis Cluster", out)

    def test_no_redis_there(self):
        port = free_ports()
        code, out = run("sluice-node", *node_words("redis://127.0.0.1:%d" % port))
        self.assertEqual(code, 1, out)
        self.assertIn(str(port), out)

    def test_something_else_there(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        def answer():
            try:
                peer, _ = listener.accept()
                peer.recv(100)
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                peer.close()
            except OSError:
                pass

        threading.Thread(target=answer, daemon=True).start()
        port = listener.getsockname()[1]
        code, out = run("sluice-node", *node_words("redis://127.0.0.1:%d" % port))
        self.assertEqual(code, 1, out)
        self.assertIn(str(port), out)

    def test_without_append_only_file_warns(self):
        redis = Redis(self.directory, aof=False).start()
        node = Node(self.directory, "n1", redis.url).start()
        wait_for("the warning", lambda: b"appendonly" in node.log())
        with node.control() as control:
            wait_for("it runs nevertheless", lambda: control.call("node.status")["store"]["up"])
        self.assertEqual(node.terminate(), 0)

    def test_a_map_that_cannot_be_read(self):
        """A cluster that newer programs run, and a map that somebody has damaged."""
        redis = Redis(self.directory).start()
        newer = msgpack.packb({"format": 2, "epoch": 3, "slots": 8, "nodes": [], "shards": [],
                               "owners": [[8, None]]})
        for value, speaks_of in ((newer, "too old for this cluster"), (b"nonsense", "map")):
            with redis.client() as client:
                client.call("HSET", "sluice:{cluster}:map", "number", "3", "value", value)
            code, text = run("sluice-node", *node_words(redis.url))
            self.assertEqual(code, 1, text)
            self.assertIn(speaks_of, text)
            self.assertIn("the cluster's stored map cannot be read", text)
        with redis.client() as client:  # and nothing was touched
            self.assertEqual(client.call("HGET", "sluice:{cluster}:map", "value"), b"nonsense")
            self.assertEqual(client.call("EXISTS", "sluice:{cluster}:node:n1"), 0)

    def test_flag_variable_and_file_in_this_order(self):
        redis = Redis(self.directory).start()
        path = os.path.join(self.directory, "node.yaml")
        with open(path, "w") as file:
            file.write("node_id: of-the-file\nshards: 3\nredis: %s\nlog_json: true\n" % redis.url)
        control = "tcp://127.0.0.1:%d" % free_ports()
        node = Process("node", [program("sluice-node"), "--config", path, "--listen",
                                "tcp://127.0.0.1:%d" % free_ports(3), "--control", control],
                       self.directory, {"SLUICE_NODE_ID": "of-the-variable", "SLUICE_SHARDS": "2",
                                        "SLUICE_CONTROL": "tcp://127.0.0.1:1"}).start()
        with connect_when_up(control) as connection:
            status = connection.call("node.status")
        self.assertEqual((status["node"], len(status["shards"])), ("of-the-variable", 2))
        self.assertEqual(node.terminate(), 0)
        lines = [json.loads(line) for line in node.log().splitlines()]
        self.assertTrue(any("of-the-variable" in str(line.values()) for line in lines))

    def test_password(self):
        redis = Redis(self.directory, password="correct-horse").start()
        words = node_words(redis.url)
        code, out = run("sluice-node", *words)
        self.assertEqual(code, 1, out)
        self.assertIn("SLUICE_REDIS_PASSWORD", out)
        code, out = run("sluice-node", *words, env={"SLUICE_REDIS_PASSWORD": "wrong-pony"})
        self.assertEqual(code, 1, out)
        self.assertIn("password", out)
        self.assertNotIn("wrong-pony", out)
        path = os.path.join(self.directory, "password")
        with open(path, "w") as file:
            file.write("correct-horse\n")
        for name, args, env in (("env", [], {"SLUICE_REDIS_PASSWORD": "correct-horse"}),
                                ("file", ["--redis-password-file", path], {})):
            node = Node(self.directory, "n1", redis.url, args=args, env=env,
                        name="n1-" + name).start()
            with node.control() as control:
                wait_for("it is let in", lambda: control.call("node.status")["store"]["up"])
            self.assertEqual(node.terminate(), 0)
            self.assertNotIn(b"correct-horse", node.log())


class SharedMachineTest(ClusterTest):
    """Others who want what a running cluster has."""


    def setUp(self):
        with self.cluster.connect() as connection:
            self.before = connection.take(b"undisturbed", 1, "slow").remaining

    def tearDown(self):
        time.sleep(0.3)
        self.assertTrue(all(process.alive for process in self.cluster.processes))
        with self.cluster.connect() as connection:
            take = connection.take(b"undisturbed", 1, "slow")
            self.assertEqual((take.remaining, take.degraded), (self.before - 1, False))

    def test_port_in_use(self):
        url = self.cluster.redis.url
        taken = self.cluster.nodes[0]
        for change in ({"listen": taken.listen_url}, {"listen": taken.shard_url(1)},
                       {"control": taken.control_url}):
            code, out = run("sluice-node", *node_words(url, node_id="n9", **change))
            self.assertEqual(code, 1, out)
            self.assertRegex(out, "(?i)in use")
            self.assertIn(list(change.values())[0].rsplit(":", 1)[1], out)
        code, out = run("sluice-router", "--listen", self.cluster.router.url, "--nodes",
                        taken.control_url)
        self.assertEqual(code, 1, out)
        self.assertRegex(out, "(?i)in use")

    def test_two_nodes_with_one_id(self):
        with self.cluster.control() as control:
            incarnation = control.call("node.status")["incarnation"]
        began = time.monotonic()
        code, out = run("sluice-node", *node_words(self.cluster.redis.url, node_id="n1"))
        self.assertEqual(code, 1, out)
        self.assertIn("n1", out)
        self.assertIn("--node-id", out)
        say("the second n1 was refused after %.1f s" % (time.monotonic() - began))
        with self.cluster.control() as control:
            self.assertEqual(control.call("node.status")["incarnation"], incarnation)

    def test_a_node_that_the_map_does_not_know(self):
        """It runs, owns nothing and says so."""
        node = Node(self.cluster.directory, "n7", self.cluster.redis.url).start()
        try:
            with node.control() as control:
                status = control.call("node.status")
                owned = [shard["counters"]["slots_owned"] for shard in status["shards"]]
                self.assertEqual(sum(owned), 0)
            self.assertEqual(node.terminate(), 0)
        finally:
            node.end()

    def test_a_router_before_its_nodes(self):
        """It waits; takes are answered unavailable in time, and it works once a node is there."""
        router = Router(self.cluster.directory, self.cluster.nodes, name="early")
        router.argv[router.argv.index("--nodes") + 1] = "tcp://127.0.0.1:%d" % free_ports()
        router.start()
        try:
            with router.connect() as connection:
                metronome().reset()
                began = time.monotonic()
                with self.assertRaises(RpcError) as caught:
                    connection.take(b"k", 1, "slow")
                self.assertEqual(caught.exception.code, "UNAVAILABLE")
                self.assertLess(time.monotonic() - began,
                                0.25 + 0.1 * SLOW + metronome().slack_s())
            self.assertEqual(router.terminate(), 0)
        finally:
            router.end()
