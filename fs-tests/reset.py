#!/usr/bin/env python3
"""A cluster before and after `reset`.

usage: reset.py show MOUNTPOINT
       reset.py rounds MOUNTPOINT PREFIX COUNT DAEMON_PID [SEED]

`show` prints what every file of the mount says, but for what names a container and what only grows. `rounds` uses the
cluster in random ways and resets it, COUNT times, and compares what it shows with what it showed at first; and the
daemon's descriptors and memory with those after the first round.
"""
import json
import os
import random
import stat
import subprocess
import sys

# Of a container, or growing by themselves.
OTHER = {"id", "inspect.json", "log", "history"}


def show(top):
    """One line for each file, directory and link below `top`."""
    lines = []
    for directory, subdirectories, files in os.walk(top):
        subdirectories.sort()
        for name in sorted(files + subdirectories):
            path = os.path.join(directory, name)
            there = path[len(top):]
            info = os.lstat(path)
            line = f"{there} {stat.filemode(info.st_mode)}"
            if stat.S_ISLNK(info.st_mode):
                line += f" -> {os.readlink(path)}"
            elif stat.S_ISREG(info.st_mode) and name not in OTHER:
                with open(path, "rb") as file:
                    content = file.read().decode()
                if name == "spec.json":
                    content = without_ids(content)
                line += f" {content!r}"
            lines.append(line)
    return lines


def without_ids(content):
    nodes = json.loads(content)
    for node in nodes.values():
        del node["container_id"], node["root"]
    return json.dumps(nodes)


def write(path, line):
    """False if it was refused: much of what is done at random is impossible."""
    try:
        with open(path, "w") as file:
            file.write(line + "\n")
        return True
    except OSError:
        return False


class Rounds:
    def __init__(self, top, prefix, daemon, seed):
        self.top, self.prefix, self.daemon = top, prefix, daemon
        self.random = random.Random(seed)
        self.nodes = sorted(name for name in os.listdir(top) if os.path.islink(f"{top}/{name}"))
        self.done = {}

    def act(self):
        node = self.random.choice(self.nodes)
        other = self.random.choice(self.nodes)
        acts = {
            "verb": lambda: write(f"{self.top}/{node}/control", self.random.choice(
                ["start", "stop", "restart", "kill", "crash", "pause", "resume", "kill -s TERM", "nonsense"])),
            "partition": lambda: write(f"{self.top}/partition", self.random.choice(
                ["halves", f"isolate {node}", "i001 | i002 i003", "bridge"])),
            "links": lambda: write(f"{self.top}/links", f"{node}>{other} " + self.random.choice(
                ["drop", "reject", "loss 20%", "delay 5ms"])),
            "net": lambda: write(f"{self.top}/{node}/net", self.random.choice(["drop", "loss 10%", "heal"])),
            "file": lambda: self.file(f"{self.top}/{node}/bindmounts/{self.random.choice(['etc', 'var'])}"),
            "inside": lambda: self.inside(node),
            "outside": lambda: subprocess.run(
                ["docker", self.random.choice(["kill", "pause", "stop", "rm"]), f"{self.prefix}-{node}"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0,
        }
        what = self.random.choices(list(acts), [8, 2, 2, 2, 4, 2, 1])[0]
        if acts[what]():
            self.done[what] = self.done.get(what, 0) + 1

    def file(self, directory):
        """Files come, change and go, those that were there at mount too."""
        name = f"{directory}/{self.random.choice(['config.json', 'new', 'deep/er/file', 'i001.log'])}"
        try:
            if self.random.random() < 0.2:
                os.remove(name)
            else:
                os.makedirs(os.path.dirname(name), exist_ok=True)
                with open(name, "a") as file:
                    file.write("x" * self.random.randrange(10_000))
        except OSError:
            return False
        return True

    def inside(self, node):
        script = "echo x >/layer; echo x >>/data/x; mkdir -p /opt/app/var/r; echo x >/opt/app/var/r/x; chmod 0 /opt/app/var/r"
        return subprocess.run(["docker", "exec", f"{self.prefix}-{node}", "sh", "-c", script],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    def used(self):
        """The daemon's descriptors, and its memory in kB."""
        descriptors = len(os.listdir(f"/proc/{self.daemon}/fd"))
        with open(f"/proc/{self.daemon}/status") as status:
            memory = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
        return descriptors, memory

    def run(self, count):
        fresh = show(self.top)
        first = None
        for number in range(1, count + 1):
            write(f"{self.top}/control", "start")
            for _ in range(self.random.randrange(1, 12)):
                self.act()
            starts = self.random.random() < 0.3
            with open(f"{self.top}/control", "w") as file:
                file.write("reset --start\n" if starts else "reset\n")
            if starts:
                with open(f"{self.top}/status") as status:
                    text = status.read()
                if text.count(" running ") != len(self.nodes):
                    sys.exit(f"reset {number}: --start left\n{text}")
                with open(f"{self.top}/control", "w") as file:
                    file.write("reset\n")
            now = show(self.top)
            if now != fresh:
                differences = "\n".join(sorted(set(now) ^ set(fresh)))
                sys.exit(f"reset {number}: it is not as after the mount:\n{differences}")
            first = first or self.used()
        last = self.used()
        if last[0] > first[0] + 3 or last[1] > first[1] + 8192:
            sys.exit(f"the daemon had {first} descriptors and kB after the first reset, and {last} after {count}")
        done = ", ".join(f"{number} {what}" for what, number in sorted(self.done.items()))
        print(f"{count} resets after {done}: each as after the mount; descriptors and kB {first}, then {last}")


def main():
    if sys.argv[1] == "show":
        print("\n".join(show(sys.argv[2])))
        return
    top, prefix, count, daemon = sys.argv[2:6]
    seed = int(sys.argv[6]) if len(sys.argv) > 6 else random.randrange(2**32)
    print(f"seed {seed}")
    Rounds(top, prefix, int(daemon), seed).run(int(count))


main()
