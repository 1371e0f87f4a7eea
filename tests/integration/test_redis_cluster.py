"""Redis Cluster: three masters, one of them with a replica, under the ACL that is shipped. Slots of
theirs are moved under load, nodes and masters are killed, a replica takes over."""

import json
import os
import shutil
import signal
import subprocess
import time
import unittest

from harness import SOAK, Cluster, Redis, ctl, new_directory, say, wait_for, xxh3
from load import Load
from moved_backup import COUNT, LARGE, LARGE_COUNT, SLOTS as STORED_SLOTS, Mover, Stored, pieces_of
from move_tools import halt
from redis_masters import Masters
from test_redis_access import PASSWORD
from test_start import node_words, run

BURST = 200
PLANS = {
    "default": "tight",
    "plans": [{"name": "tight", "limits": [{"rate": 1, "period_ms": 3600 * 1000, "burst": BURST}]},
              {"name": "loose", "durability": "relaxed",
               "limits": [{"rate": 1, "period_ms": 3600 * 1000, "burst": 1000}]}],
}

# Deadline of takes that are to wait for a master rather than be answered by policy.
PATIENT_MS = 8000


class RedisClusterTest(unittest.TestCase):
    smoke = False

    @classmethod
    def setUpClass(cls):
        cls.masters = Masters()
        cls.addClassCleanup(cls.masters.end)
        cls.cluster = Cluster(nodes=2, plans=PLANS, redis=cls.masters.servers[0],
                              store_url=cls.masters.url,
                              node_env={"SLUICE_REDIS_PASSWORD": PASSWORD})
        cls.cluster.__enter__()
        cls.addClassCleanup(cls.cluster.end)
        cls.password = ["--redis-password-file", os.path.join(cls.masters.directory, "password")]
        with open(cls.password[1], "w", encoding="ascii") as file:
            file.write(PASSWORD)

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)

    def bucket_key(self, key, what="buckets"):
        return "sluice:{%d}:%s" % (xxh3(key) & 1023, what)

    def redis_slot(self, key):
        return self.masters.slot(self.bucket_key(key))

    def keys(self, name, count, owner=None):
        """As many keys; of a master, if `owner` is one's number."""
        found, i = [], 0
        while len(found) < count:
            key = b"%s-%05d" % (name, i)
            i += 1
            if owner is None or self.masters.owner[self.redis_slot(key)] == owner:
                found.append(key)
        return found

    def restart_nodes(self):
        """Nobody is left to remember but the store."""
        for node in self.cluster.nodes:
            node.kill9()
        for node in self.cluster.nodes:
            node.start()
        self.cluster.wait_ready()

    def check_spent(self, keys, spent):
        """Nothing is forgotten; a crash costs a key its reservation at most."""
        for key, level in self.cluster.levels(keys, "tight").items():
            self.assertLessEqual(level, BURST - spent, key)
            self.assertGreaterEqual(level, BURST - spent - BURST // 8, key)

    def fences(self, keys):
        fences = {}
        for key in keys:
            name = self.bucket_key(key, "fence")
            owner = self.masters.owner[self.masters.slot(name)]
            fences[name] = int(self.masters.call(owner, "GET", name))
        return fences

    def test_1_a_live_reshard_under_load(self):
        masters, cluster = self.masters, self.cluster
        busy = self.keys(b"busy", 120)
        slots = sorted({self.redis_slot(key) for key in busy})
        epoch = cluster.map()["epoch"]
        before = masters.told()
        # Keys that are seen again and again, to their bound, from their marks; and keys that are seen
        # now and then, each of whose takes waits for a write.
        rare = [b"rare-%05d" % i for i in range(3000)]
        loads = [Load(cluster.router.url, busy, "tight", window=16, deadline_ms=PATIENT_MS).start(),
                 Load(cluster.router.url, rare, "tight", window=64, deadline_ms=PATIENT_MS).start()]
        time.sleep(0.3)
        fences = self.fences(busy)
        began = time.monotonic()
        home = masters.slot("{cluster}")
        for i, slot in enumerate(slots + [home]):
            masters.move(slot, (masters.owner[slot] + 1) % 3, 0.002)
        took_s = time.monotonic() - began
        time.sleep(0.5)
        after = masters.told()
        told = {kind: after.get(kind, 0) - before.get(kind, 0)
                for kind in ("MOVED", "ASK", "TRYAGAIN")}
        self.assertTrue(all(told.values()), told)  # all of it was met
        loads[1].stop()
        wait_for("the busy keys are at their bound",
                 lambda: set(cluster.levels(busy, "tight").values()) == {0}, every_s=0.3)
        granted, slowest_s = {}, 0.0
        loads[0].stop()
        for load in loads:
            self.assertEqual((load.errors, load.degraded, load.reconnects), ([], [], 0))
            granted.update((key, len(times)) for key, times in load.granted.items())
        for times in loads[0].granted.values():
            slowest_s = max([slowest_s] + [b - a for a, b in zip(times, times[1:])])
        levels = cluster.levels(busy + rare, "tight")
        for key, level in levels.items():
            self.assertEqual(BURST - level, granted[key], key)  # not beyond its bound, nothing lost
        self.assertEqual({granted[key] for key in busy}, {BURST})
        for name, fence in self.fences(busy).items():
            self.assertGreaterEqual(fence, fences[name], name)
        self.assertEqual(cluster.map()["epoch"], epoch)  # nobody was taken over
        cluster.wait_written()
        self.restart_nodes()
        for key, level in cluster.levels(busy + rare, "tight").items():
            self.assertLessEqual(level, levels[key], key)
        say("%d slots moved in %.1f s under load: %d takes granted, none in error or by policy, no "
            "key beyond its bound; %d MOVED, %d ASK, %d TRYAGAIN" % (
                len(slots) + 1, took_s, sum(granted.values()), told["MOVED"], told["ASK"], told["TRYAGAIN"]))
        say("no key waited longer than %.2f s between two grants" % slowest_s)

    def check_same(self, found, expected):
        """Pairs by slot and kind; not told one by one, for there are many."""
        self.assertEqual(set(found), set(expected))
        for name, pairs in expected.items():
            lost = set(pairs.items()) - set(found[name].items())
            self.assertEqual((len(lost), len(found[name])), (0, len(pairs)), name)

    def test_1_b_a_backup_of_slots_that_are_moved(self):
        """No key is lost, whatever is moved at the worst moment; a restore brings all of them back."""
        stored = Stored(self.masters, self.password)
        self.addCleanup(stored.clear)
        stored.fill()
        expected = stored.read()
        self.backup_of_a_slot_that_moves_between_two_pages(stored, expected)

        path = stored.path("half-moved")
        stored.begin_move(6, ["buckets"])  # its fence and its assignments are not there yet
        stored.wait_told("ASK", lambda: stored.ctl("backup", path))
        stored.move(6)
        found, count = pieces_of(path)
        self.check_same(found, expected)
        self.assertEqual(stored.ctl("backup", "--verify", path)["buckets"], count)

        stored.clear()
        dry = stored.ctl("restore", "--dry-run", path)
        self.assertEqual(dry["buckets"]["written"], count)
        self.assertEqual(sum(len(pairs) for pairs in stored.read().values()), 0)
        self.restore_of_slots_that_move(stored, path)
        self.check_same(stored.read(), expected)
        done = stored.ctl("restore", "--slots", "3,%d" % LARGE, path)  # what is there is compared
        self.assertEqual((done["buckets"]["as_they_were"], done["buckets"]["written"]),
                         (COUNT + LARGE_COUNT, 0))
        # The script that empties a slot finds there what it looks for, and then misses what it has
        # deleted: it is broken off, and goes through when the slot is whole again.
        owner = self.masters.owner[stored.redis_slot(9)]
        stored.begin_move(9)
        replace = stored.start("restore", "--replace", "--slots", "9", path,
                               stdout=subprocess.DEVNULL)
        wait_for("the slot is emptied", lambda: len(self.masters.call(
            owner, "KEYS", stored.name(9, "*"))) == 2)
        stored.move(9)
        self.assertEqual(replace.wait(60), 0)
        self.check_same(stored.read(), expected)

    def paused_backup(self, stored, path):
        """Of the large slot; it waits for its pipe in the middle of it. What it has said is in the
        file."""
        backup = stored.start("backup", "--slots", "%d" % LARGE, "-", stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, bufsize=0)
        with open(path, "wb") as file:
            while file.tell() < 100000:
                file.write(backup.stdout.read(50000))
        return backup

    def backup_of_a_slot_that_moves_between_two_pages(self, stored, expected):
        path = stored.path("in-two-parts")
        with self.paused_backup(stored, path) as backup, open(path, "ab") as file:
            stored.move(LARGE)
            file.write(backup.stdout.read())
        self.assertEqual(backup.returncode, 0)
        found, count = pieces_of(path)
        self.check_same(found, {name: pairs for name, pairs in expected.items()
                                if name[0] == LARGE})
        self.assertGreater(count, LARGE_COUNT)  # it was begun anew
        self.assertEqual(stored.ctl("backup", "--verify", path)["buckets"], count)

    def restore_of_slots_that_move(self, stored, path):
        """It cannot close a slot that is between two masters; others move while it waits for that,
        {cluster} among them."""
        moving = STORED_SLOTS - 1
        stored.begin_move(moving)
        restore = None

        def start():
            nonlocal restore
            restore = stored.start("restore", path, stdout=subprocess.PIPE)

        stored.wait_told("TRYAGAIN", start)
        halt(restore)
        before = self.masters.told().get("MOVED", 0)
        for slot in (2, LARGE):
            stored.move(slot)
        home = self.masters.slot("{cluster}")
        self.masters.settle()
        self.masters.move(home, (self.masters.owner[home] + 1) % 3, 0)
        stored.move(moving)
        restore.send_signal(signal.SIGCONT)
        out = restore.communicate(timeout=60)[0]
        self.assertEqual(restore.returncode, 0)
        self.assertEqual(json.loads(out)["plans"], "file")
        self.assertGreaterEqual(self.masters.told()["MOVED"] - before, 4)

    def test_1_b_b_a_master_hands_over_to_its_replica(self):
        """A backup begins the slot anew; a restore cannot tell what was lost, and is run again."""
        masters, stored = self.masters, Stored(self.masters, self.password)
        self.addCleanup(stored.clear)
        stored.fill()
        moving = (LARGE + 1) % STORED_SLOTS
        for slot, owner in ((LARGE, 0), (moving, 1)):
            if masters.owner[stored.redis_slot(slot)] != owner:
                masters.settle()
                masters.move(stored.redis_slot(slot), owner, 0)
        expected, path = stored.read(), stored.path("handed-over")
        with self.paused_backup(stored, path) as backup, open(path, "ab") as file:
            masters.hand_over(0, 3)
            file.write(backup.stdout.read())
        self.assertEqual(backup.returncode, 0)
        self.check_same(pieces_of(path)[0], {name: pairs for name, pairs in expected.items()
                                             if name[0] == LARGE})

        stored.ctl("backup", path)
        stored.clear()
        stored.begin_move(moving)
        restore = None

        def start():
            nonlocal restore
            restore = stored.start("restore", path, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)

        stored.wait_told("TRYAGAIN", start)
        halt(restore)
        masters.hand_over(3, 0)
        stored.move(moving)
        restore.send_signal(signal.SIGCONT)
        err = restore.communicate(timeout=60)[1]
        self.assertEqual(restore.returncode, 3, err)
        self.assertIn("has become a replica meanwhile", err)
        self.assertIn("run it again", err)
        stored.ctl("restore", path)
        self.check_same(stored.read(), expected)

    def test_1_c_all_is_lost_and_restored(self):
        """Backed up under load and a live reshard, restored under one: each token that was granted
        before the backup is spent."""
        masters, cluster = self.masters, self.cluster
        path = os.path.join(new_directory(), "backup")

        def ctl_json(*words):
            code, out, err = ctl(*words, path, "--redis", masters.url, *self.password, "--json")
            self.assertEqual(code, 0, out + err)
            return json.loads(out)

        quiet, busy = self.keys(b"quiet", 100), self.keys(b"taken", 40)
        with cluster.connect() as connection:
            connection.take_many([[key, 60, "tight"] for key in quiet])
        mover = Mover(masters, sorted({self.redis_slot(key) for key in quiet + busy}))
        load = Load(cluster.router.url, busy, "tight", window=8, deadline_ms=PATIENT_MS).start()
        time.sleep(0.3)
        began = time.monotonic()
        made = ctl_json("backup")
        load.stop()
        self.assertEqual(ctl_json("backup", "--verify")["buckets"], made["buckets"])
        self.assertEqual((load.errors, load.degraded), ([], []))
        for node in cluster.nodes:
            node.kill9()
        mover.end()
        for server in range(3):
            masters.call(server, "FLUSHALL")
        again = Mover(masters, mover.slots)
        done = ctl_json("restore")
        again.end()
        self.assertEqual(done["buckets"]["written"], made["buckets"])
        for node in cluster.nodes:
            node.start()
        cluster.wait_ready()
        self.check_spent(quiet, 60)
        levels = cluster.levels(busy, "tight")
        for key in busy:
            before = sum(at < began for at in load.granted[key])
            self.assertLessEqual(before + levels[key], BURST, key)
            self.assertGreaterEqual(len(load.granted[key]) + levels[key] + BURST // 8, BURST, key)
        say("%d buckets backed up and restored while %d slots were moved: no key beyond its bound" % (
            made["buckets"], mover.moves + again.moves))

    def test_1_d_what_a_backup_cannot_be_taken_of(self):
        path = os.path.join(new_directory(), "backup")
        port = self.masters.servers[1].port
        alone = Redis(new_directory()).start()
        self.addCleanup(alone.end)
        for url, words, said in (
                ("redis+cluster://127.0.0.1:1,127.0.0.1:2", [], "none of the servers that were named"),
                ("redis+cluster://127.0.0.1:%d" % alone.port, [], "it is no Redis Cluster: say redis://"),
                ("redis://sluice@127.0.0.1:%d" % port, self.password,
                 "a server of a Redis Cluster: --redis redis+cluster://sluice@127.0.0.1:%d" % port)):
            code, out, err = ctl("backup", path, "--redis", url, *words)
            self.assertEqual(code, 3, out + err)
            self.assertIn(said, err)
        # Of several servers one that answers is enough.
        url = "redis+cluster://sluice@127.0.0.1:1,127.0.0.1:%d" % port
        self.assertEqual(ctl("backup", path, "--redis", url, *self.password)[0], 0)

    @unittest.skipUnless(SOAK, "what it waits for takes ten seconds each")
    def test_1_e_a_slot_that_nobody_serves(self):
        masters, path = self.masters, os.path.join(new_directory(), "backup")
        slot = masters.slot("{3}")
        owner = masters.owner[slot]
        self.addCleanup(masters.wait_ok, range(len(masters.servers)))
        for server in range(3):
            masters.call(server, "CONFIG", "SET", "cluster-require-full-coverage", "no")
            masters.call(server, "CLUSTER", "DELSLOTS", slot)
        code, out, err = ctl("backup", path, "--redis", masters.url, *self.password)
        for server in range(3):
            masters.call(server, "CONFIG", "SET", "cluster-require-full-coverage", "yes")
        masters.call(owner, "CLUSTER", "ADDSLOTS", slot)
        self.assertEqual(code, 3, out + err)
        self.assertIn("sluice:{3}:", err)
        self.assertIn("redis-cli --cluster check tells what is missing", err)

    def test_2_a_master_that_comes_back(self):
        """While it is away the slots of others do not notice; what it forgot is written again."""
        masters, cluster = self.masters, self.cluster
        theirs, others = self.keys(b"own", 40, owner=2), self.keys(b"other", 40, owner=1)
        with cluster.connect() as connection:
            connection.take_many([[key, 5, "tight"] for key in theirs + others])
        for key in theirs[:5]:
            with cluster.owner_node(key).control() as control:
                control.call("key.assign", key, "loose")
        cluster.wait_written()
        cold = self.keys(b"cold", 40, owner=1)
        master = masters.servers[2]
        master.kill9()
        at = time.monotonic()
        with cluster.connect() as connection:
            # Strict and never seen: each waits for a write.
            answers = connection.take_many([[key, 1, "tight"] for key in cold])
            self.assertEqual([a for a in answers if not a.allowed or a.degraded], [])
            others_s = time.monotonic() - at
            answers = connection.take_many([[key, 1, "loose"] for key in self.keys(
                b"loose", 20, owner=2)])
            self.assertEqual([a for a in answers if not a.allowed or a.degraded], [])
        # As if its file had never been synced.
        shutil.rmtree(os.path.join(masters.directory, "redis-2-data", "appendonlydir"))
        master.start()
        masters.wait_ok(range(len(masters.servers)))
        cluster.wait_written()

        def stored():
            return sum(self.masters.call(2, "HEXISTS", self.bucket_key(key), key)
                       for key in theirs) == len(theirs) and all(
                self.masters.call(2, "HGET", self.bucket_key(key, "keys"), key) == b"loose"
                for key in theirs[:5])

        wait_for("what it forgot is written again", stored)
        took_s = time.monotonic() - at
        self.restart_nodes()
        self.check_spent(theirs + others, 5)
        say("a master killed and back without its data: takes of other masters' keys granted after "
            "%.2f s meanwhile; all that it had was written again after %.1f s" % (others_s, took_s))

    def test_3_a_replica_takes_over(self):
        """What the replica had not received is written again by who holds it."""
        masters, cluster = self.masters, self.cluster
        kept, lost = self.keys(b"kept", 60, owner=0), self.keys(b"lost", 60, owner=0)
        with cluster.connect() as connection:
            connection.take_many([[key, 5, "tight"] for key in kept])
        cluster.wait_written()
        halt(masters.servers[3])
        masters.call(0, "CLIENT", "KILL", "TYPE", "replica")
        with cluster.connect() as connection:
            connection.take_many([[key, 7, "tight"] for key in lost])
        cluster.wait_written()
        at = time.monotonic()
        masters.servers[0].kill9()
        masters.servers[3].popen.send_signal(signal.SIGCONT)
        wait_for("the replica takes over", lambda: masters.call(3, "ROLE")[0] == b"master")
        promoted_s = time.monotonic() - at
        masters.owner = [3 if owner == 0 else owner for owner in masters.owner]

        def stored():
            return sum(masters.call(3, "HEXISTS", self.bucket_key(key), key)
                       for key in lost) == len(lost)

        wait_for("what it had not received is written to it", stored)
        written_s = time.monotonic() - at
        with cluster.connect() as connection:
            cold = [[key, 1, "tight", {"deadline_ms": PATIENT_MS}] for key in self.keys(
                b"after", 40, owner=3)]
            answers = [connection.call("take", *take) for take in cold]
        self.assertTrue(all(answer[0] and answer[5] & 1 == 0 for answer in answers))
        self.restart_nodes()
        self.check_spent(kept, 5)
        self.check_spent(lost, 7)
        say("a master killed, its replica took over after %.1f s; what it had not received was "
            "written to it after %.1f s, and nothing is forgotten" % (promoted_s, written_s))

    def test_4_a_fence_that_is_raised_while_its_slot_is_moved(self):
        """A script that took the fence away before it set it would end there, and with it the
        fence."""
        masters, cluster = self.masters, self.cluster
        key = self.keys(b"fenced", 1, owner=1)[0]
        slot, to = self.redis_slot(key), 2
        with cluster.connect() as connection:
            self.assertTrue(connection.take(key, 5, "tight").allowed)
        cluster.wait_written()
        before = self.fences([key])
        masters.call(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", masters.ids[1])
        masters.call(1, "CLUSTER", "SETSLOT", slot, "MIGRATING", masters.ids[to])
        node = cluster.owner_node(key)
        node.kill9()
        node.start()
        cluster.wait_ready()
        for name, fence in self.fences([key]).items():
            self.assertGreater(fence, before[name])
        with masters.servers[1].client() as client:
            self.assertEqual(client.call("PTTL", self.bucket_key(key, "fence")), -1)  # for ever
        masters.move(slot, to, 0)
        self.check_spent([key], 5)

    def test_5_nothing_was_denied(self):
        self.masters.servers[0].start()
        self.assertEqual(self.masters.denied(), set())

    def test_6_a_server_that_is_called_by_the_wrong_name(self):
        port = self.masters.servers[1].port
        code, out = run("sluice-node", *node_words("redis://127.0.0.1:%d" % port))
        self.assertEqual(code, 1, out)
        self.assertIn("redis+cluster://", out)
        alone = Redis(new_directory()).start()
        self.addCleanup(alone.end)
        code, out = run("sluice-node", *node_words("redis+cluster://127.0.0.1:%d" % alone.port))
        self.assertEqual(code, 1, out)
        self.assertIn("it is no Redis Cluster", out)
        code, out = run("sluice-node", "--ack", "replicas:1", *node_words(
            self.masters.url.replace("sluice@", "")))
        self.assertEqual(code, 1, out)
        self.assertIn("--ack cannot be kept", out)


if __name__ == "__main__":
    unittest.main()
