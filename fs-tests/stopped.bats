#!/usr/bin/env bats
# A daemon that is stopped (SIGSTOP), or hangs: no command of ours goes into its mount without a way out. Each says what to do, and ends.

load lib.bash

setup_file() {
    begin
    mount_cluster stopped -n 2 --host simulated: --start
    DAEMON=$(daemons "$TMP")
    export DAEMON
}

teardown_file() {
    kill -CONT "$DAEMON" 2>/dev/null || true
    end
}

setup() {
    kill -STOP "$DAEMON"
    wait_for 20 is_stopped
}

teardown() {
    kill -CONT "$DAEMON" 2>/dev/null || true
}

is_stopped() { [ "$(awk '{ print $3 }' "/proc/$DAEMON/stat")" = T ]; }

# ends STATUS COMMAND...: it ends by itself, so; what it said is in $TMP/said.
ends() {
    local wanted=$1 status=0
    shift
    with_deadline 120 "$@" >"$TMP/said" 2>&1 </dev/null || status=$?
    is "$wanted" "$status" "$* ($(cat "$TMP/said"))"
}

# It said that the mount does not answer, whose process that is and what to do with it; then it works again.
said_what_to_do() {
    has "$(cat "$TMP/said")" "$M has not answered for 5 s: its daemon, process $DAEMON, is stopped. kill -CONT $DAEMON lets it go on"
    kill -CONT "$DAEMON"
    is running "$(with_deadline 60 cat "$M/i001/state")"
}

@test "history" {
    ends 1 "$CTHULHU" history "$M"
    said_what_to_do
    ends 0 "$CTHULHU" history "$M"
}

@test "history of a file in the mount, and from within it" {
    kill -CONT "$DAEMON"
    cd "$M/i001/bindmounts"
    kill -STOP "$DAEMON"
    ends 1 "$CTHULHU" history ../../history
    cd "$TMP"
    said_what_to_do
}

@test "timeline, reading and writing" {
    ends 1 "$CTHULHU" timeline "$M" -o "$TMP/drawn.svg"
    is '' "$(ls "$TMP/drawn.svg" 2>/dev/null)"
    said_what_to_do
    ends 0 "$CTHULHU" timeline "$M" -o "$M/i001/bindmounts/var/drawn.svg"
}

@test "top" {
    ends 1 "$CTHULHU" top --once "$M"
    said_what_to_do
    ends 0 "$CTHULHU" top --once "$M"
}

@test "wait: before it begins" {
    ends 1 "$CTHULHU" wait "$M/i001"
    said_what_to_do
    ends 0 "$CTHULHU" wait "$M/i001"
}

@test "wait: under way, with the node's files open" {
    kill -CONT "$DAEMON"
    # No function, which would put a shell between.
    timeout -k 5 200 "$CTHULHU" wait "$M" --for exited --timeout 1h 2>"$TMP/said" 3>&- &
    local waiting=$! status=0 pid
    pid=$(wait_for 60 child_with_open_state "$waiting")
    kill -STOP "$DAEMON"
    wait "$waiting" || status=$?
    is 1 "$status"
    has "$(cat "$TMP/said")" "process $DAEMON, is stopped"
    refused kill -0 "$pid" 2>/dev/null
}

# The child of a process that has the file state of a node open.
child_with_open_state() {
    local pid
    for pid in $(pgrep -P "$1"); do
        if readlink "/proc/$pid/fd"/* 2>/dev/null | grep -q "^$M/.*/state"; then
            echo "$pid"
            return
        fi
    done
    false
}

@test "ls, and doctor with another state home" {
    ends 0 "$CTHULHU" ls
    has "$(cat "$TMP/said")" "$M"
    # A trial's cluster has another mount.
    XDG_STATE_HOME=$TMP/other ends 0 "$CTHULHU" doctor --host simulated:
    has "$(cat "$TMP/said")" 'was mounted, started and unmounted'
}

@test "prune with another state home: what may live is left alone, and that is told" {
    XDG_STATE_HOME=$TMP/other ends 1 "$CTHULHU" prune --yes --host simulated: "$M"
    has "$(cat "$TMP/said")" "$M has not answered for 5 s: its daemon is stopped, or hangs"
    kill -CONT "$DAEMON"
    is running "$(with_deadline 60 cat "$M/i001/state")"
}

@test "mount there, and in it" {
    ends 1 "$CTHULHU" mount --host simulated: "$M"
    has "$(cat "$TMP/said")" "is a mounted cluster already (daemon $DAEMON)"
    ends 1 "$CTHULHU" mount --host simulated: "$M/i001/bindmounts/var/inner"
    said_what_to_do
}

@test "umount with another state home" {
    XDG_STATE_HOME=$TMP/other ends 1 "$CTHULHU" umount "$M"
    has "$(cat "$TMP/said")" "fusermount3 -u $M"
}

# The last one: it ends the cluster.
@test "umount: a sentence, and it ends when it goes on" {
    ends 1 "$CTHULHU" umount "$M"
    has "$(cat "$TMP/said")" "it was asked to end, and does so when it continues"
    has "$(cat "$TMP/said")" "kill -9 $DAEMON, and then cthulhu umount $M, removes the cluster"
    kill -CONT "$DAEMON"
    wait_for 60 gone "$DAEMON"
    nothing_left
    mount_cluster stopped -n 2 --host simulated:
    DAEMON=$(daemons "$TMP")
    kill -STOP "$DAEMON"
    ends 1 "$CTHULHU" umount "$M"
    kill -9 "$DAEMON"
    wait_for 60 gone "$DAEMON"
    ends 0 "$CTHULHU" umount "$M"
    nothing_left
}
