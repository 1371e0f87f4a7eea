"""Sixty-four concurrent clients, and an exact single-threaded replay of what each key was granted.

Under the plan `slow` a token takes an hour to return, so what remained after each grant puts the
grants of a key in their one possible order: the replay follows it and knows every level exactly.
Under a limit that refills, the bound is checked over every interval between two answers.
"""

import multiprocessing
import time
import unittest

from harness import HOUR_MS, QUICK, SMOKE, SOAK, Cluster, say
from replay_worker import drive

CLIENTS, PROCESSES = 64, 4
KEYS = 100000 if not SMOKE else 5000
TAKES = 5000000 if SOAK else 10000 if SMOKE else 100000 if QUICK else 1000000

BURST = 20
SLOW_LIMIT = {"rate": 1, "period_ms": HOUR_MS, "burst": BURST}
REFILL = {"rate": 2, "period_ms": 1000, "burst": 6}

# One key in so many is under the limit that refills.
REFILL_EACH = 10


def plan_of(number):
    return REFILL if number % REFILL_EACH == 0 else SLOW_LIMIT


def replay_slow(takes, burst=BURST):
    """takes: (cost, allowed, remaining, sent, received) of one key. Returns what must remain.
    Fails if no order of the takes, one after the other, explains every answer."""
    level = burst
    newest_sent = 0.0
    levels = {burst}
    for cost, allowed, remaining, sent, received in sorted(
            (take for take in takes if take[1]), key=lambda take: -take[2]):
        if remaining != level - cost:
            raise AssertionError("granted %d at level %d, but %d remained" %
                                 (cost, level, remaining))
        if received < newest_sent:
            raise AssertionError("a grant overtook one that was asked for after its answer")
        newest_sent = max(newest_sent, sent)
        level = remaining
        levels.add(level)
    for cost, allowed, remaining, sent, received in takes:
        if not allowed and (remaining not in levels or remaining >= cost):
            raise AssertionError("refused %d at level %d" % (cost, remaining))
    return level


def check_bound(takes, rate_s=REFILL["rate"], burst=REFILL["burst"]):
    """Granted cost over any interval d is at most burst + rate * d. A grant surely lies in an
    interval if it was sent after its begin and received before its end."""
    granted = sorted((take for take in takes if take[1]), key=lambda take: take[4])
    for first in granted:
        total = 0
        for cost, _, _, sent, received in granted:
            if sent >= first[3]:
                total += cost
                allowed = burst + rate_s * (received - first[3]) + 1e-6
                if total > allowed:
                    raise AssertionError("%d granted where %.2f were due" % (total, allowed))


class ReplayCheckTest(unittest.TestCase):
    """The checkers see what they are for."""

    def test_faults_are_seen(self):
        replay_slow([(3, True, 17, 0, 1), (3, True, 14, 0, 1), (15, False, 14, 0, 1)])
        for planted in ([(3, True, 17, 0, 1), (3, True, 17, 0, 1)],   # granted twice
                        [(3, True, 16, 0, 1)],                       # a token lost
                        [(3, False, 17, 0, 1)],                      # refused below its level
                        [(3, True, 17, 5, 6), (3, True, 14, 0, 1)]): # out of order
            with self.assertRaises(AssertionError):
                replay_slow(planted)
        check_bound([(6, True, 0, 0.0, 0.1), (2, True, 0, 1.0, 1.1)])
        with self.assertRaises(AssertionError):
            check_bound([(6, True, 0, 0.0, 0.1), (3, True, 0, 0.4, 0.5)])


class ReplayTest(unittest.TestCase):
    def test_grants_equal_the_replay(self):
        keys = [b"key-%d" % i for i in range(KEYS)]
        with Cluster(nodes=2) as cluster:
            queue = multiprocessing.Queue()
            workers = [multiprocessing.Process(
                target=drive, args=(cluster.router.url, seed, CLIENTS // PROCESSES,
                                    TAKES // PROCESSES, keys, plan_of, queue), daemon=True)
                for seed in range(PROCESSES)]
            began = time.monotonic()
            for worker in workers:
                worker.start()
            by_key, wrong, count = {}, [], 0
            for _ in workers:
                records, problems = queue.get(timeout=600)
                wrong += problems
                count += len(records)
                for record in records:
                    by_key.setdefault(record[0], []).append(record[1:])
            took_s = time.monotonic() - began
            for worker in workers:
                worker.join()
            self.assertEqual(wrong[:5], [])
            self.assertEqual(count, TAKES)

            granted = refused = 0
            must_remain = {}
            for number, takes in by_key.items():
                granted += sum(1 for take in takes if take[1])
                refused += sum(1 for take in takes if not take[1])
                try:
                    if number % REFILL_EACH == 0:
                        check_bound(takes)
                    else:
                        must_remain[keys[number]] = replay_slow(takes)
                except AssertionError as fault:
                    self.fail("key %r: %s" % (keys[number], fault))
            self.assertGreater(refused, 0)
            remaining = cluster.levels(sorted(must_remain), SLOW_LIMIT)
            self.assertEqual({key: level for key, level in remaining.items()
                              if must_remain[key] != level}, {})
            say("%d takes of %d clients over %d keys in %.1f s (%.0f/s, clients in Python): %d "
                "granted, %d refused, each as in the replay; none unanswered or answered twice" %
                (TAKES, CLIENTS, len(by_key), took_s, TAKES / took_s, granted, refused))

