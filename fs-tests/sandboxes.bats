#!/usr/bin/env bats
# What others do to the containers that hold the nodes' networks: no file claims a fault that is not in force, and nothing that is
# in force is taken for lost.

load lib.bash

setup_file() {
    begin
    need_image
    mount_busybox cluster -n 2 --start
    export M
}

teardown_file() {
    umount_cluster 2>/dev/null || true
    docker network rm "$P-other" >/dev/null 2>&1 || true
    end
}

setup() {
    M=$TMP/cluster
    cd "$M"
    echo start >control
    echo 'i001 | i002' >partition
}

hears() { docker exec "$P-$1" ping -c 1 -W 5 "$(cat "$2/ip")" >/dev/null; }
deaf() { has "$(docker exec "$P-$1" ping -c 1 -W 1 "$(cat "$2/ip")" || true)" '1 packets transmitted, 0 packets received'; }
told() { jq -r '.sandbox // empty | "\(.node) \(.phase)"' history | tail -n "${1:-1}" | xargs; }
is_unknown() { [[ $(LC_ALL=C cat partition 2>&1) = *'Host is down' ]] && reads i002/ready no; }

# Docker 20.10 may remove a container that removes itself while it restarts it: between the stop and the start of a restart, it looks
# once whether that is to be removed, now and then after it has taken back that it is not. Then there was no restart to look at.
restart_both() {
    local said
    for _ in 1 2 3 4 5; do
        said=$(docker restart -t 0 "$P-i002-sandbox" "$P-i002" 2>&1) && return
        has "$said" 'marked for removal'
        # Whether the node itself still runs then is up to the engine.
        echo start >i002/control
        is 'i001 | i002' "$(cat partition)"
    done
    echo "$said"
    return 1
}

@test "docker restart of sandbox and node: nothing is claimed until start recreates both" {
    restart_both
    wait_for 60 is_unknown
    has "$(cat i002/ready_reason)" 'its sandbox'
    is 'i002 lost' "$(told)"
    is '5 EIO' "$(put_line links 'i001>i002 drop')"
    has "$(cat error)" 'i002: its sandbox was restarted'
    echo start >i002/control
    is 'i001 | i002' "$(cat partition)"
    is '' "$(cat i002/ready_reason)"
    is 'i002 lost i002 back' "$(told 2)"
    deaf i001 i002
    echo heal >control
    hears i001 i002
}

@test "a sandbox without the network has no faults in force, and gets them back with its address" {
    local network address
    network=cthulhu-$(listed_below | jq -r '.[0].id')
    address=$(cat i002/ip)
    docker network disconnect "$network" "$P-i002-sandbox"
    wait_for 60 is_unknown
    docker network connect --ip "$address" "$network" "$P-i002-sandbox"
    wait_for 60 reads partition 'i001 | i002'
    is yes "$(cat i002/ready)"
    deaf i001 i002
    echo heal >control
    hears i001 i002
}

# is_shaped NODE RATE: the interface with its address has a class of that rate.
is_shaped() {
    local pid dev
    pid=$(docker inspect -f '{{.State.Pid}}' "$P-$1-sandbox")
    dev=$(nsenter -t "$pid" -n ip -o -4 addr show | awk -v "ip=$(cat "$1/ip")" 'index($4, ip "/") == 1 { print $2 }')
    [ -n "$dev" ] && nsenter -t "$pid" -n tc class show dev "$dev" | grep -q "rate $2"
}

@test "disconnected and connected again at once: what sits on the interface is brought about again" {
    needs_root "to look into a network namespace"
    local network
    network=cthulhu-$(listed_below | jq -r '.[0].id')
    echo heal >control
    echo 'i002>i001 rate 1mbit' >links
    is_shaped i002 1Mbit
    docker network disconnect "$network" "$P-i002-sandbox"
    docker network connect --ip "$(cat i002/ip)" "$network" "$P-i002-sandbox"
    wait_for 60 is_shaped i002 1Mbit
    wait_for 60 reads links 'i002>i001 rate 1mbit'
    echo heal >control
}

@test "what becomes of a sandbox in another network is nothing to us" {
    local before
    before=$(docker inspect -f '{{.Id}}' "$P-i002-sandbox")
    docker network create --subnet "$(free_subnet)" "$P-other" >/dev/null
    docker network connect "$P-other" "$P-i002-sandbox"
    docker network disconnect "$P-other" "$P-i002-sandbox"
    docker network rm "$P-other" >/dev/null
    # A command comes after the news of that.
    echo start >control
    is 'i001 | i002' "$(cat partition)"
    is yes "$(cat i002/ready)"
    deaf i001 i002
    is "$before" "$(docker inspect -f '{{.Id}}' "$P-i002-sandbox")"
}

@test "a paused sandbox is not lost: what is in force stays so, and its node is left alone" {
    local pid
    pid=$(cat i002/pid.txt)
    docker pause "$P-i002-sandbox" >/dev/null
    echo start >control
    is 'i001 | i002' "$(cat partition)"
    is "$pid" "$(cat i002/pid.txt)"
    deaf i001 i002
    docker unpause "$P-i002-sandbox" >/dev/null
    echo heal >control
    hears i001 i002
}

@test "a sandbox that does not answer is recreated by start" {
    needs_root "to stop the sandbox's process"
    kill -STOP "$(docker inspect -f '{{.State.Pid}}' "$P-i002-sandbox")"
    echo start >i002/control
    is 'i001 | i002' "$(cat partition)"
    deaf i001 i002
    echo heal >control
    hears i001 i002
}

@test "a renamed node and a renamed sandbox: news, commands and faults go on, and all of it goes at the end" {
    docker rename "$P-i001" "$P-renamed"
    docker rename "$P-i001-sandbox" "$P-renamed-sandbox"
    docker kill "$P-renamed" >/dev/null
    wait_for 60 reads i001/exit_code 137
    echo start >i001/control
    is "$(docker inspect -f '{{.State.Pid}}' "$P-renamed")" "$(cat i001/pid.txt)"
    echo heal >control
    echo 'i002>i001 drop' >links
    docker rm -f "$P-renamed" >/dev/null
    wait_for 60 reads i001/state missing
    echo start >control
    is running "$(cat i001/state)"
    deaf i002 i001
    cd /
    umount_cluster
    nothing_left
}
