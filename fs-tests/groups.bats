#!/usr/bin/env bats
# Clusters of different nodes, by --group: names, services, and what differs.

load lib.bash

setup_file() {
    begin
    need_image
}

teardown_file() { end; }

setup() {
    M=$TMP/m$BATS_TEST_NUMBER
    mkdir "$M"
}

teardown() {
    if mountpoint -q "$M"; then umount_cluster; fi
}

# grouped OPTION...: mounts web-1, web-2 and db here, and starts them.
grouped() {
    with_deadline 120 "$CTHULHU" mount --prefix "$P" --start --group web:2:"$IMAGE" --group db:1:"$IMAGE" "$@" "$M" \
        -- "${NODE[@]}"
}

# bad PART OPTION...: mount must fail with one sentence that has PART in it, and leave nothing behind.
bad() {
    local part=$1 status=0
    shift
    with_deadline 60 "$CTHULHU" mount --prefix "$P" "$@" "$M" >"$TMP/stdout" 2>"$TMP/stderr" || status=$?
    [ "$status" != 0 ]
    has "$(cat "$TMP/stderr")" "$part"
    nothing_left
}

@test "a node has its number, its name and the name of its service" {
    grouped
    is "$(printf '%s\n' db i001 i002 i003 web-1 web-2)" "$(ls "$M/nodes")" 'names'
    is "$(readlink "$M/i003")" "$(readlink "$M/db")" 'where i003 and db lead'
    is web-2 "$(cat "$M/i002/name")" name
    is "web i002" "$(cat "$M/web-2/service" "$M/web-2/index" | xargs)" 'service and index'
    is "default $(cat "$M/db/ip")" "$(cat "$M/db/addresses")" addresses
    is "NAME ADDRESS STATE PID" "$(head -n 1 "$M/status" | xargs)" 'the head of status'
    is "web db" "$(jq -r '[."web-1".service, .db.service] | join(" ")' "$M/spec.json")" 'services in spec.json'
    is i003 "$(jq -r .db.index "$M/spec.json")" 'index in spec.json'
    # Every command takes each of the three.
    echo 'kill web' >"$M/control"
    is 'exited exited running' "$(cat "$M"/{web-1,web-2,db}/state | xargs)" 'states after kill web'
    echo 'start i001 web-2' >"$M/control"
    echo 'stop db' >"$M/control"
    is 'running running exited' "$(cat "$M"/{web-1,web-2,db}/state | xargs)" 'states after stop db'
    local status=0
    echo 'kill nobody' 2>/dev/null >"$M/control" || status=$?
    [ "$status" != 0 ]
    has "$(cat "$M/error")" "no node is named 'nobody'"
    is '["web-1","web-2"]' "$(jq -c 'select(.command.line == "kill web" and .command.phase == "invoke").command.nodes' "$M/history")" 'nodes in history'
}

@test "faults take names and services, and are read by names" {
    grouped
    echo 'db | web' >"$M/partition"
    is 'db | web-1 web-2' "$(cat "$M/partition")" partition
    echo 'isolate web' >"$M/partition"
    is 'web-1 | web-2 | db' "$(cat "$M/partition")" 'partition of isolate web'
    echo heal >"$M/control"
    echo 'web>i003 drop' >"$M/links"
    is "$(printf 'web-1>db drop\nweb-2>db drop')" "$(cat "$M/links")" links
    docker exec "$P-db" ping -c 1 -W 1 web-1 >/dev/null && false
    echo heal >"$M/control"
    docker exec "$P-db" ping -c 1 -W 5 web-1 >/dev/null
    docker exec "$P-db" ping -c 1 -W 5 web >/dev/null
    docker exec "$P-db" ping -c 1 -W 5 i001 >/dev/null
    local status=0
    echo 'bridge web' 2>/dev/null >"$M/partition" || status=$?
    [ "$status" != 0 ]
    has "$(cat "$M/error")" "'web' stands for 2 nodes"
    is '' "$(cat "$M/partition")" 'partition after an error'
}

@test "wait, top and ls know the names" {
    grouped
    "$CTHULHU" wait "$M/web" "$M/nodes/db" --for running --timeout 20s
    local status=0
    "$CTHULHU" wait "$M/nobody" --timeout 1s 2>"$TMP/stderr" || status=$?
    is 1 "$status" 'exit status of wait for nobody'
    has "$(cat "$TMP/stderr")" 'no node or service of that name'
    has "$("$CTHULHU" top --once "$M")" "web-2 "
    has "$("$CTHULHU" ls)" "$M"
    "$CTHULHU" timeline "$M" -o "$TMP/timeline.svg"
    has "$(cat "$TMP/timeline.svg")" 'web-2'
}

@test "groups differ in what they run" {
    local line='trap "exit 143" TERM; echo "$0|$WHO|$BOTH"; while :; do sleep 3600 & wait $!; done'
    mkdir "$TMP/conf"
    echo '{% for node in groups.web %}{{ node.name }}={{ node.ip }} {% endfor %}{{ groups.db | length }}' >"$TMP/conf/peers"
    with_deadline 120 "$CTHULHU" mount --prefix "$P" --start --group web:2:"$IMAGE" --group db:1:"$IMAGE" -e BOTH=yes \
        --group-command "web=sh -c '$line' '{{ group }} {{ service }} {{ replica }}'" \
        --group-command "db=sh -c '$line' '{{ name }} {{ replica }}'" \
        --group-env 'db=WHO={{ groups.web[1].name }}' --group-config db="$TMP/conf" \
        --group-ready-log 'web=web web' --group-user db=1000:1000 --group-memory web=32m "$M"
    "$CTHULHU" wait "$M" --timeout 30s
    is 'web web 2||yes' "$(cat "$M/web-2/log")" 'log of web-2'
    is 'db 1|web-2|yes' "$(cat "$M/db/log")" 'log of db'
    is "web-1=$(cat "$M/web-1/ip") web-2=$(cat "$M/web-2/ip") 1" "$(cat "$M/db/bindmounts/etc/peers")" 'the rendered file'
    [ ! -e "$M/web-1/bindmounts/etc/peers" ]
    is 1000 "$(docker exec "$P-db" id -u)" 'user of db'
    is 33554432 "$(docker inspect -f '{{.HostConfig.Memory}}' "$P-web-1")" 'memory of web-1'
    is 0 "$(docker inspect -f '{{.HostConfig.Memory}}' "$P-db")" 'memory of db'
    # As after mount, with all of that.
    echo 'reset --start' >"$M/control"
    "$CTHULHU" wait "$M" --timeout 30s
    has "$(cat "$M/db/log")" 'db 1|web-2|yes'
    has "$(cat "$M/db/bindmounts/etc/peers")" web-1=
}

@test "a name that means something else gives way" {
    with_deadline 120 "$CTHULHU" mount --prefix "$P" --start --group host:1:"$IMAGE" --group control:1:"$IMAGE" \
        --group nodes:1:"$IMAGE" "$M" -- "${NODE[@]}"
    [ -f "$M/control" ]
    is control "$(cat "$M/nodes/control/name")" 'name of nodes/control'
    is i001 "$(cat "$M/nodes/host/name")" 'name of nodes/host'
    is nodes "$(cat "$M/nodes/nodes/name")" 'name of nodes/nodes'
    echo 'i001>host drop' >"$M/links"
    is 'i001>host drop' "$(cat "$M/links")" links
    echo 'control | i001 nodes' >"$M/partition"
    is 'control | i001 nodes' "$(cat "$M/partition")" partition
    echo heal >"$M/control"
    docker exec "$P-nodes" ping -c 1 -W 5 host >/dev/null
}

@test "what is wrong with a group is said, and nothing is made" {
    bad 'the form is NAME:COUNT:IMAGE' --group web
    bad "cannot be used with" --group web:1:x -n 3
    bad 'there is no group or service db' --group "web:1:$IMAGE" --group-env db=A=1
    bad '`role` is not defined' --group "web:1:$IMAGE" --group-env 'web=A={{ role }}'
    bad 'there are name, index, self, port, peers, nodes, master, service' --group "web:1:$IMAGE" -e 'A={{ role }}'
    refused "$CTHULHU" mount --group "z:1:$IMAGE" "$M" 2>"$TMP/stderr"
    has "$(cat "$TMP/stderr")" "z is too short for a container's name"
    bad 'two nodes would be called web-1' --group "web:2:$IMAGE" --group "web-1:1:$IMAGE"
    bad 'the group web: --ready-log' --group "web:1:$IMAGE" --group-ready-log 'web=('
}
