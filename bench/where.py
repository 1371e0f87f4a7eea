#!/usr/bin/python3
"""Where the time of a take goes at a steady rate: of each process that it passes, by take.

    bench/where.py [--rate 10000] [--rounds 3] [--seconds 10] [--build build/dev] [--json]

The load of the ratios' group `paced`, without its bursts: 64 connections, open loop. Of each
process, the load's too, Linux counts the time that it ran, the time that it could have run and had
to wait for a processor, and how often it went to sleep, to be woken by the next take or answer.
What is left of a take's latency is the waking itself and the kernel's way between two sockets.
Medians of interleaved rounds.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time

import bench_tools as tools
from ratios import KEYS, Servers

LOOK_S = 0.1


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=int, default=10000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--build", default=os.path.join(tools.HERE, "..", "build", "dev"))
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def counted(pid):
    """[ran ns, waited ns, went to sleep] of the process's threads so far; None: it has ended."""
    ran = waited = slept = 0
    try:
        for thread in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/schedstat" % (pid, thread)) as file:
                one = file.read().split()
            ran, waited = ran + int(one[0]), waited + int(one[1])
            with open("/proc/%d/task/%s/status" % (pid, thread)) as file:
                slept += next(int(line.split()[1]) for line in file
                              if line.startswith("voluntary_ctxt_switches"))
    except (OSError, IndexError, StopIteration):
        return None
    return [ran, waited, slept]


def measured(given, case, plan):
    """One load: its latency, and by process what a take needed of it."""
    import harness
    argv = [harness.program("sluice-bench"), "load", "--json", "--no-progress", "--connections",
            "64", "--outstanding", "64", "--keys", str(KEYS), "--rate", str(given.rate), "--warmup",
            "0s", "--duration", "%gs" % given.seconds]
    for name in ("protocol", "target", "plan", "limit_rate", "limit_burst"):
        if name in case:
            argv += ["--" + name.replace("_", "-"), str(case[name])]
    before = {name: counted(pid) for name, pid in plan.items()}
    with tempfile.TemporaryFile() as output:
        client = subprocess.Popen(argv, stdout=output)
        last = [0, 0, 0]
        while client.poll() is None:
            last = counted(client.pid) or last
            time.sleep(LOOK_S)
        output.seek(0)
        report = json.load(output)
    grown = {name: [now - then for now, then in zip(counted(pid), before[name])]
             for name, pid in plan.items()}
    grown["the load"] = last
    return {"latency": report["latency_us"],
            "processes": {name: [value / max(1, report["takes"]) for value in values]
                          for name, values in grown.items()}}


def cases_of(servers):
    targets, double = servers.targets(), servers.double
    pair = {"node %d" % (at + 1): node.pid for at, node in enumerate(double.nodes)}
    pair["Redis"] = double.redis.pid
    routed = dict(targets["router"], target=double.router.url)
    return {
        "echo": (targets["echo"], {"echo": servers.echo.pid}),
        "redis-lua": (targets["redis-lua"], {"Redis": servers.redis.pid}),
        "shard, strict": (targets["shard, strict"], {"node": servers.single.nodes[0].pid,
                                                     "Redis": servers.single.redis.pid}),
        "router, 2 nodes, relaxed": (dict(routed, plan="open-relaxed"),
                                     dict(router=double.router.pid, **pair)),
        "router, 2 nodes, strict": (dict(routed, plan="open-strict"),
                                    dict(router=double.router.pid, **pair)),
    }


def main():
    given = arguments()
    tools.use_build(given.build)
    with Servers(None) as servers:
        cases = cases_of(servers)
        runs = {name: [] for name in cases}
        for _ in range(given.rounds):
            for name, (case, pids) in cases.items():
                runs[name].append(measured(given, case, pids))
    found = {name: {
        "latency_us": {figure: tools.median([run["latency"][figure] for run in each])
                       for figure in ("average", "p50", "p99")},
        "processes": {process: [tools.median([run["processes"][process][at] for run in each])
                                for at in range(3)] for process in each[0]["processes"]}}
        for name, each in runs.items()}
    if given.json:
        print(json.dumps(found, indent=2))
        return
    print("| %d takes a second | average | p50 | p99 | process | ran | waited for a processor | "
          "went to sleep |\n|---|---|---|---|---|---|---|---|" % given.rate)
    for name, case in found.items():
        head = "%s | %.0f us | %.0f us | %.0f us" % (
            (name,) + tuple(case["latency_us"][one] for one in ("average", "p50", "p99")))
        for process, (ran, waited, slept) in case["processes"].items():
            print("| %s | %s | %.1f us | %.1f us | %.2f |" % (
                head, process, ran / 1000, waited / 1000, slept))
            head = " | | | "


if __name__ == "__main__":
    main()
