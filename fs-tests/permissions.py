"""What the calling user may do with files and directories of their own, mode by mode: one line for each thing tried, the
same on every file system that keeps permissions. Argument: an empty directory to try it in."""

import errno
import os
import subprocess
import sys

os.chdir(sys.argv[1])
os.umask(0o022)


def tried(call):
    try:
        call()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "ok"


def opened(path, flags):
    os.close(os.open(path, flags, 0o644))


def ran(path):
    subprocess.run(["./" + path], check=True)


def entered(path):
    before = os.open(".", os.O_PATH)
    try:
        os.chdir(path)
    finally:
        os.fchdir(before)
        os.close(before)


def fresh_file():
    with open("f", "w") as file:
        file.write("#!/bin/true\n")


def fresh_directory():
    os.mkdir("d")
    os.mkdir("d/empty")
    opened("d/kept", os.O_CREAT | os.O_WRONLY)


FILE = {
    "read": lambda: opened("f", os.O_RDONLY),
    "write": lambda: opened("f", os.O_WRONLY),
    "append": lambda: opened("f", os.O_WRONLY | os.O_APPEND),
    "both": lambda: opened("f", os.O_RDWR),
    "create": lambda: opened("f", os.O_RDWR | os.O_CREAT),
    "truncate": lambda: os.truncate("f", 12),
    "truncate when opened for reading": lambda: opened("f", os.O_RDONLY | os.O_TRUNC),
    "run": lambda: ran("f"),
    "touch": lambda: os.utime("f"),
    "set times": lambda: os.utime("f", (1, 1)),
    "chown to nobody": lambda: os.chown("f", 65534, 65534),
    "set attribute": lambda: os.setxattr("f", "user.a", b"1"),
    "get attribute": lambda: os.getxattr("f", "user.none"),
    "link": lambda: os.link("f", "linked"),
}
DIRECTORY = {
    "list": lambda: os.listdir("d"),
    "enter": lambda: entered("d"),
    "stat within": lambda: os.stat("d/kept"),
    "stat of nothing within": lambda: os.stat("d/none"),
    "open within": lambda: opened("d/kept", os.O_RDONLY),
    "create within": lambda: opened("d/new", os.O_WRONLY | os.O_CREAT | os.O_EXCL),
    "mkdir within": lambda: os.mkdir("d/sub"),
    "mkfifo within": lambda: os.mkfifo("d/fifo"),
    "symlink within": lambda: os.symlink("f", "d/symbolic"),
    "rename within": lambda: os.rename("d/kept", "d/renamed"),
    "rename out": lambda: os.rename("d/kept", "out"),
    "unlink within": lambda: os.unlink("d/kept"),
    "rmdir within": lambda: os.rmdir("d/empty"),
}


def removed():
    for name in os.listdir("."):
        if os.path.isdir(name) and not os.path.islink(name):
            os.chmod(name, 0o700)
            subprocess.run(["rm", "-rf", name], check=True)
        else:
            os.unlink(name)


# In a mount of an ordinary user's, what may be run must be readable: docs/interface.md, bindmounts.
for mode in (0o000, 0o100, 0o200, 0o300, 0o400, 0o500, 0o600, 0o700, 0o070, 0o007, 0o1777, 0o4711, 0o2755):
    for name, things, path in (("file", FILE, "f"), ("directory", DIRECTORY, "d")):
        for thing, call in things.items():
            if thing == "run" and not mode & 0o400:
                continue
            fresh_file() if path == "f" else fresh_directory()
            os.chmod(path, mode)
            print(f"{name} {mode:04o} {thing}: {tried(call)}")
            removed()
        fresh_file() if path == "f" else fresh_directory()
        os.chmod(path, mode)
        may = "".join(letter for letter, bit in (("r", os.R_OK), ("w", os.W_OK), ("x", os.X_OK)) if os.access(path, bit))
        print(f"{name} {mode:04o} access: {may}")
        removed()
