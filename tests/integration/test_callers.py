"""Callers that people have at hand: Debian's nngcat, and sluicectl."""

import json
import os
import re
import shlex
import subprocess

import msgpack

from harness import (HOUR_MS, INLINE, READY_S, SANITIZER_REPORT, ClusterTest, Router, ctl,
                     free_ports, wait_for)


class NngcatTest(ClusterTest):
    """Debian's nngcat, which knows nothing of Sluice, as the caller."""


    def nngcat(self, url, body, *words):
        path = os.path.join(self.cluster.directory, "request.bin")
        with open(path, "wb") as file:
            file.write(body)
        return subprocess.run(["nngcat", "--req", "--dial", url, "--file", path,
                               "--recv-timeout", "10"] + list(words),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)

    def test_take_at_router_and_shard(self):
        key = self.new_key("nngcat")
        body = msgpack.packb([0, 7, "take", [key, 2, INLINE]])
        for url, left in ((self.cluster.router.url, 5), (self.cluster.owner_url(key), 3)):
            done = self.nngcat(url, body, "--raw")
            self.assertEqual(done.returncode, 0, done.stderr)
            kind, msgid, error, result = msgpack.unpackb(done.stdout)
            self.assertEqual((kind, msgid, error), (1, 7, None))
            self.assertEqual(result[:2], [True, left])

    def test_formats(self):
        """--msgpack wraps the answer in a bin of its own; --format is another way to say it."""
        body = msgpack.packb([0, 1, "peek", [self.new_key(), 0, INLINE]])
        done = self.nngcat(self.cluster.router.url, body, "--msgpack")
        inner = msgpack.unpackb(done.stdout)
        self.assertEqual(msgpack.unpackb(inner)[3][1], 7)
        done = self.nngcat(self.cluster.router.url, body, "--format", "hex")
        self.assertIn(rb"\x94", done.stdout)

    def test_a_bad_request(self):
        done = self.nngcat(self.cluster.router.url, b"\xc1", "--raw")
        self.assertEqual(msgpack.unpackb(done.stdout)[2][0], "BAD_REQUEST")

    def test_other_transports(self):
        """A router that also listens at a local socket and a web socket, by way of libnng."""
        ipc = "ipc://" + os.path.join(self.cluster.directory, "router.sock")
        web = "ws://127.0.0.1:%d/sluice" % free_ports()
        router = Router(self.cluster.directory, self.cluster.nodes, name="router-of-many")
        router.argv[router.argv.index("--listen") + 1] += ",%s,%s" % (ipc, web)
        router.start()
        self.addCleanup(router.end)
        router.connect().close()
        key, left = self.new_key("nngcat"), 7
        for url in (ipc, web, ipc, router.url):
            left -= 1
            done = self.nngcat(url, msgpack.packb([0, 1, "take", [key, 1, INLINE]]), "--raw")
            self.assertEqual(msgpack.unpackb(done.stdout)[3][:2], [True, left], url)
        self.assertEqual(router.terminate(), 0)
        self.assertFalse(SANITIZER_REPORT.search(router.log()), router.tail(60))

    def test_one_socket_many_requests(self):
        body = msgpack.packb([0, 1, "take", [self.new_key(), 1, INLINE]])
        done = self.nngcat(self.cluster.router.url, body, "--raw", "--count", "3",
                           "--interval", "1")
        answers = msgpack.Unpacker()
        answers.feed(done.stdout)
        self.assertEqual([answer[3][1] for answer in answers][:3], [6, 5, 4])


class CtlTest(ClusterTest):
    """sluicectl, as a person or a shell script uses it."""

    def test_take_and_its_exit_codes(self):
        status, out, err = self.cluster.ctl("take", "ctl-1", "3", "--rate", "1", "--period-ms",
                                            HOUR_MS, "--burst", "5")
        self.assertEqual(status, 0, err)
        status, out, err = self.cluster.ctl("take", "ctl-1", "3", "--rate", "1", "--period-ms",
                                            HOUR_MS, "--burst", "5")
        self.assertEqual(status, 1, out + err)
        status, out, err = self.cluster.ctl("take")
        self.assertEqual(status, 2)
        status, out, err = ctl("--router", "tcp://127.0.0.1:1", "take", "x")
        self.assertEqual(status, 3, out + err)
        self.assertIn("tcp://127.0.0.1:1", err)
        status, out, err = self.cluster.ctl("take", "x", "--plan", "no-such-plan")
        self.assertEqual(status, 4)
        self.assertIn("UNKNOWN_PLAN", err)

    def test_every_verb(self):
        for words in (["peek", "ctl-2"], ["refund", "ctl-2", "1"], ["status"], ["map"], ["nodes"],
                      ["plans", "show"], ["key", "show", "ctl-2"], ["key", "reset", "ctl-2"],
                      ["key", "assign", "ctl-2", "fast"], ["node", "status"]):
            status, out, err = self.cluster.ctl(*words)
            self.assertEqual(status, 0, "%s: %s%s" % (words, out, err))
            self.assertTrue(out.strip(), words)
        status, out, err = self.cluster.ctl("--json", "key", "show", "ctl-2")
        self.assertEqual(json.loads(out)["plan"], "fast")
        status, out, err = self.cluster.ctl("--help")
        self.assertEqual(status, 0)
        self.assertIn("take", out)

    def commands(self):
        """As `sluicectl --help` lists them."""
        listed = self.cluster.ctl("--help")[1].split("\nCommands", 1)[1].split("\n\n")[0]
        return re.findall(r"^  (\w+(?: \w+)?)  ", listed, re.MULTILINE)

    def test_help_of_every_command(self):
        """Each shows examples, and the examples are command lines that it takes."""
        commands = self.commands()
        for command in commands:
            status, out, err = ctl(*command.split(), "--help")
            self.assertEqual(status, 0, err)
            self.assertIn("Usage: sluicectl " + command, out)
            self.assertIn("\nExample", out, command)
            examples = re.findall(r"^  sluicectl (.*)$", out, re.MULTILINE)
            self.assertTrue(examples, out)
            for example in examples:
                words = shlex.split(re.split("[|>&]", example)[0])
                words.insert(words.index("--") if "--" in words else len(words), "--help")
                status, out, err = ctl(*words)
                self.assertEqual((status, err), (0, ""), example)
                self.assertIn(command.split()[0], example)
        self.assertGreater(len(commands), 20)

    def test_every_command_prints_one_document(self):
        """With --json, whatever comes of it; and each exit status is as docs/sluicectl.md says."""
        plans = os.path.join(os.path.dirname(__file__), "../../deploy/plans/example.yaml")
        backup = os.path.join(self.cluster.directory, "all.backup")
        store = ["--redis", self.cluster.redis.url]
        done = [
            ["take", "doc"], ["peek", "doc"], ["refund", "doc"], ["status"], ["nodes"], ["map"],
            ["map", "doc"], ["plans", "validate", plans], ["plans", "apply", plans, "--dry-run"],
            ["plans", "show"], ["plans", "show", "slow"], ["key", "show", "doc"],
            ["key", "reset", "doc"], ["key", "assign", "doc", "fast"],
            ["key", "assign", "doc", "--none"], ["node", "status"], ["node", "weight", "n1", 100],
            ["node", "resume", "n2"], ["node", "drain", "n2", "--dry-run"], ["rebalance", "status"],
            ["rebalance", "--dry-run"], ["slot", "show", 5],
            ["slot", "move", 5, "n2", "--dry-run"], ["events", "--count", 1], ["version"],
            ["backup", backup] + store, ["backup", "--verify", backup],
            ["restore", backup, "--dry-run"] + store]
        refused = [
            (1, ["take", "doc", 1001]), (1, ["peek", "doc", 1001]), (4, ["init"]),
            (4, ["take", "doc", "--plan", "gone"]), (4, ["plans", "show", "gone"]),
            (4, ["key", "assign", "doc", "gone"]), (4, ["node", "remove", "n1"]),
            (4, ["node", "weight", "n9", 1]), (4, ["rebalance", "cancel"]),
            (4, ["slot", "move", 5, "n9"]), (5, ["plans", "validate", backup + ".gone"]),
            (5, ["plans", "validate", b"\xff.gone"]), (5, ["backup", "--verify", plans]),
            (3, ["--router", "tcp://127.0.0.1:1", "take", "doc", "--deadline-ms", 50]),
            (3, ["--control", "tcp://127.0.0.1:1", "status"]),
            (3, ["backup", backup, "--redis", "redis://127.0.0.1:1"])]
        for expected, words in [(0, words) for words in done] + refused:
            status, out, err = self.cluster.ctl("--json", *words)
            self.assertEqual(status, expected, "%s: %s%s" % (words, out, err))
            document = json.loads(out)
            failed = any(name in (document or ()) for name in ("error", "mistakes"))
            self.assertEqual(failed, status >= 3, "%s: %s" % (words, out))
        # Nothing is left out, and nobody is told of success by an empty page.
        asked = {" ".join(map(str, words[:2])) for words in done + [words for _, words in refused]}
        asked |= {words.split()[0] for words in asked}
        self.assertEqual(sorted(set(self.commands()) - asked), [])
        self.assertEqual(self.cluster.ctl("--json", "take", "doc", "--colour")[0], 2)

    def test_the_example_plans_apply(self):
        path = os.path.join(os.path.dirname(__file__), "../../deploy/plans/example.yaml")
        for verb in ("validate", "apply"):
            status, out, err = self.cluster.ctl("plans", verb, path)
            self.assertEqual(status, 0, out + err)

        def known():
            return self.cluster.ctl("peek", "someone", "--plan", "premium")[0] == 0

        wait_for("the plans are in force", known, READY_S)
