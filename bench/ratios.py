#!/usr/bin/python3
"""The ratios that Sluice's speed is judged by, medians of interleaved rounds on one machine.

    bench/ratios.py [--rounds 5] [--seconds 3] [--build build/dev] [--only WORD] [--output FILE]
                    [--cell-module FILE] [--cold-keys 1000000]

Starts a private Redis (append-only file on), nodes, a router and the bare echo on free loopback
ports. Groups (--only takes a part of a name): one (64 connections, one request outstanding each),
pipelined (32 each), batch (take_many), paced (10,000 takes a second, open loop), durability (strict
plans beside relaxed ones; --cold-keys 40000000 for keys that are hardly seen twice: 10 GB of
memory). Prints a table, and each ratio beside what it has to be; `short` is one
that falls short. Exit code 0 in any case: a ratio is a finding, not a test.
"""

import argparse
import json
import os
import sys

import bench_tools as tools

# Under which nothing is refused, so that all ways do the same work.
OPEN = {"limit_rate": 1000000, "limit_burst": 1000000}
KEYS = 100000

# Seconds until reservations have come to what a load needs: they grow by what happens in eight.
SETTLE_S = 10

# Within which all is written: a minute after a load of a million keys the records that were rounded
# up are written as they are, and that takes half a minute.
WRITTEN_S = 120

# Of keys that are cold: each is asked for once in a second or more.
COLD_KEYS = 1000000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--build", default=os.path.join(tools.HERE, "..", "build", "dev"))
    parser.add_argument("--only", default="")
    parser.add_argument("--output")
    parser.add_argument("--cell-module")
    parser.add_argument("--cold-keys", type=int, default=COLD_KEYS)
    return parser.parse_args()


class Servers:
    """One shard alone (direct), two nodes behind a router (routed), a Redis, an echo."""

    def __init__(self, cell_module):
        import harness
        self.harness = harness
        plans = dict(harness.PLANS)
        open_limits = [{"rate": 1000000, "period_ms": 1000, "burst": 1000000}]
        # What is taken stays taken for longer than a run: each bucket has a record to be written.
        quota_limits = [{"rate": 1000, "period_ms": 86400000, "burst": 1000000}]
        plans["plans"] = plans["plans"] + [
            {"name": name + durability, "limits": limits, "durability": durability}
            for name, limits in (("open-", open_limits), ("quota-", quota_limits))
            for durability in ("relaxed", "strict")]
        self.single = harness.Cluster(nodes=1, shards=1, plans=plans)
        self.double = harness.Cluster(nodes=2, shards=1, plans=plans)
        directory = harness.new_directory()
        self.redis = harness.Redis(directory, name="redis-lua")
        self.cell = None
        if cell_module:
            self.cell = harness.Redis(directory, name="redis-cell")
            self.cell.argv += ["--loadmodule", os.path.abspath(cell_module)]
        self.echo_url = "tcp://127.0.0.1:%d" % harness.free_ports()
        self.echo = harness.Process("echo", [harness.program("sluice-bench"), "echo", "--listen",
                                             self.echo_url], directory)

    def __enter__(self):
        self.redis.start()
        if self.cell:
            self.cell.start()
        self.echo.start()
        self.harness.wait_for("the echo listens", lambda: b"echoing" in self.echo.log())
        self.single.__enter__()
        self.double.__enter__()
        return self

    def __exit__(self, *error):
        self.double.__exit__(*error)
        self.single.__exit__(*error)
        self.harness.end_all()

    def targets(self):
        shard, router = [self.single.nodes[0].pid], [self.single.router.pid]
        targets = {
            "echo": {"protocol": "echo", "target": self.echo_url, "pids": [self.echo.pid]},
            "shard": {"protocol": "sluice", "target": self.single.nodes[0].shard_url(0),
                      "plan": "open-relaxed", "pids": shard},
            "shard, strict": {"protocol": "sluice", "target": self.single.nodes[0].shard_url(0),
                              "plan": "open-strict", "pids": shard},
            "router": {"protocol": "sluice", "target": self.single.router.url,
                       "plan": "open-relaxed", "pids": shard + router},
            "redis-lua": dict(OPEN, protocol="redis", target=self.redis.url,
                              pids=[self.redis.pid]),
        }
        if self.cell:
            targets["redis-cell"] = dict(OPEN, protocol="redis-cell", target=self.cell.url,
                                         pids=[self.cell.pid])
        return targets


def timing(given):
    return {"warmup": "500ms", "warmup_part": 0.5 / given.seconds,
            "duration": "%dms" % (given.seconds * 1000)}


def closed(servers, given, outstanding, targets=None):
    targets = targets or servers.targets()
    return tools.rounds(given.rounds, list(targets), lambda name: tools.load(
        connections=64, outstanding=outstanding, keys=KEYS, **timing(given), **targets[name]))


def group_one(servers, given):
    results = closed(servers, given, 1)
    rate = {name: tools.per_second(reports) for name, reports in results.items()}
    return results, [
        ("a shard / the bare echo, one outstanding", tools.ratio(rate["shard"], rate["echo"]),
         0.95),
    ]


def group_pipelined(servers, given):
    """Under `open` a bucket is full again a microsecond after it was taken from: each take makes
    one, and a snapshot throws it away. Under `quota` the buckets live, and each has a record to be
    written."""
    targets = servers.targets()
    for name in ("shard", "router"):
        targets[name + ", quota"] = dict(targets[name], plan="quota-relaxed", key_prefix="quota:")
    results = closed(servers, given, 32, targets)
    rate = {name: tools.per_second(reports) for name, reports in results.items()}
    return results, [
        ("a shard / the bare echo, 32 outstanding", tools.ratio(rate["shard"], rate["echo"]), 0.6),
        ("a shard / Redis Lua, 32 outstanding", tools.ratio(rate["shard"], rate["redis-lua"]), 5),
        ("the router / a shard, 32 outstanding", tools.ratio(rate["router"], rate["shard"]), 0.6),
        ("a shard / the bare echo, 32 outstanding, quota",
         tools.ratio(rate["shard, quota"], rate["echo"]), 0.6),
        ("the router / a shard, 32 outstanding, quota",
         tools.ratio(rate["router, quota"], rate["shard, quota"]), 0.6),
    ]


def group_batch(servers, given):
    targets = servers.targets()
    cases = {
        "take_many of 4096": dict(targets["shard"], connections=4, outstanding=2, batch=4096),
        "take_many of 100": dict(targets["shard"], connections=16, outstanding=4, batch=100),
        "take_many of 100, routed": dict(targets["router"], connections=16, outstanding=4,
                                         batch=100),
        "in-process, 4096": dict(OPEN, protocol="core", connections=1, batch=4096),
    }
    results = tools.rounds(given.rounds, list(cases), lambda name: tools.load(
        keys=KEYS, **timing(given), **cases[name]))
    rate = {name: tools.per_second(reports) for name, reports in results.items()}
    return results, [
        ("takes per second by take_many of 4096", tools.median(rate["take_many of 4096"]),
         5000000),
        ("take_many of 4096 / in-process", tools.ratio(rate["take_many of 4096"],
                                                       rate["in-process, 4096"]), 0.5),
    ]


def group_paced(servers, given):
    targets = servers.targets()
    for durability in ("relaxed", "strict"):
        targets["router, 2 nodes, " + durability] = dict(
            targets["router"], target=servers.double.router.url, plan="open-" + durability,
            pids=[servers.double.router.pid] + [node.pid for node in servers.double.nodes])
    results = tools.rounds(given.rounds, list(targets), lambda name: tools.load(
        connections=64, outstanding=64, keys=KEYS, rate=10000, burst_factor=2, burst_every="1s",
        burst_length="200ms", **timing(given), **targets[name]))
    routed, echo = results["router, 2 nodes, strict"], results["echo"]
    ratios = [
        ("p50 at 10,000/s: router / bare echo (at most)",
         tools.ratio(tools.latency(results["router"], "p50"), tools.latency(echo, "p50")), 2.2),
    ]
    for peer in ("redis-lua", "redis-cell"):
        for figure in ("average", "p99"):
            if peer in results:
                what = "%s at 10,000/s: router and 2 nodes, strict / %s (at most)"
                ratios.append((what % (figure, peer),
                               tools.ratio(tools.latency(routed, figure),
                                           tools.latency(results[peer], figure)), 1))
    return results, ratios


def group_durability(servers, given):
    single = servers.single
    common = {"protocol": "sluice", "target": single.nodes[0].shard_url(0), "connections": 64,
              "outstanding": 32, "pids": [single.nodes[0].pid]}
    loads = {
        "zipf": {"plan": "quota-", "keys": KEYS, "keys_spread": "zipf", "zipf": 1.0},
        "cold": {"plan": "quota-", "keys": given.cold_keys},
        "cold, full again at once": {"plan": "open-", "keys": given.cold_keys},
    }
    results, spans = {}, timing(given)
    spans.update(warmup="%ds" % SETTLE_S, warmup_part=SETTLE_S / given.seconds)
    for name, load in loads.items():
        cases = {"%s, %s" % (name, durability): dict(
            common, **dict(load, plan=load["plan"] + durability,
                           key_prefix="%s%d:" % (durability, len(results))))
            for durability in ("relaxed", "strict")}
        results.update(tools.rounds(given.rounds, list(cases), lambda case: tools.store_load(
            single.redis, lambda: single.wait_written(WRITTEN_S), **spans, **cases[case])))
    print("\n| durability | calls of scripts a take | commands a take | script time | Redis's time |"
          "\n|---|---|---|---|---|")
    for case, reports in results.items():
        store = tools.summary(reports)["store"]
        print("| %s | %.4f | %.3f | %.0f ns | %.0f ns |" % (
            case, store["calls"], store["commands"], store["script_ns"], store["cpu_ns"]))
    rate = {name: tools.per_second(reports) for name, reports in results.items()}
    wanted = {"zipf": 0.9}
    return results, [
        ("strict / relaxed: " + name, tools.ratio(rate[name + ", strict"],
                                                  rate[name + ", relaxed"]),
         wanted.get(name, 0.5)) for name in loads]


GROUPS = {"one": group_one, "pipelined": group_pipelined, "batch": group_batch,
          "paced": group_paced, "durability": group_durability}


def main():
    given = arguments()
    tools.use_build(given.build)
    document = {"rounds": given.rounds, "seconds": given.seconds, "groups": {}}
    with Servers(given.cell_module) as servers:
        for name, group in GROUPS.items():
            if given.only not in name:
                continue
            results, ratios = group(servers, given)
            print("\n| %s | takes/s | average | p50 | p99 | servers' time a take |\n"
                  "|---|---|---|---|---|---|" % name)
            cases = {case: tools.summary(reports) for case, reports in results.items()}
            for case, figures in cases.items():
                print("| %s | %.0f | %.1f us | %.1f us | %.1f us | %s |" % (
                    case, figures["takes_per_second"], figures["average_us"], figures["p50_us"],
                    figures["p99_us"], tools.time_text(figures["server_ns"])))
            tools.ratios_print(ratios)
            document["groups"][name] = {"cases": cases, "ratios": ratios}
            sys.stdout.flush()
    if given.output:
        with open(given.output, "w") as file:
            json.dump(document, file, indent=2)
            file.write("\n")


if __name__ == "__main__":
    main()
