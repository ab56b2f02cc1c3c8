#!/usr/bin/env python3
"""Random verbs over all nodes of a mounted cluster, with the engine's own commands from outside mixed in.

After every write to a control file that returned 0, state, pid.txt, status and the engine's own word must agree at once.
After a change from outside they must agree as soon as the engine has told, for which there is a generous deadline.

usage: random_verbs.py MOUNTPOINT PREFIX [COUNT [SEED]]
"""
import errno
import http.client
import json
import os
import random
import socket
import sys
import time

DEADLINE = 120


class Engine:
    """The engine's API on its unix socket: the command line would take longer than the verbs."""

    def __init__(self):
        host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        if not host.startswith("unix://"):
            sys.exit(f"DOCKER_HOST={host}: this test talks to a unix socket")
        self.path = host.removeprefix("unix://")
        self.connection = None

    def ask(self, method, path, body=None):
        if self.connection is None:
            self.connection = http.client.HTTPConnection("localhost")
            self.connection.sock = socket.socket(socket.AF_UNIX)
            self.connection.sock.connect(self.path)
        headers = {"Content-Type": "application/json"} if body else {}
        self.connection.request(method, path, body and json.dumps(body), headers)
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def state(self, name):
        """(state, pid, exit code) as inspect has them."""
        status, body = self.ask("GET", f"/containers/{name}/json")
        if status == 404:
            return "missing", 0, None
        assert status == 200, body
        state = json.loads(body)["State"]
        return state["Status"], state["Pid"], state["ExitCode"]


def read(path):
    with open(path, "rb") as file:
        return file.read().decode()


class Run:
    def __init__(self, mountpoint, prefix, count, seed):
        self.top, self.prefix, self.count = mountpoint, prefix, count
        self.random = random.Random(seed)
        self.engine = Engine()
        self.names = sorted(name for name in os.listdir(mountpoint) if os.path.islink(f"{mountpoint}/{name}"))
        self.log = []
        self.agreed = self.returned_0 = self.failed = self.outside = 0
        self.bad = []

    def differences(self, names):
        """What the files say otherwise than the engine, nodes in random order of files."""
        found = []
        for name in names:
            node = f"{self.top}/{name}"
            seen = {}
            files = ["state", "pid.txt", "status", "exit_code"]
            self.random.shuffle(files)
            for file in files:
                seen[file] = read(f"{self.top}/status" if file == "status" else f"{node}/{file}")
            state, pid, code = self.engine.state(f"{self.prefix}-{name}")
            row = next(line.split() for line in seen["status"].splitlines() if line.startswith(name + " "))
            pid_text = f"{pid}\n" if state in ("running", "paused") else ""
            if seen["state"] != state + "\n":
                found.append(f"{name}/state is {seen['state']!r}, the engine says {state}")
            if seen["pid.txt"] != pid_text:
                found.append(f"{name}/pid.txt is {seen['pid.txt']!r}, the engine says {pid} ({state})")
            if row[2] != state or row[3] != (pid_text.strip() or "-"):
                found.append(f"status says {row}, the engine {state} {pid}")
            if state == "exited" and seen["exit_code"] != f"{code}\n":
                found.append(f"{name}/exit_code is {seen['exit_code']!r}, the engine says {code}")
            if os.stat(f"{node}/state").st_size != len(state) + 1:
                found.append(f"{name}/state has the size of another state")
        return found

    def write(self, path, line):
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
        try:
            os.write(fd, line.encode())
            return 0
        except OSError as error:
            return error.errno
        finally:
            os.close(fd)

    def verb(self):
        word = self.random.choices(
            ["start", "stop", "restart", "kill", "pause", "resume", "stop -t 2", "kill -s TERM", "kill -s WINCH"],
            [30, 14, 8, 14, 10, 12, 4, 4, 4])[0]
        if self.random.random() < 0.2:
            names = self.random.sample(self.names, self.random.randint(1, len(self.names)))
            everyone = len(names) == len(self.names) and self.random.random() < 0.5
            path, line, about = f"{self.top}/control", f"{word} {'' if everyone else ' '.join(names)}", names
        else:
            about = [self.random.choice(self.names)]
            path, line = f"{self.top}/{about[0]}/control", word
        # What a process does about a signal that can be caught takes its own time; all else has happened on return.
        return path, line, about, word == "kill -s TERM"

    def from_outside(self):
        name = self.random.choice(self.names)
        method, path = self.random.choice([
            ("POST", "{}/start"), ("POST", "{}/start"), ("POST", "{}/kill"), ("POST", "{}/pause"),
            ("POST", "{}/unpause"), ("POST", "{}/stop?t=1"), ("DELETE", "{}?force=1"), ("POST", "{}/restart?t=1")])
        path = "/containers/" + path.format(f"{self.prefix}-{name}")
        status, _ = self.engine.ask(method, path)
        return name, f"{method} {path}: {status}"

    def settle(self, names):
        """Waits until all agree; returns what does not at the deadline."""
        end = time.monotonic() + DEADLINE
        while (found := self.differences(names)) and time.monotonic() < end:
            time.sleep(0.005)
        return found

    def one(self, number):
        if self.random.random() < 0.15:
            name, what = self.from_outside()
            self.outside += 1
            self.log.append(what)
            # Half of the time the verb follows on its heels, before the engine can have told.
            found = self.settle([name]) if self.random.random() < 0.5 else []
            if found:
                self.bad.append((number, what, found))
        path, line, about, takes_time = self.verb()
        result = self.write(path, line + "\n")
        self.log.append(f"{os.path.relpath(path, self.top)} < {line}: {errno.errorcode.get(result, 'OK')}")
        if result == 0:
            self.returned_0 += 1
            found = self.settle(about) if takes_time else self.differences(about)
        else:
            self.failed += 1
            found = self.settle(about)
            if result not in (errno.ESRCH, errno.EBUSY):
                found.append(f"errno {errno.errorcode[result]}: {read(os.path.dirname(path) + '/error').strip()}")
        if found:
            self.bad.append((number, self.log[-1], found))
        else:
            self.agreed += 1

    def all(self):
        begin = time.monotonic()
        for number in range(1, self.count + 1):
            before = len(self.bad)
            self.one(number)
            for at, what, found in self.bad[before:]:
                print(f"verb {at}: {what}\n  " + "\n  ".join(found), file=sys.stderr)
                print("  before it: " + " | ".join(self.log[-6:-1]), file=sys.stderr, flush=True)
            if len(self.bad) > 20:
                sys.exit("too many to go on")
        took = time.monotonic() - begin
        found = self.settle(self.names)
        if found:
            self.bad.append((self.count, "the end", found))
        print(f"{self.agreed} of {self.count} agree ({self.returned_0} returned 0, {self.failed} an errno; "
              f"{self.outside} changes from outside); {took:.0f} s, {took / self.count * 1000:.0f} ms a verb")
        return not self.bad and self.agreed == self.count


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 5:
        sys.exit(__doc__)
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else random.SystemRandom().randrange(1 << 32)
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 1000
    print(f"seed {seed}", flush=True)
    sys.exit(0 if Run(sys.argv[1], sys.argv[2], count, seed).all() else 1)
