"""Everything a caller can get wrong in a message: each gets a named error, and the connection that
carried it stays usable. At a router's door and at a shard alike."""

import contextlib
import functools
import socket

import msgpack

from harness import INLINE, PLANS, ClusterTest, say
from sp_client import Closed, Connection, RpcError, address_of

LIMIT = dict(INLINE, burst=100)
MOST = 1 << 48

DOORS = ("router", "shard")

BAD, LARGE = "BAD_REQUEST", "TOO_LARGE"


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


# name, message as Python values, code, what the text must speak of
WRONG_MESSAGES = [
    ("not an array", {"take": 1}, BAD, ""),
    ("an empty array", [], BAD, ""),
    ("too short", [0, 1, "take"], BAD, ""),
    ("too long", [0, 1, "take", ["k"], 5], BAD, ""),
    ("a reply", [1, 1, None, []], BAD, ""),
    ("a notification", [2, "take", ["k"]], BAD, ""),
    ("type of type", ["0", 1, "take", ["k"]], BAD, ""),
    ("negative msgid", [0, -1, "take", ["k"]], BAD, "msgid"),
    ("msgid past 32 bits", [0, 1 << 32, "take", ["k"]], BAD, "msgid"),
    ("text msgid", [0, "1", "take", ["k"]], BAD, "msgid"),
    ("float msgid", [0, 1.0, "take", ["k"]], BAD, "msgid"),
    ("number for method", [0, 1, 5, ["k"]], BAD, "method"),
    ("nil method", [0, 1, None, ["k"]], BAD, "method"),
    ("empty method", [0, 1, "", ["k"]], "UNKNOWN_METHOD", ""),
    ("unknown method", [0, 1, "grab", ["k"]], "UNKNOWN_METHOD", "grab"),
    ("method in capitals", [0, 1, "TAKE", ["k"]], "UNKNOWN_METHOD", ""),
    ("very long method", [0, 1, "m" * 70000, ["k"]], "UNKNOWN_METHOD", ""),
    ("params a map", [0, 1, "take", {"key": "k"}], BAD, "params"),
    ("params nil", [0, 1, "take", None], BAD, "params"),
    ("params text", [0, 1, "take", "k"], BAD, "params"),
    ("nested too deeply", [0, 1, "take", nested(40)], BAD, ""),
]

# name, params of take, code, what the text must speak of
WRONG_TAKES = [
    ("no key", [], BAD, "key"),
    ("nil key", [None], BAD, "key"),
    ("number key", [7], BAD, "key"),
    ("list key", [["k"]], BAD, "key"),
    ("empty key", [""], BAD, "key"),
    ("empty binary key", [b""], BAD, "key"),
    ("257-byte key", ["k" * 257], LARGE, "key"),
    ("70,000-byte key", ["k" * 70000], LARGE, "key"),
    ("negative cost", ["k", -1, LIMIT], BAD, "cost"),
    ("very negative cost", ["k", -(1 << 63), LIMIT], BAD, "cost"),
    ("cost past the bound", ["k", MOST + 1, LIMIT], LARGE, "cost"),
    ("cost of 64 bits", ["k", (1 << 64) - 1, LIMIT], LARGE, "cost"),
    ("float cost", ["k", 1.0, LIMIT], BAD, "cost"),
    ("text cost", ["k", "1", LIMIT], BAD, "cost"),
    ("true for cost", ["k", True, LIMIT], BAD, "cost"),
    ("number for plan", ["k", 1, 5], BAD, "plan"),
    ("list for plan", ["k", 1, [1, 2]], BAD, "plan"),
    ("empty plan", ["k", 1, ""], (BAD, "UNKNOWN_PLAN"), "plan"),
    ("plan with a blank", ["k", 1, "a b"], (BAD, "UNKNOWN_PLAN"), "plan"),
    ("plan of 64 letters", ["k", 1, "p" * 64], (BAD, LARGE, "UNKNOWN_PLAN"), "plan"),
    ("unknown plan", ["k", 1, "no-such-plan"], "UNKNOWN_PLAN", ""),
    ("limit without rate", ["k", 1, {"burst": 5}], BAD, "rate"),
    ("empty limit", ["k", 1, {}], BAD, "rate"),
    ("rate 0", ["k", 1, {"rate": 0}], BAD, "rate"),
    ("negative rate", ["k", 1, {"rate": -5}], BAD, "rate"),
    ("text rate", ["k", 1, {"rate": "5"}], BAD, "rate"),
    ("rate past the bound", ["k", 1, {"rate": MOST + 1}], (BAD, LARGE), "rate"),
    ("period 0", ["k", 1, {"rate": 1, "period_ms": 0}], BAD, "period"),
    ("period past 400 days", ["k", 1, {"rate": 1, "period_ms": 401 * 86400000}], BAD, "period"),
    ("burst 0", ["k", 1, {"rate": 1, "burst": 0}], BAD, "burst"),
    ("a bucket that takes ages", ["k", 1, {"rate": 1, "period_ms": 86400000, "burst": MOST}], BAD,
     ""),
    ("unknown member of the limit", ["k", 1, {"rate": 1, "colour": 2}], BAD, "colour"),
    ("number as a member's name", ["k", 1, {"rate": 1, 5: 2}], BAD, ""),
    ("member twice", None, BAD, "rate"),
    ("options a list", ["k", 1, LIMIT, []], BAD, "options"),
    ("unknown option", ["k", 1, LIMIT, {"dead_line": 5}], BAD, "dead_line"),
    ("deadline 0", ["k", 1, LIMIT, {"deadline_ms": 0}], BAD, "deadline_ms"),
    ("deadline past a minute", ["k", 1, LIMIT, {"deadline_ms": 60001}], BAD, "deadline_ms"),
    ("text deadline", ["k", 1, LIMIT, {"deadline_ms": "5"}], BAD, "deadline_ms"),
    ("five params", ["k", 1, LIMIT, {}, 5], BAD, "params"),
]

WRONG_BATCHES = [
    ("not lists", ["k", "l"], BAD, "params[0]"),
    ("one wrong among good ones", [["k", 1, LIMIT], ["k", -1, LIMIT]], BAD, "params[1]"),
    ("an empty take", [["k", 1, LIMIT], []], BAD, "params[1]"),
    ("options in a batch", [["k", 1, LIMIT, {}]], BAD, "params[0]"),
    ("4,097 takes", [["k", 1, LIMIT]] * 4097, LARGE, "4097"),
]

# A value of each type that msgpack has.
OF_EACH_TYPE = {"nil": None, "bool": True, "int": 1, "negative": -1, "float": 1.0, "str": "x",
                "bin": b"x", "array": [1], "map": {"x": 1}, "ext": msgpack.ExtType(5, b"x")}

TEXT = ("str", "bin")


def _takes(place, right, *params):
    """A row for each method that has such params; ... is where the value goes."""
    def filled(part, value):
        if isinstance(part, dict):
            return {name: filled(member, value) for name, member in part.items()}
        return value if part is ... else part

    def message(method, value):
        take = [filled(part, value) for part in params]
        return [0, 9, method, [["k", 1, LIMIT], take] if method == "take_many" else take]

    methods = ["take", "peek", "refund"] + ["take_many"] * (len(params) < 4)
    return [("%s of %s" % (place, method), right, functools.partial(message, method))
            for method in methods]


# place, types that are right there (or wrong in another way), message with a value in that place
EACH_PLACE = [
    ("type", (), lambda value: [value, 9, "take", ["k"]]),
    ("msgid", ("int",), lambda value: [0, value, "take", ["k"]]),
    ("method", TEXT, lambda value: [0, 9, value, ["k"]]),
    ("params", ("array",), lambda value: [0, 9, "take", value]),
    ("a take of take_many", ("array",), lambda value: [0, 9, "take_many", [["k", 1, LIMIT], value]]),
    *_takes("key", TEXT, ...),
    *_takes("cost", ("int",), "k", ...),
    *_takes("plan", TEXT + ("nil",), "k", 1, ...),
    *_takes("rate", ("int",), "k", 1, {"rate": ...}),
    *_takes("period_ms", ("int",), "k", 1, {"rate": 1, "period_ms": ...}),
    *_takes("burst", ("int",), "k", 1, {"rate": 1, "burst": ...}),
    *_takes("options", ("map",), "k", 1, LIMIT, ...),
    *_takes("deadline_ms", ("int",), "k", 1, LIMIT, {"deadline_ms": ...}),
]

# Bytes that are no message at all.
WRONG_BYTES = [
    ("nothing", b""), ("the reserved byte", b"\xc1"), ("text", b"GET / HTTP/1.1\r\n\r\n"),
    ("zeros", b"\0" * 64), ("an array of 4 billion", b"\xdd\xff\xff\xff\xff"),
    ("a text of 4 billion bytes", b"\x94\x00\x01\xdb\xff\xff\xff\xfftake"),
    ("a map of 4 billion", b"\x94\x00\x01\xa4take\x91\xdf\xff\xff\xff\xff"),
    ("a binary key of 4 billion bytes", b"\x94\x00\x01\xa4take\x91\xc6\xff\xff\xff\xff"),
    ("10,000 open arrays", b"\x91" * 10000), ("an extension", b"\xd4\x00\x00"),
    ("two messages", msgpack.packb([0, 1, "take", ["k", 1, LIMIT]]) * 2),
    ("bytes after the message", msgpack.packb([0, 1, "take", ["k", 1, LIMIT]]) + b"\0"),
]


def at_each_door(test):
    @functools.wraps(test)
    def run(self):
        for door in DOORS:
            with self.door(door) as connection:
                test(self, connection)
    return run


class BadInputTest(ClusterTest):

    @contextlib.contextmanager
    def door(self, name):
        """A fresh connection to the router, or to the shard that owns the key."""
        url = self.cluster.router.url if name == "router" else self.cluster.owner_url(b"k")
        with self.subTest(door=name), Connection(url) as connection:
            self.level = connection.peek(b"k", 0, LIMIT).remaining
            yield connection
            self.assert_usable(connection)

    def assert_usable(self, connection):
        """And nothing that was refused has spent anything."""
        self.assertEqual(connection.peek(b"k", 0, LIMIT).remaining, self.level)

    def expect(self, connection, name, body, codes, speaks_of):
        msgid, code, text = connection.raw_error(body)
        codes = (codes,) if isinstance(codes, str) else codes
        self.assertIn(code, codes, "%s: %s" % (name, text))
        self.assertTrue(text, name)
        self.assertIn(speaks_of, text, name)
        self.assert_usable(connection)
        return msgid

    @at_each_door
    def test_wrong_messages(self, connection):
        for name, message, code, speaks_of in WRONG_MESSAGES:
            self.expect(connection, name, msgpack.packb(message), code, speaks_of)

    @at_each_door
    def test_wrong_takes(self, connection):
        for method in ("take", "peek", "refund"):
            for name, params, code, speaks_of in WRONG_TAKES:
                body = msgpack.packb([0, 77, method, params])
                if params is None:
                    body = (b"\x94\x00\x4d" + msgpack.packb(method) + b"\x93\xa1k\x01\x82" +
                            b"\xa4rate\x01\xa4rate\x02")
                self.assertEqual(self.expect(connection, method + ": " + name, body, code,
                                             speaks_of), 77, name)

    @at_each_door
    def test_a_wrong_type_in_each_place(self, connection):
        count = 0
        for place, right, message in EACH_PLACE:
            for kind, value in OF_EACH_TYPE.items():
                if kind not in right:
                    self.expect(connection, "%s for the %s" % (kind, place),
                                msgpack.packb(message(value)), BAD, "")
                    count += 1
        say("%d values of a wrong type, each refused by name" % count)

    @at_each_door
    def test_wrong_batches(self, connection):
        for name, takes, code, speaks_of in WRONG_BATCHES:
            self.expect(connection, name, msgpack.packb([0, 1, "take_many", takes]), code,
                        speaks_of)

    @at_each_door
    def test_wrong_bytes(self, connection):
        for name, body in WRONG_BYTES:
            self.expect(connection, name, body, BAD, "")

    @at_each_door
    def test_truncated_at_every_byte(self, connection):
        whole = [msgpack.packb([0, 5, "take", ["k", 1, LIMIT, {"deadline_ms": 100}]]),
                 msgpack.packb([0, 5, "take_many", [["k", 1, LIMIT], [b"k", 2, "slow"]]]),
                 msgpack.packb([0, 5, "cluster.map", []])]
        count = 0
        for body in whole:
            for size in range(len(body)):
                self.expect(connection, "%r cut at %d" % (body, size), body[:size], BAD, "")
                count += 1
        say("%d cut messages, each refused by name on a connection that went on" % count)

    @at_each_door
    def test_every_byte_flipped(self, connection):
        """Any answer will do, if it is one, and the connection lives."""
        body = msgpack.packb([0, 5, "peek", ["k", 1, LIMIT, {"deadline_ms": 100}]])
        for at in range(len(body)):
            for value in (0x00, 0x7f, 0x80, 0xc0, 0xc1, 0xc6, 0xdb, 0xdd, 0xdf, 0xff):
                reply = connection.receive(connection.send_body(
                    body[:at] + bytes([value]) + body[at + 1:]))
                self.assertEqual((reply[0], len(reply) >= 4), (1, True))

    @at_each_door
    def test_large_messages(self, connection):
        for size in ((2 << 20) + 1, 10 << 20):
            self.expect(connection, "%d bytes" % size, b"\xc6" * size, LARGE, "")
        head = msgpack.packb([0, 9, "take", ["k", 1, LIMIT]])
        self.expect(connection, "a take and 10 MB", head + b"\0" * (10 << 20), LARGE, "")

    @at_each_door
    def test_the_largest_message_that_fits(self, connection):
        size = 2 << 20
        head = b"\x94\x00\x01\xa4take\x91\xc6"
        body = head + (size - len(head) - 8).to_bytes(4, "big")
        body += b"k" * (size - len(body) - 4)
        self.expect(connection, "2 MiB", body, (LARGE, BAD), "")

    def test_beyond_64_mib_is_closed(self):
        with Connection(self.cluster.router.url) as connection:
            with self.assertRaises((Closed, ConnectionError)):
                connection.socket.sendall((65 << 20).to_bytes(8, "big"))
                connection.socket.sendall(b"\x80\0\0\1" + b"\0" * (1 << 20))
                connection.socket.settimeout(5)
                connection._take_bytes(8)

    def test_messages_that_cannot_be_answered_close(self):
        """No request id, or a wrong greeting: only that connection suffers."""
        for url in (self.cluster.router.url, self.cluster.owner_url(b"k")):
            with Connection(url) as bystander:
                for frame in (b"", b"\x80", b"\0\0\0\1"):
                    with Connection(url) as connection:
                        connection.send_frame(frame)
                        with self.assertRaises((Closed, ConnectionError), msg=frame):
                            connection.socket.settimeout(5)
                            connection._take_bytes(8)
                for greeting in (b"GET / HTTP/1.1\r\n\r\n", b"\0SP\0\0\x10\0\0", b"\0" * 8):
                    with socket.create_connection(address_of(url), timeout=5) as raw:
                        raw.sendall(greeting)
                        got = b"more"
                        seen = b""
                        try:
                            while got:
                                got = raw.recv(100)
                                seen += got
                        except ConnectionError:
                            pass
                        self.assertIn(seen, (b"", b"\0SP\0\0\x31\0\0"))
                self.assertTrue(bystander.peek(b"k", 0, LIMIT).remaining)

    @at_each_door
    def test_too_many_hops_are_dropped(self, connection):
        """As nng does it: no answer, but the connection goes on."""
        body = msgpack.packb([0, 1, "peek", [b"k", 0, LIMIT]])
        connection.send_frame(b"\0\0\0\1" * 20 + b"\x80\0\0\1" + body)
        self.assert_usable(connection)

    @at_each_door
    def test_operators_methods_elsewhere(self, connection):
        for method, params in (("cluster.init", []), ("plans.apply", [PLANS]),
                               ("plans.get", []), ("key.show", ["k"]), ("key.reset", ["k"]),
                               ("key.assign", ["k", "fast"]), ("node.status", [])):
            with self.assertRaises(RpcError) as caught:
                connection.call(method, *params)
            self.assertEqual(caught.exception.code, "FORBIDDEN", method)

    @at_each_door
    def test_what_only_a_control_endpoint_answers(self, connection):
        for params in ([], [1]):
            with self.assertRaises(RpcError) as caught:
                connection.call("cluster.refresh", *params)
            self.assertEqual(caught.exception.code, "UNKNOWN_METHOD", params)

    def test_takes_at_the_control_endpoint(self):
        with self.cluster.control() as control:
            with self.assertRaises(RpcError) as caught:
                control.take(b"k")
            self.assertIn(caught.exception.code, ("UNKNOWN_METHOD", "FORBIDDEN"))

    def test_wrong_operators_requests(self):
        plan = {"name": "p", "limits": [{"rate": 1}]}
        cases = [
            ("plans.apply", [], BAD), ("plans.apply", [5], BAD), ("plans.apply", [{}], BAD),
            ("plans.apply", [{"plans": [dict(plan, name="a b")]}], BAD),
            ("plans.apply", [{"plans": [dict(plan, limits=[])]}], BAD),
            ("plans.apply", [{"plans": [dict(plan, limits=[{"rate": 1}] * 5)]}], (BAD, LARGE)),
            ("plans.apply", [{"plans": [plan, plan]}], BAD),
            ("plans.apply", [{"default": "q", "plans": [plan]}], BAD),
            ("plans.apply", [{"plans": [dict(plan, on_unavailable="maybe")]}], BAD),
            ("plans.apply", [{"plans": [dict(plan, durability="eternal")]}], BAD),
            ("plans.apply", [{"plans": [dict(plan, colour="red")]}], BAD),
            ("plans.apply", [{"plans": [plan]}, {"bass": 1}], BAD),
            ("cluster.init", [{"slots": 1000}], (BAD, "CONFLICT")),
            ("cluster.init", [{"slots": 0}], (BAD, "CONFLICT")),
            ("cluster.init", [5], BAD),
            ("key.show", [], BAD), ("key.show", [""], BAD), ("key.show", ["k" * 257], LARGE),
            ("key.assign", ["k"], BAD), ("key.assign", ["k", 5], BAD),
            ("key.assign", ["k", "no-such-plan"], "UNKNOWN_PLAN"),
            ("key.reset", ["k", 1], BAD), ("node.status", [1], BAD), ("node.sing", [],
                                                                      "UNKNOWN_METHOD"),
        ]
        with self.cluster.owner_node(b"k").control() as control:
            before = control.call("plans.get")
            for method, params, codes in cases:
                with self.assertRaises(RpcError, msg="%s %r" % (method, params)) as caught:
                    control.call(method, *params)
                codes = (codes,) if isinstance(codes, str) else codes
                self.assertIn(caught.exception.code, codes,
                              "%s %r: %s" % (method, params, caught.exception))
            self.assertEqual(control.call("plans.get"), before)
