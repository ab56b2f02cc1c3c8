#!/usr/bin/env python3
"""How long a partition takes until it is in force, beside `docker network disconnect` for the same one. Prints medians and ratios.

    CTHULHU=/path/to/cthulhu fs-tests/bench_faults.py [--check] [ROUNDS]

Needs a running engine. It mounts clusters of 5 and of 50 demo nodes, one after the other, none of them started: faults are
the sandboxes' business. A write returns when what it asks for is in force in every sandbox and has been read back, so its
duration is what is measured: open, write, close. For docker, the nodes of the smaller half are taken off their network one
after the other by the command line, as a script would do it, and put back.

With --check it ends with 1 if a median is over what is promised: 5 ms for 5 nodes, 50 ms for 50.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

CTHULHU = os.environ.get("CTHULHU", "cthulhu")
# Nodes, and the most that a partition of them may take, in ms.
PROMISED = {5: 5, 50: 50}

parser = argparse.ArgumentParser()
parser.add_argument("--check", action="store_true", help="fail if a median is over what is promised")
parser.add_argument("rounds", nargs="?", type=int, default=50)
ARGUMENTS = parser.parse_args()
ROUNDS = ARGUMENTS.rounds


def run(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def timed(work):
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1000


def write(path, text):
    with open(path, "w", buffering=1) as file:
        file.write(text + "\n")


def groups(nodes):
    names = [f"i{n + 1:03}" for n in range(nodes)]
    return f"{' '.join(names[:nodes // 2 + 1])} | {' '.join(names[nodes // 2 + 1:])}"


def cut(mountpoint, nodes):
    """Medians of a partition and of its end, in ms, and the slowest."""
    partition = f"{mountpoint}/partition"
    text = groups(nodes)
    cuts, heals = [], []
    for _ in range(ROUNDS):
        cuts.append(timed(lambda: write(partition, text)))
        with open(partition) as file:
            assert file.read().strip() == text
        heals.append(timed(lambda: write(partition, "heal")))
    return statistics.median(cuts), statistics.median(heals), max(cuts)


def disconnect(nodes, prefix):
    """The same partition with docker's command line: the median of a few, in ms."""
    network = f"{prefix}-bench"
    run("docker", "network", "create", network)
    # The same program as the cluster's nodes.
    node = json.loads(run("docker", "inspect", f"{prefix}-i001"))[0]
    program = ["--entrypoint", node["Path"], node["Config"]["Image"], *node["Args"]]
    names = [f"{prefix}-bench-{n}" for n in range(nodes)]
    try:
        for name in names:
            run("docker", "run", "-d", "--name", name, "--network", network, *program)
        minority = names[nodes // 2 + 1:]

        def apart():
            for name in minority:
                run("docker", "network", "disconnect", network, name)

        times = []
        for _ in range(3):
            times.append(timed(apart))
            for name in minority:
                run("docker", "network", "connect", network, name)
        return statistics.median(times)
    finally:
        subprocess.run(["docker", "rm", "-f", *names], capture_output=True)
        subprocess.run(["docker", "network", "rm", network], capture_output=True)


def main():
    prefix = f"bf{os.getpid()}"
    print(f"{'nodes':>5} {'partition':>10} {'slowest':>8} {'heal':>8} {'docker':>9} {'docker/partition':>17}    (ms, medians of {ROUNDS})")
    slow = []
    for nodes, promised in PROMISED.items():
        with tempfile.TemporaryDirectory() as mountpoint:
            run(CTHULHU, "mount", "-n", str(nodes), "--prefix", prefix, mountpoint)
            try:
                partition, heal, slowest = cut(mountpoint, nodes)
                docker = disconnect(nodes, prefix)
            finally:
                run(CTHULHU, "umount", mountpoint)
        print(f"{nodes:>5} {partition:>10.2f} {slowest:>8.2f} {heal:>8.2f} {docker:>9.0f} {docker / partition:>17.0f}", flush=True)
        if ARGUMENTS.check and max(partition, heal) > promised:
            slow.append(f"{nodes} nodes: more than {promised} ms")
    if slow:
        sys.exit("\n".join(slow))


main()
