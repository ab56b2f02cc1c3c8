"""What one look at a node costs: open, read and close of its pid.txt, beside other files and other ways to ask."""
import os
import statistics
from contextlib import ExitStack, contextmanager

from engine import Engine
from peers import Serving
from setting import MINIMAL_FS, PREFIX, TMP, below, cluster, run, timed

# Looks whose median is one sample.
BATCH = 200


def look(path):
    fd = os.open(path, os.O_RDONLY)
    os.read(fd, 65536)
    os.close(fd)


def of_file(path):
    return lambda: {"look": statistics.median(timed(lambda: look(path)) for _ in range(BATCH))}


@contextmanager
def looks():
    with ExitStack() as stack:
        mountpoint = stack.enter_context(cluster(1, "--start"))
        engine, name = Engine(), f"{PREFIX}-i001"
        tmpfs = below("tmpfs")
        run("mount", "-t", "tmpfs", "tmpfs", tmpfs)
        stack.callback(run, "umount", tmpfs)
        with open(f"{tmpfs}/file", "w") as file:
            file.write("1234567\n")
        sides = {
            "cthulhu": of_file(f"{mountpoint}/i001/pid.txt"),
            "tmpfs": of_file(f"{TMP}/tmpfs/file"),
            "procfs": of_file("/proc/self/stat"),
            "raw API inspect": lambda: {"look": statistics.median(timed(lambda: engine.inspect(name)) for _ in range(20))},
            "docker inspect": lambda: {"look": timed(lambda: run("docker", "inspect", "-f", "{{.State.Pid}}", name))},
        }
        if MINIMAL_FS:
            path = stack.enter_context(Serving(below("minimal"), MINIMAL_FS, f"{TMP}/minimal"))
            sides["minimal fuser"] = of_file(f"{path}/file")
        yield [sides]
