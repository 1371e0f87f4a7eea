#!/usr/bin/python3
"""Runs the integration tests against built programs.

    tests/integration/run.py [--bin build/dev/bin] [--quick | --smoke | --soak] [--only PATTERN]
        [--under COMMAND] [--jobs N]

--quick: smaller amounts. --smoke: smaller still, for programs built with a sanitizer; classes of
tests that say `smoke = False` are left out.
--soak: five million takes. Each test prints its time and its key figures.
--jobs: so many files of tests at once, each in a process of its own; most tests wait most of the
time. What a file prints is printed when it is through.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))

# Those that take longest come first, so that the last to end is not one of them.
EARLY = ("test_replay", "test_operator", "test_crash", "test_peers", "test_strict")

# Those that hold every take of a load to a short deadline run last, with nobody beside them.
ALONE = ("test_failover", "test_move", "test_move_steps")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bin", default=os.path.join(HERE, "../../build/dev/bin"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--soak", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--under", default="", help="run Sluice's programs by this command")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--file", default="test*.py", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error("--jobs takes a number from 1 up")
    return run_here(options) if options.jobs == 1 else run_in_parts(options)


def run_in_parts(options):
    """Each file of tests in a process of its own, --jobs of them at a time."""
    files = sorted((name for name in os.listdir(HERE)
                    if name.startswith("test_") and name.endswith(".py")),
                   key=lambda name: (name[:-3] in ALONE, name[:-3] not in EARLY, name))
    lanes = {}  # number -> (process, file, its output)
    tally, reasons = [0, 0, 0], []

    def stop(number, frame):
        for process, _, _ in lanes.values():
            process.terminate()
        for process, _, _ in lanes.values():
            process.wait()
        os._exit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    while files or lanes:
        for lane in range(options.jobs):
            if lane not in lanes and files and (files[0][:-3] not in ALONE or not lanes):
                lanes[lane] = begin(files.pop(0), lane, options)
        time.sleep(0.05)
        for lane in [lane for lane in lanes if lanes[lane][0].poll() is not None]:
            end(*lanes.pop(lane), tally, reasons)
    for reason in reasons:
        print(reason)
    print("tally: %d %d %d" % tuple(tally))
    return 1 if tally[1] else 0


def begin(name, lane, options):
    output = tempfile.TemporaryFile("w+")
    argv = [sys.executable, "-u", os.path.abspath(__file__), "--file", name, "--bin", options.bin,
            "--only", options.only, "--under", options.under]
    argv += ["--" + word for word in ("quick", "smoke", "soak") if getattr(options, word)]
    # Each lane has ports of its own: that a port is free says little while others look for one.
    environment = dict(os.environ, SLUICE_TEST_LANE="%d/%d" % (lane, options.jobs))
    return subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT,
                            env=environment), name, output


def end(process, name, output, tally, reasons):
    counts = None
    output.seek(0)
    for line in output.read().splitlines():
        if line.startswith("tally: "):
            counts = [int(word) for word in line.split()[1:]]
        elif line.startswith("failed: "):
            reasons.append(line)
        elif line:
            print(line, flush=True)
    output.close()
    if counts is None or (process.returncode != 0 and counts[1] == 0):
        reasons.append("failed: %s ended with %d before its tests did" % (name, process.returncode))
        counts = [0, 1, 0]
    for i, count in enumerate(counts):
        tally[i] += count


def run_here(options):
    os.environ["SLUICE_TEST_BIN"] = os.path.abspath(options.bin)
    os.environ["SLUICE_TEST_UNDER"] = options.under
    os.environ["SLUICE_TEST_QUICK"] = "1" if options.quick or options.smoke else "0"
    os.environ["SLUICE_TEST_SMOKE"] = "1" if options.smoke else "0"
    os.environ["SLUICE_TEST_SOAK"] = "1" if options.soak else "0"
    for name in list(os.environ):  # what the caller has set for programs of his own
        if name.startswith("SLUICE_") and not name.startswith("SLUICE_TEST_"):
            del os.environ[name]

    sys.path.insert(0, HERE)
    import harness

    def stop(number, frame):
        harness.end_all()
        os._exit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        suite = unittest.TestSuite()
        collect(unittest.defaultTestLoader.discover(HERE, options.file), options, suite)
        result = unittest.TextTestRunner(stream=sys.stdout, resultclass=Result,
                                         verbosity=0).run(suite)
    finally:
        harness.end_all()
    for reason in result.reasons:
        print(reason)
    bad = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    print("tally: %d %d %d" % (result.passed, bad, len(result.skipped)))
    return 1 if bad else 0


def collect(tests, options, suite):
    """Flattens the suite and keeps what is wanted."""
    for test in tests:
        if isinstance(test, unittest.TestSuite):
            collect(test, options, suite)
        elif options.only not in test.id():
            continue
        elif options.smoke and not getattr(test, "smoke", True):
            continue
        else:
            suite.addTest(test)


class Result(unittest.TextTestResult):
    def __init__(self, *args):
        super().__init__(*args)
        self.passed = 0
        self.reasons = []  # of failures, a line each

    def startTest(self, test):
        super().startTest(test)
        self.started_at = time.monotonic()

    def line(self, word, test, more=""):
        print("%-4s %6.1f s  %s%s" % (word, time.monotonic() - self.started_at, test.id(), more),
              flush=True)

    def reason(self, test, error):
        """Where it failed in a file of the tests, and why, in one line."""
        frames = [frame for frame in traceback.extract_tb(error[2])
                  if frame.filename.startswith(HERE)]
        where = "%s:%d" % (os.path.basename(frames[-1].filename), frames[-1].lineno) if frames else "?"
        why = " ".join(("%s: %s" % (error[0].__name__, error[1])).split())[:400]
        self.reasons.append("failed: %s at %s: %s" % (test.id(), where, why))

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1
        self.line("ok", test)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.line("FAIL", test)
        self.reason(test, error)
        report(test)

    def addError(self, test, error):
        super().addError(test, error)
        if hasattr(self, "started_at"):
            self.line("FAIL", test)
        self.reason(test, error)
        report(test)

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            self.line("FAIL", subtest)
            self.reason(subtest, error)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.started_at = getattr(self, "started_at", time.monotonic())
        self.line("skip", test, ": " + reason)


def report(test):
    """What the processes of the test's cluster wrote, on standard error."""
    cluster = getattr(test, "cluster", None)
    if cluster is not None:
        cluster.report()


if __name__ == "__main__":
    sys.exit(main())
