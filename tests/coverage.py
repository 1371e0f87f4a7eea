#!/usr/bin/python3
"""What the unit, model and fuzz corpus tests reach of the product: lines and branches a file.

    tests/coverage.py BUILD_DIR [--missing WORD] [--least PERCENT]

BUILD_DIR is a build with --coverage whose tests have run (the preset `coverage`). Sums what gcov
says of every object, so that a line counts if any test reached it. Branches within an assert are
left out: the side that ends the program is not meant to be reached.

--missing WORD: names the lines and branches not reached, of files whose path contains WORD.
--least PERCENT: of the branches of the cores and proto; fewer is a failure.
"""

import argparse
import json
import os
import re
import subprocess
import sys

REPO = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# What decides, and the language: these are held to the bound.
CORES = ("proto/", "server/core/", "router/core/")
PRODUCT = CORES + ("runtime/", "server/", "router/", "client/", "ctl/")
NO_PRODUCT = ("client/examples/",)


def assert_lines(path):
    """The numbers of the lines that belong to an assert, which may span several."""
    with open(path) as file:
        text = file.read()
    found = set()
    for match in re.finditer(r"\b(?:static_)?assert\(", text):
        depth, at = 1, match.end()
        while depth and at < len(text):
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
        first = text.count("\n", 0, match.start()) + 1
        found.update(range(first, first + text.count("\n", match.start(), at) + 1))
    return found


def gcov_reports(build):
    """gcov's report of every object that a program with tests was made from."""
    counters = []
    for folder, _, names in os.walk(build):
        counters += [os.path.join(folder, name) for name in names if name.endswith(".gcda")]
    assert counters, "no test has run below " + build
    for at in range(0, len(counters), 40):
        done = subprocess.run(["gcov", "--json-format", "--stdout", "--branch-probabilities"] +
                              counters[at:at + 40], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, cwd=build)
        assert done.returncode == 0, done.stderr.decode()
        for line in done.stdout.splitlines():
            if line.strip():
                yield json.loads(line)


class File:
    def __init__(self):
        self.lines = {}     # number -> times
        self.branches = {}  # (line, function, which) -> times

    def add(self, line):
        number = line["line_number"]
        self.lines[number] = self.lines.get(number, 0) + line["count"]
        for which, branch in enumerate(line["branches"]):
            name = number, line.get("function_name"), which
            self.branches[name] = self.branches.get(name, 0) + branch["count"]

    def leave_out(self, numbers):
        self.lines = {at: count for at, count in self.lines.items() if at not in numbers}
        self.branches = {at: count for at, count in self.branches.items() if at[0] not in numbers}


def collect(build):
    files = {}
    for report in gcov_reports(build):
        for one in report["files"]:
            path = os.path.relpath(os.path.join(report["current_working_directory"], one["file"]),
                                   REPO)
            if path.startswith(PRODUCT) and not path.startswith(NO_PRODUCT):
                file = files.setdefault(path, File())
                for line in one["lines"]:
                    file.add(line)
    for path, file in files.items():
        file.leave_out(assert_lines(os.path.join(REPO, path)))
    return files


def percent(reached, all_of_them):
    return 100.0 * reached / all_of_them if all_of_them else 100.0


def counts(files):
    lines = [count for file in files for count in file.lines.values()]
    branches = [count for file in files for count in file.branches.values()]
    return (sum(1 for count in lines if count), len(lines),
            sum(1 for count in branches if count), len(branches))


def row(name, files):
    lines, all_lines, branches, all_branches = counts(files)
    return "%-34s %5d of %5d lines %6.1f %%   %5d of %5d branches %6.1f %%" % (
        name, lines, all_lines, percent(lines, all_lines), branches, all_branches,
        percent(branches, all_branches))


def show_missing(path, file):
    with open(os.path.join(REPO, path)) as source:
        text = source.read().split("\n")
    lines = {at for at, count in file.lines.items() if not count}
    sides = {}
    for (at, _, which), count in file.branches.items():
        if not count and at not in lines:
            sides.setdefault(at, []).append(which)
    for at in sorted(lines | set(sides)):
        what = "line" if at in lines else "branch " + ",".join(map(str, sorted(sides[at])))
        print("%s:%d: %-12s %s" % (path, at, what, text[at - 1].strip()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("build")
    parser.add_argument("--missing", metavar="WORD")
    parser.add_argument("--least", type=float, metavar="PERCENT")
    options = parser.parse_args()
    files = collect(os.path.abspath(options.build))
    if options.missing is not None:
        for path in sorted(path for path in files if options.missing in path):
            show_missing(path, files[path])
        return 0
    for path in sorted(files, key=lambda path: (not path.startswith(CORES), path)):
        print(row(path, [files[path]]))
    low = []
    for folder in CORES:
        inner = [file for path, file in files.items() if path.startswith(folder)]
        _, _, reached, branches = counts(inner)
        if options.least and percent(reached, branches) < options.least:
            low.append(folder)
        print(row(folder + " in all", inner))
    others = [file for path, file in files.items() if not path.startswith(CORES)]
    print(row("what acts, in all", others))
    if low:
        print("coverage: below %.0f %% of branches: %s" % (options.least, ", ".join(low)))
        return 1
    cores = counts([file for path, file in files.items() if path.startswith(CORES)])
    print("coverage: %.1f %% of lines and %.1f %% of branches of the cores and proto" %
          (percent(*cores[:2]), percent(*cores[2:])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
