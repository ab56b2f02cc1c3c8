"""Uses the directory `d` of the working directory in every way, while somebody swaps it for a link to a place with a secret,
until a number of steps has been done. Each may fail, as what it names may be gone; but what is read must never be the
secret."""

import errno
import os
import random
import shutil
import sys

SECRET = b"secret"
ALLOWED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EEXIST, errno.EISDIR, errno.EINVAL, errno.ENOTEMPTY,
           errno.ESTALE, errno.EXDEV, errno.EAGAIN, errno.EBUSY, errno.EPERM}
done = failed = 0


def read(path, dir_fd=None):
    fd = os.open(path, os.O_RDONLY, dir_fd=dir_fd)
    try:
        content = os.read(fd, 999)
    finally:
        os.close(fd)
    assert SECRET not in content, f"the secret came through {path}"


def write(path, dir_fd=None):
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644, dir_fd=dir_fd)
    try:
        os.write(fd, b"ours")
        os.fsync(fd)
        os.fchmod(fd, 0o600)
    finally:
        os.close(fd)


def below(number):
    fd = os.open("d", os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        write(f"below{number}", fd)
        read("f", fd)
        read(f"below{number}", fd)
        os.unlink(f"below{number}", dir_fd=fd)
    finally:
        os.close(fd)


def walk(_):
    for place, _, files in os.walk("."):
        for name in files:
            if name.startswith(("f", "new")):
                read(os.path.join(place, name))


def made_and_removed(number):
    os.mkdir(f"d/dir{number}")
    os.symlink("f", f"d/dir{number}/link")
    os.rename(f"d/dir{number}", f"d/moved{number}")
    shutil.rmtree(f"d/moved{number}")


STEPS = [
    lambda n: read("d/f"),
    lambda n: write(f"d/new{n % 7}"),
    lambda n: os.unlink(f"d/new{n % 7}"),
    lambda n: os.truncate("d/f", 4),
    lambda n: os.chmod("d/f", 0o640 + n % 8),
    lambda n: os.utime("d/f", (n, n)),
    lambda n: os.chown("d/f", n % 9, n % 9),
    lambda n: os.setxattr("d/f", "user.n", b"n"),
    lambda n: os.link("d/f", f"d/hard{n}") or os.unlink(f"d/hard{n}"),
    lambda n: [os.stat(os.path.join("d", name)) for name in os.listdir("d")],
    below,
    made_and_removed,
    walk,
]

random.seed(7)
wanted = int(sys.argv[1])
while done < wanted:
    number = done + failed
    assert number < 40 * wanted, f"of {number} steps only {done} could be done"
    step = random.choice(STEPS)
    try:
        step(number)
        done += 1
    except OSError as error:
        assert error.errno in ALLOWED or error.errno == errno.EOPNOTSUPP, error
        failed += 1
print(f"{done} steps done, {failed} failed")
