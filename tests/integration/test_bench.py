"""sluice-bench against real clusters: what it reports is true, and its checker sees what it must."""

import json
import os
import socket
import struct
import subprocess
import unittest

from harness import SLOW, ClusterTest, Process, free_ports, new_directory, program, say, wait_for

HEAD, GRANT = 64, 32

# Few keys under a small limit, asked for more than it gives: each key is always at its bound.
TIGHT = ["--keys", "20", "--limit-rate", "50", "--limit-burst", "10"]
SHORT = ["--duration", "1s", "--warmup", "200ms", "--timeout", "%ds" % (10 * SLOW)]


def bench(*words, expect=0, within_s=120 * SLOW):
    done = subprocess.run([program("sluice-bench")] + [str(word) for word in words], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=within_s)
    if expect is not None and done.returncode != expect:
        raise AssertionError("sluice-bench %s: exit %d\n%s%s" % (
            " ".join(map(str, words)), done.returncode, done.stdout[-1000:], done.stderr[-1000:]))
    return done.stdout if expect is not None else done


def load(*words):
    return json.loads(bench("load", "--json", *SHORT, *words))


class BenchTest(ClusterTest):
    smoke = False
    cluster_options = {"nodes": 2, "shards": 2}

    def clock_error(self):
        """Twice what the shards say: their clock may have been off either way."""
        worst = 0
        for node in range(len(self.cluster.nodes)):
            with self.cluster.control(node) as control:
                worst = max(worst, control.call("node.status")["store"]["clock_error_us"])
        return "%dms" % (1 + 2 * worst // 1000)

    def test_a_routed_and_a_direct_load_keep_the_bound(self):
        directory = new_directory()
        for name, words in (("routed", ["--target", self.cluster.router.url]),
                            ("direct", ["--protocol", "map", "--target",
                                        self.cluster.nodes[1].control_url]),
                            ("batches", ["--protocol", "map", "--batch", "20", "--target",
                                         self.cluster.nodes[0].control_url])):
            record = os.path.join(directory, name)
            report = load(*words, *TIGHT, "--key-prefix", name + ":", "--connections", "8",
                          "--rate", "4000", "--record", record)
            self.assert_adds_up(report)
            self.assertGreater(report["refused"], 0)
            self.assertAlmostEqual(report["takes"], 4000, delta=800)
            error = self.clock_error()
            verdict = json.loads(bench("check", "--json", "--records", record, "--clock-error",
                                       error))
            self.assertEqual(verdict["slip_tokens"], 0)
            self.assertEqual(verdict["keys"], 20)
            self.assertGreaterEqual(verdict["grants"], report["granted"])
            self.plant(record, error)
            say("%s: %d takes, p99 %.2f ms; %d grants keep the bound, and one more does not" % (
                name, report["takes"], report["latency_us"]["p99"] / 1000, verdict["grants"]))

    def assert_adds_up(self, report):
        """On a machine that is busy enough, a router's deadline passes: that is an error by name."""
        self.assertEqual(report["takes"], report["granted"] + report["refused"] + report["errors"])
        self.assertLessEqual(set(report["errors_by_name"]), {"UNAVAILABLE"})

    def plant(self, record, error):
        """The last grant of a key some more times: one more than fits between its true bound and
        what can be known of it from outside, by the clock's error and the time answers took."""
        with open(record, "rb") as file:
            data = file.read()
        grants = [data[at:at + GRANT] for at in range(HEAD, len(data), GRANT)]
        key = struct.unpack_from("<I", grants[-1], 24)[0]
        same = [grant for grant in grants if struct.unpack_from("<I", grant, 24)[0] == key]
        slowest_ns = max(received - sent for sent, received in
                         (struct.unpack_from("<QQ", grant) for grant in same))
        hidden = int(50 * (int(error[:-2]) / 1000 + 2 * slowest_ns / 1e9)) + 2
        with open(record, "ab") as file:
            file.write(b"".join(same[-1:] * hidden))
        told = bench("check", "--records", record, "--clock-error", error, expect=1)
        self.assertIn("BROKEN: 1 keys", told)
        self.assertIn("worst: key %d" % key, told)

    def test_plans_hot_keys_and_zipf(self):
        directory = new_directory()
        for spread in (["--keys-spread", "hot", "--hot-keys", "2"],
                       ["--keys-spread", "zipf", "--zipf", "1.3"]):
            record = os.path.join(directory, spread[1])
            report = load("--target", self.cluster.router.url, "--plan", "fast", "--rate", "2000",
                          "--keys", "1000", "--key-prefix", spread[1], "--record", record, *spread)
            self.assert_adds_up(report)
            self.assertGreater(report["refused"], 0)
            bench("check", "--records", record, expect=2)  # the plan's limit is not in the record
            told = bench("check", "--records", record, "--limit-rate", "100", "--limit-burst", "20",
                         "--clock-error", self.clock_error())
            self.assertIn("the bound holds", told)


class BenchCommandTest(ClusterTest):
    cluster_options = {"nodes": 2, "shards": 1}

    def test_a_closed_loop_counts_as_the_cluster_does(self):
        before = self.granted()
        report = load("--target", self.cluster.router.url, "--connections", "4", "--outstanding",
                      "8", "--batch", "5", "--warmup", "0ms", "--key-prefix", "closed:")
        self.assertEqual(report["errors"], 0)
        self.assertEqual(self.granted() - before, report["granted_tokens"])
        self.assertEqual(report["takes"] % 5, 0)

    def granted(self):
        total = 0
        for node in range(len(self.cluster.nodes)):
            with self.cluster.control(node) as control:
                total += sum(shard["counters"]["tokens_granted"]
                             for shard in control.call("node.status")["shards"])
        return total

    def test_a_plan_that_is_not_there_is_an_error_by_name(self):
        report = load("--target", self.cluster.router.url, "--plan", "nosuch", "--rate", "100")
        self.assertEqual(report["errors_by_name"], {"UNKNOWN_PLAN": report["takes"]})
        self.assertEqual(report["granted"] + report["refused"], 0)

    def test_the_echo(self):
        url = "tcp://127.0.0.1:%d" % free_ports()
        echo = Process("echo", [program("sluice-bench"), "echo", "--listen", url], new_directory())
        echo.start()
        wait_for("the echo listens", lambda: b"echoing at " + url.encode() in echo.log())
        report = load("--protocol", "echo", "--target", url, "--outstanding", "16")
        self.assertEqual(report["errors"], 0)
        self.assertGreater(report["granted"], 0)
        with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1]))) as caller:
            caller.sendall(b"GET / HTTP/1.1\r\n\r\n")
            self.assertEqual(caller.recv(8), b"\0SP\0\0\x31\0\0")
            self.assertEqual(caller.recv(8), b"")
        self.assertEqual(echo.terminate(), 0)

    def test_the_command_line(self):
        for words in ([], ["nosuch"], ["load", "--rate", "many"], ["load", "--zipf", "0"],
                      ["load", "--connections", "10000", "--outstanding", "4096"],
                      ["load", "--burst-every", "1s", "--burst-length", "1s"], ["check"],
                      ["compare", "--ways", "redis,nosuch"]):
            bench(*words, expect=2)
        for command in ("load", "check", "compare", "echo"):
            self.assertIn("Examples:", bench(command, "--help"))
        self.assertIn("Exit status:", bench("--help"))
        bench("check", "--records", "/nowhere", expect=4)

    def test_damaged_records_are_refused(self):
        path = os.path.join(new_directory(), "record")
        for damage, word in ((b"", "no record"), (b"x" * 200, "no record"),
                             (b"SLUICEG1" + bytes(56 + 31), "cut short")):
            with open(path, "wb") as file:
                file.write(damage)
            done = bench("check", "--records", path, expect=None)
            self.assertEqual(done.returncode, 4)
            self.assertIn(word, done.stderr)


class CompareTest(unittest.TestCase):
    smoke = False

    def test_the_comparison(self):
        output = os.path.join(new_directory(), "compare.json")
        done = bench("compare", "--seconds", "1", "--no-sustained", "--output", output, "--ways",
                     "kv,redis,sluice-relaxed,sluice-core", expect=None)
        self.assertIn(done.returncode, (0, 1), done.stderr)  # 1: an error, on a machine this busy
        with open(output) as file:
            ways = {way["name"]: way for way in json.load(file)["ways"]}
        self.assertEqual(len(ways), 4)
        for name, way in ways.items():
            self.assertNotIn("skipped", way)
            self.assertGreater(way["load"]["granted"], 0, name)
            self.assertIn(name, done.stdout)
            if name == "kv":
                self.assertGreater(way["slip_tokens"], 0)
            else:
                self.assertGreater(way["load"]["refused"], 0, name)
                self.assertEqual(way["slip_tokens"], 0, name)
        say("10,000 takes/s with bursts of 2x for a second: slips kv %d, redis 0, sluice 0" %
            ways["kv"]["slip_tokens"])
