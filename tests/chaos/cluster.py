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
from losses import SLOTS, SNAPSHOT_S, Losses
from redis_client import Redis as RedisClient
from schedule import LEASE_S, NODES, ROUTERS
from sp_client import Closed, Connection, RpcError

SHARDS = 2
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
        self.losses = Losses(metronome().slack_between_s)
        self.redis_mended = False
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
        if not self.losses.store_is_away() or self.redis_mended:
            asked_s = time.monotonic()
            try:
                with self.redis_client() as client:
                    value = client.call("HGET", "sluice:{cluster}:map", "value")
            except (OSError, RuntimeError):
                # Not yet: it has to read its file, for one. Or nobody knew that it does not answer.
                self.losses.store_away(asked_s)
                self.redis_mended = True
            else:
                self.losses.store_answered(asked_s, time.monotonic())
                self.redis_mended = False
                self._note_map(asked_s, value)
        for name in running:
            try:
                with Connection(self.processes[name].control_url, timeout_s=0.1) as node:
                    status = node.call("node.status", timeout_s=0.1)
                    self.clock_error_us = max(self.clock_error_us,
                                              status["store"]["clock_error_us"])
            except (OSError, Closed, RpcError):
                pass

    def redis_away(self, at_s):
        """Since then, until watch() finds it answering after redis_mended was set."""
        self.redis_mended = False
        self.losses.store_away(at_s)

    def _note_map(self, asked_s, value):
        if value is None:
            return
        one = msgpack.unpackb(value, raw=False, strict_map_key=False)
        owners = []
        for count, shard in one["owners"]:
            owner = None if shard is None else one["nodes"][one["shards"][shard][0]][0]
            owners += [owner] * count
        self.losses.map_seen(asked_s, time.monotonic(), one["epoch"], owners)

    def record_of(self, slot, key):
        """What the store has of a key: msgpack [schema, plan, generation, times..]."""
        with self.redis_client() as client:
            value = client.call("HGET", "sluice:{%d}:buckets" % slot, key)
        return None if value is None else msgpack.unpackb(value, strict_map_key=False)

    def failovers(self):
        """What the cluster itself says of takeovers: [(first epoch of the new owners, dead node,
        text)]."""
        with Connection(self.processes["n1"].control_url) as control:
            texts = [event["text"] for event in control.call("cluster.events", 1000)
                     if event["kind"] == "failover"]
        return [(int(text.split()[-2]), text.split()[0], text) for text in texts]
