#!/usr/bin/env bats
# A cluster over three engines, each as if on a machine of its own (lab.bash): i001 and i004 on a, i002 and i005 on b, i003 and i006 on c.
# The tests use one cluster, one after the other, so that the engines and it are set up once. What needs no real engine is in
# machines_simulated.bats.

load lib.bash
load lab.bash

setup_file() {
    begin
    WHY=$(lab_missing)
    export WHY
    [ -z "$WHY" ] || return 0
    PATH=$PATH:/usr/sbin:/sbin
    need_image
    lab_up 3
    lab_images "$IMAGE"
    # Killed now, looked at when its containers must have gone by themselves.
    over_all_three dead -n 3 --start --prefix "$P-dead"
    over_all_three machines -n 6 --start --prefix "$P"
    kill -9 "$(daemon_of dead)"
    date +%s >"$TMP/killed"
}

# Whatever the engines have still goes with the lab.
teardown_file() {
    end
    [ ! -e "$TMP" ]
}

setup() {
    [ -z "$WHY" ] || skip "$WHY"
    M=$TMP/machines
}

# ---- helpers --------------------------------------------------------------------------------------------------------

# over_all_three DIR OPTION...: mounts there.
over_all_three() {
    local M=$TMP/$1 engine hosts=()
    shift
    mkdir -p "$M"
    for engine in a b c; do hosts+=(--host "$engine=$(lab_url "$engine")"); done
    with_deadline 240 "$CTHULHU" mount "${hosts[@]}" --insecure -i "$IMAGE" "$@" "$M" -- sh -c \
        'trap "exit 143" TERM; nc -ll -p 7000 -e cat & while :; do sleep 3600 & wait $!; done'
}

# The pid of the daemon, as its containers have it.
daemon_of() { lab_docker a ps --filter "label=io.cthulhu.mountpoint=$TMP/$1" --format '{{.Label "io.cthulhu.owner"}}' | head -n 1 | cut -d. -f1; }
engine_of() { case $1 in *1 | *4) echo a ;; *2 | *5) echo b ;; *) echo c ;; esac; }
ip_of() { cat "$M/$1/ip"; }
# in_its_node NODE COMMAND...
in_its_node() { with_deadline 60 docker -H "$(lab_socket "$(engine_of "$1")")" exec "$P-$1" "${@:2}"; }

# reaches FROM TO: whether any of a few pings is answered. loss_is PERCENT FROM TO: whether that many of five are not.
reaches() { in_its_node "$1" ping -q -c 1 -W 2 "$(ip_of "$2")" >/dev/null; }
loss_is() { has "$(in_its_node "$2" ping -q -c 5 -i 0.2 -W 2 "$(ip_of "$3")")" ", $1% packet loss"; }
# The least round trip of ten, in whole milliseconds.
round_trip() { in_its_node "$1" ping -q -c 10 -i 0.1 -W 5 "$(ip_of "$2")" | sed -n 's|.* = \([0-9]*\)[^/]*/.*|\1|p'; }
# connects FROM TO: prints what the node's nc says.
connects() { in_its_node "$1" nc -w 5 "$(ip_of "$2")" 7000 </dev/null 2>&1; }

hosts_state() { awk -v host="$1" '$1 == host { print $3 }' "$M/hosts"; }
host_is() { [ "$(hosts_state "$1")" = "$2" ]; }
all_up() { [ "$(awk 'NR > 1 { print $3 }' "$M/hosts" | sort -u)" = up ]; }
is_down() { LC_ALL=C cat "$1" 2>&1 | grep -q 'Host is down'; }
nodes_are() { # STATE NODE...
    local node
    for node in "${@:2}"; do is "$1" "$(cat "$M/$node/state")" "state of $node" || return 1; done
}
status_of() { awk -v node="$1" '$1 == node' "$M/status"; }

# left_on ENGINE...: what there is of this file's clusters: containers, networks, volumes.
left_on() {
    local engine
    for engine in "$@"; do
        lab_docker "$engine" ps -a --filter label=io.cthulhu.cluster --format "$engine: {{.Names}}" | known_to_engine
        lab_docker "$engine" network ls --filter label=io.cthulhu.cluster --format "$engine: network {{.Name}}"
        lab_docker "$engine" volume ls --filter label=io.cthulhu.cluster --format "$engine: volume {{.Name}}"
    done
}
nothing_on_any() { [ -z "$(left_on a b c)" ]; }
dead_on() { lab_docker "$1" ps -aq --filter "label=io.cthulhu.mountpoint=$TMP/dead"; }
dead_is_gone() { [ -z "$(dead_on a)$(dead_on b)$(dead_on c)" ]; }

# The sandboxes of an engine: made anew they have another ID, started again another beginning.
sandboxes_on() { docker -H "$(lab_socket "$1")" ps -q --no-trunc --filter label=io.cthulhu.role=sandbox --filter "name=^/$P-i" | sort |
    xargs docker -H "$(lab_socket "$1")" inspect -f '{{.Id}} {{.State.StartedAt}}'; }

# ---- the cluster ----------------------------------------------------------------------------------------------------

@test "nodes are spread over the engines, and every file says on which" {
    is 'a b c a b c' "$(cat "$M"/i00?/host | xargs)" host
    is a "$(jq -r .i004.host "$M/spec.json")"
    is 'NAME ADDRESS STATE NODES CLOCK' "$(head -n 1 "$M/hosts" | xargs)"
    is 'a up 2 b up 2 c up 2' "$(awk 'NR > 1 { print $1, $3, $4 }' "$M/hosts" | xargs)"
    is 3 "$(awk 'NR > 1 { print $5 }' "$M/hosts" | grep -cE '^[+-][0-9.]+(ns|us|µs|ms|s)±[0-9.]+(ns|us|µs|ms|s)$')" 'clocks'
    has "$(head -n 1 "$M/status")" HOST
    has "$(status_of i005)" ' b '
    local node
    for node in i001 i002 i003 i004 i005 i006; do
        is true "$(lab_docker "$(engine_of $node)" inspect -f '{{.State.Running}}' "$P-$node")"
    done
    nodes_are running i001 i002 i003 i004 i005 i006
}

@test "the network keeps the engines' own addresses away from the nodes'" {
    local network
    network=$(lab_docker a network ls -q --filter "label=io.cthulhu.mountpoint=$M")
    lab_docker a network inspect "$network" | python3 -c '
import ipaddress, json, sys
network = json.load(sys.stdin)[0]
assert network["Driver"] == "overlay", network
config = network["IPAM"]["Config"][0]
taken = ipaddress.ip_network(config["IPRange"])
for address in sys.argv[1:]:
    assert ipaddress.ip_address(address) in ipaddress.ip_network(config["Subnet"]), address
    assert ipaddress.ip_address(address) not in taken, address' $(cat "$M"/i00?/ip)
}

@test "nodes on two engines reach each other by address and by name" {
    loss_is 0 i001 i002
    in_its_node i001 ping -c 1 -W 5 i002
    in_its_node i003 ping -c 1 -W 5 i001
    is "$(ip_of i001)" "$(in_its_node i002 nc -w 5 i001 7000 </dev/null && ip_of i001)"
}

@test "a partition between engines, and nobody else is cut off" {
    echo 'i001 | i002 i003 i004 i005 i006' >"$M/partition"
    loss_is 100 i001 i002
    loss_is 100 i001 i004
    loss_is 0 i003 i002
    echo heal >"$M/control"
    loss_is 0 i001 i002
}

@test "a delay between engines" {
    echo 'i001>i002 delay 50ms' >"$M/links"
    local slow quick
    slow=$(round_trip i001 i002) quick=$(round_trip i003 i002)
    echo "# $slow ms, others $quick ms" >&3
    [ "$slow" -ge 50 ] && [ "$slow" -lt 90 ]
    [ "$quick" -lt 40 ]
    echo heal >"$M/control"
}

@test "reject between engines: refused, and no silence" {
    is '' "$(connects i001 i002)"
    echo 'i001>i002 reject' >"$M/links"
    has "$(connects i001 i002)" 'Connection refused'
    is '' "$(connects i003 i002)"
    echo heal >"$M/control"
    is '' "$(connects i001 i002)"
}

@test "@ names an engine's nodes in partition, links and control; the shape hosts names all" {
    echo '@a | @b @c' >"$M/partition"
    is 'i001 i004 | i002 i003 i005 i006' "$(cat "$M/partition")"
    loss_is 100 i001 i002
    loss_is 0 i001 i004
    loss_is 0 i002 i003
    echo hosts >"$M/partition"
    is 'i001 i004 | i002 i005 | i003 i006' "$(cat "$M/partition")"
    echo heal >"$M/control"
    echo '@a>@b delay 50ms' >"$M/links"
    is 'i001>i002 i001>i005 i004>i002 i004>i005' "$(sed 's/ .*//' "$M/links" | sort | xargs)"
    echo heal >"$M/control"
    echo 'stop @b' >"$M/control"
    nodes_are exited i002 i005
    nodes_are running i001 i003 i004 i006
    echo 'start @b' >"$M/control"
    nodes_are running i002 i005
    is '2 ENOENT' "$(put_line "$M/control" 'stop @nowhere')"
}

@test "what a node and a program here write is read by the other, on any engine; with its agent gone: EHOSTDOWN" {
    local node agent
    for node in i001 i002 i003; do
        echo "for $node" >"$M/$node/bindmounts/var/here"
        is "for $node" "$(in_its_node $node cat /opt/app/var/here)"
        in_its_node $node sh -c 'echo "from $(hostname)" >/opt/app/var/there'
        wait_for 10 reads "$M/$node/bindmounts/var/there" "from $node"
    done
    agent=$(lab_docker b ps -q --filter label=io.cthulhu.role=agent --filter "label=io.cthulhu.mountpoint=$M")
    [ -n "$agent" ]
    lab_docker b kill "$agent"
    wait_for 60 is_down "$M/i002/bindmounts/var/here"
    is 'for i001' "$(cat "$M/i001/bindmounts/var/here")"
    is 'for i003' "$(cat "$M/i003/bindmounts/var/here")"
}

@test "all connections to an engine are reset: nothing is lost, and changes succeed once they are made again" {
    local sandboxes nodes
    echo 'i002>i001 drop' >"$M/links"
    sandboxes=$(sandboxes_on b) nodes=$(cat "$M/i002/pid.txt" "$M/i005/pid.txt")
    lab_reset b || skip 'this kernel cannot reset connections (CONFIG_INET_DIAG_DESTROY)'
    echo '@a | @b @c' >"$M/partition"
    loss_is 100 i001 i002
    loss_is 0 i002 i003
    echo >"$M/partition"
    loss_is 100 i002 i001
    is 'i002>i001 drop' "$(cat "$M/links")"
    nodes_are running i002 i005
    is "$sandboxes" "$(sandboxes_on b)" sandboxes
    is "$nodes" "$(cat "$M/i002/pid.txt" "$M/i005/pid.txt")" pids
    echo heal >"$M/control"
    loss_is 0 i002 i001
}

@test "an engine's link is cut for 40 s: faults stay, and its sandboxes are had again" {
    local sandboxes cut
    echo 'i002>i005 drop' >"$M/links"
    sandboxes=$(sandboxes_on b)
    lab_cut b
    cut=$SECONDS
    wait_for 60 is_down "$M/i002/state"
    host_is b away
    # No condition to wait for: the lease of a sandbox is longer than this.
    sleep $((40 - (SECONDS - cut) > 0 ? 40 - (SECONDS - cut) : 0))
    loss_is 100 i002 i005
    loss_is 0 i001 i003
    lab_mend b
    cut=$SECONDS
    wait_for 60 host_is b up
    wait_for 60 all_up
    echo "# attached again after $((SECONDS - cut)) s" >&3
    is 'i002>i005 drop' "$(cat "$M/links")"
    loss_is 100 i002 i005
    is "$sandboxes" "$(sandboxes_on b)" sandboxes
    echo heal >"$M/control"
    loss_is 0 i002 i005
    wait_for 60 reaches i001 i002
}

@test "90 s after a daemon was killed nothing of its cluster is left on any engine" {
    local left
    left=$((90 - ($(date +%s) - $(cat "$TMP/killed"))))
    [ "$left" -le 0 ] || sleep "$left"
    wait_for 0 dead_is_gone
    fusermount3 -uz "$TMP/dead"
    "$CTHULHU" prune --yes "$TMP/dead"
}

@test "an engine that is frozen: its nodes' values are EHOSTDOWN, all others can be read, faults that concern it change nothing anywhere" {
    local begin
    lab_freeze b
    wait_for 60 is_down "$M/i002/state"
    is_down "$M/i005/pid.txt"
    nodes_are running i001 i003 i004 i006
    host_is b away
    has "$(status_of i002)" unknown
    has "$(status_of i003)" running
    is b "$(cat "$M/i002/host")"
    begin=$SECONDS
    is '112 EHOSTDOWN' "$(put_line "$M/partition" '@a | @b @c')"
    is '112 EHOSTDOWN' "$(put_line "$M/links" 'i001>i002 drop')"
    [ $((SECONDS - begin)) -lt 10 ]
    loss_is 0 i001 i003
    loss_is 0 i001 i004
    # Among those that can be reached, faults go on.
    echo 'i001>i003 drop' >"$M/links"
    loss_is 100 i001 i003
    loss_is 0 i004 i003
    echo 'heal i001' >"$M/control"
    loss_is 0 i001 i003
}

@test "stop of all with an engine away: all others stop, and error names whom it missed" {
    is '112 EHOSTDOWN' "$(put_line "$M/control" stop)"
    nodes_are exited i001 i003 i004 i006
    has "$(cat "$M/error")" i002
    has "$(cat "$M/error")" i005
    is 0 "$(grep -cE 'i00[1346]' "$M/error")"
    lab_thaw b
    wait_for 60 all_up
    nodes_are running i002 i005
    echo start >"$M/control"
    nodes_are running i001 i002 i003 i004 i005 i006
    echo '@a | @b @c' >"$M/partition"
    loss_is 100 i001 i002
    echo heal >"$M/control"
}

@test "an engine killed and started again: start brings its nodes back, with their addresses and faults" {
    local addresses
    addresses=$(cat "$M"/i00?/ip)
    echo 'i002>i001 drop' >"$M/links"
    lab_kill b
    wait_for 60 is_down "$M/i002/state"
    lab_start b
    wait_for 120 all_up
    wait_for 120 reads "$M/i002/state" exited
    echo start >"$M/control"
    nodes_are running i001 i002 i003 i004 i005 i006
    is "$addresses" "$(cat "$M"/i00?/ip)" addresses
    is 'i002>i001 drop' "$(cat "$M/links")"
    loss_is 100 i002 i001
    wait_for 60 reaches i005 i001
    echo heal >"$M/control"
    wait_for 60 reaches i002 i001
}

# ---- mounting -------------------------------------------------------------------------------------------------------

@test "one --host: nothing of the tree says that there could be several" {
    M=$TMP/one
    mkdir "$M"
    with_deadline 120 "$CTHULHU" mount --host "a=${DOCKER_HOST:-unix:///var/run/docker.sock}" --prefix "$P-one" -n 2 -i "$IMAGE" --start "$M" -- "${NODE[@]}"
    is 0 "$(find "$M" -name host -o -name hosts | wc -l)" 'files of hosts'
    is 'NAME ADDRESS STATE PID' "$(head -n 1 "$M/status" | xargs)"
    is null "$(jq .i001.host "$M/spec.json")"
    is bridge "$(docker network ls --filter "label=io.cthulhu.mountpoint=$M" --format '{{.Driver}}')"
    nodes_are running i001 i002
    umount_cluster
}

@test "an overlay of the user's without a range for the engines is refused at once; one with a range is used, by racks" {
    local engine status=0 begin=$SECONDS
    overlay() { lab_docker a network create -d overlay --attachable --subnet "$@" >/dev/null; }
    overlay 10.219.7.0/24 "$P-plain"
    for engine in a b c; do lab_docker "$engine" run -d --name "$P-other" --network "$P-plain" "$IMAGE" sleep 3600 >/dev/null; done
    begin=$SECONDS
    over_all_three plain -n 3 --prefix "$P-plain" --network "$P-plain" 2>"$TMP/out" || status=$?
    is 1 "$status"
    has "$(cat "$TMP/out")" --ip-range
    # A duplicate address would cost 20 s.
    [ $((SECONDS - begin)) -lt 15 ]
    for engine in a b c; do lab_docker "$engine" rm -f "$P-other" >/dev/null; done

    overlay 10.219.8.0/24 --ip-range 10.219.8.240/28 "$P-ranged"
    over_all_three ranged -n 4 --start --prefix "$P-ranged" --network "$P-ranged" --place label:rack
    M=$TMP/ranged
    is 'a c b c' "$(cat "$M"/i00?/host | xargs)" host
    nodes_are running i001 i002 i003 i004
    lab_docker a exec "$P-ranged-i001" ping -c 1 -W 5 "$(ip_of i002)"
    umount_cluster
    # Somebody else's stay.
    lab_docker a network rm "$P-plain" "$P-ranged"
}

@test "engines without a swarm in common are refused, and so is plain TCP without --insecure" {
    local status=0
    M=$TMP/refused
    mkdir "$M"
    "$CTHULHU" mount --host "b=$(lab_url b)" --host "a=$(lab_url a)" -n 2 "$M" 2>"$TMP/out" || status=$?
    is 1 "${status/2/1}"
    has "$(cat "$TMP/out")" '--insecure'
    if [ "$(docker info --format '{{.Swarm.LocalNodeState}}')" != active ]; then
        status=0
        "$CTHULHU" mount --host "a=$(lab_socket a)" --host "other=${DOCKER_HOST:-unix:///var/run/docker.sock}" -n 2 "$M" 2>"$TMP/out" || status=$?
        is 1 "$status"
        for word in 'docker swarm init' 'docker swarm join' 2377/tcp 7946 4789/udp; do has "$(cat "$TMP/out")" "$word"; done
    fi
    is '' "$(mounts "$M")"
}

@test "artifacts of a run have what nodes on other machines wrote" {
    with_deadline 240 "$CTHULHU" run --host "a=$(lab_url a)" --host "b=$(lab_url b)" --insecure -i "$IMAGE" -n 2 --prefix "$P-run" \
        --artifacts "$TMP/artifacts" --artifacts-when always \
        --node-command 'sh -c "mkdir /opt/app/var/d; hostname >/opt/app/var/d/f; sleep 3600"' --ready-cmd 'test -s /opt/app/var/d/f' -- true
    is 2 "$(cat "$TMP/artifacts/$P-run"/i00[12]/bindmounts/var/d/f | wc -l)"
    is '' "$(cat "$TMP/artifacts/$P-run/left-out.txt" 2>/dev/null)" 'left out'
    rm -r "$TMP/artifacts"
}

# ---- the end --------------------------------------------------------------------------------------------------------

@test "umount with an engine away: exit status 1, the others are empty, and prune has the rest once it is back" {
    local status=0
    lab_freeze c
    wait_for 60 host_is c away
    umount_cluster 2>"$TMP/out" || status=$?
    is 1 "$status"
    has "$(cat "$TMP/out")" c
    is '' "$(mounts "$M")"
    # The network cannot go before the last that is in it.
    is '' "$(left_on a b | grep -v ': network ')" 'what is left on a and b'
    has "$(cat "$XDG_STATE_HOME"/cthulhu/machines-*/cluster.json)" "$(lab_url c)"
    # A mount that does not know of it does not lose it.
    refused "$CTHULHU" mount --host "a=$(lab_url a)" --timeout 5 "$M" 2>"$TMP/out"
    has "$(cat "$TMP/out")" 'an earlier cluster here may have left containers behind'
    has "$(cat "$XDG_STATE_HOME"/cthulhu/machines-*/cluster.json)" "$(lab_url c)"
    lab_thaw c
    wait_for 60 lab_docker c version >/dev/null
    "$CTHULHU" prune --yes "$M"
    # The swarm removes the network in its own time.
    wait_for 60 nothing_on_any || left_on a b c
    nothing_on_any
    is 0 "$(find "$XDG_STATE_HOME" -name cluster.json | wc -l)" records
    is '' "$(daemons "$TMP")" daemons
}
