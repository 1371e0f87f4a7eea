"""A steady load of single takes on one connection, with the time of every answer."""

import ctypes
import multiprocessing
import signal
import socket
import time

from sp_client import Closed, RpcError, connect_when_up


class Load:
    """Takes of cost 1 over `keys` in turn, `window` outstanding, from a process of its own, so that
    nothing else that the test does holds up its clock, until stop(). Reconnects when the connection
    is lost; what was outstanding then may count or not. Known after stop():

    sent[key]      takes sent, answered or not
    granted[key]   times at which grants of the owner were received, in order
    degraded       (time, seconds it took) of each answer by policy
    fallen[key]    times at which grants of a router itself were received, in order
    """

    def __init__(self, url, keys, plan=None, window=64, deadline_ms=250):
        self.url, self.keys, self.plan, self.window = url, keys, plan, window
        self.options = {"deadline_ms": deadline_ms}
        self.sent = {key: 0 for key in keys}
        self.granted = {key: [] for key in keys}
        self.fallen = {key: [] for key in keys}
        self.degraded = []
        self.degraded_allowed = 0
        self.refused = 0
        self.errors = []
        self.answered = 0
        self.reconnects = 0
        self.unanswered = 0
        context = multiprocessing.get_context("fork")
        self.stopping = context.Value("b", 0, lock=False)
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=self._work, args=(theirs,), daemon=True)

    def start(self):
        self.process.start()
        return self

    def stop(self):
        self.stopping.value = 1
        assert self.pipe.poll(60), "the load did not end"
        for name, value in self.pipe.recv().items():
            setattr(self, name, value)
        self.process.join(10)

    def _work(self, pipe):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._run()
        pipe.send({name: getattr(self, name) for name in (
            "sent", "granted", "fallen", "degraded", "degraded_allowed", "refused", "errors", "answered",
            "reconnects", "unanswered")})

    def _run(self):
        at = 0
        while not self.stopping.value:
            waiting = []
            try:
                with connect_when_up(self.url) as connection:
                    while not self.stopping.value or waiting:
                        while len(waiting) < self.window and not self.stopping.value:
                            key = self.keys[at % len(self.keys)]
                            at += 1
                            self.sent[key] += 1
                            waiting.append((key, time.monotonic(),
                                            connection.send("take", key, 1, self.plan,
                                                            self.options)))
                        if waiting:
                            self._answer(connection, waiting.pop(0))
            except (OSError, Closed):
                self.reconnects += 1
                self.unanswered += len(waiting)
                time.sleep(0.01)

    def _answer(self, connection, asked):
        key, sent_at, request_id = asked
        try:
            result = connection.result(request_id)
        except RpcError as error:
            self.errors.append(error.code)
            return
        except socket.timeout:
            self.errors.append("TIMEOUT")
            return
        now = time.monotonic()
        self.answered += 1
        if result[5] & 1:
            self.degraded.append((now, now - sent_at))
            self.degraded_allowed += result[0]
            if result[0]:
                self.fallen[key].append(now)
        elif result[0]:
            self.granted[key].append(now)
        else:
            self.refused += 1
