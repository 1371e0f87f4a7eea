"""Hosts of their own for the processes of a cluster: network namespaces on one bridge, whose links
can be cut (one way too), lossy, or slow; and a disk of Redis's own that can be full.

A namespace has no name: it lives as long as the process that holds it, which dies with the driver.
So nothing is left behind, whatever happens. The driver itself enters the hub, the namespace with the
bridge, and reaches every host from there.
"""

import ctypes
import mmap
import os
import shutil
import struct
import subprocess

from cluster import Host
from harness import Process, program, wait_for

# A range that is not routed (RFC 2544, benchmarks), and is only seen inside the namespaces.
HUB_IP = "198.18.0.1"
IPS = {"redis": "198.18.0.2", "n1": "198.18.0.11", "n2": "198.18.0.12", "n3": "198.18.0.13",
       "clients": "198.18.0.21"}

# Where no delay can be had (the kernel has no netem): a link so narrow that packets queue.
NARROW = "tbf rate 3mbit burst 16kb latency 200ms"
NETEM = "netem delay 20ms 15ms"

# The operator's methods are answered to callers from the same machine only. The operator is in the
# hub; to every host he comes from that host itself.
OPERATOR = """table ip operator {
 chain in {
  type nat hook input priority 100; policy accept;
  ip saddr %s snat to 127.0.0.1
 }
}
""" % HUB_IP

DISK_BYTES = 4 << 30
SPARE_BYTES = 1 << 20  # is soon written under load
CLONE_NEWNET = 0x40000000


def missing():
    """Why this machine cannot do it, in a few words; None if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in ("ip", "nft", "tc", "unshare", "nsenter", "mount"):
        if shutil.which(tool) is None:
            return "%s is not installed" % tool
    if subprocess.run(["unshare", "--net", "--mount", "ip", "link", "add", "br0", "type", "bridge"],
                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode != 0:
        return "no bridge can be made in a namespace here"
    return None


def call(argv, text=None):
    done = subprocess.run(argv, input=text, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise AssertionError("%s: %s" % (" ".join(argv), done.stdout.strip()))


class NetHost(Host):
    """One namespace, with a link to the hub; its traffic passes the rules set here."""

    def __init__(self, name, directory):
        self.name, self.ip = name, IPS.get(name, HUB_IP)
        self.holder = Process("host-" + name, ["unshare", "--net", "--mount", "sleep", "infinity"],
                              directory).start()
        mine = os.readlink("/proc/self/ns/net")

        def entered():
            try:
                return os.readlink("/proc/%d/ns/net" % self.holder.pid) != mine
            except OSError:
                return False

        wait_for("the namespace of %s" % name, entered)
        # unshare makes its mounts private before it becomes the holder.
        wait_for("the holder of %s" % name, lambda: open(
            "/proc/%d/comm" % self.holder.pid).read().strip() == "sleep")
        self.rules = {}  # what is wrong with the link -> its rules
        self.inside("ip", "link", "set", "lo", "up")

    def wrap(self, argv):
        pid = self.holder.pid
        return ["nsenter", "--net=/proc/%d/ns/net" % pid, "--mount=/proc/%d/ns/mnt" % pid,
                "--"] + list(argv)

    def inside(self, *argv, text=None):
        call(self.wrap(argv), text)

    def set_rules(self, what, rules):
        """nft statements, each ("input" or "output", text); none: it is mended."""
        self.rules[what] = rules
        chains = {"input": [], "output": []}
        for chain, text in [rule for rules in self.rules.values() for rule in rules]:
            chains[chain].append(text)
        table = "table inet chaos\ndelete table inet chaos\ntable inet chaos {\n"
        for chain, lines in chains.items():
            table += " chain %s {\n  type filter hook %s priority 0; policy accept;\n" % (chain, chain)
            table += "".join("  %s\n" % line for line in lines) + " }\n"
        self.inside("nft", "-f", "-", text=table + "}\n")


class Network:
    def __init__(self, directory):
        self.hub = NetHost("hub", directory)
        self.hosts = {name: NetHost(name, directory) for name in IPS}
        pid = self.hub.holder.pid
        self.hub.inside("ip", "link", "add", "br0", "type", "bridge")
        self.hub.inside("ip", "addr", "add", HUB_IP + "/24", "dev", "br0")
        self.hub.inside("ip", "link", "set", "br0", "up")
        for name, host in self.hosts.items():
            host.inside("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "v-" + name,
                        "netns", str(pid))
            host.inside("ip", "addr", "add", host.ip + "/24", "dev", "eth0")
            host.inside("ip", "link", "set", "eth0", "up")
            self.hub.inside("ip", "link", "set", "v-" + name, "master", "br0", "up")
            host.inside("nft", "-f", "-", text=OPERATOR)
        self.delay = self._can_delay()
        self._enter(pid)

    def _can_delay(self):
        host = self.hosts["clients"]
        try:
            host.inside("tc", "qdisc", "add", "dev", "eth0", "root", *NETEM.split())
        except AssertionError:
            return NARROW
        host.inside("tc", "qdisc", "del", "dev", "eth0", "root")
        return NETEM

    def _enter(self, pid):
        libc = ctypes.CDLL(None, use_errno=True)
        fd = os.open("/proc/%d/ns/net" % pid, os.O_RDONLY)
        if libc.setns(fd, CLONE_NEWNET) != 0:
            raise AssertionError("setns: %s" % os.strerror(ctypes.get_errno()))
        os.close(fd)

    def host_of(self, name):
        return self.hosts.get(name, self.hosts["clients"])

    # --- what can be wrong ---

    def cut(self, name, others, way):
        """way: "out", "in" or "both", as seen from the host."""
        rules = []
        for other in others:
            if way in ("out", "both"):
                rules.append(("output", "ip daddr %s drop" % IPS[other]))
            if way in ("in", "both"):
                rules.append(("input", "ip saddr %s drop" % IPS[other]))
        self.hosts[name].set_rules("cut", rules)

    def lose(self, name, percent):
        rules = [("input", "iifname \"eth0\" numgen random mod 100 < %d drop" % percent),
                 ("output", "oifname \"eth0\" numgen random mod 100 < %d drop" % percent)]
        self.hosts[name].set_rules("lose", rules if percent else [])

    def slow(self, name, on):
        words = ["tc", "qdisc", "add" if on else "del", "dev", "eth0", "root"]
        self.hosts[name].inside(*(words + (self.delay.split() if on else [])))

    def mend(self, name, slowed):
        for what in ("cut", "lose"):
            self.hosts[name].set_rules(what, [])
        if slowed:
            self.slow(name, False)

    # --- Redis's disk ---

    def disk_make(self, path):
        self.disk = path
        self.hosts["redis"].inside("mount", "-t", "tmpfs", "-o", "size=%d" % DISK_BYTES, "none",
                                   path)

    def disk_full(self, on):
        """A disk of little more than is on it now."""
        def shrunk():
            used = subprocess.run(self.hosts["redis"].wrap(
                ["df", "-B1", "--output=used", self.disk]), stdout=subprocess.PIPE, text=True)
            try:
                self._disk_size(int(used.stdout.split()[-1]) + SPARE_BYTES)
                return True
            except AssertionError:  # more was written meanwhile
                return False

        if on:
            wait_for("the disk has shrunk", shrunk)
        else:
            self._disk_size(DISK_BYTES)

    def _disk_size(self, size):
        self.hosts["redis"].inside("mount", "-o", "remount,size=%d" % size, self.disk)


# --- clocks -----------------------------------------------------------------------------------

class Clocks:
    """Wrong clocks for processes (clock_preload.c): of one node a time of day that is a day behind and
    a monotonic clock that runs 200 ppm fast, which nobody should mind; of Redis one that jumps."""

    NODE = "n2"

    def __init__(self, directory):
        self.library = program("chaos-clock.so")
        self.maps = {}
        self.paths = {}
        for name in ("redis", self.NODE):
            self.paths[name] = os.path.join(directory, name + ".clock")
            with open(self.paths[name], "w+b") as file:
                file.write(bytes(16))
                file.flush()
                self.maps[name] = mmap.mmap(file.fileno(), 16)
        self.set(self.NODE, -86400, 200)

    def set(self, name, offset_s, drift_ppm=0):
        struct.pack_into("=qq", self.maps[name], 0, int(offset_s * 1e9), drift_ppm)

    def envs(self):
        return {name: {"LD_PRELOAD": self.library, "CHAOS_CLOCK": path}
                for name, path in self.paths.items()}
