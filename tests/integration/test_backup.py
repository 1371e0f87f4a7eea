"""Backups: what a store held comes back after it has lost everything, into living clusters too, and
whatever is wrong with a file or with the moment is refused by name."""

import json
import os
import re
import subprocess
import sys
import threading
import time
import unittest

import msgpack

from harness import (PLANS, REPO, SOAK, Cluster, Node, Redis, RpcError, ctl, free_ports, new_directory,
                     program, say, wait_for, xxh3)
from move_tools import Proxy, key_of_each_slot, newest_map

BURST = 1000
RESERVED = BURST // 8
SLOTS = 64

# Of a relaxed plan a key is reset at once, however short its slot has been its owner's.
PLANS_AND_LOOSE = dict(PLANS, plans=PLANS["plans"] + [
    dict(PLANS["plans"][0], name="loose", durability="relaxed")])
JUMP = FENCE_RAISES = 1 << 20

# What tests/golden/backup-format-1.sluice holds.
DAY_MS = 24 * 3600 * 1000
GOLDEN_TAKEN_MS = 1795287661491
GOLDEN_LEVELS = [("ancient", "century", [24000]), ("bound", "pair", [5000, 4000])]


class Taker(threading.Thread):
    """One token of each key in turn, again and again; counts what it was granted."""

    def __init__(self, cluster, keys):
        super().__init__(daemon=True)
        self.cluster, self.keys, self.ending = cluster, keys, False
        self.granted = dict.fromkeys(keys, 0)
        self.start()

    def run(self):
        with self.cluster.connect() as connection:
            while not self.ending:
                for key, one in zip(self.keys, connection.take_many(
                        [[key, 1, "slow"] for key in self.keys])):
                    if not isinstance(one, RpcError) and one.allowed and not one.degraded:
                        self.granted[key] += 1

    def end(self):
        self.ending = True
        self.join()
        return dict(self.granted)


class BackupTest(unittest.TestCase):
    smoke = False

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(nodes=2, shards=1, slots=SLOTS, plans=PLANS_AND_LOOSE)
        cls.cluster.__enter__()
        cls.directory = new_directory()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)

    def setUp(self):
        self.file = os.path.join(self.directory, self.id().rsplit(".", 1)[1])
        self.redis = self.cluster.redis.client()
        self.addCleanup(self.redis.close)

    def keys(self, count, name=""):
        return [b"%s-%s-%d" % (self.id().rsplit("_", 1)[1].encode(), name.encode(), i)
                for i in range(count)]

    def ctl(self, *words, expect=0):
        code, out, err = ctl(*words, "--redis", self.cluster.redis.url)
        self.assertEqual(code, expect, out + err)
        return out if expect == 0 else err

    def ctl_json(self, *words):
        return json.loads(self.ctl(*words, "--json"))

    def take(self, keys, cost, plan="slow"):
        with self.cluster.connect() as connection:
            ids = [connection.send("take", key, cost, plan, {"deadline_ms": 10000})
                   for key in keys]
            for request in ids:
                self.assertEqual(connection.result(request, 30)[0], True)

    def stop_nodes(self, kill=False):
        for node in self.cluster.nodes:
            node.kill9() if kill else self.assertEqual(node.terminate(), 0)
        wait_for("their leases have run out", lambda: not self.redis.call(
            "KEYS", "sluice:{cluster}:node:*"))

    def start_nodes(self):
        for node in self.cluster.nodes:
            node.start()
        self.cluster.wait_ready()

    def stored(self):
        return {key: record for slot in range(SLOTS) for key, record in zip(
            *[iter(self.redis.call("HGETALL", "sluice:{%d}:buckets" % slot))] * 2)}

    def test_all_is_lost(self):
        """The bound holds across the loss for all that was granted before the backup began."""
        quiet, busy = self.keys(200, "quiet"), self.keys(20, "busy")
        self.take(quiet, 300)
        with self.cluster.owner_node(quiet[0]).control() as control:
            control.call("key.assign", quiet[0], "open")
        taker = Taker(self.cluster, busy)
        wait_for("the load is under way", lambda: min(taker.granted.values()) > 20)
        before = dict(taker.granted)
        made = self.ctl_json("backup", self.file)
        self.assertGreaterEqual(made["buckets"], len(quiet) + len(busy))
        self.assertEqual((made["slots"], made["keys"], made["left_out"]), (SLOTS, 1, 0))
        taker.end()
        epoch = newest_map(self.cluster)["epoch"]
        self.assertEqual(self.ctl_json("backup", "--verify", self.file)["buckets"],
                         made["buckets"])
        self.assertEqual(self.read_without_sluice(self.file), made["buckets"])

        self.stop_nodes(kill=True)
        self.redis.call("FLUSHALL")
        dry = self.ctl_json("restore", "--dry-run", self.file)
        self.assertEqual(dry["buckets"]["written"], made["buckets"])
        self.assertEqual(self.redis.call("DBSIZE"), 0)
        done = self.ctl_json("restore", self.file)
        self.assertEqual(done["buckets"]["written"], made["buckets"])
        self.assertEqual((done["plans"], done["assignments"]["written"]), ("file", 1))
        self.assertGreaterEqual(done["epoch"], epoch + JUMP)
        for slot in range(SLOTS):  # whoever wakes up from before may not write any more
            self.assertGreater(int(self.redis.call("GET", "sluice:{%d}:fence" % slot)),
                               done["epoch"] * FENCE_RAISES)
        self.start_nodes()

        levels = self.cluster.levels(quiet, "slow")
        self.assertEqual(set(levels.values()), {BURST - 300})
        levels = self.cluster.levels(busy, "slow")
        for key in busy:
            self.assertLessEqual(before[key] + levels[key], BURST, key)
            # and no more is lost than a reservation, of what was spent when the backup ended
            self.assertGreaterEqual(levels[key] + taker.granted[key] + RESERVED, BURST, key)
        self.assertEqual(self.redis.call("HGET", "sluice:{%d}:keys" % (xxh3(quiet[0]) % SLOTS),
                                         quiet[0]), b"open")
        say("all lost and restored: %d buckets, %d keys under load, none beyond its bound" % (
            made["buckets"], len(busy)))

    def read_without_sluice(self, path):
        """Runs the reader that the documentation shows; returns the number of records."""
        with open(os.path.join(REPO, "docs/backup.md"), encoding="utf-8") as text:
            source = re.search(r"```python\n(.*?)```", text.read(), re.DOTALL).group(1)
        done = subprocess.run([sys.executable, "-c", source, path], stdout=subprocess.PIPE,
                              check=True, timeout=60)
        with open(path, "rb") as file:
            for checksum, body in msgpack.Unpacker(file, max_buffer_size=1 << 26):
                self.assertEqual(xxh3(body), checksum)
        return len(done.stdout.splitlines())

    def test_into_a_living_cluster(self):
        """What operators have reset is spent again; what was spent since stays spent."""
        reset, spent, busy = self.keys(40, "reset"), self.keys(40, "spent"), self.keys(5, "busy")
        self.take(reset, 700, "loose")
        self.take(spent, 100)
        taker = Taker(self.cluster, busy)
        wait_for("the load is under way", lambda: min(taker.granted.values()) > 20)
        wait_for("they are written", lambda: set(reset) <= set(self.stored()))
        self.ctl("backup", self.file)
        for key in reset:
            with self.cluster.owner_node(key).control() as control:
                control.call("key.reset", key)
        self.take(spent, 200)
        err = self.ctl("restore", self.file, expect=4)
        self.assertIn("nodes are alive (", err)
        self.assertIn("--live", err)
        err = self.ctl("restore", "--replace", "--live", self.file, expect=4)
        self.assertIn("would give back tokens", err)
        dry = self.ctl_json("restore", "--dry-run", self.file)
        self.assertGreaterEqual(dry["buckets"]["written"], len(reset))
        done = self.ctl_json("restore", "--live", self.file)
        self.assertGreaterEqual(done["buckets"]["written"], len(reset))
        self.assertEqual(done["buckets"]["kept"], 0)
        self.take(key_of_each_slot(SLOTS), 1)  # whoever writes hears of it
        self.cluster.wait_ready()
        granted = taker.end()
        self.assertEqual(set(self.cluster.levels(reset, "loose").values()), {BURST - 700})
        levels = self.cluster.levels(spent, "slow").values()  # as after a crash: less what was reserved
        self.assertLessEqual(max(levels), BURST - 300)
        self.assertGreaterEqual(min(levels), BURST - 300 - RESERVED)
        levels = self.cluster.levels(busy, "slow")
        for key in busy:
            self.assertLessEqual(granted[key] + levels[key], BURST, key)
        say("restored under load: %d keys spent again, %s" % (
            len(reset), ", ".join("%d %s" % (value, name.replace("_", " "))
                                  for name, value in done["buckets"].items())))

    def test_some_slots_and_replace(self):
        keys = self.keys(100)
        self.take(keys, 400)
        self.stop_nodes()
        first = [key for key in keys if xxh3(key) % SLOTS < 32]
        others = [key for key in keys if key not in first]
        before = self.stored()
        self.ctl("backup", "--slots", "0-31", self.file)
        self.assertIn("slot 40 is not in", self.ctl("restore", "--slots", "3,40", self.file,
                                                    expect=2))
        for slot in range(SLOTS):
            self.redis.call("DEL", "sluice:{%d}:buckets" % slot)
        self.ctl("restore", "--slots", "0-15,20", self.file)
        here = {slot for slot in range(SLOTS)
                if self.redis.call("EXISTS", "sluice:{%d}:buckets" % slot)}
        self.assertEqual(here, {xxh3(key) % SLOTS for key in before} & (set(range(16)) | {20}))
        self.ctl("restore", self.file)
        self.assertEqual(self.stored(), {key: record for key, record in before.items()
                                         if xxh3(key) % SLOTS < 32})
        self.start_nodes()
        self.assertEqual(set(self.cluster.levels(first, "slow").values()), {BURST - 400})
        self.assertEqual(set(self.cluster.levels(others, "slow").values()), {BURST})
        self.take(first, 100)
        self.stop_nodes()
        done = self.ctl_json("restore", self.file)  # merged: it stays spent
        self.assertEqual(done["buckets"]["raised"] + done["buckets"]["written"], 0, done)
        self.ctl("restore", "--replace", self.file)
        self.start_nodes()
        self.assertEqual(set(self.cluster.levels(first, "slow").values()), {BURST - 400})

    def test_what_is_refused(self):
        self.take(self.keys(50), 1)
        self.ctl("backup", self.file)
        with open(self.file, "rb") as file:
            whole = file.read()
        self.assertEqual(os.stat(self.file).st_mode & 0o777, 0o600)
        damaged = self.file + "-damaged"
        for data, words in ((whole[:-1], "the file ends before the backup does"),
                            (whole[:len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) +
                             whole[len(whole) // 2 + 1:], "at byte "),
                            (b"GET / HTTP/1.1\r\n\r\n", "no piece of a backup")):
            with open(damaged, "wb") as file:
                file.write(data)
            for command in (["restore"], ["restore", "--dry-run"], ["backup", "--verify"]):
                self.assertIn(words, self.ctl(*command, damaged, expect=5))
        self.assertIn("holds no cluster under", self.ctl(
            "backup", "--key-prefix", "other:", self.file, expect=4))
        self.assertIn("this cluster has slots 0 to 63", self.ctl(
            "backup", "--slots", "64", self.file, expect=2))
        self.assertIn("cannot use Redis at", ctl("backup", self.file, "--redis",
                                                 "redis://127.0.0.1:1")[2])
        self.assertFalse(os.path.exists(self.file + ".partial"))
        with open(self.file, "rb") as file:
            self.assertEqual(file.read(), whole)
        piped = subprocess.run([program("sluicectl"), "backup", "-", "--redis",
                                self.cluster.redis.url], stdout=subprocess.PIPE, check=True)
        with open(self.file, "wb") as file:
            file.write(piped.stdout)
        self.ctl("backup", "--verify", self.file)

    def test_a_backup_of_the_first_format(self):
        """As release 0.1 left it: map, plans, assignments and records are what they meant."""
        directory = new_directory()
        redis = Redis(directory).start()
        self.addCleanup(redis.end)
        code, out, err = ctl("restore", os.path.join(REPO, "tests/golden/backup-format-1.sluice"),
                             "--redis", redis.url, "--json")
        self.assertEqual(code, 0, out + err)
        self.assertEqual(json.loads(out)["buckets"]["written"], 3)
        node = Node(directory, "golden", redis.url, shards=1).start()
        self.addCleanup(node.end)
        with node.control() as control:
            def shown(key):
                try:
                    return control.call("key.show", key)
                except RpcError as error:
                    if error.code not in ("UNAVAILABLE", "MOVED"):
                        raise
                    return None
            wait_for("it serves", lambda: shown("ancient"))
            for key, plan, levels in GOLDEN_LEVELS:
                info = shown(key)
                self.assertEqual((info["plan"], info["assigned"]), (plan, plan == "pair"))
                refilled = (time.time() * 1000 - GOLDEN_TAKEN_MS) / DAY_MS  # a token a day
                for limit, level in zip(info["limits"], levels):
                    expected = min(level + refilled, limit["burst"])
                    self.assertAlmostEqual(limit["level"], expected, delta=1.1)
        self.assertEqual(node.terminate(), 0)

    def test_routers_have_decided_and_decide_meanwhile(self):
        """Fences that end in a half: what routers granted before a piece is written counts, too."""
        redis = Redis(new_directory()).start()
        self.addCleanup(redis.end)
        golden = os.path.join(REPO, "tests/golden/backup-format-1.sluice")
        self.assertEqual(ctl("restore", golden, "--redis", redis.url)[0], 0)  # its plans and map
        client = redis.client()
        self.addCleanup(client.close)
        slots = {}
        for key in self.keys(400):
            slots.setdefault(xxh3(key) % 16, []).append(key)
        now_ns = time.time_ns()

        def record(days):
            return msgpack.packb([1, "century", 1, now_ns + days * DAY_MS * 10**6])

        def put(days, of):
            for slot in of:
                client.call("HSET", "sluice:{%d}:buckets" % slot,
                            *[part for key in slots[slot] for part in (key, record(days))])

        def fences():
            return {slot: float(client.call("GET", "sluice:{%d}:fence" % slot)) for slot in slots}

        def halve(of):
            for slot in of:
                client.call("SET", "sluice:{%d}:fence" % slot, "%.1f" % (fences()[slot] // 1 + 0.5))

        put(2000, slots)
        self.assertEqual(ctl("backup", self.file, "--redis", redis.url)[0], 0)
        put(1000, slots)
        early, late = sorted(slots)[::2], sorted(slots)[1::2]
        put(3000, early)  # routers, while no owner answered
        halve(early)
        before, hits = fences(), []

        def meanwhile(data):
            if b"unpack(ARGV, 2)" in data and not hits:  # pieces that were compared with 1000 days
                hits.append(fences())
                put(3000, late)
                halve(late)

        proxy = Proxy(redis.port, free_ports(), on_sent=meanwhile)
        self.addCleanup(proxy.close)
        code, out, err = ctl("restore", self.file, "--redis",
                             "redis://127.0.0.1:%d" % proxy.listen_port)
        self.assertEqual(code, 0, out + err)
        after = fences()
        for slot, keys in slots.items():
            for key in keys:
                self.assertEqual(client.call("HGET", "sluice:{%d}:buckets" % slot, key),
                                 record(3000), (slot, key))
            self.assertEqual(hits[0][slot] % 1, 0)  # closed by a whole one
            self.assertGreater(hits[0][slot], before[slot])
            # A piece that was refused has closed its slot once more.
            self.assertEqual(after[slot], hits[0][slot] + (slot in late))

    @unittest.skipUnless(SOAK, "it takes half a minute")
    def test_a_million(self):
        directory = new_directory()
        redis = Redis(directory).start()
        self.addCleanup(redis.end)
        path = os.path.join(directory, "file")
        ctl("restore", os.path.join(REPO, "tests/golden/backup-format-1.sluice"), "--redis",
            redis.url)  # its plans and its map
        record = msgpack.packb([1, "century", 1, time.time_ns() + 5000 * DAY_MS * 10**6])
        slots = {}
        for number in range(1000000):
            key = b"key-%07d" % number
            slots.setdefault(xxh3(key) % 16, []).append(key)
        with redis.client() as client:
            for slot, keys in slots.items():
                for at in range(0, len(keys), 1000):
                    client.call("HSET", "sluice:{%d}:buckets" % slot,
                                *[part for key in keys[at:at + 1000] for part in (key, record)])

            def run(what, *words):
                code, out, err = ctl(*words, "--redis", redis.url, "--json", within_s=300)
                self.assertEqual(code, 0, out + err)
                say("%s: %.0f buckets/s" % (what, 1e6 / json.loads(out)["seconds"]))

            run("backup", "backup", path)
            run("restore where all is there", "restore", path)
            client.call("FLUSHALL")
            run("restore into nothing", "restore", path)
            self.assertEqual(sum(client.call("HLEN", "sluice:{%d}:buckets" % slot)
                                 for slot in range(16)), 1000003)


if __name__ == "__main__":
    unittest.main()
