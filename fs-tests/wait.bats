#!/usr/bin/env bats
# cthulhu wait: returns when the nodes are there, at once when one dies instead, and at its deadline else.

load lib.bash

# Gets healthy when the file healthy is there, and dies when the file die is.
# shellcheck disable=SC2016
MORTAL=(sh -c 'trap "exit 143" TERM; echo up; while [ ! -e /opt/app/var/die ]; do sleep 0.1; done
    for n in 1 2 3 4 5 6 7 8 9 10 11; do echo "line $n"; done; printf "cannot \033[31mgo on\n"; exit 3')

setup_file() {
    begin
    need_image
    docker create --name "$P-base" "$IMAGE" >/dev/null
    docker commit --change 'HEALTHCHECK --interval=200ms --retries=1000 CMD test -e /opt/app/var/healthy' \
        "$P-base" "$P-checked" >/dev/null
    docker rm "$P-base" >/dev/null
    mount_cluster checked -n 3 -i "$P-checked" -- "${MORTAL[@]}"
    # Its first check comes after 30 s; the last test looks what became of the wait.
    docker create --name "$P-base" "$IMAGE" >/dev/null
    docker commit --change 'HEALTHCHECK CMD exit 0' "$P-base" "$P-usual" >/dev/null
    docker rm "$P-base" >/dev/null
    mkdir "$TMP/usual"
    "$CTHULHU" mount --prefix "$P-usual" -i "$P-usual" --start "$TMP/usual" -- "${NODE[@]}"
    { "$CTHULHU" wait "$TMP/usual" >"$TMP/usual.out" 2>&1; echo $? >"$TMP/usual.status"; } 3>&- &
    mkdir "$TMP/plain"
    "$CTHULHU" mount -n 2 --prefix "$P-plain" -i "$IMAGE" "$TMP/plain" -- "${MORTAL[@]}"
}

teardown_file() {
    end
    docker rmi "$P-checked" "$P-usual" >/dev/null || true
}

setup() {
    cd "$M"
    for d in "$M" "$TMP/plain"; do
        echo stop >"$d/control"
        rm -f "$d"/i00?/bindmounts/var/{die,healthy}
    done
}

# waits STATUS ARGUMENT...: its exit status, within 40 s; what it says is in $output.
waits() {
    local wanted=$1
    shift
    run with_deadline 60 "$CTHULHU" wait "$@"
    is "$wanted" "$status" "exit status of wait $* ($output)"
}

# behind ARGUMENT...: a wait in the background, which has begun to poll.
behind() {
    "$CTHULHU" wait "$@" >"$TMP/behind" 2>&1 3>&- &
    waiter=$!
    wait_for 10 polling "$waiter"
}

@test "running, of one, of several, of all" {
    echo start >"$TMP/plain/control"
    waits 0 "$TMP/plain/i001" --for running
    is '' "$output"
    waits 0 "$TMP/plain/i001" "$TMP/plain/i002" --for running
    waits 0 "$TMP/plain" --for running
    cd "$TMP/plain/i002"
    waits 0 . --for running
    # Without HEALTHCHECK and probe, a node that runs is ready.
    waits 0 "$TMP/plain"
}

@test "ready and healthy come while it waits, and it takes all of them" {
    echo start >control
    waits 124 . --timeout 500ms
    has "$output" 'not ready after 0.5 s: i001 (running, not ready), i002 (running, not ready), i003'
    waits 124 i001 --for healthy --timeout 500ms
    has "$output" 'not healthy after 0.5 s: i001 (running, starting)'
    behind .
    touch i001/bindmounts/var/healthy i002/bindmounts/var/healthy
    waits 0 i001 i002
    kill -0 "$waiter"
    touch i003/bindmounts/var/healthy
    wait "$waiter"
    waits 0 . --for healthy
    waits 0 ./i003 --timeout 1m
}

@test "a node that dies ends the wait at once, with its exit code and the end of its log, made harmless" {
    echo start >control
    wait_for 10 contains i002/log up
    behind . --timeout 10m
    touch i002/bindmounts/var/die
    refused wait "$waiter"
    local said
    said=$(cat "$TMP/behind")
    has "$said" 'cthulhu: i002 is not ready: it has ended with exit code 3; the end of its log'
    has "$said" '  | cannot \u{1b}[31mgo on'
    has "$said" '  | line 3'
    refused has "$said" 'line 2' 2>/dev/null
    # One that is dead before the wait begins is as dead.
    waits 1 i002 --for running
    has "$output" 'exit code 3'
    waits 1 i002 --for healthy
    waits 0 i002 --for exited
}

@test "exited: when it ends, or when its container is removed" {
    echo start >"$TMP/plain/control"
    behind "$TMP/plain/i001" --for exited --timeout 10m
    kill -0 "$waiter"
    touch "$TMP/plain/i001/bindmounts/var/die"
    wait "$waiter"
    is '' "$(cat "$TMP/behind")"
    behind "$TMP/plain" --for exited
    docker rm -f "$P-plain-i002" >/dev/null
    wait "$waiter"
    waits 1 "$TMP/plain/i002"
    has "$output" 'its container was removed'
    echo start >"$TMP/plain/i002/control"
    waits 0 "$TMP/plain/i002"
}

@test "a node that was never started is waited for, and the deadline says how to start it" {
    mkdir "$TMP/new"
    "$CTHULHU" mount --prefix "$P-new" -i "$IMAGE" "$TMP/new" -- "${NODE[@]}"
    waits 124 "$TMP/new" --timeout 0.3s
    has "$output" "i001 (created, never started: echo start > $TMP/new/i001/control)"
    behind "$TMP/new/i001"
    echo start >"$TMP/new/control"
    wait "$waiter"
    # ^C ends it.
    run timeout --preserve-status -k 20 -s INT 0.5 "$CTHULHU" wait "$TMP/new" --for exited
    is 130 "$status"
    # And so does the end of the mount.
    "$CTHULHU" wait "$TMP/new" --for exited --timeout 10m >"$TMP/behind" 2>&1 3>&- &
    waiter=$!
    wait_for 10 polling "$waiter"
    umount_cluster "$TMP/new"
    refused wait "$waiter"
    has "$(cat "$TMP/behind")" 'has gone away'
    waits 1 "$TMP/new"
}

@test "what cannot be waited for is refused at once, with a sentence" {
    echo start >"$TMP/plain/control"
    waits 1 "$TMP/plain" --for healthy --timeout 10m
    has "$output" 'has no HEALTHCHECK'
    waits 1 "$TMP"
    has "$output" 'no cluster is mounted there'
    waits 1 "$TMP/nonexistent"
    has "$output" 'cannot use'
    waits 1 i001/bindmounts
    has "$output" 'is no node'
    waits 1 i001/state
    has "$output" 'is no node'
    waits 1 i009
    waits 2
    waits 2 i001 --for bored
    waits 2 i001 --timeout never
    is 1 "$("$CTHULHU" wait "$TMP" 2>&1 | wc -l)" lines
}

@test "a daemon that is killed: a sentence, and no waiting" {
    mkdir "$TMP/dead"
    "$CTHULHU" mount --prefix "$P-dead" --host simulated: "$TMP/dead"
    behind "$TMP/dead" --timeout 10m
    kill -9 "$("$CTHULHU" ls --json | jq --arg at "$TMP/dead" '.[] | select(.mountpoint == $at).pid')"
    refused wait "$waiter"
    has "$(cat "$TMP/behind")" 'has gone away'
    waits 1 "$TMP/dead"
    has "$output" 'daemon is gone'
    umount_cluster "$TMP/dead"
}

@test "an image with the usual HEALTHCHECK is waited for as long as that may take" {
    wait_for 120 test -s "$TMP/usual.status"
    is 0 "$(cat "$TMP/usual.status")" "exit status ($(cat "$TMP/usual.out"))"
    is healthy "$(cat "$TMP/usual/i001/health")"
    umount_cluster "$TMP/usual"
}
