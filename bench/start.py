#!/usr/bin/python3
"""What a start costs with many stored buckets: until the first take, until all is in memory.

    bench/start.py [--buckets 10000000] [--shards 2] [--nodes 1] [--rate 5000] [--build build/dev]
    bench/start.py --resident 1000000 [--shards 1] ...

Starts a private Redis (append-only file on) and nodes on free loopback ports, makes a cluster, ends
the nodes with SIGKILL and puts the buckets into Redis beside them. Then it starts the nodes

1. alone, and asks each shard for a stored key from the moment that it accepts connections on,
2. again after another SIGKILL, while `sluice-bench load` takes from stored keys at random,

and ends them with SIGTERM while those takes' writes are the only ones owed. What Redis could give
is measured in the same run: `store-records read` asks for the same pages, and drops them. Last,
Redis is started again: how long it reads its own file is not part of what nodes need. Seconds of
processor time are told beside those of the clock, for machines that others keep busy.

With --resident each shard may keep so many buckets in memory only (--resident-buckets-max): what a
start takes then, and takes of all keys, spread evenly and by Zipf's law, with the most buckets that
were in memory meanwhile, and how many are a while after.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import bench_tools as tools

PREFIX = "bench:"
PLAN = "slow"

# Entries of a page, as STORE_PAGE_ENTRIES has them, and pages that a shard asks for at once.
PAGE_ENTRIES, PAGES = 1000, 2

# Seconds: arbitrary, but safe, for ten million on a slow machine.
FILL_S, LOAD_S = 600, 600


def key_of(number):
    return ("%s%010d" % (PREFIX, number)).encode()


def rss_bytes(pid):
    with open("/proc/%d/statm" % pid) as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def say(text, *values):
    print(text % values, flush=True)


def fill(bench, given):
    now_s, now_us = (int(part) for part in bench.redis_call("TIME"))
    records = subprocess.Popen(
        [bench.program("store-records"), "fill", str(given.buckets), str(given.slots), PLAN,
         str(now_s * 10 ** 9 + now_us * 1000)], stdout=subprocess.PIPE)
    began = time.monotonic()
    done = subprocess.run(["redis-cli", "-p", str(bench.redis.port), "--pipe"],
                          stdin=records.stdout, stdout=subprocess.PIPE, text=True, timeout=FILL_S)
    if records.wait() != 0 or done.returncode != 0 or "errors: 0" not in done.stdout:
        sys.exit("start.py: Redis did not take the records\n" + done.stdout)
    bench.wait_for("Redis has rewritten its file", lambda: all(
        b"aof_rewrite_%s:0" % what in bench.redis_call("INFO", "persistence")
        for what in (b"in_progress", b"scheduled")), FILL_S)
    used = next(int(line.split(b":")[1]) for line in bench.redis_call("INFO", "memory").split()
                if line.startswith(b"used_memory:"))
    say("filled      %d buckets in %.1f s; Redis uses %.2f GB", given.buckets,
        time.monotonic() - began, used / 1e9)


class Bench:
    def __init__(self, given):
        tools.use_build(given.build)
        import harness
        from sp_client import Closed, Connection, RpcError
        self.harness, self.Connection = harness, Connection
        self.RpcError, self.Closed = RpcError, Closed
        self.refused = (RpcError, Closed, OSError)
        self.program, self.wait_for = harness.program, harness.wait_for
        directory = harness.new_directory()
        self.redis = harness.Redis(directory, args=["--auto-aof-rewrite-percentage", "0"])
        bound = ["--resident-buckets-max", given.resident] if given.resident else []
        self.nodes = [harness.Node(directory, "n%d" % (i + 1), self.redis.url, given.shards, bound)
                      for i in range(given.nodes)]
        self.given = given

    def redis_call(self, *words):
        with self.redis.client() as client:
            return client.call(*words)

    def status(self):
        """Of all shards, or None while a node does not answer."""
        shards = []
        try:
            for node in self.nodes:
                with self.Connection(node.control_url) as control:
                    shards += control.call("node.status")["shards"]
        except self.refused:
            return None
        return shards

    def served(self):
        shards = self.status()
        good = shards and all(shard["state"] == "serving" for shard in shards)
        return shards if good and sum(shard["counters"]["slots_owned"] for shard in shards) == \
            self.given.slots else None

    def create(self):
        self.redis.start()
        for node in self.nodes:
            node.start()
        with self.nodes[0].control() as control:
            self.wait_for("all nodes are alive", lambda: self._alive(control) == len(self.nodes))
            control.call("cluster.init", {"slots": self.given.slots})
            plans = {"default": PLAN, "plans": [
                {"name": PLAN, "durability": self.given.durability,
                 "limits": [{"rate": 1, "period_ms": 3600 * 1000, "burst": 1000}]}]}
            control.call("plans.apply", plans)
            self.wait_for("every slot is served", self.served)
            self.map = control.call("cluster.map")["map"]
        self.base_bytes = sum(rss_bytes(node.pid) for node in self.nodes)

    def _alive(self, control):
        try:
            return sum(1 for node in control.call("cluster.status")["nodes"] if node["alive"])
        except self.refused:
            return 0

    def kill(self):
        for node in self.nodes:
            node.kill9()

    # --- keys by their owner ---

    def keys_of_shards(self):
        """{endpoint: a stored key that is its shard's}."""
        owners = [shard for count, shard in self.map["owners"] for _ in range(count)]
        keys = {}
        for number in range(self.given.buckets):
            key = key_of(number)
            url = self.map["shards"][owners[self.harness.xxh3(key) & self.given.slots - 1]][2]
            keys.setdefault(url, key)
            if len(keys) == len(self.nodes) * self.given.shards:
                break
        return keys

    def first_take(self, url, key, answers):
        """How long after the endpoint accepts connections the key's first take is granted; how
        often it was refused before, and the last reason."""
        host, port = url[len("tcp://"):].rsplit(":", 1)
        while True:
            try:
                socket.create_connection((host, int(port))).close()
                break
            except OSError:
                time.sleep(0.0005)
        accepted = time.monotonic()
        refusals, reason = 0, "-"
        while True:
            try:
                with self.Connection(url) as connection:
                    while True:
                        try:
                            if connection.take(key).allowed:
                                answers[url] = (accepted, time.monotonic(), refusals, reason)
                                return
                            sys.exit("start.py: a stored key was refused")
                        except self.RpcError as error:
                            refusals, reason = refusals + 1, error.code
                            time.sleep(0.0005)
            except (OSError, self.Closed):
                time.sleep(0.0005)

    def start(self):
        """Starts the nodes; returns what first_take found, by endpoint."""
        answers = {}
        askers = [threading.Thread(target=self.first_take, args=(url, key, answers), daemon=True)
                  for url, key in self.keys_of_shards().items()]
        for asker in askers:
            asker.start()
        for node in self.nodes:
            node.start()
        for asker in askers:
            asker.join(LOAD_S)
        return answers

    def rehydrate(self, what, taking):
        pids = [node.pid for node in self.nodes]
        redis_before = tools.cpu_s([self.redis.pid])
        answers = self.start()
        load = None
        if taking:
            load = subprocess.Popen(
                [self.program("sluice-bench"), "load", "--json", "--no-progress", "--protocol",
                 "map", "--target", self.nodes[0].control_url, "--connections", "2",
                 "--outstanding", "256", "--rate", str(self.given.rate), "--keys",
                 str(self.given.buckets), "--key-prefix", PREFIX, "--plan", PLAN, "--warmup", "0s",
                 "--duration", "%ds" % LOAD_S], stdout=subprocess.PIPE, text=True)
        shards = self.wait_for("all is in memory", self.served, LOAD_S, 0.01)
        ended = time.monotonic()
        if load is not None:
            load.send_signal(signal.SIGINT)
        pids = [node.pid for node in self.nodes]
        accepted = min(answer[0] for answer in answers.values())
        slowest = max(answers.values(), key=lambda answer: answer[1] - answer[0])
        seconds = ended - accepted
        say("\n%s", what)
        say("first take  granted %.1f ms after connections were accepted (the slowest of %d shards; "
            "%d refusals before, %s)", 1e3 * (slowest[1] - slowest[0]), len(answers), slowest[2],
            slowest[3])
        say("all         in memory after %.2f s: %.0f buckets/s", seconds,
            sum(shard["counters"]["buckets"] for shard in shards) / seconds)
        say("processor   nodes %.0f ns a bucket, Redis %.0f ns",
            1e9 * tools.cpu_s(pids) / self.given.buckets,
            1e9 * (tools.cpu_s([self.redis.pid]) - redis_before) / self.given.buckets)
        grown = sum(rss_bytes(pid) for pid in pids) - self.base_bytes
        say("memory      %.1f bytes a bucket (RSS)", grown / self.given.buckets)
        if load is not None:
            report = json.loads(load.communicate(timeout=60)[0])
            latency = report["latency_us"]
            say("takes       %d of stored keys at %d/s meanwhile: p50 %.2f ms, p99 %.2f ms, max "
                "%.2f ms; %d errors %s; %d waited for their key to be read", report["takes"],
                self.given.rate, latency["p50"] / 1e3, latency["p99"] / 1e3, latency["max"] / 1e3,
                report["errors"], json.dumps(report["errors_by_name"]),
                sum(shard["counters"]["takes_fetched"] for shard in shards))
        return seconds

    def hibernate(self, what, *spread):
        """Takes of all keys that are refused, so that nothing but what is asked for is measured."""
        def counted(name):
            return sum(shard["counters"][name] for shard in self.status())

        fetched, most = counted("keys_fetched"), 0
        load = subprocess.Popen(
            [self.program("sluice-bench"), "load", "--json", "--no-progress", "--protocol", "map",
             "--target", self.nodes[0].control_url, "--connections", "16", "--outstanding", "16",
             "--keys", str(self.given.buckets), "--key-prefix", PREFIX, "--plan", PLAN, "--cost",
             "1000", "--warmup", "0s", "--duration", "15s"] + list(spread),
            stdout=subprocess.PIPE, text=True)
        while load.poll() is None:
            most = max(most, counted("buckets"))
            time.sleep(0.1)
        report = json.loads(load.communicate()[0])
        fetched = counted("keys_fetched") - fetched
        rss = sum(rss_bytes(node.pid) for node in self.nodes) - self.base_bytes
        began = time.monotonic()
        bound = self.given.resident * self.given.shards * self.given.nodes
        self.wait_for("memory has room", lambda: counted("buckets") <= bound, LOAD_S, 0.1)
        say("\n%s\ntakes       %.0f/s, p99 %.1f ms; %.0f in 100 asked Redis; %d errors", what,
            report["takes"] / report["seconds"], report["latency_us"]["p99"] / 1e3,
            100 * fetched / max(report["takes"], 1), report["errors"])
        say("resident    %d buckets at most of a bound of %d, %.0f MB; within it %.1f s after the end",
            most, bound, rss / 1e6, time.monotonic() - began)

    def ceiling(self):
        before = tools.cpu_s([self.redis.pid])
        done = subprocess.run([self.program("store-records"), "read", str(self.redis.port),
                               str(self.given.slots), str(PAGE_ENTRIES),
                               str(PAGES * self.given.shards * self.given.nodes)], check=True,
                              stdout=subprocess.PIPE, text=True, timeout=LOAD_S)
        say("\nRedis alone: %s, %.0f ns of its processor time a bucket", done.stdout.strip(),
            1e9 * (tools.cpu_s([self.redis.pid]) - before) / self.given.buckets)
        return float(done.stdout.split()[3])

    def stop(self):
        began = time.monotonic()
        owed = sum(shard["counters"]["buckets_dirty"] for shard in self.status())
        for node in self.nodes:
            node.popen.send_signal(signal.SIGTERM)
        codes = [node.wait(120) for node in self.nodes]
        say("\nstop        in %.2f s after SIGTERM, with %d buckets to write; exit %s",
            time.monotonic() - began, owed, codes)

    def restart_redis(self):
        self.redis.terminate(120)
        began = time.monotonic()
        self.harness.Process.start(self.redis)

        def answers():
            try:
                return self.redis_call("PING") == b"PONG"
            except (OSError, RuntimeError):  # LOADING
                return False

        self.wait_for("Redis has read its file", answers, LOAD_S, 0.05)
        say("Redis       reads its own append-only file in %.1f s at its start",
            time.monotonic() - began)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--buckets", type=int, default=10000000)
    options.add_argument("--slots", type=int, default=1024)
    options.add_argument("--shards", type=int, default=2)
    options.add_argument("--nodes", type=int, default=1)
    options.add_argument("--rate", type=int, default=5000)
    options.add_argument("--resident", type=int, default=0)
    options.add_argument("--durability", choices=["strict", "relaxed"], default="strict")
    options.add_argument("--build", default=os.path.join(tools.HERE, "..", "build", "dev"))
    given = options.parse_args()
    bench = Bench(given)
    try:
        bench.create()
        bench.kill()
        fill(bench, given)
        if given.resident:
            bench.rehydrate("start after SIGKILL, nobody asks", False)
            bench.hibernate("all keys evenly")
            bench.hibernate("by Zipf's law, 1.0", "--keys-spread", "zipf", "--zipf", "1.0")
            bench.stop()
            return
        seconds = bench.rehydrate("start after SIGKILL, nobody asks", False)
        bench.kill()
        ceiling_s = bench.ceiling()
        say("ratio       the nodes took %.2f times as long", seconds / ceiling_s)
        bench.rehydrate("start after SIGKILL, with takes", True)
        bench.stop()
        bench.restart_redis()
    finally:
        bench.harness.end_all()


if __name__ == "__main__":
    main()
