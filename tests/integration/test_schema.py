"""Releases side by side, as far as the schema of records goes: the present one, the next, which reads
one schema more, and the one after it, which writes that one (tests/schema). Neighbours run together,
and each may be put back; others refuse to start beside each other; a record that a node cannot read
is refused by name and stays as it is."""

import unittest

import msgpack

from harness import Cluster, RpcError, program, say, wait_for
from move_tools import key_of_each_slot, newest_map, owner_list
from sp_client import connect_when_up

PRESENT, NEXT, AFTER_NEXT = "sluice-node", "test-node-schema-1_reads_2", "test-node-schema-2"
BURST = 1000
SLOTS = 16


class SchemaTest(unittest.TestCase):
    smoke = False

    def start(self, node, name):
        node.argv[node.argv.index(program(node.runs))] = program(name)
        node.runs = name
        node.start()

    def restart(self, node, name):
        """A rolling step: a planned stop, and another release in its place."""
        self.assertEqual(node.terminate(), 0)
        self.start(node, name)
        self.wait_both()

    def wait_both(self):
        with self.cluster.control() as control:
            wait_for("both nodes are alive", lambda: self.cluster._alive_count(control) == 2)
        self.cluster.wait_ready()

    def refused(self, node, name):
        """That release does not start here: what it says of that."""
        at = len(node.log())
        self.start(node, name)
        self.assertEqual(node.wait(), 1)
        return node.log()[at:].decode()

    def take_all(self, keys=None):
        """One token of each key: what is left tells of all that was ever taken."""
        keys = keys or self.keys
        with self.cluster.connect() as connection:
            ids = [connection.send("take", key, 1, "slow", {"deadline_ms": 10000}) for key in keys]
            for key, request in zip(keys, ids):
                self.spent[key] += 1
                self.assertEqual(connection.result(request, 30)[:2],
                                 [True, BURST - self.spent[key]], key)

    def schemas(self):
        """Of all stored records."""
        with self.cluster.redis.client() as redis:
            return {msgpack.unpackb(record)[0] for slot in range(SLOTS)
                    for record in redis.call("HVALS", "sluice:{%d}:buckets" % slot)}

    def test_rolling(self):
        with Cluster(nodes=2, shards=1, slots=SLOTS) as self.cluster:
            one, two = self.cluster.nodes
            one.runs = two.runs = PRESENT
            self.keys = key_of_each_slot(SLOTS)
            self.spent = dict.fromkeys(self.keys, 0)
            self.take_all()

            two.terminate()
            text = self.refused(two, AFTER_NEXT)  # two releases at once are one too many
            self.assertIn("writes records of schema 2, and node n1 (version ", text)
            self.assertIn("reads up to 1: upgrade that node first", text)
            self.start(two, NEXT)
            self.wait_both()
            self.take_all()
            self.restart(one, NEXT)
            self.assertEqual(self.schemas(), {1})

            self.restart(two, AFTER_NEXT)
            self.take_all()
            wait_for("both schemas are in the store", lambda: self.schemas() == {1, 2})
            two.kill9()  # its slots go to the older release, records and all
            wait_for("n1 has taken over", lambda: set(owner_list(newest_map(self.cluster))) == {0})
            self.cluster.wait_ready()
            self.take_all()
            self.start(two, AFTER_NEXT)
            self.restart(one, AFTER_NEXT)
            self.take_all()
            wait_for("all are of schema 2", lambda: self.schemas() == {2})

            two.terminate()
            text = self.refused(two, PRESENT)
            self.assertIn("node n1 (version ", text)
            self.assertIn("writes records of schema 2, and this version (", text)
            self.assertIn("reads up to 1: it is too old for this cluster", text)
            self.restart_alone(one, two)
            self.restart(one, NEXT)
            self.take_all()
            say("two releases up, one down, two too far and mended: %d tokens of %d keys, none "
                "lost, none granted twice" % (sum(self.spent.values()), len(self.keys)))

    def restart_alone(self, one, two):
        """Two releases back with nobody there to object: each key is refused by name, its record
        stays, and the release that knows it finds all as it was."""
        self.assertEqual(one.terminate(), 0)
        self.start(one, PRESENT)
        before = self.records()
        key = self.keys[0]

        def named():
            with connect_when_up(one.shard_url(0)) as shard:
                try:
                    shard.take(key, 1, "slow")
                except RpcError as error:
                    return "of a later version of Sluice (upgrade this node)" in str(error)
            return False

        wait_for("a take is refused by name", named)
        self.assertIn(b"schema 2, this version reads up to 1: it is too old", one.log())
        self.assertEqual(one.terminate(), 0)
        self.assertEqual(self.records(), before)
        self.start(one, NEXT)
        self.start(two, NEXT)
        self.wait_both()
        self.take_all()

    def records(self):
        with self.cluster.redis.client() as redis:
            return [redis.call("HGETALL", "sluice:{%d}:buckets" % slot) for slot in range(SLOTS)]


if __name__ == "__main__":
    unittest.main()
