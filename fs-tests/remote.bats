#!/usr/bin/env bats
# An engine that is reached over a network, which fails: for a moment, for a while, for longer than sandboxes wait.
#
# proxy.py is that network; the tests' own docker commands go to the engine itself. The engine is on this machine, but
# over TCP nobody can know that.

load lib.bash

setup_file() {
    begin
    need_image
    local host=${DOCKER_HOST:-unix:///var/run/docker.sock}
    [ "${host#unix://}" != "$host" ] || skip "the engine at $host is not on a unix socket"
    export SOCKET=${host#unix://}
}

teardown_file() {
    local ctl
    for ctl in "$TMP"/*.ctl; do link "$(basename "$ctl" .ctl)" mend || true; done
    for pid in $(daemons "$TMP"); do kill "$pid" || true; done
    wait_for 60 no_daemons "$TMP" || true
    cat "$TMP"/*.pid | xargs kill || true
    end
}

# Prints lines without end, with their numbers.
# shellcheck disable=SC2016
COUNTER=(sh -c 'trap "exit 143" TERM; n=0; while :; do n=$((n + 1)); echo "line $n"; sleep 0.1 & wait $!; done')

# far NAME: mounts a cluster of that name over a network of its own, and cuts its nodes off from each other. Sets M.
far() {
    M=$TMP/$1
    mkdir -p "$M" "$TMP/$1.d/state"
    python3 "$FS_TESTS/proxy.py" 127.0.0.1:0 "$SOCKET" "$TMP/$1.ctl" 3>&- >/dev/null &
    echo $! >"$TMP/$1.pid"
    wait_for 10 test -s "$TMP/$1.ctl.address"
    of "$1" with_deadline 120 "$CTHULHU" mount --prefix "$P-$1" --host "tcp://$(cat "$TMP/$1.ctl.address")" -n 2 -i "$IMAGE" \
        --start "$M" -- "${COUNTER[@]}"
    echo 'i001 | i002' >"$M/partition"
    sandboxes "$1" >"$TMP/$1.sandboxes"
    is 2 "$(wc -l <"$TMP/$1.sandboxes")" sandboxes
}

# of NAME COMMAND...: with the state directory of that cluster.
of() {
    local name=$1
    shift
    XDG_STATE_HOME=$TMP/$name.d/state "$@"
}

# link NAME COMMAND: what happens to that cluster's network.
link() {
    local before
    before=$(cat "$TMP/$1.ctl.done")
    echo "$2" >"$TMP/$1.ctl"
    wait_for 10 reads "$TMP/$1.ctl.done" $((before + 1))
}

# The sandboxes of a cluster that there are.
sandboxes() { docker ps -aq --no-trunc --filter "name=^/$P-$1-.*sandbox" | sort; }

# The same ones as at the beginning.
same() { is "$(cat "$TMP/$1.sandboxes")" "$(sandboxes "$1")" "sandboxes of $1"; }

# Files say what is in force, and it is.
is_cut() {
    is 'i001 | i002' "$(cat "$TMP/$1/partition")" partition
    refused pings "$P-$1-i001" "$(readlink "$TMP/$1/i002")"
}

heals() {
    is OK "$(put_line "$TMP/$1/partition" '')"
    pings "$P-$1-i001" "$(readlink "$TMP/$1/i002")"
}

# Every line of a node once and in order.
is_whole() {
    awk '$1 == "line" && $2 != ++n { print "after line " n - 1 ": " $0; exit 1 }' "$1/i001/log"
}

at_second() { [ "$SECONDS" -ge "$1" ]; }
is_down() { has "$(LC_ALL=C cat "$1" 2>&1)" 'Host is down'; }
none_left() { [ -z "$(sandboxes "$1")" ]; }
later() { [ "$(tail -n 1 "$1/i001/log")" != "$2" ]; }

@test "an engine elsewhere has sandboxes with a lease, that of this machine has none" {
    far lease
    is 'false true' "$(docker inspect -f '{{.Config.StdinOnce}} {{.Config.OpenStdin}}' "$P-lease-i001-sandbox")"
    has "$(docker inspect -f '{{json .Args}}' "$P-lease-i001-sandbox")" '"--internal","sandbox","--lease","60"]'
    of lease umount_cluster
    mount_busybox near -n 1 --host "unix://$SOCKET"
    is 'true true' "$(docker inspect -f '{{.Config.StdinOnce}} {{.Config.OpenStdin}}' "$P-i001-sandbox")"
    has "$(docker inspect -f '{{json .Args}}' "$P-i001-sandbox")" '"--internal","sandbox"]'
    umount_cluster
    nothing_left
}

@test "all connections are reset, again and again: nothing is lost, and the next write succeeds" {
    local n last
    far reset
    for n in 1 2 3; do
        link reset reset
        is OK "$(put_line "$M/links" "i001>i002 delay ${n}ms")"
        is_cut reset
        same reset
    done
    last=$(tail -n 1 "$M/i001/log")
    wait_for 10 later "$M" "$last"
    is_whole "$M"
    heals reset
    is '' "$(jq -c 'select(.sandbox != null)' "$M/history")" 'lost sandboxes'
    of reset umount_cluster
    nothing_left
}

# Side by side, as most of it is waiting.
@test "the network fails for 40 s and for longer than a lease, and a daemon is killed" {
    local begin mended
    far short
    far long
    far killed
    kill -9 "$(daemons "$TMP/killed.d")"
    link long cut
    link short cut
    begin=$SECONDS
    is '112 EHOSTDOWN' "$(put_line "$TMP/short/partition" '')"
    is 'i001: cannot reach the engine; nothing has changed; i002: cannot reach the engine; nothing has changed' "$(cat "$TMP/short/error")"
    is_down "$TMP/short/status"
    wait_for 60 at_second $((begin + 40))
    same short
    link short mend
    mended=$SECONDS
    wait_for 10 known_of short
    echo "# known again after $((SECONDS - mended)) s" >&3
    is_cut short
    # What was under way when it was cut comes late, and must not count.
    heals short
    same short
    wait_for 10 is_whole "$TMP/short"

    wait_for 90 none_left long
    wait_for 90 none_left killed
    echo "# sandboxes are gone after $((SECONDS - begin)) s" >&3
    same short
    link long mend
    M=$TMP/long
    wait_for 30 contains "$M/i001/ready_reason" 'its sandbox'
    is_down "$M/partition"
    is '5 EIO' "$(put_line "$M/partition" '')"
    echo start >"$M/control"
    is_cut long
    is 2 "$(sandboxes long | wc -l)" 'sandboxes of long'
    heals long
    for M in "$TMP"/{short,long,killed}; do of "$(basename "$M")" umount_cluster; done
    nothing_left
}

known_of() { M=$TMP/$1 known; }
