"""Who may use Redis: the user and the ACL that are shipped, and a password that changes."""

import os
import re
import time
import unittest

from harness import RELAXED_PLANS, REPO, SLOW, Cluster, Node, Redis, ctl, new_directory, say, wait_for
from move_tools import wait_in_map

ACL_FILE = os.path.join(REPO, "deploy/redis/sluice.acl")
PASSWORD = "correct-horse"


def shipped_line():
    """The one line of the file that is not a comment."""
    with open(ACL_FILE) as file:
        lines = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    assert len(lines) == 1, lines
    assert " >replace-me " in lines[0], lines[0]
    return lines[0].replace(">replace-me", ">" + PASSWORD)


def redis_with_acl(directory, line, name="redis", port=None, args=()):
    path = os.path.join(directory, name + ".acl")
    with open(path, "w") as file:
        file.write("user default on nopass ~* &* +@all\n" + line + "\n")
    return Redis(directory, port, name=name, args=["--aclfile", path] + list(args))


class AccessTest(unittest.TestCase):
    smoke = False

    def open_cluster(self, redis, url, **options):
        cluster = Cluster(redis=redis, store_url=url, **options)
        cluster.__enter__()
        self.addCleanup(cluster.end)
        self.cluster = cluster
        return cluster

    def ok(self, *words, within_s=30):
        code, out, err = ctl("--router", self.cluster.router.url, "--control",
                             self.cluster.nodes[0].control_url, *words, within_s=within_s)
        self.assertEqual(code, 0, "%s: %s%s" % (words, out, err))

    def live(self, cluster, url):
        """All that nodes ask of Redis in a cluster's life."""
        with cluster.connect() as connection:
            connection.take_many([[b"user-%03d" % i, 3, "slow"] for i in range(300)])
            connection.take_many([[b"soon-%03d" % i, 1, "fast"] for i in range(300)])  # full again
        self.ok("key", "assign", "user-001", "two")
        self.ok("key", "show", "user-001")
        self.ok("key", "assign", "user-001", "--none")
        third = Node(cluster.directory, "n3", url, args=["--lease-ttl", "500ms"],
                     env={"SLUICE_REDIS_PASSWORD": PASSWORD})
        cluster.nodes.append(third)
        cluster.processes.insert(0, third)
        third.start()
        wait_in_map(cluster, "n3")
        self.ok("rebalance", "--yes", within_s=60)
        self.ok("node", "drain", "n3", "--yes", within_s=60)
        self.assertEqual(third.terminate(), 0)
        self.ok("node", "remove", "n3")
        self.ok("events")
        self.ok("nodes")
        time.sleep(0.5)  # the short plan's buckets are full again and leave the store
        self.assertEqual(cluster.nodes[1].terminate(), 0)
        cluster.nodes[1].start()
        cluster.wait_ready()
        self.ok("take", "user-002")

    def denied(self):
        with self.cluster.redis.client() as client:
            log = client.call("ACL", "LOG")
        return {dict(zip(entry[::2], entry[1::2]))[b"object"].decode() for entry in log}

    def test_a_full_life_under_the_acl_that_is_shipped(self):
        line = shipped_line()
        redis = redis_with_acl(new_directory(), line)
        url = "redis://sluice@127.0.0.1:%d/0" % redis.port
        cluster = self.open_cluster(redis, url, node_env={"SLUICE_REDIS_PASSWORD": PASSWORD})
        self.live(cluster, url)
        self.assertEqual(self.denied(), set())
        with redis.client() as client:
            used = {name.lower() for name in re.findall(r"cmdstat_([^:]+):calls=[1-9]", client.call(
                "INFO", "commandstats").decode())}
            users = client.call("ACL", "LIST")
        self.assertIn("user=sluice", "".join("user=" + user.decode().split()[1] for user in users))
        given = set(re.findall(r" \+(\S+)", line))
        # Only what `ack` asks for, databases other than 0, and what test_redis_cluster uses, is given
        # without being used here.
        self.assertEqual(given - used, {"select", "config|get", "wait", "cluster|slots", "asking"})
        # The check fires: each of these is missed when it is taken away.
        for command, asks in (("xadd", ["plans", "apply", os.path.join(
                REPO, "deploy/plans/example.yaml")]), ("xrevrange", ["events"])):
            with redis.client() as client:
                client.call("ACL", "SETUSER", "sluice", "-" + command)
            ctl("--control", cluster.nodes[0].control_url, *asks)
            wait_for("%s is missed" % command, lambda: command in self.denied())
        say("%d commands given, each used but those for ack and databases; none was missed" %
            len(given))
        cluster.__exit__(None, None, None)

    def test_a_password_that_changes_under_running_nodes(self):
        """The old one is refused at the next connection; the node says so, goes on from memory,
        tries on, and is let in when its file has the new one."""
        directory = new_directory()
        path = os.path.join(directory, "password")

        def write(password):
            with open(path + ".new", "w") as file:
                file.write(password + "\n")
            os.rename(path + ".new", path)

        write(PASSWORD)
        redis = redis_with_acl(directory, shipped_line())
        url = "redis://sluice@127.0.0.1:%d" % redis.port
        cluster = self.open_cluster(redis, url, nodes=1, plans=RELAXED_PLANS,
                                    node_args=["--redis-password-file", path])
        keys = [b"user-%03d" % i for i in range(200)]

        def spend():
            with cluster.connect() as connection:
                for answer in connection.take_many([[key, 3, "slow"] for key in keys]):
                    self.assertTrue(answer.allowed and not answer.degraded, answer)

        spend()
        with redis.client() as client:
            client.call("ACL", "SETUSER", "sluice", ">battery-staple", "<" + PASSWORD)
            client.call("CLIENT", "KILL", "USER", "sluice")
            node = cluster.nodes[0]
            wait_for("it says why", lambda: b"WRONGPASS" in node.log())
            spend()  # decided from memory
            time.sleep(1.0 * SLOW)
            self.assertLess(node.log().count(b"WRONGPASS"), 4)  # once a link, not once an attempt
            self.assertIn(b"--redis-password-file", node.log())
            with node.control() as control:
                self.assertFalse(control.call("node.status")["store"]["up"])
                write("battery-staple")
                began = time.monotonic()
                wait_for("it is let in again", lambda: control.call("node.status")["store"]["up"])
            took_s = time.monotonic() - began
            wait_for("all is written", lambda: client.bucket_count() == len(keys))
        before = cluster.levels(keys, "slow")
        self.assertEqual(set(before.values()), {994})
        time.sleep(0.3 * SLOW)
        node.kill9()
        node.start()
        cluster.wait_ready()
        self.assertEqual(cluster.levels(keys, "slow"), before)
        for word in (PASSWORD, "battery-staple"):
            self.assertNotIn(word.encode(), node.log())
        say("let in %.1f s after its password file was right; nothing lost" % took_s)
        cluster.__exit__(None, None, None)


if __name__ == "__main__":
    unittest.main()
