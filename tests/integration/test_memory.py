"""Programs that get no more memory: each single piece that their own code asks for is missing once,
from the start of a short life to its end. A program goes on without it, or says so and ends; it
never crashes, and never stays behind without doing anything.

A preloaded library (tests/memory/fail_nth.c) counts the pieces and keeps back the n-th.
"""

import os
import re
import signal
import subprocess
import time
import unittest

import msgpack

from harness import (BIN, HOUR_MS, PLANS, QUICK, REPO, SOAK, Cluster, Node, Redis, Router, ctl,
                     end_all, new_directory, program, say, wait_for)
from sp_client import Closed, Connection, RpcError

SHIM = os.path.join(os.path.dirname(BIN), "tests", "libfail_nth.so")

# Instead of an exit code: it had to be ended.
STAYED = 1000

# Without --soak only so many lives of a kind, spread over all pieces: one takes a third of a second.
ALL_LIVES = 100000
LIVES = ALL_LIVES if SOAK else 12 if QUICK else 40

# Pieces that a backup or a restore takes at least: 82 with hiredis 1.2, more with 0.14.
LEAST_PIECES = 60

# More than is ever taken of a key.
BURST = 100000

# sluicectl's exit code.
NO_MEMORY = 71


def environment(fail_at, log):
    return dict(os.environ, LD_PRELOAD=SHIM, SLUICE_TEST_FAIL_AT=str(fail_at),
                SLUICE_TEST_FAIL_LOG=log)


class MemoryTest(unittest.TestCase):
    smoke = False  # sanitizers have an allocator of their own

    def setUp(self):
        if not os.path.exists(SHIM):
            self.skipTest("%s is not built" % SHIM)
        self.directory = new_directory()
        self.addCleanup(end_all)
        self.log = os.path.join(self.directory, "fail.log")

    def told(self, word):
        """The number behind the word in the library's log, or None."""
        try:
            with open(self.log) as file:
                lines = dict(line.split() for line in file)
        except FileNotFoundError:
            return None
        return int(lines[word]) if word in lines else None

    def each(self, what, life, lives=LIVES):
        """life(n) for 0, which only counts, then for pieces from the first to the last. It returns
        (exit code, what was written)."""
        code, text = life(0)
        count = self.told("asked")
        self.assertEqual(code, 0, text)
        step = max(1, -(-count // lives))
        ends, bad = {}, []
        for at in range(1, count + 1, step):
            os.unlink(self.log)
            code, text = life(at)
            says_so = re.search(b"memory", text, re.IGNORECASE)
            if code < 0 or code == STAYED or (code != 0 and self.told("failed") and not says_so):
                bad.append("%s without piece %d of %d ended with %s:\n%s" % (
                    what, at, count, code, text.decode(errors="replace")[-600:]))
            ends[code] = ends.get(code, 0) + 1
        self.assertFalse(bad, "\n".join(bad))
        say("%s: %d pieces, %d lives without one of them, ended with %s" %
            (what, count, len(range(1, count + 1, step)), dict(sorted(ends.items()))))
        return count

    def run_once(self, at, name, *words, within_s=20):
        done = subprocess.Popen([program(name)] + [str(word) for word in words],
                                env=environment(at, self.log), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            out, _ = done.communicate(timeout=within_s)
            return done.returncode, out
        except subprocess.TimeoutExpired:
            done.kill()
            return STAYED, done.communicate()[0]


class CtlMemoryTest(MemoryTest):
    def test_commands(self):
        pieces = 0
        example = os.path.join(os.path.dirname(__file__), "../../deploy/plans/example.yaml")
        with Cluster(nodes=2, slots=64) as cluster:
            at_cluster = ["--router", cluster.router.url, "--control", cluster.nodes[0].control_url]
            file = os.path.join(self.directory, "kept")
            ctl("backup", file, "--redis", cluster.redis.url)
            for words in (["take", "k", 1, "--rate", 1, "--period-ms", HOUR_MS, "--burst", 10 ** 5],
                          ["status"], ["map"], ["nodes"], ["--json", "status"], ["key", "show", "k"],
                          ["plans", "validate", example], ["plans", "apply", "--dry-run", example],
                          ["rebalance", "--dry-run"], ["events"],
                          ["backup", "--verify", file]):
                pieces += self.each("sluicectl " + " ".join(map(str, words[:3])), lambda at:
                                    self.run_once(at, "sluicectl", *at_cluster, *words))
                os.unlink(self.log)
        self.assertGreater(pieces, 100)


    def test_backup_and_restore(self):
        """Every piece: a life takes ten milliseconds. hiredis is a part of the program, so its own
        pieces are among them. What failed says so, has kept nothing that is not whole, and can be done again."""
        golden = os.path.join(REPO, "tests/golden/backup-format-1.sluice")
        kept = os.path.join(self.directory, "kept")
        redis = Redis(self.directory).start()
        self.assertEqual(ctl("restore", golden, "--redis", redis.url)[0], 0)

        def records(client):
            names = client.call("KEYS", "sluice:*:buckets") + client.call("KEYS", "sluice:*:keys")
            return {name: sorted(client.call("HGETALL", name)) for name in names}

        def life(at, command, file):
            code, text = self.run_once(at, "sluicectl", command, file, "--redis", redis.url)
            self.assertIn(code, (0, NO_MEMORY) if at else (0,), text.decode())
            return code, text

        def backup(at):
            code, text = life(at, "backup", kept)
            if code == 0 or os.path.exists(kept):
                self.assertEqual(ctl("backup", "--verify", kept)[0], 0, text.decode())
                os.unlink(kept)
            return code, text

        with redis.client() as client:
            before = records(client)
            self.assertGreater(len(before), 0)
            self.assertGreater(self.each("sluicectl backup", backup, ALL_LIVES), LEAST_PIECES)
            os.unlink(self.log)
            self.assertGreater(self.each("sluicectl restore", lambda at: life(
                at, "restore", golden), ALL_LIVES), LEAST_PIECES)
            self.assertEqual(ctl("restore", golden, "--redis", redis.url)[0], 0)
            self.assertEqual(records(client), before)


class ServerMemoryTest(MemoryTest):
    """A life: it starts, serves takes and what operators ask, and is told to stop."""

    def live(self, process, at, serve):
        process.env = environment(at, self.log)
        if os.path.exists(process.log_path):
            os.unlink(process.log_path)
        process.start()
        end = time.monotonic() + 20
        try:
            serve(process)
        except (OSError, Closed, RpcError, AssertionError, IndexError):
            pass  # whoever asked got no answer: that is for the exit code to explain
        if process.alive:
            process.popen.send_signal(signal.SIGTERM)
        try:
            code = process.popen.wait(max(1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            code = STAYED
            process.end()
        return code, process.log()

    def connect(self, process, url):
        """Nobody waits long for a process that ended."""
        def connected():
            if not process.alive:
                raise Closed("it ended")
            try:
                return Connection(url, timeout_s=1)
            except (OSError, Closed):
                return None

        return wait_for("somebody listens", connected, 5)

    def ask(self, process, url, *calls):
        """Each of the calls, whatever the answers."""
        with self.connect(process, url) as connection:
            for method, *params in calls:
                try:
                    connection.call(method, *params, timeout_s=1)
                except RpcError:
                    pass

    def test_node(self):
        redis = Redis(self.directory).start()
        node = Node(self.directory, "n1", redis.url, 2, ["--lease-ttl", "300ms"])
        key = [b"k", 1]

        def serve(process):
            self.ask(process, process.control_url, ("cluster.init", {"slots": 64}),
                     ("plans.apply", PLANS), ("cluster.status",), ("node.status",),
                     ("cluster.events",), ("slots.move", [0, 1], "n1", 1), ("key.show", b"k"),
                     ("node.weight", "n1", 200), ("cluster.map",))
            for shard in range(2):
                self.ask(process, process.shard_url(shard), ("take", *key),
                         ("take_many", key, [b"l", 2]), ("cluster.map",))

        def life(at):
            with redis.client() as client:
                client.call("FLUSHALL")
            return self.live(node, at, serve)

        self.assertGreater(self.each("sluice-node", life), 100)

    def test_router_that_decides(self):
        """The node stands still while the router is asked, so that it decides in Redis. What it has
        granted is counted there, whatever was missing."""
        plans = {"default": "safe", "plans": [{
            "name": "safe", "limits": [{"rate": 1, "period_ms": HOUR_MS, "burst": BURST}],
            "on_unavailable": "redis"}]}
        granted = fallen = 0
        with Cluster(nodes=1, shards=1, slots=16, plans=plans,
                     node_args=["--lease-ttl", "60s"]) as cluster:
            node = cluster.nodes[0]
            router = Router(self.directory, cluster.nodes, ["--redis", cluster.redis.url], name="poor")

            def store_is_up(process, connection):
                if not process.alive:
                    raise Closed("it ended")
                return connection.call("cluster.status", timeout_s=1)["store"] == "up"

            def serve(process):
                nonlocal granted, fallen
                with self.connect(process, process.url) as connection:
                    wait_for("it has a store", lambda: store_is_up(process, connection), 3)
                    os.kill(node.pid, signal.SIGSTOP)
                    try:
                        for _ in range(3):
                            take = connection.take(b"k", 1, None, {"deadline_ms": 60}, 1)
                            granted += take.allowed and take.remaining is not None
                            fallen += take.degraded
                    finally:
                        os.kill(node.pid, signal.SIGCONT)

            self.assertGreater(self.each("sluice-router that decides in Redis", lambda at: self.live(
                router, at, serve), LIVES // 2), 20)
            self.assertGreater(fallen, 0)
            cluster.wait_ready()
            with cluster.connect() as connection:
                spent = BURST - connection.take(b"k", 0).remaining
        say("%d granted, of those and others %d by the router; %d are counted" % (
            granted, fallen, spent))
        self.assertGreaterEqual(spent, granted)

    def test_router(self):
        with Cluster(nodes=1, shards=2, slots=64) as cluster:
            router = Router(self.directory, cluster.nodes, ["--redis", cluster.redis.url], name="poor")

            def serve(process):
                self.ask(process, process.url, ("take", b"k", 1), ("cluster.status",),
                         ("take_many", [b"k", 1], [b"l", 1]), ("peek", b"k"), ("cluster.map",),
                         ("grab", b"k"))

            self.assertGreater(self.each("sluice-router", lambda at: self.live(
                router, at, serve)), 20)


if __name__ == "__main__":
    unittest.main()
