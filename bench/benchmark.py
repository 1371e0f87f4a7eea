#!/usr/bin/python3
"""Measures everything and writes docs/benchmark.md from the results.

    bench/benchmark.py [--seconds 300] [--rounds 5] [--build build/release] [--peers DIRECTORY]
    bench/benchmark.py --long [--build build/release] [--peers DIRECTORY]
    bench/benchmark.py --document

Runs `sluice-bench compare` (--seconds for each way), ratios.py and peers/run.py (if --peers names
what peers/install.sh filled), one after the other; nothing else should run on the machine. Results
are kept in docs/benchmark/*.json beside the charts; --document only writes the page anew from them.
--long measures five minutes of the ways that decide exactly, and nothing else: a quarter of an hour.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import bench_tools as tools

HERE = os.path.dirname(os.path.abspath(__file__))
DOCS = os.path.join(HERE, "..", "docs")
KEPT = os.path.join(DOCS, "benchmark")
CELL = "redis-cell/target/release/libredis_cell.so"

# Of the ways those that decide exactly, behind one address.
LONG_WAYS, LONG_SECONDS = "redis,redis-cell,sluice-strict", 300


def run(argv, accepted=(0,)):
    print("$ " + " ".join(argv), file=sys.stderr, flush=True)
    code = subprocess.call(argv)
    if code not in accepted:
        sys.exit("benchmark.py: %s: exit %d" % (argv[0], code))


def tidy_charts():
    """gnuplot leaves blanks at the ends of lines."""
    for name in os.listdir(KEPT):
        if name.endswith(".svg"):
            path = os.path.join(KEPT, name)
            with open(path) as file:
                lines = [line.rstrip() for line in file]
            with open(path, "w") as file:
                file.write("\n".join(lines) + "\n")


def now_and_here():
    return {"day": time.strftime("%Y-%m-%d"), "commit": subprocess.check_output(
        ["git", "-C", HERE, "rev-parse", "--short", "HEAD"], text=True).strip()}


def cell_of(given):
    module = os.path.join(given.peers or "", CELL)
    return ["--cell-module", module] if given.peers and os.path.exists(module) else []


def measure_long(given):
    path = os.path.join(KEPT, "long.json")
    run([os.path.join(given.build, "bin", "sluice-bench"), "compare", "--seconds",
         str(LONG_SECONDS), "--ways", LONG_WAYS, "--no-sustained", "--output", path] +
        cell_of(given), accepted=(0, 1))
    with open(path) as file:
        results = json.load(file)
    results["measured"] = now_and_here()
    with open(path, "w") as file:
        json.dump(results, file, indent=2)
        file.write("\n")


def measure(given):
    os.makedirs(KEPT, exist_ok=True)
    busy = os.getloadavg()[1]
    cell = cell_of(given)
    common = ["--rounds", str(given.rounds), "--build", given.build]
    run([os.path.join(given.build, "bin", "sluice-bench"), "compare", "--seconds",
         str(given.seconds), "--output", os.path.join(KEPT, "compare.json"), "--charts", KEPT] +
        cell, accepted=(0, 1))
    run([os.path.join(HERE, "ratios.py"), "--output", os.path.join(KEPT, "ratios.json")] + common +
        cell)
    if given.peers:
        run([os.path.join(HERE, "peers", "run.py"), given.peers, "--output",
             os.path.join(KEPT, "peers.json")] + common)
    with open(os.path.join(KEPT, "when.json"), "w") as file:
        json.dump(dict(now_and_here(), seconds=given.seconds, rounds=given.rounds, note=given.note,
                       load_before=busy), file, indent=2)
        file.write("\n")


def read(name):
    try:
        with open(os.path.join(KEPT, name)) as file:
            return json.load(file)
    except FileNotFoundError:
        return None


def cases_table(cases, head):
    lines = ["| %s | takes/s | average | p50 | p99 | errors | servers' time a take |" % head,
             "|---|---|---|---|---|---|---|"]
    for name, figures in cases.items():
        lines.append("| %s | %s | %.0f µs | %.0f µs | %.0f µs | %d | %s |" % (
            name, "{:,.0f}".format(figures["takes_per_second"]), figures["average_us"],
            figures["p50_us"], figures["p99_us"], figures["errors"],
            tools.time_text(figures["server_ns"])))
    return lines


def ratio_table(ratios):
    lines = ["| what | measured | wanted | |", "|---|---|---|---|"]
    for what, value, wanted in ratios:
        most = "(at most)" in what
        good = tools.is_good(what, value, wanted)
        number = "{:,.2f}".format(value) if value < 1000 else "{:,.0f}".format(value)
        lines.append("| %s | %s | %s %s | %s |" % (
            what.replace(" (at most)", ""), number, "at most" if most else "at least",
            "{:,}".format(wanted), "" if good else "**short**"))
    return lines


def machine_part(compare, when):
    machine = compare["machine"]
    return [
        "# Benchmark", "",
        "Written by `bench/benchmark.py` from the results in [benchmark/](benchmark/); not by hand."
        " Figures of one machine mean little elsewhere; ratios within one run mean more. Loads and"
        " servers share the machine, over loopback.", "",
        "| | |", "|---|---|",
        "| measured | %s, commit %s%s |" % (when["day"], when["commit"],
                                            "; " + when["note"] if when["note"] else ""),
        "| machine | %s, %d processors, %s |" % (machine["processor"], machine["processors"],
                                                 machine["memory"]),
        "| other work | load average %.1f in the five minutes before |" % when["load_before"],
        "| kernel | %s |" % machine["kernel"],
        "| versions | Sluice %s; %s |" % (machine["sluice"], machine["redis"]), "",
        "```sh", "bench/peers/install.sh build/peers      # optional, some minutes",
        "bench/benchmark.py --seconds %d --rounds %d --build build/release --peers build/peers" % (
            when["seconds"], when["rounds"]), "```"]


def way_row(way):
    if "skipped" in way:
        return "| %s | skipped: %s | | | | | | |" % (way["name"], way["skipped"])
    load = way["load"]
    latency = load["latency_us"]
    errors = 100.0 * load["errors"] / load["takes"] if load["takes"] else 0
    return "| **%s**: %s | %.2f ms | %.2f ms | %.2f ms | %s | %.3f %% | %s | %s |" % (
        way["name"], way["about"], latency["average"] / 1000, latency["p50"] / 1000,
        latency["p99"] / 1000, "{:,.0f}".format(way["sustained_per_second"]), errors,
        "{:,}".format(way["slip_tokens"]),
        "%.2f ms" % (way["clock_error_us"] / 1000) if way["clock_error_us"] else "")


def compare_part(compare):
    load = compare["load"]
    lines = [
        "", "## One bucket, one load, every way to keep it", "",
        "`sluice-bench compare --seconds %d`: each way gets servers of its own and the same load, "
        "%s takes a second, open loop (latency counts from when a take was due), twice that in the "
        "first fifth of each ten seconds, from %d connections. %s keys by Zipf's law (exponent %g), "
        "each allowed %d tokens a second and a burst of %d, so the busy keys are refused most of "
        "the time." % (load["seconds"], "{:,}".format(load["rate"]), load["connections"],
                       "{:,}".format(load["keys"]), load["zipf"], load["limit_rate"],
                       load["limit_burst"]), "",
        "*Sustained*: the highest rate (no bursts, %g s) with every take answered, 99 %% of them in "
        "time, and p99 within 5 ms. *Slips*: tokens granted beyond `burst + rate * d`, the largest "
        "excess of each key over any interval, summed, after what the nodes' clocks may have gained "
        "(the column *clock*; a busy machine makes it large) was allowed for; see "
        "[sluice-bench.md](sluice-bench.md). The last row has no server and no network: it is the limit of the load generator "
        "as well." % load["probe_seconds"], "",
        "| way | average | p50 | p99 | sustained, takes/s | errors | slips, tokens | clock |",
        "|---|---|---|---|---|---|---|---|"]
    lines += [way_row(way) for way in compare["ways"]]
    for name in ("latency", "sustained", "slips", "errors"):
        if os.path.exists(os.path.join(KEPT, name + ".svg")):
            lines += ["", "![%s](benchmark/%s.svg)" % (name, name)]
    return lines


def long_part(results):
    lines = ["", "### The same for five minutes", "",
             "`bench/benchmark.py --long`, at commit %s (%s): the load above, for longer, on the ways "
             "that decide exactly and have one address." % (
                 results["measured"]["commit"], results["measured"]["day"]), "",
             "| way | average | p50 | p99 | p99.9 | longest | errors | slips, tokens |",
             "|---|---|---|---|---|---|---|---|"]
    for way in results["ways"]:
        latency = way["load"]["latency_us"]
        lines.append("| **%s** | %s | %d | %s |" % (
            way["name"], " | ".join("%.2f ms" % (latency[figure] / 1000) for figure in (
                "average", "p50", "p99", "p999", "max")),
            way["load"]["errors"], "{:,}".format(way["slip_tokens"])))
    averages = {way["name"]: way["load"]["latency_us"] for way in results["ways"]}
    ours = averages.pop("sluice-strict")
    return lines + [""] + ratio_table([
        ("%s: sluice-strict / %s (at most)" % (figure, peer), ours[figure] / theirs[figure], 1)
        for peer, theirs in averages.items() for figure in ("average", "p99")])


def ratios_part(ratios):
    texts = {
        "one": "64 connections, one request outstanding each",
        "pipelined": "64 connections, 32 requests outstanding each",
        "batch": "takes in batches (`take_many`)",
        "paced": "10,000 takes a second with bursts of 2x, open loop",
        "durability": "strict beside relaxed, 64 connections with 32 requests outstanding each",
    }
    lines = ["", "## How near to the bare loop", "",
             "`bench/ratios.py --rounds %d`: medians of interleaved rounds of %g s; a ratio is the "
             "median of the ratios within the rounds. `echo` is `sluice-bench echo`, which finds "
             "the frames of the same wire format and sends them back, and decides nothing. Nothing "
             "is refused. Keys are 100,000 and plans relaxed, unless a row says strict: there a key "
             "asked for seldom waits for the store at each take. The servers' time is what the "
             "processes of Sluice, or the peer, have used of the processors, and changes least when "
             "a machine is busy." % (ratios["rounds"], ratios["seconds"])]
    for name, group in ratios["groups"].items():
        lines += ["", "### " + texts[name][0].upper() + texts[name][1:], ""]
        lines += cases_table(group["cases"], "target") + [""]
        lines += store_table(group["cases"]) + ratio_table(group["ratios"])
    return lines


def store_table(cases):
    """What a case cost Redis, of those where that was looked at."""
    looked = {name: figures["store"] for name, figures in cases.items() if figures.get("store")}
    if not looked:
        return []
    lines = ["`zipf`: 100,000 keys by Zipf's law (exponent 1); `cold`: a million, any alike. What is "
             "taken stays taken for longer than a run, but for `full again at once`, where relaxed "
             "plans have nothing left to write. Commands are those within scripts too.", "",
             "| target | calls of scripts a take | commands a take | Redis's time a take |",
             "|---|---|---|---|"]
    return lines + ["| %s | %.4f | %.3f | %s |" % (
        name, store["calls"], store["commands"], tools.time_text(store["cpu_ns"]))
        for name, store in looked.items()] + [""]


def peers_part(peers):
    lines = ["", "## Beside peers", "",
             "`bench/peers/run.py`: each by its own protocol, at the versions in "
             "`bench/peers/install.sh`. The protocols differ: workerd answers HTTP, and its bare "
             "worker tells what of its time that is. Its Durable Objects keep their state on disk, "
             "each write before its answer; redis-cell in a Redis with an append-only file synced "
             "every second; throttlecrab in memory only; Sluice's plans are relaxed unless a row says "
             "strict, and with 100 keys in use all the time a strict plan's marks run ahead of the "
             "takes. Gubernator is not among them: its module could not be had with a verified "
             "checksum where this was written.", ""]
    if peers["skipped"]:
        lines += ["Skipped, since not installed: %s." % ", ".join(peers["skipped"]), ""]
    lines += cases_table(peers["cases"], "who")
    return lines + ([""] + ratio_table(peers["ratios"]) if peers["ratios"] else [])


def document():
    compare, long, ratios, peers, when = (read(name + ".json") for name in (
        "compare", "long", "ratios", "peers", "when"))
    if compare is None or when is None:
        sys.exit("benchmark.py: nothing was measured yet")
    tidy_charts()
    lines = machine_part(compare, when) + compare_part(compare)
    lines += long_part(long) if long else []
    lines += ratios_part(ratios) if ratios else []
    lines += peers_part(peers) if peers else []
    with open(os.path.join(DOCS, "benchmark.md"), "w") as file:
        file.write("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--build", default=os.path.join(HERE, "..", "build", "release"))
    parser.add_argument("--peers")
    parser.add_argument("--note", default="")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--document", action="store_true")
    given = parser.parse_args()
    if given.long:
        measure_long(given)
    elif not given.document:
        measure(given)
    document()


if __name__ == "__main__":
    main()
