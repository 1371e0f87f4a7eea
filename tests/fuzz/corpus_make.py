#!/usr/bin/env python3
"""Writes the seeds of tests/fuzz/corpus/<target>/ (the files seed-*) from proto/vectors/*.json, the
example of a plans file, and a few texts below. Run it again after a change of the vectors:

    python3 tests/fuzz/corpus_make.py

Files of other names were found by the fuzzers (found-*, and those named for a bug), and stay.
"""
import glob
import json
import os
import random
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
SEED_BYTES_MAX = 1500


def vectors(name):
    with open(os.path.join(ROOT, "proto", "vectors", name + ".json"), encoding="utf-8") as file:
        return json.load(file)["vectors"]


def messages(name, keep=lambda vector: True):
    found = [bytes.fromhex(vector["hex"]) for vector in vectors(name) if keep(vector)]
    return [message for message in found if len(message) <= SEED_BYTES_MAX]


def write(target, seeds):
    folder = os.path.join(HERE, "corpus", target)
    os.makedirs(folder, exist_ok=True)
    for old in glob.glob(os.path.join(folder, "seed-*")):
        os.remove(old)
    unique = list(dict.fromkeys(seeds))
    for number, seed in enumerate(unique):
        with open(os.path.join(folder, "seed-%02d" % number), "wb") as file:
            file.write(seed)


def requests():
    """Four of each method's requests, the first and the last among them, and a sample of what is
    wrong."""
    seeds = []
    for method in dict.fromkeys(vector["method"] for vector in vectors("requests")):
        found = messages("requests", lambda vector: vector["method"] == method)
        seeds += found[:: max(1, len(found) // 3)][:3] + found[-1:]
    return seeds + messages("malformed")[::6]


def text(data):
    return [data.encode()] if isinstance(data, str) else [piece.encode() for piece in data]


def chosen(texts):
    """Texts behind the byte that chooses what reads them."""
    return [bytes([which]) + data.encode() for which, data in texts]


def words_raw(lead, words):
    """Each word as it is: behind `lead` and the number of its bytes."""
    return b"".join(bytes(lead) + bytes([len(word)]) + word.encode() for word in words)


def frames(*sizes):
    data = b""
    for size in sizes:
        data += struct.pack(">Q", size) + bytes(i & 0xFF for i in range(size if size < 300 else 0))
    return data


def events(count):
    """Some random events: the fuzzer finds its way from there."""
    source = random.Random(7)
    return [bytes(source.randrange(256) for _ in range(size)) for size in range(20, 20 + 60 * count, 60)]


PLANS = [
    "default: a\nplans:\n  a: {limits: [{rate: 1, period: 1s}]}\n",
    "plans: {a: {limits: [{rate: 100/s, burst: 200}], on_unavailable: allow, durability: relaxed}}",
    "default: none\nplans:\n  a:\n    limits: &l\n      - {rate: 0, period: 1y}\n  b: {limits: *l}\n",
    "plans:\n  a: {limits: []}\n  a: {limit: 3}\n---\nplans: {}\n",
    "default: ~\nplans: {'x y': {limits: [{rate: 1000000/d, burst: 18446744073709551616}]}}",
    "plans: &a {b: *a}\n",
    "plans: [\x00\xff",
]
CONFIGS = [
    "node_id: n1\nshards: 4\nmemory: 64MiB\nsnapshot_interval: 100ms\nidle: yes\npolicy: deny\n",
    "# nothing\n",
    "shards: 0\nshards: 5\nshrads: 1\nnode_id: ~\nidle: [1]\n",
    "node-id: 'a b'\n---\nx: y\n",
    "{policy: maybe, memory: -1, snapshot_interval: 1y}",
    "? [a]\n: b\n",
]
VALUES = [(0, "8"), (0, "65"), (1, "64MiB"), (1, "4096"), (1, "1TB"), (2, "100ms"), (2, "2m"),
          (3, "18446744073709551615"), (3, "18446744073709551616"), (4, "16777216TiB"),
          (5, "213503d"), (5, "584000h"), (5, "0"), (5, "1us"), (6, "Yes"), (6, "off"),
          (7, "n1"), (8, "allow"), (8, "allow|deny"), (8, "")]
COMMAND_LINES = [["--shards", "2", "--policy=allow"], ["--no-drain-on-stop", "--ack", "replicas:2"],
                 ["--redis-password", "x"], ["--snap", "1s", "--shard-memory=64MiB", "--node-id", ""],
                 ["--shrads=3", "x", "--", "-n", "--drain-on-stop=maybe"], ["--help"], ["--version"]]
CTL_LINES = [["take", "a", "5", "--rate", "10", "--burst=20"], ["--json", "slot", "move", "0-63", "n2/1"],
             ["backup", "--slots", "0-9,12", "--redis", "rediss://h", "f"],
             ["backup", "--redis=redis+cluster://h:1,g:2", "f"], ["take", "-h"], ["take"],
             ["plans"], ["rebalance", "--by=load", "--batch", "65"], ["take", "--hex", "00ff"],
             ["key", "assign", "a", "--none"], ["events", "--count", "x"], ["--version"], ["tkae"]]
# The program's number, of a node's a zero (its id is not given), and words for it.
PROGRAM_LINES = [([0, 0], ["--node-id", "n1", "--shards=4", "--redis", "rediss://h"]),
                 ([0, 0], ["--shrads=1"]), ([0, 0], ["--lease-ttl", "1ms", "--help"]),
                 ([1], ["--nodes", "tcp://a:1,tcp://b:2"]), ([1], ["--loops=65", "-xyz"]),
                 ([1], ["--redis=redis+cluster://h:1"])]
BENCH_LINES = [([0], ["--zipf", "nan"]), ([0], ["--keys-spread=zipf", "--connections=9"]),
               ([1], ["--records=a,b", "--limit-rate", "5"]),
               ([2], ["--ways=redis,sluice-strict"]), ([2], ["--no-sustained", "--rate=99"]),
               ([3], ["--listen", "tcp://127.0.0.1:0"]), ([0], ["--burst-every=2s"]),
               ([1], ["--records=a", "--limit-rate=1", "--limit-burst=%d" % 2**48])]
ADDRESSES = [(0, "tcp://127.0.0.1:7500"), (0, "tcp://[::1]:0"), (0, "tcp://*:65535"),
             (0, "tcp://a.example:65536"), (0, "tcp://[::ffff:127.0.0.1]:1"), (0, "ipc:///tmp/x"),
             (1, "redis://127.0.0.1:6379"), (1, "redis://me@h/2"), (1, "unix:///run/redis.sock"),
             (1, "redis://me:secret@h"), (1, "redis://[::1]:1/65535"), (1, "rediss://h"),
             (1, "redis+cluster://me@h:1,[::1]:2"),
             (2, "tcp://a:1,tcp://b:2"), (2, " tcp://a:1 , "), (2, "x")]

CLUSTER_ERRORS = ["MOVED 3999 127.0.0.1:6381", "ASK 3999 fe80::1:6381", "MOVED 3999 :6381",
                  "TRYAGAIN Multiple keys request during rehashing of slot",
                  "CLUSTERDOWN The cluster is down", "MOVED 3999 h:65536", "ASK x"]

CLUSTER_TABLES = [
    "*2\r\n*3\r\n:0\r\n:99\r\n*3\r\n$8\r\n10.0.0.1\r\n:7001\r\n$2\r\nid\r\n"
    "*3\r\n:16383\r\n:16383\r\n*2\r\n$-1\r\n:7002\r\n",
    "*1\r\n*3\r\n:2\r\n:1\r\n*2\r\n$1\r\nh\r\n:1\r\n", "*0\r\n",
    "-MOVED 3999 127.0.0.1:6381\r\n",
]

HTTP_REPLIES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nContent-Type: text/plain\r\n\r\ngranted\n",
    b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
]


def main():
    view = b"\x82\xa3map%s\xa8policies%s"
    policies = bytes.fromhex("83a776657273696f6e07a764656661756c74a466726565a5706c616e73") + \
        b"\x92\x92\xa4free\xa4deny\x93\xa4open\xa5allow\xc0"
    maps = messages("map")
    every = [data for name in ("replies", "map", "plan_set", "records") for data in messages(name)]
    write("reader", every[::3] + messages("malformed")[::12] + [b"\x91" * 8 + b"\xc0", b"\x91" * 9 + b"\xc0"])
    write("request", requests())
    write("reply", messages("replies"))
    write("record", messages("records"))
    with open(os.path.join(ROOT, "tests", "golden", "backup-format-1.sluice"), "rb") as file:
        backup = file.read()
    write("backup", [backup, backup[:-60], backup[:0x222], backup[:0x222] + backup[0x292:]])
    write("map", maps)
    write("plan_set", messages("plan_set"))
    write("cluster_view", [view % (data, policies) for data in maps[:4] + [b"\xc0"]])
    plain, one_by_one, mixed = bytes(17), bytes([1] * 16) + b"\0", bytes(range(0, 256, 16)) + b"\0"
    write("sp_input", [how + frames(*sizes) for how in (plain, one_by_one, mixed)
                       for sizes in ((0, 1, 40), (250, 3, 99, 0), (40, 2 << 20), (65 << 20,))] +
          [bytes([255] * 17) + frames(7, (2 << 20) + 1), bytes([200] * 17) + frames((2 << 20))])
    request_id = struct.pack(">I", 0x80000007)
    write("sp_header", [request_id + b"body", struct.pack(">I", 5) + request_id, bytes(32) + request_id,
                        bytes(28) + request_id, b"\0SP\0\0\x30\0\0", b"\x80"])
    with open(os.path.join(ROOT, "deploy", "plans", "example.yaml"), encoding="utf-8") as file:
        write("plans_file", text(PLANS + [file.read()]))
    write("options_value", chosen(VALUES))
    write("options_yaml", text(CONFIGS))
    write("address", chosen(ADDRESSES))
    write("command_line", ["\0".join(words).encode() for words in COMMAND_LINES])
    # Behind the last of 27 commands: no words but these. Others begin with words of each command.
    write("ctl_command_line", [b"\x1b\0\xff" + words_raw([14], line) for line in CTL_LINES] +
          [bytes([which, 0]) + data for which, data in zip(range(0, 27, 3), events(9))])
    for target, lines in (("program_options", PROGRAM_LINES), ("bench_options", BENCH_LINES)):
        write(target, [bytes(start + [255]) + words_raw([15, 5], line) for start, line in lines] +
              [bytes([which]) + data for which, data in enumerate(events(6))] +
              [bytes([which, 1, 0]) + bytes([bound]) * 30 # every number at one of its bounds
               for which in range(4) for bound in range(3)])
    write("ctl_answer", messages("replies")[::4] + maps[:2] + messages("plan_set")[:2])
    write("redis_slots", chosen([(0, error) for error in CLUSTER_ERRORS] +
                                [(1, table) for table in CLUSTER_TABLES]))
    write("shard", [bytes([start]) + data for start, data in
                    zip((2, 3, 6, 18, 0, 34, 50, 98, 178), events(9))]) # from 32: few buckets stay
    for lying in ("store", "membership", "boot", "fallback", "ctl_store"):
        seeds = [b"\0"] + [bytes([start]) + data for start, data in enumerate(events(5))]
        if lying == "ctl_store": # of a Redis Cluster, too
            seeds += [bytes([32 | seed[0]]) + seed[1:] for seed in seeds]
        write(lying, seeds)
    asked = events(5) # of a store, too: the last byte is odd
    write("router", asked + [b"\x0e" + data + b"\xf0\xf1\1\0\2\1" for data in asked])
    write("bench_input", [b"\0" + reply for reply in HTTP_REPLIES] + [
        b"\1" + head + b"".join(struct.pack("<QQQII", sent, sent + 5, 1, key, 0)
                               for sent, key in ((10, 1), (11, 1), (12, 2)))
        for head in (b"SLUICEG1" + struct.pack("<QQQ", 1, 10**9, 1) + bytes(32),
                     b"SLUICEG1" + bytes(56))])


main()
