"""What happens when in a bad day: a list of actions that depends on the seed alone.

An action is (seconds since the load began, verb, target, value). What is broken is mended later in
the same list, and nothing is broken twice at a time.
"""

import random
from collections import namedtuple

Action = namedtuple("Action", "at_s verb target value")

NODES = ("n1", "n2", "n3")
ROUTERS = ("r1", "r2")
LEASE_S = 0.6  # short, so that a minute sees many takeovers

# Between two disturbances. They last longer, so that several are under way together.
GAP_S = (0.4, 1.6)

# After the store was away nobody is taken over for three leases; without a rest nobody ever would.
REDIS_REST_S = 5.0

# The load warms up, and at the end all is mended.
WARM_S, MENDED_S = 2.0, 1.0


class Maker:
    """Draws disturbances until the time is over."""

    def __init__(self, seed, seconds):
        self.chance = random.Random(seed)
        self.end_s = seconds - MENDED_S
        self.actions = []
        self.busy = {}  # target -> until when it is disturbed
        self.at_s = WARM_S

    def add(self, after_s, verb, target, value=None):
        self.actions.append(Action(round(self.at_s + after_s, 3), verb, target, value))

    def free(self, targets):
        return [one for one in targets if self.busy.get(one, 0) <= self.at_s]

    def lasting(self, targets, begin, end, seconds, rest_s=0.3, value=None):
        """Breaks one of the targets now, mends it later, and lets it be for `rest_s`."""
        targets = self.free(targets)
        if not targets:
            return
        target = self.chance.choice(targets)
        seconds = min(seconds, self.end_s - self.at_s)
        self.add(0, begin, target, value)
        self.add(seconds, end, target)
        self.busy[target] = self.at_s + seconds + rest_s

    def away_s(self):
        """Shorter than a lease, or so long that others take over."""
        short = self.chance.random() < 0.4
        return self.chance.uniform(0.02, LEASE_S * 0.6) if short else \
            self.chance.uniform(LEASE_S * 1.5, LEASE_S * 5)

    # --- disturbances ---

    def kill_node(self):
        self.lasting(NODES, "kill", "start", self.away_s())

    def pause_node(self):
        self.lasting(NODES, "pause", "continue", self.away_s())

    def stop_node(self):
        self.lasting(NODES, "stop", "start", self.away_s())

    def kill_redis(self):
        self.lasting(["redis"], "kill", "start", self.chance.uniform(0.02, 1.2), REDIS_REST_S)

    def pause_redis(self):
        self.lasting(["redis"], "pause", "continue", self.chance.uniform(0.05, 1.5), REDIS_REST_S)

    def kill_router(self):
        self.lasting(ROUTERS, "kill", "start", self.chance.uniform(0.02, 0.6))

    def rebalance(self):
        weights = {node: self.chance.choice([0, 50, 100, 100, 200]) for node in NODES}
        weights[self.chance.choice(NODES)] = 100
        self.add(0, "rebalance", "cluster", weights)

    def move_slots(self):
        first = self.chance.randrange(1024)
        last = min(1023, first + self.chance.choice([0, 7, 63, 255]))
        self.add(0, "move", self.chance.choice(NODES), (first, last))

    # --- of the network, the disk and the clock ---

    def cut(self):
        """From the store, from the clients, from the other nodes, or from everybody."""
        others = self.chance.choice([["redis"], ["redis"], ["clients"], ["redis", "clients"],
                                     ["redis", "clients", "n1", "n2", "n3"]])
        way = self.chance.choice(["both", "both", "out", "in"])
        self.lasting(NODES, "cut", "join", self.away_s(), value=(others, way))

    def lose(self):
        self.lasting(NODES + ("redis", "clients"), "lose", "join", self.chance.uniform(1, 4),
                     value=self.chance.choice([2, 10, 30]))

    def slow(self):
        self.lasting(NODES + ("redis",), "slow", "join", self.chance.uniform(1, 4))

    def fill_disk(self):
        self.lasting(["redis"], "fill", "free", self.chance.uniform(0.3, 2), REDIS_REST_S)

    def jump_clock(self):
        self.add(0, "clock", "redis", round(self.chance.uniform(-1.5, 1.5), 2))

    def make(self, kinds):
        """kinds: (weight, name of the method). Returns the actions in order. All kinds come up before
        any comes up more often than its weight again."""
        bag = []
        while True:
            self.at_s += self.chance.uniform(*GAP_S)
            if self.at_s >= self.end_s:
                return sorted(self.actions, key=lambda action: action.at_s)
            if not bag:
                bag = [name for weight, name in kinds for _ in range(weight)]
                self.chance.shuffle(bag)
            getattr(self, bag.pop())()


CRASH = ((4, "kill_node"), (3, "pause_node"), (2, "stop_node"), (2, "kill_redis"),
         (1, "pause_redis"), (1, "kill_router"), (4, "rebalance"), (3, "move_slots"))


def crash_schedule(seed, seconds):
    """Of the crash loop: processes are killed, stopped and continued; slots move."""
    return Maker(seed, seconds).make(CRASH)


NETWORK = ((2, "kill_node"), (1, "pause_node"), (1, "stop_node"), (1, "kill_redis"),
           (5, "cut"), (2, "lose"), (2, "slow"), (1, "fill_disk"), (1, "jump_clock"),
           (3, "rebalance"), (2, "move_slots"))


def network_schedule(seed, seconds):
    """Of the network: links are cut, lossy or slow, the disk is full, the store's clock jumps."""
    return Maker(seed, seconds).make(NETWORK)
