"""What must change nothing: a map of an older epoch that arrives late, wherever it arrives; and
whatever is of another cluster. Each is refused by name, and the log or the events tell of it.
"""

import socket
import struct
import threading
import time

import msgpack

from harness import (SLOW, SNAPSHOT_S, Cluster, Node, Router, RpcError, ctl, free_ports, say,
                     wait_for)
from move_tools import (events, key_of_each_slot, move, newest_map, owner_list, router_status,
                        wait_answered, wait_in_map)
from sp_client import connect_when_up
from test_move import MovingTest

# Beyond its interval a write may take so long here, where tests share two processors.
WRITE_S = 0.2 * SLOW

GREETING_REP = b"\0SP\0\0\x31\0\0"


class FakeNode(threading.Thread):
    """A control endpoint that answers what it is told to: `answers[method]` is the result, or a
    function of the parameters. What it has no answer for it asks of the real node behind it."""

    def __init__(self, behind=None):
        super().__init__(daemon=True)
        self.behind, self.answers, self.asked, self.closing = behind, {}, [], False
        self.port = free_ports()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(16)
        self.start()

    @property
    def url(self):
        return "tcp://127.0.0.1:%d" % self.port

    def run(self):
        while not self.closing:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def close(self):
        self.closing = True
        self.listener.close()

    def serve(self, peer):
        try:
            peer.sendall(GREETING_REP)
            self.read(peer, 8)
            while True:
                body = self.read(peer, struct.unpack(">Q", self.read(peer, 8))[0])
                # Headers up to the one with the highest bit set lead the answer back.
                at = 4
                while not body[at - 4] & 0x80:
                    at += 4
                _, msgid, method, params = msgpack.unpackb(body[at:], raw=False)
                answer = msgpack.packb([1, msgid, None, self.answer(method, params)])
                peer.sendall(struct.pack(">Q", at + len(answer)) + body[:at] + answer)
        except (OSError, EOFError):
            peer.close()

    @staticmethod
    def read(peer, size):
        data = b""
        while len(data) < size:
            part = peer.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def answer(self, method, params):
        self.asked.append(method)
        if method in self.answers:
            answer = self.answers[method]
            return answer(params) if callable(answer) else answer
        with connect_when_up(self.behind) as connection:
            return connection.call(method, *params)


class OldMapTest(MovingTest):
    """A map of an epoch that is over arrives at a router, a node, an operator's tool."""

    smoke = False

    def test_at_a_router(self):
        cluster = self.open_cluster(nodes=2, slots=64)
        fake = FakeNode(cluster.nodes[0].control_url)
        self.addCleanup(fake.close)
        router = Router(cluster.directory, [], ["--nodes", fake.url], name="router-2")
        router.argv = [word for word in router.argv if word != ""]
        router.argv.remove("--nodes")  # the empty one
        cluster.processes.insert(0, router.start())
        with cluster.control() as control:
            old = control.call("cluster.map")
        keys = key_of_each_slot(64)
        with router.connect() as connection:
            connection.take_many([[key, 2, "slow"] for key in keys])
        # Everything changes places, and back; the router is told.
        for to in (2, 0):
            cluster_map = newest_map(cluster)
            owners = owner_list(cluster_map)
            mine = [slot for slot, shard in enumerate(owners) if shard == (0 if to == 2 else 2)]
            move(cluster, cluster_map, mine, to)
        epoch = newest_map(cluster)["epoch"]
        wait_for("the router knows", lambda: router_status(cluster, router)["epoch"] == epoch)
        before = router_status(cluster, router)["counters"]
        asked = fake.asked.count("cluster.map")
        fake.answers["cluster.map"] = old
        wait_for("it was given the old map", lambda: router_status(cluster, router)["counters"][
            "views_old"] > before["views_old"])
        with router.connect() as connection:
            answers = connection.take_many([[key, 1, "slow"] for key in keys])
        after = router_status(cluster, router)
        self.assertEqual([one.remaining for one in answers], [997] * 64)
        self.assertEqual(after["epoch"], epoch)
        self.assertEqual(after["counters"]["moved"], before["moved"])
        self.assertIn(b"answered with map epoch %d, older than epoch %d: ignored" %
                      (old["map"]["epoch"], epoch), router.log())
        say("a router at epoch %d was given epoch %d: no take went astray" %
            (epoch, old["map"]["epoch"]))
        self.assertGreater(fake.asked.count("cluster.map"), asked)
        self.close_cluster()

    def test_at_nodes(self):
        """The old map is put back into Redis, as after a loss of its file's tail."""
        cluster = self.open_cluster(nodes=3, slots=64)
        keys = key_of_each_slot(64)
        with cluster.connect() as connection:
            connection.take_many([[key, 2, "slow"] for key in keys])
        before = cluster.levels(keys, "slow")
        with cluster.redis.client() as redis:
            number, value = redis.call("HMGET", "sluice:{cluster}:map", "number", "value")
            cluster_map = newest_map(cluster)
            mine = [s for s, shard in enumerate(owner_list(cluster_map)) if shard == 0]
            move(cluster, cluster_map, mine, 3)
            after = newest_map(cluster)
            redis.call("HSET", "sluice:{cluster}:map", "number", number, "value", value)
            wait_for("the newer map is back", lambda: int(redis.call(
                "HGET", "sluice:{cluster}:map", "number")) == after["epoch"])
        # Those who had not heard of it yet get it now.
        wait_for("it is everybody's", lambda: [newest_map_of(node) for node in cluster.nodes] ==
                 [after] * 3, 5)
        wait_answered(cluster, keys, time.monotonic(), 5)
        self.assertEqual(cluster.levels(keys, "slow"), before)
        told = wait_for("it is told", lambda: [
            event for event in events(cluster) if event["kind"] == "map-old"])
        self.assertEqual(len(told), 1, told)
        self.assertIn("epoch %d was put back" % after["epoch"], told[0]["text"])
        # The map can be changed again, and by anybody.
        move(cluster, after, mine, 5)
        wait_answered(cluster, keys, time.monotonic(), 5)
        self.assertEqual(cluster.levels(keys, "slow"), before)
        say("Redis was given the map of epoch %d in place of %d: %s" %
            (int(number), after["epoch"], told[0]["text"]))
        self.close_cluster()

    def test_at_sluicectl(self):
        cluster = self.open_cluster(nodes=2, slots=64)
        fake = FakeNode(cluster.nodes[0].control_url)
        self.addCleanup(fake.close)
        with cluster.control() as control:
            old = control.call("cluster.map")
        self.add_node("n3")
        after = wait_in_map(cluster, "n3")
        fake.answers["cluster.map"] = old
        code, out, err = ctl("--control", fake.url, "--router", cluster.router.url, "rebalance",
                             "--yes")
        self.assertEqual(code, 3, out + err)
        self.assertIn("has an old map", err)
        self.assertGreater(fake.asked.count("cluster.refresh"), 3)  # it was told of the newer one
        self.assertEqual(newest_map(cluster)["epoch"], after["epoch"])
        # Once the node has come by the newer map, so has the tool.
        del fake.answers["cluster.map"]
        code, out, err = ctl("--control", fake.url, "--router", cluster.router.url, "rebalance",
                             "--yes")
        self.assertEqual(code, 0, out + err)
        self.close_cluster()


class OtherClusterTest(MovingTest):
    smoke = False

    def open_other(self, **options):
        other = Cluster(**options)
        other.__enter__()
        self.addCleanup(other.end)
        return other

    def id_of(self, cluster):
        return newest_map(cluster)["cluster"]

    def test_a_router_keeps_to_its_cluster(self):
        cluster, other = self.open_cluster(nodes=1), self.open_other(nodes=1)
        self.assertNotEqual(self.id_of(cluster), self.id_of(other))
        router = Router(cluster.directory, [cluster.nodes[0], other.nodes[0]], name="router-2")
        cluster.processes.insert(0, router.start())
        wait_for("the router has a map", lambda: router_status(cluster, router)["epoch"])
        with router.connect() as connection:
            connection.take(b"alice", 5, "slow")
        time.sleep(SNAPSHOT_S + WRITE_S)
        # Its own cluster is gone for a while: it asks whom it was told to.
        cluster.nodes[0].kill9()
        wait_for("it has asked the other one", lambda: router_status(cluster, router)["counters"][
            "views_refused"] > 0)
        status = router_status(cluster, router)
        self.assertRegex(router.log().decode(), r"%s is a node of another cluster: the map is of "
                         r"cluster %s, this is cluster %s" % (other.nodes[0].control_url,
                                                              self.id_of(other), status["cluster"]))
        self.assertEqual([link["endpoint"] for link in status["links"]],
                         [cluster.nodes[0].shard_url(i) for i in range(2)])
        cluster.nodes[0].start()
        self.assertEqual(wait_for("its own is back", lambda: self.granted(router)), 1000 - 5 - 1)
        self.assertEqual(status["cluster"], self.id_of(cluster))
        other.__exit__(None, None, None)
        self.close_cluster()

    def granted(self, router):
        with router.connect() as connection:
            answer = connection.take(b"alice", 1, "slow")
            return 0 if answer.degraded else answer.remaining

    def test_a_target_of_another_cluster(self):
        """A node of another cluster runs at the place where the map says that n2 is."""
        cluster = self.open_cluster(nodes=2, node_args=["--lease-ttl", "20s"])
        other, gone = self.open_other(nodes=1), cluster.nodes[1]
        gone.kill9()
        stranger = Node(other.directory, "n2", other.redis.url, 2, name="stranger")
        stranger.argv = [gone.control_url if word == stranger.control_url else word
                         for word in stranger.argv]
        stranger.control_url = gone.control_url
        other.processes.insert(0, stranger.start())
        wait_for("the stranger has a map", lambda: self.has_map(stranger))
        cluster_map = newest_map_of(cluster.nodes[0])
        mine = [slot for slot, shard in enumerate(owner_list(cluster_map)) if shard == 0]
        with cluster.control() as control:
            with self.assertRaises(RpcError) as refusal:
                control.call("slots.move", mine[:8], "n2", 0)
        self.assertEqual(refusal.exception.code, "CONFLICT", refusal.exception)
        self.assertIn("is of cluster " + self.id_of(other), refusal.exception.text)
        self.assertEqual(newest_map_of(cluster.nodes[0])["owners"], cluster_map["owners"])
        keys = [key for slot, key in enumerate(key_of_each_slot(1024)) if slot in mine]
        wait_answered(cluster, keys, time.monotonic(), 5)
        stranger.kill9()
        gone.start()
        wait_for("n2 is back", lambda: self.has_map(gone))
        self.close_cluster()

    def has_map(self, node):
        with node.control() as control:
            return control.call("cluster.map")["map"]

    def test_a_target_that_is_not_what_the_map_says(self):
        cluster = self.open_cluster(nodes=2, node_args=["--lease-ttl", "20s"])
        cluster_map = newest_map(cluster)
        right = {"epoch": cluster_map["epoch"], "node": "n2", "cluster": cluster_map["cluster"],
                 "slots": 1024, "map_format": 1, "version": "0.0.9"}
        gone = cluster.nodes[1]
        gone.kill9()
        fake = FakeNode()
        self.addCleanup(fake.close)
        # It has n2's place in the map from now on.
        with cluster.redis.client() as redis:
            value = msgpack.unpackb(redis.call("HGET", "sluice:{cluster}:map", "value"), raw=False)
            value["epoch"] += 1
            value["nodes"][1][1] = fake.url
            redis.call("HSET", "sluice:{cluster}:map", "number", value["epoch"], "value",
                       msgpack.packb(value))
        wait_for("n1 has the map", lambda: newest_map_of(cluster.nodes[0])["epoch"] ==
                 value["epoch"])
        for change, words in (
                ({"slots": 64}, "has a map of 64 slots, this cluster has 1024"),
                ({"node": "n7"}, "is node n7"),
                ({"map_format": 0.5}, "is no node of this version"),
                ({"cluster": "0123456789abcdef"}, "is of cluster 0123456789abcdef")):
            fake.answers["cluster.refresh"] = dict(right, **change)
            with cluster.control() as control:
                with self.assertRaises(RpcError) as refusal:
                    control.call("slots.move", [0, 1], "n2", 0)
            self.assertEqual(refusal.exception.code, "CONFLICT", refusal.exception)
            self.assertIn(words, refusal.exception.text)
            self.assertEqual(newest_map_of(cluster.nodes[0])["epoch"], value["epoch"])
        fake.close()
        self.close_cluster()

    def test_a_store_of_another_cluster(self):
        """The map of another cluster, and of another number of slots, appears in a node's Redis."""
        other = self.open_other(nodes=1, slots=64)
        with other.redis.client() as redis:
            value = redis.call("HGET", "sluice:{cluster}:map", "value")
        theirs = msgpack.unpackb(value, raw=False)
        for change, words in (({}, "the map is of cluster %s" % theirs["cluster"]),
                              ({"cluster": None}, "the map has 64 slots, this cluster has 1024")):
            cluster = self.open_cluster(nodes=2)
            mine = self.id_of(cluster)
            value = dict(theirs, epoch=1000, **change)
            if value["cluster"] is None:
                del value["cluster"]  # of a version that knows of no ids
            with cluster.redis.client() as redis:
                redis.call("HSET", "sluice:{cluster}:map", "number", 1000, "value",
                           msgpack.packb(value))
            for node in cluster.nodes:
                self.assertEqual(node.wait(), 1)
                self.assertIn(words, node.log().decode())
                self.assertIn("no longer this cluster's", node.log().decode())
            with cluster.redis.client() as redis:
                self.assertEqual(redis.call("KEYS", "sluice:{*}:buckets"), [])
            self.assertEqual(len(mine), 16)
            cluster.end()
        other.__exit__(None, None, None)

    def test_an_operator_of_another_cluster(self):
        cluster, other = self.open_cluster(nodes=2), self.open_other(nodes=1)
        self.add_node("n3")
        wait_in_map(cluster, "n3")
        code, out, err = ctl("--control", cluster.nodes[0].control_url, "--router",
                             other.router.url, "rebalance", "--yes")
        self.assertEqual(code, 0, out + err)
        self.assertRegex(err, "router at %s is of cluster %s, this is cluster %s" % (
            other.router.url, self.id_of(other), self.id_of(cluster)))
        self.assertNotIn("parked", out)
        # In the middle of a job another cluster's node answers at --control.
        fake = FakeNode(cluster.nodes[0].control_url)
        self.addCleanup(fake.close)
        with other.control() as control:
            theirs = control.call("cluster.map")

        def first_ours():
            """The tool reads the map once for its plan; later it is another's."""
            seen = []

            def answer(params):
                seen.append(1)
                if len(seen) > 1:
                    return theirs
                with cluster.control() as control:
                    return control.call("cluster.map")
            return answer

        fake.answers["cluster.map"] = first_ours()
        before = newest_map(cluster)
        code, out, err = ctl("--control", fake.url, "--router", cluster.router.url, "node",
                             "drain", "n3", "--yes")
        self.assertNotEqual(code, 0, out + err)
        self.assertIn(self.id_of(other), out + err)
        self.assertEqual(newest_map(cluster)["owners"], before["owners"])
        code, out, err = ctl("--control", cluster.nodes[0].control_url, "status")
        self.assertIn("cluster %s, map epoch" % self.id_of(cluster), out)
        other.__exit__(None, None, None)
        self.close_cluster()


def newest_map_of(node):
    with node.control() as control:
        return control.call("cluster.map")["map"]
