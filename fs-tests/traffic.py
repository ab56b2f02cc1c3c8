"""Drives the agents of fs-tests/traffic/traffic.rs that run in the nodes of a mounted cluster.

Nodes are known by name, `host` is this machine: it has a UDP socket here, and the address under which the nodes see it.
"""
import json
import os
import random
import select
import socket
import struct
import time

CONTROL, DATAGRAMS, CONNECTIONS = 7000, 7001, 7002
# What must happen has so many seconds for it; all that is waited for is waited for at its source.
DEADLINE = 120


class Agent:
    """One node's agent. A request is a line, and so is its answer; several agents can be asked at the same time."""

    def __init__(self, name, address):
        self.name, self.address = name, address
        end = time.monotonic() + DEADLINE
        while True:
            try:
                self.socket = socket.create_connection((address, CONTROL), timeout=2 * DEADLINE)
                break
            except OSError:
                # A node that runs may not listen yet.
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.lines = self.socket.makefile("r")

    def tell(self, *words):
        self.socket.sendall((" ".join(str(word) for word in words) + "\n").encode())

    def answer(self):
        line = self.lines.readline()
        assert line, f"{self.name}'s agent is gone"
        line = line.removesuffix("\n")
        assert not line.startswith("wrong: "), f"{self.name}: {line}"
        return line

    def ask(self, *words):
        self.tell(*words)
        return self.answer()

    def json(self, *words):
        return json.loads(self.ask(*words))

    def numbers(self, *words):
        return [int(word) for word in self.ask(*words).split()]

    def counter(self, group, name):
        return int(self.ask("counter", group, name))


def packet(kind, number, sequence=0, size=29):
    """What the agents send each other: kind, number, sequence, time, padding, and the sum of all that (FNV-1a)."""
    data = struct.pack(">cQIQ", kind, number, sequence, time.clock_gettime_ns(time.CLOCK_MONOTONIC))
    data = data.ljust(size - 8, b"\xa5")
    total = 0xCBF29CE484222325
    for byte in data:
        total = ((total ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return data + struct.pack(">Q", total)


class Host:
    """This machine's end: sends and receives tokens."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("0.0.0.0", 0))
        self.port = self.socket.getsockname()[1]
        self.seen = set()

    def send(self, kind, number, address, sequence=0):
        self.socket.sendto(packet(kind, number, sequence), (address, DATAGRAMS))

    def receive(self, seconds=0):
        """Takes in what has come, and waits for the first so long."""
        while select.select([self.socket], [], [], seconds)[0]:
            self.seen.add(struct.unpack_from(">Q", self.socket.recv(65536), 1)[0])
            seconds = 0

    def missing(self, tokens, seconds=DEADLINE):
        """Which of the tokens have not come by then."""
        end = time.monotonic() + seconds
        while (left := set(tokens) - self.seen) and time.monotonic() < end:
            self.receive(min(0.5, end - time.monotonic()))
        return left


class Cluster:
    def __init__(self, mountpoint):
        self.top = mountpoint
        self.names = sorted(name for name in os.listdir(mountpoint) if os.path.islink(f"{mountpoint}/{name}"))
        self.address = {name: self.read(f"{name}/ip").strip() for name in self.names}
        self.agents = {name: Agent(name, self.address[name]) for name in self.names}
        self.host = Host()
        self.host_address = self.agents[self.names[0]].ask("asker")
        # Tokens and streams of one run are never those of another.
        self.next = random.SystemRandom().randrange(1 << 40) << 20

    def __getitem__(self, name):
        return self.agents[name]

    def read(self, path):
        with open(f"{self.top}/{path}") as file:
            return file.read()

    def write(self, path, text):
        """Writes in one write(2). Returns 0, or the errno."""
        fd = os.open(f"{self.top}/{path}", os.O_WRONLY | os.O_TRUNC)
        try:
            os.write(fd, text.encode())
            return 0
        except OSError as error:
            return error.errno
        finally:
            os.close(fd)

    def set(self, path, text):
        """The same where it must succeed."""
        result = self.write(path, text + "\n")
        where = f"{os.path.dirname(path)}/error".lstrip("/")
        assert result == 0, f"{path} < {text!r}: {os.strerror(result)}: {self.read(where).strip()}"

    def number(self):
        self.next += 1
        return self.next

    def datagrams(self, name):
        return f"{self.address[name]}:{DATAGRAMS}" if name != "host" else f"{self.host_address}:{self.host.port}"

    def connections(self, name):
        return f"{self.address[name]}:{CONNECTIONS}"

    def passes(self, sender, receiver, seconds=DEADLINE):
        """Whether a datagram sent now comes at last. It is sent once."""
        token = self.number()
        if sender == "host":
            self.host.send(b"T", token, self.address[receiver])
        else:
            assert self[sender].ask("send", token, self.datagrams(receiver)) == "sent"
        if receiver == "host":
            return not self.host.missing([token], seconds)
        return not self[receiver].ask("await", int(seconds * 1000), token)
