#!/usr/bin/env bats
# Clusters of compose files: mount -f and run -f, over a real engine.

load lib.bash

setup_file() {
    begin
    need_image
}

teardown_file() { end; }

setup() {
    M=$TMP/m$BATS_TEST_NUMBER
    D=$TMP/d$BATS_TEST_NUMBER
    mkdir "$M" "$D"
    STAY='trap "exit 143" TERM; while :; do sleep 3600 & wait $$!; done'
}

teardown() {
    if mountpoint -q "$M"; then umount_cluster; fi
}

# file NAME: writes a compose file of stdin, in which IMAGE and STAY are the scratch image and a program that stays.
file() {
    sed -e "s|IMAGE|$IMAGE|" -e "s|STAY|['sh', '-c', '$STAY']|" >"$D/$1"
}

# up OPTION...: mounts $D/compose.yaml and starts it.
up() {
    with_deadline 180 "$CTHULHU" mount --prefix "$P" --start -f "$D/compose.yaml" "$@" "$M"
}

# bad PART OPTION...: mount must fail with PART in its sentence, in less than a second or so, and leave nothing.
bad() {
    local part=$1 status=0
    shift
    with_deadline 60 "$CTHULHU" mount --prefix "$P" -f "$D/compose.yaml" "$@" "$M" >"$TMP/stdout" 2>"$TMP/stderr" ||
        status=$?
    is 1 "$status" "exit status of mount $*"
    has "$(cat "$TMP/stderr")" "$part"
    nothing_left
}

@test "services are nodes, with names that hold everywhere" {
    file compose.yaml <<'EOF'
services:
  zoo1: &zoo
    image: IMAGE
    command: STAY
    environment: {WHO: "$$HOME", ANSWER: yes}
    container_name: first
  zoo2: {<<: *zoo, container_name: second}
  zoo3: {<<: *zoo, container_name: third}
  control: {image: IMAGE, command: STAY, hostname: my.host}
  web: {image: IMAGE, command: STAY, scale: 3}
EOF
    up
    is 'control first i001 i002 i003 i004 i005 i006 i007 second third web-1 web-2 web-3 zoo1 zoo2 zoo3' \
        "$(LC_ALL=C ls "$M/nodes" | xargs)" names
    [ -f "$M/control" ]
    is control "$(cat "$M/nodes/control/name")" 'name of nodes/control'
    is '$HOME yes' "$(docker exec "$P-zoo1" sh -c 'echo "$WHO $ANSWER"')" environment
    is my.host "$(docker exec "$P-control" hostname)" 'host name'
    # Reached by each name from a peer, at one address.
    local name
    for name in zoo1 first i001; do
        has "$(docker exec "$P-zoo2" ping -c 1 -W 5 "$name")" "($(cat "$M/zoo1/ip"))"
    done
    echo 'zoo1 | zoo2 zoo3 control web' >"$M/partition"
    is 'zoo1 | zoo2 zoo3 control web-1 web-2 web-3' "$(cat "$M/partition")" partition
    echo 'isolate web' >"$M/partition"
    is 'web-1 | web-2 | web-3 | zoo1 zoo2 zoo3 control' "$(cat "$M/partition")" 'partition of isolate web'
    echo heal >"$M/control"
    echo 'stop first web-2' >"$M/control"
    is 'exited exited running' "$(cat "$M"/{zoo1,web-2,web-3}/state | xargs)" states
    umount_cluster
    nothing_left
}

@test "files are merged, scaled, and have profiles and variables" {
    file compose.yaml <<'EOF'
services:
  web:
    image: ${TAG:-IMAGE}
    command: STAY
    environment: [A=1, B=1]
  load: {image: IMAGE, command: STAY, profiles: [load]}
EOF
    file more.yaml <<'EOF'
services:
  web: {environment: {B: "2", C: "${COUNT:?no count}"}, mem_limit: 32m}
EOF
    bad 'no count' -f "$D/more.yaml"
    has "$(cat "$TMP/stderr")" 'more.yaml:2:'
    echo COUNT=3 >"$D/.env"
    up -f "$D/more.yaml" --scale web=2
    is 'i001 i002 web-1 web-2' "$(ls "$M/nodes" | xargs)" names
    is '1 2 3' "$(docker exec "$P-web-2" sh -c 'echo $A $B $C')" environment
    is 33554432 "$(docker inspect -f '{{.HostConfig.Memory}}' "$P-web-1")" memory
    umount_cluster
    up -f "$D/more.yaml" --profile load -e D=4 --group-env load=E=5 --memory 48m
    is 'i001 i002 load web' "$(ls "$M/nodes" | xargs)" 'names with the profile'
    is '1 2 3 4' "$(docker exec "$P-web" sh -c 'echo $A $B $C $D $E')" 'environment of web'
    is '4 5' "$(docker exec "$P-load" sh -c 'echo $D $E')" 'environment of load'
    is 50331648 "$(docker inspect -f '{{.HostConfig.Memory}}' "$P-load")" 'memory of load'
}

@test "a node is in several networks, and a cut is a cut in all of them" {
    file compose.yaml <<'EOF'
services:
  a: {image: IMAGE, command: STAY, networks: {front: {aliases: [alpha]}, back: {}}}
  b: {image: IMAGE, command: STAY, networks: [front, back]}
  c: {image: IMAGE, command: STAY, networks: [back]}
networks: {front: {}, back: {internal: true}}
EOF
    up
    is 'front back' "$(cut -d ' ' -f 1 "$M/a/addresses" | xargs)" 'networks of a'
    local front back
    front=$(awk '$1 == "front" { print $2 }' "$M/b/addresses") back=$(awk '$1 == "back" { print $2 }' "$M/b/addresses")
    is "$(cat "$M/b/ip")" "$front" 'first address of b'
    is "$(readlink -f "$M/b")" "$(readlink -f "$M/$back")" 'where the other address leads'
    pings "$P-a" "$front"
    pings "$P-a" "$back"
    pings "$P-b" alpha
    pings "$P-c" a
    refused pings "$P-c" "$front"
    echo 'a | b c' >"$M/partition"
    local address
    for address in "$front" "$back"; do
        has "$(docker exec "$P-a" ping -c 10 -i 0.1 -W 1 "$address" || true)" ' 0 packets received'
    done
    pings "$P-c" "$back"
    echo heal >"$M/control"
    pings "$P-a" "$front"
    pings "$P-a" "$back"
    # A sandbox that is made again has both; one that has lost either is lost.
    docker rm -f "$P-b-sandbox" >/dev/null
    wait_for 20 reads "$M/b/ready" no
    echo 'start b' >"$M/control"
    pings "$P-a" "$front"
    pings "$P-a" "$back"
    docker network disconnect "$(docker network ls -q --filter "label=io.cthulhu.mountpoint=$M" --filter name=back)" "$P-b-sandbox"
    wait_for 20 reads "$M/b/ready" no
    has "$(cat "$M/b/ready_reason")" "is not connected to the network with the address $back"
    echo 'start b' >"$M/control"
    pings "$P-a" "$back"
}

@test "fixed addresses, and networks that were there before" {
    local subnet
    subnet=$(free_subnet)
    docker network create --label "io.cthulhu.test=$P" --subnet 10.214.7.0/24 "$P-outer" >/dev/null
    file compose.yaml <<EOF
services:
  a: {image: IMAGE, command: STAY, networks: {own: {ipv4_address: ${subnet%.0/24}.77}, outer: {}}}
  b: {image: IMAGE, command: STAY, networks: [own]}
networks:
  own: {ipam: {config: [{subnet: $subnet, gateway: ${subnet%.0/24}.2}]}}
  outer: {external: true, name: $P-outer}
EOF
    up
    is "${subnet%.0/24}.77" "$(cat "$M/a/ip")" 'address of a'
    pings "$P-b" "${subnet%.0/24}.77"
    has "$(cat "$M/a/addresses")" 'outer 10.214.7.'
    umount_cluster
    nothing_left
    docker network rm "$P-outer" >/dev/null
}

@test "a name that two nodes claim stands for one" {
    file compose.yaml <<'EOF'
services:
  i002: {image: IMAGE, command: STAY}
  lock: {image: IMAGE, command: STAY, container_name: api}
  api: {image: IMAGE, command: STAY}
EOF
    mkdir "$D/etc"
    echo '{{ name }}' >"$D/etc/own"
    up --config "$D/etc"
    is 'i001 lock api' "$(cat "$M"/i00[123]/bindmounts/etc/own | xargs)" 'what each has in its directory'
    is 'api api' "$(cat "$M"/{,nodes/}api/name | xargs)" 'names of api'
    is 'lock lock' "$(cat "$M"/{,nodes/}i002/name | xargs)" 'names of i002'
    # To programs a service's name is that service.
    has "$(docker exec "$P-lock" ping -c 1 -W 5 i002)" "($(cat "$M/i001/ip"))"
    has "$(docker exec "$P-i002" ping -c 1 -W 5 i002)" "($(cat "$M/i001/ip"))"
}

@test "two clusters of one file share a network, each with names of its own" {
    docker network create --label "io.cthulhu.test=$P" --subnet 10.214.8.0/24 "$P-shared" >/dev/null
    file compose.yaml <<EOF
services:
  web: {image: IMAGE, command: STAY, container_name: front}
  many: {image: IMAGE, command: STAY, scale: 2}
networks: {default: {external: true, name: $P-shared}}
EOF
    up
    mkdir "$M-2"
    with_deadline 180 "$CTHULHU" mount --prefix "$P-2" --start -f "$D/compose.yaml" "$M-2" 2>"$TMP/stderr"
    has "$(cat "$TMP/stderr")" "host names there are $P-2-web"
    local name
    for name in web front i001 "$P-2-web" "$P-2-front"; do
        has "$(docker exec "$P-2-many-1" ping -c 1 -W 5 "$name")" "($(cat "$M-2/web/ip"))"
    done
    has "$(docker exec "$P-many-1" ping -c 1 -W 5 front)" "($(cat "$M/web/ip"))"
    has "$(docker exec "$P-2-many-2" ping -c 1 -W 5 many)" "($(cat "$M-2/many-1/ip"))"
    umount_cluster "$M-2"
    umount_cluster
    nothing_left
    docker network rm "$P-shared" >/dev/null
}

@test "ports are published, and the file ports shows them" {
    file compose.yaml <<'EOF'
services:
  a:
    image: IMAGE
    command: ['sh', '-c', 'while :; do echo hello | nc -l -p 80; done']
    ports: ["127.0.0.1::80", "5353/udp"]
EOF
    up
    local tcp udp
    tcp=$(awk '$1 == "80/tcp" { print $2 }' "$M/a/ports") udp=$(awk '$1 == "5353/udp" { print $2 }' "$M/a/ports")
    has "$tcp" 127.0.0.1:
    says() { has "$(timeout 5 busybox nc "${1%:*}" "${1##*:}" </dev/null)" hello; }
    wait_for 20 says "$tcp"
    # The scratch image has nothing that listens to UDP, but the node's kernel counts what came to no socket.
    arrives() {
        echo datagram >"/dev/udp/127.0.0.1/${1##*:}"
        [ "$(docker exec "$P-a" awk '/^Udp: [0-9]/ { print $3 }' /proc/net/snmp)" -gt 0 ]
    }
    wait_for 20 arrives "$udp"
}

@test "volumes have the image's content, are shared, shown, and emptied by reset" {
    file compose.yaml <<'EOF'
services:
  a: {image: IMAGE, command: STAY, volumes: ["bin:/bin", "data:/data", "/anon", "./src:/src:ro"]}
  b: {image: IMAGE, command: STAY, volumes: ["data:/data:ro"]}
volumes: {bin: {}, data: {}}
EOF
    up
    has "$(ls "$M/a/bindmounts/bin/")" busybox
    is 'bin data' "$(ls "$M/volumes" | xargs)" volumes
    is data "$(ls "$M/b/bindmounts")" 'bindmounts of b'
    docker exec "$P-a" sh -c 'echo one >/data/file; echo x >/anon/x; ls /src'
    is one "$(docker exec "$P-b" cat /data/file)" 'what b reads'
    is one "$(cat "$M/b/bindmounts/data/file")" 'what the mount shows'
    echo two >"$M/volumes/data/from-outside"
    is two "$(docker exec "$P-a" cat /data/from-outside)" 'what was written outside'
    refused docker exec "$P-b" touch /data/no
    refused docker exec "$P-a" touch /src/no
    [ -d "$D/src" ]
    # The volume of both stays if only one is made anew.
    echo 'reset --start b' >"$M/control"
    is one "$(cat "$M/volumes/data/file")" 'after reset of b'
    echo 'reset --start' >"$M/control"
    is '' "$(ls "$M/volumes/data")" 'after reset of all'
    has "$(ls "$M/volumes/bin/")" busybox
    [ "$(docker exec "$P-a" sh -c 'ls /anon | wc -l')" = 0 ]
    umount_cluster
    nothing_left
    is 0 "$(docker volume ls -q --filter "name=cthulhu-" --filter label=io.cthulhu.cluster | wc -l)" 'volumes left' || true
}

@test "secrets and configs are files that nobody but the node reads" {
    echo 's3cret' >"$D/password"
    file compose.yaml <<'EOF'
services:
  a:
    image: IMAGE
    command: STAY
    secrets: [password, {source: token, target: /run/t, mode: 0440}]
    configs: [{source: conf, target: /etc/app.conf}]
secrets: {password: {file: ./password}, token: {environment: TOKEN}}
configs: {conf: {content: "size=$$5\n"}}
EOF
    TOKEN=abc up
    is s3cret "$(docker exec "$P-a" cat /run/secrets/password)" 'the secret'
    is 'abc 440' "$(docker exec "$P-a" sh -c 'echo $(cat /run/t) $(stat -c %a /run/t)')" 'the token'
    is 'size=$5' "$(docker exec "$P-a" cat /etc/app.conf)" 'the config'
    refused docker exec "$P-a" sh -c 'echo x >/run/secrets/password'
    echo 'reset --start' >"$M/control"
    is s3cret "$(docker exec "$P-a" cat /run/secrets/password)" 'the secret after reset'
}

@test "services start in the order of what they depend on" {
    file compose.yaml <<'EOF'
services:
  b: {image: IMAGE, command: STAY, depends_on: {a: {condition: service_healthy}, init: {condition: service_completed_successfully}}}
  a:
    image: IMAGE
    command: ['sh', '-c', 'sleep 1; touch /tmp/ok; trap "exit 143" TERM; while :; do sleep 3600 & wait $$!; done']
    healthcheck: {test: [CMD, test, -e, /tmp/ok], interval: 200ms}
  init: {image: IMAGE, command: ['true']}
EOF
    up 2>"$TMP/stderr"
    is 'running running exited' "$(cat "$M"/{b,a,init}/state | xargs)" states
    refused grep 'exited at once' "$TMP/stderr"
    order() {
        jq -r 'select(.state.node == "b" and .state.to == "running") // select(.health.node == "a" and .health.health == "healthy") // select(.state.node == "init" and .state.to == "exited") | (.state.node // .health.node)' "$M/history" | xargs
    }
    has "$(order)" ' b'
    is b "$(order | awk '{ print $NF }')" 'the last to come'
    "$CTHULHU" wait "$M" --timeout 30s
    "$CTHULHU" wait "$M/init" "$M/nodes/init" --timeout 30s
    # Again, by hand.
    echo stop >"$M/control"
    echo start >"$M/control"
    is b "$(order | awk '{ print $NF }')" 'the last to come the second time'
    # One alone waits for nobody.
    echo 'kill a' >"$M/control"
    echo 'restart b' >"$M/control"
    is running "$(cat "$M/b/state")" 'state of b'
}

@test "a start that waits in vain says for whom" {
    file compose.yaml <<'EOF'
services:
  b: {image: IMAGE, command: STAY, depends_on: {a: {condition: service_healthy}}}
  c: {image: IMAGE, command: STAY, depends_on: {init: {condition: service_completed_successfully}}}
  d: {image: IMAGE, command: STAY, depends_on: {init: {condition: service_completed_successfully, required: false}}}
  a: {image: IMAGE, command: STAY, healthcheck: {test: [CMD, 'false'], interval: 200ms}}
  init: {image: IMAGE, command: ['sh', '-c', 'exit 3']}
EOF
    with_deadline 120 "$CTHULHU" mount --prefix "$P" --start-timeout 3s -f "$D/compose.yaml" "$M"
    has "$(put_line "$M/control" start)" ETIMEDOUT
    has "$(cat "$M/error")" 'b: not started, as a was not healthy within 3 s'
    has "$(cat "$M/error")" 'c: not started: init has ended with exit code 3'
    is 'created created running running exited' "$(cat "$M"/{b,c,d,a,init}/state | xargs)" states
    umount_cluster
    bad 'a was not healthy' --start --start-timeout 2s
    file compose.yaml <<'EOF'
services:
  c: {image: IMAGE, command: STAY, depends_on: {init: {condition: service_completed_successfully}}}
  init: {image: IMAGE, command: ['false']}
EOF
    with_deadline 120 "$CTHULHU" mount --prefix "$P" -f "$D/compose.yaml" "$M"
    has "$(put_line "$M/control" start)" EIO
    has "$(cat "$M/error")" 'c: not started: init has ended with exit code 1'
}

@test "run -f waits for all, a service that ends with 0 is no failure, and artifacts have names" {
    file compose.yaml <<'EOF'
services:
  web: {image: IMAGE, command: STAY, volumes: ["data:/data"], secrets: [key]}
  init: {image: IMAGE, command: ['sh', '-c', 'echo done'], x-cthulhu: {oneshot: true}}
  status: {image: IMAGE, command: STAY}
volumes: {data: {}}
secrets: {key: {content: hidden}}
EOF
    with_deadline 120 "$CTHULHU" run -f "$D/compose.yaml" --artifacts "$TMP/out" --artifacts-when always -- \
        sh -c 'cat "$CTHULHU"/web/state "$CTHULHU"/init/exit_code; echo kept >"$CTHULHU"/volumes/data/file' >"$TMP/said"
    is 'running 0' "$(xargs <"$TMP/said")" 'what the test saw'
    local kept
    kept=$(echo "$TMP"/out/*)
    is kept "$(cat "$kept/volumes/data/file")" 'the volume in the artifacts'
    is done "$(cat "$kept/init/log")" 'the log in the artifacts'
    has "$(cat "$kept/status")" 'web '
    is running "$(cat "$kept/i003/state")" 'the state of the service status in the artifacts'
    refused grep -r hidden "$kept" --exclude-dir=none -l --include='[0-9]*'
    nothing_left
    file compose.yaml <<'EOF'
services:
  web: {image: IMAGE, command: STAY}
  init: {image: IMAGE, command: ['false'], x-cthulhu: {oneshot: true}}
EOF
    local status=0
    with_deadline 120 "$CTHULHU" run -f "$D/compose.yaml" -- true 2>"$TMP/stderr" || status=$?
    is 125 "$status" 'exit status of run'
    has "$(cat "$TMP/stderr")" 'init'
}

@test "what cannot be meant is refused with its place, and nothing is made" {
    file compose.yaml <<'EOF'
services:
  a: {image: IMAGE, helthcheck: {test: [NONE]}}
EOF
    bad "compose.yaml:2:"
    has "$(cat "$TMP/stderr")" 'healthcheck'
    file compose.yaml <<'EOF'
services:
  a: {image: IMAGE, depends_on: [b]}
  b: {image: IMAGE, depends_on: [a]}
EOF
    bad 'a -> b -> a'
    file compose.yaml <<EOF
services:
  a: {image: IMAGE, volumes: ["$M:/x"]}
EOF
    bad 'lies in the mountpoint'
    # Also through a link, and then nothing is made there.
    ln -s "$M" "$D/link"
    file compose.yaml <<'EOF'
services:
  a: {image: IMAGE, volumes: ["./link/x:/x"]}
EOF
    bad 'lies in the mountpoint'
    is '' "$(ls "$M")" 'what is in the mountpoint'
    file compose.yaml <<'EOF'
services:
  a: {image: IMAGE, container_name: ../a}
EOF
    bad "service 'a': container_name: '../a'"
    file compose.yaml <<'EOF'
services:
  a: {image: IMAGE, networks: {n: {ipv4_address: 10.215.0.9}}}
  b: {image: IMAGE, networks: {n: {ipv4_address: 10.215.0.9}}}
networks: {n: {ipam: {config: [{subnet: 10.215.0.0/24}]}}}
EOF
    bad "compose.yaml:3:"
    has "$(cat "$TMP/stderr")" "service 'a' has 10.215.0.9 already"
    file compose.yaml <<'EOF'
services:
  a: {image: IMAGE, network_mode: host}
EOF
    bad "host"
    rm "$D/compose.yaml"
    bad 'compose.yaml'
    file compose.yaml <<'EOF'
services:
  a: {image: IMAGE}
EOF
    local option
    for option in '-n 2' '--group x:1:y' '--user 1' '--entrypoint x' '--publish 8000' '--cap-drop ALL'; do
        # shellcheck disable=SC2086
        refused "$CTHULHU" mount --prefix "$P" -f "$D/compose.yaml" $option "$M" 2>"$TMP/stderr"
    done
    refused "$CTHULHU" mount --prefix "$P" -f "$D/compose.yaml" "$M" -- sleep 1
    nothing_left
}

@test "restart is applied only when asked for" {
    file compose.yaml <<'EOF'
services:
  a: {image: IMAGE, restart: always, command: ['sh', '-c', 'echo began; sleep 1; exit 3']}
EOF
    up 2>"$TMP/stderr"
    has "$(cat "$TMP/stderr")" 'restart is not applied'
    wait_for 20 reads "$M/a/exit_code" 3
    is began "$(cat "$M/a/log")" log
    umount_cluster
    up --restart-policies 2>"$TMP/stderr"
    refused grep -q 'not applied' "$TMP/stderr"
    twice() { [ "$(grep -c began "$M/a/log")" -ge 2 ]; }
    wait_for 20 twice
    umount_cluster
    nothing_left
}

@test "services with an order, limits of logs, and images that are never pulled" {
    file compose.yaml <<'EOF'
services:
  a: {image: IMAGE, build: ., command: STAY, x-cthulhu: {ready-log: ready, log-limit: 64k}}
EOF
    sed -i "s|$IMAGE|$IMAGE-nowhere|" "$D/compose.yaml"
    bad "run docker compose build, or name another with --image a=IMAGE"
    up -i "a=$IMAGE"
    is no "$(cat "$M/a/ready")" 'ready before the line'
    docker exec "$P-a" sh -c 'echo ready >/proc/1/fd/1'
    "$CTHULHU" wait "$M" --timeout 20s
    docker exec "$P-a" sh -c 'yes | head -c 200000 >/proc/1/fd/1'
    cut() { contains "$M/a/log" 'log-limit 64k'; }
    wait_for 20 cut
}

@test "initial files are rendered into var once, and again after reset" {
    mkdir "$D/initial"
    echo '{{ index }}' >"$D/initial/myid"
    echo 'made for {{ service }} {{ replica }}' >"$D/initial/bootstrap"
    file compose.yaml <<'EOF'
services:
  zk: {image: IMAGE, scale: 2, command: ['sh', '-c', 'cat /data/bootstrap; rm -f /data/bootstrap; trap "exit 143" TERM; while :; do sleep 3600 & wait $$!; done']}
EOF
    up --initial "$D/initial" --var-target /data
    wait_for 20 reads "$M/zk-2/log" 'made for zk 2'
    is 2 "$(cat "$M/zk-2/bindmounts/var/myid")" myid
    echo 'restart zk' >"$M/control"
    wait_for 20 contains "$M/zk-2/log" "can't open '/data/bootstrap'"
    echo 'reset --start' >"$M/control"
    again() { [ "$(grep -c 'made for zk 2' "$M/zk-2/log")" = 1 ]; }
    wait_for 20 again
}
