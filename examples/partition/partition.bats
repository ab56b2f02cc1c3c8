#!/usr/bin/env bats
# Five nodes of etcd whose network is cut in two: what a minority still does, where the leader goes, and whether anything that
# was acknowledged is lost.
#
#   bats examples/partition/partition.bats

bats_require_minimum_version 1.5.0

setup_file() {
    local etcd=$BATS_TEST_DIRNAME/../etcd
    "$BATS_TEST_DIRNAME/../make-image.sh" cthulhu-example-etcd etcd-server etcd-client >&2 ||
        { [ $? = 77 ]; return; } # no such packages here: setup skips
    # Of this file alone, so that suites can run side by side on one engine.
    export CLUSTER="$BATS_FILE_TMPDIR/cluster" NODES='i001 i002 i003 i004 i005'
    cthulhu mount -n 5 --prefix "partition-$$" -i cthulhu-example-etcd -e ETCD_UNSUPPORTED_ARCH=arm64 --port 2379 \
        --config "$etcd/conf" --start "$CLUSTER" -- etcd --config-file /opt/app/etc/etcd.yaml >&2 3>&-
}

teardown_file() { [ -z "$CLUSTER" ] || cthulhu umount "$CLUSTER"; }

# Each test begins with a whole network, on which all agree, and with clients that write to every node.
setup() {
    [ -n "$CLUSTER" ] || skip 'etcd cannot be had here as a package of Debian or Ubuntu'
    echo heal > "$CLUSTER/control"
    within 60 agreed "$NODES"
    python3 "$BATS_TEST_DIRNAME/writers.py" "$CLUSTER" 3>&- &
    WRITERS=$!
    for node in $NODES; do within 60 acknowledged_by "$node"; done
}

teardown() {
    stop_writers
}

# The clients end with what they have begun.
stop_writers() {
    [ -n "$WRITERS" ] || return 0
    kill "$WRITERS"
    wait "$WRITERS"
    WRITERS=
}

# within SECONDS COMMAND...: polls until it succeeds; fails, saying what it waited for, when the time is over.
within() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" 2> /dev/null; do
        if ((SECONDS >= deadline)); then
            echo "timed out: $*; the partition was: $(cat "$CLUSTER/partition")" >&2
            tail -n 5 "$CLUSTER"/i00?/log >&2
            return 1
        fi
        sleep 0.1
    done
}

# ---- etcd, asked from this host: what cuts nodes off from each other does not cut them off from us ------------------------

# api NODE CALL JSON
api() {
    curl -sS --fail --max-time 2 -d "$3" "http://$(cat "$CLUSTER/$1/ip"):2379/v3/$2"
}

# A write that is acknowledged, or fails with an error or a timeout of ours: put NODE KEY
put() { api "$1" kv/put "{\"key\": \"$(printf %s "$2" | base64)\"}"; }

# All keys that a node has itself, whatever the others have.
keys() {
    api "$1" kv/range '{"key": "AA==", "range_end": "AA==", "serializable": true, "keys_only": true}' |
        jq -r '.kvs[]?.key | @base64d' | sort
}

# Who a node is and whom it takes for the leader, by their numbers; 0 for nobody.
status() { api "$1" maintenance/status '{}' | jq -er '"\(.header.member_id) \(.leader // "0")"'; }

leaderless() { [[ $(status "$1") == *' 0' ]]; }

# The name of whom a node takes for the leader; fails when it knows none.
leader() {
    local id node
    id=$(status "$1") || return 1
    for node in $NODES; do
        if [[ $(status "$node") == "${id#* } "* ]]; then
            echo "$node"
            return
        fi
    done
    return 1
}

# Whether nodes have one leader, who is among them: agreed 'NODE...'
agreed() {
    local node members='' leaders=''
    for node in $1; do
        node=$(status "$node") || return 1
        members+=" ${node% *}" leaders+="${node#* }"$'\n'
    done
    leaders=$(sort -u <<< "${leaders%$'\n'}")
    [[ "$members " == *" $leaders "* ]]
}

same_keys() {
    local node first
    first=$(keys i001)
    for node in $NODES; do [ "$(keys "$node")" = "$first" ] || return 1; done
}

# ---- the history, which has what our clients were told ----------------------------------------------------------------------

# The number of its last line.
now() { tail -n 1 "$CLUSTER/history" | jq .seq; }

# How many writes to a node were begun after one line and acknowledged before another: acknowledged NODE FROM TO
acknowledged() {
    jq -s --arg node "$1" --argjson from "$2" --argjson to "$3" '
        [.[] | select(.seq > $from and .seq < $to and .test.process == $node).test] | group_by(.value)
        | map(select(length == 2 and .[1].type == "ok")) | length' "$CLUSTER/history"
}

acknowledged_by() { [ "$(acknowledged "$1" "${2:-0}" "$(($(now) + 1))")" -gt 0 ]; }

# What has been acknowledged and a node does not have: lost NODE
lost() {
    jq -r 'select(.test.type == "ok").test.value' "$CLUSTER/history" | sort | comm -23 - <(keys "$1")
}

nothing_is_lost() {
    stop_writers
    within 60 same_keys
    for node in $NODES; do
        run -0 lost "$node"
        [ -z "$output" ]
    done
    echo "# $(keys i001 | wc -l) keys, $(jq 'select(.test.type == "ok").seq' "$CLUSTER/history" | wc -l) of them acknowledged, none of these lost" >&3
}

# ---- the tests ----------------------------------------------------------------------------------------------------------------

@test "a minority cannot write, a majority can, and nothing that was acknowledged is lost" {
    echo majority > "$CLUSTER/partition"
    cut=$(now)
    # Which nodes were drawn can be read back: i001 i003 i004 | i002 i005
    IFS='|' read -r one other < "$CLUSTER/partition"
    one=$(xargs <<< "$one") other=$(xargs <<< "$other")
    if [ "$(wc -w <<< "$one")" = 3 ]; then majority=$one minority=$other; else majority=$other minority=$one; fi
    [ "$(wc -w <<< "$majority $minority")" = 5 ]

    for node in $minority; do
        run ! put "$node" refused
    done
    # After an election, if the leader was on the other side.
    within 60 agreed "$majority"
    for node in $majority; do
        within 60 put "$node" accepted
        within 60 acknowledged_by "$node" "$cut"
    done

    end=$(now)
    echo heal > "$CLUSTER/control"
    for node in $minority; do
        [ "$(acknowledged "$node" "$cut" "$end")" = 0 ]
    done
    within 60 agreed "$NODES"
    nothing_is_lost
}

@test "the leader is isolated: another takes its place, and the old one follows it afterwards" {
    old=$(leader i001)
    others=$(xargs -n 1 <<< "$NODES" | grep -vx "$old" | xargs)
    echo "isolate $old" > "$CLUSTER/partition"
    cut=$(now)
    tr '|' '\n' < "$CLUSTER/partition" | tr -d ' ' | grep -qx "$old"

    run ! put "$old" refused
    within 60 agreed "$others"
    [ "$(leader "${others%% *}")" != "$old" ]
    for node in $others; do within 60 acknowledged_by "$node" "$cut"; done
    # It finds out by itself that nobody follows it any more.
    within 60 leaderless "$old"

    end=$(now)
    echo heal > "$CLUSTER/control"
    [ "$(acknowledged "$old" "$cut" "$end")" = 0 ]
    within 60 agreed "$NODES"
    nothing_is_lost
}
