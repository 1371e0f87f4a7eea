"""What nodes may have forgotten, by what was seen of the store, of the map and of the processes: the
losses that chaos-check is told of.

All times are of the monotonic clock, in seconds. What is not known exactly is taken so wide that
nothing is left out: a map is in force from when the one before it was last asked for, until the
next one has been seen; a process is paused from when it surely is until before it is continued.
"""

from collections import namedtuple

from schedule import LEASE_S

SLOTS = 1024
SNAPSHOT_S = 0.1

# Beyond its interval, what a snapshot may take to be in the store: gathering and sending it, on
# processors that others keep busy, and the store's own time: the write that is under way must be
# answered first, then its own must be, and that of the rest of a large slot. How long the store
# takes for one is asked all the time. What was in fact forgotten is printed; it is less.
WRITE_S = 0.4
STORE_TURNS = 3
STORE_LATELY_S = 2.0

# After Redis is back, until nodes have connected again (back-off) and written what they owe. Only
# time in which node and store could both work counts.
RECONNECT_S = 2.0

# A node that was stopped or cut off hears that its slots are another's: a heartbeat and a look.
HEAR_S = 1.0

# One whose link was cut must reach the store first: a connection that was being made meanwhile is
# tried again by the kernel after one second, and after two more.
REACHED_S = 3.0 + HEAR_S

# Nodes hear of a map by their heartbeats.
MAP_HEARD_S = 0.3

NEVER = float("inf")

# A crash: what the node granted before `at_s` and had not written, and what it granted until
# `until_s`, may be forgotten. Stale: what it granted from `at_s` to `until_s`. Links: nothing is
# forgotten, but takes may have been sent twice. Of the slots that the node owned at `owned_s`, or
# of all (node None).
Loss = namedtuple("Loss", "kind node at_s until_s owned_s why")

# Those whose end is that a node hears what has become of its slots.
HEARS = ("continued", "cut off", "taken over")

Map = namedtuple("Map", "from_s seen_s epoch owners")


class Losses:
    def __init__(self, slack=lambda begin_s, end_s: 0.0):
        """slack: what the system kept processes waiting for between two times."""
        self.slack = slack
        self.noted = []
        self.maps = []
        self.epochs_unseen = 0
        self.asked_s = 0.0   # when the store last answered, this was asked
        self.looks = []      # (asked at, seconds): of a read, which waits for syncs like a write
        self.outages = []    # [from, to]: the store did not answer
        self.paused = {}     # node -> [[from, to]]
        self.gone = {}       # node -> [[from, to]]: there was no process
        self.excused = {}    # node -> [(from, to)]: what a takeover then makes it forget is noted

    # --- what was seen ---

    def store_is_away(self):
        return bool(self.outages) and self.outages[-1][1] == NEVER

    def store_away(self, at_s):
        if not self.store_is_away():
            self.outages.append([at_s, NEVER])

    def store_answered(self, asked_s, answered_s):
        if self.store_is_away():
            self.outages[-1][1] = answered_s
        self.looks.append((asked_s, answered_s - asked_s))

    def map_seen(self, asked_s, answered_s, epoch, owners):
        """owners: the node of each slot. Of a question that was answered."""
        if not self.maps or self.maps[-1].epoch != epoch:
            self.epochs_unseen += max(0, epoch - self.maps[-1].epoch - 1) if self.maps else 0
            self.maps.append(Map(self.asked_s or asked_s, answered_s, epoch, owners))
        self.asked_s = asked_s

    @staticmethod
    def _begin(spans, node, at_s):
        of = spans.setdefault(node, [])
        if not of or of[-1][1] != NEVER:
            of.append([at_s, NEVER])

    @staticmethod
    def _end(spans, node, at_s):
        of = spans.get(node)
        if of and of[-1][1] == NEVER:
            of[-1][1] = at_s

    def node_pauses(self, node, at_s):
        self._begin(self.paused, node, at_s)

    def node_continues(self, node, at_s):
        self._end(self.paused, node, at_s)

    def node_ends(self, node, at_s):
        self._end(self.paused, node, at_s)
        self._begin(self.gone, node, at_s)

    def node_starts(self, node, at_s):
        self._end(self.gone, node, at_s)

    def slowest_look_s(self, since_s, until_s=NEVER):
        return max((took_s for asked_s, took_s in self.looks if since_s < asked_s <= until_s),
                   default=0.0)

    def longest_outage_s(self):
        return max((end_s - begin_s for begin_s, end_s in self.outages), default=0.0)

    # --- what may be forgotten ---

    def crash(self, node, at_s, until_s, why, owned_s=None):
        """The node may have forgotten what it had not written by then."""
        self.noted.append(Loss("crash", node, at_s, until_s, owned_s or at_s, why))

    def continued(self, node, paused_s, continued_s):
        """It was paused for so long that others may have taken over; then it may go on for what it
        owned until it hears of that. `continued_s`: before it was."""
        if continued_s - paused_s > LEASE_S / 2:
            self.crash(node, paused_s, paused_s, "paused")
            self.noted.append(Loss("stale", node, continued_s, continued_s + HEAR_S, paused_s,
                                   "continued"))
            self.excused.setdefault(node, []).append((paused_s, continued_s))

    def joined(self, node, cut_s, joined_s):
        """A node's link is mended. It may have gone on answering all the while, and still does until
        it hears."""
        self.crash(node, cut_s, joined_s + REACHED_S, "cut off")
        self.excused.setdefault(node, []).append((cut_s, joined_s + REACHED_S))

    def links(self, since_s, now_s):
        """Links, of whomever, may have broken since then: what was under way may be sent again."""
        self.noted.append(Loss("links", None, since_s, now_s + REACHED_S, None, "links"))

    def takeover(self, node, epoch):
        """The cluster has taken the node's slots away by the map of that epoch. True if nothing that
        is noted explains it: what that may have made the node forget is noted then. It was alive
        and did not get its turn for a whole lease, on a busy machine."""
        seen = next((one for one in self.maps if one.epoch >= epoch), None)
        if seen is None or self._explained(node, seen.from_s, seen.seen_s):
            return False
        self.crash(node, seen.from_s - LEASE_S, seen.seen_s + HEAR_S, "taken over")
        return True

    def _explained(self, node, from_s, to_s):
        return any(begin_s <= from_s and to_s <= end_s
                   for begin_s, end_s in self.gone.get(node, [])) or \
            any(begin_s <= to_s and from_s <= end_s for begin_s, end_s in self.excused.get(node, []))

    # --- how much ---

    def slots_of(self, node, from_s, to_s):
        """Slots that the node may have owned in that time: by any map in force in it."""
        slots = set()
        for at, one in enumerate(self.maps):
            end_s = self.maps[at + 1].seen_s if at + 1 < len(self.maps) else NEVER
            if one.from_s <= to_s + MAP_HEARD_S and end_s >= from_s - MAP_HEARD_S:
                slots.update(slot for slot, owner in enumerate(one.owners) if owner == node)
        return slots

    def unwritten_since_s(self, node, at_s):
        """What the node granted from then on it may not have written by `at_s`. Without the store, or
        paused, it could write nothing; so what it did since then counts too, until both have had
        time enough to make up for it."""
        slowest_s = self.slowest_look_s(at_s - STORE_LATELY_S, at_s)
        writing_s = SNAPSHOT_S + WRITE_S + STORE_TURNS * slowest_s
        writing_s += self.slack(at_s - writing_s, at_s)
        since_s, worked_s = at_s, 0.0
        for begin_s, end_s in sorted(self.outages + self.paused.get(node, []),
                                     key=lambda span: -span[1]):
            if begin_s >= since_s:
                continue
            worked_s += max(0.0, since_s - end_s)
            if worked_s >= RECONNECT_S + writing_s:
                break
            since_s = begin_s
        return since_s - writing_s

    def heard_s(self, at_s, until_s):
        """A node hears of a newer map from the store alone: as soon as that is back."""
        for begin_s, end_s in self.outages:
            if begin_s < until_s and end_s > at_s:
                until_s = max(until_s, end_s + RECONNECT_S + HEAR_S)
        return until_s

    def spans(self):
        """[(loss, what counts before it in seconds, until when it lasts, its slots)]. The spans that
        are noted are of processes that get a processor when they want one. What others kept a
        process waiting that does nothing else comes on top."""
        spans = []
        for loss in self.noted:
            before_s = 0.0
            if loss.kind == "crash":
                before_s = loss.at_s - self.unwritten_since_s(loss.node, loss.at_s)
            until_s = loss.until_s
            if loss.why in HEARS:
                until_s = self.heard_s(loss.at_s, until_s)
            until_s += self.slack(loss.at_s, until_s)
            slots = range(SLOTS) if loss.node is None else \
                self.slots_of(loss.node, loss.owned_s - before_s, loss.owned_s)
            spans.append((loss, before_s, until_s, slots))
        return spans

    def write(self, path):
        with open(path, "w") as file:
            for loss, before_s, until_s, slots in self.spans():
                digits = "".join("%x" % sum(1 << bit for bit in range(4) if at * 4 + bit in slots)
                                 for at in range(SLOTS // 4))
                file.write("%s %d %d %d %s %s\n" % (
                    loss.kind, loss.at_s * 1e9, before_s * 1e9, until_s * 1e9, digits,
                    " ".join(filter(None, (loss.node, loss.why)))))

    def owners_of(self, slot):
        """[(seen at, epoch, node)]: the slot's owners, one after the other."""
        history = []
        for one in self.maps:
            if not history or history[-1][2] != one.owners[slot]:
                history.append((one.seen_s, one.epoch, one.owners[slot]))
        return history
