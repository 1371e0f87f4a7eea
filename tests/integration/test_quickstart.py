"""The quickstart in a directory of its own, and the README's first takes as they are printed.

Uses built programs (--bin), so that nothing is installed or built here.
"""

import os
import re
import shutil
import socket
import subprocess
import textwrap
import unittest

from harness import (BIN, REPO, end_all, endings, free_ports, new_directory, program, say,
                     wait_for)
from sp_client import connect_when_up

SCRIPT = os.path.join(REPO, "deploy/quickstart.sh")
BUILD = os.path.dirname(BIN)

# Asks once the service listens, and ends it.
EDGE_SERVICE = """
./edge_service {port} tcp://{router} & service=$!
for tries in $(seq 100); do
    if exec 5<>/dev/tcp/127.0.0.1/{port}; then break; fi 2>/dev/null
    sleep 0.1
done
printf 'GET /?cost=2&plan=premium HTTP/1.1\\r\\nx-api-key: edge\\r\\nConnection: close\\r\\n\\r\\n' >&5
cat <&5
kill $service
wait $service
"""


class QuickstartTest(unittest.TestCase):
    smoke = False  # it is about scripts, and compiles a program that a sanitizer would not link to

    def setUp(self):
        program("sluice-node")
        self.directory = new_directory()
        # What the script starts outlives it, and would outlive this process.
        endings.append(self.stop)
        self.addCleanup(end_all)

    def stop(self):
        self.script("stop", check=False)

    def script(self, verb, *words, check=True):
        done = subprocess.run([SCRIPT, verb, "--dir", self.directory, "--bin", BIN] + list(words),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=180)
        if check:
            self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def ports(self):
        with open(os.path.join(self.directory, "ports")) as file:
            return {name: int(value) for name, value in re.findall(r"^(\w+)=(\d+)$", file.read(),
                                                                   re.MULTILINE)}

    def pids(self):
        found = {}
        for name in os.listdir(os.path.join(self.directory, "run")):
            with open(os.path.join(self.directory, "run", name)) as file:
                found[name[:-len(".pid")]] = int(file.read().split()[0])
        return found

    def take_default_ports(self):
        """Listens where the router and a node would, unless someone does already."""
        for port in (7400, 7501):
            try:
                listener = socket.create_server(("127.0.0.1", port))
            except OSError:
                continue
            self.addCleanup(listener.close)

    def test_life_of_a_cluster(self):
        self.take_default_ports()
        out = self.script("start")
        ports = self.ports()
        self.assertNotEqual(ports["router_port"], 7400)
        self.assertIn("port 7400 is taken", out)
        self.assertIn("listens on %d" % ports["router_port"], out)
        self.assertRegex(out, "(?i)granted")
        pids = self.pids()
        self.assertEqual(sorted(pids), ["n1", "n2", "n3", "redis", "router"])
        router = "tcp://127.0.0.1:%d" % ports["router_port"]
        with connect_when_up(router) as connection:  # for plans that are decided there
            wait_for("the router has a store",
                     lambda: connection.call("cluster.status")["store"] == "up")
        take = [program("sluicectl"), "--router", router, "--json", "take", "keeper", "3", "--rate",
                "1", "--period-ms", "3600000", "--burst", "10"]
        self.assertEqual(subprocess.run(take, stdout=subprocess.PIPE).returncode, 0)

        again = self.script("start")
        self.assertIn("running already", again)
        self.assertEqual(self.pids(), pids)
        status = self.script("status")
        for name, pid in pids.items():
            self.assertIn("pid %d" % pid, status)

        stopped = self.script("stop")
        self.assertNotIn("killed", stopped)
        for name, pid in pids.items():
            self.assertFalse(runs(pid), name)
        self.assertIn("Nothing runs", self.script("stop"))
        self.assertIn("Nothing runs", self.script("status", check=False))

        # A pid file left over, whose pid is somebody else's now: that one is left alone.
        bystander = subprocess.Popen(["sleep", "60"])
        self.addCleanup(bystander.wait)
        self.addCleanup(bystander.kill)
        with open(os.path.join(self.directory, "run", "n1.pid"), "w") as file:
            file.write("%d 12345\n" % bystander.pid)
        self.script("start")
        self.assertIsNone(bystander.poll())
        self.assertEqual(self.ports(), ports)
        out = subprocess.run(take, stdout=subprocess.PIPE, text=True).stdout
        self.assertRegex(out, r'"remaining": ?4\b', "three were spent before the stop")
        say("three nodes, a router and Redis on other ports than the defaults; state kept over "
            "stop and start")

    def test_the_readmes_first_takes(self):
        self.script("start", "--nodes", "1")
        router = "127.0.0.1:%d" % self.ports()["router_port"]
        examples = readme_examples()
        self.assertEqual(sorted(examples), ["c", "install", "nngcat", "python", "sluicectl"])
        prefix = os.path.join(self.directory, "installed")
        install = examples.pop("install").replace("build/release", BUILD).replace("~/.local",
                                                                                  prefix)
        work = os.path.join(self.directory, "work")
        os.mkdir(work)
        for name, text in sorted(examples.items()):
            with self.subTest(name):
                self.assertIn("127.0.0.1:7400", text.replace('("127.0.0.1", 7400)',
                                                             "127.0.0.1:7400"))
                text = text.replace("127.0.0.1:7400", router).replace(
                    '"127.0.0.1", 7400', '"127.0.0.1", %s' % router.split(":")[1])
                out = self.run_example(work, install + text)
                self.assertRegex(out, "(?i)granted|true", name)
        say("C, sluicectl, nngcat and Python as printed in README.md")
        for name in ("first_take", "edge_service"):
            with self.subTest(name):
                self.build_example(work, install, name)
        out = self.run_example(work, install + "./first_take example tcp://%s" % router)
        self.assertIn("granted", out)
        port = free_ports()
        # To be told that it cannot: a router's port is no place to listen at.
        out = self.run_example(work, install + "./edge_service %s tcp://%s 2>&1 || true" %
                               (router.split(":")[1], router))
        self.assertIn("address already in use", out)
        out = self.run_example(work, install + EDGE_SERVICE.format(port=port, router=router))
        self.assertIn("HTTP/1.1 200 OK", out)

    def build_example(self, work, install, name):
        """By the line in its own first comment, with what was installed and nothing of the tree."""
        source = os.path.join(REPO, "client/examples", name + ".c")
        with open(source) as file:
            line, = re.findall(r"^ \*     (cc .* -o %s)\b" % name, file.read(), re.MULTILINE)
        shutil.copy(source, work)
        out = self.run_example(work, install + line.replace("cc ", "cc -Wall -Werror ", 1))
        self.assertNotIn("warning", out)

    def run_example(self, work, script):
        """A console block as a shell runs it; here-documents in it write the sources."""
        env = dict(os.environ, PATH="/usr/bin:/bin")
        done = subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=work,
                              env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, script + "\n" + done.stdout)
        return done.stdout


def runs(pid):
    """Whether the process runs; one that has ended but was not yet reaped does not."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def readme_examples():
    """README.md's blocks by name: each follows a line <!-- first take: NAME -->."""
    with open(os.path.join(REPO, "README.md")) as file:
        text = file.read()
    return {name: textwrap.dedent(block) for name, block in re.findall(
        r"<!-- first take: (\w+) -->\s*```\w*\n(.*?)```", text, re.DOTALL)}
