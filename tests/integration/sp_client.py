"""A client of the Sluice protocol that shares no code with Sluice: plain sockets and msgpack.

Written from proto/PROTOCOL.md alone. One connection keeps any number of requests outstanding and
matches replies by their id, in whatever order they come.
"""

import socket
import struct
import time

import msgpack

GREETING_OUT = b"\0SP\0\0\x30\0\0"
GREETING_IN = b"\0SP\0\0\x31\0\0"
ID_FIRST = 1 << 31


class RpcError(Exception):
    """The error of a reply: its code, its text, and its data."""

    def __init__(self, error):
        super().__init__("%s: %s" % (error[0], error[1]))
        self.code, self.text, self.data = error[0], error[1], error[2]


class Closed(Exception):
    """The other side closed the connection, or never greeted."""


def address_of(url):
    assert url.startswith("tcp://"), url
    host, port = url[len("tcp://"):].rsplit(":", 1)
    return host, int(port)


def connect_when_up(url, within_s=10.0):
    """Connects, trying again while nobody listens."""
    end = time.monotonic() + within_s
    while True:
        try:
            return Connection(url)
        except (OSError, Closed):
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


class Connection:
    def __init__(self, url, timeout_s=10.0):
        self.url = url
        self.socket = socket.create_connection(address_of(url), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = bytearray()
        self.next_id = 0
        self.answers = {}
        self.outstanding = set()
        try:
            self.socket.sendall(GREETING_OUT)
            greeting = self._take_bytes(8)
        except OSError as lost:
            self.socket.close()
            raise Closed(str(lost)) from lost
        if greeting != GREETING_IN:
            raise Closed("greeted with %r" % greeting)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        self.socket.close()

    # --- bytes and messages ---

    def _take_bytes(self, count):
        while len(self.input) < count:
            chunk = self.socket.recv(1 << 18)
            if not chunk:
                raise Closed("closed by the other side")
            self.input += chunk
        taken = bytes(self.input[:count])
        del self.input[:count]
        return taken

    def send_frame(self, frame):
        """One SP message as it is: header (if any) and body."""
        self.socket.sendall(struct.pack(">Q", len(frame)) + frame)

    def _new_id(self):
        request_id = ID_FIRST | self.next_id
        self.next_id = (self.next_id + 1) & 0x7FFFFFFF
        self.outstanding.add(request_id)
        return request_id

    def send_body(self, body):
        """A request whose msgpack message is the bytes given, well-formed or not."""
        request_id = self._new_id()
        self.send_frame(struct.pack(">I", request_id) + body)
        return request_id

    def receive(self, request_id, timeout_s=10.0):
        """The reply message of that request. A reply to nothing outstanding is a failure."""
        self.socket.settimeout(timeout_s)
        while request_id not in self.answers:
            size = struct.unpack(">Q", self._take_bytes(8))[0]
            assert 4 <= size <= 64 << 20, "a reply of %d bytes" % size
            frame = self._take_bytes(size)
            answered = struct.unpack(">I", frame[:4])[0]
            assert answered in self.outstanding, "a reply to %#x, which was not asked" % answered
            self.outstanding.remove(answered)
            self.answers[answered] = msgpack.unpackb(
                frame[4:], raw=False, strict_map_key=False, unicode_errors="surrogateescape"
            )
        return self.answers.pop(request_id)

    # --- requests ---

    def send(self, method, *params):
        msgid = self.next_id
        return self.send_body(msgpack.packb([0, msgid, method, list(params)]))

    def send_all(self, requests):
        """Requests (method, params...) in one write, so that none waits for another to be made.
        Returns their ids."""
        frames, ids = [], []
        for method, *params in requests:
            request_id = self._new_id()
            body = msgpack.packb([0, request_id & 0x7FFFFFFF, method, params])
            frames.append(struct.pack(">QI", 4 + len(body), request_id) + body)
            ids.append(request_id)
        self.socket.sendall(b"".join(frames))
        return ids

    def result(self, request_id, timeout_s=10.0):
        reply = self.receive(request_id, timeout_s)
        assert reply[0] == 1 and len(reply) >= 4, reply
        assert reply[1] is None or reply[1] == request_id & 0x7FFFFFFF, reply
        if reply[2] is not None:
            raise RpcError(reply[2])
        return reply[3]

    def call(self, method, *params, timeout_s=10.0):
        return self.result(self.send(method, *params), timeout_s)

    def raw_error(self, body, timeout_s=10.0):
        """Sends bytes that are wrong; returns (msgid, code, text) of the error that must come."""
        reply = self.receive(self.send_body(body), timeout_s)
        assert reply[0] == 1 and reply[2] is not None and reply[3] is None, reply
        return reply[1], reply[2][0], reply[2][1]

    def take(self, key, cost=1, plan=None, options=None, timeout_s=70.0):
        return Take(self.call("take", *take_params(key, cost, plan, options), timeout_s=timeout_s))

    def peek(self, key, cost=0, plan=None):
        return Take(self.call("peek", *take_params(key, cost, plan, None)))

    def refund(self, key, cost, plan=None):
        return Take(self.call("refund", *take_params(key, cost, plan, None)))

    def take_many(self, takes):
        """takes: lists [key, cost, plan]. Returns a Take, or an RpcError, for each."""
        answers = self.call("take_many", *takes, timeout_s=70.0)
        assert len(answers) == len(takes)
        return [RpcError(one) if isinstance(one[0], str) else Take(one) for one in answers]


def take_params(key, cost, plan, options):
    params = [key, cost, plan, options]
    while params and params[-1] is None:
        params.pop()
    return params


class Take:
    """A take's result, by name."""

    DEGRADED = 1

    def __init__(self, result):
        (self.allowed, self.remaining, self.retry_after_us, self.reset_after_us, self.limit,
         self.flags) = result[:6]

    @property
    def degraded(self):
        return bool(self.flags & self.DEGRADED)

    def __repr__(self):
        return "Take(allowed=%s remaining=%s retry=%s reset=%s limit=%s flags=%s)" % (
            self.allowed, self.remaining, self.retry_after_us, self.reset_after_us, self.limit,
            self.flags)
