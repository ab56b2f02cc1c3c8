#!/usr/bin/env bats
# What a user's own suite looks like: three nodes of the built-in demo program, driven through files.
#
#   bats examples/bats/demo-cluster.bats

bats_require_minimum_version 1.5.0

setup_file() {
    # Of this file alone, so that suites can run side by side on one engine.
    export CLUSTER="$BATS_FILE_TMPDIR/cluster"
    cthulhu mount -n 3 --prefix "bats-$$" --start "$CLUSTER" >&2 3>&-
}

teardown_file() {
    cthulhu umount "$CLUSTER"
}

# Each test begins with three fresh nodes, whatever the one before it left behind.
setup() {
    echo 'reset --start' > "$CLUSTER/control"
    for node in i001 i002 i003; do
        within 60 sees_all "$node"
    done
}

# within SECONDS COMMAND...: polls until it succeeds; fails, saying what it waited for, when the time is over.
within() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        if ((SECONDS >= deadline)); then
            echo "timed out: $*; the cluster was:" >&2
            cat "$CLUSTER/status" >&2
            tail -n 5 "$CLUSTER"/i00?/log >&2
            return 1
        fi
        sleep 0.05
    done
}

# view NODE PEER: what the node believes of its peer, asked over its own port: up, down, or unknown.
view() {
    curl -sf --max-time 1 "http://$(cat "$CLUSTER/$1/ip"):8080/" |
        jq -r --arg peer "$(cat "$CLUSTER/$2/ip")" '.peers[$peer].state'
}

sees() { [ "$(view "$1" "$2")" = "$3" ]; }

sees_all() {
    for peer in i001 i002 i003; do
        [ "$peer" = "$1" ] || sees "$1" "$peer" up || return 1
    done
}

@test "all nodes find each other" {
    # setup has seen it over the network; the logs tell it too.
    grep -q "peer $(cat "$CLUSTER/i003/ip") found" "$CLUSTER/i001/log"
    run -0 cat "$CLUSTER"/i00?/state
    [ "$output" = $'running\nrunning\nrunning' ]
}

@test "peers notice a stopped node" {
    echo stop > "$CLUSTER/i002/control"
    [ "$(cat "$CLUSTER/i002/state")" = exited ]
    [ ! -s "$CLUSTER/i002/pid.txt" ]
    within 60 sees i001 i002 down
    within 60 sees i003 i002 down
    sees i001 i003 up
}

@test "a node that comes back is found again, at the same address, as a new process" {
    ip=$(cat "$CLUSTER/i002/ip") pid=$(cat "$CLUSTER/i002/pid.txt")
    echo kill > "$CLUSTER/i002/control"
    within 60 sees i001 i002 down
    echo start > "$CLUSTER/i002/control"
    within 60 sees i001 i002 up
    [ "$(cat "$CLUSTER/i002/ip")" = "$ip" ]
    [ "$(cat "$CLUSTER/i002/pid.txt")" != "$pid" ]
    grep -q "peer $ip restarted" "$CLUSTER/i001/log"
}

@test "a paused node is silent, and the same process goes on after it" {
    pid=$(cat "$CLUSTER/i003/pid.txt")
    echo pause > "$CLUSTER/i003/control"
    within 60 sees i001 i003 down
    echo resume > "$CLUSTER/i003/control"
    within 60 sees i001 i003 up
    [ "$(cat "$CLUSTER/i003/pid.txt")" = "$pid" ]
}

@test "a command that cannot be done fails, and says why" {
    echo stop > "$CLUSTER/i001/control"
    run -1 "$CLUSTER/i001/control" kill
    [ "$output" = "i001 is not running (exited)" ]
}
