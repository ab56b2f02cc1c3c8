#!/usr/bin/env bats
# The time between the stop signal and SIGKILL: whose it is, and who is told when it runs out.

load lib.bash

setup_file() {
    begin
    need_image
}

teardown_file() {
    end
}

teardown() {
    [ -z "${M:-}" ] || umount_cluster 2>/dev/null || true
}

# DEAF ends for SIGKILL only; SLOW takes two seconds to end in order.
# shellcheck disable=SC2016
DEAF=(sh -c 'trap "" TERM; echo up; while :; do sleep 3600 & wait $!; done')
# shellcheck disable=SC2016
SLOW=(sh -c 'trap "sleep 2; exit 7" TERM; echo up; while :; do sleep 3600 & wait $!; done')

# ends NODE: exit code and grace_expired of each of its ends whose code is known, a line each.
ends() {
    jq -r --arg node "$1" 'select(.state.node == $node and .state.to == "exited" and .state.exit_code != null).state
        | "\(.exit_code) \(.grace_expired)"' "$M/history"
}
up() {
    echo start >"$M/control"
    wait_for 60 contains "$M/i001/log" up
}

@test "a stop that came to SIGKILL says so in the history, and in the timeline" {
    mount_cluster deaf -n 2 -i "$IMAGE" -- "${DEAF[@]}"
    up
    wait_for 60 contains "$M/i002/log" up
    echo stop >"$M/i001/control"
    is 137 "$(cat "$M/i001/exit_code")"
    is '137 true' "$(ends i001)"
    is 'i001: ended by SIGKILL, as the grace ran out (--stop-grace, stop -t)' "$(cat "$M/i001/error")"
    is '' "$(cat "$M/error" "$M/i002/error")"
    echo 'stop -t 0' >"$M/i002/control"
    is '137 true' "$(ends i002)"
    # A SIGKILL that was asked for is none of that.
    up
    echo kill >"$M/i002/control"
    is $'137 true\n137 null' "$(ends i002)"
    is '' "$(cat "$M/error")"
    # For several nodes the root's file says it, though they run again.
    up
    wait_for 60 contains "$M/i002/log" up
    echo 'restart -t 0 i002 i001' >"$M/control"
    has "$(cat "$M/error")" 'i001, i002: ended by SIGKILL, as the grace ran out'
    "$CTHULHU" timeline "$M" -o "$TMP/deaf.svg"
    has "$(cat "$TMP/deaf.svg")" 'its grace ran out'
    umount_cluster
}

@test "--stop-grace is what stop and restart without -t wait for" {
    mount_cluster slow -i "$IMAGE" --stop-grace 10m -- "${SLOW[@]}"
    up
    echo restart >"$M/i001/control"
    is '7 null' "$(ends i001)"
    wait_for 60 contains "$M/i001/log" up
    umount_cluster
    mount_cluster longer -i "$IMAGE" --stop-grace 2500ms -- "${DEAF[@]}"
    up
    is OK "$(put_line "$M/i001/control" stop)"
    is '137 true' "$(ends i001)"
    umount_cluster
    mkdir "$TMP/wrong"
    local wrong
    for wrong in 0 never -1s 25h; do
        refused "$CTHULHU" mount --prefix "$P" --host simulated: --stop-grace="$wrong" "$TMP/wrong" 2>"$TMP/out"
        has "$(cat "$TMP/out")" --stop-grace
    done
    nothing_left "$TMP/wrong"
}

@test "an image whose stop signal is SIGKILL has no grace that could run out" {
    printf 'FROM %s\nSTOPSIGNAL SIGKILL\n' "$IMAGE" | docker build -q -t "$P-killed" - >/dev/null
    mount_cluster killed -i "$P-killed" -- "${DEAF[@]}"
    up
    echo 'stop -t 0' >"$M/i001/control"
    is '137 null' "$(ends i001)"
    umount_cluster
    docker rmi "$P-killed" >/dev/null
}
