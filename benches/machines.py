"""A cluster over three engines: beside one over the engine of this machine, and over longer and longer lines to them."""
import os
import subprocess
import time
from contextlib import ExitStack, contextmanager

from setting import IMAGE, NODE, PREFIX, TMP, Mounted, cluster, read, run, timed, write

FS_TESTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "fs-tests")
ENGINES = "abc"
# Round trips in ms, the longest first.
LINES = (20, 1, 0)


def lab(*words):
    """A function of fs-tests/lab.bash."""
    script = '. "$0/lib.bash" && . "$0/lab.bash" && "$@"'
    return run("bash", "-c", script, FS_TESTS, *words, env={**os.environ, "LAB": f"{TMP}/lab"}).strip()


class Line:
    """proxy.py before an engine: a line whose length can be set."""

    def __init__(self, engine, address):
        self.control, self.done = f"{TMP}/line-{engine}", 0
        command = ["python3", f"{FS_TESTS}/proxy.py", f"{address}:0", f"{TMP}/lab/{engine}/docker.sock", self.control]
        self.process = subprocess.Popen(command)
        self.url = f"tcp://{self.told('address')}"

    def told(self, what):
        deadline = time.monotonic() + 60
        while not os.path.exists(f"{self.control}.{what}"):
            if time.monotonic() > deadline:
                raise RuntimeError("proxy.py does not begin")
            time.sleep(0.01)
        return read(f"{self.control}.{what}")

    def round_trip(self, ms):
        with open(self.control, "w") as file:
            file.write(f"delay {ms / 2}\n")
        self.done += 1
        while int(self.told("done")) < self.done:
            time.sleep(0.001)

    def close(self):
        self.process.kill()
        self.process.wait()


def hosts(urls):
    if not urls:
        return []
    return [word for name, url in urls.items() for word in ("--host", f"{name}={url}")] + ["--insecure"]


@contextmanager
def machines(nodes):
    """Up and down over three engines and over this machine's; verbs and partitions over lines of each length."""
    if os.environ["NO_LAB"]:
        yield []
        return
    with ExitStack() as ends:
        ends.callback(lab, "lab_down")
        lab("lab_up", str(len(ENGINES)))
        lab("lab_images", IMAGE)
        urls = {engine: lab("lab_url", engine) for engine in ENGINES}

        def life(urls):
            mounted = cluster(nodes, *hosts(urls), "--start")
            taken = {"up": timed(mounted.__enter__)}
            try:
                assert read(f"{mounted.path}/status").split().count("running") == nodes
            finally:
                taken["down"] = timed(lambda: mounted.__exit__(None, None, None))
            return taken

        # cthulhu's own image is made at the first mount.
        life(urls)
        # An address beyond loopback, as engines on other machines have.
        ours = urls["a"].split("/")[2].rsplit(".", 1)[0] + ".1"
        lines = {engine: Line(engine, ours) for engine in ENGINES}
        for line in lines.values():
            ends.callback(line.close)
        over_lines = hosts({name: line.url for name, line in lines.items()})
        mounted = Mounted(nodes, "--prefix", f"{PREFIX}-lines", "-i", IMAGE, *over_lines, "--start", command=NODE)
        path = ends.enter_context(mounted)

        def verbs(ms):
            for line in lines.values():
                line.round_trip(ms)
            try:
                return {
                    "cut": timed(lambda: write(f"{path}/partition", "@a | @b @c")),
                    "heal": timed(lambda: write(f"{path}/control", "heal")),
                    "kill": timed(lambda: write(f"{path}/i001/control", "kill")),
                    "start": timed(lambda: write(f"{path}/i001/control", "start")),
                    "stop all": timed(lambda: write(f"{path}/control", "stop")),
                    "start all": timed(lambda: write(f"{path}/control", "start")),
                }
            finally:
                for line in lines.values():
                    line.round_trip(0)

        yield [
            {"three engines": lambda: life(urls), "one engine": lambda: life({})},
            {f"{ms} ms": lambda ms=ms: verbs(ms) for ms in LINES},
        ]
