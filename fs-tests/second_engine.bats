#!/usr/bin/env bats
# An engine that really ends and begins again: a second dockerd, of this file's own, beside the one that runs.

load lib.bash

setup_file() {
    begin
    [ "$(id -u)" = 0 ] || return 0
    PATH=$PATH:/usr/sbin:/sbin
    command -v dockerd >/dev/null || skip 'there is no dockerd on this machine'
    export DOCKER_HOST=unix://$TMP/e/docker.sock
    mkdir "$TMP/e"
    own_bridge
    start_engine
    need_image
    volume_image
}

teardown_file() {
    local pid
    if [ -d "$TMP/e" ]; then
        for pid in $(daemons "$TMP"); do kill "$pid" || true; done
        wait_for 60 no_daemons "$TMP" || true
        # What is left is removed by the engine itself, which knows its mounts and interfaces.
        engine_answers || start_engine
        for pid in $(docker ps -aq); do docker rm -fv "$pid" >/dev/null; done
        docker network prune -f >/dev/null
        stop_engine TERM
        ip link del "$BRIDGE"
    fi
    end
    [ ! -e "$TMP" ]
}

setup() {
    needs_root 'to run a second dockerd'
    M=$TMP/m
    mkdir -p "$M"
    engine_answers || start_engine
}

# Nothing of it reaches into the network of the machine but the bridges of its networks. start_engine [OPTION...]
start_engine() {
    # Ends that nobody has taken note of yet would pass for processes that live.
    rm -f "$TMP/e/docker.pid" "$TMP/e/exec/containerd/containerd.pid"
    setsid dockerd --data-root "$TMP/e/data" --exec-root "$TMP/e/exec" --pidfile "$TMP/e/docker.pid" -H "$DOCKER_HOST" \
        --bridge="$BRIDGE" --iptables=false --ip6tables=false --ip-masq=false "$@" \
        >>"$TMP/e/log" 2>&1 </dev/null 3>&- &
    echo $! >"$TMP/e/pid"
    wait_for 60 engine_answers || {
        tail -n 5 "$TMP/e/log" >&2
        return 1
    }
}

engine_answers() { timeout 10 docker version >/dev/null 2>&1; }

# stop_engine SIGNAL
stop_engine() {
    kill -s "$1" "$(cat "$TMP/e/pid")"
    wait_for 60 gone "$(cat "$TMP/e/pid")"
    # Its containerd goes with it; the shims stay after SIGKILL.
    no_containerd() { ! engine_processes "$TMP" | xargs -r -I{} readlink /proc/{}/exe | grep -q '/containerd$'; }
    wait_for 30 no_containerd
}

cluster() {
    with_deadline 120 "$CTHULHU" mount --prefix "$P" -n 2 -i "$IMAGE" --start "$M" -- \
        sh -c 'trap "exit 143" TERM; n=0; while :; do n=$((n + 1)); echo "line $n"; sleep 0.1 & wait $!; done'
}

# The interface of the cluster's network.
bridge() { echo "br-$(networks "$M" | cut -c 1-12)"; }

# engine_is_empty BRIDGE: nothing is in the engine, and the interface is gone.
engine_is_empty() {
    is '' "$(docker ps -a --format '{{.ID}} {{.Names}}' | known_to_engine)" containers
    is 'bridge host none ' "$(docker network ls --format '{{.Name}}' | sort | tr '\n' ' ')" networks
    refused ip link show "$1" >/dev/null 2>&1
}

# pings_host NODE: the host answers it. Nodes of this engine hear no other node where the first one has the kernel drop what it does not know.
pings_host() { docker exec "$P-$1" ping -c 1 -W 2 "$(sed 's/[0-9]*$/1/' "$M/$1/ip")" >/dev/null; }

# goes_and_comes SIGNAL
goes_and_comes() {
    local addresses n bridge
    cluster
    bridge=$(bridge)
    ip link show "$bridge" >/dev/null
    addresses=$(cat "$M/i001/ip" "$M/i002/ip")
    wait_for 20 contains "$M/i001/log" 'line 3'
    pings_host i002
    echo 'i002>host drop' >"$M/links"
    refused pings_host i002
    stop_engine "$1"
    wait_for 10 unknown
    is i001 "$(with_deadline 60 cat "$M/i001/name")"
    with_deadline 60 ls -lR "$M" >/dev/null
    has "$(tail -n 1 "$M/i002/log")" line
    echo x >"$M/i001/bindmounts/var/f"
    is '112 EHOSTDOWN' "$(put_line "$M/control" start)"
    has "$(cat "$M/error")" 'cannot reach the engine'
    is '112 EHOSTDOWN' "$(put_line "$M/partition" 'i001 | i002')"
    has "$(cat "$M/error")" 'cannot reach the engine'
    is '' "$(cat "$M/partition")"
    start_engine
    wait_for 30 known
    # Without live-restore, an engine that begins ends what ran on without it.
    for n in i001 i002; do
        wait_for 30 reads "$M/$n/state" exited
        is exited "$(field $n '{{.State.Status}}')"
        wait_for 10 reads "$M/$n/exit_code" "$(field $n '{{.State.ExitCode}}')"
        is '' "$(cat "$M/$n/pid.txt")"
        docker logs "$P-$n" >"$TMP/whole"
        wait_for 10 cmp -s "$TMP/whole" "$M/$n/log"
    done
    echo start >"$M/control"
    all_in running
    is "$addresses" "$(cat "$M/i001/ip" "$M/i002/ip")" addresses
    for n in i001 i002; do
        is "$(field $n '{{.State.Pid}}')" "$(cat "$M/$n/pid.txt")"
        is true "$(field $n-sandbox '{{.State.Running}}')"
        docker exec "$P-$n" ip addr | grep -q "inet $(cat "$M/$n/ip")/"
    done
    is x "$(docker exec "$P-i001" cat /opt/app/var/f)"
    pings_host i001
    refused pings_host i002
    echo heal >"$M/control"
    pings_host i002
    umount_cluster
    engine_is_empty "$bridge"
}

@test "stopped and started again: EHOSTDOWN, then the truth; start brings all back, umount leaves nothing" {
    goes_and_comes TERM
}

@test "the same with kill -9" {
    goes_and_comes KILL
}

@test "umount while it is down; the next mount there removes what is left, umount leaves nothing" {
    local status=0 bridge
    cluster
    stop_engine KILL
    umount_cluster 2>"$TMP/out" || status=$?
    is 1 "$status"
    is 1 "$(wc -l <"$TMP/out")"
    has "$(cat "$TMP/out")" "cthulhu umount $M"
    is '' "$(mounts "$M")"
    start_engine
    # Sandboxes remove themselves, sooner or later.
    is 2 "$(docker ps -aq --filter label=io.cthulhu.role=node --filter "label=io.cthulhu.mountpoint=$M" | wc -l)" 'nodes that are left'
    cluster
    bridge=$(bridge)
    is 4 "$(containers "$M" | wc -l)"
    is 1 "$(networks "$M" | wc -l)"
    umount_cluster
    engine_is_empty "$bridge"
}

# Sandboxes that the cluster has lost and got back, as the history tells it.
sandboxes_told() { jq -r '.sandbox // empty | "\(.node) \(.phase)"' "$M/history"; }

# lives_on SIGNAL: with live-restore, containers run on without their engine, and only our connections to them break.
lives_on() {
    local pids sandboxes bridge
    stop_engine TERM
    start_engine --live-restore
    cluster
    bridge=$(bridge)
    echo 'i002>host drop' >"$M/links"
    refused pings_host i002
    pids=$(cat "$M/i001/pid.txt" "$M/i002/pid.txt")
    sandboxes=$(docker inspect -f '{{.Id}} {{.State.Pid}}' "$P-i001-sandbox" "$P-i002-sandbox")
    stop_engine "$1"
    wait_for 60 unknown
    start_engine --live-restore
    wait_for 60 known
    all_in running
    is "$pids" "$(cat "$M/i001/pid.txt" "$M/i002/pid.txt")" 'they have run on'
    is "yes yes" "$(echo $(cat "$M/i001/ready" "$M/i002/ready"))"
    is 'i002>host drop' "$(cat "$M/links")"
    refused pings_host i002
    pings_host i001
    echo 'i001>host drop' >"$M/links"
    pings_host i002
    refused pings_host i001
    echo start >"$M/control"
    echo restart >"$M/i001/control"
    refused pings_host i001
    echo heal >"$M/control"
    pings_host i001
    is "$sandboxes" "$(docker inspect -f '{{.Id}} {{.State.Pid}}' "$P-i001-sandbox" "$P-i002-sandbox")" 'the same sandboxes'
    is '' "$(sandboxes_told)"
    umount_cluster
    engine_is_empty "$bridge"
    stop_engine TERM
}

@test "live-restore: nodes and faults live through the engine's restart, and can be changed again" {
    lives_on TERM
}

@test "live-restore: the same with kill -9" {
    lives_on KILL
}

@test "live-restore: a sandbox that ended meanwhile is lost, and start makes it whole" {
    stop_engine TERM
    start_engine --live-restore
    cluster
    echo 'i002>host drop' >"$M/links"
    local pid
    pid=$(docker inspect -f '{{.State.Pid}}' "$P-i002-sandbox")
    stop_engine TERM
    kill -9 "$pid"
    start_engine --live-restore
    wait_for 60 known
    is running "$(cat "$M/i002/state")"
    is no "$(cat "$M/i002/ready")"
    has "$(cat "$M/links" 2>&1)" 'Host is down'
    is 'i002 lost' "$(sandboxes_told)"
    is '5 EIO' "$(put_line "$M/partition" 'i001 | i002')"
    has "$(cat "$M/error")" 'i002: its sandbox'
    echo start >"$M/control"
    is 'i002>host drop' "$(cat "$M/links")"
    refused pings_host i002
    is 'i002 lost i002 back' "$(echo $(sandboxes_told))"
    umount_cluster
    stop_engine TERM
}

@test "a restart of the engine loses the layer of a node's container, and neither volumes nor bindmounts" {
    local signal
    with_deadline 120 "$CTHULHU" mount --prefix "$P" -n 1 -i "$P-volume" --start "$M"
    for signal in TERM KILL; do
        write_all
        stop_engine "$signal"
        start_engine
        wait_for 120 known
        wait_for 120 reads "$M/i001/state" exited
        echo start >"$M/control"
        is 'volume bindmount' "$(survivors)" "what survives SIG$signal"
    done
    is 2 "$(volumes | wc -l)" volumes
    umount_cluster
    is '' "$(volumes)" volumes
}
