"""A heavy peer: heavy_peer.py URL TAKES. Keeps eight requests of so many takes outstanding, until
its input ends or has a line; then says how many takes were decided."""

import select
import sys

import msgpack

from sp_client import Connection

WINDOW = 8

# Requests that are answered before it ends, however early it is told to.
LEAST = 16


def main():
    url, takes = sys.argv[1], int(sys.argv[2])
    body = msgpack.packb([0, 1, "take_many", [[b"k", 0]] * takes])
    decided = 0
    with Connection(url) as connection:
        for _ in range(WINDOW):
            connection.send_body(body)
        print("ready", flush=True)
        while decided < LEAST * takes or not select.select([sys.stdin], [], [], 0)[0]:
            size = int.from_bytes(connection._take_bytes(8), "big")
            connection._take_bytes(size)
            decided += takes
            connection.send_body(body)
    print(decided, flush=True)


if __name__ == "__main__":
    main()
