"""The cluster that has the bad day: Redis, three nodes, two routers, each on a host of its own or
all on this one; and what the checker must be told of it."""

import json
import os
import subprocess
import sys
import time

import msgpack

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../integration"))

import harness
from harness import Process, free_ports, metronome, program, wait_for
from redis_client import Redis as RedisClient
from schedule import LEASE_S, NODES, ROUTERS
from sp_client import Closed, Connection, RpcError

SLOTS = 1024
SHARDS = 2
SNAPSHOT_S = 0.1

# Beyond its interval, what a snapshot may take to be in the store: gathering and sending it, on
# processors that others keep busy, and the store's own time: the write that is under way must be
# answered first, then its own must be, and that of the rest of a large slot. How long the store
# takes for one is asked all the time. What was in fact forgotten is printed; it is less.
WRITE_S = 0.4
STORE_TURNS = 3
STORE_LATELY_S = 2.0

# After Redis is back, until nodes have connected again (back-off) and written what they owe.
RECONNECT_S = 2.0

# A node that was stopped or cut off hears that its slots are another's: a heartbeat and a look.
HEAR_S = 1.0

# One whose link was cut must reach the store first: a connection that was being made meanwhile is
# tried again by the kernel after one second, and after two more.
REACHED_S = 3.0 + HEAR_S

HOUR_MS = 3600 * 1000
CONTROL_TIMEOUT_S = 0.5


class Host:
    """Where a process runs: this machine, or a namespace (network.py)."""

    ip = "127.0.0.1"

    def wrap(self, argv):
        return argv


def plans_of(durabilities):
    """A plan of each kind for each durability: spent for good, refilling fast, and both at once."""
    plans = []
    for durability in durabilities:
        for name, limits in KINDS.items():
            plans.append({"name": "%s-%s" % (name, durability), "durability": durability,
                          "limits": [dict(zip(("rate", "period_ms", "burst"), limit))
                                     for limit in limits]})
    return {"plans": plans}


KINDS = {"slow": [(1, HOUR_MS, 64)],
         "fast": [(5, 1000, 40)],
         "both": [(10, 1000, 40), (1, HOUR_MS, 400)]}


def classes_of(durabilities):
    """The keys of the load (records.h). A slow key gets some 60 takes of 1.3 tokens while it is in
    the window, 64 tokens in all: at any moment some keys are fresh and some are spent."""
    shape = {"slow": "keys=2000,advance=60,weight=6", "fast": "keys=60,weight=3",
             "both": "keys=30,weight=1"}
    for durability in durabilities:
        for name, limits in KINDS.items():
            yield "name=%s-%s,plan=%s-%s,limits=%s,strict=%d,%s" % (
                name, durability, name, durability,
                "+".join("%d/%d/%d" % limit for limit in limits), durability == "strict",
                shape[name])


class Started(Process):
    """A process that knows since when it runs."""

    def start(self):
        super().start()
        self.started_s = time.monotonic()
        return self


class Cluster:
    def __init__(self, directory, durabilities, hosts=None, envs=None):
        """hosts, envs: by name of the process, if not this machine and its environment."""
        self.directory, self.durabilities = directory, list(durabilities)
        self.hosts, self.envs = hosts or {}, envs or {}
        self.clock_error_us = 0
        self.maps = []  # (seen at, epoch, owner node by slot)
        self.redis_down_at = self.redis_back_at = None
        self.redis_mended = False
        self.store_took = []  # (asked at, seconds): of a read, which waits for syncs like a write
        self.losses = []
        self.planned = []  # (node, when it was told to stop)
        self.processes = {}
        self._make_redis()
        for name in NODES:
            self._make_node(name)
        for name in ROUTERS:
            self._make_router(name)

    def host(self, name):
        """Routers and the load are on the clients' host."""
        return self.hosts.get(name) or self.hosts.get("clients") or Host()

    def _add(self, name, argv):
        self.processes[name] = Started(name, self.host(name).wrap(argv), self.directory,
                                       self.envs.get(name))
        return self.processes[name]

    def _make_redis(self):
        self.redis_port = free_ports()
        self.redis_data = os.path.join(self.directory, "redis-data")
        os.makedirs(self.redis_data, exist_ok=True)
        self._add("redis", [
            "redis-server", "--bind", self.host("redis").ip, "--port", str(self.redis_port),
            "--protected-mode", "no", "--dir", self.redis_data, "--save", "",
            "--appendonly", "yes", "--appendfsync",
            "always" if "strict" in self.durabilities else "everysec"])

    def _make_node(self, name):
        host, port, control = self.host(name), free_ports(SHARDS), free_ports()
        node = self._add(name, [
            program("sluice-node"), "--node-id", name,
            "--redis", "redis://%s:%d" % (self.host("redis").ip, self.redis_port),
            "--shards", str(SHARDS), "--listen", "tcp://%s:%d" % (host.ip, port),
            "--control", "tcp://%s:%d" % (host.ip, control),
            "--snapshot-interval", "%dms" % (SNAPSHOT_S * 1000),
            "--lease-ttl", "%dms" % (LEASE_S * 1000),
            "--ack", "aof" if "strict" in self.durabilities else "memory"])
        node.control_url = "tcp://%s:%d" % (host.ip, control)

    def _make_router(self, name):
        host, port = self.host(name), free_ports()
        router = self._add(name, [
            program("sluice-router"), "--listen", "tcp://%s:%d" % (host.ip, port),
            "--nodes", ",".join(self.processes[node].control_url for node in NODES)])
        router.address = "%s:%d" % (host.ip, port)
        router.url = "tcp://" + router.address

    # --- its beginning and its end ---

    def redis_client(self, timeout_s=1.0):
        return RedisClient(self.host("redis").ip, self.redis_port, timeout_s=timeout_s)

    def redis_answers(self):
        try:
            with self.redis_client() as client:
                return client.call("PING") == b"PONG"
        except (OSError, RuntimeError):
            return False

    def start(self):
        self.processes["redis"].start()
        wait_for("Redis answers", self.redis_answers)
        for name in NODES + ROUTERS:
            self.processes[name].start()
        wait_for("all nodes are alive", lambda: self.alive_count() == len(NODES))
        self.ctl("n1", "init")
        path = os.path.join(self.directory, "plans.json")
        with open(path, "w") as file:  # JSON is YAML too
            json.dump({"plans": {plan["name"]: {
                "durability": plan["durability"],
                "limits": [{"rate": limit["rate"], "period": "%dms" % limit["period_ms"],
                            "burst": limit["burst"]} for limit in plan["limits"]]}
                for plan in plans_of(self.durabilities)["plans"]}}, file)
        self.ctl("n1", "plans", "apply", path)
        wait_for("every owner answers", lambda: not self.missing_answers())

    def ctl(self, node, *words):
        done = subprocess.run(self.ctl_argv(node, *words), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=60)
        if done.returncode != 0:
            raise AssertionError("sluicectl %s: exit code %d\n%s" % (
                " ".join(words), done.returncode, done.stdout))
        return done.stdout

    def ctl_argv(self, node, *words):
        return [program("sluicectl"), "--control", self.processes[node].control_url] + list(words)

    def alive_count(self):
        try:
            with Connection(self.processes["n1"].control_url) as control:
                return sum(1 for node in control.call("cluster.status")["nodes"] if node["alive"])
        except (OSError, Closed, RpcError):
            return 0

    def missing_answers(self):
        """What stands for an owner's answer, of a few keys for each slot, at each router; or why
        nothing was answered."""
        looks = [[b"probe-%d" % i, 0, "slow-" + self.durabilities[0]] for i in range(4000)]
        try:
            for name in ROUTERS:
                with Connection(self.processes[name].url, timeout_s=2) as router:
                    missing = [str(one) for one in router.take_many(looks)
                               if isinstance(one, RpcError) or one.degraded]
                    if missing:
                        return missing
            return []
        except (OSError, Closed, RpcError) as error:
            return [str(error)]

    # --- what the checker must know ---

    def watch(self, running):
        """Called often: notes who owns what, and what the clocks of the nodes named may be wrong
        by."""
        if self.redis_down_at is None or self.redis_mended:
            try:
                asked_s = time.monotonic()
                with self.redis_client() as client:
                    self._note_map(client.call("HGET", "sluice:{cluster}:map", "value"))
                self.store_took.append((asked_s, time.monotonic() - asked_s))
                self._redis_is_back()
            except (OSError, RuntimeError):  # not yet: it has to read its file, for one
                pass
        for name in running:
            try:
                with Connection(self.processes[name].control_url, timeout_s=0.1) as node:
                    status = node.call("node.status", timeout_s=0.1)
                    self.clock_error_us = max(self.clock_error_us,
                                              status["store"]["clock_error_us"])
            except (OSError, Closed, RpcError):
                pass

    def redis_away(self):
        """From now on, until watch() finds it answering after redis_mended was set."""
        self.redis_mended = False
        if self.redis_down_at is None:
            self.redis_down_at = time.monotonic()

    def _redis_is_back(self):
        if self.redis_down_at is not None:
            self.redis_back_at = (self.redis_down_at, time.monotonic())
            self.redis_down_at = None
        self.redis_mended = False

    def _note_map(self, value):
        if value is None:
            return
        one = msgpack.unpackb(value, raw=False, strict_map_key=False)
        if self.maps and self.maps[-1][1] == one["epoch"]:
            return
        owners = []
        for count, shard in one["owners"]:
            owner = None if shard is None else one["nodes"][one["shards"][shard][0]][0]
            owners += [owner] * count
        self.maps.append((time.monotonic(), one["epoch"], owners))

    def slots_of(self, node, from_s, to_s):
        """Slots that the node may have owned in that time: by any map in force in it."""
        slots = set()
        for at, (seen_s, _, owners) in enumerate(self.maps):
            end_s = self.maps[at + 1][0] if at + 1 < len(self.maps) else float("inf")
            if seen_s <= to_s + 0.3 and end_s >= from_s - 0.3:
                slots.update(slot for slot, owner in enumerate(owners) if owner == node)
        return slots

    def note_loss(self, node, at_s, until_s=None):
        """The node may have forgotten what it had not written by then. Without the store it could
        write nothing, so what it did since the store went away counts too."""
        before_s = SNAPSHOT_S + WRITE_S + STORE_TURNS * max(
            (took_s for asked_s, took_s in self.store_took if asked_s > at_s - STORE_LATELY_S),
            default=0)
        if self.redis_down_at is not None:
            before_s += max(0, at_s - self.redis_down_at)
        elif self.redis_back_at is not None and at_s < self.redis_back_at[1] + RECONNECT_S:
            before_s += max(0, at_s - self.redis_back_at[0])
        self.losses.append(("crash", node, at_s, before_s, until_s or at_s, at_s))

    def note_stale(self, node, owned_s, from_s):
        """The node may go on for what it owned then until it hears that others own it."""
        self.losses.append(("stale", node, from_s, 0, from_s + HEAR_S, owned_s))

    def note_links(self, since_s):
        """Links, of whomever, may have broken since then: what was under way may be sent again."""
        self.losses.append(("links", None, since_s, 0, time.monotonic() + REACHED_S, None))

    def explained(self, node, at_s):
        """Whether a stop or a loss of the node is noted that explains a takeover at that time."""
        stopped = any(one == node and stopped_s <= at_s <= stopped_s + 10 * LEASE_S
                      for one, stopped_s in self.planned)
        return stopped or any(one == node and (
            since_s - 1 <= at_s <= until_s or  # what it may forget until then is noted
            until_s - since_s < 0.2 and since_s <= at_s <= since_s + 10 * LEASE_S)  # it was dead
            for _, one, since_s, _, until_s, _ in self.losses)

    def write_losses(self, path):
        """The spans above are of processes that get a processor when they want one. What others kept
        a process waiting that does nothing else comes on top."""
        with open(path, "w") as file:
            for kind, node, at_s, before_s, until_s, owned_s in self.losses:
                before_s += metronome().slack_between_s(at_s - before_s, at_s)
                until_s += metronome().slack_between_s(at_s, until_s)
                slots = range(SLOTS) if node is None else \
                    self.slots_of(node, owned_s - before_s, owned_s)
                digits = "".join("%x" % sum(1 << bit for bit in range(4) if at * 4 + bit in slots)
                                 for at in range(SLOTS // 4))
                file.write("%s %d %d %d %s\n" % (kind, at_s * 1e9, before_s * 1e9, until_s * 1e9,
                                                 digits))

    def failovers(self):
        """What the cluster itself says of takeovers: [(first epoch of the new owners, dead node,
        text)]."""
        with Connection(self.processes["n1"].control_url) as control:
            texts = [event["text"] for event in control.call("cluster.events", 1000)
                     if event["kind"] == "failover"]
        return [(int(text.split()[-2]), text.split()[0], text) for text in texts]

    def seen_s(self, epoch):
        """When a map of that epoch, or a later one, was first seen; None if it was not."""
        return next((at_s for at_s, seen, _ in self.maps if seen >= epoch), None)
