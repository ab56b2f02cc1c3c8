#!/usr/bin/env bats
# A Swarm overlay as --network, on an engine of this file's own in a network namespace of its own.

load lib.bash

setup_file() {
    begin
    [ "$(id -u)" = 0 ] || return 0
    PATH=$PATH:/usr/sbin:/sbin
    command -v dockerd >/dev/null || skip 'there is no dockerd on this machine'
    export DOCKER_HOST=unix://$TMP/e/docker.sock
    mkdir "$TMP/e"
    # The swarm wants an interface with an address, and a default route.
    # shellcheck disable=SC2016
    setsid unshare --net sh -c '
        ip link set lo up
        ip link add d0 type veth peer name d1
        ip addr add 10.99.0.1/24 dev d0
        ip link set d0 up
        ip link set d1 up
        ip route add default via 10.99.0.2
        ip link add vx0 type vxlan id 77 dstport 4789 dev d0 && ip link del vx0 && : >"$0/vxlan"
        exec dockerd --data-root "$0/data" --exec-root "$0/exec" --pidfile "$0/docker.pid" -H "$DOCKER_HOST"' \
        "$TMP/e" >"$TMP/e/log" 2>&1 </dev/null 3>&- &
    echo $! >"$TMP/e/pid"
    wait_for 60 engine_answers || {
        tail -n 5 "$TMP/e/log" >&2
        return 1
    }
    docker swarm init --advertise-addr 10.99.0.1 >/dev/null
    need_image
}

teardown_file() {
    if [ -d "$TMP/e" ]; then
        docker ps -aq | xargs -r docker rm -fv >/dev/null || true
        kill "$(cat "$TMP/e/pid")" || true
        wait_for 60 gone "$(cat "$TMP/e/pid")" || true
    fi
    end
}

setup() {
    needs_root 'to run a second dockerd'
    [ -e "$TMP/e/vxlan" ] || skip 'the kernel has no vxlan'
    M=$TMP/m
    mkdir -p "$M"
}

teardown() {
    if mountpoint -q "$M"; then umount_cluster; fi
}

engine_answers() { timeout 10 docker version >/dev/null 2>&1; }

# mounted NETWORK OPTION...
mounted() {
    local network=$1
    shift
    with_deadline 120 "$CTHULHU" mount --prefix "$P" -n 2 -i "$IMAGE" --network "$network" --start "$@" "$M" -- "${NODE[@]}"
}

@test "an overlay without --ip-range is refused before anything is made; the sentence makes one that works" {
    docker network create -d overlay --attachable --subnet 10.218.0.0/24 plain >/dev/null
    run mounted plain
    is 1 "$status"
    local advice
    advice=$(grep -o 'docker network create .*' <<<"$output")
    is 'docker network create -d overlay --attachable --subnet 10.218.0.0/22 --ip-range 10.218.3.240/28 plain' "$advice"
    is '' "$(docker image ls -q cthulhu-self)" 'images of our own'
    docker network rm plain >/dev/null
    $advice >/dev/null
    mounted plain
    is '10.218.0.2 10.218.0.3' "$(cat "$M"/i*/ip | xargs)"
    pings "$P-i001" i002
    umount_cluster
    docker network rm plain >/dev/null
}

@test "with --ip-range, nodes and what the swarm chooses never meet" {
    docker network create -d overlay --attachable --subnet 10.217.0.0/24 --ip-range 10.217.0.0/28 ranged >/dev/null
    mounted ranged
    is '10.217.0.16 10.217.0.17' "$(cat "$M"/i*/ip | xargs)"
    docker run -d --name "$P-other" --network ranged "$IMAGE" >/dev/null
    pings "$P-i001" "$P-other"
    echo 'i001 | i002' >"$M/partition"
    refused pings "$P-i001" i002
    echo heal >"$M/control"
    pings "$P-i001" i002
    umount_cluster
    docker rm -f "$P-other" >/dev/null
    docker network rm ranged >/dev/null
}
