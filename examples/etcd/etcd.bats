#!/usr/bin/env bats
# A suite over a database of several nodes: three of etcd, which form their cluster from a template.
#
#   bats examples/etcd/etcd.bats

bats_require_minimum_version 1.5.0

setup_file() {
    "$BATS_TEST_DIRNAME/../make-image.sh" cthulhu-example-etcd etcd-server etcd-client >&2 ||
        { [ $? = 77 ]; return; } # no such packages here: setup skips
    # Of this file alone, so that suites can run side by side on one engine.
    export CLUSTER="$BATS_FILE_TMPDIR/cluster" PREFIX="etcd-$$"
    # conf/etcd.yaml is a template: each node finds its own address in it, and the others'.
    cthulhu mount -n 3 --prefix "$PREFIX" -i cthulhu-example-etcd -e ETCD_UNSUPPORTED_ARCH=arm64 --port 2379 \
        --config "$BATS_TEST_DIRNAME/conf" --start "$CLUSTER" -- etcd --config-file /opt/app/etc/etcd.yaml >&2 3>&-
}

teardown_file() { [ -z "$CLUSTER" ] || cthulhu umount "$CLUSTER"; }

# Each test begins with three healthy nodes, whatever the one before it left behind.
setup() {
    [ -n "$CLUSTER" ] || skip 'etcd cannot be had here as a package of Debian or Ubuntu'
    echo start > "$CLUSTER/control"
    all_healthy
}

# within SECONDS COMMAND...: polls until it succeeds; fails, saying what it waited for, when the time is over.
within() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" 2> /dev/null; do
        if ((SECONDS >= deadline)); then
            echo "timed out: $*; the cluster was:" >&2
            cat "$CLUSTER/status" >&2
            tail -n 5 "$CLUSTER"/i00?/log >&2
            return 1
        fi
        sleep 0.1
    done
}

# etcdctl in a node, which talks to that node: ctl NODE ARGUMENT...
ctl() {
    local node=$1
    shift
    docker exec "$PREFIX-$node" etcdctl --command-timeout=10s "$@"
}

# Whether a node answers and takes part in a majority.
healthy() { ctl "$1" endpoint health; }

all_healthy() {
    for node in i001 i002 i003; do
        within 60 healthy "$node"
    done
}

# value NODE KEY: as the cluster has agreed on it. With --consistency=s: as this one node has it on its own disk.
value() { ctl "$1" get --print-value-only "${@:2}"; }

# How far a node's own data goes.
revision() { ctl "$1" endpoint status -w json | jq '.[0].Status.header.revision'; }

caught_up() { [ "$(revision "$1")" = "$(revision i001)" ]; }

@test "the nodes have found each other by what the template told them" {
    run -0 --separate-stderr ctl i001 member list -w json
    [ "$(jq -r '[.members[].name] | sort | join(" ")' <<< "$output")" = 'i001 i002 i003' ]
    [ "$(jq -r '.members[] | select(.name == "i003").peerURLs[0]' <<< "$output")" = "http://$(cat "$CLUSTER/i003/ip"):2380" ]
}

@test "what is written while a node is away is everywhere, and the node catches up" {
    ctl i001 put before 1
    echo stop > "$CLUSTER/i002/control"
    [ "$(cat "$CLUSTER/i002/state")" = exited ]
    # Until a new leader is elected, if that was the leader.
    within 60 ctl i001 put meanwhile 2
    [ "$(value i003 before)" = 1 ]
    [ "$(value i003 meanwhile)" = 2 ]

    echo start > "$CLUSTER/i002/control"
    within 60 healthy i002
    within 60 caught_up i002
    [ "$(value i002 meanwhile --consistency=s)" = 2 ]
}

@test "without a majority nothing can be written, and with one again it can" {
    ctl i001 put majority yes
    echo 'stop i002 i003' > "$CLUSTER/control"
    run ! ctl i001 put majority no --command-timeout=2s
    # What it has, it can still tell.
    [ "$(value i001 majority --consistency=s)" = yes ]

    echo 'start i002 i003' > "$CLUSTER/control"
    all_healthy
    ctl i001 put majority again
    [ "$(value i003 majority)" = again ]
}

@test "a node that is killed has its data after a restart" {
    ctl i001 put killed one
    within 60 caught_up i002
    echo kill > "$CLUSTER/i002/control"
    within 60 grep -qx 137 "$CLUSTER/i002/exit_code"
    echo start > "$CLUSTER/i002/control"
    within 60 healthy i002
    [ "$(value i002 killed --consistency=s)" = one ]
}

@test "all are killed at once, and what had been written is there" {
    ctl i001 put outage survived
    echo kill > "$CLUSTER/control"
    [ "$(cat "$CLUSTER"/i00?/state | sort -u)" = exited ]
    echo start > "$CLUSTER/control"
    all_healthy
    [ "$(value i003 outage)" = survived ]
}
