"""Nothing forgotten: nodes, the router and Redis are killed under load and come back.

The plan refills a token in an hour, so that a key's level is its burst minus what was spent.
"""

import os
import random
import signal
import subprocess
import time
import unittest

import msgpack

from harness import (QUICK, RELAXED_PLANS, SLOW, SMOKE, SNAPSHOT_S, Cluster, Node, metronome, say,
                     wait_for)
from load import Load
from move_tools import halt
from sp_client import Connection, Take

BURST = 1000
KEY_COUNT = 2000 if SMOKE else 10000 if QUICK else 100000

# Seconds that a write may take beyond its interval here, where tests share two processors.
WRITE_S = 0.1 * SLOW


def spend(cluster, keys, seed):
    """Takes 1 to 5 tokens of each key; returns what then must remain to each."""
    chance = random.Random(seed)
    left = {}
    with cluster.connect() as connection:
        for at in range(0, len(keys), 1000):
            # One by one, for their deadline: on a busy machine a quarter of a second is soon over.
            ids = [(key, connection.send("take", key, chance.randint(1, 5), "slow",
                                         {"deadline_ms": 60000})) for key in keys[at:at + 1000]]
            for key, request_id in ids:
                answer = Take(connection.result(request_id, 70))
                assert answer.allowed and not answer.degraded, answer
                left[key] = answer.remaining
    return left


def wait_stored(cluster, count):
    """Until the store holds that many buckets. Returns the seconds it took: many at once take
    longer than an interval to write."""
    began = time.monotonic()
    with cluster.redis.client() as client:
        wait_for("%d buckets are stored" % count, lambda: client.bucket_count() == count, 10)
    return time.monotonic() - began


def differences(before, after):
    return [(key, before[key], after[key]) for key in before if before[key] != after[key]]


class CrashTest(unittest.TestCase):
    def setUp(self):
        self.keys = [b"user-%06d" % i for i in range(KEY_COUNT)]

    def open_cluster(self, **options):
        cluster = Cluster(**options)
        cluster.__enter__()
        self.addCleanup(cluster.end)  # if the test fails before it is closed
        self.cluster = cluster
        return cluster

    def close_cluster(self):
        self.cluster.__exit__(None, None, None)

    def test_kill_node_under_load(self):
        cluster = self.open_cluster(nodes=2, plans=RELAXED_PLANS)
        before = spend(cluster, self.keys, seed=1)
        wait_stored(cluster, len(self.keys))
        dead = cluster.nodes[0]
        cluster_map = cluster.map()
        busy = [b"busy-%04d" % i for i in range(500)]
        lost = {key for key in busy if cluster.owner_node(key, cluster_map) is dead}
        self.assertTrue(100 < len(lost) < 400)
        metronome().reset()
        load = Load(cluster.router.url, busy, "slow").start()
        time.sleep(1.0 * SLOW)
        killed_at = time.monotonic()
        dead.kill9()
        time.sleep(0.6)  # two deadlines and more
        began = time.monotonic()
        dead.start()
        cluster.wait_ready()
        back_s = time.monotonic() - began
        time.sleep(0.2)
        load.stop()
        self.assertTrue(cluster.router.alive)

        after = cluster.levels(self.keys, "slow")
        self.assertEqual(differences(before, after), [])
        levels = cluster.levels(busy, "slow")
        oldest_s, forgotten = 0.0, 0
        for key in busy:
            spent, granted = BURST - levels[key], load.granted[key]
            self.assertLessEqual(spent, load.sent[key], key)
            if key not in lost:
                self.assertGreaterEqual(spent, len(granted), key)
                continue
            # Grants received before the kill came before those after, so the forgotten are the
            # last ones before it.
            first = [at for at in granted if at <= killed_at]
            later = len(granted) - len(first)
            remembered = spent - later
            if remembered < len(first):
                forgotten += len(first) - remembered
                oldest_s = max(oldest_s, killed_at - first[remembered])
        slack_s = metronome().slack_s()
        self.assertLessEqual(oldest_s, SNAPSHOT_S + WRITE_S + slack_s,
                             "an older take was forgotten")
        self.assertEqual(load.errors, [])
        self.assertEqual(load.reconnects, 0, "the router dropped its client")
        self.assertTrue(load.degraded, "nobody was answered by policy in the gap")
        slowest_s = max(took for _, took in load.degraded)
        self.assertLess(slowest_s, 0.25 + 0.1 * SLOW + slack_s)
        self.assertEqual(load.degraded_allowed, 0)
        say("%d keys as before; of %d takes %d in the last %.0f ms before the kill were forgotten; "
            "%d degraded answers within %.0f ms; node back in %.2f s" %
            (len(self.keys), load.answered, forgotten, oldest_s * 1000, len(load.degraded),
             slowest_s * 1000, back_s))
        self.close_cluster()


    def test_kill_every_node(self):
        """All at once, with nobody left to remember but the store."""
        cluster = self.open_cluster(nodes=2)
        before = spend(cluster, self.keys, seed=2)
        stored_s = wait_stored(cluster, len(self.keys))
        for node in cluster.nodes:
            node.kill9()
        began = time.monotonic()
        for node in cluster.nodes:
            node.start()
        cluster.wait_ready()
        say("%d buckets stored %.2f s after the last take, and back %.2f s after both nodes were "
            "killed" % (len(self.keys), stored_s, time.monotonic() - began))
        self.assertEqual(differences(before, cluster.levels(self.keys, "slow")), [])
        self.close_cluster()

    def test_kill_router(self):
        cluster = self.open_cluster(nodes=2)
        keys = self.keys[:1000]
        before = spend(cluster, keys, seed=3)
        busy = [b"busy-%04d" % i for i in range(200)]
        load = Load(cluster.router.url, busy, "slow").start()
        time.sleep(0.5)
        cluster.router.kill9()
        time.sleep(0.3)
        cluster.router.start()
        cluster.wait_ready()
        time.sleep(0.5)
        load.stop()
        self.assertEqual(load.reconnects, 1)
        self.assertEqual(load.errors, [])
        self.assertEqual(differences(before, cluster.levels(keys, "slow")), [])
        levels = cluster.levels(busy, "slow")
        for key in busy:
            spent = BURST - levels[key]
            self.assertLessEqual(len(load.granted[key]), spent)
            self.assertLessEqual(spent, load.sent[key])
        say("client connected again by itself; %d takes, %d outstanding at the kill" %
            (load.answered, load.unanswered))
        self.close_cluster()

    def test_nng_client_outlives_the_router(self):
        """nngcat asks on across the router's death: nng connects again. It asks every few seconds,
        and gives up when a question takes it longer than that: the router is back long before."""
        cluster = self.open_cluster(nodes=1)
        body = cluster.directory + "/take.bin"
        with open(body, "wb") as file:
            file.write(msgpack.packb([0, 1, "take", [b"nng", 1, "slow"]]))
        client = subprocess.Popen(
            ["nngcat", "--req", "--dial", cluster.router.url, "--file", body, "--raw",
             "--interval", "3", "--count", "3"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            first = os.read(client.stdout.fileno(), 1 << 16)
            cluster.router.kill9()
            cluster.router.start()
            out, err = client.communicate(timeout=40)
        finally:
            if client.poll() is None:
                client.kill()
                client.wait()
        answers = msgpack.Unpacker()
        answers.feed(first + out)
        left = [answer[3][1] for answer in answers]
        self.assertEqual(left, [BURST - 1, BURST - 2, BURST - 3], err)
        say("nngcat went on after the router came back: %s left" % left)
        self.close_cluster()

    def test_kill_redis(self):
        """Nodes go on from memory without the store, connect again, and write what they owe."""
        cluster = self.open_cluster(nodes=2, plans=RELAXED_PLANS)
        keys = self.keys[:max(1000, KEY_COUNT // 10)]
        before = spend(cluster, keys, seed=4)
        busy = [b"busy-%04d" % i for i in range(500)]
        # A deadline that only an owner who does not decide would let pass.
        load = Load(cluster.router.url, busy, "slow", deadline_ms=5000).start()
        time.sleep(0.5)
        cluster.redis.kill9()
        time.sleep(0.5)
        away = spend(cluster, keys, seed=5)  # decided by owners, from memory
        time.sleep(1.5)
        cluster.redis.start()
        with cluster.control() as control, cluster.control(1) as other:
            wait_for("both nodes are connected again", lambda: all(
                node.call("node.status")["store"]["up"] for node in (control, other)))
        time.sleep(0.5)
        load.stop()
        self.assertEqual(load.degraded, [])
        self.assertEqual(load.errors, [])
        self.assertTrue(all(away[key] < before[key] for key in keys))
        self.assertEqual(differences(away, cluster.levels(keys, "slow")), [])
        levels = cluster.levels(busy, "slow")
        for key in busy:
            self.assertEqual(BURST - levels[key], len(load.granted[key]), key)
        # What they wrote since is all there is: both are killed and read it back.
        cluster.wait_written()
        for node in cluster.nodes:
            node.kill9()
        for node in cluster.nodes:
            node.start()
        cluster.wait_ready()
        self.assertEqual(differences(away, cluster.levels(keys, "slow")), [])
        self.assertEqual(differences(levels, cluster.levels(busy, "slow")), [])
        say("%d takes without one degraded answer while Redis was away for 2 s; %d buckets read "
            "back exactly" % (load.answered, len(keys) + len(busy)))
        self.close_cluster()


    def test_sigterm_writes_everything(self):
        cluster = self.open_cluster(nodes=2)
        before = spend(cluster, self.keys, seed=6)
        # At once, within the snapshot interval: what is dirty is written on the way out.
        for node in cluster.nodes:
            node.popen.terminate()
        began = time.monotonic()
        codes = [node.wait() for node in cluster.nodes]
        self.assertEqual(codes, [0, 0])
        took_s = time.monotonic() - began
        for node in cluster.nodes:
            node.start()
        cluster.wait_ready()
        self.assertEqual(differences(before, cluster.levels(self.keys, "slow")), [])
        say("%d buckets, the newest not yet written; stopped in %.2f s, exact after the restart" %
            (len(self.keys), took_s))
        self.close_cluster()


    def test_sigterm_under_load_forgets_no_grant(self):
        cluster = self.open_cluster(nodes=2)
        busy = [b"busy-%04d" % i for i in range(300)]
        load = Load(cluster.router.url, busy, "slow").start()
        time.sleep(0.5)
        self.assertEqual(cluster.nodes[0].terminate(), 0)
        cluster.nodes[0].start()
        cluster.wait_ready()
        time.sleep(0.3)
        load.stop()
        levels = cluster.levels(busy, "slow")
        short = [(key, BURST - levels[key], len(load.granted[key])) for key in busy
                 if not len(load.granted[key]) <= BURST - levels[key] <= load.sent[key]]
        self.assertEqual(short, [])
        say("%d takes, every grant remembered over a restart in order; %d degraded answers" %
            (load.answered, len(load.degraded)))
        self.close_cluster()

    def test_sigterm_without_the_store_says_so(self):
        """Exit code 3, in time, and a log line: some buckets could not be written."""
        cluster = self.open_cluster(nodes=1, plans=RELAXED_PLANS, node_args=["--stop-timeout", "1s"])
        cluster.redis.kill9()
        spend(cluster, self.keys[:1000], seed=7)
        metronome().reset()
        began = time.monotonic()
        cluster.nodes[0].popen.terminate()
        self.assertEqual(cluster.nodes[0].wait(), 3)
        self.assertLess(time.monotonic() - began, 3 * SLOW + metronome().slack_s())
        self.assertRegex(cluster.nodes[0].log(), rb"unwritten buckets")
        cluster.end()

    def test_a_restarted_node_shuts_out_its_paused_self(self):
        """A paused process of the same node wakes after its successor took over: the fence refuses
        its writes, so what the successor granted stays granted."""
        cluster = self.open_cluster(nodes=1, shards=1)
        node = cluster.nodes[0]
        before = spend(cluster, self.keys[:500], seed=8)
        wait_stored(cluster, 500)
        # Dirty, then paused before it can write.
        spend(cluster, self.keys[:500], seed=9)
        os.kill(node.pid, signal.SIGSTOP)
        try:
            successor = Node(cluster.directory, "n1", cluster.redis.url, 1, name="n1-successor")
            cluster.processes.insert(0, successor)
            wait_for("the lease has expired", lambda: not self.lease(cluster), 10)
            successor.start()
            with successor.control() as control:
                wait_for("the successor owns the slots", lambda: all(
                    shard["state"] == "serving" for shard in control.call("node.status")["shards"]))
        finally:
            os.kill(node.pid, signal.SIGCONT)
        time.sleep(1.0)
        self.assertTrue(successor.alive)
        with Connection(successor.shard_url(0)) as direct:
            for key in self.keys[:500]:
                left = direct.peek(key, 0, "slow").remaining
                self.assertLessEqual(left, before[key])
        self.assertRegex(node.log() + b"", rb"(?i)fence|lease|another")
        cluster.end()

    def test_a_node_comes_back_elsewhere(self):
        """At other ports than the map says: the map follows, and routers with it."""
        cluster = self.open_cluster(nodes=2)
        before = spend(cluster, self.keys[:1000], seed=10)
        epoch = cluster.map()["epoch"]
        self.assertEqual(cluster.nodes[0].terminate(), 0)
        moved = Node(cluster.directory, "n1", cluster.redis.url, name="n1-elsewhere")
        cluster.nodes[0] = moved
        cluster.processes.insert(0, moved)
        moved.start()
        cluster.wait_ready()
        self.assertEqual(differences(before, cluster.levels(self.keys[:1000], "slow")), [])
        self.assertGreater(cluster.map()["epoch"], epoch)
        self.close_cluster()

    def test_paused_node(self):
        """One that neither answers nor breaks its connections: the policy answers in time."""
        cluster = self.open_cluster(nodes=1)
        halt(cluster.nodes[0])
        try:
            with cluster.connect() as connection:
                metronome().reset()
                for plan, allowed in (("slow", False), ("open", True)):
                    began = time.monotonic()
                    take = connection.take(b"paused", 1, plan, {"deadline_ms": 100})
                    late_s = time.monotonic() - began - 0.1
                    self.assertEqual((take.allowed, take.degraded), (allowed, True))
                    self.assertLess(late_s, 0.1 * SLOW + metronome().slack_s())
        finally:
            os.kill(cluster.nodes[0].pid, signal.SIGCONT)
        cluster.wait_ready()
        self.close_cluster()

    def lease(self, cluster):
        with cluster.redis.client() as client:
            return client.keys("sluice:{cluster}:node:*")


if __name__ == "__main__":
    unittest.main()
