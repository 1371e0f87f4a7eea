"""A Redis Cluster of three masters, for test_redis_cluster: under the ACL that is shipped, with slots
that can be moved and masters that hand over."""

import re
import time

from harness import SLOW, free_bus_port, new_directory, wait_for
from test_redis_access import redis_with_acl, shipped_line

SLOTS = 16384

# Milliseconds after which masters take a silent one for dead.
DEAD_MS = 1000 * SLOW

# Seconds within which a replica takes over that was told to, if it does: its elections take less.
HAND_OVER_S = 5 * SLOW


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

    def views(self, of):
        """What each server thinks of one: its role, its epoch and its slots."""
        views = []
        for i in range(len(self.servers)):
            for line in self.call(i, "CLUSTER", "NODES").decode().splitlines():
                if line.startswith(self.ids[of]):
                    words = line.split()
                    views.append(("master" if "master" in words[2] else "slave", words[6],
                                  [word for word in words[8:] if word[0] != "["]))
        return views

    def agree(self, of):
        views = self.views(of)
        return all(view == views[0] for view in views)

    def settle(self):
        """Until all know what each has. Redis does not wait for that: a master that moves a slot, or
        hands over, before it is known what was moved last may leave slots to nobody."""
        wait_for("all masters agree", lambda: all(self.agree(i) for i in range(len(self.servers))))

    def hand_over(self, master, to):
        """To its replica, which has all of it."""
        self.settle()
        wait_for("the replica follows", lambda: b"master_link_status:up" in self.call(
            to, "INFO", "replication"))
        asked_at = None

        def taken_over():
            nonlocal asked_at
            if self.call(to, "ROLE")[0] == b"master":
                return {view[0] for view in self.views(master)} == {"slave"}
            if asked_at is None or time.monotonic() > asked_at + HAND_OVER_S:  # it can come to nothing
                self.call(to, "CLUSTER", "FAILOVER")
                asked_at = time.monotonic()
            return False

        wait_for("the replica takes over", taken_over, within_s=12 * HAND_OVER_S)
        self.settle()
        self.owner = [to if owner == master else owner for owner in self.owner]

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
