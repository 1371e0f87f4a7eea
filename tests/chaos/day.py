"""Performs a schedule on a cluster under load, keeps it supervised, and has the records judged."""

import os
import re
import signal
import subprocess
import time

import harness
from cluster import classes_of
from harness import Process, metronome, program
from losses import SNAPSHOT_S, STORE_TURNS, WRITE_S
from move_tools import halt
from schedule import NODES, ROUTERS

# Seconds within which all slots must be answered by owners once everything runs again: the store
# has been away (three leases of calm), leases expire, slots are taken over, routers hear of it.
HEALED_S = 10.0 * harness.SLOW

# On the way to that steps follow each other that wait for the store, each for as long as it takes for
# an answer: leases, maps, fences, keys, pages. On a busy machine that is what takes the time.
HEALED_TURNS = 20

# From Redis's start until it answers: it reads its file, a second's worth in a second or less.
REDIS_READS_S = 60.0 * harness.SLOW

# An operator's command that takes longer has hung: it gives up by itself after 20 s of standstill.
OPERATOR_S = 40.0

# A supervisor starts what has ended after so long.
SUPERVISE_S = 0.2

# A process that is told to end so soon may not have come to the handler of the signal yet.
STARTING_S = 1.0

# Lines of chaos-check that explain what is wrong with a key.
KEY_EXPLAINED = re.compile(r"^why (\S+) \(slot (\d+)\)", re.MULTILINE)

WATCH_S, CONTROL_WATCH_S = 0.05, 1.0
STOP_S = 12.0  # --stop-timeout and a little


class Failed(Exception):
    """The day has shown a fault; its text says which."""


class Day:
    def __init__(self, cluster, actions, seed, rate=0, say=print, network=None, clocks=None):
        self.cluster, self.actions, self.seed, self.rate, self.say = (cluster, actions, seed, rate,
                                                                      say)
        self.losses = cluster.losses
        self.down = {}       # name -> "killed", "stopping" (a supervisor leaves it alone)
        self.paused = {}     # name -> since when
        self.restart_at = {}
        self.stopping = {}   # name -> (since when, start when it has ended)
        self.operator, self.operator_queue = None, []
        self.faults, self.counts = [], {}
        self.kept = False    # every promise, as far as the records tell
        self.network, self.clocks = network, clocks
        self.disturbed, self.slowed = {}, set()  # name -> since when
        self.records = os.path.join(cluster.directory, "records")

    # --- saying ---

    def tell(self, text):
        self.say("%8.3f  %s" % (time.monotonic() - self.began_s, text))

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def fault(self, text):
        self.faults.append(text)
        self.tell("FAULT: " + text)

    # --- verbs ---

    def do_kill(self, name, _):
        process, now_s = self.cluster.processes[name], time.monotonic()
        self.paused.pop(name, None)
        if not process.alive:
            return "is down already"
        restart = self.stopping.pop(name, (0, False))[1]  # it was still stopping
        process.kill9()
        self.down[name] = "killed"
        if name in NODES:
            self.losses.crash(name, now_s, time.monotonic(), "killed")
            self.losses.node_ends(name, time.monotonic())
        elif name == "redis":
            self.cluster.redis_away(now_s)
        if restart:
            self.do_start(name, None)

    def do_start(self, name, _):
        if name in self.stopping:
            self.stopping[name] = (self.stopping[name][0], True)
            return "as soon as it has ended"
        process = self.cluster.processes[name]
        self.down.pop(name, None)
        if not process.alive:
            self.start(name)

    def start(self, name):
        self.restart_at.pop(name, None)  # or the supervisor would have it down for ever
        if name in NODES:
            self.losses.node_starts(name, time.monotonic())
        self.cluster.processes[name].start()
        if name == "redis":
            self.cluster.redis_mended = True

    def do_stop(self, name, _):
        process = self.cluster.processes[name]
        if not process.alive or name in self.stopping:
            return "is down already"
        process.popen.terminate()
        self.down[name] = "stopping"
        self.stopping[name] = (time.monotonic(), False)

    def do_pause(self, name, _):
        process = self.cluster.processes[name]
        if not process.alive or name in self.stopping:
            return "is down already"
        asked_s = time.monotonic()
        halt(process)
        self.paused[name] = time.monotonic()
        if name in NODES:
            self.losses.node_pauses(name, self.paused[name])
        elif name == "redis":
            self.cluster.redis_away(asked_s)

    def do_continue(self, name, _):
        since_s = self.paused.pop(name, None)
        if since_s is None:
            return "is not paused"
        now_s = time.monotonic()  # it may answer before we get our turn again
        os.kill(self.cluster.processes[name].pid, signal.SIGCONT)
        if name == "redis":
            self.cluster.redis_mended = True
        elif name in NODES:
            self.losses.node_continues(name, now_s)
            self.losses.continued(name, since_s, now_s)

    def do_rebalance(self, _, weights):
        for node, weight in weights.items():
            self.operator_queue.append(["node", "weight", node, str(weight)])
        self.operator_queue.append(["rebalance", "--yes", "--resume"])
        self.operator_queue.append(["rebalance", "--yes"])

    def do_move(self, node, slots):
        self.operator_queue.append(["slot", "move", "%d-%d" % slots, node])

    # --- verbs of the network, the disk and the clock (network.py) ---

    def disturb(self, name):
        """From now until it is mended, a node may be unable to write; or all, if it is Redis."""
        self.disturbed[name] = time.monotonic()
        if name == "redis":
            self.cluster.redis_away(self.disturbed[name])

    def do_cut(self, name, value):
        self.disturb(name)
        self.network.cut(name, [other for other in value[0] if other != name], value[1])

    def do_lose(self, name, percent):
        self.disturb(name)
        self.network.lose(name, percent)

    def do_slow(self, name, _):
        self.disturb(name)
        self.slowed.add(name)
        self.network.slow(name, True)

    def do_join(self, name, _):
        since_s = self.disturbed.pop(name)
        self.network.mend(name, name in self.slowed)
        self.slowed.discard(name)
        self.losses.links(since_s, time.monotonic())
        if name == "redis":
            self.cluster.redis_mended = True
        elif name in NODES:
            self.losses.joined(name, since_s, time.monotonic())

    def do_fill(self, _, __):
        self.disturb("redis")
        self.network.disk_full(True)

    def do_free(self, _, __):
        self.disturbed.pop("redis", None)
        self.network.disk_full(False)
        if self.cluster.processes["redis"].alive:
            self.cluster.redis_mended = True

    def do_clock(self, _, seconds):
        self.clocks.set("redis", seconds)

    def perform(self, action):
        remark = getattr(self, "do_" + action.verb)(action.target, action.value)
        self.count(action.verb + " " + action.target.rstrip("123"))
        self.tell("%-9s %-7s %s%s" % (action.verb, action.target,
                                      "" if action.value is None else action.value,
                                      " (%s)" % remark if remark else ""))

    def running(self):
        return [name for name in NODES if name not in self.down and name not in self.paused]

    # --- the operator ---

    def operate(self):
        if self.operator is not None:
            done = self.operator.poll()
            if done is None and time.monotonic() - self.operator_since_s < OPERATOR_S:
                return
            if done is None:
                self.operator.kill()
                self.operator.wait()
                self.fault("sluicectl %s hung" % " ".join(self.operator_words))
            output = self.operator.stdout.read().strip().splitlines()
            self.operator.stdout.close()
            self.count("operator's commands, exit code %s" % done)
            if self.operator_words[0] != "node":
                self.tell("sluicectl %s: exit code %s, %s" % (
                    " ".join(self.operator_words), done, output[-1] if output else ""))
            self.operator = None
        running = self.running()
        if self.operator_queue and running:
            self.operator_words = self.operator_queue.pop(0)
            self.operator_since_s = time.monotonic()
            # By this thread, which lives as long as the process: it dies with us if we are killed.
            self.operator = subprocess.Popen(
                self.cluster.ctl_argv(running[0], *self.operator_words), text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                preexec_fn=harness._die_with_parent)

    # --- the supervisor ---

    def supervise(self):
        now_s = time.monotonic()
        for name, process in self.cluster.processes.items():
            if process.popen is None or process.alive:
                if name in self.stopping and now_s - self.stopping[name][0] > STOP_S:
                    self.fault("%s did not stop in %.0f s" % (name, STOP_S))
                    process.kill9()
                continue
            if name in self.stopping:
                since_s, start = self.stopping.pop(name)
                self.ended_in_order(name, process.popen.returncode, since_s)
                if start:
                    self.down.pop(name, None)
                    self.start(name)
            elif name not in self.down:
                self.ended_by_itself(name, process, now_s)

    def ended_in_order(self, name, code, since_s):
        process = self.cluster.processes[name]
        if name in NODES:
            self.losses.node_ends(name, time.monotonic())
        self.count("stops in order, exit code %d" % code)
        self.tell("%s has ended with exit code %d, %.2f s after SIGTERM" % (
            name, code, time.monotonic() - since_s))
        if code == 3:  # it says itself that it could not write everything
            self.losses.crash(name, since_s, time.monotonic(), "stopped, not all written")
        elif code == -signal.SIGTERM and since_s - process.started_s < STARTING_S:
            self.tell("%s had not begun yet" % name)
        elif code != 0:
            self.fault("%s ended with exit code %d after SIGTERM\n%s" % (
                name, code, process.tail(12)))
            self.losses.crash(name, since_s, time.monotonic(), "ended badly")

    def ended_by_itself(self, name, process, now_s):
        if name not in self.restart_at:
            code = process.popen.returncode
            self.count("%s ended by itself, exit code %d" % (name.rstrip("123"), code))
            last = process.log().decode(errors="replace").splitlines()[-1:]
            self.tell("%s ended by itself with exit code %d: %s" % (name, code, last))
            if code != 1:
                self.fault("%s ended by itself with exit code %d\n%s" % (name, code,
                                                                         process.tail(20)))
            if name in NODES:
                self.losses.crash(name, now_s, now_s, "ended by itself")
                self.losses.node_ends(name, now_s)
            elif name == "redis":
                self.cluster.redis_away(now_s)
            self.restart_at[name] = now_s + SUPERVISE_S
        elif now_s >= self.restart_at[name]:
            self.start(name)

    # --- the day ---

    def start_load(self):
        argv = [program("chaos-load"), "--out", self.records, "--seed", str(self.seed),
                "--rate", str(self.rate), "--routers",
                ",".join(self.cluster.processes[name].address for name in ROUTERS)]
        for text in classes_of(self.cluster.durabilities):
            argv += ["--class", text]
        self.load = Process("load", self.cluster.host("clients").wrap(argv), self.cluster.directory)
        self.load.start()

    def turn(self):
        """One look at everything; a few milliseconds."""
        now_s = time.monotonic()
        self.supervise()
        self.operate()
        if now_s >= self.watch_at_s:
            control = now_s >= self.control_at_s
            self.cluster.watch(self.running() if control else [])
            self.watch_at_s = now_s + WATCH_S
            if control:
                self.control_at_s = now_s + CONTROL_WATCH_S
        if not self.load.alive:
            raise Failed("the load ended early\n" + self.load.tail())
        time.sleep(0.005)

    def live(self):
        """Returns when everything is mended and every slot is answered by its owner again."""
        self.began_s = time.monotonic()
        self.watch_at_s = self.control_at_s = 0
        self.cluster.watch(NODES)
        self.first_epoch = self.losses.maps[-1].epoch
        self.start_load()
        for action in self.actions:
            while time.monotonic() - self.began_s < action.at_s:
                self.turn()
            self.perform(action)
        self.mend()
        while self.stopping or self.operator is not None or self.restart_at:
            self.turn()
        healed_s = self.wait_healed()
        self.cluster.watch(NODES)
        self.tell("all is mended: every slot was answered by its owner %.2f s later" % healed_s)
        self.note_surprises()

    def wait_healed(self):
        """Until every owner answers and every node is alive. Returns the seconds the answers took,
        since the store does."""
        began_s = since_s = time.monotonic()
        healed_s = None
        while True:
            self.turn()
            now_s = time.monotonic()
            if self.losses.store_is_away() and now_s - began_s < REDIS_READS_S:
                since_s = now_s
                continue
            missing = self.cluster.missing_answers() if healed_s is None else []
            if healed_s is None and not missing:
                healed_s = time.monotonic() - since_s
            if healed_s is not None and self.cluster.alive_count() == len(NODES):
                return healed_s
            allowed_s = HEALED_S + HEALED_TURNS * self.losses.slowest_look_s(began_s)
            if time.monotonic() - since_s > allowed_s:
                raise Failed("not healed within %.1f s: %d of the probed keys' owners do not answer "
                             "(%s), %d nodes are alive" % (allowed_s, len(missing), missing[:3],
                                                           self.cluster.alive_count()))

    def mend(self):
        """What the schedule has not mended; mostly nothing."""
        self.operator_queue.clear()
        for name in list(self.paused):
            self.do_continue(name, None)
        for name in list(self.disturbed):
            self.do_join(name, None)
        for name in list(self.down):
            self.do_start(name, None)

    def note_surprises(self):
        """Takeovers that nobody planned: a node that did not get its turn for a whole lease on a
        busy machine. What they may make it forget is noted like that of any other."""
        for epoch, node, text in self.cluster.failovers():
            if epoch > self.first_epoch:
                self.count("takeovers")
                if self.losses.takeover(node, epoch):
                    self.count("takeovers that nobody planned")
                    self.tell("nobody planned this takeover: " + text)

    def stop_load(self):
        self.load.popen.terminate()
        code = self.load.wait(60)
        self.say("load: " + self.load.log().decode(errors="replace").strip().splitlines()[-1])
        if code != 0:
            self.fault("after everything was mended some owners did not answer: exit code %d" % code)

    def judge(self, planted=200):
        """True if every promise was kept."""
        events = os.path.join(self.cluster.directory, "events")
        self.losses.write(events)
        took = sorted(took_s for _, took_s in self.losses.looks)
        crashes = [loss for loss in self.losses.noted if loss.kind == "crash"]
        self.say("%d crashes noted; a relaxed node may forget what it granted in the %.0f ms before "
                 "(snapshot interval %.0f ms, writing %.0f ms) and %d answers of the store (%.1f ms "
                 "median, %.0f ms p99, %.0f ms longest), or since the store went away (%d times, %.1f s "
                 "at most); the system kept processes waiting for %.0f ms at most; clocks were wrong by "
                 "at most %d us" % (
                     len(crashes), (SNAPSHOT_S + WRITE_S) * 1e3, SNAPSHOT_S * 1e3, WRITE_S * 1e3,
                     STORE_TURNS, took[len(took) // 2] * 1e3, took[len(took) * 99 // 100] * 1e3,
                     took[-1] * 1e3, len(self.losses.outages), self.losses.longest_outage_s(),
                     metronome().worst.value * 1e3, self.cluster.clock_error_us))
        done = subprocess.run([program("chaos-check"), self.records, "--events", events,
                               "--clock-error-us", str(self.cluster.clock_error_us),
                               "--origin-ns", str(int(self.began_s * 1e9)),
                               "--plant", str(planted), "--seed", str(self.seed)],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.say(done.stdout.rstrip())
        if done.returncode == 1:
            self.explain(done.stdout)
        elif done.returncode != 0:
            self.fault("chaos-check cannot tell: exit code %d" % done.returncode)
        return done.returncode == 0

    def explain(self, output):
        """Of the keys that the checker has explained: whose they were, and what the store has."""
        def since(at_s):
            return "%.3f" % (at_s - self.began_s)

        for key, slot in KEY_EXPLAINED.findall(output):
            self.say("%s: owners of slot %s, when first seen: %s" % (key, slot, ", ".join(
                "%s %s@%d" % (since(at_s), node, epoch)
                for at_s, epoch, node in self.losses.owners_of(int(slot)))))
            try:
                self.say("%s: in the store: %s" % (key, self.cluster.record_of(int(slot), key)))
            except (OSError, RuntimeError) as error:
                self.say("%s: the store does not tell: %s" % (key, error))
        self.say("store away: %s; %d maps were replaced before they were seen" % (
            ", ".join("%s to %s" % (since(begin_s), since(end_s))
                      for begin_s, end_s in self.losses.outages), self.losses.epochs_unseen))

    def stop_all(self):
        """Everything ends in order, and no log tells of a bug."""
        for name in ROUTERS + NODES + ("redis",):
            process = self.cluster.processes[name]
            if process.alive and process.terminate() != 0:
                self.fault("%s ended with exit code %d\n%s" % (name, process.popen.returncode,
                                                               process.tail()))
            if harness.SANITIZER_REPORT.search(process.log()):
                self.fault("%s reports a bug\n%s" % (name, process.tail(40)))

    def run(self):
        """The whole day. True if it was a good one."""
        self.live()
        self.stop_load()
        self.kept = self.judge()
        self.stop_all()
        self.say("done: " + ", ".join("%s %d" % one for one in sorted(self.counts.items())))
        return self.kept and not self.faults
