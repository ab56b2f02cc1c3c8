"""What files of bindmounts/ cost beside the disk, and beside bindfs on the same disk.

In root's mount the kernel reads and writes by itself (Linux 6.9). In an ordinary user's mount every read and write goes to
the daemon. All steps are that user's.
"""
import mmap
import os
import random
import shutil
import signal
import struct
import subprocess
from contextlib import ExitStack, contextmanager

from peers import Serving
from setting import CTHULHU, TMP, Mounted, below, timed

USER = 65534
SIMULATED = ("--host", "simulated:")
MB = 1 << 20
# What git reads of the machine and of the user's home is left out.
GIT = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}


def as_user(work, *arguments):
    """Does it in a process of the ordinary user, and says how long it took, in ms, without starting that process."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            # So that all of it can be killed.
            os.setpgid(0, 0)
            os.setgroups([])
            os.setresgid(USER, USER, USER)
            os.setresuid(USER, USER, USER)
            os.write(writes, struct.pack("d", timed(lambda: work(*arguments))))
            os._exit(0)
        except BaseException as e:
            os.write(2, f"{work.__name__}: {e}\n".encode())
        finally:
            os._exit(1)
    os.close(writes)
    try:
        with open(reads, "rb") as answer:
            taken = answer.read()
    except BaseException:
        os.killpg(pid, signal.SIGKILL)
        raise
    finally:
        status = os.waitpid(pid, 0)[1]
    if status != 0:
        raise RuntimeError(f"{work.__name__}{arguments} failed")
    return struct.unpack("d", taken)[0]


def call(*words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env=GIT)


def make_source_tree(tree, files):
    """Of a few KB each, in 250 directories, under git."""
    random.seed(5)
    for n in range(files):
        place = f"{tree}/d{n % 25}/e{n % 250}"
        os.makedirs(place, exist_ok=True)
        with open(f"{place}/f{n}.rs", "wb") as file:
            file.write(random.randbytes(random.randrange(200, 12000)))
    who = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")
    for words in [("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "all"), ("gc", "-q")] if shutil.which("git") else []:
        call("git", "-C", tree, *words)


def steps(files, big):
    """Names of samples and what is done in a place; without a name it is not timed. files: how many; big: size of one file in MB."""
    def copy_tree(place):
        call("cp", "-a", f"{TMP}/tree", f"{place}/tree")

    def walk_tree(place):
        call("find", f"{place}/tree", "-type", "f", "-printf", "%s %T@")

    def git_status(place):
        call("git", "-C", f"{place}/tree", "status", "--porcelain")

    def read_tree(place):
        call("tar", "-cf", f"{place}/tar", "-C", place, "tree")

    def remove_tree(place):
        os.remove(f"{place}/tar")
        call("rm", "-r", f"{place}/tree")

    def write_big(place):
        block = bytes(range(256)) * 4096
        fd = os.open(f"{place}/big", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        for _ in range(big):
            os.write(fd, block)
        os.close(fd)

    def read_big(place):
        fd = os.open(f"{place}/big", os.O_RDONLY)
        while os.read(fd, MB):
            pass
        os.close(fd)

    def scattered(place, act):
        fd = os.open(f"{place}/big", os.O_RDWR)
        for n in range(4 * files):
            act(fd, (n * 7919 % (big * 256)) * 4096)
        os.close(fd)

    def write_pages(place):
        page = b"p" * 4096
        scattered(place, lambda fd, at: os.pwrite(fd, page, at))

    def read_pages(place):
        scattered(place, lambda fd, at: os.pread(fd, 4096, at))

    def map_big(place):
        with open(f"{place}/big", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            for at in range(0, len(mapped), 4096):
                mapped[at] = 1
            mapped.flush()

    def create_many(place):
        os.mkdir(f"{place}/many")
        for n in range(files):
            os.close(os.open(f"{place}/many/{n}", os.O_CREAT | os.O_WRONLY))

    def stat_many(place):
        for n in range(files):
            os.stat(f"{place}/many/{n}")

    def list_many(place):
        for _ in range(5):
            os.listdir(f"{place}/many")

    def remove_many(place):
        shutil.rmtree(f"{place}/many")

    # After a copy, the first `git status` reads all files.
    git = [(None, git_status), ("git status", git_status)] if shutil.which("git") else []
    return [
        ("cp", copy_tree), ("find", walk_tree), *git, ("tar", read_tree), ("rm", remove_tree), ("write", write_big),
        ("read", read_big), ("write pages", write_pages), ("read pages", read_pages), ("map", map_big),
        ("create", create_many), ("stat", stat_many), ("list", list_many), ("remove", remove_many),
    ]


@contextmanager
def places():
    """Directories on the disk, in both kinds of mount, and behind bindfs."""
    user = ("setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups")
    with ExitStack() as stack:
        for name in ("disk", "beneath", "bindfs", "user", "state-user", "tree"):
            os.chown(below(name), USER, USER)
        # He need not be able to reach the place where it was built.
        shutil.copy(CTHULHU, f"{TMP}/cthulhu")
        root = Mounted(1, *SIMULATED, "--allow-other")
        users = Mounted(1, *SIMULATED, program=f"{TMP}/cthulhu", around=user, path=f"{TMP}/user",
                        environment={"XDG_STATE_HOME": f"{TMP}/state-user"})
        found = {
            "disk": f"{TMP}/disk",
            "root's mount": f"{stack.enter_context(root)}/i001/bindmounts/var/bench",
            "user's mount": f"{stack.enter_context(users)}/i001/bindmounts/var/bench",
        }
        if shutil.which("bindfs"):
            found["bindfs"] = stack.enter_context(Serving(f"{TMP}/bindfs", "bindfs", "-f", f"{TMP}/beneath", f"{TMP}/bindfs"))
        for place in found.values():
            as_user(lambda place=place: os.makedirs(place, exist_ok=True))
        yield found


@contextmanager
def beside_the_disk(files, big):
    with places() as found:
        as_user(make_source_tree, f"{TMP}/tree", files)

        def side(name, step, place):
            os.sync()
            taken = as_user(step, place)
            return {name: taken} if name else {}

        yield [
            {who: lambda name=name, step=step, place=place: side(name, step, place) for who, place in found.items()}
            for name, step in steps(files, big)
        ]
