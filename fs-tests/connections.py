#!/usr/bin/env python3
"""What connections, open ones and new ones, see of faults: silence, a reset, a refusal. And the links of the host.

Silence is known without a sleep: the kernel of the side that sends counts how often it has sent again.
"""
import errno
import socket
import struct
import sys
import time

sys.dont_write_bytecode = True
from effects import MILLI, A, B, C, Effects, main, near, quick, share, sampled  # noqa: E402
from traffic import CONNECTIONS, CONTROL, DATAGRAMS, DEADLINE, packet  # noqa: E402

PATIENT = DEADLINE * 1000


class Connections(Effects):
    def _connects(self, sender, receiver, millis=PATIENT):
        return self.cluster[sender].ask("connect", "new", self.cluster.connections(receiver), millis)

    def _refused(self, sender, receiver):
        knock = self.cluster[sender].ask("knock", self.cluster.datagrams(receiver), PATIENT)
        got = self._connects(sender, receiver), knock
        assert got == ("refused", "refused"), f"{sender}>{receiver}: {got}"

    def _open(self, name, one, other):
        """A connection that both know by this name, and over which both have heard a line."""
        assert self.cluster[one].ask("connect", name, self.cluster.connections(other), PATIENT) == "accepted"
        self._hears(other, name, "")
        self._says(one, name, "one")
        self._says(other, name, "eins")
        assert self._hears(other, name, "one") == "open one/"
        assert self._hears(one, name, "eins") == "open eins/"

    def _says(self, node, name, text):
        assert self.cluster[node].ask("say", name, text) == "sent"

    def _hears(self, node, name, text):
        """State and text of a connection, once the text is in it."""
        return self.cluster[node].ask("hear", name, PATIENT, text)

    def _now(self, node, name):
        return self.cluster[node].ask("hear", name, 0)

    def _ended(self, node, name):
        return self.cluster[node].ask("ended", name, PATIENT).split()[0]

    def _sent_again(self, node):
        return self.cluster[node].counter("Tcp", "RetransSegs")

    def _in_vain(self, node, before, times):
        """Waits until the node has sent something again so often."""
        end = time.monotonic() + DEADLINE
        while self._sent_again(node) < before + times:
            assert time.monotonic() < end, f"{node} does not try again"
            time.sleep(0.02)

    # ---- the checks -------------------------------------------------------------------------------------------------

    def reject(self):
        if not self.link(f"{A}>{B} reject"):
            return
        self._refused(A, B)
        self.unharmed(self.streams((B, A), count=500)[0], 500)
        # Its answers are rejected, so no connection comes about in the other direction; and other nodes are served.
        assert self._connects(B, A, 500) == "timeout"
        assert self._connects(A, C) == "accepted"
        assert self._connects(C, B) == "accepted"
        if not self.link(f"{A}>{B} reject", f"{B}>{A} reject"):
            return
        self._refused(A, B)
        self._refused(B, A)
        self.heal()
        assert (self._connects(A, B), self._connects(B, A)) == ("accepted", "accepted")
        self.cluster.set("partition", f"reject {A} | {B} {C}")
        for sender, receiver in ((A, B), (B, A), (A, C), (C, A)):
            self._refused(sender, receiver)
        assert self._connects(B, C) == "accepted"
        self.heal()
        assert (self._connects(A, B), self._connects(C, A)) == ("accepted", "accepted")

    def silence(self):
        """Under drop an open connection goes silent, and goes on after heal: the same one, nothing missing."""
        self._open("quiet", A, B)
        self.cluster.set("partition", f"{A} | {B} {C}")
        before = {node: self._sent_again(node) for node in (A, B)}
        self._says(A, "quiet", "two")
        self._says(B, "quiet", "zwei")
        for node in (A, B):
            self._in_vain(node, before[node], 2)
        assert (self._now(A, "quiet"), self._now(B, "quiet")) == ("open eins/", "open one/")
        assert self._connects(A, B, 300) == "timeout"
        self.heal()
        assert self._hears(B, "quiet", "two") == "open one/two/"
        assert self._hears(A, "quiet", "zwei") == "open eins/zwei/"
        self._says(A, "quiet", "three")
        assert self._hears(B, "quiet", "three") == "open one/two/three/"

    def reset(self):
        """Under reject an open connection is reset: for a partition, and for a link the one that sends over it."""
        if not self.link(f"{A}>{B} reject"):
            return
        self.heal()
        self._open("first", A, B)
        self._open("other", A, C)
        assert self.link(f"{A}>{B} reject")
        self._says(A, "first", "two")
        assert self._ended(A, "first") == "reset"
        assert self._now(B, "first") == "open one/"
        self.heal()
        self._open("second", A, B)
        self.cluster.set("partition", f"reject {A} | {B} {C}")
        self._says(B, "second", "zwei")
        assert self._ended(B, "second") == "reset"
        self._says(A, "second", "two")
        assert self._ended(A, "second") == "reset"
        self.heal()
        self._says(A, "other", "two")
        assert self._hears(C, "other", "two") == "open one/two/", "a connection that was not used under reject lives on"

    def crash(self):
        """The peers of a node that crashes see silence; when it is back, what they send is answered with a reset."""
        self._open("busy", A, C)
        self._open("idle", C, B)
        self.cluster.set(f"{C}/control", "crash")
        before = self._sent_again(A)
        self._says(A, "busy", "two")
        self._in_vain(A, before, 3)
        assert (self._now(A, "busy"), self._now(B, "idle")) == ("open eins/", "open one/")
        assert self._connects(A, C, 300) == "timeout"
        assert self.cluster.passes(A, B)
        # Neither heal nor what is done with others ends it.
        self.cluster.set("partition", f"{A} | {B} {C}")
        self.heal()
        assert (self._now(A, "busy"), self._now(B, "idle")) == ("open eins/", "open one/")
        assert self._connects(B, C, 300) == "timeout"
        self.cluster.set(f"{C}/control", "start")
        self._says(B, "idle", "zwei")
        assert self._ended(B, "idle") == "reset"
        assert self._ended(A, "busy") == "reset"

    def host(self):
        """The machine outside is never touched unless it is named, and then as asked, and only there."""
        self.cluster.set("links", "*>* drop")
        for node in (A, B, C):
            assert self.cluster.passes("host", node) and self.cluster.passes(node, "host")
        assert self.link(f"host>{A} drop")
        self._host_drop_in()
        assert self.link(f"{A}>host drop")
        self._host_drop_out()
        self.heal()
        for node in (A, B, C):
            assert self.cluster.passes("host", node) and self.cluster.passes(node, "host")
        for word in ("rate 1mbit", "duplicate 5%"):
            self.unsupported(word.split()[0], "from the host", f"host>{A} {word}")

    def _behind(self, *words):
        """Asks A's agent by way of B's."""
        return self.cluster[B].ask("via", f"{self.cluster.address[A]}:{CONTROL}", *words)

    def _reaches(self, sender, receiver):
        """Whether a datagram between A and another node comes, when the host cannot ask A."""
        token = self.cluster.number()
        if receiver == A:
            assert self.cluster[sender].ask("send", token, self.cluster.datagrams(A)) == "sent"
            return self._behind("await", PATIENT, token) == ""
        assert self._behind("send", token, self.cluster.datagrams(receiver)) == "sent"
        return self.cluster[receiver].ask("await", PATIENT, token) == ""

    def _others_unharmed(self):
        return self.cluster.passes("host", B) and self.cluster.passes(B, "host") and self._reaches(A, B) and self._reaches(B, A)

    def _host_drop_in(self):
        token = self.cluster.number()
        self.cluster.host.send(b"T", token, self.cluster.address[A])
        back = self.cluster.number()
        assert self._behind("send", back, self.cluster.datagrams("host")) == "sent"
        assert not self.cluster.host.missing([back])
        assert self._others_unharmed()
        self.heal()
        assert self.cluster.passes("host", A)
        assert self._behind("await", 0, token) == f" {token}", "it came in spite of host>node drop"

    def _host_drop_out(self):
        token, forth = self.cluster.number(), self.cluster.number()
        # A send that fails would be what no network does.
        assert self._behind("send", token, self.cluster.datagrams("host")) == "sent"
        self.cluster.host.send(b"T", forth, self.cluster.address[A])
        assert self._behind("await", PATIENT, forth) == ""
        assert self._others_unharmed()
        self.heal()
        assert self.cluster.passes(A, "host")
        assert token in self.cluster.host.missing([token], 0), "it came in spite of node>host drop"

    def host_reject(self):
        """A refusal, for what the host asks of a node and for what a node asks of the host."""
        if not self.link(f"host>{A} reject"):
            return
        self._host_refused(errno.ECONNREFUSED)
        assert self._others_unharmed()
        self.heal()
        assert self.cluster.passes("host", A)
        with socket.create_server(("0.0.0.0", 0)) as server:
            port = f"{self.cluster.host_address}:{server.getsockname()[1]}"
            assert self.cluster[A].ask("connect", "out", port, PATIENT) == "accepted"
            assert self.link(f"{A}>host reject")
            assert self._behind("connect", "out", port, PATIENT) == "refused"
            knock = self._behind("knock", self.cluster.datagrams("host"), PATIENT)
            assert knock == "refused", knock
            print(f"a connected UDP socket of the node: {knock}")
            assert self.cluster[B].ask("connect", "out", port, PATIENT) == "accepted"
            assert self._others_unharmed()
        self.heal()
        assert self.cluster.passes(A, "host")

    def _host_refused(self, wanted):
        address = self.cluster.address[A]
        try:
            socket.create_connection((address, CONNECTIONS), timeout=DEADLINE).close()
            raise AssertionError("host>node reject accepts")
        except OSError as error:
            assert error.errno == wanted, error
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as knocking:
            knocking.connect((address, DATAGRAMS))
            knocking.settimeout(DEADLINE)
            knocking.send(packet(b"T", 0))
            try:
                knocking.recv(64)
                raise AssertionError("it was answered")
            except OSError as error:
                assert error.errno == wanted, error

    def host_links(self):
        """Loss and delay of the host's links."""
        def lost_in():
            tokens = [self.cluster.number() for _ in range(2000)]
            for number, token in enumerate(tokens):
                if number % 10 == 0:
                    time.sleep(0.001)
                self.cluster.host.send(b"T", token, self.cluster.address[A])
            # Not lost itself, and behind them all.
            self.cluster.set("links", "heal")
            assert self.cluster.passes("host", A)
            came = self._tokens_of(A, tokens)
            assert self.link(f"host>{A} loss 30%")
            share(0.3, len(tokens) - came, len(tokens), "lost from the host")

        def lost_out():
            tokens = [self.cluster.number() for _ in range(2000)]
            to = self.cluster.datagrams("host")
            for at in range(0, len(tokens), 50):
                pairs = [word for token in tokens[at:at + 50] for word in (token, to)]
                assert self._behind("send", *pairs) == "sent"
                self.cluster.host.receive()
            self.cluster.set("links", "heal")
            assert self.cluster.passes(A, "host")
            lost = len(self.cluster.host.missing(tokens, 0))
            assert self.link(f"{A}>host loss 30%")
            share(0.3, lost, len(tokens), "lost to the host")

        if self.link(f"host>{A} loss 30%"):
            sampled(lost_in)
        if self.link(f"{A}>host loss 30%"):
            sampled(lost_out)
        if self.link(f"host>{A} delay 30ms", f"{A}>host delay 60ms"):
            sampled(self._host_delay)

    def _tokens_of(self, node, tokens):
        return len(tokens) - len(self.cluster[node].numbers("await", 0, *tokens))

    def _host_delay(self):
        forth, other = self.cluster.number(), self.cluster.number()
        for number in range(100):
            self.cluster.host.send(b"S", forth, self.cluster.address[A], number)
            self.cluster.host.send(b"S", other, self.cluster.address[B], number)
            time.sleep(0.001)
        for node, number, asked in ((A, forth, 30), (B, other, 0)):
            got = self.cluster[node].json("until", number, PATIENT, 100, 0)
            self.all_came(got, 100, f"host>{node}")
            delays = sorted(nanos / MILLI for nanos in self.cluster[node].numbers("delays", number))
            assert delays[0] >= asked - 0.1
            near(asked, quick(delays), f"host>{node}, quick ones in ms")
        delays = []
        for node, asked in ((A, 60), (B, 0)):
            delays = sorted(self._back(node) for _ in range(9))
            assert delays[0] >= asked - 0.1
            near(asked, quick(delays), f"{node}>host, quick ones in ms")

    def _back(self, node):
        """How long one datagram of a node takes to here, in ms."""
        token, host = self.cluster.number(), self.cluster.host
        self.cluster[node].tell("send", token, self.cluster.datagrams("host"))
        host.socket.settimeout(DEADLINE)
        data = host.socket.recv(65536)
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        host.socket.settimeout(None)
        _, number, _, sent = struct.unpack_from(">cQIQ", data)
        assert number == token
        assert self.cluster[node].answer() == "sent"
        return (now - sent) / MILLI


if __name__ == "__main__":
    main(Connections)
