#!/usr/bin/env bats
# bindmounts/etc and bindmounts/var behave as a local POSIX file system, and the node sees the same.

load lib.bash

setup_file() {
    begin
    mount_busybox binds -n 2 --start
}

teardown_file() { end; }

setup() {
    V=$M/i001/bindmounts/var/t$BATS_TEST_NUMBER
    mkdir "$V"
    cd "$V"
}

# Runs a command in the node, in this test's directory.
inside() {
    docker exec -w "/opt/app/var/${V##*/}" "$P-i001" "$@"
}

@test "create, write, append, truncate" {
    echo one >f
    echo two >>f
    is 'one two' "$(echo $(cat f))"
    truncate -s 3 f
    is one "$(cat f)"
    truncate -s 10 f
    is 10 "$(stat -c %s f)"
    : >f
    is 0 "$(stat -c %s f)"
    refused sh -c 'set -C; echo x >f' 2>/dev/null
}

@test "rename, over another, into another directory, of directories" {
    echo a >a
    echo b >b
    mv a b
    is a "$(cat b)"
    mkdir d e
    mv b d/
    is a "$(cat d/b)"
    mv d e/
    is a "$(cat e/d/b)"
    mv -T e/d e/f
    refused mv -T e e/f/g 2>/dev/null
    is 'f' "$(ls e)"
}

@test "renameat2: NOREPLACE and EXCHANGE" {
    python3 - <<'PY'
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def rename(a, b, flags):
    return 0 if libc.renameat2(-100, a, -100, b, flags) == 0 else ctypes.get_errno()
open("a", "w").write("A"); open("b", "w").write("B")
assert rename(b"a", b"b", 1) == errno.EEXIST
assert rename(b"a", b"b", 2) == 0
assert (open("a").read(), open("b").read()) == ("B", "A")
assert rename(b"a", b"c", 1) == 0 and not os.path.exists("a")
assert rename(b"a", b"c", 0) == errno.ENOENT
PY
}

@test "hard links and symbolic links" {
    echo x >f
    ln f g
    is 2 "$(stat -c %h f)"
    is "$(stat -c %i f)" "$(stat -c %i g)"
    rm f
    is x "$(cat g)"
    ln -s g link
    is g "$(readlink link)"
    is x "$(cat link)"
    ln -s nowhere dangling
    refused cat dangling 2>/dev/null
    rm link dangling
    is g "$(ls)"
}

@test "unlink and rmdir; a file that is open outlives its name" {
    echo content >f
    exec 5<f
    rm f
    is content "$(cat <&5)"
    exec 5<&-
    mkdir d
    : >d/f
    refused rmdir d 2>/dev/null
    rm -r d
    is '' "$(ls -A)"
}

@test "chmod, umask, times" {
    (umask 027 && : >f && mkdir d)
    is 640 "$(stat -c %a f)"
    is 750 "$(stat -c %a d)"
    chmod 4711 f
    is 4711 "$(stat -c %a f)"
    touch -d '2001-02-03 04:05:06.789012345 UTC' f
    is "$(date -d '2001-02-03 04:05:06 UTC' +%s)" "$(stat -c %Y f)"
    has "$(stat -c %y f)" .789012345
    touch -a -d '2002-02-02 UTC' f
    is "$(date -d '2001-02-03 04:05:06 UTC' +%s)" "$(stat -c %Y f)"
    is "$(date -d '2002-02-02 UTC' +%s)" "$(stat -c %X f)"
    echo more >>f
    refused is "$(date -d '2001-02-03 04:05:06 UTC' +%s)" "$(stat -c %Y f)" 2>/dev/null
}

@test "who may do what, mode by mode, is as on the disk" {
    mkdir "$TMP/on-the-disk"
    python3 "$FS_TESTS/permissions.py" "$TMP/on-the-disk" >"$TMP/permissions"
    python3 "$FS_TESTS/permissions.py" . | diff "$TMP/permissions" -
    rmdir "$TMP/on-the-disk"
    # What a node has made as root.
    inside sh -c 'umask 077; mkdir d; echo secret >f; echo hidden >d/f'
    if [ "$(id -u)" = 0 ]; then
        is 'secret hidden' "$(cat f d/f | xargs)"
        rm -r d f
        return
    fi
    refused cat f 2>/dev/null
    refused test -r f
    refused cat d/f 2>/dev/null
    refused stat d/f 2>/dev/null
    refused ls d 2>/dev/null
    refused sh -c 'cd d' 2>/dev/null
    refused sh -c 'echo x >>f' 2>/dev/null
    refused chmod 666 f 2>/dev/null
    inside rm -r d f
}

@test "chown" {
    needs_root 'to give files away'
    : >f
    chown 1234:2345 f
    is 1234:2345 "$(stat -c %u:%g f)"
    is 1234:2345 "$(inside stat -c %u:%g f)"
}

@test "extended attributes" {
    : >f
    : >"$XDG_STATE_HOME/probe"
    setfattr -n user.probe -v 1 "$XDG_STATE_HOME/probe" || skip 'the file system beneath has none'
    setfattr -n user.colour -v green f
    is green "$(getfattr --only-values -n user.colour f)"
    has "$(getfattr -d f)" user.colour
    setfattr -x user.colour f
    is '' "$(getfattr -d f)"
    refused getfattr -n user.colour f 2>/dev/null
}

@test "flock and fcntl locks hold between processes" {
    python3 - <<'PY'
import fcntl, os, subprocess, sys
f = open("f", "w")
def child(call):
    code = f"import fcntl, sys\nf = open('f', 'r+')\ntry: fcntl.{call}\nexcept OSError: sys.exit(7)"
    return subprocess.run([sys.executable, "-c", code]).returncode
fcntl.flock(f, fcntl.LOCK_EX)
assert child("flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)") == 7
fcntl.flock(f, fcntl.LOCK_UN)
assert child("flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)") == 0
fcntl.lockf(f, fcntl.LOCK_EX, 10)
assert child("lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 3)") == 7
assert child("lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 20)") == 0
fcntl.lockf(f, fcntl.LOCK_UN)
assert child("lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)") == 0
PY
    flock f true
}

@test "a lock that is waited for is got when the other ends" {
    flock f -c "touch held; until [ -e go ]; do sleep 0.02; done" &
    wait_for 10 test -e held
    flock f touch second &
    local waiter=$!
    refused test -e second
    touch go
    with_deadline 60 tail --pid="$waiter" -f /dev/null
    test -e second
}

@test "fallocate, holes, SEEK_DATA and SEEK_HOLE" {
    python3 - <<'PY'
import os
fd = os.open("f", os.O_RDWR | os.O_CREAT)
os.posix_fallocate(fd, 0, 65536)
assert os.fstat(fd).st_size == 65536
fd = os.open("sparse", os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 1 << 24)
os.pwrite(fd, b"x" * 4096, 1 << 20)
assert os.fstat(fd).st_blocks * 512 < 1 << 22
data = os.lseek(fd, 0, os.SEEK_DATA)
hole = os.lseek(fd, data, os.SEEK_HOLE)
assert 0 < data <= 1 << 20 < hole < 1 << 24, (data, hole)
try:
    os.lseek(fd, hole, os.SEEK_DATA)
    raise AssertionError("data where none is")
except OSError as e:
    assert e.errno == 6, e
PY
    fallocate -p -o 0 -l 4096 f || skip 'no holes can be punched in the file system beneath'
    is 65536 "$(stat -c %s f)"
}

@test "copy_file_range, sendfile, statfs, fsync, syncfs" {
    python3 - <<'PY'
import os
data = os.urandom(300_000)
open("a", "wb").write(data)
a, b, c = os.open("a", os.O_RDONLY), os.open("b", os.O_RDWR | os.O_CREAT), os.open("c", os.O_RDWR | os.O_CREAT)
done = 0
while done < len(data):
    n = os.copy_file_range(a, b, len(data) - done)
    assert n > 0
    done += n
assert open("b", "rb").read() == data
done = 0
while done < len(data):
    done += os.sendfile(c, a, done, len(data) - done)
assert open("c", "rb").read() == data
os.fsync(b)
os.fdatasync(b)
d = os.open(".", os.O_RDONLY)
os.fsync(d)
s = os.statvfs(".")
assert s.f_blocks > 0 and s.f_bavail > 0 and s.f_namemax == 255
PY
    sync -f a
    df . >/dev/null
}

@test "FIFOs and sockets join programs here; devices can be made by root, and not be opened" {
    python3 - <<'PY'
import errno, os, socket, stat
for what, kind, device in ("character", stat.S_IFCHR, os.makedev(1, 3)), ("block", stat.S_IFBLK, os.makedev(7, 300)):
    try:
        os.mknod(what, kind | 0o666, device)
    except OSError as e:
        assert e.errno == errno.EPERM and os.geteuid() != 0, f"{what}: {e}"
        continue
    assert os.geteuid() == 0 and os.stat(what).st_rdev == device and stat.S_IFMT(os.stat(what).st_mode) == kind
    try:
        os.open(what, os.O_RDONLY)
    except OSError as e:
        assert e.errno == errno.EACCES, f"{what}: {e}"
    else:
        raise AssertionError(f"{what} was opened")
    os.unlink(what)
os.mknod("regular", stat.S_IFREG | 0o644)
os.mkfifo("fifo", 0o640)
reader = os.open("fifo", os.O_RDONLY | os.O_NONBLOCK)
os.write(os.open("fifo", os.O_WRONLY), b"through")
assert os.read(reader, 99) == b"through"
listener, one = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
os.chdir(".")
listener.bind("socket")
listener.listen()
one.connect("socket")
one.send(b"hello")
assert listener.accept()[0].recv(99) == b"hello"
assert sorted(os.listdir()) == ["fifo", "regular", "socket"]
PY
    is 'fifo 640' "$(stat -c '%F %a' fifo)"
    is 'fifo 640' "$(inside stat -c '%F %a' fifo)"
    is socket "$(inside stat -c %F socket)"
    rm fifo socket regular
}

# The other way round, cleared after an open with it, is src/passthrough's: see docs/interface.md, bindmounts.
@test "O_APPEND set after the open" {
    python3 - <<'PY'
import fcntl, os
fd = os.open("f", os.O_RDWR | os.O_CREAT)
os.write(fd, b"aaaa")
os.pwrite(fd, b"B", 0)
fcntl.fcntl(fd, fcntl.F_SETFL, os.O_APPEND)
os.pwrite(fd, b"C", 0)
assert open("f").read() == "BaaaC", open("f").read()
# Taken back again it is where the daemon writes, as it does for an ordinary user.
if os.geteuid() != 0:
    fcntl.fcntl(fd, fcntl.F_SETFL, 0)
    os.pwrite(fd, b"D", 0)
    assert open("f").read() == "DaaaC", open("f").read()
PY
}

@test "times before 1970" {
    touch -d @-0.5 f
    is -0.500000000 "$(stat -c %.9Y f)"
    touch -d '1901-12-14 00:00:00.000000007 UTC' f
    is "$(date -d '1901-12-14 UTC' +%s)" "$(stat -c %Y f)"
}

@test "what a node plants cannot lead out: absolute and upward links, FIFOs, devices" {
    inside ln -s /etc/hostname absolute
    inside ln -s ../../../../../../../../etc/passwd upward
    inside mkfifo fifo
    inside mknod device c 1 3
    # Links are resolved by who reads, as anywhere. A FIFO is the kernel's own and leads to no node; the mount is nodev.
    is /etc/hostname "$(readlink absolute)"
    is 'character special file' "$(stat -c %F device)"
    is '13 EACCES' "$(echo x | put device)"
    refused with_deadline 60 cat device 2>/dev/null
    is fifo "$(stat -c %F fifo)"
    with_deadline 60 dd if=fifo of=/dev/null iflag=nonblock 2>/dev/null
    ls -l >/dev/null
    rm fifo device absolute upward
    is '' "$(ls -A)"
}

@test "mmap: a shared write lands in the file, and in the node" {
    python3 - <<'PY'
import mmap
with open("f", "w+b") as f:
    f.truncate(8192)
    with mmap.mmap(f.fileno(), 8192) as m:
        m[4090:4100] = b"0123456789"
        m.flush()
    assert f.seek(4090) and f.read(10) == b"0123456789"
PY
    is 0123456789 "$(inside dd if=f bs=1 skip=4090 count=10 2>/dev/null)"
}

@test "what the node writes is seen at once" {
    local n
    for n in 1 2 3 4 5; do
        inside sh -c "echo line $n >>f"
        is "line $n" "$(tail -1 f)"
        is "$(inside stat -c %s f)" "$(stat -c %s f)"
    done
    inside mv f g
    is g "$(ls)"
    inside rm g
    refused cat g 2>/dev/null
    inside sh -c 'echo back >g'
    is back "$(cat g)"
    inside chmod 600 g
    is 600 "$(stat -c %a g)"
}

@test "what the node changes is seen at once in every way, thousands of times, of a file and of a directory" {
    with_deadline 600 python3 "$FS_TESTS/coherence.py" "$P-i001" "/opt/app/var/${V##*/}" "${COHERENCE_ROUNDS:-3000}"
}

@test "what is written here is seen by the node at once" {
    local n
    for n in 1 2 3; do
        echo "line $n" >>f
        is "line $n" "$(inside tail -1 f)"
    done
    mv f g
    is 'line 3' "$(inside tail -1 g)"
    refused inside test -e f
    printf '{"changed":true}\n' >"$M/i001/bindmounts/etc/config.json"
    is '{"changed":true}' "$(docker exec "$P-i001" cat /opt/app/etc/config.json)"
}

@test "tail -f follows what the node appends" {
    : >f
    tail -f f >../tailed &
    local pid=$!
    inside sh -c 'echo from inside >>f'
    wait_for 20 contains ../tailed 'from inside'
    kill "$pid"
}

@test "large and many: 32 MiB and 500 files, the same on both sides" {
    head -c 33554432 /dev/urandom >big
    is "$(sha256sum <big)" "$(inside sha256sum big | sed 's/big/-/')"
    mkdir many
    seq 500 | xargs -I{} touch many/{}
    is 500 "$(ls many | wc -l)"
    is 500 "$(inside ls many | wc -l)"
    rm -r many
    refused inside test -e many
}

@test "nodes share nothing" {
    : >mine
    is i002.log "$(ls "$M/i002/bindmounts/var")"
}

@test "names: 255 bytes, not UTF-8, spaces, newlines" {
    local name
    name=$(printf 'n%.0s' $(seq 255))
    : >"$name"
    refused sh -c ": >${name}x" 2>/dev/null
    : >"$(printf 'not\377utf8')"
    : >'with space'
    : >"$(printf 'new\nline')"
    is 4 "$(find . -type f -printf x | wc -c)"
    rm -- *
    is '' "$(ls -A)"
}

@test "sqlite's way: create, lock, journal, rename, delete" {
    python3 - <<'PY'
import sqlite3
db = sqlite3.connect("t.db")
db.execute("pragma journal_mode=wal")
db.execute("create table t (n)")
db.executemany("insert into t values (?)", ((n,) for n in range(1000)))
db.commit()
assert db.execute("select sum(n) from t").fetchone() == (499500,)
assert db.execute("pragma integrity_check").fetchone() == ("ok",)
PY
}

@test "they live through stop, start and a node recreated" {
    echo kept >f
    echo stop >"$M/i001/control"
    is kept "$(cat f)"
    docker rm -f "$P-i001" >/dev/null
    echo start >"$M/i001/control"
    is kept "$(inside cat f)"
}
