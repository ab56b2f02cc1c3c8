#!/usr/bin/env bats
# No room for data, or for state: one clear sentence, or ENOSPC for who writes; and all is well when there is room again.

load lib.bash

setup_file() {
    begin
    need_image
}

teardown_file() {
    local pid
    for pid in $(daemons "$TMP"); do kill "$pid" || true; done
    wait_for 60 no_daemons "$TMP" || true
    end
}

setup() {
    needs_root 'to mount a tmpfs'
    M=$TMP/m$BATS_TEST_NUMBER
    D=$TMP/d$BATS_TEST_NUMBER
    mkdir "$M" "$D"
}

# small SIZE: a file system of that size at $D.
small() { mount -t tmpfs -o "size=$1" none "$D"; }

# Takes all the room there is at $D; gives it back.
fill() {
    dd if=/dev/zero of="$D/filler" bs=64k 2>/dev/null || true
    dd if=/dev/zero of="$D/filler" bs=1 oflag=append conv=notrunc 2>/dev/null || true
    is 0 "$(df --output=avail "$D" | tail -n 1 | tr -d ' ')" 'room left'
}
make_room() { rm "$D/filler"; }

# fails_for_want_of_room OPTION...: mount fails, with one sentence that names the cause, and leaves nothing.
fails_for_want_of_room() {
    local status=0
    with_deadline 60 "$CTHULHU" mount --prefix "$P" -i "$IMAGE" "$@" "$M" 2>"$TMP/out" >&2 || status=$?
    cat "$TMP/out"
    is 1 "$status" 'exit status'
    is 1 "$(grep -c ^cthulhu: "$TMP/out")" sentences
    has "$(cat "$TMP/out")" 'No space left on device'
    has "$(cat "$TMP/out")" "$D"
    refused grep -q 'os error' "$TMP/out"
    wait_for 30 no_daemons "$TMP"
    nothing_left "$M"
}

@test "--data without room: mount fails with one sentence" {
    small 64k
    fill
    fails_for_want_of_room --data "$D/data" -n 3
    make_room
    with_deadline 60 "$CTHULHU" mount --prefix "$P" -i "$IMAGE" --data "$D/data" "$M"
    umount_cluster
    nothing_left "$M"
}

@test "the state directory without room: mount fails with one sentence" {
    small 64k
    fill
    XDG_STATE_HOME=$D fails_for_want_of_room
    # Room for the directory, and for no more.
    make_room
    XDG_STATE_HOME=$D with_deadline 60 "$CTHULHU" mount --prefix "$P" --host simulated: "$M"
    XDG_STATE_HOME=$D umount_cluster
    rm -f "$D"/cthulhu/*/daemon.log
    fill
    XDG_STATE_HOME=$D fails_for_want_of_room
}

# Lines with their numbers, without end.
COUNTER=(sh -c 'trap "exit 143" TERM; n=0; while :; do n=$((n + 1)); echo "line $n of a node that talks on and on"; sleep 0.02 & wait $!; done')

size() { stat -c %s "$M/i001/log"; }
longer_than() { [ "$(size)" -gt "$1" ]; }
engine_has() { [ "$(docker logs "$P-i001" 2>/dev/null | wc -l)" -gt "$1" ]; }
log_is_whole() { docker logs "$P-i001" 2>/dev/null | cmp -s - "$M/i001/log"; }

@test "full while mounted: ENOSPC in bindmounts, the daemon lives, logs are whole when there is room again" {
    local before
    small 512k
    with_deadline 60 "$CTHULHU" mount --prefix "$P" -n 2 -i "$IMAGE" --data "$D/data" --start "$M" -- "${COUNTER[@]}"
    wait_for 20 longer_than 200
    fill
    is '28 ENOSPC' "$(head -c 100000 /dev/zero | put "$M/i002/bindmounts/var/i002.log")"
    before=$(docker logs "$P-i001" | wc -l)
    wait_for 30 engine_has $((before + 150))
    # Nothing else is the worse for it.
    with_deadline 60 ls -lR "$M" >/dev/null
    is running "$(cat "$M/i001/state")"
    with_deadline 60 sh -c 'echo stop >"$0/i002/control" && echo start >"$0/i002/control"' "$M"
    is running "$(cat "$M/i002/state")"
    echo stop >"$M/i001/control"
    is exited "$(cat "$M/i001/state")"
    refused log_is_whole
    make_room
    wait_for 30 log_is_whole
    echo start >"$M/i001/control"
    before=$(size)
    wait_for 30 longer_than "$before"
    echo stop >"$M/i001/control"
    wait_for 30 log_is_whole
    umount_cluster
    nothing_left "$M"
}

@test "artifacts without room for all of them: report, history and log are there, and no file in part" {
    local status=0 kept=$D/art/$P
    small 2m
    # shellcheck disable=SC2016
    with_deadline 120 "$CTHULHU" run --host simulated: --prefix "$P" --artifacts "$D/art" -- \
        sh -c 'head -c 4M /dev/urandom >"$CTHULHU/i001/bindmounts/var/big"; exit 3' 2>"$TMP/out" || status=$?
    cat "$TMP/out"
    is 3 "$status" 'exit status'
    has "$(cat "$TMP/out")" "artifacts: $kept"
    has "$(cat "$TMP/out")" 'cannot keep all artifacts: No space left on device'
    (cd "$kept" && ls history report.html timeline.html daemon.log i001/log i001/state)
    has "$(cat "$kept/report.html")" '</html>'
    refused test -e "$kept/i001/bindmounts/var/big"
}
