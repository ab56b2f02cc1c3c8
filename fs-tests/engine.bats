#!/usr/bin/env bats
# The engine hangs, breaks off, is gone, and comes back: nothing hangs, nothing is guessed, nothing is lost.
#
# engine_proxy.py stands between cthulhu and the engine; the tests' own docker commands go to the engine itself.

load lib.bash

# The engine may take so long for a command here, s.
TIMEOUT=60
# Prints lines without end, with their numbers.
COUNTER=(sh -c 'trap "exit 143" TERM; n=0; while :; do n=$((n + 1)); echo "line $n"; sleep 0.05 & wait $!; done')

setup_file() {
    begin
    need_image
    local host=${DOCKER_HOST:-unix:///var/run/docker.sock}
    [ "${host#unix://}" != "$host" ] || skip "the engine at $host is not on a unix socket"
    export PROXY=unix://$TMP/proxy.sock
    python3 "$FS_TESTS/engine_proxy.py" "$TMP/proxy.sock" "${host#unix://}" "$TMP/ctl" 3>&- &
    echo $! >"$TMP/proxy.pid"
    wait_for 10 reads "$TMP/ctl.mode" pass
    mount_cluster engine --host "$PROXY" -n 3 -i "$IMAGE" --timeout "$TIMEOUT" --start -- "${COUNTER[@]}"
}

teardown_file() {
    engine pass || true
    for pid in $(daemons "$TMP"); do kill "$pid" || true; done
    wait_for 60 no_daemons "$TMP" || true
    kill "$(cat "$TMP/proxy.pid")" || true
    end
}

setup() {
    M=$TMP/engine
    engine pass
    wait_for 30 known
    with_deadline 120 sh -c 'echo start >"$0/control"' "$M"
}

# engine MODE: how the engine behaves from now on.
engine() {
    echo "$1" >"$TMP/ctl"
    wait_for 10 reads "$TMP/ctl.mode" "$1"
}

# What needs no engine works, and does not wait for it: that would take TIMEOUT.
the_rest_answers() {
    with_deadline 50 ls -lR "$M" >/dev/null
    with_deadline 50 find "$M" -type f -name 'i*.log' >/dev/null
    is i001 "$(with_deadline 50 cat "$M/i001/name")"
    is "$(readlink "$M/i002")" "$(with_deadline 50 cat "$M/i002/ip")"
    has "$(with_deadline 50 tail -n 1 "$M/i003/log")" line
    with_deadline 50 sh -c 'echo "$$" >"$0" && test -s "$0" && mv "$0" "$0.2" && rm "$0.2"' "$M/i001/bindmounts/var/f"
    is '22 EINVAL' "$(line_in_time "$M/i001/control" nonsense)"
}

# line_in_time FILE TEXT: put_line, with a deadline.
line_in_time() {
    printf '%s\n' "$2" | with_deadline $((2 * TIMEOUT)) python3 "$FS_TESTS/put.py" "$1"
}

# fails_in_time FILE COMMAND ERRNO WORD: and says why.
fails_in_time() {
    local begin=${EPOCHREALTIME/./} got ms
    got=$(line_in_time "$1" "$2")
    ms=$(((${EPOCHREALTIME/./} - begin) / 1000))
    echo "# $2 > ${1#"$TMP"/}: $got after $ms ms" >&3
    is "$3" "$got"
    has "$(cat "${1%/*}/error")" "$4"
}

# The file tells what the engine has: state, pid, id.
true_again() {
    local n name
    for n in i001 i002 i003; do
        name=$P-$n
        if docker inspect "$name" >/dev/null 2>&1; then
            reads "$M/$n/state" "$(field $n '{{.State.Status}}')" || return 1
            reads "$M/$n/id" "$(field $n '{{.Id}}')" || return 1
            case $(cat "$M/$n/state") in
            running) reads "$M/$n/pid.txt" "$(field $n '{{.State.Pid}}')" || return 1 ;;
            exited) reads "$M/$n/exit_code" "$(field $n '{{.State.ExitCode}}')" || return 1 ;;
            esac
        else
            reads "$M/$n/state" missing || return 1
        fi
    done
}

# The log of a node that has ended has every line once, in order.
log_is_whole() {
    docker logs "$P-$1" >"$TMP/whole" 2>/dev/null
    cmp -s "$TMP/whole" <(tail -c "$(stat -c %s "$TMP/whole")" "$M/$1/log")
}

# What happens while cthulhu cannot know: one killed, one removed, one that talks on and then ends.
much_happens() {
    docker kill "$P-i001" >/dev/null
    docker rm -f "$P-i002" >/dev/null
    wait_for 10 grown
    docker stop -t 10 "$P-i003" >/dev/null
}

grown() { [ "$(docker logs "$P-i003" 2>/dev/null | wc -l)" -gt "$((lines_before + 10))" ]; }

# away MODE ERRNO WORD: the engine goes away, and comes back.
away() {
    lines_before=$(docker logs "$P-i003" | wc -l)
    engine "$1"
    the_rest_answers
    fails_in_time "$M/i001/control" stop "$2" "$3"
    fails_in_time "$M/control" 'stop i001 i002' "$2" "$3"
    wait_for 10 unknown
    the_rest_answers
    much_happens
    unknown
    engine pass
    wait_for 30 known
    true_again
    is exited "$(cat "$M/i001/state")"
    is missing "$(cat "$M/i002/state")"
    is exited "$(cat "$M/i003/state")"
    wait_for 20 log_is_whole i003
    wait_for 20 log_is_whole i001
    echo start >"$M/control"
    true_again
    all_in running
    on_the_net
}

# Every node has its address, and hears the others.
on_the_net() {
    local n
    for n in i001 i002 i003; do docker exec "$P-$n" ip addr | grep -q "inet $(cat "$M/$n/ip")/"; done
    wait_for 20 pings "$P-i001" i003
}

@test "held open and silent: ETIMEDOUT, then EHOSTDOWN, until it answers" {
    away silent '110 ETIMEDOUT' "did not answer within $TIMEOUT s"
}

@test "closed while in use: EHOSTDOWN" {
    away closed '112 EHOSTDOWN' 'cannot reach the engine'
}

@test "nobody listens: EHOSTDOWN" {
    away refused '112 EHOSTDOWN' 'nothing listens there'
}

@test "the socket is gone: EHOSTDOWN" {
    away gone '112 EHOSTDOWN' 'there is no such socket'
}

@test "top says that nothing is known of the nodes, and what is true afterwards" {
    local table
    engine refused
    wait_for 30 unknown
    table=$(with_deadline 60 "$CTHULHU" top "$M")
    is 3 "$(grep -c ' unknown .* line [0-9]*$' <<<"$table")"
    has "$table" '0 of 3 up'
    has "$table" 'the engine cannot be reached: nothing is known of the nodes'
    has "$table" 'no cpu and memory: '
    engine pass
    wait_for 30 known
    # The engine knows no cpu and memory of a node whose sandbox went with the connection (docker stats: 0B), until start has
    # made it whole.
    with_deadline 60 sh -c 'echo start >"$0/control"' "$M"
    wait_for 20 table_is_true
}

table_is_true() { [ "$(with_deadline 60 "$CTHULHU" top "$M" | grep -c ' running .*%.* line [0-9]*$')" -eq 3 ]; }

@test "silent only while nobody asks: nothing is lost" {
    engine silent
    the_rest_answers
    docker kill "$P-i001" >/dev/null
    docker pause "$P-i002" >/dev/null
    engine pass
    wait_for 20 true_again
    docker unpause "$P-i002" >/dev/null
    wait_for 20 true_again
    all_in_order
}

# Line numbers of a log rise by one, and begin again at 1.
all_in_order() {
    awk '$1 == "line" && $2 != last + 1 && $2 != 1 { print "after " last " came " $2; bad = 1 } { last = $2 } END { exit bad }' "$M/i003/log"
}

@test "away again and again: values are true and logs whole at the end" {
    local mode
    for mode in closed refused silent gone closed; do
        engine "$mode"
        docker kill "$P-i001" >/dev/null
        engine pass
        # Its sandbox may have gone with the connection: then it is recreated.
        echo start >"$M/i001/control"
    done
    wait_for 30 known
    wait_for 30 true_again
    echo stop >"$M/control"
    true_again
    wait_for 20 log_is_whole i001
    wait_for 20 log_is_whole i003
}

@test "a node whose sandbox went with the connection is made whole by start" {
    local id
    id=$(cat "$M/i001/id")
    engine closed
    wait_for 20 unknown
    no_sandbox() { ! docker inspect "$P-i001-sandbox" >/dev/null 2>&1; }
    wait_for 20 no_sandbox
    engine pass
    wait_for 30 known
    is running "$(cat "$M/i001/state")"
    is "$id" "$(cat "$M/i001/id")"
    echo start >"$M/control"
    all_in running
    on_the_net
}

@test "who is killed while he waits in a write goes away at once" {
    local pid begin ms before
    engine silent
    commands() { grep -c '"phase":"invoke"' "$M/history"; }
    before=$(commands)
    sh -c 'echo stop >"$0"' "$M/i001/control" 3>&- &
    pid=$!
    # Opening the file is waited for, too: so what counts is that the command has begun.
    begins() { [ "$(commands)" -gt "$before" ]; }
    wait_for 10 begins
    begin=${EPOCHREALTIME/./}
    kill -9 "$pid"
    wait "$pid" || true
    ms=$(((${EPOCHREALTIME/./} - begin) / 1000))
    echo "# a killed writer was gone after $ms ms" >&3
    # And not with the command's deadline.
    [ "$ms" -lt $((TIMEOUT * 1000)) ]
    has "$(cat "$M/i001/error")" interrupted
}

# ---- ends -----------------------------------------------------------------------------------------------------------

# A cluster of its own: second OPTION...
second() {
    M=$TMP/second
    mkdir -p "$M"
    timeout -k 5 120 "$CTHULHU" mount --host "$PROXY" --prefix "$P-2" -n 2 -i "$IMAGE" "$@" "$M"
}

unmounted() { [ -z "$(mounts "$M")" ]; }
none_left() { is '' "$(mounts "$M")$(containers "$M")$(networks "$M")" 'what is left'; }

# umount_in_vain MODE: one sentence that says how to go on, in bounded time; the mount itself goes at once.
umount_in_vain() {
    engine "$1"
    local begin=${EPOCHREALTIME/./} pid status=0 ms
    timeout -k 5 300 "$CTHULHU" umount "$M" >"$TMP/out" 2>&1 3>&- &
    pid=$!
    wait_for 30 unmounted
    ms=$(((${EPOCHREALTIME/./} - begin) / 1000))
    wait "$pid" || status=$?
    echo "# umount, engine $1: unmounted after $ms ms, ended after $(((${EPOCHREALTIME/./} - begin) / 1000)) ms" >&3
    is 1 "$status" 'exit status'
    # That it takes long is said while it does.
    is 1 "$(grep -cv 'still removing' "$TMP/out")" 'lines of the answer'
    has "$(tail -n 1 "$TMP/out")" "cthulhu umount $M"
    [ -n "$(containers "$M")" ]
    is left "$("$CTHULHU" ls | awk -v m="$M" '$NF == m { print $1 }')"
}

@test "umount on a silent engine ends in bounded time; the next mount there removes what is left" {
    second --start
    umount_in_vain silent
    engine pass
    second --start
    is 4 "$(containers "$M" | wc -l)" containers
    is 1 "$(networks "$M" | wc -l)" networks
    umount_cluster
    none_left
}

@test "umount on an engine that is gone ends at once; a second umount removes what is left" {
    second --start
    umount_in_vain refused
    local status=0
    timeout -k 5 300 "$CTHULHU" umount "$M" 2>"$TMP/out" || status=$?
    is 1 "$status"
    is 1 "$(wc -l <"$TMP/out")"
    has "$(cat "$TMP/out")" 'nothing listens there'
    engine pass
    umount_cluster
    none_left
    is '' "$("$CTHULHU" ls | awk -v m="$M" '$NF == m')"
}

@test "mount on a silent engine fails within the deadline, and says which" {
    engine silent
    local status=0
    second --timeout 3 2>"$TMP/out" || status=$?
    is 1 "$status"
    is 1 "$(wc -l <"$TMP/out")"
    has "$(cat "$TMP/out")" "$PROXY did not answer within 3 s"
    engine pass
    none_left
}

@test "an engine that falls silent during mount: it fails in bounded time, and umount removes what is left" {
    local pid status=0
    M=$TMP/second
    mkdir -p "$M"
    timeout -k 5 300 "$CTHULHU" mount --host "$PROXY" --prefix "$P-2" -n 16 --timeout 60 -i "$IMAGE" "$M" >"$TMP/out" 2>&1 3>&- &
    pid=$!
    some() { [ -n "$(containers "$M")" ]; }
    wait_for 30 some
    engine silent
    wait "$pid" || status=$?
    is 1 "$status"
    has "$(cat "$TMP/out")" 'did not answer'
    has "$(cat "$TMP/out")" "cthulhu umount $M"
    engine pass
    umount_cluster
    none_left
}
