#!/usr/bin/env bats
# Every way out leaves the host as it was; a dead daemon's leftovers go; nothing is mounted twice.

load lib.bash

setup_file() {
    begin
    need_image
}

teardown_file() { end; }

# A cluster of one test; it must leave nothing behind.
cluster() {
    mount_busybox "m$BATS_TEST_NUMBER" -n 2 --start "$@"
}

teardown() {
    local d
    # So that one failure does not make the next tests fail.
    for d in $(daemons "$TMP"); do kill "$d" || true; done
    wait_for 20 no_daemons "$TMP" || true
    if [ -n "${M:-}" ] && [ -n "$(mounts "$TMP")$(containers "$TMP")" ]; then
        "$CTHULHU" umount "$M" || true
    fi
}

nothing_left_now() { nothing_left 2>/dev/null; }

# The mountpoint is an empty directory again, and there is nothing else.
as_before() {
    wait_for 30 nothing_left_now || nothing_left
    is '' "$(ls -A "$M")" 'content of the mountpoint'
    is '' "$(find "$XDG_STATE_HOME" -name cluster.json)" records
    is '[]' "$(listed_below)" 'cthulhu ls'
}

only_daemon() {
    is 1 "$(daemons "$TMP" | wc -l)" 'number of daemons'
    daemons "$TMP"
}

@test "cthulhu umount returns when everything is gone" {
    local network
    cluster
    network=cthulhu-$(listed_below | jq -r '.[0].id')
    is 1 "$(docker network ls -q --filter "name=^$network$" | wc -l)"
    umount_cluster
    nothing_left
    as_before
    is '' "$(docker network ls -q --filter "name=^$network$")"
}

@test "umount by the name of a link, and by a relative path" {
    cluster
    cd "$TMP"
    ln -s "m$BATS_TEST_NUMBER" "link$BATS_TEST_NUMBER"
    umount_cluster "./link$BATS_TEST_NUMBER"
    as_before
}

@test "fusermount3 -u" {
    cluster
    fusermount3 -u "$M"
    as_before
}

@test "umount" {
    cluster
    umount "$M"
    as_before
}

@test "umount -l" {
    cluster
    umount -l "$M"
    as_before
}

@test "cthulhu umount while a teardown is under way waits for it, and so does another" {
    cluster
    fusermount3 -u "$M"
    "$CTHULHU" umount "$M" >"$TMP/one" 2>&1 &
    local one=$!
    # Either there is still something to wait for, or it is gone already.
    "$CTHULHU" umount "$M" >"$TMP/two" 2>&1 || has "$(cat "$TMP/two")" 'no cluster is mounted'
    wait "$one" || has "$(cat "$TMP/one")" 'no cluster is mounted'
    nothing_left
    as_before
}

@test "cthulhu umount with another XDG_STATE_HOME leaves a living cluster alone, and says so" {
    cluster
    mkdir "$TMP/other-state"
    run env XDG_STATE_HOME="$TMP/other-state" "$CTHULHU" umount "$M"
    is 1 "$status"
    is 1 "${#lines[@]}"
    has "$output" XDG_STATE_HOME
    is running "$(cat "$M/i001/state")"
    umount_cluster
    as_before
}

@test "SIGTERM to the daemon" {
    cluster
    kill "$(only_daemon)"
    as_before
}

@test "SIGINT to the daemon" {
    cluster
    kill -INT "$(only_daemon)"
    as_before
}

@test "--foreground stays, logs to stderr, and ^C ends it" {
    M=$TMP/m$BATS_TEST_NUMBER
    mkdir "$M"
    # setsid makes it the leader of its own session: a shell's background job ignores SIGINT.
    python3 - "$CTHULHU" "$P" "$M" "$IMAGE" <<'PY' >"$TMP/foreground.out" 2>&1 &
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], [sys.argv[1], "mount", "--foreground", "--prefix", sys.argv[2], "-n", "2", "-i", sys.argv[4], sys.argv[3]])
PY
    local pid=$!
    # Its files can be seen a moment before it says so, and until then ^C interrupts the mounting.
    wait_for 60 grep -q "2 nodes mounted at $M" "$TMP/foreground.out"
    kill -0 "$pid"
    kill -INT "$pid"
    wait_for 30 gone "$pid"
    as_before
}

@test "^C in a terminal, while mount in the background works, leaves nothing" {
    M=$TMP/m$BATS_TEST_NUMBER
    mkdir "$M"
    "$CTHULHU" mount --prefix "$P" -n 20 -i "$IMAGE" "$M" >"$TMP/out" 2>&1 &
    local pid=$!
    some() { [ -n "$(containers "$TMP")" ]; }
    wait_for 30 some
    kill -TERM "$pid"
    wait_for 60 gone "$pid"
    refused wait "$pid"
    as_before
}

@test "SIGKILL to mount, before it has said ready, leaves nothing" {
    M=$TMP/m$BATS_TEST_NUMBER
    mkdir "$M"
    "$CTHULHU" mount --prefix "$P" -n 20 -i "$IMAGE" "$M" >"$TMP/out" 2>&1 &
    local pid=$!
    some() { [ -n "$(containers "$TMP")" ]; }
    wait_for 30 some
    kill -9 "$pid"
    wait_for 60 no_daemons "$TMP"
    as_before
}

@test "with a shell standing inside the mount" {
    cluster
    (cd "$M/i001/bindmounts/var" && exec sleep 600 3>&-) &
    local shell=$!
    inside() { [ "$(readlink /proc/$shell/cwd)" != "$PWD" ]; }
    wait_for 10 inside
    umount_cluster
    nothing_left
    kill "$shell"
    as_before
}

@test "with an open file, which then answers and does not hang" {
    cluster
    exec 5<"$M/i001/state" 6>"$M/i001/control"
    umount_cluster
    with_deadline 60 cat <&5 >/dev/null 2>&1 || true
    refused with_deadline 60 sh -c 'echo start >&6' 2>/dev/null
    exec 5<&- 6>&-
    as_before
}

@test "while a command runs" {
    mount_cluster "m$BATS_TEST_NUMBER" -n 2 -i "$IMAGE" --start -- sleep 3600
    (echo 'stop -t 600' >"$M/i001/control") 2>"$TMP/writer" &
    local writer=$! begin=$SECONDS
    stopping() { grep -qs . "$TMP/never" || [ "$(cat "$M/i001/state")" = running ]; }
    wait_for 10 stopping
    umount_cluster
    [ $((SECONDS - begin)) -lt 120 ]
    wait_for 10 gone "$writer"
    as_before
}

@test "kill -9 of the daemon: ls says left over, and the next mount there works" {
    cluster
    local before
    before=$(cat "$M/i001/id")
    kill -9 "$(only_daemon)"
    wait_for 10 no_daemons "$TMP"
    has "$("$CTHULHU" ls)" 'left over'
    is "$M" "$(listed_below | jq -r '.[0].mountpoint')"
    cluster
    is running "$(cat "$M/i001/state")"
    refused test "$before" = "$(cat "$M/i001/id")"
    is 4 "$(containers "$TMP" | wc -l)" containers
    is 1 "$(networks "$TMP" | wc -l)" networks
    is 1 "$(mounts "$TMP" | wc -l)" mounts
    umount_cluster
    as_before
}

@test "kill -9 of the daemon: what the engine makes for it after the next mount has looked goes with that mount" {
    local network labels=()
    cluster
    network=$(networks "$TMP" | head -n 1)
    mapfile -t labels < <(docker network inspect "$network" | jq -r '.[0].Labels | to_entries[] | "--label=\(.key)=\(.value)"')
    [ ${#labels[@]} -gt 2 ]
    kill -9 "$(only_daemon)"
    wait_for 10 no_daemons "$TMP"
    with_deadline 120 "$CTHULHU" mount --prefix "$P" "$M" -n 2 -i "$IMAGE" -- "${NODE[@]}"
    # As a busy engine does that carries out late what the dead one had asked for.
    docker network create "${labels[@]}" "$P-late"
    is 2 "$(networks "$TMP" | wc -l)" networks
    umount_cluster
    as_before
}

@test "kill -9 of the daemon: cthulhu umount clears it away" {
    cluster
    kill -9 "$(only_daemon)"
    wait_for 10 no_daemons "$TMP"
    umount_cluster
    as_before
}

@test "a second mount at the same place is refused, and the first lives on" {
    cluster
    run "$CTHULHU" mount --prefix "$P-b" -i "$IMAGE" "$M"
    refused is 0 "$status" 2>/dev/null
    is 1 "${#lines[@]}" 'lines of the answer'
    has "$output" umount
    is running "$(cat "$M/i001/state")"
    is 4 "$(containers "$TMP" | wc -l)"
    umount_cluster
    as_before
}

@test "a second cluster with the same names is refused with the advice --prefix, and works with it" {
    cluster
    mkdir -p "$TMP/second"
    local ids
    ids=$(containers "$TMP" | sort)
    run "$CTHULHU" mount --prefix "$P" -i "$IMAGE" "$TMP/second"
    refused is 0 "$status" 2>/dev/null
    has "$output" --prefix
    has "$output" "$P-i001"
    is "$ids" "$(containers "$TMP" | sort)" 'containers after the refusal'
    is 1 "$(networks "$TMP" | wc -l)" 'networks after the refusal'
    is '' "$(ls -A "$TMP/second")"
    "$CTHULHU" mount --prefix "$P-b" -n 2 -i "$IMAGE" --start "$TMP/second" -- "${NODE[@]}"
    is running "$(cat "$TMP/second/i001/state")"
    is "$(docker inspect -f '{{.State.Pid}}' "$P-b-i001")" "$(cat "$TMP/second/i001/pid.txt")"
    wait_for 20 pings "$P-b-i001" i002
    is 2 "$(listed_below | jq length)"
    echo stop >"$TMP/second/control"
    is running "$(cat "$M/i001/state")"
    umount_cluster "$TMP/second"
    is running "$(cat "$M/i001/state")"
    umount_cluster
    as_before
}

@test "a container of another's with a node's name is refused before anything is made" {
    M=$TMP/m$BATS_TEST_NUMBER
    mkdir "$M"
    docker create --name "$P-x-i002" "$IMAGE" >/dev/null
    run "$CTHULHU" mount --prefix "$P-x" -n 3 -i "$IMAGE" "$M"
    docker inspect "$P-x-i002" >/dev/null
    docker rm "$P-x-i002" >/dev/null
    refused is 0 "$status" 2>/dev/null
    has "$output" --prefix
    has "$output" "$P-x-i002"
    as_before
}

@test "mount inside \$(…) and in a pipe returns: the daemon keeps nobody's descriptors" {
    M=$TMP/m$BATS_TEST_NUMBER
    mkdir "$M"
    local out
    out=$(with_deadline 60 "$CTHULHU" mount --prefix "$P" -i "$IMAGE" "$M" 2>&1)
    has "$out" "$M"
    umount_cluster
    with_deadline 60 sh -c '"$0" mount --prefix "$1" -i "$2" "$3" 7>&1 2>&1 | cat' "$CTHULHU" "$P" "$IMAGE" "$M"
    local fd pid
    pid=$(only_daemon)
    for fd in /proc/"$pid"/fd/*; do
        case $(readlink "$fd") in
        /dev/pts/* | /dev/tty* | "$TMP/"[!s]*) echo "$fd: $(readlink "$fd")" && false ;;
        esac
    done
    is / "$(readlink "/proc/$pid/cwd")"
    umount_cluster
    as_before
}

@test "the daemon survives its terminal and its session" {
    M=$TMP/m$BATS_TEST_NUMBER
    mkdir "$M"
    script -qec "'$CTHULHU' mount --prefix $P -i $IMAGE '$M'" /dev/null >/dev/null
    is created "$(cat "$M/i001/state")"
    is "$(only_daemon)" "$(ps -o sid= -p "$(only_daemon)" | tr -d ' ')" 'its session'
    umount_cluster
    as_before
}

@test "what the nodes wrote is kept where umount says, and the next mount there begins fresh" {
    cluster
    echo precious >"$M/i001/bindmounts/var/i001.log"
    wait_for 10 contains "$M/i001/log" started
    local out kept
    out=$(umount_cluster)
    kept=$(sed -n 's/.* is in //p' <<<"$out")
    [ -d "$kept" ]
    grep -rqx precious "$kept"
    grep -rqx started "$kept"
    cluster
    is 0 "$(stat -c %s "$M/i001/bindmounts/var/i001.log")"
    umount_cluster
    as_before
}

@test "files that a node wrote as root, in directories of its own, do not hinder what comes after" {
    cluster
    docker exec "$P-i001" sh -c 'mkdir -p /opt/app/var/deep/er && echo x >/opt/app/var/deep/er/f && chmod 0 /opt/app/var/deep'
    umount_cluster
    cluster
    is i001.log "$(ls "$M/i001/bindmounts/var")"
    umount_cluster
    as_before
}

@test "a directory above is renamed: the cluster lives, and is unmounted at its new path" {
    mkdir "$TMP/above"
    mount_busybox above/m -n 2 --start
    echo 'i001 | i002' >"$M/partition"
    mv "$TMP/above" "$TMP/renamed"
    M=$TMP/renamed/m
    is running "$(cat "$M/i001/state")"
    is "$(field i001 '{{.State.Pid}}')" "$(cat "$M/i001/pid.txt")"
    echo restart >"$M/control"
    is 'i001 | i002' "$(cat "$M/partition")"
    is "$M" "$(listed_below | jq -r '.[0].mountpoint')" 'cthulhu ls'
    only_daemon
    umount_cluster
    nothing_left
    as_before
}

@test "something is mounted over it: the cluster lives, and what is not ours is left alone" {
    needs_root 'to mount over a directory'
    cluster
    mount -t tmpfs covers "$M"
    echo mine >"$M/file"
    docker kill "$P-i001" "$P-i002" >/dev/null
    is mine "$(cat "$M/file")"
    only_daemon
    umount "$M"
    wait_for 60 all_in exited
    echo start >"$M/control"
    all_in running
    # What covers it when it ends stays, and the dead mount below goes when that is gone.
    mount -t tmpfs covers "$M"
    echo mine >"$M/file"
    refused umount_cluster 2>"$TMP/out"
    has "$(cat "$TMP/out")" "something else is mounted over $M"
    is mine "$(cat "$M/file")"
    is '' "$(containers "$M")"
    # As often as it is asked.
    refused umount_cluster 2>"$TMP/out"
    has "$(cat "$TMP/out")" "something else is mounted over $M"
    umount "$M"
    umount_cluster
    as_before
}
