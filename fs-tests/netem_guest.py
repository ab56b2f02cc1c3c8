#!/usr/bin/python3 -SE
"""Init of the guest that netem.sh starts: three network namespaces behind one bridge, `cthulhu sandbox` in each, and what
passes between real sockets there with effects set in the sandboxes. A line a check on stdout.

Whatever is asked of times is a lower bound or generous: the machine is emulated. Counts are exact, or within five standard
deviations of what is asked."""

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
SO_RCVBUFFORCE = 33
SYS_FINIT_MODULE = 313
POWER_OFF = 0x4321FEDC
PORT = 7000
SIZE = 200
# So many seconds without any packet, twice, and nothing more is on its way.
QUIET = 0.4
# The same for packets that must come.
PATIENCE = 15


def call(result, what):
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def ip(words):
    subprocess.run(["/bin/ip", *words.split()], check=True)


def bring_up():
    for kind, at in (("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/run"), ("tmpfs", "/tmp"), ("devtmpfs", "/dev")):
        call(libc.mount(kind.encode(), at.encode(), kind.encode(), 0, None), at)
    with open("/modules/order") as order:
        for name in order.read().split():
            fd = os.open(f"/modules/{name}.ko", os.O_RDONLY)
            call(libc.syscall(SYS_FINIT_MODULE, fd, b"", 0), name)
            os.close(fd)
    ip("link set lo up")
    ip("link add br0 type bridge")
    ip("addr add 10.9.0.1/24 dev br0")
    ip("link set br0 up")


class Place:
    """A network namespace and its address."""

    def __init__(self, name, address):
        self.name, self.address = name, address

    @contextlib.contextmanager
    def inside(self):
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        call(libc.setns(there, CLONE_NEWNET), "setns")
        try:
            yield
        finally:
            call(libc.setns(here, CLONE_NEWNET), "setns")
            os.close(here)
            os.close(there)

    def socket(self, kind, port=0, address=None):
        with self.inside():
            made = socket.socket(socket.AF_INET, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((self.address if address is None else address, port))
        return made


class Host(Place):
    """The machine outside: where we are, on the bridge."""

    peer = "host"

    @contextlib.contextmanager
    def inside(self):
        yield


class Node(Place):
    def __init__(self, name, address):
        super().__init__(name, address)
        self.peer = address
        self.told = None
        self.last = 0
        ip(f"netns add {name}")
        ip(f"link add up-{name} type veth peer name eth0 netns {name}")
        ip(f"link set up-{name} master br0 up")
        ip(f"-n {name} addr add {address}/24 dev eth0")
        ip(f"-n {name} link set eth0 up")
        ip(f"-n {name} link set lo up")
        with self.inside():
            self.sandbox = subprocess.Popen(["/bin/cthulhu", "--internal", "sandbox"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, op, **more):
        self.last += 1
        self.sandbox.stdin.write(json.dumps({"op": op, "id": self.last, **more}).encode() + b"\n")
        self.sandbox.stdin.flush()
        answer = json.loads(self.sandbox.stdout.readline())
        assert answer["ok"] and answer["id"] == self.last, answer
        return answer


def group(peer, impairments):
    return {"peers": [peer.peer], "impairments": impairments}


def everywhere(links, kernel, silent=()):
    """Has all sandboxes bring about {(sender, receiver): effects}, and nothing else."""
    for node in nodes:
        desired = {
            "ingress": [group(sender, effects) for (sender, receiver), effects in links.items() if receiver is node],
            "egress": [group(receiver, effects) for (sender, receiver), effects in links.items() if sender is node],
        }
        if node in silent:
            desired["blackholed"] = True
        if host in (end for pair in links for end in pair):
            desired["nodes"] = [other.address for other in nodes if other is not node]
        if (desired, kernel) != node.told:
            node.ask("apply", kernel=kernel, desired=desired)
            node.told = (desired, kernel)


def delay(ms, jitter=0):
    return {"time_us": ms * 1000, "jitter_us": jitter * 1000}


def percent(share):
    return share * 10_000


class Receiver:
    """Takes the packets that come to a node, and when: `came` has (number, seconds on the way, moment)."""

    def __init__(self, at, expected, address=None):
        self.socket = at.socket(socket.SOCK_DGRAM, PORT, address)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
        self.socket.settimeout(QUIET if expected is None else PATIENCE)
        self.came, self.expected, self.sent, self.wrong = [], expected, threading.Event(), 0
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        quiet = 0
        while quiet < 2 and (self.expected is None or len(self.came) < self.expected):
            try:
                packet = self.socket.recv(65536)
            except TimeoutError:
                quiet += self.sent.is_set()
                continue
            now, quiet = time.monotonic(), 0
            number, sent = struct.unpack("!Qd", packet[:16])
            self.wrong += packet[16:] != bytes([number & 255]) * (len(packet) - 16)
            self.came.append((number, now - sent, now))

    def end(self):
        """All that has come, once nothing comes any more."""
        self.sent.set()
        self.thread.join()
        self.socket.close()
        assert not self.wrong, f"{self.wrong} packets with a wrong content were delivered"
        return self.came


def send(sender, receiver, count, pause=0.0, size=SIZE):
    with contextlib.closing(sender.socket(socket.SOCK_DGRAM)) as out:
        out.connect((receiver.address, PORT))
        for number in range(count):
            packet = struct.pack("!Qd", number, time.monotonic()) + bytes([number & 255]) * (size - 16)
            try:
                out.send(packet)
            except ConnectionRefusedError:
                # What a packet before it met. This one is still to be sent.
                out.send(packet)
            time.sleep(pause)


def traffic(sender, receiver, count, pause=0.0, size=SIZE, all_come=True):
    """Sends so many packets; what came of them. `all_come`: it is over when so many have come."""
    taker = Receiver(receiver, count if all_come else None)
    try:
        send(sender, receiver, count, pause, size)
    finally:
        came = taker.end()
    assert not all_come or len(came) == count, f"{len(came)} of {count} came"
    return came


def numbers(came):
    return [number for number, _, _ in came]


def ms(came):
    """Times on the way, sorted."""
    return sorted(took * 1000 for _, took, _ in came)


def middle(came):
    times = ms(came)
    return times[len(times) // 2]


def within(count, total, share):
    """Five standard deviations."""
    away = 5 * (total * share * (1 - share)) ** 0.5
    assert total * share - away <= count <= total * share + away, f"{count} of {total} at {share:.0%}"


def unharmed(*ways):
    """No effect acts on these ways."""
    for sender, receiver in ways:
        came = traffic(sender, receiver, 20)
        assert numbers(came) == list(range(20)) and middle(came) < 90, f"{sender.name}>{receiver.name}: {ms(came)}"


def fetch(sender, receiver, length):
    """Sends so much over a TCP connection; the seconds that it took."""
    sent = os.urandom(length)
    with contextlib.closing(receiver.socket(socket.SOCK_STREAM, PORT)) as listener:
        listener.listen()
        begun, digest = time.monotonic(), hashlib.sha256()

        def write():
            with contextlib.closing(sender.socket(socket.SOCK_STREAM)) as out:
                out.connect((receiver.address, PORT))
                out.sendall(sent)

        writer = threading.Thread(target=write)
        writer.start()
        connection, _ = listener.accept()
        with connection:
            while block := connection.recv(65536):
                digest.update(block)
        writer.join()
    assert digest.digest() == hashlib.sha256(sent).digest(), "what came is not what was sent"
    return time.monotonic() - begun


CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


@check
def probe():
    assert kernel.pop("ok") and kernel.pop("id")
    assert kernel == {**{k: True for k in kernel}, "queue": "native", "ipv6": False} and len(kernel) == 9, kernel
    again = nodes[1].ask("probe")
    assert {**again, **kernel} == again, again
    return kernel


@check
def nothing():
    unharmed((a, b), (b, a), (a, host), (host, a))


@check
def waits():
    everywhere({(a, b): {"delay": delay(200)}}, kernel)
    came = traffic(a, b, 100, 0.005)
    assert numbers(came) == list(range(100)) and ms(came)[0] >= 199.9 and middle(came) < 300, ms(came)
    unharmed((b, a), (c, b), (a, c))
    return f"200 ms asked, {middle(came):.1f} in the middle, from {ms(came)[0]:.1f} to {ms(came)[-1]:.1f}"


@check
def each_its_own():
    everywhere({(a, b): {"delay": delay(200)}, (a, c): {"delay": delay(400)}, (b, a): {"delay": delay(300)}}, kernel)
    found = []
    for sender, receiver, asked in ((a, b, 200), (a, c, 400), (b, a, 300)):
        came = traffic(sender, receiver, 20)
        assert ms(came)[0] >= asked - 0.1 and middle(came) < asked + 90, ms(came)
        found.append(f"{middle(came):.1f}")
    unharmed((c, a), (c, b))
    return f"200, 400 and 300 ms asked, {' '.join(found)} in the middle"


@check
def waits_long():
    everywhere({(a, b): {"delay": {"time_us": 2_000_000, "jitter_us": 0}}}, kernel)
    # More on their way at once than netem holds by itself.
    came = traffic(a, b, 1500)
    assert numbers(came) == list(range(1500)) and ms(came)[0] >= 1999.9, ms(came)[0]
    return f"2 s asked, {middle(came) / 1000:.3f} in the middle of 1500"


@check
def jitter():
    everywhere({(a, b): {"delay": delay(100, 40)}}, kernel)
    # So far apart that none waits for one before it.
    # So many that the chance of none below 90, or of none above 110, is 0.625 ** 60: below 1e-12.
    came = traffic(a, b, 60, 0.085)
    times = ms(came)
    assert 59.9 <= times[0] < 90 and 110 < times[-1] < 300, times
    close = traffic(a, b, 300)
    assert numbers(close) == list(range(300)), "their order is not kept"
    return f"100 ± 40 ms asked, from {times[0]:.1f} to {times[-1]:.1f}, {middle(came):.1f} in the middle"


@check
def loss():
    everywhere({(a, b): {"loss": percent(30)}}, kernel)
    came = traffic(a, b, 1000, all_come=False)
    within(1000 - len(came), 1000, 0.3)
    unharmed((b, a), (c, b))
    return f"30 % asked, {1000 - len(came)} of 1000 lost"


@check
def duplicate():
    everywhere({(a, b): {"duplicate": percent(40)}}, kernel)
    came = traffic(a, b, 1000, all_come=False)
    assert set(numbers(came)) == set(range(1000)), "one is lost"
    within(len(came) - 1000, 1000, 0.4)
    unharmed((b, a), (c, b))
    return f"40 % asked, {len(came) - 1000} of 1000 twice"


@check
def corrupt():
    everywhere({(a, b): {"corrupt": percent(50)}}, kernel)
    # Receiver looks at what is delivered. A bit may be turned over in the Ethernet header too, where some of it is harmless.
    came = traffic(a, b, 1000, all_come=False)
    within(1000 - len(came) + 1000 * 0.5 * 6 / (SIZE + 42) / 2, 1000, 0.5)
    unharmed((b, a), (c, b))
    return f"50 % asked, {len(came)} of 1000 delivered, none of them wrong"


@check
def reorder():
    everywhere({(a, b): {"delay": delay(200), "reorder": percent(25)}}, kernel)
    came = traffic(a, b, 400)
    waited = [number for number, took, _ in came if took >= 0.1999]
    within(400 - len(waited), 400, 0.25)
    assert waited == sorted(waited) and numbers(came) != sorted(numbers(came)), "who does not overtake keeps the order"
    return f"25 % asked, {400 - len(waited)} of 400 did not wait"


def measured(came, size):
    """Bits a second of the later half, with all headers: the first few may come at once."""
    late = came[len(came) // 2:]
    return (len(late) - 1) * (size + 42) * 8 / (late[-1][2] - late[0][2])


@check
def rate():
    everywhere({(a, b): {"rate": 1_000_000}}, kernel)
    taker = Receiver(b, 150)
    sender = threading.Thread(target=send, args=(a, b, 150, 0.0, 1000))
    sender.start()
    # While that is under way.
    unharmed((a, c), (b, a))
    sender.join()
    came = taker.end()
    found = measured(came, 1000)
    assert numbers(came) == list(range(150)) and 850_000 < found < 1_100_000, found
    return f"1 Mbit/s asked, {found / 1e6:.3f} found"


@check
def rate_and_delay():
    everywhere({(a, b): {"rate": 1_000_000, "delay": delay(100)}}, kernel)
    came = traffic(a, b, 100, size=1000)
    found = measured(came, 1000)
    assert numbers(came) == list(range(100)) and ms(came)[0] >= 99.9 and 850_000 < found < 1_100_000, (found, ms(came))
    return f"1 Mbit/s and 100 ms asked, {found / 1e6:.3f} Mbit/s and {ms(came)[0]:.1f} ms found"


def to_all(count, size=SIZE):
    """What b and c get of so many broadcast packets from a."""
    takers = [Receiver(at, None, "") for at in (b, c)]
    with contextlib.closing(a.socket(socket.SOCK_DGRAM)) as out:
        out.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for number in range(count):
            packet = struct.pack("!Qd", number, time.monotonic()) + bytes([number & 255]) * (size - 16)
            out.sendto(packet, ("10.9.0.255", PORT))
    return [taker.end() for taker in takers]


@check
def to_many():
    """They leave once for all, so each link's effect is not netem's."""
    every = list(range(20))
    everywhere({(a, b): {"delay": delay(200), "duplicate": percent(100)}}, kernel)
    late, others = to_all(20)
    assert sorted(numbers(late)) == sorted(every * 2) and ms(late)[0] >= 199.9, ms(late)
    assert numbers(others) == every and middle(others) < middle(late), ms(others)
    everywhere({(a, b): {"rate": 100_000}}, kernel)
    slow, others = to_all(20, 1000)
    # From when the first was sent to when the last has waited for all before it, which takes 19 * 1042 bytes of the rate.
    took = slow[-1][2] - slow[0][2] + slow[0][1]
    assert numbers(slow) == numbers(others) == every and took > 1.58 and middle(others) < middle(slow), took
    return f"200 ms, twice and 100 kbit/s asked, {middle(late):.1f} ms and {measured(slow, 1000) / 1000:.1f} kbit/s found"


@check
def all_at_once():
    effects = {"delay": delay(20, 5), "loss": percent(2), "duplicate": percent(5), "corrupt": percent(2), "reorder": percent(5)}
    everywhere({(a, b): effects, (b, a): effects}, kernel)
    return f"200 kB over TCP in {fetch(a, b, 200_000):.1f} s, none of it wrong"


@check
def cut():
    everywhere({(a, b): {"cut": "drop"}, (c, b): {"cut": "reject"}}, kernel)
    assert traffic(a, b, 20, all_come=False) == []
    unharmed((b, a), (a, c))
    for sender, expected in ((a, (errno.ETIMEDOUT, errno.EAGAIN)), (c, (errno.ECONNREFUSED,))):
        with contextlib.closing(sender.socket(socket.SOCK_STREAM)) as out:
            out.settimeout(1)
            try:
                out.connect((b.address, PORT))
                raise AssertionError(f"{sender.name} comes through")
            except TimeoutError:
                assert sender is a, "the rejected one hears nothing"
            except OSError as error:
                assert error.errno in expected, error


@check
def outside():
    everywhere({(a, host): {"delay": delay(200)}, (host, b): {"delay": delay(300)}, (c, host): {"cut": "drop"}}, kernel)
    there, here = traffic(a, host, 20), traffic(host, b, 20)
    assert ms(there)[0] >= 199.9 and middle(there) < 290, ms(there)
    assert ms(here)[0] >= 299.9 and middle(here) < 390, ms(here)
    # The sender hears of nothing.
    assert traffic(c, host, 20, all_come=False) == []
    unharmed((host, a), (b, host), (a, b), (b, c), (host, c))
    return f"200 and 300 ms asked, {middle(there):.1f} and {middle(here):.1f} in the middle"


@check
def silent():
    everywhere({}, kernel, silent=[b])
    assert traffic(a, b, 20, all_come=False) == [] and traffic(host, b, 20, all_come=False) == []
    unharmed((a, c), (c, host))


@check
def without_netem():
    less = {**kernel, "netem": False}
    everywhere({(a, b): {"delay": delay(1000, 200), "reorder": percent(20)}, (c, b): {"corrupt": percent(50)}}, less)
    came = traffic(a, b, 400)
    waited = [number for number, took, _ in came if took >= 0.8]
    within(400 - len(waited), 400, 0.2)
    assert waited == sorted(waited), "their order is not kept"
    spoilt = traffic(c, b, 500, all_come=False)
    within(len(spoilt), 500, 0.5)
    unharmed((b, a), (a, c))
    return f"through nft's own queue: {400 - len(waited)} of 400 did not wait, {middle(came):.1f} ms in the middle"


@check
def healed():
    everywhere({(a, b): {"delay": delay(900)}, (b, a): {"delay": delay(900), "rate": 1_000_000}}, kernel)
    takers = [Receiver(receiver, 60) for receiver in (a, b)]
    send(a, b, 30)
    send(b, a, 30)
    everywhere({}, kernel)
    send(a, b, 30)
    send(b, a, 30)
    for taker in takers:
        came = taker.end()
        assert len(came) == 60, f"{len(came)} of 60 came: what waits is not to be lost"
        # Half of them were sent after the healing.
        assert ms(came)[25] < 450, ms(came)
    unharmed((a, b), (b, a), (c, b), (b, c))
    return "who waits is not lost, who comes then does not wait"


def run():
    for function in CHECKS:
        name, begun = function.__name__.replace("_", "-"), time.monotonic()
        try:
            told, verdict = function(), "ok"
        except Exception as error:
            told, verdict = f"{error!r} ({traceback.extract_tb(error.__traceback__)[1].line})", "FAILED"
        print(f"{verdict} {name}: {told or 'as asked'} [{time.monotonic() - begun:.1f} s]", flush=True)
        try:
            everywhere({}, kernel)
        except Exception as error:
            print(f"FAILED heal-after-{name}: {error!r}", flush=True)


if __name__ == "__main__" and "--load-only" not in sys.argv:
    try:
        bring_up()
        print(f"up after {time.monotonic():.1f} s: Linux {os.uname().release}", flush=True)
        host = Host("host", "10.9.0.1")
        a, b, c = nodes = [Node(name, f"10.9.0.{11 + at}") for at, name in enumerate("abc")]
        kernel = nodes[0].ask("probe")
        run()
    except Exception:
        traceback.print_exc()
    print("END", flush=True)
    libc.reboot(POWER_OFF)
