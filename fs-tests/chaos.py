#!/usr/bin/env python3
"""Chaos on one cluster beside another that must not notice: many threads write verbs, settings and history, somebody else kills,
restarts, renames, disconnects and removes containers, or disconnects all of them at once, `prune` and `ls` run beside it, and the daemon is
stopped, or killed and its place mounted again.

    chaos.py DIR PREFIX IMAGE SECONDS [SEED]

DIR is an empty directory. After each round everybody stops, and when it is quiet all must be true: files, engine and
the reachability of all pairs agree; the history is whole, with every line whose write returned, once and in order; the
other cluster has all that it had, and its data; the daemon has given back descriptors and memory. A seed repeats the
choices of each thread, not how the threads meet. CTHULHU names the program. Needs root.
"""
import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
from interference import Interference  # noqa: E402
from random_verbs import Engine  # noqa: E402

NODES = 3
# A round of trouble, in seconds; what any call may take at most before it counts as hanging.
ROUND, HANGS = 8, 180
# What may come of a write while others work against it. A daemon that is killed takes the mount with it (the last three).
EXPECTED = {errno.ESRCH, errno.EBUSY, errno.EIO, errno.EHOSTDOWN, errno.ETIMEDOUT}
KILLED = {errno.ENOTCONN, errno.ECONNABORTED, errno.ENODEV, errno.ENOENT, errno.EACCES, errno.EPERM}
# What a daemon may have more than at its first quiet moment.
MORE_DESCRIPTORS, MORE_KIB = 24, 64 << 10


def command(*words, may_fail=False, seconds=HANGS):
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        sys.exit(f"hangs: {' '.join(words)}")
    if done.returncode and not may_fail:
        sys.exit(f"{' '.join(words)}: status {done.returncode}: {done.stdout}{done.stderr}")
    return done


class Cluster:
    """One that is mounted with --data, and mounted again after its daemon was killed."""

    def __init__(self, top, prefix, image):
        self.top, self.data, self.prefix, self.image = top, f"{top}.data", prefix, image
        os.makedirs(top)
        self.mount()

    def mount(self):
        command(os.environ["CTHULHU"], "mount", "--prefix", self.prefix, "-n", str(NODES), "-i", self.image, "--data", self.data,
                "--start", self.top, "--", "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done")
        listed = json.loads(command(os.environ["CTHULHU"], "ls", "--json").stdout)
        [own] = [one for one in listed if one["mountpoint"] == self.top]
        self.id, self.pid = own["id"], own["pid"]

    def umount(self, may_fail=False):
        command(os.environ["CTHULHU"], "umount", self.top, may_fail=may_fail)

    def usage(self):
        status = dict(line.split(":", 1) for line in open(f"/proc/{self.pid}/status"))
        return len(os.listdir(f"/proc/{self.pid}/fd")), int(status["VmRSS"].split()[0])


class Chaos(Interference):
    def __init__(self, cluster, beside, seed):
        super().__init__(cluster.top, seed)
        self.mounted, self.cluster, self.beside, self.seed = cluster, cluster.id, beside.top, seed
        self.stop, self.killed, self.wrong = threading.Event(), False, []
        self.counts = dict.fromkeys(("writes", "failed", "appended", "outside", "reads", "prunes", "stops", "kills", "rounds"), 0)
        self.appended, self.seen, self.gone = {}, {}, []
        self.told_to, self.seq, self.is_lost, self.links, self.open = 0, 0, {}, [], set()

    # ---- what is known of the history, read once ----

    def history(self):
        """Takes in what has been appended: every line is whole, and their numbers have no gap."""
        with open(f"{self.top}/history", "rb") as file:
            file.seek(self.told_to)
            text = file.read()
        text = text[:text.rfind(b"\n") + 1]
        self.told_to += len(text)
        for line in text.splitlines():
            entry = json.loads(line)
            if "cluster" in entry and entry["cluster"]["phase"] == "mounted":
                self.is_lost, self.links, self.open = {}, [], set()
            if entry["seq"] != self.seq + 1:
                sys.exit(f"after line {self.seq} of the history comes {entry['seq']}")
            self.seq = entry["seq"]
            if sandbox := entry.get("sandbox"):
                self.is_lost[sandbox["node"]] = sandbox["phase"] == "lost"
            elif fault := entry.get("fault"):
                self.links = fault["links"]
            elif told := entry.get("command"):
                (self.open.add if told["phase"] == "invoke" else self.open.discard)(told["id"])
            elif test := entry.get("test"):
                self.seen.setdefault(test["writer"], []).append(test["number"])

    def lost(self):
        self.history()
        return {name for name, is_lost in self.is_lost.items() if is_lost}

    def in_force(self):
        self.history()
        return self.links

    # ---- the threads ----

    def until_stopped(self, dice, step):
        try:
            while not self.stop.is_set():
                try:
                    step(dice)
                except OSError as error:
                    if not (self.killed and error.errno in KILLED) and error.errno != errno.EHOSTDOWN:
                        raise
        except BaseException as error:
            self.wrong.append(f"{step.__name__}: {type(error).__name__}: {error}")

    def count(self, what):
        self.counts[what] += 1

    def some(self, dice):
        return dice.choice(self.names)

    def writes(self, dice):
        one, other = dice.sample(self.names, 2)
        path, line = dice.choice([
            ("control", dice.choice(["start", "restart -t 1", f"kill {one}", f"stop -t 1 {one} {other}", "heal", f"crash {one}"])),
            (f"{one}/control", dice.choice(["start", "stop -t 1", "restart -t 0", "kill", "kill -s TERM", "pause", "resume", "crash"])),
            ("partition", dice.choice([f"{one} | {other}", f"isolate {one}", "ring", "majority", ""])),
            ("links", dice.choice([f"{one}>{other} drop", f"{one}>{other} rate 1mbit", f"*>{other} delay 1ms", ""])),
            (f"{one}/net", dice.choice(["loss 1%", ""])),
        ])
        result = self.write(path, line)
        self.count("writes")
        if result:
            self.count("failed")
            if result not in EXPECTED and not (self.killed and result in KILLED):
                raise AssertionError(f"{path} < {line}: {errno.errorcode[result]}")

    def appends(self, dice):
        mine = self.appended.setdefault(f"{self.mounted.pid}-{threading.get_ident()}-{self.counts['rounds']}", [])
        number = len(mine) + 1
        text = json.dumps({"writer": f"{self.mounted.pid}-{threading.get_ident()}-{self.counts['rounds']}", "number": number}) + "\n"
        fd = os.open(f"{self.top}/history", os.O_WRONLY | os.O_APPEND)
        try:
            assert os.write(fd, text.encode()) == len(text)
            mine.append(number)
            self.count("appended")
        finally:
            os.close(fd)
        time.sleep(dice.random() / 50)

    def reads(self, dice):
        path = dice.choice(["status", "spec.json", "partition", "links", "error", "control", *(
            f"{self.some(dice)}/{file}" for file in ("state", "pid.txt", "ready", "ready_reason", "log", "inspect.json", "net"))])
        self.read(path)
        self.count("reads")

    def meddles(self, dice):
        """What somebody else does in the engine: to one container, or to all that are in the network."""
        self.random = dice
        if dice.random() < 0.15:
            network = f"/networks/cthulhu-{self.cluster}"
            for one in self.containers("sandbox").values():
                self.engine.ask("POST", f"{network}/disconnect", {"Container": one, "Force": True})
        else:
            self.interfere()
        self.count("outside")
        time.sleep(dice.random() / 2)

    def troubles(self, dice):
        """The daemon hangs for a while; prune and ls run beside it."""
        try:
            if dice.random() < 0.3:
                os.kill(self.mounted.pid, signal.SIGSTOP)
                time.sleep(dice.random())
                os.kill(self.mounted.pid, signal.SIGCONT)
                self.count("stops")
        except ProcessLookupError:
            assert self.killed, "the daemon has ended"
        # Named, as others may test on this engine too. Both live: neither may go.
        command(os.environ["CTHULHU"], *dice.choice([("prune", "--yes", self.top, self.beside), ("ls",)]), may_fail=True)
        self.count("prunes")
        time.sleep(dice.random())

    def trouble(self, kill):
        self.stop.clear()
        self.killed = False
        self.counts["rounds"] += 1
        steps = [self.writes] * 3 + [self.appends] * 2 + [self.reads, self.meddles, self.troubles]
        threads = [threading.Thread(target=self.until_stopped, args=(random.Random(f"{self.seed} {self.counts['rounds']} {at}"), step),
                                    name=step.__name__, daemon=True) for at, step in enumerate(steps)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + ROUND
        while time.monotonic() < end and not self.wrong:
            time.sleep(0.1)
        if kill:
            self.killed = True
            os.kill(self.mounted.pid, signal.SIGKILL)
            self.count("kills")
        self.stop.set()
        for thread in threads:
            thread.join(HANGS)
            if thread.is_alive():
                sys.exit(f"hangs: {thread.name}")
        if self.wrong:
            sys.exit("; ".join(self.wrong))

    # ---- what must be true when it is quiet ----

    def quiet(self):
        # What was lost is recreated. An event that is on its way still may take another look.
        for _ in range(3):
            errors = [self.write("control", line) for line in ("resume", "start", "heal")][1:]
            if errors == [0, 0]:
                break
        else:
            sys.exit(f"not whole again: {[errno.errorcode.get(one, one) for one in errors]}: {self.read('error')}")
        self.agree("quiet")
        if self.lost():
            sys.exit(f"quiet, and {self.lost()} are lost")
        if self.open:
            sys.exit(f"nobody writes any more, and these commands have no end: {self.open}")
        self.all_appended()

    def all_appended(self):
        self.history()
        for writer, numbers in self.appended.items():
            # A daemon that is killed may have taken a line, and not have said so.
            if self.seen.get(writer, [])[:len(numbers)] != numbers or len(self.seen.get(writer, [])) > len(numbers) + 1:
                sys.exit(f"history: {writer} has appended {len(numbers)} lines, these are there: {self.seen.get(writer)}")

    def all_gone(self):
        """Asked for at the end, when nothing comes any more that a killed daemon had asked the engine for."""
        for gone, way in self.gone:
            left = command("docker", "ps", "-aq", "--filter", f"label=io.cthulhu.cluster={gone}").stdout.split()
            # Docker 20.10 may go on listing a container that it removed while it restarted it ("Removal In Progress"), until it starts
            # again itself: by its own word there is no such container.
            left = [one for one in left if command("docker", "inspect", one, may_fail=True).returncode == 0]
            if left:
                sys.exit(f"{len(left)} containers of the killed cluster {gone} are left after {way}")

    def mount_again(self):
        """After a kill: by prune first, by umount first, or at once."""
        gone, way = self.cluster, self.random.choice(["prune", "umount", "mount"])
        if way == "prune":
            command(os.environ["CTHULHU"], "prune", "--yes", self.top)
        elif way == "umount":
            # The prune that ran beside it may have been first.
            self.mounted.umount(may_fail=True)
        self.mounted.mount()
        self.cluster, self.sockets = self.mounted.id, {}
        self.address = {name: self.read(f"{name}/ip").strip() for name in self.names}
        self.gone.append((gone, way))


class Bystander:
    """A living cluster beside it, with a container that somebody has labelled so that it goes with it."""

    def __init__(self, cluster):
        self.cluster = cluster
        command("docker", "run", "-d", "--name", f"{cluster.prefix}-sidecar", "--label", f"io.cthulhu.cluster={cluster.id}", cluster.image,
                "sleep", "100000")
        with open(f"{cluster.top}/i001/bindmounts/var/precious", "w") as file:
            file.write("precious")
        self.has = self.look()

    def look(self):
        listed = command("docker", "ps", "-q", "--no-trunc", "--filter", f"label=io.cthulhu.cluster={self.cluster.id}").stdout.split()
        with open(f"{self.cluster.top}/i001/bindmounts/var/precious") as file:
            return sorted(listed), file.read(), open(f"{self.cluster.top}/status").read()

    def check(self):
        if (now := self.look()) != self.has:
            sys.exit(f"the cluster beside it had {self.has}, and has {now}")


def main():
    top, prefix, image, seconds = sys.argv[1:5]
    seed = int(sys.argv[5]) if len(sys.argv) > 5 else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    beside = Cluster(f"{top}/beside", f"{prefix}b", image)
    bystander = Bystander(beside)
    cluster = Cluster(f"{top}/chaos", f"{prefix}c", image)
    chaos = Chaos(cluster, beside, seed)
    chaos.engine = Engine()
    chaos.quiet()
    base, most, end = cluster.usage(), (0, 0), time.monotonic() + float(seconds)
    while time.monotonic() < end:
        # Every fourth round ends with the daemon; the second one does, so that a short run has one.
        kill = chaos.counts["rounds"] % 4 == 1
        chaos.trouble(kill)
        if kill:
            chaos.mount_again()
        chaos.quiet()
        bystander.check()
        # One that was just mounted has what it needs, and no more.
        now = cluster.usage()
        most = tuple(map(max, most, now))
        if now[0] > base[0] + MORE_DESCRIPTORS or now[1] > base[1] + MORE_KIB:
            sys.exit(f"descriptors and KiB were {base} at first, and are {now}")
        print(f"# {chaos.counts} descriptors, KiB {now}", flush=True)
    cluster.umount()
    chaos.all_gone()
    beside.umount()
    told = ", ".join(f"{count} {what}" for what, count in chaos.counts.items())
    print(f"{told}; {chaos.seq} lines of history; at most {most[0]} descriptors and {most[1] >> 10} MiB; seed {seed}")


main()
