#!/usr/bin/env python3
"""Writes proto/vectors/*.json: messages byte for byte, with their meaning.

Made with Python's msgpack and xxhash, not with our own codec, so that tests/unit/test_vectors.c
compares two independent programs. Run it again after a change of the protocol:

    pip install msgpack xxhash && python3 tests/vectors_make.py
"""
import json
import os
import struct

import msgpack
import xxhash

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "proto", "vectors")
P = msgpack.packb


def array(*parts):
    """An array of values that are encoded already."""
    count = len(parts)
    head = bytes([0x90 | count]) if count < 16 else b"\xdc" + struct.pack(">H", count)
    return head + b"".join(parts)


def request(msgid, method, params):
    return array(P(0), P(msgid), P(method), params)


def write(name, about, vectors):
    path = os.path.join(OUT, name)
    with open(path, "w", encoding="ascii") as file:
        json.dump({"about": about, "vectors": vectors}, file, indent=1)
        file.write("\n")
    print(f"{name}: {len(vectors)}")


# --- requests -----------------------------------------------------------------------------------


def limit(rate, period_ms, burst):
    return {"rate": rate, "period_ms": period_ms, "burst": burst}


def take(key, cost=1, plan=None):
    return {"key_hex": key.hex(), "cost": cost, "plan": plan}


def canonical_take(key, cost, plan, deadline_ms=None):
    """As our own encoder writes it: key as binary, plan only if there is one or options follow."""
    parts = [P(key), P(cost)]
    if plan is not None or deadline_ms is not None:
        parts.append(P(plan))
    if deadline_ms is not None:
        parts.append(P({"deadline_ms": deadline_ms}))
    return array(*parts)


def take_requests():
    out = []
    plans = [None, "free", "p" * 63, limit(100, 1000, 200), limit(1, 34560000000, 1),
             limit(2**48, 1, 2**48)]
    keys = [b"a", b"alice", b"\x00\xff\x80", b"k" * 256, "schl\u00fcssel".encode()]
    msgid = 0
    for verb in ("take", "peek", "refund"):
        for key in keys:
            for plan in plans:
                for cost, deadline in ((1, None), (0, 1), (2**48, 60000), (300, 250)):
                    if verb != "take" and (len(key) > 8 or cost > 300):
                        continue
                    msgid = (msgid * 48271 + 11) % 2**32
                    out.append({
                        "name": f"{verb} {len(out)}", "method": verb, "msgid": msgid,
                        "take": take(key, cost, plan), "deadline_ms": deadline or 250,
                        "encodes": True,
                        "has_deadline": deadline is not None,
                        "hex": request(msgid, verb,
                                       canonical_take(key, cost, plan, deadline)).hex()})
    return out


def loose_requests():
    """Other ways to say the same: strings or binaries, integers of any width, elements left off."""
    def one(name, params, meaning, deadline=250):
        return {"name": name, "method": "take", "msgid": 7, "take": meaning,
                "deadline_ms": deadline, "encodes": False,
                "hex": request(7, "take", params).hex()}
    out = [
        one("key alone", array(P("a")), take(b"a")),
        one("key as text", array(P("a"), P(1)), take(b"a")),
        one("key as str 8", array(b"\xd9\x01a"), take(b"a")),
        one("key as str 16", array(b"\xda\x00\x01a"), take(b"a")),
        one("key as str 32", array(b"\xdb\x00\x00\x00\x01a"), take(b"a")),
        one("key as bin 16", array(b"\xc5\x00\x01a"), take(b"a")),
        one("key as bin 32", array(b"\xc6\x00\x00\x00\x01a"), take(b"a")),
        one("plan nil", array(P(b"a"), P(1), P(None)), take(b"a")),
        one("plan as binary", array(P(b"a"), P(1), P(b"free")), take(b"a", 1, "free")),
        one("no options", array(P(b"a"), P(1), P(None), P({})), take(b"a")),
        one("limit, period left out", array(P(b"a"), P(1), P({"rate": 5, "burst": 9})),
            take(b"a", 1, limit(5, 1000, 9))),
        one("limit, burst left out", array(P(b"a"), P(1), P({"period_ms": 60000, "rate": 5})),
            take(b"a", 1, limit(5, 60000, 5))),
        one("limit, rate alone", array(P(b"a"), P(1), P({"rate": 5})),
            take(b"a", 1, limit(5, 1000, 5))),
        one("options' name as binary", array(P(b"a"), P(1), P(None), P({b"deadline_ms": 9})),
            take(b"a"), 9),
        one("params as array 16", b"\xdc\x00\x01" + P(b"a"), take(b"a")),
        one("params as array 32", b"\xdd\x00\x00\x00\x01" + P(b"a"), take(b"a")),
        one("options as map 16", array(P(b"a"), P(1), P(None), b"\xde\x00\x01" +
                                       P("deadline_ms") + P(9)), take(b"a"), 9),
        one("options as map 32", array(P(b"a"), P(1), P(None), b"\xdf\x00\x00\x00\x01" +
                                       P("deadline_ms") + P(9)), take(b"a"), 9),
    ]
    for name, encoded in (("uint 8", "cc05"), ("uint 16", "cd0005"), ("uint 32", "ce00000005"),
                          ("uint 64", "cf0000000000000005"), ("int 8", "d005"),
                          ("int 16", "d10005"), ("int 32", "d200000005"),
                          ("int 64", "d30000000000000005")):
        out.append(one(f"cost as {name}", array(P(b"a"), bytes.fromhex(encoded)), take(b"a", 5)))
    wide = array(b"\xd3" + bytes(8), b"\xcf" + struct.pack(">Q", 7), b"\xda\x00\x04take",
                 array(P(b"a")))
    out.append({"name": "wide head", "method": "take", "msgid": 7, "take": take(b"a"),
                "deadline_ms": 250, "encodes": False, "hex": wide.hex()})
    return out


def many_requests():
    lists = [[], [take(b"a")], [take(b"a"), take(b"b", 0, "free"),
                                take(b"\xff", 2**48, limit(7, 1000, 9))],
             [take(b"k%d" % i, i) for i in range(20)]]
    out = []
    for takes in lists:
        params = array(*[canonical_take(bytes.fromhex(t["key_hex"]), t["cost"], t["plan"])
                         for t in takes])
        out.append({"name": f"take_many of {len(takes)}", "method": "take_many", "msgid": 1,
                    "takes": takes, "encodes": True,
                    "hex": request(1, "take_many", params).hex()})
    out.append({"name": "take_many, elements left off", "method": "take_many", "msgid": 1,
                "takes": [take(b"a"), take(b"b", 2)], "encodes": False,
                "hex": request(1, "take_many", P([["a"], [b"b", 2, None]])).hex()})
    return out


PLAN_SET = {"default": "free", "plans": [
    {"name": "free", "limits": [limit(10, 1000, 20)], "on_unavailable": "deny",
     "durability": "strict"},
    {"name": "premium", "limits": [limit(100, 1000, 200), limit(1000000, 86400000, 1000000)],
     "on_unavailable": "allow", "durability": "relaxed"}]}


def control_requests():
    def one(name, method, params, **meaning):
        return {"name": name, "method": method, "msgid": 2**32 - 1, "encodes": False,
                "hex": request(2**32 - 1, method, P(params)).hex(), **meaning}
    return [
        one("cluster.map", "cluster.map", []),
        one("cluster.status", "cluster.status", []),
        one("plans.get", "plans.get", []),
        one("node.status", "node.status", []),
        one("cluster.init", "cluster.init", [], slots=1024),
        one("cluster.init, options empty", "cluster.init", [{}], slots=1024),
        one("cluster.init of 1", "cluster.init", [{"slots": 1}], slots=1),
        one("cluster.init of 16384", "cluster.init", [{"slots": 16384}], slots=16384),
        one("key.show", "key.show", [b"\x00k"], key_hex="006b"),
        one("key.reset", "key.reset", ["k"], key_hex="6b"),
        one("key.assign", "key.assign", [b"k", "premium"], key_hex="6b", plan="premium"),
        one("key.assign nil", "key.assign", [b"k", None], key_hex="6b", plan=None),
        one("plans.apply", "plans.apply", [PLAN_SET], plan_set=PLAN_SET),
        one("plans.apply on a base", "plans.apply", [PLAN_SET, {"base": 12}], plan_set=PLAN_SET,
            base=12),
        one("cluster.refresh", "cluster.refresh", [2**63 - 1], number=2**63 - 1),
        one("cluster.refresh of nothing known", "cluster.refresh", [], number=0),
        one("cluster.events", "cluster.events", [], number=100),
        one("cluster.events, one", "cluster.events", [1], number=1),
        one("cluster.events, all", "cluster.events", [1000], number=1000),
        one("slots.move", "slots.move", [[7], "n2", 0], slots=[7], node="n2", shard=0),
        one("slots.move of many", "slots.move", [[0, 16383, 5], b"n.3", 1023],
            slots=[0, 16383, 5], node="n.3", shard=1023),
        one("slots.list", "slots.list", []),
        one("node.weight", "node.weight", ["n1", 10000], node="n1", weight=10000),
        one("node.weight, drained", "node.weight", [b"n1", 0], node="n1", weight=0),
        one("node.remove", "node.remove", ["n" * 63], node="n" * 63),
        one("rebalance.get", "rebalance.get", []),
        one("rebalance.put", "rebalance.put", [0, {"state": "moving", "done": [1, None]}],
            number=0, value_hex=P({"state": "moving", "done": [1, None]}).hex()),
        one("rebalance.put nil", "rebalance.put", [9, None], number=9, value_hex="c0"),
        one("rebalance.put of 4096 bytes", "rebalance.put", [2**32, b"v" * 4093], number=2**32,
            value_hex=P(b"v" * 4093).hex()),
    ]


# --- requests that are wrong ----------------------------------------------------------------------


def malformed():
    out = []

    def add(name, data, code, text, msgid=None):
        out.append({"name": name, "hex": data.hex(), "code": code, "text": text, "msgid": msgid})

    bad = "BAD_REQUEST"
    add("nothing", b"", bad, "expected the array")
    add("no array", P({}), bad, "expected the array")
    add("an array of 3", P([0, 1, "take"]), bad, "got an array of 3")
    add("an array of 5", P([0, 1, "take", [], 0]), bad, "got an array of 5")
    add("an array longer than the message", b"\x94\x00", bad, "expected the array")
    add("a reply", P([1, 1, "take", []]), bad, "type")
    add("type -1", P([-1, 1, "take", []]), bad, "type")
    add("msgid of 33 bits", P([0, 2**32, "take", []]), bad, "msgid")
    add("msgid negative", P([0, -1, "take", []]), bad, "msgid")
    add("msgid text", P([0, "1", "take", []]), bad, "msgid")
    add("method is a number", P([0, 9, 9, []]), bad, "method", 9)
    add("no such method", P([0, 9, "give", []]), "UNKNOWN_METHOD", "\"give\"", 9)
    add("method of another case", P([0, 9, "Take", []]), "UNKNOWN_METHOD", "\"Take\"", 9)
    add("method not UTF-8", array(P(0), P(9), P(b"\xff\xfe"), P([])), "UNKNOWN_METHOD", "", 9)

    def params(name, method, value, code, text):
        data = value if isinstance(value, bytes) else P(value)
        add(name, request(5, method, data), code, text, 5)

    for verb in ("take", "peek", "refund"):
        params(f"{verb}: params no array", verb, {}, bad, "params: expected")
        params(f"{verb}: no key", verb, [], bad, "params: expected")
        params(f"{verb}: five params", verb, ["k", 1, None, {}, 1], bad, "params: expected")
        params(f"{verb}: key a number", verb, [7], bad, "params[0]")
        params(f"{verb}: key nil", verb, [None], bad, "params[0]")
        params(f"{verb}: key empty", verb, [""], bad, "params[0]")
        params(f"{verb}: key of 257 bytes", verb, ["k" * 257], "TOO_LARGE", "params[0]")
        params(f"{verb}: cost negative", verb, ["k", -1], bad, "params[1]")
        params(f"{verb}: cost a float", verb, ["k", 1.0], bad, "params[1]")
        params(f"{verb}: cost text", verb, ["k", "1"], bad, "params[1]")
        params(f"{verb}: cost nil", verb, ["k", None], bad, "params[1]")
        params(f"{verb}: cost above 2^48", verb, ["k", 2**48 + 1], "TOO_LARGE", "params[1]")
        params(f"{verb}: cost 2^64-1", verb, ["k", 2**64 - 1], "TOO_LARGE", "params[1]")
        params(f"{verb}: plan a number", verb, ["k", 1, 7], bad, "params[2]")
        params(f"{verb}: plan with a blank", verb, ["k", 1, "a b"], "UNKNOWN_PLAN", "params[2]")
        params(f"{verb}: plan empty", verb, ["k", 1, ""], "UNKNOWN_PLAN", "params[2]")
        params(f"{verb}: plan of 64 bytes", verb, ["k", 1, "p" * 64], "UNKNOWN_PLAN", "params[2]")
        params(f"{verb}: options an array", verb, ["k", 1, None, []], bad, "params[3]")
        params(f"{verb}: unknown option", verb, ["k", 1, None, {"dealine_ms": 1}], bad,
               "\"dealine_ms\"")
        params(f"{verb}: option's name a number", verb, ["k", 1, None, {1: 1}], bad, "params[3]")
        params(f"{verb}: deadline 0", verb, ["k", 1, None, {"deadline_ms": 0}], bad,
               "deadline_ms")
        params(f"{verb}: deadline 60001", verb, ["k", 1, None, {"deadline_ms": 60001}], bad,
               "deadline_ms")
    for name, terms, text in (
            ("no rate", {}, "rate"), ("rate 0", {"rate": 0}, "rate"),
            ("rate negative", {"rate": -1}, "rate"), ("rate text", {"rate": "9"}, "rate"),
            ("rate above 2^48", {"rate": 2**48 + 1}, "rate"),
            ("burst 0", {"rate": 1, "burst": 0}, "burst"),
            ("burst above 2^48", {"rate": 1, "burst": 2**48 + 1}, "burst"),
            ("period 0", {"rate": 1, "period_ms": 0}, "period"),
            ("period of 401 days", {"rate": 1, "period_ms": 401 * 86400000}, "period"),
            ("refills in 80 years", {"rate": 1, "period_ms": 86400000 * 365, "burst": 80}, "73"),
            ("unknown member", {"rate": 1, "brust": 1}, "\"brust\"")):
        params(f"inline limit: {name}", "take", ["k", 1, terms], bad, text)
    params("bytes left over", "take", array(P("k")) + b"\x00", bad, "left over")
    params("take_many: a number", "take_many", 1, bad, "params: expected")
    params("take_many: of numbers", "take_many", [1, 2], bad, "params[0]")
    params("take_many: an empty take", "take_many", [["k"], []], bad, "params[1]")
    params("take_many: options", "take_many", [["k", 1, None, {}]], bad, "params[0]")
    params("take_many: a bad cost", "take_many", [["k"]] * 11 + [["k", -1]], bad, "params[11][1]")
    params("take_many: a bad plan", "take_many", [["k", 1, "?"]], "UNKNOWN_PLAN", "params[0][2]")
    params("take_many: 4097", "take_many", [["k"]] * 4097, "TOO_LARGE", "4096")
    params("cluster.map: a param", "cluster.map", [1], bad, "params")
    params("cluster.status: a map", "cluster.status", {}, bad, "params")
    params("cluster.init: slots 0", "cluster.init", [{"slots": 0}], bad, "slots")
    params("cluster.init: slots 3", "cluster.init", [{"slots": 3}], bad, "slots")
    params("cluster.init: slots 32768", "cluster.init", [{"slots": 32768}], bad, "slots")
    params("cluster.init: unknown option", "cluster.init", [{"slot": 4}], bad, "slots")
    params("key.show: no key", "key.show", [], bad, "params")
    params("key.reset: key empty", "key.reset", [""], bad, "params[0]")
    params("key.assign: no plan", "key.assign", ["k"], bad, "params")
    params("key.assign: plan a number", "key.assign", ["k", 1], bad, "params[1]")
    params("key.assign: plan ?", "key.assign", ["k", "?"], "UNKNOWN_PLAN", "params[1]")
    for name, change, text in (
            ("default unknown", {"default": "gold"}, "gold"),
            ("default empty", {"default": ""}, "default"),
            ("unknown member", {"defualt": "free"}, "defualt"),
            ("plans no array", {"plans": {}}, "plans"),
            ("a plan no map", {"plans": [1]}, "plans[0]"),
            ("a plan without a name", {"plans": [{"limits": [limit(1, 1, 1)]}]}, "no name"),
            ("a plan without limits", {"plans": [{"name": "free"}]}, "no limits"),
            ("a plan of 0 limits", {"plans": [{"name": "free", "limits": []}]}, "limits"),
            ("a plan of 5 limits", {"plans": [{"name": "free", "limits": [limit(1, 1, 1)] * 5}]},
             "limits"),
            ("a durability unknown", {"plans": [dict(PLAN_SET["plans"][0], durability="solid")]},
             "strict or relaxed"),
            ("two plans of one name", {"plans": [PLAN_SET["plans"][0]] * 2}, "two plans"),
            ("a name with a blank", {"plans": [dict(PLAN_SET["plans"][0], name="a b")]}, "name"),
            ("a policy unknown", {"plans": [dict(PLAN_SET["plans"][0], on_unavailable="ask")]},
             "ask"),
            ("a limit's member unknown",
             {"plans": [{"name": "free", "limits": [{"rate": 1, "per": 1}]}]}, "per")):
        params(f"plans.apply: {name}", "plans.apply", [dict(PLAN_SET, **change)], bad, text)
    params("plans.apply: base text", "plans.apply", [PLAN_SET, {"base": "1"}], bad, "base")
    params("plans.apply: nothing", "plans.apply", [], bad, "params")
    malformed_control(params)
    return out


def malformed_control(params):
    """Of the methods that move slots and weigh nodes."""
    bad = "BAD_REQUEST"
    for method, most in (("cluster.refresh", None), ("cluster.events", 1001)):
        params(f"{method}: no array", method, {}, bad, "params: expected")
        params(f"{method}: two params", method, [1, 2], bad, "params: expected")
        params(f"{method}: text", method, ["1"], bad, "params[0]")
        params(f"{method}: negative", method, [-1], bad, "params[0]")
        if most is not None:
            params(f"{method}: 0", method, [0], bad, "params[0]")
            params(f"{method}: too many", method, [most], bad, "from 1 to 1000")
    for method in ("slots.list", "rebalance.get"):
        params(f"{method}: a param", method, [1], bad, "params")
    for name, value, text in (
            ("nothing", [], "params: expected"),
            ("no shard", [[1], "n1"], "params: expected"),
            ("four params", [[1], "n1", 0, 0], "params: expected"),
            ("slots a number", [1, "n1", 0], "params[0]"),
            ("no slots", [[], "n1", 0], "params[0]"),
            ("more than there can be", [[0] * 16385, "n1", 0], "params[0]"),
            ("a slot beyond all", [[1, 16384], "n1", 0], "params[0][1]"),
            ("a slot negative", [[-1], "n1", 0], "params[0][0]"),
            ("a slot that is text", [["1"], "n1", 0], "params[0][0]"),
            ("a slot twice", [[4, 5, 4], "n1", 0], "slot 4 stands twice"),
            ("node a number", [[1], 1, 0], "params[1]"),
            ("node empty", [[1], "", 0], "params[1]"),
            ("node with a blank", [[1], "n 1", 0], "params[1]"),
            ("node of 64 bytes", [[1], "n" * 64, 0], "params[1]"),
            ("shard negative", [[1], "n1", -1], "params[2]"),
            ("shard beyond all", [[1], "n1", 2**32], "params[2]"),
            ("shard nil", [[1], "n1", None], "params[2]")):
        params(f"slots.move: {name}", "slots.move", value, bad, text)
    for name, value, text in (
            ("no weight", ["n1"], "params: expected"),
            ("three params", ["n1", 1, 1], "params: expected"),
            ("node a number", [1, 1], "params[0]"), ("node ?", ["?", 1], "params[0]"),
            ("weight 10001", ["n1", 10001], "params[1]"), ("weight -1", ["n1", -1], "params[1]"),
            ("weight a float", ["n1", 1.5], "params[1]"),
            ("weight nil", ["n1", None], "params[1]")):
        params(f"node.weight: {name}", "node.weight", value, bad, text)
    params("node.remove: nothing", "node.remove", [], bad, "params: expected")
    params("node.remove: two", "node.remove", ["n1", "n2"], bad, "params: expected")
    params("node.remove: nil", "node.remove", [None], bad, "params[0]")
    params("rebalance.put: no value", "rebalance.put", [1], bad, "params: expected")
    params("rebalance.put: number text", "rebalance.put", ["1", {}], bad, "params: expected")
    params("rebalance.put: number negative", "rebalance.put", [-1, {}], bad, "params: expected")
    params("rebalance.put: 4097 bytes", "rebalance.put", [1, b"v" * 4094], bad, "4096")
    params("rebalance.put: bytes left over", "rebalance.put", P([1, {}]) + b"\xc0", bad,
           "left over")


# --- replies --------------------------------------------------------------------------------------


def result(allowed, remaining, retry, reset, full, flags):
    return {"allowed": allowed, "remaining": remaining, "retry_after_us": retry,
            "reset_after_us": reset, "limit": full, "flags": flags}


def replies():
    out = []

    def add(name, data, encodes, **meaning):
        out.append({"name": name, "hex": data.hex(), "encodes": encodes, **meaning})

    for i, one in enumerate([
            result(True, 19, 0, 100000, 20, 0), result(False, 0, 1500000, 2000000, 20, 0),
            result(False, 20, -1, 0, 20, 0), result(True, 0, 0, 0, 0, 1),
            result(True, 2**48, 0, 2**51, 2**48, 0), result(False, 128, 255, 65536, 2**32, 0)]):
        add(f"result {i}", P([1, i * 1000, None, list(one.values())]), True, msgid=i * 1000,
            result=one)
    one = result(True, 1, 0, 2, 3, 0)
    add("result that grew", P([1, 4, None, list(one.values()) + [{"new": [1.5]}, "x"]]), False,
        msgid=4, result=one)
    add("results", P([1, 5, None, [list(one.values()),
                                   ["UNAVAILABLE", "later", None]]]), False, msgid=5,
        results=[one, {"error": "UNAVAILABLE", "message": "later"}])
    for code in ("BAD_REQUEST", "UNKNOWN_METHOD", "UNKNOWN_PLAN", "TOO_LARGE", "UNAVAILABLE",
                 "OVERLOADED", "FORBIDDEN", "CONFLICT"):
        add(f"error {code}", P([1, 6, [code, "why", None], None]), True, msgid=6,
            error={"code": code, "message": "why"})
    add("error without msgid", P([1, None, ["BAD_REQUEST", "?", None], None]), True, msgid=None,
        error={"code": "BAD_REQUEST", "message": "?"})
    add("error MOVED", P([1, 8, ["MOVED", "there", [1023, 7, "tcp://127.0.0.1:7501"]], None]),
        True, msgid=8, error={"code": "MOVED", "message": "there", "moved": {
            "slot": 1023, "epoch": 7, "endpoint": "tcp://127.0.0.1:7501"}})
    add("error MOVED to nobody", P([1, 8, ["MOVED", "there", [0, 2**32, None]], None]), True,
        msgid=8, error={"code": "MOVED", "message": "there",
                        "moved": {"slot": 0, "epoch": 2**32, "endpoint": None}})
    add("error of a later version", P([1, 8, ["TEAPOT", "short", {"a": [1]}, "more"], None]),
        False, msgid=8, error={"code": "UNAVAILABLE", "message": "short"})
    for name, value in (("a request", [0, 1, "take", []]), ("three elements", [1, 1, None]),
                        ("no array", {}), ("msgid text", [1, "1", None, 1]),
                        ("an error of two", [1, 1, ["BAD_REQUEST", "x"], None]),
                        ("an error that is text", [1, 1, "BAD_REQUEST", None])):
        add(f"no reply: {name}", P(value), False, wrong=True)
    return out


# --- records, maps, plans, slots ------------------------------------------------------------------


def records():
    out = []
    for plan, generation, tat in (
            ("free", 1, [0]), ("p" * 63, 2**32 - 1, [1, 2**32, 2**53, 2**62]),
            ("premium", 7, [1700000000000000000, 1700000000000000001]),
            (limit(10, 1000, 20), 0, [1700000000000000000]),
            (limit(2**48, 34560000000, 2**48), 0, [2**61]),
            (limit(3, 1000, 5), 0, [[1700000000333333333, 1]]),
            ("two", 2, [1700000000000000000, [2**63 - 1, 2**48 - 1]])):
        stored = list(plan.values()) if isinstance(plan, dict) else plan
        out.append({"name": f"record {len(out)}", "plan": plan, "generation": generation,
                    "tat_ns": tat, "hex": P([1, stored, generation] + tat).hex()})
    for name, value, text in (
            ("empty", b"", "expected"), ("no array", P({}), "expected"),
            ("schema 2", P([2, "free", 1, 0]), "schema 2"),
            ("no times", P([1, "free", 1]), "elements"),
            ("five times", P([1, "free", 1, 0, 0, 0, 0, 0]), "elements"),
            ("no plan's name", P([1, "a b", 1, 0]), "name"),
            ("plan a number", P([1, 7, 1, 0]), "record[1]"),
            ("a limit of two", P([1, [1, 1], 0, 0]), "record[1]"),
            ("a limit of rate 0", P([1, [0, 1, 1], 0, 0]), "rate"),
            ("generation negative", P([1, "free", -1, 0]), "record[2]"),
            ("generation of 33 bits", P([1, "free", 2**32, 0]), "record[2]"),
            ("a time negative", P([1, "free", 1, -1]), "record[3]"),
            ("a time beyond 2^63", P([1, "free", 1, 2**63]), "record[3]"),
            ("a time of three parts", P([1, "free", 1, [1, 2, 3]]), "record[3]"),
            ("a part beyond 2^48", P([1, "free", 1, [1, 2**48]]), "record[3]"),
            ("two times of an inline limit", P([1, [1, 1, 1], 0, 0, 0]), "inline"),
            ("bytes left over", P([1, "free", 1, 0]) + b"\x00", "left over")):
        out.append({"name": name, "hex": value.hex(), "wrong": text})
    return out


MAP = {"format": 1, "epoch": 7, "slots": 8,
       "nodes": [["n1", "tcp://127.0.0.1:7590", 100], ["n2", "tcp://127.0.0.1:7690", 250]],
       "shards": [[0, 0, "tcp://127.0.0.1:7500"], [0, 1, "tcp://127.0.0.1:7501"],
                  [1, 0, "tcp://127.0.0.1:7600"]],
       "owners": [[3, 0], [2, 1], [1, None], [2, 2]]}


def maps():
    one_slot = {"format": 1, "epoch": 2**63 - 1, "slots": 1, "nodes": [["n", "ipc:///tmp/n", 0]],
                "shards": [[0, 0, "ipc:///tmp/n0"]], "owners": [[1, 0]]}
    nobody = {"format": 1, "epoch": 1, "slots": 16384, "nodes": [], "shards": [], "owners": [[16384, None]]}
    out = [{"name": name, "map": value, "encodes": True, "hex": P(value).hex()}
           for name, value in (("three shards", MAP), ("one slot", one_slot),
                               ("owned by nobody", nobody))]
    with_id = {"format": 1, "cluster": "00ff1234abcd9876"}
    with_id.update(MAP)
    out.append({"name": "of a cluster that has an id", "map": with_id, "encodes": True,
                "hex": P(with_id).hex()})
    out.append({"name": "with a member of a later version", "map": MAP, "encodes": False,
                "hex": P(dict(MAP, zones=[{"a": [1, -2, b"x"]}])).hex()})
    grown = [node + [{"zone": "a"}, None] for node in MAP["nodes"]]
    out.append({"name": "nodes with parts of a later version", "map": MAP, "encodes": False,
                "hex": P(dict(MAP, nodes=grown)).hex()})
    out.append({"name": "owners first", "map": MAP, "encodes": False,
                "hex": P(dict(reversed(MAP.items()))).hex()})
    for name, change in (
            ("a later format", {"format": 2}), ("format 0", {"format": 0}),
            ("a cluster's id of 15 digits", {"cluster": "00ff1234abcd987"}),
            ("a cluster's id with a capital", {"cluster": "00FF1234abcd9876"}),
            ("a cluster's id that is none", {"cluster": 7}), ("epoch 0", {"epoch": 0}), ("epoch negative", {"epoch": -1}),
            ("slots 6", {"slots": 6, "owners": [[6, 0]]}),
            ("too few owners", {"owners": [[7, 0]]}), ("too many owners", {"owners": [[9, 0]]}),
            ("a run of 0", {"owners": [[8, 0], [0, 1]]}),
            ("an owner that is no shard", {"owners": [[8, 3]]}),
            ("a run without an owner", {"owners": [[8]]}),
            ("a shard of no node", {"shards": [[2, 0, "tcp://a:1"]], "owners": [[8, 0]]}),
            ("a shard twice", {"shards": [[0, 0, "tcp://a:1"], [0, 0, "tcp://a:2"]],
                               "owners": [[8, 0]]}),
            ("two nodes of one id", {"nodes": [["n1", "tcp://a:1", 1], ["n1", "tcp://a:2", 1]]}),
            ("a node without an endpoint", {"nodes": [["n1", "", 1], ["n2", "tcp://a:1", 1]]}),
            ("a node's id with a blank", {"nodes": [["n 1", "tcp://a:1", 1],
                                                    ["n2", "tcp://a:1", 1]]}),
            ("a node without a weight", {"nodes": [["n1", "tcp://a:1"], ["n2", "tcp://a:1", 1]]}),
            ("a weight above 10000", {"nodes": [["n1", "tcp://a:1", 10001],
                                                ["n2", "tcp://a:1", 1]]}),
            ("a weight negative", {"nodes": [["n1", "tcp://a:1", -1], ["n2", "tcp://a:1", 1]]}),
            ("too many slots", {"slots": 32768, "owners": [[32768, 0]]})):
        out.append({"name": name, "wrong": True, "hex": P(dict(MAP, **change)).hex()})
    return out


def plan_sets():
    def stored(version, default, plans):
        return {"version": version, "default": default, "plans": plans}

    def plan(name, limits, generation, history, policy="deny"):
        return {"name": name, "on_unavailable": policy, "durability": "relaxed", "limits": limits,
                "generation": generation, "history": history}

    empty = stored(0, None, [])
    two = stored(9, "free", [
        plan("free", [limit(10, 1000, 20)], 4, [[2, [[5, 1000, 5]]], [1, [[1, 1, 1], [2, 2, 2]]]]),
        plan("premium", [limit(100, 1000, 200), limit(1000000, 86400000, 1000000)], 9, [],
             "allow")])
    long_history = stored(2**32 - 1, None, [
        plan("x" * 63, [limit(2**48, 1, 2**48)] * 4, 2**32 - 1,
             [[g, [[g, 1, 1]]] for g in range(8, 0, -1)])])
    out = [{"name": name, "plan_set": value, "encodes": True, "hex": P(value).hex()}
           for name, value in (("none yet", empty), ("two plans", two),
                               ("the longest history", long_history))]
    applied = stored(0, PLAN_SET["default"],
                     [dict(p, generation=0, history=[]) for p in PLAN_SET["plans"]])
    out.append({"name": "as an operator sends it", "plan_set": applied, "encodes": False,
                "hex": P(PLAN_SET).hex()})
    return out


def slots():
    out = []
    for key in [b"a", b"alice", b"203.0.113.9", b"\x00", b"\xff\x00\xff", b"k" * 16, b"k" * 17,
                b"k" * 128, b"k" * 129, b"k" * 240, b"k" * 241, bytes(range(256)),
                b"7c9e6679-7425-40de-944b-e07fc1f90ae7"]:
        value = xxhash.xxh3_64_intdigest(key)
        out.append({"name": f"key of {len(key)} bytes", "key_hex": key.hex(),
                    "hash_hex": f"{value:016x}",
                    "slot": {str(n): value & (n - 1) for n in (1, 1024, 16384)}})
    return out


def main():
    os.makedirs(OUT, exist_ok=True)
    write("requests.json", "Requests that are right. encodes: the shortest form, as our own "
          "clients write it.", take_requests() + loose_requests() + many_requests() +
          control_requests())
    write("malformed.json", "Requests that are wrong: the code to expect, words of the message, "
          "and the msgid to answer with (null: it could not be read).", malformed())
    write("replies.json", "Replies. wrong: it is none.", replies())
    write("records.json", "Stored records of buckets. wrong: words of the reason.", records())
    write("map.json", "Maps: the member `map` of cluster.map. wrong: it is none.", maps())
    write("plan_set.json", "Plan sets: plans.apply and plans.get.", plan_sets())
    write("slots.json", "The slot of a key among so many.", slots())


if __name__ == "__main__":
    main()
