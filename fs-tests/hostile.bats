#!/usr/bin/env bats
# A node that is root in its container and means harm: what it can plant below bindmounts leads the daemon nowhere.
#
# Outside of everything lies $OUT, with a secret. No test may change it, and what it holds may be read by nobody but the
# test's own program that follows a link on its own side. Where that would blur the picture, the test's program runs where
# $OUT is covered by an empty file system (covered), while the daemon sees the real one: what still gets there, or comes
# from there, went through the daemon.

load lib.bash

setup_file() {
    begin
    OUT=$TMP/outside
    export OUT
    mkdir -p "$OUT/dir"
    echo 'the secret of the host' | tee "$OUT/secret" >"$OUT/dir/f"
    chmod 600 "$OUT/secret"
    mount_busybox hostile -n 1 --start
    untouched >"$TMP/before"
}

teardown_file() { end; }

setup() {
    V=$M/i001/bindmounts/var/t$BATS_TEST_NUMBER
    mkdir "$V"
    cd "$V"
}

teardown() {
    rm -f go
    # Chained: of a teardown only the last command's failure counts.
    is "$(cat "$TMP/before")" "$(untouched)" 'what lies outside' &&
        is running "$(with_deadline 60 cat "$M/i001/state")"
}

# Everything about what lies outside but the times of reading.
untouched() {
    find "$OUT" -printf '%P %y %m %U:%G %s %T@ %C@ %n\n' | sort
    find "$OUT" -type f -exec sha256sum {} +
    getfattr -R -d -m - "$OUT" 2>/dev/null
}

# Runs a command in the node, in this test's directory.
inside() {
    docker exec -w "/opt/app/var/${V##*/}" "$P-i001" "$@"
}

# Lets the node do something over and over, as long as there is the file `go`.
keeps_on() {
    : >go
    docker exec -d -w "/opt/app/var/${V##*/}" "$P-i001" sh -c "while [ -e go ]; do $1; done; : >ended"
}

has_ended() {
    rm -f go
    wait_for 30 test -e ended
}

# This test's directory as the daemon sees it.
backing() { echo "$XDG_STATE_HOME"/cthulhu/*/data/i001/var/"${V##*/}"; }

# Runs a command that finds nothing where the node's links lead.
covered() {
    # shellcheck disable=SC2016
    local mine=()
    [ "$(id -u)" = 0 ] || mine=(--map-root-user)
    with_deadline 300 unshare -m "${mine[@]}" sh -c 'mount -t tmpfs none "$OUT" && exec "$@"' - "$@"
}

# The daemon's pid, and a line of its /proc/PID/status in KB.
daemon() { daemons "$TMP"; }
memory() { awk -v name="$1:" '$1 == name { print $2 }' "/proc/$(daemon)/status"; }
descriptors() { find "/proc/$(daemon)/fd" -mindepth 1 | wc -l; }

say() { echo "# $*" >&3; }

@test "a link to a file of the host: the reader follows it, the daemon does not" {
    inside ln -s "$OUT/secret" x
    is "$OUT/secret" "$(readlink x)"
    is 'symbolic link' "$(stat -c %F x)"
    # Whoever follows it does so on their own side, with their own rights.
    has "$(cat x)" secret
    refused covered cat x 2>/dev/null
    covered sh -c 'echo mine >x && grep mine x'
    # What names the link itself changes the link itself.
    [ "$(id -u)" != 0 ] || chown -h 1:1 x
    touch -h x
    mv x y
    # An ordinary user's hard link to what is root's is refused by the kernel (fs.protected_hardlinks).
    if [ "$(id -u)" = 0 ]; then
        ln y z
        rm z
    fi
    rm y
}

@test "a file that was open, swapped for a link: its descriptor still means the file" {
    echo ours >f
    mkdir d
    echo ours >d/f
    python3 - <<'PY'
import os, subprocess
out = os.environ["OUT"]
node = f"{os.environ['P']}-i001"
def inside(command):
    subprocess.run(["docker", "exec", "-w", "/opt/app/var/" + os.path.basename(os.getcwd()), node, "sh", "-c", command], check=True)
file, path, directory = os.open("f", os.O_RDWR), os.open("f", os.O_PATH), os.open("d", os.O_DIRECTORY)
inside(f"mv f f.old; ln -s {out}/secret f; mv d d.old; ln -s {out}/dir d")
for fd in (file, path):
    if os.geteuid() == 0:
        os.chown(f"/proc/self/fd/{fd}", 7, 7)
    os.chmod(f"/proc/self/fd/{fd}", 0o666)
    os.utime(f"/proc/self/fd/{fd}", (7, 7))
    os.truncate(f"/proc/self/fd/{fd}", 3)
    assert open(f"/proc/self/fd/{fd}").read() == "our"
    try:
        os.setxattr(f"/proc/self/fd/{fd}", "user.mine", b"1")
    except OSError as e:
        assert e.errno == 95, e
os.fchmod(file, 0o600)
os.pwrite(file, b"x", 0)
assert os.pread(file, 99, 0) == b"xur"
assert os.listdir(directory) == ["f"]
assert os.read(os.open("f", os.O_RDONLY, dir_fd=directory), 99) == b"ours\n"
for call in (
    lambda: os.close(os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=directory)),
    lambda: os.mkdir("newdir", dir_fd=directory),
    lambda: os.symlink("x", "newlink", dir_fd=directory),
    lambda: os.link("f", "hard", src_dir_fd=directory, dst_dir_fd=directory),
    lambda: os.rename("new", "renamed", src_dir_fd=directory, dst_dir_fd=directory),
    lambda: os.unlink("f", dir_fd=directory),
    lambda: os.rmdir("newdir", dir_fd=directory),
):
    call()
assert sorted(os.listdir("d.old")) == ["hard", "newlink", "renamed"]
PY
}

@test "FIFOs, sockets, devices: who opens one waits for nobody but a partner, the others are served" {
    inside mkfifo fifo
    inside sh -c 'mknod null c 1 3; mknod tty c 5 0; mknod disk b 7 0; chmod 666 null tty disk fifo'
    # In the node's place: busybox makes no sockets.
    (cd "$(backing)" && python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")')
    local what waiting pids=()
    is socket "$(stat -c %F socket)"
    refused with_deadline 60 cat socket 2>/dev/null
    refused python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect("socket")' 2>/dev/null
    for what in null tty disk; do
        is '13 EACCES' "$(with_deadline 60 sh -c "echo x | python3 '$FS_TESTS/put.py' $what")"
        refused with_deadline 60 cat $what 2>/dev/null
        refused with_deadline 60 truncate -s 0 $what 2>/dev/null
    done
    # More who wait than the daemon has threads.
    for waiting in 1 2 3 4 5 6 7 8; do
        cat fifo >/dev/null &
        pids+=($!)
    done
    with_deadline 60 dd if=fifo of=/dev/null iflag=nonblock 2>/dev/null
    is running "$(with_deadline 60 cat "$M/i001/state")"
    echo served >f
    is served "$(with_deadline 60 cat f)"
    kill "${pids[@]}"
    wait "${pids[@]}" || true
    # Programs that walk over them.
    with_deadline 60 find . -ls >/dev/null
    with_deadline 60 tar -cf - . | tar -tf - >/dev/null
    # They are root's.
    [ "$(id -u)" != 0 ] || with_deadline 60 chmod 600 fifo null
    with_deadline 60 rm fifo null tty disk socket
}

@test "a directory that is ever again a link to the host's: nothing goes there, nothing comes from there" {
    mkdir d
    echo ours >d/f
    keeps_on "mv d e; ln -s $OUT/dir d; rm -f d; mv e d"
    say "$(covered python3 "$FS_TESTS/hostile_walk.py" 1500)"
    has_ended
}

@test "the same by exchange, thousands of times a second" {
    mkdir d
    echo ours >d/f
    ln -s "$OUT/dir" e
    : >go
    # In the node's place, from the backing directory: busybox has no renameat2.
    python3 - "$(backing)" <<'PY' &
import ctypes, os, sys
os.chdir(sys.argv[1])
libc = ctypes.CDLL(None)
while os.path.exists("go"):
    for _ in range(100):
        libc.renameat2(-100, b"d", -100, b"e", 2)
PY
    local swapper=$!
    say "$(covered python3 "$FS_TESTS/hostile_walk.py" 1500)"
    rm go
    wait "$swapper"
}

@test "names in motion: ls -lR, find, cp -a and rm -rf come to an end" {
    mkdir -p a/x b/y
    for n in $(seq 40); do echo "$n" >"a/x/f$n"; done
    keeps_on 'for n in a/x/*; do mv $n b/y/; done; mv a/x b/; mv b/y a/; mv a/y b/; mv b/x a/; for n in b/y/*; do mv $n a/x/; done; : >moved'
    wait_for 30 test -e moved
    local round
    for round in 1 2 3 4 5; do
        with_deadline 60 ls -lR >/dev/null 2>&1 || [ $? -lt 124 ]
        with_deadline 60 find . -type f -exec cat {} + >/dev/null 2>&1 || [ $? -lt 124 ]
        with_deadline 60 cp -a a "$TMP/copy$round" 2>/dev/null || [ $? -lt 124 ]
        with_deadline 60 tar -cf /dev/null . 2>/dev/null || [ $? -lt 124 ]
    done
    with_deadline 60 rm -rf b 2>/dev/null || [ $? -lt 124 ]
    has_ended
    is "$(inside find . | sort)" "$(find . | sort)"
    is "$(inside sh -c 'find . -type f -exec cat {} +' | sort -n | uniq | wc -l)" "$(find . -type f -exec cat {} + | sort -n | uniq | wc -l)"
    with_deadline 60 rm -rf a b
}

@test "a file of 4 GiB of holes costs the daemon no memory" {
    inside sh -c 'truncate -s 4G f && echo end >>f'
    local before
    before=$(memory VmRSS)
    with_deadline 120 cp --sparse=always f "$TMP/copy"
    is 4294967300 "$(stat -c %s "$TMP/copy")"
    is end "$(tail -c 4 "$TMP/copy")"
    rm "$TMP/copy"
    has "$(with_deadline 120 grep -ac end f)" 1
    is "$(head -c 268435456 /dev/zero | sha256sum)" "$(head -c 268435456 f | sha256sum)"
    say "the daemon's memory: $before KB before, $(memory VmRSS) KB after, at most $(memory VmHWM) KB"
    [ "$(memory VmHWM)" -lt 262144 ]
}

@test "very many tiny files: all are found, memory and descriptors stay bounded, the rest answers meanwhile" {
    # A million at a release, see docs/testing.md.
    local files=${HOSTILE_FILES:-200000} began=$SECONDS looker found open
    inside sh -c 'n=0
        while [ $n -lt '"$files"' ]; do
            [ $((n % 10000)) != 0 ] || { mkdir -p ../many/$n && cd ../many/$n; } && : >f$n
            cd . && n=$((n + 1))
            [ $((n % 10000)) != 0 ] || cd ../../'"${V##*/}"'
        done'
    say "$files files made by the node in $((SECONDS - began)) s"
    : >looking
    (while [ -e looking ]; do with_deadline 60 cat "$M/i001/state" "$M/status" >/dev/null || echo no answer >>unanswered; sleep 0.1; done) 3>&- &
    looker=$!
    began=$SECONDS
    found=$(with_deadline 600 find ../many -type f | wc -l)
    say "found in $((SECONDS - began)) s; the daemon: at most $(memory VmHWM) KB, $(descriptors) descriptors"
    is "$files" "$found"
    began=$SECONDS
    with_deadline 900 find ../many -type f -printf '%s\n' | sort -u >sizes
    open=$(descriptors)
    say "stat of all in $((SECONDS - began)) s; the daemon: at most $(memory VmHWM) KB, $open descriptors"
    is 0 "$(cat sizes)"
    rm looking
    wait "$looker"
    refused test -e unanswered
    [ "$(memory VmHWM)" -lt 262144 ]
    [ "$open" -lt "$(awk '/Max open files/ { print $4 }' "/proc/$(daemon)/limits")" ]
    inside rm -rf ../many
}

@test "the daemon's own files are not the node's: the log and the state cannot be reached" {
    refused inside ls /opt/app/log 2>/dev/null
    is 'etc var' "$(echo $(docker exec "$P-i001" ls /opt/app))"
    docker exec "$P-i001" sh -c 'ls /opt/app/etc/.. /opt/app/var/..' | refused grep -q -e log -e lock
    local dir
    dir=$(echo "$XDG_STATE_HOME"/cthulhu/*/data/i001)
    is 700 "$(stat -c %a "$dir")"
    is 'etc log var' "$(echo $(ls "$dir"))"
}

@test "what a node leaves in the way of the next mount is removed or moved aside, never followed" {
    V=$TMP
    cd "$TMP"
    docker exec "$P-i001" sh -c "cd /opt/app/etc && rm config.json && ln -s $OUT/secret config.json
        cd /opt/app/var && rm i001.log && ln $OUT/secret i001.log 2>/dev/null; ln -sf $OUT/secret i001.log
        mkdir -p deep/er && ln -s $OUT/dir deep/dir && ln -s $OUT deep/er/out && mkfifo deep/fifo && mknod deep/null c 1 3
        : >immutable"
    umount_cluster
    local data pinned=
    data=$(echo "$XDG_STATE_HOME"/cthulhu/*/data)
    # With --data it goes on with what is there.
    mount_busybox hostile -n 1 --start --data "$data"
    is 'regular file' "$(stat -c %F "$M/i001/bindmounts/etc/config.json")"
    is 'regular empty file' "$(stat -c %F "$M/i001/bindmounts/var/i001.log")"
    is "$OUT/dir" "$(readlink "$M/i001/bindmounts/var/deep/dir")"
    # Directories in their place.
    docker exec "$P-i001" sh -c 'cd /opt/app/etc && rm config.json && mkdir -p config.json/x && cd ../var && rm i001.log && mkdir i001.log'
    umount_cluster
    mount_busybox hostile -n 1 --start --data "$data"
    is 'regular file' "$(stat -c %F "$M/i001/bindmounts/etc/config.json")"
    umount_cluster
    # Without, it begins fresh, whether all can be deleted or not.
    if chattr +i "$data/i001/var/immutable" 2>/dev/null; then pinned=yes; fi
    mount_busybox hostile -n 1 --start
    is i001.log "$(ls "$M/i001/bindmounts/var")"
    if [ -n "$pinned" ]; then
        test -e "${data%/*}"/data.old-1/i001/var/immutable
        chattr -i "${data%/*}"/data.old-1/i001/var/immutable
    fi
}

@test "more open files than the daemon may have" {
    local m=$TMP/few n
    need_image
    mkdir "$m"
    # Its own 2 * (40 + 4) are kept free of them.
    (
        ulimit -n 400
        with_deadline 120 "$CTHULHU" mount --prefix "$P-few" "$m" -n 1 -i "$IMAGE" --start -- "${NODE[@]}"
    )
    n=$(python3 - "$m" 2>"$TMP/stderr" <<'END'
import errno, os, subprocess, sys
mount = sys.argv[1]
var, opened = f"{mount}/i001/bindmounts/var", []

def many(open_one):
    for nth in range(1000):
        try:
            opened.append(open_one(nth))
        except OSError as error:
            assert error.errno == errno.ENFILE, error
            return nth
    raise AssertionError("no limit")

made = many(lambda nth: os.open(f"{var}/f{nth}", os.O_RDWR | os.O_CREAT))
assert many(lambda nth: os.open(f"{var}/f0", os.O_RDONLY)) < 2
assert many(lambda nth: os.open(var, os.O_RDONLY | os.O_DIRECTORY)) < 2
for verb in "restart", "stop", "start", "crash":
    with open(f"{mount}/control", "w") as control:
        control.write(verb + "\n")
assert "exited" in open(f"{mount}/status").read()
assert subprocess.run(["wc", "-c", f"{mount}/history"], capture_output=True).returncode == 0
for fd in opened:
    os.close(fd)
os.close(os.open(f"{var}/last", os.O_RDWR | os.O_CREAT))
print(made)
END
    ) || { cat "$TMP/stderr"; false; }
    [ "$n" -gt 50 ] && [ "$n" -lt 400 ]
    umount_cluster "$m"
}
