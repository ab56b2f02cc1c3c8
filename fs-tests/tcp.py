#!/usr/bin/env python3
"""What each effect does to real TCP between the nodes, one way and the other.

TCP mends what a network does to it: the bytes that arrive are whole and right, whatever the effect. So the effect itself is read
from the counters of the nodes' kernels, each in its own network namespace, before and after.
"""
import sys

sys.dont_write_bytecode = True
from connections import PATIENT, Connections  # noqa: E402
from effects import MILLI, A, B, C, judge, main, near, quick, sampled  # noqa: E402
from traffic import Agent  # noqa: E402

CONNECTS = 21


class Tcp(Connections):
    def _connecting(self, sender, receiver, asked):
        times = self.cluster[sender].numbers("connecting", self.cluster.connections(receiver), CONNECTS, PATIENT)
        times = sorted(nanos / MILLI for nanos in times)
        assert times[0] >= asked - 0.1, f"{sender}>{receiver}: a connection was there after {times[0]} ms"
        near(asked, quick(times), f"{sender} connects to {receiver}, quick ones in ms")

    def _floods(self, size):
        """As many bytes from A to B as from B to A, at the same time. They must come whole and right."""
        ways = ((A, B), (B, A))
        senders = [Agent(sender, self.cluster.address[sender]) for sender, _ in ways]
        numbers = [self.cluster.number() for _ in ways]
        for agent, (_, receiver), number in zip(senders, ways, numbers):
            agent.tell("flood", self.cluster.connections(receiver), size, number)
        for agent, (sender, receiver), number in zip(senders, ways, numbers):
            assert agent.answer() == "sent", f"{sender}>{receiver}"
            got = self.cluster[receiver].json("got", number)
            assert (got["bytes"], got["wrong"]) == (size, 0), f"{sender}>{receiver}: {got}"

    def _moves(self, link, size, receivers, senders, innocent):
        """Under A>B such counters of B, that receives, and of A, that sends, must move. The other way innocent judges."""
        names = sorted({*receivers, *senders, ("Tcp", "RetransSegs")})

        def count():
            return {node: {name: self.cluster[node].counter(*name) for name in names} for node in (A, B)}

        def measure():
            before = count()
            self._floods(size)
            after = count()
            moved = {node: {name[1]: after[node][name] - before[node][name] for name in names} for node in (A, B)}
            print(f"{A}>{B} {link}, {size} bytes: {moved}")
            for node, wanted in ((B, receivers), (A, senders)):
                for _, name in wanted:
                    judge(moved[node][name] > 0, f"{link}: {name} of {node} has not moved: {moved}")
            judge(innocent(moved), f"{link}: the other way is harmed: {moved}")

        if self.link(f"{A}>{B} {link}"):
            sampled(measure)

    def _in_order(self, moved):
        """A's stream from B has kept its order. On several processors, packets overtake each other by themselves."""
        return moved[A]["TCPOFOQueue"] <= (0 if self.pinned else moved[B]["TCPOFOQueue"] / 10)

    # ---- the checks -------------------------------------------------------------------------------------------------

    def delay(self):
        """Of a connection's first packets one goes each way: whichever side begins, one of them waits."""
        def measure():
            for sender, receiver in ways:
                self._connecting(sender, receiver, 50)
                self._connecting(receiver, sender, 50)
            for sender, receiver in ((A, C), (C, A), (B, C), (C, B)):
                self._connecting(sender, receiver, 0)

        def both():
            self._connecting(A, B, 70)
            self._connecting(B, A, 70)

        for ways in (((A, B),), ((B, A),)):
            if not self.link(f"{ways[0][0]}>{ways[0][1]} delay 50ms"):
                return
            sampled(measure)
        if self.link(f"{A}>{B} delay 50ms", f"{B}>{A} delay 20ms"):
            sampled(both)

    def loss(self):
        """What is lost is sent again by A, and leaves a gap at B; the acknowledgements lost the other way harm nobody."""
        self._moves("loss 5%", 10_000_000, [("TcpExt", "TCPOFOQueue")], [("Tcp", "RetransSegs")], self._in_order)

    def duplicate(self):
        """B tells A what has come twice. A may tell so of what B has sent again by itself, and of nothing else."""
        self._moves("duplicate 30%", 10_000_000, [("TcpExt", "TCPDSACKOldSent")], [("TcpExt", "TCPDSACKRecv")],
                    lambda moved: moved[A]["TCPDSACKOldSent"] <= moved[B]["RetransSegs"])

    def reorder(self):
        """What has overtaken waits at B for what is missing. What A makes of it, and sends again, is TCP's own affair."""
        self._moves("delay 5ms reorder 25%", 2_000_000, [("TcpExt", "TCPOFOQueue")], [], self._in_order)

    def corrupt(self):
        self._moves("corrupt 5%", 1_000_000, [("Tcp", "InCsumErrors")], [("Tcp", "RetransSegs")],
                    lambda moved: moved[A]["InCsumErrors"] == 0)

    def drop(self):
        """One way only: what B says is heard by A, not the other way round, until heal; and no connection comes about."""
        self._open("one-way", A, B)
        self._open("other", A, C)
        assert self.link(f"{A}>{B} drop")
        before = self._sent_again(A)
        self._says(A, "one-way", "two")
        self._says(B, "one-way", "zwei")
        assert self._hears(A, "one-way", "zwei") == "open eins/zwei/"
        self._in_vain(A, before, 2)
        assert self._now(B, "one-way") == "open one/"
        # Of the second, it is the answer that is dropped.
        assert (self._connects(A, B, 300), self._connects(B, A, 300)) == ("timeout", "timeout")
        self._says(A, "other", "two")
        assert self._hears(C, "other", "two") == "open one/two/"
        self.heal()
        assert self._hears(B, "one-way", "two") == "open one/two/"
        self._says(B, "one-way", "drei")
        assert self._hears(A, "one-way", "drei") == "open eins/zwei/drei/"
        assert (self._connects(A, B), self._connects(B, A)) == ("accepted", "accepted")


if __name__ == "__main__":
    main(Tcp)
