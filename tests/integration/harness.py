"""Real clusters for tests: a private Redis, nodes and routers as processes on free loopback ports.

Everything lives in one temporary directory and ends with the test, whatever happens: processes are
ended by the pid that was started here, and they die with this process if it is killed.
"""

import ctypes
import functools
import multiprocessing
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from redis_client import Redis as RedisClient
from sp_client import Closed, RpcError, Take, connect_when_up

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Set by run.py.
BIN = os.environ.get("SLUICE_TEST_BIN", os.path.join(REPO, "build/dev/bin"))
QUICK = os.environ.get("SLUICE_TEST_QUICK") == "1"
SOAK = os.environ.get("SLUICE_TEST_SOAK") == "1"
UNDER = os.environ.get("SLUICE_TEST_UNDER", "").split()
SMOKE = os.environ.get("SLUICE_TEST_SMOKE") == "1"

# Sanitizers slow the programs down by about this much.
SLOW = 5 if SMOKE else 1

# Seconds for anything to become ready. Ample: it takes well under one.
READY_S = 20 * SLOW

SNAPSHOT_S = 0.1

SANITIZER_REPORT = re.compile(
    rb"ERROR: AddressSanitizer|ERROR: LeakSanitizer|WARNING: ThreadSanitizer|runtime error:"
    rb"|Assertion .* failed"
)

# A token in an hour: what was spent stays spent for the length of a test.
HOUR_MS = 3600 * 1000
INLINE = {"rate": 1, "period_ms": HOUR_MS, "burst": 7}
PLANS = {
    "default": "slow",
    "plans": [
        {"name": "slow", "limits": [{"rate": 1, "period_ms": HOUR_MS, "burst": 1000}]},
        {"name": "open", "limits": [{"rate": 1, "period_ms": HOUR_MS, "burst": 1000}],
         "on_unavailable": "allow"},
        {"name": "fast", "limits": [{"rate": 100, "period_ms": 1000, "burst": 20}]},
        {"name": "two", "limits": [{"rate": 100, "period_ms": 1000, "burst": 10},
                                   {"rate": 1, "period_ms": HOUR_MS, "burst": 25}]},
    ],
}

RELAXED_PLANS = dict(PLANS, plans=[dict(plan, durability="relaxed") for plan in PLANS["plans"]])


def say(text):
    """A key figure of a test: run.py shows these lines."""
    print("  " + text, flush=True)


def wait_for(what, condition, within_s=READY_S, every_s=0.02):
    """Waits until condition() is true, and returns what it returned."""
    end = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("not within %.1f s: %s" % (within_s, what))
        time.sleep(every_s)


class Metronome:
    """How late the system lets a sleeper run, measured by a process that does nothing else: tests
    of deadlines allow for a machine that others keep busy."""

    TICK_S = 0.005

    # Ticks later than this are kept, the last so many of them.
    KEPT_S, KEPT = 0.01, 16384

    def __init__(self):
        self.worst = multiprocessing.Value("d", 0.0, lock=False)
        self.late = multiprocessing.Array("d", 2 * self.KEPT, lock=False)  # (ended at, late)
        multiprocessing.Process(target=self._run, daemon=True).start()

    def _run(self):
        _die_with_parent()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        kept = 0
        while True:
            began = time.monotonic()
            time.sleep(self.TICK_S)
            now = time.monotonic()
            late_s = now - began - self.TICK_S
            if late_s > self.worst.value:
                self.worst.value = late_s
            if late_s > self.KEPT_S:
                at = kept % self.KEPT * 2
                self.late[at:at + 2] = [now, late_s]
                kept += 1

    def reset(self):
        self.worst.value = 0.0

    def slack_s(self):
        """Four processes take part in an answer or a write: client, router, node, Redis."""
        return 4 * self.worst.value

    def slack_between_s(self, begin, end):
        """The same for something that took from begin to end: of the ticks that overlap it."""
        ticks = zip(self.late[0::2], self.late[1::2])
        return 4 * max((late_s for ended, late_s in ticks
                        if ended > begin and ended - late_s < end), default=0.0)


@functools.lru_cache
def metronome():
    return Metronome()


# --- ports ---

# A server of a Redis Cluster listens so far above its port for the others.
BUS_APART = 10000
BUS_PORTS = range(10000, 13000)

# Below those that the system gives to clients, and not those of Redis Clusters.
PORTS = [port for port in range(13000, 31000)
         if port not in range(BUS_PORTS.start + BUS_APART, BUS_PORTS.stop + BUS_APART)]

_given = set()


def lane_of(ports):
    """This process's share of the ports, where several run tests at once (run.py --jobs)."""
    lane, lanes = (int(word) for word in os.environ.get("SLUICE_TEST_LANE", "0/1").split("/"))
    return ports[lane * len(ports) // lanes:(lane + 1) * len(ports) // lanes]


def free_ports(count=1):
    """The first of `count` free ports in a row."""
    for _ in range(200):
        first = random.choice(lane_of(PORTS)[:-count])
        row = range(first, first + count)
        if any(port in _given for port in row):
            continue
        try:
            held = []
            for port in row:
                probe = socket.socket()
                held.append(probe)
                probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        finally:
            for probe in held:
                probe.close()
        _given.update(row)
        return first
    raise AssertionError("no %d free ports in a row" % count)


def free_bus_port():
    """A free port for a server of a Redis Cluster: its bus is free too."""
    for _ in range(200):
        port = random.choice(lane_of(BUS_PORTS))
        if port in _given:
            continue
        with socket.socket() as probe, socket.socket() as bus:
            try:
                probe.bind(("127.0.0.1", port))
                bus.bind(("127.0.0.1", port + BUS_APART))
            except OSError:
                continue
        _given.add(port)
        return port
    raise AssertionError("no free port with a free bus")


# --- processes ---

_libc = ctypes.CDLL(None)
_running = []
_directories = []

# Called first when all is to end: for what is not a process of ours.
endings = []


def _die_with_parent():
    _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Process:
    """One program, with its output in a log file. Started again under the same name and log."""

    def __init__(self, name, argv, directory, env=None):
        self.name, self.argv = name, [str(word) for word in argv]
        if UNDER and self.argv[0].startswith(BIN):
            self.argv = UNDER + self.argv
        self.log_path = os.path.join(directory, name + ".log")
        self.env = dict(os.environ, **(env or {}))
        self.popen = None

    def start(self):
        assert not self.alive, "%s runs already" % self.name
        with open(self.log_path, "ab") as log:
            self.popen = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log,
                                          stderr=log, env=self.env, preexec_fn=_die_with_parent)
        if self not in _running:
            _running.append(self)
        return self

    @property
    def alive(self):
        return self.popen is not None and self.popen.poll() is None

    @property
    def pid(self):
        return self.popen.pid

    def kill9(self):
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()

    def terminate(self, within_s=20 * SLOW):
        """SIGTERM; returns the exit code."""
        self.popen.send_signal(signal.SIGTERM)
        return self.wait(within_s)

    def wait(self, within_s=20 * SLOW):
        try:
            return self.popen.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError("%s did not end in %d s\n%s" % (self.name, within_s, self.tail()))

    def end(self):
        if self.alive:
            self.popen.kill()
            self.popen.wait()

    def log(self):
        with open(self.log_path, "rb") as file:
            return file.read()

    def tail(self, lines=15):
        text = self.log().decode(errors="replace").splitlines()
        return "--- the end of %s's log:\n%s" % (self.name, "\n".join(text[-lines:]))


def end_all():
    while endings:
        endings[-1]()  # taken off when it is through, for a signal may come meanwhile
        del endings[-1:]
    while _running:
        _running.pop().end()
    while _directories:
        shutil.rmtree(_directories.pop(), ignore_errors=True)


def new_directory():
    """For logs and data; removed when all has ended, at the latest."""
    _directories.append(tempfile.mkdtemp(prefix="sluice-test-"))
    return _directories[-1]


def program(name):
    path = os.path.join(BIN, name)
    if not os.path.exists(path):
        raise AssertionError("%s is not built" % path)
    return path


# --- a cluster ---


class Redis(Process):
    def __init__(self, directory, port=None, aof=True, password=None, name="redis", args=()):
        self.port = port or free_ports()
        self.password = password
        data = os.path.join(directory, name + "-data")
        os.makedirs(data, exist_ok=True)
        argv = ["redis-server", "--bind", "127.0.0.1", "--port", self.port, "--dir", data,
                "--save", "", "--appendonly", "yes" if aof else "no",
                "--appendfsync", "everysec"]
        if password:
            argv += ["--requirepass", password]
        super().__init__(name, argv + list(args), directory)

    @property
    def url(self):
        return "redis://127.0.0.1:%d" % self.port

    def client(self):
        return RedisClient("127.0.0.1", self.port, self.password)

    def terminate(self, within_s=20 * SLOW):
        """SIGTERM, again each second: one that writes its first append-only file refuses to end."""
        for _ in range(int(within_s)):
            self.popen.send_signal(signal.SIGTERM)
            try:
                return self.popen.wait(1)
            except subprocess.TimeoutExpired:
                pass
        return self.wait(0)

    def start(self):
        super().start()

        def answers():
            assert self.alive, "Redis ended\n" + self.tail()
            try:
                with self.client() as client:
                    return client.call("PING") == b"PONG"
            except OSError:
                return False
            except RuntimeError as error:
                return not str(error).startswith("LOADING") and self.password is None

        wait_for("Redis answers", answers)
        return self


class Node(Process):
    def __init__(self, directory, node_id, redis_url, shards=2, args=(), env=None, name=None):
        self.id, self.shards = node_id, shards
        self.port = free_ports(shards)
        self.control_url = "tcp://127.0.0.1:%d" % free_ports()
        argv = [program("sluice-node"), "--node-id", node_id, "--redis", redis_url,
                "--shards", shards, "--listen", self.listen_url, "--control", self.control_url,
                "--snapshot-interval", "%dms" % (SNAPSHOT_S * 1000)]
        super().__init__(name or node_id, argv + list(args), directory, env)

    @property
    def listen_url(self):
        return "tcp://127.0.0.1:%d" % self.port

    def shard_url(self, index):
        return "tcp://127.0.0.1:%d" % (self.port + index)

    def control(self):
        return connect_when_up(self.control_url, READY_S)


class Router(Process):
    def __init__(self, directory, nodes, args=(), name="router"):
        self.url = "tcp://127.0.0.1:%d" % free_ports()
        argv = [program("sluice-router"), "--listen", self.url,
                "--nodes", ",".join(node.control_url for node in nodes)]
        super().__init__(name, argv + list(args), directory)

    def connect(self):
        return connect_when_up(self.url, READY_S)


class Cluster:
    """with Cluster(nodes=2) as cluster: ... - ready to take when entered.

    `redis` replaces the private one; nodes find it at `store_url`, with `node_env` in their
    environment.
    """

    def __init__(self, nodes=2, shards=2, plans=PLANS, slots=1024, node_args=(), router_args=(),
                 redis=None, store_url=None, node_env=None):
        self.directory = new_directory()
        self.plans, self.slots = plans, slots
        self.redis = redis or Redis(self.directory)
        self.nodes = [Node(self.directory, "n%d" % (i + 1), store_url or self.redis.url, shards,
                           node_args, node_env) for i in range(nodes)]
        self.router = Router(self.directory, self.nodes, router_args)
        self.processes = [self.router] + self.nodes + [self.redis]

    def __enter__(self):
        try:
            if not self.redis.alive:
                self.redis.start()
            for node in self.nodes:
                node.start()
            self.router.start()
            with self.control() as control:
                wait_for("all nodes are alive",
                         lambda: self._alive_count(control) == len(self.nodes))
                control.call("cluster.init", {"slots": self.slots})
                version = control.call("plans.apply", self.plans)["version"]
            self.wait_ready()
            with self.connect() as router:  # it asks once a second
                wait_for("the router knows the plans' policies", lambda: router.call(
                    "cluster.status")["plans_version"] >= version)
        except BaseException:
            self.report()
            self.end()
            raise
        return self

    def __exit__(self, kind, error, trace):
        if kind is not None and not issubclass(kind, unittest.SkipTest):
            self.report()
        reports = [process.name for process in self.processes
                   if os.path.exists(process.log_path) and SANITIZER_REPORT.search(process.log())]
        if kind is None and not reports:
            # A sanitizer has its say (leaks) when a process ends in order.
            for process in self.processes:
                if process.alive and process.terminate() not in (0,):
                    reports.append(process.name)
        if reports and kind is None:
            self.report(60)
        self.end()
        if reports and kind is None:
            raise AssertionError("did not end cleanly: %s" % ", ".join(reports))

    def _alive_count(self, control):
        try:
            return sum(1 for node in control.call("cluster.status")["nodes"] if node["alive"])
        except RpcError as error:  # a moment after its start a node has no link to the store yet
            if error.code != "UNAVAILABLE":
                raise
            return 0

    def control(self, node=0):
        return self.nodes[node].control()

    def connect(self):
        return self.router.connect()

    def wait_ready(self):
        """Until the router gets an owner's answer for every slot, under the plans in force."""
        keys = [b"ready-%d" % i for i in range(4000)]  # several for each slot, nearly surely
        limit = {"rate": 1, "period_ms": 1000, "burst": 1}

        def ready():
            with self.connect() as connection:
                answers = connection.take_many([[key, 0, limit] for key in keys])
                if any(isinstance(one, RpcError) or one.degraded for one in answers):
                    return False
                answers = connection.take_many([[key, 0] for key in keys[:1000]])
                return not any(isinstance(one, RpcError) or one.degraded for one in answers)

        def quiet():
            try:
                return ready()
            except (OSError, Closed, RpcError):
                return False

        wait_for("every slot answers", quiet)
        wait_for("every slot is in memory", self._all_read)

    def _all_read(self):
        """A slot answers before all of it has been read."""
        for node in self.nodes:
            if not node.alive:
                continue
            with node.control() as control:
                for shard in control.call("node.status")["shards"]:
                    if shard["state"] == "loading":
                        return False
        return True

    def wait_written(self, within_s=READY_S):
        """Until no node has a bucket that it has not written, and what it was writing had the time
        of an interval to be answered."""
        def owed():
            return sum(shard["counters"]["buckets_dirty"] for node in self.nodes if node.alive
                       for shard in self.status_of(node)["shards"])

        wait_for("all buckets are written", lambda: owed() == 0, within_s)
        time.sleep(SNAPSHOT_S)

    @staticmethod
    def status_of(node):
        with node.control() as control:
            return control.call("node.status")

    def report(self, lines=15):
        for process in self.processes:
            if os.path.exists(process.log_path):
                print(process.tail(lines), file=sys.stderr)

    def end(self):
        for process in self.processes:
            process.end()
        shutil.rmtree(self.directory, ignore_errors=True)

    # --- looking in from outside ---

    def map(self):
        with self.control() as control:
            return control.call("cluster.map")["map"]

    def owner_url(self, key, cluster_map=None):
        """The endpoint of the shard that owns the key, worked out as a client would."""
        cluster_map = cluster_map or self.map()
        at = xxh3(key) & (cluster_map["slots"] - 1)
        for count, shard in cluster_map["owners"]:
            if at < count:
                return cluster_map["shards"][shard][2]
            at -= count
        raise AssertionError("the owners of the map do not cover the slots")

    def owner_node(self, key, cluster_map=None):
        url = self.owner_url(key, cluster_map)
        for node in self.nodes:
            if url in [node.shard_url(i) for i in range(node.shards)]:
                return node
        raise AssertionError("nobody listens at " + url)

    def ctl(self, *words, **options):
        """sluicectl against this cluster; returns (exit code, output, errors)."""
        return ctl("--router", self.router.url, "--control", self.nodes[0].control_url, *words,
                   **options)

    def levels(self, keys, plan=None):
        """What remains to each key: {key: tokens}, from owners only."""
        levels = {}
        with self.connect() as connection:
            for at in range(0, len(keys), 4096):
                part = keys[at:at + 4096]
                takes = [[key, 0, plan] if plan else [key, 0] for key in part]

                def looked():
                    answers = connection.take_many(takes)
                    for answer in answers:
                        if isinstance(answer, RpcError):
                            raise answer
                    return answers if not any(answer.degraded for answer in answers) else None

                for key, answer in zip(part, wait_for("owners answer", looked)):
                    levels[key] = answer.remaining
        return levels


def ctl(*words, stdin=None, within_s=30 * SLOW):
    words = [word if isinstance(word, bytes) else str(word) for word in words]
    done = subprocess.run([program("sluicectl")] + words, input=stdin, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, errors="backslashreplace",
                          timeout=within_s)
    return done.returncode, done.stdout, done.stderr


_xxhash = None


def xxh3(key):
    global _xxhash
    if _xxhash is None:
        _xxhash = ctypes.CDLL("libxxhash.so.0").XXH3_64bits
        _xxhash.restype = ctypes.c_uint64
        _xxhash.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return _xxhash(key, len(key))


class ClusterTest(unittest.TestCase):
    """A test class with one cluster for all of its tests."""

    cluster_options = {}

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(**cls.cluster_options)
        cls.cluster.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)

    _key_count = 0

    @classmethod
    def new_key(cls, text="key"):
        ClusterTest._key_count += 1
        return ("%s-%d" % (text, ClusterTest._key_count)).encode()
