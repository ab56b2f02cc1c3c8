"""The cluster that `cthulhu run` has mounted for this suite, as Python objects."""

import json
import os
import pathlib
import time

import pytest


class Directory:
    """The mount, or a node's directory in it."""

    def __init__(self, path):
        self.path = path
        self.name = path.name

    def do(self, command):
        """Returns when the command has taken effect."""
        try:
            with open(self.path / "control", "w") as control:
                control.write(command + "\n")
        except OSError as error:
            why = (self.path / "error").read_text().strip()
            raise RuntimeError(f"{self.name}: {command}: {why}") from error


class Node(Directory):
    """A node: its files as attributes (node.state, node.ip, node.log), its verbs by do()."""

    def __getattr__(self, name):
        try:
            return (self.path / name).read_text().strip()
        except FileNotFoundError:
            raise AttributeError(name) from None

    @property
    def pid(self):
        return int((self.path / "pid.txt").read_text() or 0)


class Cluster(Directory):
    """All nodes, and the history that they share with the test."""

    def __init__(self, path):
        super().__init__(path)
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
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def mounted():
    if "CTHULHU" not in os.environ:
        pytest.exit("run it with a cluster: cthulhu run -n 3 -- pytest", returncode=2)
    return Cluster(pathlib.Path(os.environ["CTHULHU"]))


@pytest.fixture
def cluster(mounted):
    """Every test begins with fresh nodes, whatever the one before has left."""
    mounted.do("reset --start")
    return mounted
