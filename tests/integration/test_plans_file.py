"""Plans files: each kind of mistake is found before anything is applied, with file, line, field and
what was expected; all of a file's mistakes at once."""

import os
import tempfile
import unittest

from harness import ctl, say

HEAD = "default: a\nplans:\n"
GOOD = HEAD + "  a:\n    limits: [{rate: 1, period: 1s, burst: 2}]\n"

# name, file, line of the mistake, what the message must hold
MISTAKES = [
    ("empty file", "", None, ["plans"]),
    ("a list", "- a\n- b\n", 1, ["mapping", "list"]),
    ("not YAML", "default: a\nplans: {a: [\n", None, []),
    ("a tab", "plans:\n\ta: 1\n", 2, []),
    ("unknown field", "defualt: a\n" + GOOD.split("\n", 1)[1], 1, ["defualt", "default"]),
    ("field twice", GOOD + "default: a\n", 5, ["default", "twice"]),
    ("plan twice", GOOD + "  a:\n    limits: [{rate: 1}]\n", 5, ["a", "twice"]),
    ("default unknown", GOOD.replace("default: a", "default: b"), 1, ["default", "no plan"]),
    ("default a list", GOOD.replace("default: a", "default: [a]"), 1, ["default", "list"]),
    ("plans a list", "plans:\n  - a\n", 2, ["plans", "mapping", "list"]),
    ("plan a number", HEAD + "  a: 5\n", 3, ["plans.a", "mapping", "5"]),
    ("plan nothing", HEAD + "  a:\n", 3, ["plans.a"]),
    ("bad name", GOOD + "  'b c':\n    limits: [{rate: 1}]\n", 5, ["b c"]),
    ("no limits", HEAD + "  a:\n    on_unavailable: deny\n", None, ["plans.a", "limits"]),
    ("empty limits", HEAD + "  a:\n    limits: []\n", 4, ["limits"]),
    ("five limits", HEAD + "  a:\n    limits: [{rate: 1}, {rate: 2}, {rate: 3}, {rate: 4}, "
     "{rate: 5}]\n", 4, ["limits", "4"]),
    ("limits a mapping", HEAD + "  a:\n    limits: {rate: 1}\n", 4, ["limits", "list", "mapping"]),
    ("limit a number", HEAD + "  a:\n    limits: [5]\n", 4, ["limits", "5"]),
    ("no rate", HEAD + "  a:\n    limits:\n      - {burst: 5}\n", 5, ["rate"]),
    ("rate 0", HEAD + "  a:\n    limits:\n      - {rate: 0}\n", 5, ["rate", "0"]),
    ("rate text", HEAD + "  a:\n    limits:\n      - {rate: many}\n", 5, ["rate", "many"]),
    ("rate negative", HEAD + "  a:\n    limits:\n      - {rate: -1}\n", 5, ["rate", "-1"]),
    ("rate a fraction", HEAD + "  a:\n    limits:\n      - {rate: 1.5}\n", 5, ["rate", "1.5"]),
    ("rate too high", HEAD + "  a:\n    limits:\n      - {rate: 281474976710657}\n", 5, ["rate"]),
    ("burst 0", HEAD + "  a:\n    limits:\n      - {rate: 1, burst: 0}\n", 5, ["burst"]),
    ("period without unit", HEAD + "  a:\n    limits:\n      - {rate: 1, period: 5}\n", 5,
     ["period", "5"]),
    ("period of no unit", HEAD + "  a:\n    limits:\n      - {rate: 1, period: 1y}\n", 5,
     ["period", "1y"]),
    ("period 0", HEAD + "  a:\n    limits:\n      - {rate: 1, period: 0s}\n", 5, ["period"]),
    ("period too long", HEAD + "  a:\n    limits:\n      - {rate: 1, period: 401d}\n", 5,
     ["period"]),
    ("never full", HEAD + "  a:\n    limits:\n      - {rate: 1, period: 1d, burst: 99999999}\n", 5,
     ["limits"]),
    ("policy", HEAD + "  a:\n    limits: [{rate: 1}]\n    on_unavailable: maybe\n", 5,
     ["on_unavailable", "deny", "allow", "maybe"]),
    ("durability", HEAD + "  a:\n    limits: [{rate: 1}]\n    durability: stern\n", 5,
     ["durability", "strict or relaxed", "stern"]),
    ("unknown field of a plan", HEAD + "  a:\n    limits: [{rate: 1}]\n    colour: red\n", 5,
     ["colour"]),
    ("unknown field of a limit", HEAD + "  a:\n    limits:\n      - {rate: 1, brust: 2}\n", 5,
     ["brust", "burst"]),
]


class PlansFileTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.path = os.path.join(self.directory.name, "plans.yaml")

    def validate(self, text):
        with open(self.path, "w") as file:
            file.write(text)
        status, out, err = ctl("plans", "validate", self.path)
        return status, out + err

    def test_a_good_file(self):
        status, out = self.validate(GOOD)
        self.assertEqual(status, 0, out)

    def test_each_mistake(self):
        for name, text, line, holds in MISTAKES:
            with self.subTest(name):
                status, out = self.validate(text)
                self.assertEqual(status, 5, out)
                self.assertIn(self.path + (":%d" % line if line else ""), out)
                for word in holds:
                    self.assertIn(word, out)
        say("%d kinds of mistake, each named with its place" % len(MISTAKES))

    def test_all_mistakes_of_a_file_at_once(self):
        status, out = self.validate(HEAD + "  a:\n    limits: [{rate: 0}]\n    colour: red\n"
                                    "  b:\n    limits: [{rate: 1, burst: x}]\n")
        self.assertNotEqual(status, 0)
        for line in (4, 5, 7):
            self.assertIn("%s:%d" % (self.path, line), out)

    def test_no_such_file(self):
        status, out, err = ctl("plans", "validate", self.path + ".gone")
        self.assertNotEqual(status, 0)
        self.assertIn(self.path + ".gone", err)

    def test_a_wrong_file_is_not_applied(self):
        with open(self.path, "w") as file:
            file.write("plans: 5\n")
        status, out, err = ctl("--control", "tcp://127.0.0.1:1", "plans", "apply", self.path)
        self.assertIn(self.path + ":1", err, "found before anybody is asked")
