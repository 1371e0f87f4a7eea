#!/usr/bin/python3
"""What stock nng clients see: takes at a shard and through a router, beside a bare nng REP echo.

    bench/nng_compare.py [--rounds 5] [--seconds 2] [--build build/dev]

Starts a private Redis (append-only file on), one node of one shard and one router on free loopback
ports, and a libnng REP echo. Each round measures all of them in turn with 1 and with 64 clients, so
that a machine whose speed drifts treats all alike. Prints medians, and ratios within a round.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tests", "integration"))


def load(program, url, clients, seconds):
    out = subprocess.run([program, "load", url, str(clients), str(seconds)], check=True,
                         stdout=subprocess.PIPE, timeout=seconds + 60)
    figures = json.loads(out.stdout)
    if figures["errors"]:
        sys.exit("%s answered %d errors" % (url, figures["errors"]))
    return figures


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=2)
    options.add_argument("--build", default=os.path.join(HERE, "..", "build", "dev"))
    given = options.parse_args()
    bin_dir = os.path.abspath(os.path.join(given.build, "bin"))
    os.environ["SLUICE_TEST_BIN"] = bin_dir
    import harness

    program = os.path.join(bin_dir, "nng-bench")
    echo_url = "tcp://127.0.0.1:%d" % harness.free_ports()
    echo = subprocess.Popen([program, "echo", echo_url], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE)
    echo.stdout.readline()
    results = {}
    try:
        with harness.Cluster(nodes=1, shards=1) as cluster:
            targets = [("nng REP echo", echo_url), ("shard", cluster.nodes[0].shard_url(0)),
                       ("router", cluster.router.url)]
            for round_number in range(given.rounds):
                for clients in (1, 64):
                    for name, url in targets:
                        figures = load(program, url, clients, given.seconds)
                        results.setdefault((clients, name), []).append(figures)
                        print("round %d: %2d clients, %-12s %7d/s  p50 %4d us  p99 %5d us" %
                              (round_number + 1, clients, name, figures["per_second"],
                               figures["p50_us"], figures["p99_us"]), file=sys.stderr)
    finally:
        echo.stdin.close()
        echo.wait(10)
    print("| nng clients | to | requests/s | of the echo | p50 | p99 |\n|---|---|---|---|---|---|")
    for clients in (1, 64):
        floor = results[(clients, "nng REP echo")]
        for name, _ in targets:
            rows = results[(clients, name)]
            ratio = statistics.median(r["per_second"] / f["per_second"]
                                      for r, f in zip(rows, floor))
            print("| %d | %s | %d | %.2f | %d us | %d us |" % (
                clients, name, statistics.median(r["per_second"] for r in rows), ratio,
                statistics.median(r["p50_us"] for r in rows),
                statistics.median(r["p99_us"] for r in rows)))


if __name__ == "__main__":
    main()
