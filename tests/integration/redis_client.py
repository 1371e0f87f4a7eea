"""Just enough of a Redis client to look into the store from outside."""

import socket


class Redis:
    def __init__(self, host, port, password=None, timeout_s=10.0):
        self.socket = socket.create_connection((host, port), timeout=timeout_s)
        self.file = self.socket.makefile("rb")
        if password:
            self.call("AUTH", password)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def call(self, *words):
        self.send(*words)
        return self.receive()

    def send(self, *words):
        parts = [b"*%d\r\n" % len(words)]
        for word in words:
            word = word if isinstance(word, bytes) else str(word).encode()
            parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
        self.socket.sendall(b"".join(parts))

    def receive(self):
        line = self.file.readline()
        if not line:
            raise ConnectionError("Redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            raise RuntimeError(rest.decode(errors="replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.receive() for _ in range(int(rest))]
        raise ConnectionError("not a Redis reply: %r" % line)

    def keys(self, pattern="*"):
        found, cursor = set(), b"0"
        while True:
            cursor, page = self.call("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
            found.update(page)
            if cursor == b"0":
                return sorted(found)

    def bucket_count(self, prefix="sluice:"):
        return sum(self.call("HLEN", key) for key in self.keys(prefix + "{*}:buckets"))
