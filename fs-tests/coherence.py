"""A node changes a file or a directory, and at once a tester looks at it, in every way there is: counts the looks that
show what was before. Arguments: the node's container, its working directory, the number of rounds. The working directory
is the same one, seen from here.

Before each change, the tester looks in all ways, so that what is cached then could be wrong after it. Each way is the
last before a change and the first after one, in all pairs. The truth is what the node has done, and the times are the
node's own."""

import os
import stat
import subprocess
import sys

container, directory, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
shell = subprocess.Popen(["docker", "exec", "-i", "-w", directory, container, "sh"], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE)
here = os.getcwd()


def node(command):
    """Runs a command in the node's shell, and returns what it printed, when it is done."""
    shell.stdin.write(f"{command}; echo END\n".encode())
    shell.stdin.flush()
    lines = []
    while (line := shell.stdout.readline()) != b"END\n":
        assert line, "the node's shell is gone"
        lines.append(line.decode().strip())
    return lines


class Looks:
    """Ways to look at one thing. Each is a function, and returns what it saw."""

    def __init__(self, **ways):
        self.ways = ways
        self.stale = dict.fromkeys(ways, 0)
        self.rounds = 0

    def beginning_with(self, nth):
        names = list(self.ways)
        nth %= len(names)
        return names[nth:] + names[:nth]

    def warm(self):
        for name in self.beginning_with(self.rounds // len(self.ways)):
            self.ways[name]()

    def compare(self, wanted):
        order = self.beginning_with(self.rounds)
        self.rounds += 1
        for name in order:
            saw = self.ways[name]()
            if saw != wanted[name]:
                self.stale[name] += 1
                if self.stale[name] == 1:
                    print(f"stale: {name} saw {saw!r} and not {wanted[name]!r} in round {self.rounds}")

    def report(self, of):
        print(f"{of}: {self.rounds} changes, looks that were stale: "
              + ", ".join(f"{name} {count}" for name, count in self.stale.items()))
        return not any(self.stale.values())


# ---- a file ---------------------------------------------------------------------------------------------------------

open("f", "w").close()
kept, appending, by_path = os.open("f", os.O_RDONLY), os.open("f", os.O_RDWR | os.O_APPEND), os.open("f", os.O_PATH)
size, last = 0, b""


def appended():
    """Where O_APPEND puts a byte. It is taken away again, so that the other looks are at what the node has left."""
    os.write(appending, b"+")
    at = os.fstat(appending).st_size - 1
    landed = os.pread(appending, 1, at) == b"+"
    os.ftruncate(appending, at)
    return at if landed else None


file_looks = Looks(
    stat=lambda: os.stat("f").st_size,
    absolute_stat=lambda: os.stat(here + "/f").st_size,
    fstat=lambda: os.fstat(kept).st_size,
    fstat_of_path=lambda: os.fstat(by_path).st_size,
    read=lambda: os.pread(kept, 99, max(0, size - len(last))),
    seek_end=lambda: os.lseek(kept, 0, os.SEEK_END),
    append=appended,
)
for turn in range(rounds):
    file_looks.warm()
    last = f"line {turn}\n".encode()
    node(f"echo line {turn} >>f")
    size += len(last)
    file_looks.compare({name: last if name == "read" else size for name in file_looks.ways})

# ---- a directory ----------------------------------------------------------------------------------------------------

os.mkdir("d")
opened, by_path = os.open("d", os.O_RDONLY | os.O_DIRECTORY), os.open("d", os.O_PATH)


def shown(found):
    """What a stat of a directory shows: permissions, links, mtime in seconds since 1970 (stat of busybox has no more)."""
    return f"{stat.S_IMODE(found.st_mode):o} {found.st_nlink} {found.st_mtime_ns // 10**9}"


os.chdir("d")
directory_looks = Looks(
    stat=lambda: shown(os.stat(here + "/d")),
    fstat=lambda: shown(os.fstat(opened)),
    fstat_of_path=lambda: shown(os.fstat(by_path)),
    stat_of_dot=lambda: shown(os.stat(".")),
    listing=lambda: sorted(os.listdir(here + "/d")),
    listing_of_opened=lambda: sorted(os.listdir(opened)),
    name=lambda: os.path.lexists("x"),
    name_in_opened=lambda: os.access("x", os.F_OK, dir_fd=opened, follow_symlinks=False),
)
CHANGES = [
    ("mkdir x", ["x"]), ("rmdir x", []), ("echo >x", ["x"]), ("chmod 700 .", ["x"]), ("mv x y", ["y"]), ("rm y", []),
    ("touch -d @{turn} .", []), ("chmod 755 .", []),
]
for turn in range(rounds):
    directory_looks.warm()
    change, names = CHANGES[turn % len(CHANGES)]
    [truth] = node(f"cd d; {change.format(turn=turn)}; stat -c '%a %h %Y' .; cd ..")
    wanted = dict.fromkeys(directory_looks.ways, truth)
    wanted.update(listing=names, listing_of_opened=names, name="x" in names, name_in_opened="x" in names)
    directory_looks.compare(wanted)

shell.stdin.close()
sys.exit(0 if all([file_looks.report("a file"), directory_looks.report("a directory")]) else 1)
