#!/usr/bin/python3
"""What the driver allows for, checked without a cluster: too little accuses the product wrongly, too
much would hide what it forgets.

    tests/chaos/test_losses.py
"""

import os
import sys
import time
import types
import unittest
from unittest import mock

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../integration")]
sys.dont_write_bytecode = True

from day import Day
from losses import HEAR_S, RECONNECT_S, SLOTS, SNAPSHOT_S, WRITE_S, Losses
from schedule import LEASE_S

WRITING_S = SNAPSHOT_S + WRITE_S


def owners(node, but=()):
    return ["n9" if slot in but else node for slot in range(SLOTS)]


class Unwritten(unittest.TestCase):
    """How far back a node may not have written what it granted."""

    def setUp(self):
        self.losses = Losses()

    def outage(self, begin_s, end_s):
        self.losses.store_away(begin_s)
        self.losses.store_answered(end_s, end_s)

    def before_s(self, at_s, node="n1"):
        return round(at_s - self.losses.unwritten_since_s(node, at_s), 6)

    def test_a_snapshot_and_the_time_to_write_it(self):
        self.assertEqual(self.before_s(100), WRITING_S)

    def test_a_slow_store_and_a_busy_machine_count(self):
        self.losses.store_answered(98.5, 98.7)
        self.assertEqual(self.before_s(100), round(WRITING_S + 3 * 0.2, 6))
        self.losses.slack = lambda begin_s, end_s: 0.25
        self.assertEqual(self.before_s(100), round(WRITING_S + 3 * 0.2 + 0.25, 6))
        self.assertEqual(self.before_s(200), WRITING_S + 0.25)

    def test_an_outage_counts_until_it_is_made_up_for(self):
        self.outage(90, 95)
        self.assertEqual(self.before_s(93), 3 + WRITING_S)
        self.assertEqual(self.before_s(96), 6 + WRITING_S)
        self.assertEqual(self.before_s(95 + RECONNECT_S + WRITING_S), WRITING_S)
        self.assertEqual(self.before_s(89), WRITING_S)

    def test_an_outage_that_lasts_counts(self):
        self.losses.store_away(90)
        self.assertEqual(self.before_s(120), 30 + WRITING_S)

    def test_one_outage_soon_after_another_hides_it_not(self):
        self.outage(90, 95)
        self.outage(95.5, 100)
        self.assertEqual(self.before_s(101), 11 + WRITING_S)
        self.outage(103, 104)
        self.assertEqual(self.before_s(104.5), 1.5 + WRITING_S)

    def test_an_outage_that_began_later_hides_it_not(self):
        """Redis is back, a node is paused at once, and Redis is away again before it goes on."""
        self.outage(33.2, 37.5)
        self.losses.node_pauses("n3", 38.0)
        self.losses.store_away(39.7)
        self.losses.store_answered(40.6, 40.6)
        self.losses.node_continues("n3", 40.9)
        self.assertEqual(self.before_s(38.0, "n3"), round(38.0 - 33.2 + WRITING_S, 6))
        self.losses.map_seen(1, 1, 1, owners("n3"))
        self.losses.continued("n3", 38.0, 40.9)
        crash, stale = self.losses.spans()
        self.assertEqual(round(crash[1], 6), round(38.0 - 33.2 + WRITING_S, 6))
        self.assertEqual((stale[0].kind, stale[0].at_s), ("stale", 40.9))

    def test_while_it_is_paused_a_node_writes_nothing(self):
        self.losses.node_pauses("n1", 96)
        self.losses.node_continues("n1", 99.9)
        self.assertEqual(self.before_s(100), 4 + WRITING_S)
        self.assertEqual(self.before_s(100, "n2"), WRITING_S)

    def test_a_store_that_nobody_knew_to_be_away(self):
        self.losses.store_away(90)  # a look at it was not answered in time
        self.losses.store_away(91.1)
        self.losses.store_answered(92.2, 92.3)
        self.assertEqual(self.losses.outages, [[90, 92.3]])


class Slots(unittest.TestCase):
    def setUp(self):
        self.losses = Losses()
        self.losses.map_seen(10.0, 10.1, 1, owners("n1"))
        self.losses.map_seen(20.0, 20.1, 1, owners("n1"))

    def test_a_map_is_in_force_since_the_look_before_it_was_seen(self):
        """Between those the store was away; the map had been changed just before."""
        self.losses.map_seen(25.0, 25.1, 2, owners("n2", but={7}))
        self.assertEqual(len(self.losses.slots_of("n2", 20.5, 21.0)), SLOTS - 1)
        self.assertEqual(len(self.losses.slots_of("n1", 24.0, 24.5)), SLOTS)
        self.assertEqual(self.losses.slots_of("n1", 26.0, 27.0), set())
        self.assertEqual(self.losses.slots_of("n2", 15.0, 19.0), set())
        self.assertEqual(self.losses.owners_of(7), [(10.1, 1, "n1"), (25.1, 2, "n9")])

    def test_maps_that_nobody_saw_are_counted(self):
        self.losses.map_seen(25.0, 25.1, 4, owners("n2"))
        self.assertEqual(self.losses.epochs_unseen, 2)


class Takeovers(unittest.TestCase):
    """A takeover that nobody planned must be noted; one that was must not be forgiven twice."""

    def setUp(self):
        self.losses = Losses()
        self.losses.map_seen(10.0, 10.1, 1, owners("n1"))

    def taken_over(self, asked_s):
        self.losses.map_seen(asked_s - 0.05, asked_s - 0.04, 1, owners("n1"))
        self.losses.map_seen(asked_s, asked_s + 0.01, 2, owners("n2"))
        return self.losses.takeover("n1", 2)

    def test_of_a_dead_node(self):
        self.losses.node_ends("n1", 15.0)
        self.assertFalse(self.taken_over(15.7))

    def test_of_a_node_that_lives_again(self):
        """It was killed a while ago, was started again, and lost its turn later."""
        self.losses.crash("n1", 15.0, 15.0, "killed")
        self.losses.node_ends("n1", 15.0)
        self.losses.node_starts("n1", 15.2)
        self.assertTrue(self.taken_over(18.0))
        loss, before_s, until_s, slots = self.losses.spans()[-1]
        self.assertLessEqual(loss.at_s - before_s, 17.95 - LEASE_S - WRITING_S)
        self.assertGreaterEqual(until_s, 18.01 + HEAR_S)
        self.assertEqual(len(slots), SLOTS)

    def test_of_a_node_that_was_paused_for_long(self):
        self.losses.node_pauses("n1", 15.0)
        self.losses.node_continues("n1", 16.0)
        self.losses.continued("n1", 15.0, 16.0)
        self.assertFalse(self.taken_over(15.9))

    def test_of_a_node_that_was_paused_for_a_moment(self):
        self.losses.node_pauses("n1", 15.0)
        self.losses.node_continues("n1", 15.2)
        self.losses.continued("n1", 15.0, 15.2)
        self.assertEqual(self.losses.noted, [])
        self.assertTrue(self.taken_over(15.6))

    def test_without_the_store_nobody_hears_of_it(self):
        self.losses.store_away(16.1)
        self.losses.store_answered(19.0, 19.0)
        self.losses.continued("n1", 15.0, 16.0)
        self.assertEqual(self.losses.spans()[-1][2], 19.0 + RECONNECT_S + HEAR_S)


class Driver(unittest.TestCase):
    def setUp(self):
        self.node = types.SimpleNamespace(pid=1, alive=False, start=lambda: None)
        cluster = types.SimpleNamespace(losses=Losses(), directory="", processes={"n1": self.node})
        self.day = Day(cluster, [], 1)

    def test_what_a_node_answers_at_once_when_it_is_continued_counts(self):
        """The driver may not get its turn for a while after it has sent the signal."""
        self.day.paused["n1"] = time.monotonic() - 1
        sent = []

        def kill(pid, number):
            sent.append(time.monotonic())
            time.sleep(0.05)

        with mock.patch("os.kill", kill):
            self.day.do_continue("n1", None)
        stale = [loss for loss in self.day.losses.noted if loss.kind == "stale"]
        self.assertLessEqual(stale[0].at_s, sent[0])

    def test_a_node_that_the_schedule_starts_is_not_to_be_started_by_the_supervisor(self):
        """It waited for that as long as it was about to start it: for ever."""
        self.day.restart_at["n1"] = time.monotonic() + 0.2
        self.day.do_start("n1", None)
        self.assertEqual(self.day.restart_at, {})


if __name__ == "__main__":
    unittest.main()
