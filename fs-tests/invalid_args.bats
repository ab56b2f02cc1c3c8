#!/usr/bin/env bats
# Bad input: one clear sentence on stderr, an exit status, and nothing changed.

load lib.bash

setup_file() {
    begin
    need_image
}

teardown_file() { end; }

setup() {
    E=$TMP/empty$BATS_TEST_NUMBER
    mkdir "$E"
}

teardown() {
    # Engines that are none, and holders of ports.
    [ -z "${background:-}" ] || kill "$background" || true
}

# bad PART OPTION...: mount must fail with one line on stderr that has PART in it, and nothing on stdout.
bad() {
    local part=$1 status=0
    shift
    with_deadline 60 "$CTHULHU" mount --prefix "$P" "$@" >"$TMP/stdout" 2>"$TMP/stderr" || status=$?
    case $status in
    0 | 124 | 137)
        echo "mount $* ended with $status" >&2
        return 1
        ;;
    esac
    is '' "$(cat "$TMP/stdout")" stdout
    one_sentence "$part"
    refused grep -qi -e panicked -e RUST_BACKTRACE "$TMP/stderr"
    unchanged
}

# one_sentence PART: stderr has one line for the failure, the last, with PART in it, and before it at most progress.
one_sentence() {
    local failures
    failures=$(grep -vE '^(creating|starting|pulling|making) ' "$TMP/stderr")
    is 1 "$(wc -l <<<"$failures")" "lines on stderr: $failures"
    is "$failures" "$(tail -1 "$TMP/stderr")"
    has "$failures" "$1"
}

unchanged() {
    is '' "$(mounts "$TMP")" mounts
    is '' "$(daemons "$TMP")" daemons
    is '' "$(find "$XDG_STATE_HOME" -name cluster.json)" records
    is '' "$(containers "$TMP")" containers
    is '' "$(networks "$TMP")" networks
    if [ -d "$E" ]; then is '' "$(ls -A "$E")" 'content of the mountpoint'; fi
}

@test "-n 0" { bad 'at least one' -n 0 "$E"; }

@test "-n 100000" { bad 1023 -n 100000 "$E"; }

@test "-n with no number" {
    bad_usage -n x "$E"
    bad_usage -n -1 "$E"
    bad_usage -n 1.5 "$E"
    bad_usage -n 99999999999999999999999 "$E"
}

# Wrong use: exit status 2, and stderr names the option or its value; what else clap writes is its own.
bad_usage() {
    local status=0
    "$CTHULHU" mount --prefix "$P" "$@" >"$TMP/stdout" 2>"$TMP/stderr" || status=$?
    is 2 "$status" "exit status of mount $*"
    is '' "$(cat "$TMP/stdout")"
    head -n 1 "$TMP/stderr" | grep -qF -e "'$1" -e "'$2'"
    unchanged
}

@test "no such option, --port and --publish out of range, --network with --subnet" {
    bad_usage --frobnicate "$E"
    bad_usage --port 65536 "$E"
    bad_usage --port x "$E"
    bad_usage --publish 99999 "$E"
    bad_usage --network a --subnet 10.9.8.0/24 "$E"
    bad_usage --timeout 0 "$E"
    bad_usage --timeout -3 "$E"
    bad_usage --timeout x "$E"
    bad port --port 0 "$E"
    bad publish --publish 65535 -n 3 "$E"
}

@test "a mountpoint whose parent is missing; one that is missing itself is not made before the rest is good" {
    bad "$TMP/no" "$TMP/no/such"
    bad NOEQUALS -e NOEQUALS "$TMP/none"
    bad /nonexistent/docker.sock --host unix:///nonexistent/docker.sock "$TMP/none"
    [ ! -e "$TMP/none" ]
}

@test "a mountpoint that is not empty" {
    : >"$TMP/f"
    mkdir "$TMP/full"
    : >"$TMP/full/thing"
    bad 'not empty' "$TMP/full"
    is thing "$(ls "$TMP/full")"
}

@test "a mountpoint that is a file, a dangling link, a device" {
    echo content >"$TMP/file"
    bad 'not a directory' "$TMP/file"
    is content "$(cat "$TMP/file")"
    ln -s nowhere "$TMP/dangling"
    bad dangling "$TMP/dangling"
    bad 'not a directory' /dev/null
}

@test "a mountpoint that is a mount already" {
    needs_root 'to mount a tmpfs'
    mkdir "$TMP/tmpfs"
    mount -t tmpfs none "$TMP/tmpfs"
    with_deadline 60 "$CTHULHU" mount --prefix "$P" "$TMP/tmpfs" 2>"$TMP/stderr" || status=$?
    is tmpfs "$(stat -f -c %T "$TMP/tmpfs")"
    umount "$TMP/tmpfs"
    is 1 "${status:-0}" 'exit status'
    is 1 "$(wc -l <"$TMP/stderr")"
    has "$(cat "$TMP/stderr")" "$TMP/tmpfs"
    unchanged
}

@test "no engine" {
    bad unix:///nonexistent/docker.sock --host unix:///nonexistent/docker.sock "$E"
    bad 127.0.0.1:9 --host tcp://127.0.0.1:9 "$E"
    DOCKER_HOST=unix:///nonexistent/docker.sock bad /nonexistent/docker.sock "$E"
}

@test "an address of no engine" {
    bad nonsense --host nonsense "$E"
    bad gopher --host gopher://x "$E"
    bad simulated --host 'simulated:?nope=1ms' "$E"
    bad file --host "unix://$TMP/f$(: >"$TMP/file")ile" "$E"
}

@test "something that listens and is no engine" {
    python3 - "$TMP/fake.sock" <<'PY' >/dev/null 2>&1 3>&- &
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
held = []
while True:
    c, _ = s.accept()
    c.sendall(b"220 smtp ready\r\n")
    c.close()
PY
    background=$!
    wait_for 10 test -S "$TMP/fake.sock"
    bad "$TMP/fake.sock" --host "unix://$TMP/fake.sock" "$E"
}

@test "an engine that never answers: --timeout ends it" {
    python3 - "$TMP/mute.sock" <<'PY' >/dev/null 2>&1 3>&- &
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
held = []
while True:
    held.append(s.accept())
PY
    background=$!
    wait_for 10 test -S "$TMP/mute.sock"
    bad "$TMP/mute.sock" --timeout 2 --host "unix://$TMP/mute.sock" "$E"
}

@test "an image that cannot be had: the sentence names it" {
    # Text of progress may stand before it, as lines of its own.
    local status=0
    with_deadline 120 "$CTHULHU" mount --prefix "$P" -i no.registry.invalid/nothing:1 "$E" >"$TMP/stdout" 2>"$TMP/stderr" || status=$?
    is 1 "$status" 'exit status'
    has "$(tail -1 "$TMP/stderr")" no.registry.invalid/nothing:1
    unchanged
    bad 'Not An Image' -i 'Not An Image' "$E"
}

@test "an image that exits at once: mounted, and exit_code shows it" {
    "$CTHULHU" mount --prefix "$P" -i "$IMAGE" "$E" -- sh -c 'echo oh no; exit 3'
    echo start >"$E/control"
    wait_for 10 reads "$E/i001/exit_code" 3
    is exited "$(cat "$E/i001/state")"
    is '' "$(cat "$E/i001/pid.txt")"
    wait_for 10 reads "$E/i001/log" 'oh no'
    umount_cluster "$E"
    unchanged
}

@test "a command that is not in the image: start is refused with EIO, and error names it" {
    "$CTHULHU" mount --prefix "$P" -i "$IMAGE" "$E" -- /no/such/program
    is '5 EIO' "$(put_line "$E/i001/control" start)"
    has "$(cat "$E/i001/error")" /no/such/program
    is 1 "$(wc -l <"$E/i001/error")"
    refused reads "$E/i001/state" running
    is '5 EIO' "$(put_line "$E/control" start)"
    umount_cluster "$E"
    unchanged
}

@test "--start that fails takes the mount down, with the reason" {
    bad /no/such/program --start -i "$IMAGE" "$E" -- /no/such/program
}

@test "a subnet in use, too small, no subnet" {
    local used
    used=$(docker network inspect bridge -f '{{(index .IPAM.Config 0).Subnet}}')
    bad "$used" --subnet "$used" "$E"
    bad 10.77.0.0/30 --subnet 10.77.0.0/30 -n 5 "$E"
    bad nonsense --subnet nonsense "$E"
    bad 10.77.0.0/33 --subnet 10.77.0.0/33 "$E"
    bad fd00 --subnet fd00::/64 "$E"
}

@test "a network that is not there, and one that cannot pin addresses" {
    bad no-such-network --network no-such-network "$E"
    bad address --network bridge "$E"
    bad host --network host "$E"
    bad none --network none "$E"
}

@test "a host port in use" {
    python3 -c '
import socket, sys, time
s = socket.socket(); s.bind(("0.0.0.0", 0)); s.listen()
print(s.getsockname()[1], flush=True)
time.sleep(600)' >"$TMP/port" 3>&- &
    background=$!
    wait_for 10 test -s "$TMP/port"
    bad "$(cat "$TMP/port")" --publish "$(cat "$TMP/port")" "$E"
}

@test "bad --env, --env-file, --volume, --memory, --cpus, --prefix, targets" {
    bad NOEQUALS -e NOEQUALS "$E"
    bad =x -e =x "$E"
    bad "$TMP/none.env" --env-file "$TMP/none.env" "$E"
    printf 'A=1\nnonsense\n' >"$TMP/bad.env"
    bad 'line 2' --env-file "$TMP/bad.env" "$E"
    bad /only --volume /only "$E"
    bad relative --volume /tmp:relative "$E"
    bad /no/such/dir --volume /no/such/dir:/data "$E"
    bad lots --memory lots "$E"
    bad memory --memory 0 "$E"
    bad cpus --cpus 0 "$E"
    bad etc --etc-target etc "$E"
    # Out of the engine's own mouth.
    bad 4b --memory 4b -i "$IMAGE" "$E" || bad emory --memory 4b -i "$IMAGE" "$E"
    bad NOT_A_CAP --cap-add NOT_A_CAP -i "$IMAGE" --start "$E"
    local status=0
    "$CTHULHU" mount --prefix 'a b' "$E" 2>"$TMP/stderr" || status=$?
    is 1 "$status"
    is 1 "$(wc -l <"$TMP/stderr")"
    unchanged
}

# Runs a command in a mount namespace of its own, whose /dev has only what is needed, and /dev/fuse with a mode, or none.
# with_dev MODE|none COMMAND...
with_dev() {
    mkdir -p "$TMP/dev"
    cat >"$TMP/dev.sh" <<'SH'
set -e
dev=$1 mode=$2
shift 2
mount -t tmpfs -o mode=755 none "$dev"
mknod -m 666 "$dev/null" c 1 3
mknod -m 666 "$dev/zero" c 1 5
mknod -m 666 "$dev/random" c 1 8
mknod -m 666 "$dev/urandom" c 1 9
ln -s /proc/self/fd "$dev/fd"
[ "$mode" = none ] || mknod -m "$mode" "$dev/fuse" c 10 229
mount --bind "$dev" /dev
exec "$@"
SH
    with_deadline 60 unshare -m --propagation private sh "$TMP/dev.sh" "$TMP/dev" "$@"
}

@test "no /dev/fuse" {
    needs_root 'for another /dev in a mount namespace'
    local status=0
    with_dev none "$CTHULHU" mount --prefix "$P" -i "$IMAGE" "$E" 2>"$TMP/stderr" || status=$?
    is 1 "$status" 'exit status'
    one_sentence /dev/fuse
    unchanged
}

@test "no permission for /dev/fuse" {
    needs_root 'for another /dev in a mount namespace'
    local status=0
    chmod 755 "$TMP"
    chmod 777 "$E"
    mkdir -m 777 "$TMP/nobody"
    XDG_STATE_HOME=$TMP/nobody with_dev 600 setpriv --reuid 65534 --regid 65534 --clear-groups \
        "$CTHULHU" mount --host simulated: "$E" 2>"$TMP/stderr" || status=$?
    is 1 "$status" 'exit status'
    one_sentence /dev/fuse
    unchanged
}

@test "an image without a name, data in the root directory" {
    bad 'image is empty' -i '' "$E"
    bad 'directory of its own' --data / "$E"
    [ ! -e /lock ] && [ ! -e /i001 ]
}

@test "umount of what is no cluster" {
    run "$CTHULHU" umount "$E"
    is 1 "$status"
    is 1 "${#lines[@]}"
    has "$output" "$E"
    run "$CTHULHU" umount "$TMP/nothing/there"
    is 1 "$status"
    is 1 "${#lines[@]}"
    [ "$(id -u)" = 0 ] || return 0
    mkdir "$TMP/other"
    mount -t tmpfs none "$TMP/other"
    run "$CTHULHU" umount "$TMP/other"
    is tmpfs "$(stat -f -c %T "$TMP/other")"
    umount "$TMP/other"
    is 1 "$status"
}

@test "the sentences are the user's, without an (os error N) of the programmer's" {
    bad no -i "$IMAGE" "$TMP/no/such"
    refused grep 'os error' "$TMP/stderr"
    ln -s nowhere "$TMP/dangling2"
    bad dangling "$TMP/dangling2"
    refused grep 'os error' "$TMP/stderr"
    bad none.env --env-file "$TMP/none.env" "$E"
    refused grep 'os error' "$TMP/stderr"
    bad /no/such/dir --volume /no/such/dir:/data "$E"
    refused grep 'os error' "$TMP/stderr"
}

@test "no HOME and no XDG_STATE_HOME" {
    local status=0
    env -u HOME -u XDG_STATE_HOME "$CTHULHU" mount "$E" 2>"$TMP/stderr" || status=$?
    is 1 "$status"
    is 1 "$(wc -l <"$TMP/stderr")"
    has "$(cat "$TMP/stderr")" HOME
    unchanged
}
