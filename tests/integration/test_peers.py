"""Stock clients of the SP protocols, and peers that do not behave, at a router and at a shard."""

import os
import shutil
import socket
import subprocess
import sys
import time
import unittest

import msgpack

from harness import INLINE, QUICK, SLOW, SMOKE, ClusterTest, say, wait_for
from sp_client import GREETING_IN, GREETING_OUT, Connection, address_of

# Takes of one request of a heavy peer: as many as there may be.
HEAVY = 4096

# Nothing in here is about deadlines: a slow machine may take its time.
PATIENT = {"deadline_ms": 20000}


def ask(connection):
    return connection.call("peek", b"k", 0, INLINE, PATIENT, timeout_s=30)


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


class DoorsTest(ClusterTest):
    """What the tests of this file know of the endpoints of a cluster."""

    cluster_options = {"node_args": ("--huge-pages",)}

    def doors(self, key=b"k"):
        return (("router", self.cluster.router.url), ("shard", self.cluster.owner_url(key)))

    def counters(self, url):
        """Of the endpoint at that URL."""
        if url == self.cluster.router.url:
            with self.cluster.connect() as router:
                return router.call("cluster.status")["counters"]
        for node in self.cluster.nodes:
            with node.control() as control:
                for shard in control.call("node.status")["shards"]:
                    if shard["endpoint"] == url:
                        return shard["counters"]
        raise AssertionError("nobody listens at " + url)

    def closed_bad(self, url):
        return self.counters(url)["closed_bad_peer"]

    def resident(self, url):
        process = self.cluster.router
        for node in self.cluster.nodes:
            if url in [node.shard_url(i) for i in range(node.shards)]:
                process = node
        with open("/proc/%d/statm" % process.pid) as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


class PeersTest(DoorsTest):
    # --- stock clients ---

    @unittest.skipUnless(shutil.which("nanocat"), "nanocat (nanomsg-utils) is not installed")
    def test_nanocat(self):
        """nanomsg's own REQ, which came before nng's: one request, and three on one socket."""
        key = self.new_key("nanocat")
        path = os.path.join(self.cluster.directory, "nanocat.bin")
        with open(path, "wb") as file:
            file.write(msgpack.packb([0, 7, "take", [key, 1, INLINE]]))
        left = 7
        for door, url in self.doors(key):
            done = subprocess.run(["nanocat", "--req", "--connect", url, "--file", path, "--raw",
                                   "--recv-timeout", "10"], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, timeout=30)
            self.assertEqual(done.returncode, 0, done.stderr)
            left -= 1
            self.assertEqual(msgpack.unpackb(done.stdout)[:3], [1, 7, None], door)
            self.assertEqual(msgpack.unpackb(done.stdout)[3][:2], [True, left], door)
        asking = subprocess.Popen(["nanocat", "--req", "--connect", self.cluster.router.url,
                                   "--file", path, "--raw", "--interval", "0.5"],
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            answers, seen = msgpack.Unpacker(), []
            while len(seen) < 3:
                answers.feed(os.read(asking.stdout.fileno(), 4096))
                seen += [answer[3][1] for answer in answers]
        finally:
            asking.kill()
            asking.communicate()
        # It asks anew at each interval, and takes no notice of an answer that came too late.
        self.assertLess(seen[0], left)
        self.assertEqual(seen, sorted(set(seen), reverse=True))

    @unittest.skipUnless(shutil.which("nngcat"), "nngcat (nng-utils) is not installed")
    def test_stock_sockets_of_other_protocols(self):
        """Whoever greets as something else than REQ hears nothing, and harms nobody."""
        for door, url in self.doors():
            with Connection(url) as bystander:
                callers = [subprocess.Popen(["nngcat", "--" + kind, "--dial", url, "--data", "x"],
                                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
                           for kind in ("pair0", "push0", "surveyor0")]
                closed = wait_for("%s turns them away" % door, lambda: self.closed_bad(url) or None)
                for caller in callers:
                    caller.kill()
                    self.assertEqual(caller.communicate()[0], b"", door)
                self.assertGreater(closed, 0)
                ask(bystander)

    # --- peers that do not behave ---

    def test_byte_by_byte(self):
        """A request that comes one byte at a time, each in a packet of its own, greeting and all."""
        for door, url in self.doors():
            body = b"\x80\0\0\x05" + msgpack.packb([0, 5, "peek", [b"k", 0, INLINE, PATIENT]])
            with socket.create_connection(address_of(url), timeout=10 * SLOW) as raw:
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for byte in GREETING_OUT + len(body).to_bytes(8, "big") + body:
                    raw.sendall(bytes([byte]))
                    time.sleep(0.0005)
                got = b""
                while len(got) < 16 or len(got) < 16 + int.from_bytes(got[8:16], "big"):
                    more = raw.recv(4096)
                    self.assertTrue(more, door)
                    got += more
            self.assertEqual(got[:8] + got[16:20], GREETING_IN + b"\x80\0\0\x05", door)
            self.assertEqual(msgpack.unpackb(got[20:])[3][0], True, door)

    def test_half_greetings(self):
        """Hundreds of callers that never end their greeting take nothing from one that does; they
        are closed within seconds, and counted."""
        raws, before = [], {}
        for door, url in self.doors():
            before[url] = self.closed_bad(url)
            for _ in range(200):
                raws.append(socket.create_connection(address_of(url), timeout=10 * SLOW))
                raws[-1].sendall(GREETING_OUT[:5])
            with Connection(url) as connection:
                ask(connection)
        for door, url in self.doors():
            wait_for("%s has closed them" % door,
                     lambda: self.closed_bad(url) >= before[url] + 200)
        for raw in raws:
            raw.close()

    def test_a_claim_of_much_takes_no_memory(self):
        """A thousand callers that announce 2 MB each, and send ten bytes of it."""
        for door, url in self.doors():
            before = self.resident(url)
            raws = []
            for _ in range(200 if SMOKE else 1000):
                raws.append(socket.create_connection(address_of(url), timeout=10 * SLOW))
                raws[-1].sendall(GREETING_OUT + (2 << 20).to_bytes(8, "big") + b"\x80\0\0\1" * 3)
            with Connection(url) as connection:
                ask(connection)
            grown = self.resident(url) - before
            say("%s: %d announced 2 MB each: %.1f MB more resident" % (
                door, len(raws), grown / 1e6))
            if not SMOKE:  # sanitizers have an allocator of their own
                self.assertLess(grown, 32 << 20, door)
            for raw in raws:
                raw.close()


class HeavyPeersTest(DoorsTest):
    smoke = False  # these are about amounts and times

    def test_who_never_reads_is_bounded_and_closed(self):
        """Answers wait for their reader up to a bound; beyond it nothing more is read from him, and
        after ten seconds he is closed, and counted."""
        body = msgpack.packb([0, 1, "take_many", [[b"unread-%d" % i, 0] for i in range(HEAVY)]])
        frame = (len(body) + 4).to_bytes(8, "big") + b"\x80\0\0\1" + body
        stuck = []
        for door, url in self.doors():
            before, closed = self.resident(url), self.counters(url)["closed_stalled"]
            raw = socket.create_connection(address_of(url), timeout=1.0)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            raw.sendall(GREETING_OUT)
            sent = 0
            try:
                while sent < 400 << 20:
                    sent += raw.send(frame[sent % len(frame):])
            except (socket.timeout, TimeoutError):
                pass
            self.assertLess(sent, 200 << 20, "%s reads on for ever" % door)
            stuck.append((door, url, raw, closed))
            grown = self.resident(url) - before
            say("%s took %.0f MB of requests from one who does not read, %.0f MB more resident" % (
                door, sent / 1e6, grown / 1e6))
            if not SMOKE:
                self.assertLess(grown, 128 << 20, door)
            with Connection(url) as other:
                ask(other)
        for door, url, raw, closed in stuck:
            wait_for("%s has closed him" % door,
                     lambda: self.counters(url)["closed_stalled"] > closed, within_s=20 * SLOW)
            raw.close()

    # --- fairness ---

    def test_a_light_peer_beside_a_heavy_one(self):
        """One asks for 4,096 takes at a time, several times over; the answers to another, who asks
        one by one, must not wait for all of that."""
        least_s = 0.5 if QUICK else 2
        for door, url in self.doors():
            alone = self.light(url, least_s)
            heavy = subprocess.Popen([sys.executable, os.path.join(os.path.dirname(__file__),
                                                              "heavy_peer.py"), url, str(HEAVY)],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            try:
                self.assertEqual(heavy.stdout.readline(), b"ready\n")
                beside = self.light(url, least_s)
            finally:
                answered = int(heavy.communicate(b"\n", timeout=60)[0].split()[-1])
            say("%s: p99 of a light peer %.2f ms alone, %.2f ms beside one that had %d takes "
                "decided meanwhile" % (door, percentile(alone, 0.99) * 1e3,
                                       percentile(beside, 0.99) * 1e3, answered))
            self.assertGreater(answered, 10 * HEAVY, door)
            self.assertLess(percentile(beside, 0.5), 0.5 * SLOW, door)

    def light(self, url, least_s):
        took, end = [], time.monotonic() + least_s
        with Connection(url) as connection:
            while time.monotonic() < end or len(took) < 100:
                began = time.monotonic()
                ask(connection)
                took.append(time.monotonic() - began)
        return took
