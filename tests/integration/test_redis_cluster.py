"""Redis Cluster: three masters, one of them with a replica, under the ACL that is shipped. Slots of
theirs are moved under load, nodes and masters are killed, a replica takes over."""

import os
import re
import shutil
import signal
import time
import unittest

from harness import SLOW, Cluster, Redis, free_bus_port, new_directory, say, wait_for, xxh3
from load import Load
from move_tools import halt
from test_redis_access import PASSWORD, redis_with_acl, shipped_line
from test_start import node_words, run

SLOTS = 16384
BURST = 200
PLANS = {
    "default": "tight",
    "plans": [{"name": "tight", "limits": [{"rate": 1, "period_ms": 3600 * 1000, "burst": BURST}]},
              {"name": "loose", "durability": "relaxed",
               "limits": [{"rate": 1, "period_ms": 3600 * 1000, "burst": 1000}]}],
}

# Milliseconds after which masters take a silent one for dead.
DEAD_MS = 1000 * SLOW

# Deadline of takes that are to wait for a master rather than be answered by policy.
PATIENT_MS = 8000


class Masters:
    """Three masters and a replica of the first. Each slot is known by who serves it."""

    def __init__(self, replica=True):
        self.directory = new_directory()
        self.servers = []
        for i in range(4 if replica else 3):
            name = "redis-%d" % i
            server = redis_with_acl(self.directory, shipped_line(), name, free_bus_port(), [
                "--cluster-enabled", "yes", "--cluster-config-file", name + ".conf",
                "--cluster-node-timeout", DEAD_MS, "--cluster-replica-validity-factor", 0,
                "--cluster-allow-replica-migration", "no", "--repl-diskless-sync-delay", 0])
            self.servers.append(server.start())
        self.ids = [self.call(i, "CLUSTER", "MYID").decode() for i in range(len(self.servers))]
        share = SLOTS // 3 + 1
        self.owner = [slot // share for slot in range(SLOTS)]
        for i in range(3):
            self.call(i, "CLUSTER", "SET-CONFIG-EPOCH", i + 1)
            self.call(i, "CLUSTER", "ADDSLOTSRANGE", i * share, min((i + 1) * share, SLOTS) - 1)
        for server in self.servers[1:]:
            self.call(0, "CLUSTER", "MEET", "127.0.0.1", server.port)
        if replica:
            wait_for("the replica knows its master", lambda: self.ids[0].encode() in self.call(
                3, "CLUSTER", "NODES"))
            self.call(3, "CLUSTER", "REPLICATE", self.ids[0])
        self.wait_ok(range(len(self.servers)))

    def call(self, server, *words):
        with self.servers[server].client() as client:
            return client.call(*words)

    def wait_ok(self, servers):
        def whole(i):
            return (b"cluster_state:ok" in self.call(i, "CLUSTER", "INFO") and
                    self.call(i, "CLUSTER", "NODES").count(b" connected") == len(self.servers))
        wait_for("the cluster is whole", lambda: all(whole(i) for i in servers))

    @property
    def url(self):
        return "redis+cluster://sluice@" + ",".join(
            "127.0.0.1:%d" % server.port for server in self.servers[1:])

    def slot(self, key):
        return self.call(1, "CLUSTER", "KEYSLOT", key)

    def move(self, slot, to, pause_s):
        """A live move, key by key, as redis-cli does it but slowly."""
        source = self.owner[slot]
        with self.servers[source].client() as giver, self.servers[to].client() as taker:
            taker.call("CLUSTER", "SETSLOT", slot, "IMPORTING", self.ids[source])
            giver.call("CLUSTER", "SETSLOT", slot, "MIGRATING", self.ids[to])
            while True:
                keys = giver.call("CLUSTER", "GETKEYSINSLOT", slot, 100)
                if not keys:
                    break
                for key in keys:
                    giver.call("MIGRATE", "127.0.0.1", self.servers[to].port, key, 0, 5000)
                    time.sleep(pause_s)
            taker.call("CLUSTER", "SETSLOT", slot, "NODE", self.ids[to])
            time.sleep(pause_s)  # for as long the giver says ASK
            giver.call("CLUSTER", "SETSLOT", slot, "NODE", self.ids[to])
        self.owner[slot] = to

    def told(self):
        """How often each server answered with each kind of error."""
        told = {}
        for server in self.servers:
            if not server.alive:
                continue
            with server.client() as client:
                text = client.call("INFO", "errorstats").decode()
            for kind, count in re.findall(r"errorstat_([^:]+):count=(\d+)", text):
                told[kind] = told.get(kind, 0) + int(count)
        return told

    def denied(self):
        denied = set()
        for server in self.servers:
            with server.client() as client:
                log = client.call("ACL", "LOG")
            denied |= {dict(zip(entry[::2], entry[1::2]))[b"object"].decode() for entry in log}
        return denied

    def end(self):
        for server in self.servers:
            server.end()


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
