"""Backups of a Redis Cluster whose slots are moved meanwhile, for test_redis_cluster: a cluster's keys
under a prefix of their own, without nodes, and the moments at which something is moved."""

import json
import os
import subprocess
import threading
import time

import msgpack

from harness import REPO, ctl, new_directory, program, wait_for

PREFIX = "sluice:b:"
SLOTS = 16  # of tests/golden/backup-format-1.sluice
DAY_NS = 24 * 3600 * 10**9

# The slot with as many buckets as take the pipe of a backup several times, and of all others.
LARGE, LARGE_COUNT, COUNT = 5, 30000, 50


class Stored:
    """What masters hold under PREFIX, and sluicectl beside it."""

    def __init__(self, masters, password):
        self.masters = masters
        self.directory = new_directory()
        self.words = ["--redis", masters.url, "--key-prefix", PREFIX, *password]

    def ctl(self, *words):
        code, out, err = ctl(*words, *self.words, "--json")
        assert code == 0, (words, code, out, err)
        return json.loads(out)

    def start(self, *words, **options):
        started = subprocess.Popen([program("sluicectl"), *words, *self.words, "--json"], **options)
        started.name = "sluicectl"
        return started

    def path(self, name):
        return os.path.join(self.directory, name)

    def name(self, slot, what="buckets"):
        return "%s{%d}:%s" % (PREFIX, slot, what)

    def redis_slot(self, slot):
        return self.masters.slot(self.name(slot))

    def next_master(self, slot):
        owners = sorted(set(self.masters.owner))
        return owners[(owners.index(self.masters.owner[self.redis_slot(slot)]) + 1) % len(owners)]

    def move(self, slot, pause_s=0):
        """To the next master, all at once."""
        self.masters.settle()
        self.masters.move(self.redis_slot(slot), self.next_master(slot), pause_s)

    def begin_move(self, slot, what=()):
        """The move's first half, with those of its keys that are named."""
        masters, redis_slot = self.masters, self.redis_slot(slot)
        source, to = masters.owner[redis_slot], self.next_master(slot)
        masters.call(to, "CLUSTER", "SETSLOT", redis_slot, "IMPORTING", masters.ids[source])
        masters.call(source, "CLUSTER", "SETSLOT", redis_slot, "MIGRATING", masters.ids[to])
        for part in what:
            masters.call(source, "MIGRATE", "127.0.0.1", masters.servers[to].port,
                         self.name(slot, part), 0, 5000)

    def fill(self):
        """A map and plans, and records in every slot."""
        self.ctl("restore", os.path.join(REPO, "tests/golden/backup-format-1.sluice"))
        for slot in range(SLOTS):
            record = msgpack.packb([1, "century", 1, time.time_ns() + (1000 + slot) * DAY_NS])
            count = LARGE_COUNT if slot == LARGE else COUNT
            parts = [part for i in range(count) for part in (b"%d-%06d" % (slot, i), record)]
            owner = self.masters.owner[self.redis_slot(slot)]
            self.masters.call(owner, "HSET", self.name(slot), *parts)
            self.masters.call(owner, "HSET", self.name(slot, "keys"), b"%d-0" % slot, b"century")

    def read(self):
        """{(slot, what): {key: value}} of all slots, wherever they are."""
        found = {}
        for slot in range(SLOTS):
            owner = self.masters.owner[self.redis_slot(slot)]
            for what in ("buckets", "keys"):
                flat = self.masters.call(owner, "HGETALL", self.name(slot, what))
                found[slot, what] = dict(zip(flat[::2], flat[1::2]))
        return found

    def clear(self):
        for server in set(self.masters.owner):
            for key in self.masters.call(server, "KEYS", PREFIX + "*"):
                self.masters.call(server, "DEL", key)

    def wait_told(self, kind, do):
        """Does it, and waits until masters have answered so once more than before."""
        before = self.masters.told().get(kind, 0)
        do()
        wait_for("a master has said " + kind,
                 lambda: self.masters.told().get(kind, 0) > before)


def pieces_of(path):
    """{(slot, what): {key: value}}, and how many buckets were written down."""
    found, count = {}, 0
    with open(path, "rb") as file:
        for _, body in msgpack.Unpacker(file, max_buffer_size=1 << 26):
            kind, _, *rest = msgpack.unpackb(body, raw=True)
            if kind in (b"keys", b"buckets"):
                found.setdefault((rest[0], kind.decode()), {}).update(map(tuple, rest[1]))
                count += len(rest[1]) if kind == b"buckets" else 0
    return found, count


class Mover(threading.Thread):
    """Moves slots from master to master, one after the other, until end()."""

    def __init__(self, masters, slots):
        super().__init__(daemon=True)
        self.masters, self.slots, self.ending, self.moves = masters, slots, False, 0
        self.start()

    def run(self):
        while not self.ending:
            slot = self.slots[self.moves % len(self.slots)]
            self.masters.settle()
            self.masters.move(slot, (self.masters.owner[slot] + 1) % 3, 0.001)
            self.moves += 1

    def end(self):
        self.ending = True
        self.join()
