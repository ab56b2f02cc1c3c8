#!/usr/bin/env bats
# PostgreSQL under Patroni, from an ordinary Compose file, whose leader is cut off from all others: who takes its place, and how
# many acknowledged writes are lost, with and without synchronous replication.
#
#   bats examples/patroni/patroni.bats

bats_require_minimum_version 1.5.0

setup_file() {
    local make=$BATS_TEST_DIRNAME/../make-image.sh
    {
        "$make" cthulhu-example-etcd etcd-server etcd-client &&
            "$make" cthulhu-example-patroni patroni postgresql python3-etcd -- sh -euc '
                useradd --user-group --home-dir /var/lib/postgresql postgres
                chown postgres:postgres /var/lib/postgresql
                ln -sf /usr/lib/postgresql/*/bin/* /usr/bin/'
    } >&2 || { [ $? = 77 ]; return; } # no such packages here: setup skips
    # Of this file alone, so that suites can run side by side on one engine.
    export CLUSTER="$BATS_FILE_TMPDIR/cluster" PREFIX="patroni-$$"
    cthulhu mount -f "$BATS_TEST_DIRNAME/compose.yaml" --prefix "$PREFIX" --start "$CLUSTER" >&2 3>&-
}

teardown_file() { [ -z "$CLUSTER" ] || cthulhu umount "$CLUSTER"; }

# Each test begins with a leader and two replicas that have all it has.
setup() {
    [ -n "$CLUSTER" ] || skip 'Patroni and PostgreSQL cannot be had here as packages of Debian or Ubuntu'
    echo heal > "$CLUSTER/control"
    within 120 whole
}

teardown() { [ -z "$WRITER" ] || kill "$WRITER" || true; }

# within SECONDS COMMAND...: polls until it succeeds; fails, saying what it waited for, when the time is over.
within() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" > /dev/null 2>&1; do
        if ((SECONDS >= deadline)); then
            echo "timed out: $*; the end of the logs:" >&2
            tail -n 5 "$CLUSTER"/db?/log >&2
            return 1
        fi
        sleep 0.1
    done
}

# Patroni's REST API, asked from this host, which hears all nodes always: patroni NODE PATH [OPTION OF CURL...]
patroni() { curl -sS --fail --max-time 2 "${@:3}" "http://$(cat "$CLUSTER/$1/ip"):8008/$2"; }

sql() { docker exec -i "$PREFIX-$1" psql -h 127.0.0.1 -U postgres -qAt "${@:2}"; }

# The node that leads, other than this one if one is named: leader [NODE]
leader() {
    local node
    for node in db1 db2 db3; do
        [ "$node" != "${1-}" ] || continue
        if patroni "$node" leader > /dev/null 2>&1; then echo "$node" && return; fi
    done
    return 1
}

refuses() { ! sql "$1" -c 'CREATE TABLE IF NOT EXISTS here ()'; }

# Whether all follow one leader and have what it has; with an argument, whether one of them has that role too.
whole() {
    local cluster
    cluster=$(patroni "$(leader)" cluster) || return 1
    jq -e --arg role "${1-leader}" '.members | length == 3 and ([.[].timeline] | unique | length == 1)
        and any(.role == $role) and all(.role == "leader" or .lag == 0)' <<< "$cluster"
}

# A client that writes to a node until the node throws it out. What was acknowledged goes into $ACKNOWLEDGED, a number a line.
start_writing() {
    ACKNOWLEDGED=$BATS_TEST_TMPDIR/acknowledged
    for ((n = 1; ; n++)); do
        echo "INSERT INTO writes VALUES ($n) RETURNING n;"
        sleep 0.01
    done 3>&- | sql "$1" > "$ACKNOWLEDGED" 2> /dev/null 3>&- &
    WRITER=$!
}

acknowledged() { wc -l < "$ACKNOWLEDGED"; }
acknowledged_more_than() { [ "$(acknowledged)" -gt "$1" ]; }
writer_has_ended() { ! kill -0 "$WRITER"; }
rows() { sql "$1" -c 'SELECT n FROM writes' | sort; }
have_same_rows() { [ -n "$(rows "$1")" ] && [ "$(rows "$1")" = "$(rows "$2")" ]; }

# The leader is cut off from all other nodes, but not from its client, until another has taken its place. Then the network is
# whole again. Sets $lost, how many acknowledged writes are nowhere any more.
isolate_leader_and_count() {
    local old new since
    old=$(leader)
    sql "$old" -c 'DROP TABLE IF EXISTS writes' -c 'CREATE TABLE writes (n int)'
    start_writing "$old"
    within 60 acknowledged_more_than 100

    echo "isolate $old" > "$CLUSTER/partition"
    since=$(acknowledged)
    within 120 leader "$old"
    within 120 writer_has_ended

    echo heal > "$CLUSTER/control"
    # The old leader is rewound: it throws away what the new one does not have.
    within 120 whole
    new=$(leader)
    [ "$new" != "$old" ]
    within 60 have_same_rows "$old" "$new"
    lost=$(sort "$ACKNOWLEDGED" | comm -23 - <(rows "$new") | wc -l)
    echo "# $(acknowledged) writes acknowledged, $(($(acknowledged) - since)) of them since the cut; $lost are lost" >&3
}

@test "the leader is isolated: it steps down, another is elected and takes writes" {
    old=$(leader)
    echo "isolate $old" > "$CLUSTER/partition"
    within 120 leader "$old"
    new=$(leader "$old")
    within 60 sql "$new" -c 'CREATE TABLE IF NOT EXISTS here ()'
    within 60 refuses "$old"
}

@test "asynchronous replication loses what the leader acknowledges while it is cut off" {
    isolate_leader_and_count
    [ "$lost" -gt 0 ]
}

@test "synchronous replication loses nothing that was acknowledged" {
    patroni "$(leader)" config -X PATCH -d '{"synchronous_mode": true}'
    within 60 whole sync_standby
    isolate_leader_and_count
    [ "$lost" = 0 ]
}
