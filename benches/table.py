"""What is measured: scenarios, and the rows that each of them gives, with the goals."""
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import clusters
import faults
import files
import machines
import reads
import schedules


@dataclass(frozen=True)
class Goal:
    """What our median may be at most: `times` a peer's, `over` a peer's (in the row's unit), or `at_most` by itself."""

    peer: str | None = None
    times: float | None = None
    over: float | None = None
    at_most: float | None = None
    # Only for engines that still count a network's endpoints (before Docker 28.1), or only for those that do not.
    counts_endpoints: bool | None = None


@dataclass(frozen=True)
class Row:
    # Of the samples.
    name: str
    title: str
    goals: tuple[Goal, ...] = ()
    ours: str = "cthulhu"
    # Whose samples are compared; all others' if there are none.
    peers: tuple[str, ...] = ()
    unit: str = "ms"
    # Whether the picture shows it.
    drawn: bool = True


@dataclass(frozen=True)
class Scenario:
    """begin(): a context that gives tasks, each a dictionary from who to a function that does it once and returns samples
    by name. A round does every task once; within a task all sides come one after the other, each round in another order.
    """

    name: str
    title: str
    begin: Callable[[], AbstractContextManager[list]]
    rows: tuple[Row, ...]
    rounds: int
    # With --quick; 0: not at all.
    quick_rounds: int = 1
    # The first rounds do not count.
    warm_up: int = 0
    # What --quick begins instead.
    quick_begin: Callable[[], AbstractContextManager[list]] | None = None


def life_rows(up, reset, down, old_down):
    return (
        Row("up", "up (`mount --start`)", (Goal("compose", times=up),)),
        Row("reset", "recreated (`reset --start`)", (Goal("compose", times=reset),)),
        Row("down", "down (`umount`)", (Goal("compose", times=down, counts_endpoints=False),
                                        Goal("compose", times=old_down, counts_endpoints=True))),
        Row("memory", "memory beside the nodes' programs", unit="MB"),
        Row("sandbox", "a sandbox's own memory", (Goal(at_most=0.5),), unit="MB", drawn=False),
    )


def verb_rows():
    goals = (Goal("raw API", over=5),)
    return tuple(Row(verb, f"`{verb}`", goals) for verb in ("start", "stop", "kill", "pause", "resume", "restart"))


def fault_rows(most):
    """In ms."""
    goals = (Goal(at_most=most),)
    return Row("cut", "a partition, until it is in force", goals), Row("heal", "its end", goals, drawn=False)


def file_rows():
    goals = {"stat": 22, "git status": 8, "cp": 1.6}
    titles = {
        "cp": "`cp -a` of a source tree", "find": "`find`, with a stat of each", "git status": "`git status`", "tar": "`tar`",
        "rm": "`rm -r`", "write": "a big file written, 1 MB at a time", "read": "a big file read, 1 MB at a time",
        "write pages": "4 KB writes, scattered", "read pages": "4 KB reads, scattered",
        "map": "a big file mapped, each page written, msync", "create": "many files created", "stat": "many files' stat",
        "list": "many files listed", "remove": "many files removed",
    }
    # Data takes the short way in root's mount, names and attributes in the mount of who uses it.
    data = ("write", "read", "write pages", "read pages", "map")
    def rows(ours, suffix, names, goals, drawn):
        return [
            Row(name, titles[name] + suffix, (Goal("disk", times=goals[name]),) if name in goals else (), ours, ("disk", "bindfs"),
                drawn=name in drawn)
            for name in names
        ]

    roots = rows("root's mount", "", data, {}, ("read", "write"))
    roots += rows("root's mount", " (with `--allow-other`)", ("cp", "git status", "stat"), {}, ())
    users = rows("user's mount", "", [name for name in titles if name not in data], goals, ("cp", "git status", "stat"))
    users += rows("user's mount", " (an ordinary user's mount)", data, {}, ())
    return (*roots, *users)


def machine_rows():
    longest, *shorter = [f"{ms} ms" for ms in machines.LINES]
    titles = {
        "cut": "a partition between engines, by the round trip to each", "heal": "its end", "kill": "`kill` of a node",
        "start": "`start` of a node", "stop all": "`stop` of all", "start all": "`start` of all",
    }
    return (
        Row("up", "up (`mount --start`)", ours="three engines", drawn=False),
        Row("down", "down (`umount`)", ours="three engines", drawn=False),
        *(Row(name, title, ours=longest, peers=tuple(shorter), drawn=False) for name, title in titles.items()),
    )


SCENARIOS = (
    Scenario("clusters-3", "Clusters of 3 nodes", lambda: clusters.life(3), life_rows(1.1, 0.3, 1.0, 1.0), 7, warm_up=1),
    Scenario("clusters-30", "Clusters of 30 nodes", lambda: clusters.life(30), life_rows(1.15, 0.4, 1.1, 1.6), 3, 0),
    Scenario("compose", "A compose file of 30 services in 6 groups", clusters.compose_file,
             (Row("up", "up (`mount -f --start`)"), Row("down", "down (`umount`)")), 3, 0),
    Scenario("verbs", "Verbs on a node", clusters.verbs, verb_rows(), 20, 2, 1),
    Scenario("death", "From a node's death until a program knows of it", clusters.death,
             (Row("death", "poll(2) on `state` returns"),), 20, 3, 1),
    Scenario("faults-5", "Partitions of 5 nodes", lambda: faults.partition(5), fault_rows(5), 20, 2, 1),
    Scenario("faults-50", "Partitions of 50 nodes", lambda: faults.partition(50, False), fault_rows(50), 50, 0, 1),
    Scenario("schedules", "A schedule of faults for 50 nodes, an episode each 100 ms", lambda: schedules.lateness(50, "500ms"),
             (Row("usual", "99 of 100 writes begin at most so late", (Goal(at_most=20),)),
              Row("most", "the last one", drawn=False)), 5, 0, 1),
    Scenario("reads", "Looking at a node", reads.looks, (Row("look", "open, read, close `pid.txt`"),), 20, 3, 1),
    Scenario("files", "Files of bindmounts/", lambda: files.beside_the_disk(5000, 256), file_rows(), 3,
             quick_begin=lambda: files.beside_the_disk(500, 16)),
    Scenario("machines", "30 nodes over three engines of one machine", lambda: machines.machines(30), machine_rows(), 5,
             quick_begin=lambda: machines.machines(3)),
)
