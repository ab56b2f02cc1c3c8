#!/usr/bin/env python3
"""Random verbs and faults, while somebody else restarts, renames, disconnects, kills and removes the containers of nodes and sandboxes.

    interference.py MOUNTPOINT WRITES [SEED]

After every write that returned 0 the files, the engine and the network must agree: state and pid are the engine's, and a
datagram over every directed pair of nodes that run arrives exactly if partition and links say so. As news of what somebody
else did takes a moment, they must agree soon, for which there is a generous deadline; a `start` of all nodes must have
made everything whole at once. Where the files of faults answer EHOSTDOWN, a node that runs must have lost its sandbox, as
the history tells. Needs root: the datagrams are sent from the network namespaces of the nodes' processes.
"""
import ctypes
import errno
import json
import os
import random
import socket
import sys
import time

sys.dont_write_bytecode = True
from random_verbs import Engine, read  # noqa: E402
from fault_reachability import State  # noqa: E402

DEADLINE = 120
PORT = 7007
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def enter(namespace):
    if LIBC.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def socket_in(pid):
    """A socket in the network namespace of a process."""
    own, other = (os.open(f"/proc/{who}/ns/net", os.O_RDONLY) for who in ("self", pid))
    try:
        enter(other)
        try:
            bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(("", PORT))
            bound.setblocking(False)
            return bound
        finally:
            enter(own)
    finally:
        os.close(own)
        os.close(other)


def drain(bound):
    come = set()
    while True:
        try:
            come.add(bound.recv(64))
        except BlockingIOError:
            return come


class Interference:
    def __init__(self, top, seed):
        self.top, self.random, self.engine = top, random.Random(seed), Engine()
        self.names = sorted(name for name in os.listdir(top) if os.path.islink(f"{top}/{name}"))
        self.address = {name: self.read(f"{name}/ip").strip() for name in self.names}
        self.sockets, self.log, self.token = {}, [], 0
        self.unknown = self.returned_0 = self.failed = self.outside = 0
        self.cluster = json.loads(self.read("history").splitlines()[0])["cluster"]["id"]

    def read(self, path):
        return read(f"{self.top}/{path}")

    def containers(self, role):
        """Id of the container of each node that has one, under whatever name."""
        filters = json.dumps({"label": [f"io.cthulhu.cluster={self.cluster}", f"io.cthulhu.role={role}"]})
        status, body = self.engine.ask("GET", f"/containers/json?all=1&filters={filters}".replace(" ", "").replace('"', "%22"))
        assert status == 200, body
        return {one["Labels"]["io.cthulhu.node"]: one["Id"] for one in json.loads(body)}

    # ---- what somebody else does ----

    def interfere(self):
        role, name = self.random.choice(["node", "sandbox", "sandbox"]), self.random.choice(self.names)
        ids = self.containers(role)
        if name not in ids:
            return
        one, endpoint = ids[name], {"IPAMConfig": {"IPv4Address": self.address[name]}}
        network = f"/networks/cthulhu-{self.cluster}"
        what = self.random.choice(["restart", "restart", "rename", "kill", "remove"] if role == "node" else
                                  ["restart", "restart", "rename", "disconnect", "disconnect", "reconnect", "kill", "remove"])
        ask, body = self.engine.ask, {"Container": one, "Force": True}
        if what == "restart":
            answer = ask("POST", f"/containers/{one}/restart?t=0")
        elif what == "rename":
            answer = ask("POST", f"/containers/{one}/rename?name=other-{self.cluster}-{self.random.getrandbits(32):x}")
        elif what == "kill":
            answer = ask("POST", f"/containers/{one}/kill")
        elif what == "remove":
            answer = ask("DELETE", f"/containers/{one}?force=1")
        else:
            answer = ask("POST", f"{network}/disconnect", body)
            if what == "reconnect":
                how = {"EndpointConfig": endpoint} if self.random.random() < 0.7 else {}
                answer = ask("POST", f"{network}/connect", {"Container": one, **how})
        self.outside += 1
        self.log.append(f"{what} {role} {name}: {answer[0]}")

    # ---- what we write ----

    def choose(self):
        one, some = self.random.choice(self.names), self.random.sample(self.names, self.random.randint(1, len(self.names) - 1))
        other = self.random.choice([name for name in self.names if name != one])
        return self.random.choice([
            ("control", "start"), ("control", "start"), ("control", "start"), ("control", "restart"), ("control", "heal"),
            (f"{one}/control", "start"), (f"{one}/control", "restart"), (f"{one}/control", "stop"), (f"{one}/control", "kill"),
            (f"{one}/control", "crash"), (f"{one}/control", "heal"), ("partition", f"isolate {' '.join(some)}"),
            ("partition", f"{one} | {other}"), ("partition", ""), ("links", f"{one}>{other} drop"), ("links", ""),
        ])

    def write(self, path, line):
        fd = os.open(f"{self.top}/{path}", os.O_WRONLY | os.O_TRUNC)
        try:
            os.write(fd, f"{line}\n".encode())
            return 0
        except OSError as error:
            return error.errno
        finally:
            os.close(fd)

    # ---- what must be so ----

    def lost(self):
        """Nodes whose sandbox is lost, as the history tells."""
        lost = {}
        for line in self.read("history").splitlines():
            entry = json.loads(line).get("sandbox")
            if entry:
                lost[entry["node"]] = entry["phase"] == "lost"
        return {name for name, is_lost in lost.items() if is_lost}

    def differences(self):
        """What does not agree now."""
        found, pids = [], {}
        for name in self.names:
            state, pid, one = (self.read(f"{name}/{file}").strip() for file in ("state", "pid.txt", "id"))
            wanted = self.engine.state(one) if one else ("missing", 0, None)
            if state != wanted[0] or (state == "running" and pid != str(wanted[1])):
                found.append(f"{name} is {state} {pid}, the engine says {wanted}")
            elif state == "running":
                pids[name] = pid
        if found:
            return found
        try:
            state = State.read(self)
        except OSError as error:
            if error.errno != errno.EHOSTDOWN:
                raise
            if not self.lost() & set(pids):
                return ["faults are unknown, and no node that runs has lost its sandbox"]
            ready = [name for name in self.lost() & set(pids) if self.read(f"{name}/ready") != "no\n"]
            self.unknown += not ready
            return [f"{name} has lost its sandbox and is ready" for name in ready]
        return self.reachability(state, pids)

    def reachability(self, state, pids):
        crashed = {line.split()[0] for line in self.in_force() if line.endswith(" crashed")}
        try:
            for name, pid in pids.items():
                if self.sockets.get(name, (None,))[0] != pid:
                    self.sockets[name] = (pid, socket_in(pid))
        except OSError as error:
            return [f"cannot enter a network: {error}"]
        due, forbidden = {name: set() for name in pids}, {name: set() for name in pids}
        for sender in pids:
            for receiver in pids:
                if sender != receiver:
                    self.token += 1
                    token = str(self.token).encode()
                    reaches = state.reaches(sender, receiver) and not {sender, receiver} & crashed
                    (due if reaches else forbidden)[receiver].add(token)
                    try:
                        self.sockets[sender][1].sendto(token, (self.address[receiver], PORT))
                    except OSError as error:
                        if reaches:
                            return [f"{sender} cannot send to {receiver}: {error}"]
        come, end = {name: set() for name in pids}, time.monotonic() + 2
        while True:
            for name in pids:
                come[name] |= drain(self.sockets[name][1])
            lost = [f"{name} did not hear {token}" for name in pids for token in due[name] - come[name]]
            if not lost or time.monotonic() > end:
                break
            time.sleep(0.002)
        return lost + [f"{name} heard what is cut" for name in pids if come[name] & forbidden[name]]

    def in_force(self):
        """The faults as the history told them last."""
        for line in reversed(self.read("history").splitlines()):
            if "fault" in (entry := json.loads(line)):
                return entry["fault"]["links"]
        return []

    def agree(self, what, seconds=DEADLINE):
        end = time.monotonic() + seconds
        while found := self.differences():
            if time.monotonic() >= end:
                files = "".join(f"  {path}: {self.show(path)}\n" for path in ("status", "partition", "links"))
                sys.exit(f"{what}: {'; '.join(found)}\nbefore it: {' | '.join(self.log[-12:])}\n{files}")
            time.sleep(0.01)

    def show(self, path):
        try:
            return self.read(path)
        except OSError as error:
            return error

    def one(self, number):
        if self.random.random() < 0.35:
            self.interfere()
            # Half of the time the write follows on its heels, before the engine can have told.
            if self.random.random() < 0.5:
                self.agree(f"write {number}, after {self.log[-1:]}")
        path, line = self.choose()
        result = self.write(path, line)
        self.log.append(f"{path} < {line}: {errno.errorcode.get(result, 'OK')}")
        if result == 0:
            self.returned_0 += 1
            if (path, line) in (("control", "start"), ("control", "restart")) and (lost := self.lost()):
                sys.exit(f"write {number}: after {line} of all, {lost} are lost still")
        else:
            self.failed += 1
            why = self.read(f"{os.path.dirname(path)}/error".lstrip("/")).strip()
            # A node that is not there to be stopped, or one that is out of control and told so.
            told = "its sandbox" in why or (line != "start" or path != "control") and "is not free in the network" in why
            if result not in (errno.ESRCH, errno.EBUSY) and not (result == errno.EIO and told):
                sys.exit(f"write {number}, {self.log[-1]}: {why}\nbefore it: {' | '.join(self.log[-12:])}")
        self.agree(f"write {number}, {self.log[-1]}")


def main():
    count = int(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    run = Interference(sys.argv[1], seed)
    for number in range(1, count + 1):
        run.one(number)
    # In the end everything can be made whole again.
    for line in ("start", "heal"):
        if error := run.write("control", line):
            sys.exit(f"at the end, {line}: {errno.errorcode[error]}: {run.read('error')}")
    run.agree("at the end")
    if run.lost():
        sys.exit(f"at the end {run.lost()} are lost")
    print(f"{count} of {count} writes agree ({run.returned_0} returned 0, {run.failed} an errno; {run.outside} changes from outside; "
          f"{run.unknown} times nothing was claimed); seed {seed}")


if __name__ == "__main__":
    main()
