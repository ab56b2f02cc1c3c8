"""What run.sh has set up, and helpers that all measurements use."""
import os
import select
import shlex
import subprocess
import time

CTHULHU = os.environ["CTHULHU"]
IMAGE = os.environ["IMAGE"]
# Everything is below this directory and has this prefix or label, which run.sh sweeps in the end.
TMP = os.environ["TMP"]
PREFIX = os.environ["P"]
LABEL = f"cthulhu-bench={PREFIX}"
# The command of `docker compose`, and the program of minimal_fs.rs; empty if it cannot be had.
COMPOSE = shlex.split(os.environ["COMPOSE"])
MINIMAL_FS = os.environ["MINIMAL_FS"]
# What every node runs on both sides: it ends at SIGTERM at once.
NODE = ["sh", "-c", 'trap "exit 143" TERM; while :; do sleep 3600 & wait $!; done']


def run(*words, **options):
    done = subprocess.run(words, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, words))}: exit status {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout


def timed(work):
    """In ms."""
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1000


def read(path):
    with open(path) as file:
        return file.read().strip()


def write(path, text):
    """One write(2), as echo does it."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode() + b"\n")
    except OSError as e:
        raise RuntimeError(f"{text!r} to {path}: {e.strerror}: {read(os.path.dirname(path) + '/error')}") from e
    finally:
        os.close(fd)


def wait_for(path, value, seconds=60):
    """Until a file of a mount has a value."""
    deadline = time.monotonic() + seconds
    with open(path) as file:
        poll = select.poll()
        poll.register(file, select.POLLPRI | select.POLLERR)
        while True:
            file.seek(0)
            got = file.read().strip()
            if got == value:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"{path} is {got!r}, not {value!r}")
            poll.poll(1000)


def below(name):
    """A new directory."""
    path = f"{TMP}/{name}"
    os.makedirs(path)
    return path


class Mounted:
    """A cluster of cthulhu's, as a context."""

    def __init__(self, nodes, *options, command=(), program=CTHULHU, around=(), environment=(), path=None):
        """nodes: how many; None if the options say it. around: what starts the program, as setpriv does."""
        self.path = path or f"{TMP}/mount-{time.monotonic_ns()}"
        self.program = [*around, program]
        self.environment = {**os.environ, **dict(environment)}
        count = ["-n", str(nodes)] if nodes else []
        self.options = [*count, "--timeout", "5m", *options, self.path, *(["--", *command] if command else [])]

    def __enter__(self):
        run(*self.program, "mount", *self.options, env=self.environment)
        return self.path

    def __exit__(self, *_):
        run(*self.program, "umount", self.path, env=self.environment)


def cluster(nodes, *options):
    """One of nodes like the peers'."""
    return Mounted(nodes, "--prefix", PREFIX, "-i", IMAGE, *options, command=NODE)
