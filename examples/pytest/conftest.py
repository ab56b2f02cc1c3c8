"""The cluster that `cthulhu run` has mounted for this suite, as Python objects."""

import json
import os
import pathlib
import time

import pytest


class Node:
    """A node: its files as attributes (node.state, node.ip, node.log), its verbs by do()."""

    def __init__(self, path):
        self.path = path
        self.name = path.name

    def __getattr__(self, name):
        try:
            return (self.path / name).read_text().strip()
        except FileNotFoundError:
            raise AttributeError(name) from None

    @property
    def pid(self):
        return int((self.path / "pid.txt").read_text() or 0)

    def do(self, command):
        """Returns when the command has taken effect."""
        try:
            with open(self.path / "control", "w") as control:
                control.write(command + "\n")
        except OSError as error:
            raise RuntimeError(f"{self.name}: {command}: {self.error}") from error


class Cluster:
    """All nodes, and the history that they share with the test."""

    def __init__(self, path):
        self.path = path
        self.nodes = [Node(path / name) for name in sorted(json.loads((path / "spec.json").read_text()))]

    def note(self, **what):
        """Appends what the test has done: it gets its place among the commands and the deaths."""
        with open(self.path / "history", "a") as history:
            history.write(json.dumps(what) + "\n")

    def history(self):
        return [json.loads(line) for line in (self.path / "history").read_text().splitlines()]


def within(seconds, condition):
    """Polls until the condition holds: a program takes its time, a write to control does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def mounted():
    if "CTHULHU" not in os.environ:
        pytest.exit("run it with a cluster: cthulhu run -n 3 -- pytest", returncode=2)
    return Cluster(pathlib.Path(os.environ["CTHULHU"]))


@pytest.fixture
def cluster(mounted):
    """Every test begins with all nodes running, whatever the one before has left."""
    for node in mounted.nodes:
        if node.state == "paused":
            node.do("resume")
        node.do("start")
    return mounted
