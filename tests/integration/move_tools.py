"""What tests of a moving cluster share: a load from processes of its own that keeps every answer,
the checker of those records, a mover of slots, and a TCP proxy that can be blocked."""

import ctypes
import multiprocessing
import os
import random
import re
import select
import signal
import socket
import struct
import threading
import time

import msgpack

from harness import metronome, say, wait_for, xxh3
from sp_client import ID_FIRST, Closed, Connection, RpcError, connect_when_up

GRANTED, REFUSED, DEGRADED, ERROR, UNANSWERED = range(5)
MOVE_SLOTS = 64  # at most so many in one slots.move

# Seconds that the system may keep processes waiting, as a process that does nothing else measures,
# before a take's default deadline of 250 ms is not the cluster's to keep.
STALL_S = 0.125


# --- load -------------------------------------------------------------------------------------


class Worker:
    """One process: take_many of `batch` keys, at a steady rate, any number outstanding."""

    def __init__(self, url, keys, hot, plan, rate, batch, seed, deadline_ms, share):
        self.url, self.keys, self.hot, self.plan = url, keys, hot, plan
        self.deadline_ms, self.share = deadline_ms, share
        self.interval_s, self.batch = batch / rate, batch
        self.chance = random.Random(seed)
        self.outstanding = {}  # request id -> (sent at, indices of keys)
        self.records = []      # (sent at, answered at, index of the key, outcome)
        self.error_codes = {}
        self.reconnects = 0

    def pick(self):
        """A share of the takes goes to the few hot keys, which are soon used up."""
        return [self.chance.randrange(self.hot) if self.chance.random() < self.share
                else self.chance.randrange(len(self.keys)) for _ in range(self.batch)]

    def send(self, connection):
        picked = self.pick()
        if self.deadline_ms is None:
            takes = [[self.keys[at], 1, self.plan] for at in picked]
            sent = [(connection.send("take_many", *takes), picked)]
        else:
            options = {"deadline_ms": self.deadline_ms}
            sent = [(request, [at]) for request, at in zip(connection.send_all(
                [("take", self.keys[at], 1, self.plan, options) for at in picked]), picked)]
        for request, asked in sent:
            self.outstanding[request] = (time.monotonic(), asked)

    def note(self, request, reply):
        now = time.monotonic()
        sent_at, picked = self.outstanding.pop(request)
        if reply[2] is not None:
            self.error_codes[reply[2][0]] = self.error_codes.get(reply[2][0], 0) + 1
            self.records += [(sent_at, now, at, ERROR) for at in picked]
            return
        for at, one in zip(picked, reply[3] if self.deadline_ms is None else [reply[3]]):
            if isinstance(one[0], str):
                self.error_codes[one[0]] = self.error_codes.get(one[0], 0) + 1
                outcome = ERROR
            elif one[5] & 1:
                outcome = DEGRADED
            else:
                outcome = GRANTED if one[0] else REFUSED
            self.records.append((sent_at, now, at, outcome))

    def receive(self, connection):
        chunk = connection.socket.recv(1 << 18)
        if not chunk:
            raise Closed("closed")
        data = connection.input
        data += chunk
        while len(data) >= 8:
            size = struct.unpack(">Q", data[:8])[0]
            if len(data) < 8 + size:
                return
            frame = bytes(data[8:8 + size])
            del data[:8 + size]
            request = struct.unpack(">I", frame[:4])[0]
            assert request & ID_FIRST and request in self.outstanding, "a reply nobody asked for"
            self.note(request, msgpack.unpackb(frame[4:], raw=False))

    def lost(self):
        now = time.monotonic()
        for sent_at, picked in self.outstanding.values():
            self.records += [(sent_at, now, at, UNANSWERED) for at in picked]
        self.outstanding.clear()
        self.reconnects += 1

    def run(self, pipe):
        stopping, due = False, time.monotonic()
        while not stopping:
            try:
                with connect_when_up(self.url) as connection:
                    while not stopping or self.outstanding:
                        wait_s = 0.02 if stopping else max(0, due - time.monotonic())
                        readable, _, _ = select.select([connection.socket, pipe], [], [], wait_s)
                        if pipe in readable and not stopping:
                            pipe.recv()
                            stopping, end = True, time.monotonic() + 5
                        if connection.socket in readable:
                            self.receive(connection)
                        if stopping and time.monotonic() > end:
                            raise Closed("answers are missing")
                        if not stopping and time.monotonic() >= due:
                            self.send(connection)
                            due = max(due + self.interval_s, time.monotonic() - 0.05)
            except (OSError, Closed):
                self.lost()
        pipe.send((self.records, self.error_codes, self.reconnects))


def work(pipe, *arguments):
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    Worker(*arguments).run(pipe)


class MoveLoad:
    """`rate` takes a second over `keys`, from `workers` processes, until stop(). `deadline_ms`
    None: take_many of a batch, under the default deadline of 250 ms; else single takes."""

    def __init__(self, url, keys, plan="slow", rate=5000, workers=2, batch=10, hot=300,
                 deadline_ms=None, share=0.2):
        self.keys = keys
        self.processes = []
        context = multiprocessing.get_context("fork")
        for i in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=work, daemon=True, args=(
                theirs, url, keys, min(hot, len(keys)), plan, rate / workers, batch, i,
                deadline_ms, share))
            self.processes.append((process, ours))

    def start(self):
        metronome().reset()
        self.began = time.monotonic()
        for process, _ in self.processes:
            process.start()
        return self

    def stop(self):
        self.records, self.error_codes, self.reconnects = [], {}, 0
        for _, pipe in self.processes:
            pipe.send("stop")
        self.took_s = time.monotonic() - self.began
        for process, pipe in self.processes:
            assert pipe.poll(30), "a load process did not end"
            records, codes, reconnects = pipe.recv()
            self.records += records
            self.reconnects += reconnects
            for code, count in codes.items():
                self.error_codes[code] = self.error_codes.get(code, 0) + count
            process.join(10)
        return self

    def end(self):
        for process, _ in self.processes:
            if process.is_alive():
                process.kill()
                process.join()

    def count(self, outcome):
        return sum(1 for record in self.records if record[3] == outcome)

    def by_policy(self):
        """Takes that nobody decided in time, although the machine let everybody run: one that it
        kept waiting for most of a deadline says nothing."""
        return [record for record in self.records if record[3] == DEGRADED and
                metronome().slack_between_s(record[0], record[1]) < STALL_S]

    @property
    def rate(self):
        return len(self.records) / self.took_s

    def latencies(self):
        """Median and longest, in ms."""
        taken = sorted(answered - sent for sent, answered, _, _ in self.records)
        return taken[len(taken) // 2] * 1000, taken[-1] * 1000


# --- checking ---------------------------------------------------------------------------------


def over_bound(records, burst, lost=()):
    """Keys that were granted more than their burst: [(key index, granted, bound)]. For a plan that
    refills nothing in a test's time. `lost`: intervals (from, to) whose grants a crash may have
    forgotten, as the relaxed promise says: they may be granted once more."""
    granted, forgiven = {}, {}
    for _, answered, at, outcome in records:
        if outcome == GRANTED:
            granted[at] = granted.get(at, 0) + 1
            if any(begin <= answered <= end for begin, end in lost):
                forgiven[at] = forgiven.get(at, 0) + 1
    return [(at, count, burst + forgiven.get(at, 0)) for at, count in granted.items()
            if count > burst + forgiven.get(at, 0)]


def short_changed(records, burst):
    """Keys that were refused although not all of their burst had been granted: [(index, granted)].
    Holds of keys of which nothing went unanswered or was decided by policy."""
    granted, refused, open_keys = {}, set(), set()
    for _, _, at, outcome in records:
        if outcome == GRANTED:
            granted[at] = granted.get(at, 0) + 1
        elif outcome == REFUSED:
            refused.add(at)
        else:
            open_keys.add(at)
    return [(at, granted.get(at, 0)) for at in refused - open_keys if granted.get(at, 0) < burst]


def at_bound(records, burst):
    """How many keys were granted their whole burst, and refused more."""
    granted, refused = {}, set()
    for _, _, at, outcome in records:
        if outcome == GRANTED:
            granted[at] = granted.get(at, 0) + 1
        elif outcome == REFUSED:
            refused.add(at)
    return sum(1 for at in refused if granted.get(at, 0) >= burst)


# --- moving -----------------------------------------------------------------------------------


def owner_list(cluster_map):
    """The index of the owning shard, by slot."""
    owners = []
    for count, shard in cluster_map["owners"]:
        owners += [shard] * count
    assert len(owners) == cluster_map["slots"]
    return owners


def node_of(cluster_map, shard):
    return None if shard is None else cluster_map["nodes"][cluster_map["shards"][shard][0]][0]


def newest_map(cluster):
    """The map of the highest epoch that a living node knows: the others follow at a heartbeat, and
    one that has just started knows none."""
    maps = []
    for node in cluster.nodes:
        if node.alive:
            with node.control() as control:
                maps.append(control.call("cluster.map")["map"])
    return max(filter(None, maps), key=lambda one: one["epoch"])


def slots_by_node(cluster_map):
    counts = {node[0]: 0 for node in cluster_map["nodes"]}
    for shard in owner_list(cluster_map):
        if shard is not None:
            counts[node_of(cluster_map, shard)] += 1
    return counts


def slot_of(key, cluster_map):
    return xxh3(key) & (cluster_map["slots"] - 1)


def key_of_each_slot(slots):
    """A key for each slot, in order."""
    keys, at = {}, 0
    while len(keys) < slots:
        key = b"probe-%d" % at
        keys.setdefault(xxh3(key) & (slots - 1), key)
        at += 1
    return [keys[slot] for slot in range(slots)]


def placement(cluster_map, weights=None):
    """Moves [(slot, from, to)] that bring every shard to its share: written anew here, from the
    promise alone."""
    weights = weights or {node[0]: node[2] for node in cluster_map["nodes"]}
    shards = cluster_map["shards"]
    owners = owner_list(cluster_map)
    each = [weights[node_of(cluster_map, at)] / sum(1 for s in shards if s[0] == shard[0])
            for at, shard in enumerate(shards)]
    owned = [owners.count(at) for at in range(len(shards))]
    exact = [cluster_map["slots"] * weight / sum(each) for weight in each]
    shares = [int(one) for one in exact]
    by_need = sorted(range(len(shards)), key=lambda at: (shares[at] >= owned[at], at))
    for at in [at for at in by_need if each[at] > 0][:cluster_map["slots"] - sum(shares)]:
        shares[at] += 1
    moves = []
    for slot, owner in enumerate(owners):
        if owner is None or owned[owner] > shares[owner]:
            to = max(range(len(shards)), key=lambda at: shares[at] - owned[at])
            moves.append((slot, owner, to))
            owned[to] += 1
            if owner is not None:
                owned[owner] -= 1
    return moves


def move(cluster, cluster_map, slots, to, within_s=10, patient=False):
    """slots.move at the node that owns them, which is read from the map. Tries again if another
    handover is under way there, or another change of the map came first. Returns the result."""
    source = node_of(cluster_map, owner_list(cluster_map)[slots[0]])
    node = next(node for node in cluster.nodes if node.id == source)
    end = time.monotonic() + within_s
    target = cluster_map["shards"][to]
    with Connection(node.control_url, timeout_s=within_s) as control:
        wait_for("%s knows of the map" % source, lambda: control.call(
            "cluster.refresh", cluster_map["epoch"], timeout_s=within_s)["epoch"] >=
            cluster_map["epoch"], max(within_s, 5))
        while True:
            try:
                return control.call("slots.move", slots, cluster_map["nodes"][target[0]][0],
                                    target[1], timeout_s=max(within_s, 5))
            except RpcError as error:
                # UNAVAILABLE: the target or the store was slow; nothing moved.
                again = ("OVERLOADED", "CONFLICT") + (("UNAVAILABLE",) if patient else ())
                if error.code not in again or time.monotonic() > end:
                    raise
                time.sleep(0.01)


def set_weight(cluster, node_id, weight, node=0):
    """node.weight, asked again if another change of the map came first. Returns the epoch."""
    def done():
        try:
            return control.call("node.weight", node_id, weight)["epoch"]
        except RpcError as error:
            if error.code != "CONFLICT":
                raise
            return None

    with cluster.control(node) as control:
        return wait_for("%s weighs %d" % (node_id, weight), done, 5)


def rebalance(cluster, weights=None, batch=MOVE_SLOTS):
    """Moves everything to its place, a batch after the other. Returns (slots, seconds each batch
    was sealed)."""
    cluster_map = newest_map(cluster)
    batches = {}
    for slot, owner, to in placement(cluster_map, weights):
        batches.setdefault((owner, to), []).append(slot)
    moved, sealed = 0, []
    for (_, to), slots in sorted(batches.items()):
        for at in range(0, len(slots), batch):
            result = move(cluster, cluster_map, slots[at:at + batch], to, patient=True)
            moved += result["moved"]
            sealed.append(result["sealed_us"] / 1e6)
    return moved, sealed


def median(values):
    return sorted(values)[len(values) // 2]


def router_status(cluster, router=None):
    with (router or cluster.router).connect() as connection:
        return connection.call("cluster.status")


class Parked:
    """What a router tells of parked takes, from here to finish()."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.start = router_status(cluster)

    def finish(self):
        end = wait_for("nothing is parked any more", lambda: next(
            (s for s in [router_status(self.cluster)] if s["counters"]["pending_parked"] == 0), None))
        before = dict(map(tuple, self.start["parked_us"]))
        added = [(at_most, count - before.get(at_most, 0)) for at_most, count in end["parked_us"]]
        self.count = end["counters"]["parked"] - self.start["counters"]["parked"]
        assert self.count == sum(count for _, count in added), (self.count, added)
        self.longest_ms = max([at_most for at_most, count in added if count] or [0]) / 1000
        below, self.median_ms = 0, 0.0
        for at_most, count in added:
            if below * 2 < self.count:
                self.median_ms = at_most / 1000
            below += count
        return self


def say_sealed(what, moved, sealed, took_s):
    say("%s: %d slots in %.2f s, sealed for %.1f ms (median of %d batches), at most %.1f ms" %
        (what, moved, took_s, median(sealed) * 1000, len(sealed), max(sealed) * 1000))


def wait_answered(cluster, keys, since, within_s, plan="slow", connection=None):
    """Until all of the keys are answered by their owners. Returns the seconds since `since`."""
    looks = [[key, 0, plan] for key in keys]
    with connection or cluster.connect() as connection:
        def answered():
            return not any(isinstance(one, RpcError) or one.degraded
                           for part in range(0, len(looks), 4096)
                           for one in connection.take_many(looks[part:part + 4096]))

        wait_for("every slot is answered by an owner", answered,
                 within_s - (time.monotonic() - since), every_s=0.005)
        return time.monotonic() - since


def wait_in_map(cluster, node_id):
    return wait_for("%s stands in the map" % node_id, lambda: next(
        (m for m in [newest_map(cluster)] if node_id in [node[0] for node in m["nodes"]]), None))


def events(cluster, count=1000, node=0):
    with cluster.control(node) as control:
        return control.call("cluster.events", count)


def handovers_told(told):
    """{epoch: (slots, "node/shard")} of the events of moves: each handover, in whatever event."""
    handovers = {}
    for event in told:
        match = re.fullmatch(r"(\d+) slots went to (\S.*)", event["text"])
        assert match, event
        sum_of_slots = 0
        for part in match.group(2).split("; "):
            target, entries = part.split(": ")
            for entry in entries.split():
                ranges, epoch = entry.split("@")
                slots = []
                for one in ranges.split(","):
                    first, _, last = one.partition("-")
                    slots += range(int(first), int(last or first) + 1)
                assert int(epoch) not in handovers, event
                handovers[int(epoch)] = (slots, target)
                sum_of_slots += len(slots)
        assert sum_of_slots == int(match.group(1)), event
    return handovers


def halt(process):
    """SIGSTOP, and waits until every thread of it has stopped."""
    def stopped():
        states = []
        for task in os.listdir("/proc/%d/task" % process.pid):
            with open("/proc/%d/task/%s/stat" % (process.pid, task)) as file:
                states.append(file.read().rsplit(")", 1)[1].split()[0])
        return set(states) == {"T"}

    os.kill(process.pid, signal.SIGSTOP)
    wait_for("%s has stopped" % process.name, stopped, every_s=0.001)


# --- a cut ------------------------------------------------------------------------------------


class Proxy:
    """Forwards TCP connections to a port of this machine. block(): nothing passes any more, but
    nothing is closed either, as when a cable is pulled; unblock() lets it pass again. on_sent is
    told of what the caller's side sends, before it passes."""

    def __init__(self, port, listen_port, on_sent=None):
        self.port, self.listen_port, self.on_sent = port, listen_port, on_sent
        self.callers = set()
        self.blocked = self.closing = False
        self.pairs = {}
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", listen_port))
        self.listener.listen(64)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def block(self):
        self.blocked = True

    def unblock(self):
        self.blocked = False

    def close(self):
        self.closing = True
        self.thread.join(10)

    def _forget(self, end):
        other = self.pairs.pop(end, None)
        self.pairs.pop(other, None)
        for one in (end, other):
            self.callers.discard(one)
            if one is not None:
                one.close()

    def _accept(self):
        inner, _ = self.listener.accept()
        try:
            outer = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        except OSError:
            inner.close()
            return
        for end in (inner, outer):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pairs[inner], self.pairs[outer] = outer, inner
        self.callers.add(inner)

    def _run(self):
        while not self.closing:
            if self.blocked:
                time.sleep(0.005)
                continue
            readable, _, _ = select.select([self.listener] + list(self.pairs), [], [], 0.02)
            for end in readable:
                if self.blocked:
                    break
                if end is self.listener:
                    self._accept()
                elif end in self.pairs:
                    try:
                        data = end.recv(1 << 16)
                        if data and self.on_sent and end in self.callers:
                            self.on_sent(data)
                        if data:
                            self.pairs[end].sendall(data)
                    except OSError:
                        data = b""
                    if not data:
                        self._forget(end)
        for end in list(self.pairs):
            self._forget(end)
        self.listener.close()
