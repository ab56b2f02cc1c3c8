#!/usr/bin/env bash
# What bindmounts cost against the file system beneath: a table of medians and ratios. Every round takes both places in
# turn, so that both see the same load. Nothing is asserted.
#
#   fs-tests/bench_files.sh [ROUNDS]           3 if not given; CTHULHU is the binary
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/lib.bash"

rounds=${1:-3}
begin
trap end EXIT
mount_cluster m --host simulated: >/dev/null 2>&1
mkdir "$TMP/disk" "$M/i001/bindmounts/var/bench"
echo "$("$CTHULHU" --version), Linux $(uname -r), $(nproc) cores, $(findmnt -no FSTYPE -T "$TMP/disk"), $rounds rounds," \
    "load $(cut -d ' ' -f 1-3 /proc/loadavg)"
python3 - "$rounds" "$TMP/disk" "$M/i001/bindmounts/var/bench" "$TMP/tree" <<'PY'
import os, random, shutil, statistics, subprocess, sys, time

rounds, disk, mount, tree = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
MB = 1 << 20

# A source tree of 5,000 files in 250 directories, a few KB each.
random.seed(5)
for n in range(5000):
    place = f"{tree}/d{n % 25}/e{n % 250}"
    os.makedirs(place, exist_ok=True)
    with open(f"{place}/f{n}.rs", "wb") as file:
        file.write(random.randbytes(random.randrange(200, 12000)))


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def copy_tree(place):
    run("cp", "-a", tree, place + "/tree")


def walk_tree(place):
    run("find", place + "/tree", "-type", "f", "-printf", "%s %T@")


def read_tree(place):
    run("tar", "-cf", place + "/tar", "-C", place, "tree")


def remove_tree(place):
    os.remove(place + "/tar")
    run("rm", "-r", place + "/tree")


def write_big(place):
    block = bytes(range(256)) * 4096
    fd = os.open(place + "/big", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    for _ in range(256):
        os.write(fd, block)
    os.close(fd)


def read_big(place):
    fd = os.open(place + "/big", os.O_RDONLY)
    while os.read(fd, MB):
        pass
    os.close(fd)


def small(place, call):
    fd = os.open(place + "/big", os.O_RDWR)
    for n in range(20000):
        call(fd, (n * 7919 % 65536) * 4096)
    os.close(fd)


def write_small(place):
    page = b"p" * 4096
    small(place, lambda fd, at: os.pwrite(fd, page, at))


def read_small(place):
    small(place, lambda fd, at: os.pread(fd, 4096, at))


def map_big(place):
    import mmap
    with open(place + "/big", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        for at in range(0, len(mapped), 4096):
            mapped[at] = 1
        mapped.flush()


def create_many(place):
    os.mkdir(place + "/many")
    for n in range(5000):
        os.close(os.open(f"{place}/many/{n}", os.O_CREAT | os.O_WRONLY))


def stat_many(place):
    for n in range(5000):
        os.stat(f"{place}/many/{n}")


def list_many(place):
    for _ in range(5):
        os.listdir(place + "/many")


def remove_many(place):
    shutil.rmtree(place + "/many")


STEPS = [
    ("cp -a of 5,000 files (30 MB)", copy_tree), ("find, stat of each", walk_tree), ("tar of them", read_tree),
    ("rm -r of them", remove_tree), ("256 MB written, 1 MB at a time", write_big),
    ("256 MB read, 1 MB at a time", read_big), ("20,000 writes of 4 KB, scattered", write_small),
    ("20,000 reads of 4 KB, scattered", read_small), ("256 MB mapped, each page written, msync", map_big),
    ("5,000 files created", create_many), ("5,000 files' stat", stat_many), ("5,000 files listed, 5 times", list_many),
    ("5,000 files removed", remove_many),
]
taken = {(what, place): [] for what, _ in STEPS for place in (disk, mount)}
for turn in range(rounds):
    for what, call in STEPS:
        for place in (disk, mount) if turn % 2 == 0 else (mount, disk):
            os.sync()
            began = time.perf_counter()
            call(place)
            taken[what, place].append(time.perf_counter() - began)
print("\n| | the disk's | bindmounts | ratio |\n|---|---|---|---|")
for what, _ in STEPS:
    on_disk, mounted = (statistics.median(taken[what, place]) for place in (disk, mount))
    print(f"| {what} | {on_disk * 1000:.0f} ms | {mounted * 1000:.0f} ms | {mounted / on_disk:.1f} |")
PY
