#!/usr/bin/env python3
"""SIGTERM and SIGINT at every moment of a start, to `cthulhu mount` and to its daemon.

Whatever comes of it, exit status and sentence must tell it truly: either the cluster is mounted, or nothing is left.

usage: signal_sweep.py DIR STEP_MS MOST_STEPS -- OPTION_OF_MOUNT...

DIR is where the mountpoints are made; XDG_STATE_HOME must lie beside them. CTHULHU names the program.
"""
import os
import signal
import sys
import time

from sudden_death import Failed, Worker, alive, wait_for

INTERRUPTED = "cthulhu: interrupted before the cluster was up; what had been made is removed"
# It was hit before it could listen to signals, and had made nothing.
WITHOUT_A_WORD = "cthulhu: the daemon ended without a word"


class Sweeper(Worker):
    def __init__(self, place, options, share, step, most):
        super().__init__(place, 0, 0, options)
        self.share, self.step, self.most = share, step, most
        self.outcomes = {}

    def hit(self, number, victim, delay):
        front = self.command("mount")
        time.sleep(delay)
        daemon = self.child(front.pid) or self.daemon()
        target = front.pid if victim == "front" else daemon
        if target and alive(target):
            os.kill(target, number)
        status, output = self.ended(front, "mount, interrupted,")
        complaints = [line for line in output.splitlines() if line.startswith("cthulhu: ")]
        if status == 0:
            if complaints or "mounted at" not in output:
                raise Failed(f"exit status 0: {output}")
            outcome = "mounted"
            # To the daemon of a cluster that is up it means: end.
            daemon = daemon or self.daemon()
            if victim == "daemon" and target:
                wait_for("the end of the daemon", lambda: not alive(daemon))
            else:
                with open(self.place + "/status") as file:
                    file.read()
                self.do("umount")
        elif status == 1:
            allowed = [INTERRUPTED] if victim == "front" else [INTERRUPTED, WITHOUT_A_WORD]
            if len(complaints) != 1 or complaints[0] not in allowed:
                raise Failed(f"exit status 1: {output}")
            outcome = complaints[0].split()[1]
        elif status == -number and victim == "front" and not complaints:
            # By the signal itself, before it could listen; then the daemon sees that nobody waits.
            outcome = "killed"
        else:
            raise Failed(f"exit status {status}: {output}")
        if daemon:
            wait_for("the end of the daemon", lambda: not alive(daemon))
        if left := list(self.left()):
            raise Failed(f"exit status {status}; left: {', '.join(left)}")
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def run(self):
        lengths = []
        for phase in ("mount", "umount") * 2:
            self.do(phase)
            lengths.append(self.lengths[phase])
        self.lengths["mount"] = min(lengths[::2])
        number, victim = self.share
        whole = self.lengths["mount"] * 1000 * 1.2
        # A slow machine has no more moments, only longer ones.
        step = max(self.step, whole / self.most)
        steps = int(whole / step) + 1
        for nth in range(steps):
            self.rounds += 1
            try:
                self.hit(number, victim, nth * step / 1000)
                self.survived += 1
            except Failed as error:
                self.bad.append(f"{number.name} to the {victim} after {nth * step:.0f} ms: {error}")
                if len(self.bad) >= 3:
                    return
                self.ended(self.command("umount"), "umount")


def main(top, step, most, options):
    begin = time.monotonic()
    shares = [(number, victim) for number in (signal.SIGTERM, signal.SIGINT) for victim in ("front", "daemon")]
    prefixed = options if any(option.startswith("simulated:") for option in options) else None
    sweepers = []
    for nth, share in enumerate(shares):
        here = prefixed or ["--prefix", f"{os.environ['P']}-{nth}", *options]
        sweepers.append(Sweeper(f"{top}/place{nth}", here, share, step, most))
    for one in sweepers:
        one.start()
    for one in sweepers:
        one.join()
        print(*one.bad, sep="\n", end="\n" if one.bad else "")
    survived, rounds = sum(one.survived for one in sweepers), sum(one.rounds for one in sweepers)
    outcomes = {}
    for one in sweepers:
        for name, count in one.outcomes.items():
            outcomes[name] = outcomes.get(name, 0) + count
    told = ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items()))
    print(f"{survived} of {rounds} signals told and handled truly ({told}); {time.monotonic() - begin:.0f} s")
    return survived == rounds and rounds >= len(shares)


if __name__ == "__main__":
    if len(sys.argv) < 5 or sys.argv[4] != "--":
        sys.exit(__doc__)
    sys.exit(0 if main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[5:]) else 1)
