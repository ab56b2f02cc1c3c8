#!/usr/bin/env bats
# Redis with Sentinel on three nodes, and how many acknowledged writes are lost when the master is cut off from the others, but
# not from its client: Redis replicates asynchronously. And how far min-replicas-to-write helps.
#
#   bats examples/lost-writes/lost-writes.bats

bats_require_minimum_version 1.5.0

setup_file() {
    "$BATS_TEST_DIRNAME/../make-image.sh" cthulhu-example-redis redis-server redis-sentinel redis-tools >&2 ||
        { [ $? = 77 ]; return; } # no such packages here: setup skips
    # Of this file alone, so that suites can run side by side on one engine.
    export CLUSTER="$BATS_FILE_TMPDIR/cluster" NODES='i001 i002 i003'
    # The files in conf are templates: each node finds its own address in them, and the first master's.
    cthulhu mount -n 3 --prefix "lost-$$" -i cthulhu-example-redis --port 6379 --config "$BATS_TEST_DIRNAME/conf" \
        --start "$CLUSTER" -- sh /opt/app/etc/node.sh >&2 3>&-
    for node in $NODES; do
        # A Sentinel asks a replica every ten seconds what it is, and an old master becomes one after eight more. One that does not
        # know this command (Redis 6) takes its time.
        within 60 sentinel "$node" PING
        sentinel "$node" SENTINEL DEBUG info-period 1000
        sentinel "$node" SENTINEL DEBUG publish-period 250
    done
}

teardown_file() { [ -z "$CLUSTER" ] || cthulhu umount "$CLUSTER"; }

setup() {
    [ -n "$CLUSTER" ] || skip 'Redis cannot be had here as a package of Debian or Ubuntu'
    echo heal > "$CLUSTER/control"
    within 60 whole
}

teardown() {
    stop_writing
}

# within SECONDS COMMAND...: polls until it succeeds; fails, saying what it waited for, when the time is over.
within() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" > /dev/null 2>&1; do
        if ((SECONDS >= deadline)); then
            echo "timed out: $*; the end of the logs:" >&2
            tail -n 5 "$CLUSTER"/i00?/log >&2
            return 1
        fi
        sleep 0.1
    done
}

# ---- Redis, asked from this host: what cuts nodes off from each other does not cut them off from us -----------------------

# ask NODE PORT WORD...: the answer, an array's elements a line each. Redis takes a line of words for a command.
ask() {
    local connection status=0
    exec {connection}<> "/dev/tcp/$(cat "$CLUSTER/$1/ip")/$2" || return 1
    printf '%s\r\n' "${*:3}" >&"$connection"
    answer "$connection" || status=1
    exec {connection}>&-
    return "$status"
}

answer() {
    local line count
    IFS= read -r -t 5 -u "$1" line || return 1
    line=${line%$'\r'}
    case $line in
    '*'*) for ((count = ${line:1}; count > 0; count--)); do answer "$1" || return 1; done ;;
    '$'*)
        IFS= read -r -t 5 -u "$1" line || return 1
        echo "${line%$'\r'}"
        ;;
    *) echo "${line:1}" ;;
    esac
}

redis() { ask "$1" 6379 "${@:2}"; }
sentinel() { ask "$1" 26379 "${@:2}"; }

# The node that another's Sentinel takes for the master.
master() {
    local ip node
    ip=$(sentinel "$1" SENTINEL GET-MASTER-ADDR-BY-NAME example | head -n 1)
    for node in $NODES; do
        if [ "$(cat "$CLUSTER/$node/ip")" = "$ip" ]; then echo "$node"; fi
    done
}

is_master() { [ "$(redis "$1" ROLE | head -n 1)" = master ]; }

# Whether all Sentinels have found each other and all servers, and agree on a master, of whom the others are replicas, up to date.
whole() {
    local first node
    first=$(master i001)
    is_master "$first" || return 1
    for node in $NODES; do
        [ "$(master "$node")" = "$first" ] || return 1
        [[ $(sentinel "$node" SENTINEL MASTER example | paste -sd' ') == *' flags master '*' num-slaves 2 num-other-sentinels 2 '* ]] || return 1
        [ "$node" = "$first" ] || replica_of "$node" "$first" || return 1
    done
}

replica_of() {
    [ "$(redis "$1" ROLE | head -n 4 | paste -sd' ')" = "slave $(cat "$CLUSTER/$2/ip") 6379 connected" ]
}

# Whether the other two have a new master in place of a node: replaced NODE
replaced() {
    local node new
    for node in $NODES; do
        [ "$node" != "$1" ] || continue
        new=$(master "$node")
        [ "$new" != "$1" ] && is_master "$new" || return 1
    done
}

# ---- the client -------------------------------------------------------------------------------------------------------------

# start_writing NODE LIST: what it is told goes into $TOLD.
start_writing() {
    TOLD=$BATS_TEST_TMPDIR/told
    : > "$TOLD"
    "$BATS_TEST_DIRNAME/writer.py" "$(cat "$CLUSTER/$1/ip")" 6379 "$2" "$TOLD" 3>&- &
    WRITER=$!
}

stop_writing() {
    [ -n "$WRITER" ] || return 0
    kill "$WRITER"
    wait "$WRITER"
    WRITER=
}

# How many writes were acknowledged so far, and how many answered at all.
acknowledged() { grep -c '^ok ' "$TOLD"; }
answered() { wc -l < "$TOLD"; }
answered_more_than() { [ "$(answered)" -gt "$1" ]; }
acknowledged_more_than() { [ "$(acknowledged)" -gt "$1" ]; }

# The master is cut off from the other nodes while a client writes to it: 1200 times, about six seconds, and until it has
# been replaced. Then the network is whole again. Sets $since, how many of these writes it acknowledged, and $lost, how many
# acknowledged ones are nowhere any more.
isolate_master_and_count() {
    local list=$1 old new cut node
    old=$(master i001)
    start_writing "$old" "$list"
    within 60 acknowledged_more_than 100

    echo "isolate $old" > "$CLUSTER/partition"
    cut=$(answered) since=$(acknowledged)
    within 60 replaced "$old"
    within 60 answered_more_than $((cut + 1200))
    since=$(($(acknowledged) - since))
    is_master "$old"
    stop_writing

    echo heal > "$CLUSTER/control"
    # The old master becomes a replica of the new one, and throws away what it has that the other has not.
    within 60 whole
    new=$(master i001)
    [ "$new" != "$old" ]
    for node in $NODES; do
        within 60 same_list "$node" "$new" "$list"
    done
    lost=$(sed -n 's/^ok //p' "$TOLD" | sort | comm -23 - <(redis "$new" LRANGE "$list" 0 -1 | sort) | wc -l)
    echo "# $since acknowledged since the cut, $(grep -c '^refused' "$TOLD") refused; $lost acknowledged writes are lost" >&3
}

same_list() { [ "$(redis "$1" LRANGE "$3" 0 -1)" = "$(redis "$2" LRANGE "$3" 0 -1)" ]; }

# ---- the tests ----------------------------------------------------------------------------------------------------------------

@test "Redis loses what it acknowledges while its master is cut off from its replicas" {
    isolate_master_and_count without
    [ "$lost" -gt 0 ]
    # The cut is there when the write to partition returns: all that was written after that is lost. (One may have been
    # written just before and acknowledged just after.)
    [ "$lost" -ge $((since - 1)) ]
    echo "$lost" > "$BATS_FILE_TMPDIR/lost"
}

@test "with min-replicas-to-write it loses less: what it acknowledges before it misses its replicas" {
    for node in $NODES; do
        redis "$node" CONFIG SET min-replicas-to-write 1
        redis "$node" CONFIG SET min-replicas-max-lag 1
    done
    within 60 whole
    isolate_master_and_count with
    grep -q '^refused [0-9]* NOREPLICAS' "$TOLD"
    [ "$lost" -lt "$(cat "$BATS_FILE_TMPDIR/lost")" ]
}
