#!/usr/bin/env python3
"""SIGKILL at random moments of a cluster's life: of the daemon, or of the command that waits for it.

After each, the next mount at that place must work, and after its umount nothing may be left: no mount, container, network,
process, record. Moments are drawn over the measured length of what is under way: mount, run, start, stop or umount.

usage: sudden_death.py DIR ROUNDS [SEED] -- OPTION_OF_MOUNT...

DIR is where the mountpoints are made; XDG_STATE_HOME must lie beside them. CTHULHU names the program.
"""
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

from random_verbs import Engine

CTHULHU = os.environ["CTHULHU"]
STATE = os.environ["XDG_STATE_HOME"] + "/cthulhu"
# Nothing may take longer; a machine that is busy may take a while.
DEADLINE = 120
PHASES = ["mount", "run", "start", "stop", "umount"]


class Failed(Exception):
    pass


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def wait_for(what, condition):
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            raise Failed(f"timed out waiting for: {what}")
        time.sleep(0.005)


class Worker(threading.Thread):
    """Rounds at one place."""

    def __init__(self, place, rounds, seed, options):
        super().__init__()
        self.place, self.rounds, self.options = place, rounds, options
        self.random = random.Random(seed)
        self.simulated = any(option.startswith("simulated:") for option in options)
        self.engine = None if self.simulated else Engine()
        self.lengths, self.survived, self.bad = {}, 0, []
        os.mkdir(place)

    # ---- what is done ------------------------------------------------------------------------------------------------

    def command(self, phase):
        """The process that does a phase's work, with its output in a pipe."""
        argv = {
            "mount": [CTHULHU, "mount", self.place, *self.options],
            "umount": [CTHULHU, "umount", self.place],
            "start": ["sh", "-c", 'echo start >"$0"', self.place + "/control"],
            "stop": ["sh", "-c", 'echo stop >"$0"', self.place + "/control"],
        }[phase]
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def ended(self, process, what):
        try:
            output, _ = process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Failed(f"{what} hangs") from None
        return process.returncode, output

    def do(self, phase):
        begin = time.monotonic()
        status, output = self.ended(self.command(phase), phase)
        if status != 0:
            raise Failed(f"{phase}: exit status {status}: {output.strip()}")
        self.lengths[phase] = time.monotonic() - begin

    def state_dirs(self):
        name = os.path.basename(self.place)
        return [f"{STATE}/{entry}" for entry in os.listdir(STATE) if entry.startswith(name + "-")]

    def daemon(self):
        """Pid of the daemon that has, or has had, the place."""
        for directory in self.state_dirs():
            with open(directory + "/lock") as file:
                pid = file.read().partition(".")[0]
                if pid and alive(int(pid)):
                    return int(pid)
        return None

    def mounted(self):
        with open("/proc/self/mountinfo") as file:
            return any(line.split()[4] == self.place for line in file)

    # ---- what must hold ------------------------------------------------------------------------------------------------

    def left(self):
        if self.mounted():
            yield "a mount"
        if self.daemon():
            yield "a process"
        for directory in self.state_dirs():
            if os.path.exists(directory + "/cluster.json"):
                yield "a record"
        if os.listdir(self.place):
            yield "files in the mountpoint"
        if self.engine:
            ours = json.dumps({"label": [f"io.cthulhu.mountpoint={self.place}"]})
            ours = "".join(f"%{ord(c):02X}" if c in '{}[]" ' else c for c in ours)
            for what, path in ("container", f"/containers/json?all=1&filters={ours}"), ("network", f"/networks?filters={ours}"):
                status, body = self.engine.ask("GET", path)
                if status != 200:
                    raise Failed(f"GET {path}: {status}")
                for one in json.loads(body):
                    yield f"{what} {one.get('Names') or one.get('Name')}"

    def recovers(self):
        self.do("mount")
        with open(self.place + "/status") as file:
            states = [line.split()[2] for line in file.readlines()[1:]]
        if states != ["created"] * 2:
            raise Failed(f"states after the next mount: {states}")
        self.do("umount")
        left = list(self.left())
        if left:
            raise Failed("left: " + ", ".join(left))

    # ---- a round -------------------------------------------------------------------------------------------------------

    def child(self, pid):
        """The daemon, while it is a child of `cthulhu mount`; others only ask a file system something."""
        try:
            with open(f"/proc/{pid}/task/{pid}/children") as file:
                children = file.read().split()
            for child in children:
                with open(f"/proc/{child}/cmdline", "rb") as file:
                    if b"\0--internal\0daemon\0" in file.read():
                        return int(child)
        except OSError:
            pass
        return 0

    def strike(self, phase, victim, moment):
        if phase != "mount":
            self.do("mount")
        if phase in ("run", "stop") or (phase == "umount" and self.random.random() < 0.5):
            self.do("start")
        delay = moment * self.lengths.get(phase, 0.05)
        daemon = None if phase == "mount" else self.daemon()
        process = None if phase == "run" else self.command(phase)
        time.sleep(delay)
        if phase == "mount":
            # It is a child until mount has said ready, and then the one that has the place.
            daemon = self.child(process.pid) or self.daemon()
        if victim == "front" and process:
            kill(process.pid)
        else:
            kill(daemon or process.pid)
        if process:
            status, output = self.ended(process, f"{phase}, struck,")
            if phase == "umount" and status == 0 and (left := list(self.left())):
                raise Failed(f"umount says {output.strip()}, and left are: {', '.join(left)}")
        if victim == "daemon" or not daemon:
            return
        # Without its front, a daemon that had not yet been told that it may stay, or had been told to end, ends by itself.
        end = time.monotonic() + DEADLINE
        while alive(daemon) and time.monotonic() < end and not self.stays(phase):
            time.sleep(0.005)
        if alive(daemon):
            self.do("umount")

    def stays(self, phase):
        """Whether the daemon was told to stay, or not yet to end: asked again after a while, as it may be going."""
        if not self.mounted():
            return False
        time.sleep(5 * self.lengths[phase])
        return self.mounted()

    def run(self):
        for phase in ("mount", "start", "stop", "umount"):
            self.do(phase)
        for number in range(1, self.rounds + 1):
            phase = self.random.choices(PHASES, [40, 10, 15, 15, 20])[0]
            victim = "front" if phase in ("mount", "umount") and self.random.random() < 0.4 else "daemon"
            moment = self.random.random() * 1.05
            try:
                self.strike(phase, victim, moment)
                self.recovers()
                self.survived += 1
            except Failed as error:
                self.bad.append(f"{self.place} round {number}: SIGKILL of the {victim} at {moment:.3f} of {phase}: {error}")
                if len(self.bad) >= 3:
                    return
                # So that one failure does not make the next rounds fail.
                self.ended(self.command("umount"), "umount")


def main(top, rounds, seed, options):
    print(f"seed {seed}", flush=True)
    begin = time.monotonic()
    workers = 4 if any(option.startswith("simulated:") for option in options) else 2
    all_workers = []
    for nth in range(workers):
        share = rounds // workers + (nth < rounds % workers)
        options_here = options if workers == 4 else ["--prefix", f"{os.environ['P']}-{nth}", *options]
        all_workers.append(Worker(f"{top}/place{nth}", share, seed + nth, options_here))
    for worker in all_workers:
        worker.start()
    for worker in all_workers:
        worker.join()
        print(*worker.bad, sep="\n", end="\n" if worker.bad else "")
    survived = sum(worker.survived for worker in all_workers)
    print(f"{survived} of {rounds} rounds survived; {time.monotonic() - begin:.0f} s")
    return survived == rounds


if __name__ == "__main__":
    at = sys.argv.index("--") if "--" in sys.argv else 0
    if not 3 <= at <= 4:
        sys.exit(__doc__)
    seed = int(sys.argv[3]) if at > 3 else random.SystemRandom().randrange(1 << 32)
    sys.exit(0 if main(sys.argv[1], int(sys.argv[2]), seed, sys.argv[at + 1:]) else 1)
