"""Whole clusters up and down, each verb, news of a death."""
import os
import select
import signal
import statistics
import subprocess
import time
from contextlib import contextmanager

from engine import Engine
from peers import Api, Compose, different_services
from setting import COMPOSE, PREFIX, Mounted, cluster, read, run, timed, wait_for, write


def memory(pid, *fields):
    """Of a process, in MB: the sum of fields of smaps_rollup."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        kb = dict(line.split(":") for line in file.read().splitlines()[1:])
    return sum(int(kb[field].split()[0]) for field in fields) / 1024


def parent(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


def weight(containers):
    """PSS of what containers cost beside the programs that they are for: their shims."""
    engine = Engine()
    pids = [engine.inspect(one)["State"]["Pid"] for one in containers]
    # podman and newer containerd may have one shim for several.
    return sum(memory(pid, "Pss") for pid in {parent(pid) for pid in pids})


def our_weight(mountpoint):
    """PSS of daemon, sandboxes and shims; and the median of what a sandbox alone has in memory."""
    engine = Engine()
    all_of_it = engine.containers(f"io.cthulhu.mountpoint={mountpoint}")
    labels = [engine.inspect(one) for one in all_of_it]
    sandboxes = [one["State"]["Pid"] for one in labels if one["Config"]["Labels"]["io.cthulhu.role"] == "sandbox"]
    daemon = labels[0]["Config"]["Labels"]["io.cthulhu.owner"].partition(".")[0]
    own = [memory(pid, "Private_Clean", "Private_Dirty") for pid in sandboxes]
    return {
        "memory": memory(daemon, "Pss") + sum(memory(pid, "Pss") for pid in sandboxes) + weight(all_of_it),
        "sandbox": statistics.median(own),
    }


@contextmanager
def life(nodes):
    """Up, made anew, down."""
    def ours():
        mounted = cluster(nodes, "--start")
        taken = {"up": timed(mounted.__enter__)}
        try:
            assert read(f"{mounted.path}/status").split().count("running") == nodes
            taken |= our_weight(mounted.path)
            taken["reset"] = timed(lambda: write(f"{mounted.path}/control", "reset --start"))
        finally:
            taken["down"] = timed(lambda: mounted.__exit__(None, None, None))
        return taken

    turn = iter(range(1_000_000))

    def compose():
        # Another project each time: an older engine may have kept the network of the one before.
        project = Compose(f"compose{nodes}-{next(turn)}", nodes)
        taken = {"up": timed(project.up)}
        running = Engine().containers(f"com.docker.compose.project={project.project}")
        assert len(running) == nodes
        taken["memory"] = weight(running)

        def again():
            project.down()
            project.up()

        taken["reset"] = timed(again)
        taken["down"] = timed(project.down)
        return taken

    def api(containers_a_node):
        client = Api(f"api{nodes}-{next(turn)}", nodes, containers_a_node)
        return {"up": timed(client.up), "down": timed(client.down)}

    sides = {"cthulhu": ours, "compose": compose, "API, 1 container a node": lambda: api(1), "API, 2 containers a node": lambda: api(2)}
    if not COMPOSE:
        del sides["compose"]
    # Our image is made at the first mount with a new binary.
    with cluster(1):
        pass
    yield [sides]


@contextmanager
def compose_file():
    """The same compose file, up and down."""
    project = different_services()
    nodes, turn = len(project["services"]), iter(range(1_000_000))

    def ours():
        mounted = Mounted(None, "--prefix", PREFIX, "--start", "-f", Compose(f"mounted-{next(turn)}", project=project).file)
        taken = {"up": timed(mounted.__enter__)}
        try:
            assert read(f"{mounted.path}/status").split().count("running") == nodes
        finally:
            taken["down"] = timed(lambda: mounted.__exit__(None, None, None))
        return taken

    def compose():
        peer = Compose(f"different-{next(turn)}", project=project)
        taken = {"up": timed(peer.up)}
        assert len(Engine().containers(f"com.docker.compose.project={peer.project}")) == nodes
        taken["down"] = timed(peer.down)
        return taken

    with cluster(1):
        pass
    yield [{"cthulhu": ours, **({"compose": compose} if COMPOSE else {})}]


@contextmanager
def verbs():
    """Each verb on one and the same container, through the mount and by the raw API; and by Docker's command line on a
    container with a network of its own, as most have.
    """
    # What is done in turn, and the state that follows.
    cycle = [("pause", "paused"), ("resume", "running"), ("restart", "running"), ("kill", "exited"), ("start", "running"),
             ("stop", "exited"), ("start", "running")]
    with cluster(1, "--stop-grace", "1s", "--start") as mountpoint, Api("verbs", 1) as client:
        node, engine, plain = f"{mountpoint}/i001", Engine(), client.ids[0][0]

        def ours(verb):
            write(f"{node}/control", verb)

        def raw(verb):
            words = {"resume": "unpause", "kill": "kill?signal=KILL", "stop": "stop?t=1", "restart": "restart?t=1"}
            engine.ask("POST", f"/containers/{PREFIX}-i001/{words.get(verb, verb)}")

        def command_line(verb):
            words = {"resume": ["unpause"], "stop": ["stop", "-t", "1"], "restart": ["restart", "-t", "1"]}
            run("docker", *words.get(verb, [verb]), plain)

        def turn(act):
            taken = {}
            for verb, state in cycle:
                # What the engine and the daemon do after a verb is no part of the next.
                time.sleep(0.1)
                taken[verb] = timed(lambda: act(verb))
                if act is command_line:
                    assert engine.inspect(plain)["State"]["Status"] == state
                else:
                    wait_for(f"{node}/state", state)
            return taken

        yield [{"cthulhu": lambda: turn(ours), "raw API": lambda: turn(raw), "docker": lambda: turn(command_line)}]


@contextmanager
def death():
    """From SIGKILL until a program knows of it, by poll(2) on state, and from `docker events` beside it."""
    with cluster(1, "--start") as mountpoint:
        node = f"{mountpoint}/i001"
        words = ["docker", "events", "--filter", f"container={PREFIX}-i001", "--filter", "event=die", "--format", "{{.ID}}"]
        events = subprocess.Popen(words, stdout=subprocess.PIPE)
        # Nothing tells when its subscription has begun.
        time.sleep(1)

        def both():
            write(f"{node}/control", "start")
            time.sleep(0.1)
            taken = {}
            with open(f"{node}/state") as state:
                assert state.read() == "running\n"
                poll = select.poll()
                poll.register(state, select.POLLPRI | select.POLLERR)
                poll.register(events.stdout, select.POLLIN)
                begin = time.perf_counter()
                os.kill(int(read(f"{node}/pid.txt")), signal.SIGKILL)
                while len(taken) < 2:
                    ready = poll.poll(30_000)
                    assert ready, "no news of a death within 30 s"
                    for fd, _ in ready:
                        who = "cthulhu" if fd == state.fileno() else "docker events"
                        taken.setdefault(who, (time.perf_counter() - begin) * 1000)
                        poll.unregister(fd)
                assert read(f"{node}/state") == "exited"
                os.read(events.stdout.fileno(), 65536)
            return {"death": taken}

        try:
            yield [{"both": both}]
        finally:
            events.kill()
            events.wait()


@contextmanager
def not_started(nodes):
    """For measurements of what sandboxes do."""
    with Mounted(nodes, "--prefix", PREFIX) as mountpoint:
        yield mountpoint
