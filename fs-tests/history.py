"""What the tests of `history` need of Python.

  history.py write FILE WRITER COUNT LINES   appends COUNT lines of WRITER's, LINES in each write(2)
  history.py check FILE WRITERS COUNT        every line is there once, whole and in its writer's order; seq, times
  history.py sound FILE                      seq is without a gap, times never step back; prints how many lines
  history.py poll FILE SECONDS               waits for POLLIN after having read all; prints what is new then
"""
import json
import os
import select
import sys
from collections import Counter


def write(path, writer, count, lines):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    for first in range(0, count, lines):
        text = "".join(
            '{"writer":%s,"n":%d,"pad":"%s"}\n' % (json.dumps(writer), n, "x" * (n % 50))
            for n in range(first, min(first + lines, count))
        ).encode()
        while text:
            text = text[os.write(fd, text) :]
    os.close(fd)


def entries(path):
    with open(path, "rb") as file:
        data = file.read()
    assert data.endswith(b"\n"), "half a line at the end"
    return [json.loads(line) for line in data.splitlines()]


def sound(path):
    all_entries = entries(path)
    before = {"seq": 0, "time": "", "mono_ns": 0}
    for entry in all_entries:
        assert entry["seq"] == before["seq"] + 1, (before, entry)
        assert entry["time"] >= before["time"] and entry["mono_ns"] >= before["mono_ns"], (before, entry)
        assert len(entry) == 4, entry
        before = entry
    return all_entries


def check(path, writers, count):
    all_entries = sound(path)
    next_of = Counter()
    for entry in all_entries:
        test = entry.get("test")
        if test and "writer" in test:
            assert test["n"] == next_of[test["writer"]], (test, next_of)
            assert test["pad"] == "x" * (test["n"] % 50), test
            next_of[test["writer"]] += 1
    wanted = dict(pair.split("=") for pair in writers.split(","))
    assert next_of == {name: int(number) for name, number in wanted.items()}, next_of
    assert sum(next_of.values()) == count, sum(next_of.values())
    print(len(all_entries))


def poll(path, seconds):
    fd = os.open(path, os.O_RDONLY)
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    while poller.poll(0):
        os.read(fd, 1 << 16)
    print("ready", flush=True)
    if not poller.poll(1000 * seconds):
        sys.exit("no POLLIN")
    print(os.read(fd, 1 << 16).decode(), end="")
    assert not poller.poll(0), "all is read"


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", path, writer, count, lines]:
            write(path, writer, int(count), int(lines))
        case ["check", path, writers, count]:
            check(path, writers, int(count))
        case ["sound", path]:
            print(len(sound(path)))
        case ["poll", path, seconds]:
            poll(path, int(seconds))
        case _:
            sys.exit(__doc__)
