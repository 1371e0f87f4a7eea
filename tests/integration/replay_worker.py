"""One of the processes that drive the replay test: sixteen clients, each with a connection and a
window of takes outstanding, matched by id. Fast enough in Python for some 30,000 takes a second."""

import random
import selectors
import socket
import struct
import time

import msgpack

from sp_client import GREETING_IN, GREETING_OUT, ID_FIRST, address_of

WINDOW = 8


class Client:
    def __init__(self, url):
        self.socket = socket.create_connection(address_of(url), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(GREETING_OUT)
        assert self.socket.recv(8, socket.MSG_WAITALL) == GREETING_IN
        self.input = bytearray()
        self.waiting = {}  # request id -> (key's number, cost, sent at)
        self.next_id = 0


def drive(url, seed, client_count, take_count, keys, plan_of, results):
    """Sends take_count takes from client_count clients. Puts into the queue `results` a list of
    (key's number, cost, allowed, remaining, sent at, received at), and a list of what was wrong."""
    records, wrong = [], []
    try:
        _drive(url, random.Random(seed), client_count, take_count, keys, plan_of, records, wrong)
    except Exception as error:  # the parent must hear of it
        wrong.append("%s: %s" % (type(error).__name__, error))
    results.put((records, wrong))


def _drive(url, chance, client_count, take_count, keys, plan_of, records, wrong):
    clients = [Client(url) for _ in range(client_count)]
    selector = selectors.DefaultSelector()
    for client in clients:
        client.socket.setblocking(True)
        selector.register(client.socket, selectors.EVENT_READ, client)
    packer = msgpack.Packer()
    to_send = take_count
    answered = 0

    def refill(client):
        nonlocal to_send
        frames = []
        now = time.monotonic()
        while to_send > 0 and len(client.waiting) < WINDOW:
            to_send -= 1
            # A tenth of the takes goes to a hundredth of the keys.
            number = chance.randrange(len(keys) // 100 if chance.random() < 0.1 else len(keys))
            cost = chance.randint(1, 3)
            request_id = ID_FIRST | client.next_id
            client.next_id += 1
            client.waiting[request_id] = (number, cost, now)
            body = packer.pack([0, client.next_id, "take",
                                [keys[number], cost, plan_of(number), {"deadline_ms": 60000}]])
            frames.append(struct.pack(">QI", len(body) + 4, request_id))
            frames.append(body)
        if frames:
            client.socket.sendall(b"".join(frames))

    def answers(client):
        nonlocal answered
        chunk = client.socket.recv(1 << 16)
        if not chunk:
            raise ConnectionError("the router closed the connection")
        now = time.monotonic()
        data = client.input
        data += chunk
        at = 0
        while len(data) - at >= 8:
            size = int.from_bytes(data[at:at + 8], "big")
            if len(data) - at - 8 < size:
                break
            request_id = int.from_bytes(data[at + 8:at + 12], "big")
            reply = msgpack.unpackb(data[at + 12:at + 8 + size])
            at += 8 + size
            asked = client.waiting.pop(request_id, None)
            if asked is None:
                wrong.append("answered twice or never asked: %#x" % request_id)
                continue
            answered += 1
            if reply[2] is not None or reply[3][5] != 0:
                wrong.append("not decided by its owner: %r" % (reply,))
                continue
            records.append((asked[0], asked[1], reply[3][0], reply[3][1], asked[2], now))
        del data[:at]

    for client in clients:
        refill(client)
    last = time.monotonic()
    while answered < take_count:
        ready = selector.select(timeout=5)
        if ready:
            last = time.monotonic()
        elif time.monotonic() - last > 70:
            wrong.append("%d takes were not answered" % (take_count - answered))
            return
        for event, _ in ready:
            answers(event.data)
            refill(event.data)
    # Nothing may follow the last answer.
    for event, _ in selector.select(timeout=0.3):
        if event.data.socket.recv(1 << 16):
            wrong.append("bytes after the last answer")
