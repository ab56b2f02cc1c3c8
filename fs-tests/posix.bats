#!/usr/bin/env bats
# bindmounts by the judgement of others: the suites of posix.sh; and what another user of the machine finds there.

load lib.bash

setup_file() {
    begin
    chmod 755 "$TMP"
    local open=(--allow-other)
    [ "$(id -u)" = 0 ] || open=()
    mount_cluster posix --host simulated: "${open[@]}"
}

teardown_file() { end; }

setup() {
    V=$M/i001/bindmounts/var/t$BATS_TEST_NUMBER
    mkdir -m 777 "$V"
    cd "$V"
}

# Runs a program of Python as root here, whose `as_user(call)` gives what a call of another user's returns, or its errno.
as_several() {
    needs_root 'to be several users'
    python3 - <<PY
import errno, os, struct
def as_user(call, uid=65534):
    answer, out = os.pipe()
    if os.fork() == 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        try:
            said = str(call())
        except OSError as e:
            said = errno.errorcode[e.errno]
        os.write(out, said.encode())
        os._exit(0)
    os.close(out)
    os.wait()
    return os.read(answer, 9999).decode()
def mode(path):
    return oct(os.stat(path).st_mode & 0o7777)
def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)
USER, NAMED, GROUP, MASK, OTHER, NONE = 1, 2, 4, 16, 32, 0xffffffff
$(cat)
PY
}

@test "what pjdfstest says passes as on the file system beneath" {
    needs_root 'as the suite does'
    "$FS_TESTS/posix.sh" pjdfstest 2>&1 | sed 's/^/# /' >&3
    is 0 "${PIPESTATUS[0]}"
}

@test "what fsx says passes as on the file system beneath" {
    needs_root 'as posix.sh does'
    "$FS_TESTS/posix.sh" fsx 2>&1 | sed 's/^/# /' >&3
    is 0 "${PIPESTATUS[0]}"
}

# Root's own write is src/passthrough's, and the kernel's where it writes by itself: see docs/interface.md, bindmounts.
@test "a write by another user takes setuid and setgid away" {
    as_several <<'PY'
def prepare():
    open("f", "w").write("x" * 8192)
    os.chmod("f", 0o6777)
def opened(call):
    return lambda: call(os.open("f", os.O_RDWR))
for name, call in {
    "write": lambda fd: os.write(fd, b"y"),
    "truncate": lambda fd: os.ftruncate(fd, 10),
    "fallocate": lambda fd: os.posix_fallocate(fd, 0, 10000),
    "copy_file_range": lambda fd: os.copy_file_range(fd, fd, 100, 0, 4096),
}.items():
    prepare()
    as_user(opened(call))
    assert mode("f") == "0o777", (name, mode("f"))
PY
}

@test "an ordinary user's own write takes setuid and setgid away too" {
    [ "$(id -u)" != 0 ] || skip 'of an ordinary user'
    python3 - <<'PY'
import os
def mode():
    return oct(os.stat("f").st_mode & 0o7777)
fd = os.open("f", os.O_RDWR | os.O_CREAT)
for name, call in {
    "write": lambda: os.write(fd, b"y"),
    "truncate": lambda: os.ftruncate(fd, 10),
    "fallocate": lambda: os.posix_fallocate(fd, 0, 10000),
    "truncating open": lambda: os.close(os.open("f", os.O_WRONLY | os.O_TRUNC)),
}.items():
    os.write(fd, b"x" * 8192)
    os.chmod("f", 0o6777)
    assert mode() == "0o6777", (name, mode())
    call()
    assert mode() == "0o777", (name, mode())
PY
}

@test "ACLs hold, and a default ACL takes the umask's place" {
    as_several <<'PY'
open("f", "w").write("secret")
os.chmod("f", 0o644)
assert as_user(lambda: open("f").read()) == "secret"
entries = [(USER, 6, NONE), (NAMED, 0, 65534), (GROUP, 4, NONE), (MASK, 6, NONE), (OTHER, 4, NONE)]
try:
    os.setxattr("f", "system.posix_acl_access", acl(*entries))
except OSError:
    raise SystemExit("the file system beneath has no ACLs")
assert as_user(lambda: open("f").read()) == "EACCES"
assert as_user(lambda: open("f").read(), 1) == "secret"
assert as_user(lambda: os.setxattr("f", "system.posix_acl_access", acl(*entries[:1]))) == "EPERM"
os.mkdir("d")
os.setxattr("d", "system.posix_acl_default", acl(*entries))
os.umask(0o077)
os.close(os.open("d/f", os.O_CREAT, 0o666))
os.mkdir("d/d")
os.mkfifo("d/fifo", 0o666)
os.close(os.open("plain", os.O_CREAT, 0o666))
assert [mode(p) for p in ("d/f", "d/fifo", "plain")] == ["0o664", "0o664", "0o600"]
assert os.getxattr("d/d", "system.posix_acl_default") == acl(*entries)
PY
}

@test "owners, groups, sticky directories, other people's times and attributes" {
    as_several <<'PY'
os.mkdir("shared")
os.chown("shared", 0, 1234)
os.chmod("shared", 0o3777)
as_user(lambda: (os.mkdir("shared/d"), os.close(os.open("shared/f", os.O_CREAT, 0o666)), os.mkfifo("shared/p")))
for name in ("d", "f", "p"):
    stat = os.stat("shared/" + name)
    assert (stat.st_uid, stat.st_gid) == (65534, 1234), name
assert os.stat("shared/d").st_mode & 0o2000
assert as_user(lambda: os.unlink("shared/f"), 1) == "EPERM"
assert as_user(lambda: os.rename("shared/f", "shared/g"), 1) == "EPERM"
assert as_user(lambda: os.chmod("shared/f", 0o2775)) == "None" and mode("shared/f") == "0o775"
assert as_user(lambda: os.chown("shared/f", 1, -1)) == "EPERM"
os.chmod("shared/f", 0o666)
assert as_user(lambda: os.utime("shared/f"), 1) == "None"
assert as_user(lambda: os.utime("shared/f", (1, 1)), 1) == "EPERM"
os.setxattr("shared/f", "trusted.t", b"1")
os.setxattr("shared/f", "user.u", b"1")
assert as_user(lambda: os.listxattr("shared/f")) == "['user.u']"
assert as_user(lambda: os.setxattr("shared/f", "trusted.t", b"2")) == "EPERM"
assert set(os.listxattr("shared/f")) >= {"trusted.t", "user.u"}
PY
}

@test "a file's size stays below the limit of who writes" {
    python3 - <<'PY'
import errno, os, resource, signal
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
fd = os.open("f", os.O_RDWR | os.O_CREAT)
assert os.write(fd, b"x" * 2000) == 1000
for call in (lambda: os.write(fd, b"x"), lambda: os.ftruncate(fd, 2000), lambda: os.posix_fallocate(fd, 0, 3000)):
    try:
        call()
        raise SystemExit("beyond the limit")
    except OSError as e:
        assert e.errno == errno.EFBIG, e
assert os.fstat(fd).st_size == 1000
PY
}
