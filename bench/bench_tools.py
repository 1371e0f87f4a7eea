"""For the scripts here: runs of sluice-bench, and medians of interleaved rounds."""

import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tests", "integration"))


def use_build(build):
    """Names the build whose programs are measured; before harness is imported."""
    os.environ["SLUICE_TEST_BIN"] = os.path.abspath(os.path.join(build, "bin"))


def cpu_s(pids):
    """Seconds of processor time that these processes have used."""
    total = 0
    for pid in pids:
        with open("/proc/%d/stat" % pid) as file:
            fields = file.read().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def load(within_s=120, pids=(), **options):
    """One `sluice-bench load`: its report. load(protocol="sluice", target=url, ...). With the pids
    of the servers it tells their processor time a take, warm-up and all: that changes far less than
    a rate when others are busy on the machine. `warmup_part`: of the duration."""
    import harness
    before = cpu_s(pids)
    argv = [harness.program("sluice-bench"), "load", "--json", "--no-progress"]
    for name, value in options.items():
        if name != "warmup_part":
            argv += ["--" + name.replace("_", "-"), str(value)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, timeout=within_s, check=True)
    report = json.loads(done.stdout)
    takes = max(1, report["takes"]) * (1 + options.get("warmup_part", 0))
    report["server_ns"] = (cpu_s(pids) - before) * 1e9 / takes if pids else None
    return report


def command_stats(client):
    """What Redis has executed: {command: (calls, microseconds)}. A script's time holds that of the
    commands it calls, which are counted besides."""
    stats = {}
    for line in client.call("INFO", "commandstats").decode().splitlines():
        name, _, figures = line.partition(":")
        if name.startswith("cmdstat_"):
            values = dict(figure.split("=") for figure in figures.split(","))
            stats[name[len("cmdstat_"):]] = (int(values["calls"]), int(values["usec"]))
    return stats


def store_load(redis, settle, **options):
    """load() that tells as well what it cost the store, in `store`: calls of scripts, commands
    (those within scripts too) and processor time, each by take. `settle` returns when all that the
    load has changed is written."""
    with redis.client() as client:
        before, cpu_before = command_stats(client), cpu_s([redis.pid])
        report = load(**options)
        settle()
        after, cpu_after = command_stats(client), cpu_s([redis.pid])
    takes = max(1, report["takes"]) * (1 + options.get("warmup_part", 0))

    def grown(names, figure):
        return sum(after[name][figure] - before.get(name, (0, 0))[figure] for name in names)

    report["store"] = {"calls": grown(["evalsha"] if "evalsha" in after else [], 0) / takes,
                       "script_ns": grown(["evalsha"] if "evalsha" in after else [], 1) * 1e3 /
                       takes,
                       "commands": grown(after, 0) / takes,
                       "cpu_ns": (cpu_after - cpu_before) * 1e9 / takes}
    return report


def rounds(count, cases, run):
    """run(case) for each case, one after the other, `count` times: a machine whose speed drifts
    treats all alike. Returns {case: [report, ...]}."""
    results = {case: [] for case in cases}
    for number in range(count):
        for case in cases:
            report = run(case)
            results[case].append(report)
            latency = report["latency_us"]
            print("round %d  %-34s %9.0f/s  p50 %8.1f us  p99 %9.1f us  %d errors" % (
                number + 1, case, report["takes_per_second"], latency["p50"], latency["p99"],
                report["errors"]), file=sys.stderr, flush=True)
    return results


def per_second(reports):
    return [report["takes_per_second"] for report in reports]


def latency(reports, name):
    return [report["latency_us"][name] for report in reports]


def median(values):
    return statistics.median(values)


def ratio(over, under):
    """The median of the ratios within each round."""
    return statistics.median(a / b if b else float("inf") for a, b in zip(over, under))


def summary(reports):
    """Medians of a case, for documents."""
    return {"takes_per_second": median(per_second(reports)),
            "average_us": median(latency(reports, "average")),
            "p50_us": median(latency(reports, "p50")), "p99_us": median(latency(reports, "p99")),
            "server_ns": median([report["server_ns"] for report in reports])
            if reports[0]["server_ns"] is not None else None,
            "errors": sum(report["errors"] for report in reports), "runs": len(reports),
            "store": {name: median([report["store"][name] for report in reports])
                      for name in reports[0]["store"]} if "store" in reports[0] else None}


def time_text(ns):
    """Of the servers' time a take."""
    return "" if ns is None else "%.0f ns" % ns if ns < 10000 else "%.0f µs" % (ns / 1000)


def is_good(what, value, wanted):
    return value <= wanted if "(at most)" in what else value >= wanted


def ratios_print(ratios):
    for what, value, wanted in ratios:
        print("%-70s %10.2f  of %s%s" % (what, value, wanted,
                                         "" if is_good(what, value, wanted) else "  short"))
