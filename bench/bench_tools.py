"""For the scripts here: runs of sluice-bench, private servers, and medians of interleaved rounds."""

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


def load(within_s=120, **options):
    """One `sluice-bench load`: its report. load(protocol="sluice", target=url, ...)."""
    import harness
    argv = [harness.program("sluice-bench"), "load", "--json", "--no-progress"]
    for name, value in options.items():
        argv += ["--" + name.replace("_", "-"), str(value)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, timeout=within_s, check=True)
    return json.loads(done.stdout)


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
            "errors": sum(report["errors"] for report in reports), "runs": len(reports)}
