#!/usr/bin/env bash
# What bindmounts cost against the file system beneath: a table of medians and ratios. Every round takes all places in
# turn, so that they see the same load. Nothing is asserted.
#
#   fs-tests/bench_files.sh [ROUNDS]           as root; 3 rounds if not given; CTHULHU is the binary
#
# The places: the disk; a mount of root's, whose files the kernel reads and writes by itself (Linux 6.9); and a mount of an
# ordinary user's, where every read and write comes to the daemon. All are used by that user.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/lib.bash"

[ "$(id -u)" = 0 ] || { echo 'bench_files.sh: only root can mount both ways' >&2 && exit 1; }
rounds=${1:-3}
ordinary=(setpriv --reuid 65534 --regid 65534 --clear-groups)
begin
finish() {
    chmod "$fuse_mode" /dev/fuse
    end
}
fuse_mode=$(stat -c %a /dev/fuse)
trap finish EXIT
# An ordinary user must be able to open it, as on most systems he is.
chmod 666 /dev/fuse
chmod 755 "$TMP"
# He need not be able to reach the place where it was built, either.
cp "$CTHULHU" "$TMP/${CTHULHU##*/}"
CTHULHU=$TMP/${CTHULHU##*/}
mount_cluster root --host simulated: --allow-other >/dev/null 2>&1
install -d -o 65534 -g 65534 "$TMP/user" "$TMP/state/user" "$TMP/disk" "$TMP/tree"
chmod 755 "$TMP/state"
XDG_STATE_HOME=$TMP/state/user "${ordinary[@]}" "$CTHULHU" mount --host simulated: "$TMP/user" >/dev/null 2>&1
echo "$("$CTHULHU" --version), Linux $(uname -r), $(nproc) cores, $(findmnt -no FSTYPE -T "$TMP/disk"), $rounds rounds," \
    "load $(cut -d ' ' -f 1-3 /proc/loadavg)"
"${ordinary[@]}" env PATH=/usr/local/bin:/usr/bin:/bin HOME="$TMP/user" python3 - "$rounds" "$TMP/tree" "$TMP/disk" "$TMP/root/i001/bindmounts/var" "$TMP/user/i001/bindmounts/var" <<'PY'
import os, random, shutil, statistics, subprocess, sys, time

rounds, tree, disk, *mounts = int(sys.argv[1]), *sys.argv[2:]
places = [place + "/bench" for place in [disk, *mounts]]
for place in places:
    os.mkdir(place)
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
taken = {(what, place): [] for what, _ in STEPS for place in places}
for turn in range(rounds):
    for what, call in STEPS:
        for place in places[turn % 3 :] + places[: turn % 3]:
            os.sync()
            began = time.perf_counter()
            call(place)
            taken[what, place].append(time.perf_counter() - began)
print("\n| | the disk | root's mount | ratio | a user's mount | ratio |\n|---|---|---|---|---|---|")
for what, _ in STEPS:
    disk, root, user = (statistics.median(taken[what, place]) * 1000 for place in places)
    print(f"| {what} | {disk:.0f} ms | {root:.0f} ms | {root / disk:.1f} | {user:.0f} ms | {user / disk:.1f} |")
PY
