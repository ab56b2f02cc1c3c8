#!/usr/bin/env bash
# Kills engines, the daemon and agents of a cluster over three engines at random moments, as root. A long run of its own:
#
#   fs-tests/kill_machines.sh [ROUNDS [SEED]]        default: 20 rounds, a seed that it prints
#
# The rounds take turns at engines a, b and c, the daemon, and the agent of each engine. The victim gets SIGKILL while commands and
# partitions are written without end. Then
#
# - whatever can be read is what the engines have: a node's state, and who reaches whom;
# - once the engine is back, `start` brings all nodes back, and partitions hold again;
# - after the daemon's end, `prune` leaves nothing in any engine.
#
# CTHULHU is the binary to test. Exit status 77: this machine cannot run several engines.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.bash
. "$here/lib.bash"
# shellcheck source=lab.bash
. "$here/lab.bash"

rounds=${1:-20} seed=${2:-$RANDOM} writer=''
RANDOM=$seed
nodes=(i001 i002 i003 i004 i005 i006)
engines=(a b c)

why=$(lab_missing)
[ -z "$why" ] || { echo "kill_machines.sh: $why" >&2 && exit 77; }
begin
trap '[ -z "$writer" ] || kill "$writer" 2>/dev/null || true; end' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
M=$TMP/machines
need_image
lab_up 3
lab_images "$IMAGE"

fail() {
    printf 'kill_machines.sh: round %s, %s: %s (seed %s)\n' "$round" "$victim" "$*" "$seed" >&2
    cat "$XDG_STATE_HOME"/cthulhu/*/*.log >&2 || true
    exit 1
}
engine_of() { case $1 in *1 | *4) echo a ;; *2 | *5) echo b ;; *) echo c ;; esac; }
on_engine_of() { lab_docker "$(engine_of "$1")" "${@:2}"; }

mounted() {
    local engine hosts=()
    for engine in "${engines[@]}"; do hosts+=(--host "$engine=$(lab_url "$engine")"); done
    mkdir -p "$M"
    with_deadline 240 "$CTHULHU" mount "${hosts[@]}" --insecure --prefix "$P" -n ${#nodes[@]} -i "$IMAGE" --start "$M" -- "${NODE[@]}"
}

# Until the mount is dead. What is refused meanwhile is refused with a reason.
trouble() {
    local words=('start' 'stop -t 0' 'restart -t 0' 'kill' 'pause' 'resume' 'start')
    RANDOM=$1
    while cat "$M/i001/name" >/dev/null; do
        case $((RANDOM % 4)) in
        0) echo '@a | @b @c' >"$M/partition" ;;
        1) echo 'heal' >"$M/control" ;;
        *) echo "${words[RANDOM % 7]} ${nodes[RANDOM % 6]}" >"$M/control" ;;
        esac || true
    done
} 2>/dev/null

# state_is_true NODE: what can be read of it is what its engine has.
state_is_true() {
    local told real
    told=$(cat "$M/$1/state" 2>/dev/null) || return 1
    real=$(on_engine_of "$1" inspect -f '{{.State.Status}}' "$P-$1" 2>/dev/null) || real=missing
    [ "$told" = "$real" ]
}

# Who answers whom, against what `partition` says: groups, or nothing for all.
reach_is_true() {
    local from to claim ip pids=()
    claim=$(cat "$M/partition") || return 1
    for from in "${nodes[@]}"; do
        for to in "${nodes[@]}"; do
            [ "$from" != "$to" ] || continue
            ip=$(cat "$M/$to/ip")
            on_engine_of "$from" exec "$P-$from" ping -q -c 1 -W 3 "$ip" >/dev/null 2>&1 && echo "$from $to"
        done >"$TMP/reach.$from" &
        pids+=($!)
    done
    wait "${pids[@]}" || true
    cat "$TMP"/reach.i* | sort >"$TMP/reached"
    python3 - "$claim" "${nodes[@]}" >"$TMP/claimed" <<'PYTHON'
import sys
groups = [group.split() for group in sys.argv[1].split("|") if group.strip()] or [sys.argv[2:]]
print(*sorted(f"{a} {b}" for group in groups for a in group for b in group if a != b), sep="\n")
PYTHON
    diff "$TMP/claimed" "$TMP/reached" >"$TMP/difference"
}

all_left() {
    local engine
    for engine in "${engines[@]}"; do
        lab_docker "$engine" ps -a --filter label=io.cthulhu.cluster --format "container on $engine: {{.Names}}" | known_to_engine
        lab_docker "$engine" network ls --filter label=io.cthulhu.cluster --format "network {{.Name}} on $engine"
        lab_docker "$engine" volume ls --filter label=io.cthulhu.cluster --format "volume {{.Name}} on $engine"
    done
}

all_up() { [ "$(awk 'NR > 1 { print $3 }' "$M/hosts" | sort -u)" = up ]; }

starts() { echo start >"$M/control"; } 2>/dev/null

# All is well after start, and the faults that are asked for hold.
comes_back() {
    wait_for 120 all_up || fail 'the engine was not seen again'
    echo resume >"$M/control" 2>/dev/null || true
    # An engine that has just begun can take longer than --timeout until it has joined the swarm again.
    wait_for 120 starts || fail "start: $(cat "$M/error")"
    for node in "${nodes[@]}"; do wait_for 60 reads "$M/$node/state" running || fail "$node is $(cat "$M/$node/state")"; done
    wait_for 60 reach_is_true || fail "who reaches whom: $(cat "$TMP/difference")"
    echo '@a | @b @c' >"$M/partition" || fail "partition: $(cat "$M/error")"
    reach_is_true || fail "under a partition: $(cat "$TMP/difference")"
    echo heal >"$M/control" || fail "heal: $(cat "$M/error")"
}

# The swarm removes a network in its own time.
nothing_is_left() { [ -z "$(all_left)" ]; }

victims=(a b c daemon agent-a agent-b agent-c)
for round in $(seq "$rounds"); do
    victim=${victims[(round - 1) % ${#victims[@]}]}
    [ -e "$M/status" ] || mounted || fail 'mount'
    trouble "$RANDOM" &
    writer=$!
    # Not in a subshell, which has a seed of its own.
    printf -v moment '%d.%03d' $((RANDOM % 3)) $((RANDOM % 1000))
    sleep "$moment"
    case $victim in
    daemon) kill -9 "$(daemons "$TMP")" ;;
    agent-*)
        agent=$(lab_docker "${victim#*-}" ps -q --filter label=io.cthulhu.role=agent)
        [ -n "$agent" ] || fail 'there is no agent'
        lab_docker "${victim#*-}" kill "$agent" >/dev/null
        ;;
    *)
        lab_kill "$victim"
        sleep "$((RANDOM % 3))"
        ;;
    esac
    if [ "$victim" = daemon ]; then
        wait "$writer" || true
        fusermount3 -uz "$M" 2>/dev/null || true
        "$CTHULHU" prune --yes "$M" >"$TMP/pruned" 2>&1 || fail "prune: $(cat "$TMP/pruned")"
        wait_for 60 nothing_is_left || fail "after prune, which said $(cat "$TMP/pruned"): $(all_left)"
    else
        # Others' nodes go on being told truly.
        kill "$writer" && wait "$writer" 2>/dev/null || true
        for node in "${nodes[@]}"; do
            [ "$(engine_of "$node")" = "$victim" ] || wait_for 60 state_is_true "$node" ||
                fail "$node: state says $(cat "$M/$node/state" 2>&1), its engine $(on_engine_of "$node" inspect -f '{{.State.Status}}' "$P-$node" 2>&1)"
        done
        [[ $victim = agent-* ]] || lab_start "$victim"
        for node in "${nodes[@]}"; do wait_for 120 state_is_true "$node" || fail "$node: state says $(cat "$M/$node/state" 2>&1)"; done
        comes_back
    fi
    writer=''
    echo "round $round: $victim killed after $moment s: all is well"
done
umount_cluster >/dev/null
victim=umount
wait_for 60 nothing_is_left || fail "$(all_left)"
echo "$rounds rounds, seed $seed: nothing wrong was claimed, nothing was left"
