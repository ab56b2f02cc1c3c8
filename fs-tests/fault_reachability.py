#!/usr/bin/env python3
"""Random states of the network's faults, each verified by who reaches whom right after the write has returned.

    fault_reachability.py MOUNTPOINT STATES [SEED]

Every node runs the agent of fs-tests/traffic. A state is reached by one random write to partition, links, a node's net or a
control file, on top of what is there; it is verified by a datagram of its own over every directed pair of nodes, and
between the host and every node. What must arrive is waited for. What must not is never to arrive, up to the end: nothing
is held to be lost because it did not come within some time. Who should reach whom is computed here, from what is read of
the files, in the most naive way; that a write has brought about what it says is computed from what was written.
"""
import random
import sys

sys.dont_write_bytecode = True
from traffic import DEADLINE, Cluster  # noqa: E402

SEPARATE = ("drop", "reject", "loss 100%")
# These let everything through, only not as ever; together they bring in all mechanisms at once.
PASSING = {"delay": "delay 2ms 1ms", "duplicate": "duplicate 50%", "rate": "rate 50mbit"}


class State:
    """What the files say, as they say it. A link is cut or not: how it is, is not looked at here."""

    def __init__(self, names, groups=(), lines=(), nets=None):
        self.names, self.groups, self.lines = names, list(groups), list(lines)
        self.nets = nets or dict.fromkeys(names, "")

    @classmethod
    def read(cls, cluster):
        return cls(
            cluster.names,
            parse_groups(cluster.read("partition"), cluster.names),
            parse_lines(cluster.read("links")),
            {name: cluster.read(f"{name}/net").strip() for name in cluster.names},
        )

    def reaches(self, sender, receiver):
        if self.groups and not any(sender in group and receiver in group for group in self.groups):
            return False
        for ends, effects in reversed(self.lines):
            if ends[0] in (sender, "*") and ends[1] in (receiver, "*"):
                return effects not in SEPARATE
        return self.nets[sender] not in SEPARATE

    def matrix(self):
        pairs = ((sender, receiver) for sender in self.names for receiver in self.names if sender != receiver)
        return {pair: self.reaches(*pair) for pair in pairs}


def parse_groups(text, names):
    words = text.split()
    if words and words[0] in ("drop", "reject"):
        words = words[1:]
    groups = [set(group.split()) for group in " ".join(words).split("|")] if words else []
    left = set(names) - set().union(*groups)
    return groups + [left] if groups and left else groups


def parse_lines(text):
    lines = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
    return [(tuple(ends.split(">")), effects.strip()) for ends, effects in lines]


class Walk:
    def __init__(self, cluster, dice):
        self.cluster, self.dice = cluster, dice
        can = {words[0] for words in map(str.split, cluster.read("capabilities").splitlines()) if words[1] == "yes"}
        self.passing = [text for word, text in PASSING.items() if word in can]
        self.forbidden = {name: set() for name in cluster.names}
        self.verified = self.cut = 0

    def effects(self):
        return self.dice.choice([*SEPARATE, *SEPARATE, "none", *self.passing])

    def lines(self):
        """Some lines, none of which is about the same as another."""
        ends = [*self.cluster.names, "*", "*"]
        pairs = {(self.dice.choice(ends), self.dice.choice(ends)) for _ in range(self.dice.randint(1, 6))}
        pairs = sorted(pair for pair in pairs if pair[0] != pair[1] or pair[0] == "*")
        self.dice.shuffle(pairs)
        return [(pair, self.effects()) for pair in pairs]

    def partition(self):
        names = self.cluster.names
        some = self.dice.sample(names, self.dice.randint(1, len(names) - 1))
        groups = [self.dice.sample(names, self.dice.randint(1, 3)) for _ in range(self.dice.randint(1, 4))]
        text = self.dice.choice([
            "halves", "majority", "ring", f"bridge {some[0]}", f"isolate {' '.join(some)}",
            *3 * [" | ".join(" ".join(group) for group in groups)],
        ])
        return self.dice.choice(["", "drop ", "reject "]) + text

    def step(self):
        """One write. Returns what was written, and what it should have changed the state to, if that can be told."""
        dice, cluster, state = self.dice, self.cluster, State.read(self.cluster)
        kind = dice.choice(["partition"] * 4 + ["links"] * 3 + ["append"] * 2 + ["net"] * 3 + ["heal", "heal node", "clear"])
        wanted = None
        if kind == "partition":
            text = self.partition()
            cluster.set("partition", text)
            if text.split()[-1] not in ("halves", "majority", "ring") and "bridge" not in text:
                state.groups = parse_groups(text, cluster.names)
                if "isolate" in text:
                    alone = set(text.split()) & set(cluster.names)
                    state.groups = [{name} for name in alone] + [set(cluster.names) - alone]
                wanted = state.matrix()
            kind = f"partition: {text}"
        elif kind in ("links", "append"):
            lines = self.lines()
            text = "".join(f"{ends[0]}>{ends[1]} {effects}\n" for ends, effects in lines)
            if kind == "links":
                cluster.set("links", text)
            else:
                with open(f"{cluster.top}/links", "a") as file:
                    file.write(text + "\n")
            state.lines = lines if kind == "links" else state.lines + lines
            wanted = state.matrix()
            kind = f"{kind}: {text!r}"
        elif kind == "net":
            name, effects = dice.choice(cluster.names), dice.choice(["", self.effects()])
            cluster.set(f"{name}/net", effects)
            state.nets[name] = "" if effects == "none" else effects
            wanted = state.matrix()
            kind = f"{name}/net: {effects}"
        elif kind == "heal node":
            name = dice.choice(cluster.names)
            wanted = {pair: reaches or name in pair for pair, reaches in state.matrix().items()}
            cluster.set(f"{name}/control", "heal")
            kind = f"heal {name}"
        elif kind == "heal":
            cluster.set("control", "heal")
            wanted = State(cluster.names).matrix()
        else:
            name = dice.choice(["partition", "links"])
            cluster.set(name, "")
            if name == "partition":
                state.groups = []
            else:
                state.lines = []
            wanted = state.matrix()
            kind = f"clear {name}"
        return kind, wanted

    def verify(self, what, wanted):
        """Sends over every link, and waits for what must arrive."""
        cluster = self.cluster
        matrix = State.read(cluster).matrix()
        if wanted is not None and matrix != wanted:
            wrong = [f"{a}>{b}" for (a, b), reaches in matrix.items() if wanted[a, b] != reaches]
            self.fail(what, f"what is read says otherwise of {' '.join(wrong)}")
        tokens = {pair: cluster.number() for pair in matrix}
        due = {name: {} for name in (*cluster.names, "host")}
        for sender in cluster.names:
            pairs = [(receiver, token) for (one, receiver), token in tokens.items() if one == sender]
            pairs.append(("host", cluster.number()))
            for receiver, token in pairs:
                if matrix.get((sender, receiver), True):
                    due[receiver][token] = sender
                else:
                    self.forbidden[receiver].add(token)
            cluster[sender].tell("send", *(f"{token} {cluster.datagrams(receiver)}" for receiver, token in pairs))
        for name in cluster.names:
            token = cluster.number()
            due[name][token] = "host"
            cluster.host.send(b"T", token, cluster.address[name])
        for sender in cluster.names:
            # Nothing of what a fault does is to be seen by who sends.
            answer = cluster[sender].answer()
            if answer != "sent":
                self.fail(what, f"{sender} could not send: {answer}")
        for name in cluster.names:
            cluster[name].tell("await", DEADLINE * 1000, *due[name])
        missing = {name: cluster[name].answer().split() for name in cluster.names}
        missing["host"] = cluster.host.missing(due["host"])
        lost = [f"{due[name][int(token)]}>{name}" for name, tokens in missing.items() for token in tokens]
        if lost:
            self.fail(what, f"did not arrive: {' '.join(lost)}")
        self.look(what)
        self.verified += 1
        self.cut += sum(not reaches for reaches in matrix.values())

    def look(self, what):
        """Nothing has come that must not, of this state or an earlier one."""
        for name in self.cluster.names:
            self.cluster[name].tell("seen")
        for name in self.cluster.names:
            come = self.forbidden[name] & {int(token) for token in self.cluster[name].answer().split()}
            if come:
                self.fail(what, f"{len(come)} datagrams came to {name} that must not")

    def fail(self, what, why):
        files = "".join(f"  {name}: {self.cluster.read(name)!r}\n" for name in ("partition", "links"))
        files += "".join(f"  {name}/net: {self.cluster.read(f'{name}/net')!r}\n" for name in self.cluster.names)
        sys.exit(f"after {self.verified} states, {what}: {why}\n{files}")


def main():
    states = int(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    cluster = Cluster(sys.argv[1])
    walk = Walk(cluster, random.Random(seed))
    walk.verify("at first", State(cluster.names).matrix())
    for _ in range(states):
        walk.verify(*walk.step())
    # What goes over a link now comes after all that went over it before.
    cluster.set("control", "heal")
    walk.verify("healed at the end", State(cluster.names).matrix())
    links = len(cluster.names) * (len(cluster.names) - 1)
    print(f"{states} of {states} states agree over all {links} directed pairs, of which {walk.cut / states:.1f} cut on average; seed {seed}")


if __name__ == "__main__":
    main()
