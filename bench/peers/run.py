#!/usr/bin/python3
"""Sluice beside its peers, each by its own protocol, medians of interleaved rounds on one machine.

    bench/peers/run.py DIRECTORY [--rounds 5] [--seconds 3] [--build build/dev] [--output FILE]

DIRECTORY is what bench/peers/install.sh filled; a peer that is not there is skipped by name. All
servers are private, on free loopback ports. Nothing is refused, so every take is a write:

    workerd       a Durable Object a key with its state on disk, over HTTP/1.1, and a bare worker,
                  which tells what that HTTP costs: 32 connections, one request each, 100 keys
    throttlecrab  THROTTLE by Redis's protocol, state in its memory only
    redis-cell    CL.THROTTLE in a Redis with an append-only file
    sluice        one shard, and a router in front of it, with the same keys and connections; plans
                  are relaxed unless a row says strict
"""

import argparse
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))

import bench_tools as tools

OPEN = {"limit_rate": 1000000, "limit_burst": 1000000}
LIMITS = [{"rate": 1000000, "period_ms": 1000, "burst": 1000000}]

# Connections and keys beside workerd: an object is a file, and so are few enough to be made within
# the warm-up.
WORKERD_LOAD = {"connections": 32, "keys": 100}
WORKERD_WARMUP = "5s"

WORKERD = "workerd/node_modules/@cloudflare/workerd-linux-64/bin/workerd"
CELL = "redis-cell/target/release/libredis_cell.so"
THROTTLECRAB = "throttlecrab/bin/throttlecrab-server"


class Peers:
    """What is installed, started."""

    def __init__(self, directory):
        import harness
        self.harness = harness
        self.state = harness.new_directory()
        self.cases, self.skipped = {}, []
        self.have("workerd", os.path.join(directory, WORKERD), self.workerd)
        self.have("redis-cell", os.path.join(directory, CELL), self.cell)
        self.have("throttlecrab", os.path.join(directory, THROTTLECRAB), self.throttlecrab)

    def have(self, name, path, start):
        if os.path.exists(path):
            start(os.path.abspath(path))
        else:
            self.skipped.append(name)
            print("%s: skipped: not installed (see install.sh)" % name, file=sys.stderr)

    def started(self, name, argv, port):
        process = self.harness.Process(name, argv, self.state)
        process.start()

        def listens():
            assert process.alive, process.tail()
            try:
                self.harness.socket.create_connection(("127.0.0.1", port), 1).close()
                return True
            except OSError:
                return False

        self.harness.wait_for("%s listens" % name, listens)
        return [process.pid]

    def workerd(self, program):
        bucket, bare = self.harness.free_ports(), self.harness.free_ports()
        objects = os.path.join(self.state, "objects")
        os.makedirs(objects)
        pids = self.started("workerd", [
            program, "serve", os.path.join(HERE, "workerd.capnp"), "config",
            "--socket-addr", "bucket=127.0.0.1:%d" % bucket,
            "--socket-addr", "bare=127.0.0.1:%d" % bare,
            "--directory-path", "state=" + objects], bare)
        for name, port in (("workerd, a Durable Object a key", bucket),
                           ("workerd, a bare worker", bare)):
            self.cases[name] = dict(
                WORKERD_LOAD, protocol="http", target="http://127.0.0.1:%d" % port,
                http_path="/take?key={key}&rate=1000000&burst=1000000", warmup=WORKERD_WARMUP,
                timeout="30s", pids=pids)

    def cell(self, module):
        redis = self.harness.Redis(self.state, name="redis-cell")
        redis.argv += ["--loadmodule", module]
        redis.start()
        self.pipelined("redis-cell", dict(OPEN, protocol="redis-cell", target=redis.url,
                                          pids=[redis.pid]))

    def throttlecrab(self, program):
        port = self.harness.free_ports()
        pids = self.started("throttlecrab", [
            program, "--redis", "--redis-host", "127.0.0.1", "--redis-port", port, "--log-level",
            "warn"], port)
        self.pipelined("throttlecrab", dict(OPEN, protocol="throttlecrab", pids=pids,
                                            target="redis://127.0.0.1:%d" % port))

    def pipelined(self, name, load):
        for outstanding in (1, 32):
            self.cases["%s, 64 x %d" % (name, outstanding)] = dict(
                load, connections=64, outstanding=outstanding, keys=100000)

    def sluice(self, cluster):
        node, router = cluster.nodes[0], cluster.router
        for name, url, pids in (("sluice shard", node.shard_url(0), [node.pid]),
                                ("sluice router", router.url, [node.pid, router.pid])):
            load = {"protocol": "sluice", "target": url, "plan": "relaxed", "pids": pids}
            self.cases["%s, as workerd, strict" % name] = dict(load, plan="strict", **WORKERD_LOAD)
            self.cases["%s, as workerd" % name] = dict(load, **WORKERD_LOAD)
            self.pipelined(name, load)


def settled(case, given):
    """With the warm-up that is told of the servers' time as well."""
    case = dict({"warmup": "500ms"}, **case)
    warmup_s = float(case["warmup"].rstrip("ms")) / (1000 if "ms" in case["warmup"] else 1)
    return dict(case, warmup_part=warmup_s / given.seconds)


PLANS = {"default": "strict",
         "plans": [{"name": durability, "limits": LIMITS, "durability": durability}
                   for durability in ("strict", "relaxed")]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--build", default=os.path.join(HERE, "..", "..", "build", "dev"))
    parser.add_argument("--output")
    given = parser.parse_args()
    tools.use_build(given.build)
    import harness
    try:
        peers = Peers(given.directory)
        with harness.Cluster(nodes=1, shards=1, plans=PLANS) as cluster:
            peers.sluice(cluster)
            results = tools.rounds(given.rounds, list(peers.cases), lambda name: tools.load(
                duration="%dms" % (given.seconds * 1000), **settled(peers.cases[name], given)))
    finally:
        harness.end_all()
    cases = {name: tools.summary(reports) for name, reports in results.items()}
    print("| who | takes/s | average | p50 | p99 | errors | servers' time a take |\n"
          "|---|---|---|---|---|---|---|")
    for name, figures in cases.items():
        print("| %s | %.0f | %.1f us | %.1f us | %.1f us | %d | %s |" % (
            name, figures["takes_per_second"], figures["average_us"], figures["p50_us"],
            figures["p99_us"], figures["errors"], tools.time_text(figures["server_ns"])))
    ratios = []
    if "workerd" not in peers.skipped:
        rate = {name: tools.per_second(reports) for name, reports in results.items()}
        for name in ("sluice shard, as workerd, strict", "sluice router, as workerd, strict",
                     "sluice shard, as workerd", "sluice router, as workerd"):
            ratios.append(("takes/s: %s / a Durable Object" % name,
                           tools.ratio(rate[name], rate["workerd, a Durable Object a key"]), 50))
            ratios.append(("p99: %s / a Durable Object (at most)" % name,
                           tools.ratio(tools.latency(results[name], "p99"),
                                       tools.latency(results["workerd, a Durable Object a key"],
                                                     "p99")), 1))
    tools.ratios_print(ratios)
    if given.output:
        with open(given.output, "w") as file:
            json.dump({"rounds": given.rounds, "seconds": given.seconds, "cases": cases,
                       "ratios": ratios, "skipped": peers.skipped}, file, indent=2)
            file.write("\n")


if __name__ == "__main__":
    main()
