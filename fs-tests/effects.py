#!/usr/bin/env python3
"""Measures with real packets between the nodes what each effect does, both ways, against what was asked.

Sizes of samples are fixed. What is left to chance is judged by three standard deviations, which a sound machine keeps to in
99.7 % of all samples. Whatever else the machine does makes times longer, never shorter: so a delay is judged by its quickest
tenth. A sample that is out is drawn again, at most twice, and only all being out is a failure.
"""
import errno
import math
import os
import statistics
import sys

sys.dont_write_bytecode = True
from traffic import DEADLINE, Agent, Cluster  # noqa: E402

A, B, C = "i001", "i002", "i003"
# Ethernet, IP and UDP; Ethernet, IP and TCP with time stamps: what HTB counts besides the payload.
UDP_HEADERS, TCP_HEADERS, SEGMENT = 42, 66, 1448
MILLI = 1e6


class Out(Exception):
    """A sample that is out of what was asked."""


def judge(holds, sentence):
    if not holds:
        raise Out(sentence)


def sampled(measure):
    """Another sample if one is out, at most twice."""
    for _ in range(2):
        try:
            return measure()
        except Out as out:
            print(f"another sample, as this one is out: {out}")
    return measure()


def quick(times):
    """What a tenth of these times are within."""
    return sorted(times)[len(times) // 10]


def share(asked, count, of, what):
    """Whether count of so many are the share asked, give or take three standard deviations."""
    slack = 3 * math.sqrt(of * asked * (1 - asked))
    sentence = f"{what}: {count} of {of}, asked {asked:.4%}, that is {of * asked:.0f} give or take {slack:.0f}"
    print(sentence)
    judge(abs(count - of * asked) <= slack, sentence)


def near(asked, got, what, absolute=1.0, relative=0.05):
    slack = absolute + relative * asked
    sentence = f"{what}: {got:.3f}, asked {asked:g} give or take {slack:g}"
    print(sentence)
    judge(abs(got - asked) <= slack, sentence)


def pinned(pid):
    """Whether a node's program could be kept on one processor. One that is moved overtakes itself, whatever the network does: its
    packets wait at each processor. Only root may."""
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(task), {min(os.sched_getaffinity(0))})
    except PermissionError:
        return False
    return True


class Effects:
    def __init__(self, mountpoint):
        self.cluster = Cluster(mountpoint)
        lines = (line.split(None, 2) for line in self.cluster.read("capabilities").splitlines())
        self.can = {word: (yes == "yes", how) for word, yes, how in lines}
        self.pinned = all([pinned(self.cluster.read(f"{node}/pid.txt").strip()) for node in (A, B, C)])

    def link(self, *lines):
        """Puts lines into links. False if the machine cannot do it and says so, as it must then."""
        cannot = [word for word, (can, _) in self.can.items() if not can and any(f" {word}" in line for line in lines)]
        if not cannot:
            self.cluster.set("links", "\n".join(lines))
            return True
        self.unsupported(cannot[0], self.can[cannot[0]][1], *lines)
        return False

    def unsupported(self, word, why, *lines):
        before = self.cluster.read("links")
        result = self.cluster.write("links", "\n".join(lines) + "\n")
        assert result == errno.EOPNOTSUPP, f"{lines}: {errno.errorcode.get(result, result)}"
        sentence = self.cluster.read("error")
        assert word in sentence and why in sentence, sentence
        assert self.cluster.read("links") == before
        print(f"refused, as the machine cannot: {sentence.strip()}")

    def heal(self):
        self.cluster.set("control", "heal")

    def nothing_came(self, receiver, number):
        got = self.cluster[receiver].json("got", number)
        assert got["packets"] == 0, f"some came all the same: {summary(got)}"

    def fence(self, sender, receiver):
        """Waits until all that was sent on a link before has come or is lost: packets keep their order."""
        agent, token = self.cluster[receiver], self.cluster.number()
        for _ in range(DEADLINE * 5):
            assert self.cluster[sender].ask("send", token, self.cluster.datagrams(receiver)) == "sent"
            if not agent.ask("await", 200, token):
                return
        raise AssertionError(f"{sender}>{receiver} lets nothing through")

    def streams(self, *ways, count, size=100, burst=10, micros=1000, fence=True):
        """Sends numbered packets on several links at the same time. What came of them, with their delays in ms, a link.

        A receiver that cannot take so much at once says so, and then it is all sent again, slower. Unless it was to be as much
        as the socket takes (burst 0).
        """
        # Each with a connection to its agent of its own: an agent does what it is told over one of them in turn.
        senders = [Agent(sender, self.cluster.address[sender]) for sender, _ in ways]
        for slower in (1, 2, 4, 8):
            overflown = [self.cluster[receiver].counter("Udp", "RcvbufErrors") for _, receiver in ways]
            numbers = [self.cluster.number() for _ in ways]
            for agent, (_, receiver), number in zip(senders, ways, numbers):
                agent.tell("stream", number, self.cluster.datagrams(receiver), count, size, burst, micros * slower)
            for agent in senders:
                assert agent.answer() == f'{{"sent": {count}, "failed": 0}}', "a send has failed"
            all_of_them = []
            for (sender, receiver), number in zip(ways, numbers):
                if fence:
                    self.fence(sender, receiver)
                got = self.cluster[receiver].json("got", number)
                got["delays"] = sorted(nanos / MILLI for nanos in self.cluster[receiver].numbers("delays", number))
                got["number"] = number
                assert got["bad"] == 0, f"{receiver} has got what nobody sent: {got['bad']} packets"
                all_of_them.append(got)
            if burst == 0 or overflown == [self.cluster[receiver].counter("Udp", "RcvbufErrors") for _, receiver in ways]:
                return all_of_them
        raise AssertionError("the receivers are too slow")

    def in_order(self, got, what):
        """Order is kept."""
        allowed = 0 if self.pinned else got["packets"] / 100
        assert got["late"] <= allowed, f"{what}: {summary(got)}"

    def all_came(self, got, count, what="the other way"):
        assert (got["distinct"], got["duplicates"]) == (count, 0), f"{what}: {summary(got)} of {count}"
        self.in_order(got, what)

    def unharmed(self, got, count, what="the other way"):
        self.all_came(got, count, what)
        near(0, statistics.median(got["delays"]), f"{what}, median in ms")

    # ---- the checks -------------------------------------------------------------------------------------------------

    def drop(self):
        for sender, receiver in ((A, B), (B, A)):
            assert self.link(f"{sender}>{receiver} drop")
            forth, back = self.streams((sender, receiver), (receiver, sender), count=1000, fence=False)
            self.fence(receiver, sender)
            self.all_came(self.cluster[sender].json("got", back["number"]), 1000)
            self.heal()
            self.fence(sender, receiver)
            self.nothing_came(receiver, forth["number"])
        self.cluster.set("partition", f"{A} | {B} {C}")
        ways = self.streams((A, B), (B, A), (A, C), count=200, fence=False)
        self.unharmed(self.streams((B, C), count=200)[0], 200, "in a group")
        self.heal()
        for (sender, receiver), got in zip(((A, B), (B, A), (A, C)), ways):
            self.fence(sender, receiver)
            self.nothing_came(receiver, got["number"])

    def loss(self):
        def measure():
            forth, back = self.streams((A, B), (B, A), count=10_000)
            share(asked, 10_000 - forth["distinct"], 10_000, "lost")
            assert forth["duplicates"] == 0, summary(forth)
            self.in_order(forth, "what is not lost")
            self.unharmed(back, 10_000)

        for asked in (0.01, 0.3):
            if not self.link(f"{A}>{B} loss {asked:.0%}"):
                return
            sampled(measure)
        assert self.link(f"{A}>{B} loss 100%")
        [got] = self.streams((A, B), count=200, fence=False)
        self.heal()
        self.fence(A, B)
        self.nothing_came(B, got["number"])

    def delay(self):
        def measure():
            ways = ((one, other), (one, C), (other, one), (C, one), (other, C))
            first, second, *others = self.streams(*ways, count=500, burst=1)
            for asked, got in ((50, first), (5, second)):
                self.all_came(got, 500, "delayed")
                assert got["delays"][0] >= asked - 0.1, f"one waited {got['delays'][0]} ms only"
                near(asked, quick(got["delays"]), "quick ones in ms")
            for got, way in zip(others, ways[2:]):
                self.unharmed(got, 500, ">".join(way))

        for one, other in ((A, B), (B, A)):
            if self.link(f"{one}>{other} delay 50ms", f"{one}>{C} delay 5ms"):
                sampled(measure)

    def jitter(self):
        def sparse():
            # Packets are so far from each other that none has to wait for the one before it.
            forth, back = self.streams((A, B), (B, A), count=300, burst=1, micros=5000)
            self.all_came(forth, 300, "delayed")
            self.unharmed(back, 300)
            delays = forth["delays"]
            assert delays[0] >= 17.9, f"one waited {delays[0]} ms only"
            near(20, statistics.median(delays), "median in ms")
            low, high = delays[30], delays[-30]
            print(f"of ten, eight wait {low:.2f} to {high:.2f} ms")
            judge(low < 19.2 and 20.8 < high < 22 + 1 + 0.05 * 22, f"jitter of 2 ms: eight of ten wait {low} to {high} ms")

        def dense():
            [got] = self.streams((A, B), count=1000, burst=1)
            self.all_came(got, 1000, "in order")
            delays = got["delays"]
            assert delays[0] >= 9.9, f"one waited {delays[0]} ms only"
            print(f"{delays[0]:.2f} to {delays[949]:.2f} ms (95 %), {delays[-1]:.2f} at most")
            judge(delays[949] <= 30 + 1 + 0.05 * 30, f"delay 20ms 10ms: some wait {delays[949]} ms")
            judge(delays[949] - delays[0] > 5, "there is no jitter")

        if self.link(f"{A}>{B} delay 20ms 2ms"):
            sampled(sparse)
            assert self.link(f"{A}>{B} delay 20ms 10ms")
            sampled(dense)

    def rate(self):
        def udp():
            # As much as the socket takes, to all three at once. Counted are frames as they arrive, with their headers.
            size = 1000
            forth, third, back = self.streams((one, other), (one, C), (other, one), count=1500, size=size, burst=0, fence=False)
            seen = self.cluster[other].json("until", forth["number"], DEADLINE * 1000, 1500, 0)
            near(8, (seen["packets"] - 1) * (size + UDP_HEADERS) * 8000 / (seen["last"] - seen["first"]), "mbit/s of UDP", 0, 0.1)
            assert seen["distinct"] == 1500, f"a socket waits, nothing need be lost: {summary(seen)}"
            for got, receiver in ((third, C), (back, one)):
                got = self.cluster[receiver].json("until", got["number"], DEADLINE * 1000, 2, 0)
                judge(got["packets"] * size * 8000 / (got["last"] - got["first"]) > 24, f"{receiver} is held back too: {summary(got)}")

        def tcp():
            number, size = self.cluster.number(), 2_500_000
            assert self.cluster[one].ask("flood", self.cluster.connections(other), size, number) == "sent"
            got = self.cluster[other].json("got", number)
            assert (got["bytes"], got["wrong"]) == (size, 0), summary(got)
            near(20, (size + size / SEGMENT * TCP_HEADERS) * 8000 / (got["last"] - got["first"]), "mbit/s of TCP", 0, 0.1)
            back = self.cluster.number()
            assert self.cluster[other].ask("flood", self.cluster.connections(one), size, back) == "sent"
            got = self.cluster[one].json("got", back)
            judge(size * 8000 / (got["last"] - got["first"]) > 60, f"the other way is held back too: {summary(got)}")

        for one, other in ((A, B), (B, A)):
            if self.link(f"{one}>{other} rate 8mbit"):
                sampled(udp)
                assert self.link(f"{one}>{other} rate 20mbit")
                sampled(tcp)

    def duplicate(self):
        def measure():
            forth, back = self.streams((A, B), (B, A), count=3000)
            assert forth["distinct"] == 3000, f"some are lost: {summary(forth)}"
            share(asked, forth["duplicates"], 3000, "came twice")
            self.unharmed(back, 3000)

        for asked in (0.3, 1.0):
            if not self.link(f"{A}>{B} duplicate {asked:.0%}"):
                return
            sampled(measure)

    def corrupt(self):
        # netem may hit the six bytes of the sender's hardware address too, which nobody misses: such a packet arrives, and is
        # as it was sent.
        size = 1000
        unseen = 6 / (size + UDP_HEADERS) if self.can["corrupt"][1] == "netem" else 0

        def measure():
            # Each time, as it is healed before all has been counted.
            assert self.link(f"{A}>{B} corrupt {asked:.0%}")
            before = self.cluster[B].counter("Udp", "InCsumErrors")
            forth, back = self.streams((A, B), (B, A), count=2000, size=size, burst=5, fence=asked < 1)
            if asked == 1:
                self.heal()
                self.fence(A, B)
                forth = self.cluster[B].json("got", forth["number"])
                assert forth["bad"] == 0, f"wrong payload was delivered: {summary(forth)}"
                self.fence(B, A)
                back = self.cluster[A].json("got", back["number"])
                self.all_came(back, 2000)
            else:
                self.unharmed(back, 2000)
            share(asked * (1 - unseen), 2000 - forth["distinct"], 2000, "not delivered, as it is corrupt")
            found = self.cluster[B].counter("Udp", "InCsumErrors") - before
            print(f"{found} wrong sums of UDP were found")
            assert found > 2000 * asked * 0.5, "they are lost, but not because of a wrong sum"

        for asked in (0.2, 1.0):
            if not self.link(f"{A}>{B} corrupt {asked:.0%}"):
                return
            sampled(measure)

    def reorder(self):
        def measure():
            forth, back = self.streams((A, B), (B, A), count=2000, burst=1, fence=False)
            forth = self.cluster[B].json("until", forth["number"], DEADLINE * 1000, 2000, 0) | {"number": forth["number"]}
            assert (forth["distinct"], forth["duplicates"]) == (2000, 0), f"some are lost, or came twice: {summary(forth)}"
            delays = [nanos / MILLI for nanos in self.cluster[B].numbers("delays", forth["number"])]
            assert forth["late"] > 0, "all came in order"
            share(0.25, sum(delay < 10 for delay in delays), 2000, "did not wait")
            near(20, quick([delay for delay in delays if delay >= 10]), "the quick ones of the others in ms")
            self.fence(B, A)
            self.all_came(self.cluster[A].json("got", back["number"]), 2000)

        if self.link(f"{A}>{B} delay 20ms reorder 25%"):
            sampled(measure)

    def together(self):
        """Several effects on one link, others on others, and net for what links do not name."""
        def measure():
            forth, back, other = self.streams((A, B), (B, A), (A, C), count=3000, burst=3)
            share(0.1, 3000 - forth["distinct"], 3000, "lost")
            near(20, quick(forth["delays"]), "quick ones in ms")
            near(5, quick(back["delays"]), "quick ones in ms the other way")
            self.all_came(back, 3000)
            near(10, quick(other["delays"]), "quick ones in ms by net")
            self.all_came(other, 3000)

        if self.link(f"{A}>{B} delay 20ms loss 10%", f"{B}>{A} delay 5ms"):
            self.cluster.set(f"{A}/net", "delay 10ms")
            sampled(measure)


def summary(got):
    return {word: value for word, value in got.items() if word != "delays"}


def main(checks):
    """One check of a class, as the command line says. The other methods are no checks."""
    names = [name for name in vars(checks) if not name.startswith("_") and name not in HELPERS]
    if len(sys.argv) != 3 or sys.argv[2] not in names:
        sys.exit(f"usage: {os.path.basename(sys.argv[0])} MOUNTPOINT CHECK\nchecks: {' '.join(names)}")
    try:
        getattr(checks(sys.argv[1]), sys.argv[2])()
    except Out as out:
        sys.exit(f"out: {out}")


HELPERS = {"in_order", "link", "unsupported", "heal", "nothing_came", "fence", "streams", "all_came", "unharmed"}

if __name__ == "__main__":
    main(Effects)
