#!/usr/bin/env bats
# partition, links, net, capabilities, heal and crash: what they take, what they say, and how long it holds. What each
# effect does to packets is effects.bats' and fault_reachability.bats'.

load lib.bash

setup_file() {
    begin
    need_image
    mount_busybox cluster -n 5 --seed 7
    echo start >"$M/control"
    export M
}

teardown_file() {
    umount_cluster 2>/dev/null || true
    docker network rm "$P-both" >/dev/null 2>&1 || true
    end
}

setup() {
    M=$TMP/cluster
    cd "$M"
}

teardown() {
    cd /
    # Not $M: a test may have mounted another one.
    echo heal >"$TMP/cluster/control"
}

hears() { docker exec "$P-$1" ping -c 1 -W 5 "$(cat "$2/ip")" >/dev/null; }
# A ping that is not to come back is given one second. One that could not be sent at all is no silence.
unanswered() { # CONTAINER ADDRESS
    has "$(docker exec "$1" ping -c 1 -W 1 "$2" || true)" '1 packets transmitted, 0 packets received'
}
deaf() { unanswered "$P-$1" "$(cat "$2/ip")"; }
# The last faults that the history tells, sorted, on a line.
told() { jq -rs '[.[] | select(.fault)] | last | .fault.links | sort | join(", ")' history; }

@test "nothing is wrong at first" {
    local file
    for file in partition links i00?/net; do
        is 0 "$(stat -c %s "$file")" "$file"
        is 644 "$(stat -c %a "$file")" "$file"
    done
    is 444 "$(stat -c %a capabilities)"
    hears i001 i005
}

@test "sandboxes are not privileged: NET_ADMIN is all they have, and they write to nothing" {
    local may
    may=$(docker inspect "$P"-i00{1..5}-sandbox | jq -c '.[].HostConfig
        | [.Privileged, .CapDrop, (.CapAdd | map(ltrimstr("CAP_"))), (.SecurityOpt // []), .ReadonlyRootfs]' | uniq)
    is '[false,["ALL"],["NET_ADMIN"],[],true]' "$may"
}

@test "capabilities: a line an effect, whether and how" {
    local word
    for word in drop reject delay loss duplicate corrupt reorder rate crash; do
        grep -Eq "^$word +(yes|no ) +[^ ]" capabilities || { cat capabilities; return 1; }
    done
    is 9 "$(wc -l <capabilities)"
    grep -q '^drop  *yes' capabilities
    refused sh -c 'echo x >capabilities'
}

@test "partition: groups, spelled out, in force when the write returns" {
    echo 'i001 i002 | i003' >partition
    is 'i001 i002 | i003 | i004 i005' "$(cat partition)"
    deaf i001 i003
    deaf i003 i004
    hears i001 i002
    hears i004 i005
    echo >partition
    is '' "$(cat partition)"
    hears i001 i003
}

@test "a node in several groups hears those it shares one with" {
    echo 'i001 i002 i003 | i003 i004 i005' >partition
    hears i001 i003
    hears i003 i005
    deaf i001 i004
}

@test "shapes are read back spelled out, and drawn from the seed" {
    local drawn again shape
    for shape in halves majority 'isolate i002 i004' 'bridge i003' ring; do
        echo "$shape" >partition
        has "$(cat partition)" '|'
        # What is read can be written, and is the same then.
        drawn=$(cat partition)
        echo heal >partition
        echo "$drawn" >partition
        is "$drawn" "$(cat partition)" "$shape"
    done
    is 'i002 | i004 | i001 i003 i005' "$(echo 'isolate i002 i004' >partition; cat partition)"
    drawn=$(for _ in 1 2 3 4 5 6; do echo halves >partition; cat partition; done)
    [ "$(sort -u <<<"$drawn" | wc -l)" -gt 1 ]
    is 7 "$(jq -s 'map(select(.cluster.phase == "mounted"))[0].cluster.seed' history)"

    draws() {
        mount_cluster "$1" -n 5 --host simulated: --seed "$2" >/dev/null
        for _ in 1 2 3 4 5 6; do echo majority >"$M/partition"; cat "$M/partition"; done
        umount_cluster >/dev/null
    }
    drawn=$(draws one 42)
    again=$(draws two 42)
    is "$drawn" "$again"
    [ "$drawn" != "$(draws three 43)" ]
}

@test "links: one way, later lines win, appending adds, an empty line clears" {
    echo 'i001>i002 drop' >links
    is 'i001>i002 drop' "$(cat links)"
    is 'i001>i002 drop' "$(told)"
    # The answer to a ping needs the other way too.
    deaf i001 i002
    deaf i002 i001
    hears i001 i003
    echo 'i003>* drop' >>links
    is $'i001>i002 drop\ni003>* drop' "$(cat links)"
    deaf i004 i003
    printf '*>* drop\ni001>i002 none\ni002>i001 none\n' >links
    hears i001 i002
    deaf i003 i004
    echo 'i004>i005 drop' >links
    is 'i004>i005 drop' "$(cat links)"
    hears i001 i003
    echo >links
    is '' "$(cat links)"
    is '' "$(told)"
}

@test "links: lines that come in several writes are one table; truncating alone changes nothing" {
    { echo 'i001>i002 drop'; echo 'i002>i003 reject'; printf 'i003>i0'; printf '04 drop'; } >links
    is $'i001>i002 drop\ni002>i003 reject\ni003>i004 drop' "$(cat links)"
    : >links
    is 3 "$(wc -l <links)"
    # A blank line behind others says nothing, also if it is a write of its own.
    printf 'i001>i002 drop\n\n' >links
    echo >>links
    is 'i001>i002 drop' "$(cat links)"
    printf 'i001 | i002\n\n' >partition
    is 'i001 | i002 | i003 i004 i005' "$(cat partition)"
    echo heal >partition
    echo heal >links
    is '' "$(cat links)"
}

@test "links: each line of a printf is a write of its own, and the lines of a cat are one" {
    # bash's printf writes line by line: after a wrong one, those before it are in force, and whole.
    refused printf 'i001>i002 drop\nnonsense\n' >links
    is 'i001>i002 drop' "$(cat links)"
    deaf i001 i002
    printf 'i002>i003 drop\ni003>i004 drop\n' >links
    is $'i002>i003 drop\ni003>i004 drop' "$(cat links)"
    hears i001 i002
    deaf i002 i003
    refused cat >links <<END
i004>i005 drop
nonsense
END
    is $'i002>i003 drop\ni003>i004 drop' "$(cat links)"
    hears i004 i005
    cat >links <<END
i004>i005 drop
i005>i001 drop
END
    is $'i004>i005 drop\ni005>i001 drop' "$(cat links)"
    deaf i004 i005
    hears i002 i003
}

@test "net: what a node sends; a line of links for the same link wins" {
    echo 'drop' >i003/net
    is drop "$(cat i003/net)"
    deaf i001 i003
    hears i001 i002
    has "$(told)" 'i003>i002 drop'
    echo 'i003>i001 none' >links
    hears i001 i003
    deaf i002 i003
    echo >i003/net
    is '' "$(cat i003/net)"
    hears i002 i003
    is 'i003>i001 none' "$(cat links)" 'whatever is written first'
    echo 'drop' >i003/net
    hears i001 i003
    deaf i002 i003
}

@test "heal: at the root all, in a node's control its own" {
    echo 'i001 | i002 i003 i004 i005' >partition
    printf 'i002>i003 drop\n*>i004 drop\n' >links
    echo drop >i005/net
    echo heal >i001/control
    hears i001 i002
    echo heal >i004/control
    hears i003 i004
    deaf i002 i003
    deaf i002 i005
    echo 'heal i005' >control
    is '' "$(cat i005/net)"
    hears i002 i005
    echo heal >control
    is '' "$(cat partition links i005/net)"
    is '' "$(told)"
    hears i002 i003
}

@test "the host is never touched unless it is named" {
    local ip
    ip=$(cat i001/ip)
    command -v ping
    ping -c 1 -W 5 "$ip" >/dev/null 2>&1 || skip "this host does not reach its containers"
    printf '*>* drop\n' >links
    ping -c 1 -W 5 "$ip" >/dev/null
    echo 'host>i001 drop' >links
    refused ping -c 1 -W 1 "$ip"
    ping -c 1 -W 5 "$(cat i002/ip)" >/dev/null
    hears i001 i002
    echo 'i001>host drop' >links
    refused ping -c 1 -W 1 "$ip"
    hears i001 i002
    echo heal >links
    ping -c 1 -W 5 "$ip" >/dev/null
}

@test "bad input: an errno, a sentence, and nothing has changed" {
    echo 'i001 | i002 i003 i004 i005' >partition
    echo 'i002>i003 drop' >links
    echo 'drop' >i004/net
    local before line
    before=$(cat partition links i004/net; told)
    bad() { # ERRNO FILE ERROR PART TEXT
        # The sentence must be about this one, not left of the one before.
        refused sh -c "echo earlier nonsense >$2" 2>/dev/null
        has "$(cat "$3")" earlier
        is "$1" "$(printf '%b' "$5" | put "$2")" "$5"
        has "$(cat "$3")" "$4"
        is 0 "$(grep -c earlier "$3")" "$5"
        is "$before" "$(cat partition links i004/net; told)" "$5"
    }
    bad '2 ENOENT' partition error i009 'i001 | i009\n'
    bad '2 ENOENT' links error i009 'i001>i009 drop\n'
    bad '2 ENOENT' partition error i009 'isolate i009\n'
    bad '22 EINVAL' partition error host 'i001 | host\n'
    bad '22 EINVAL' partition error nonsense 'nonsense\n'
    bad '22 EINVAL' partition error 'a group is empty' 'i001 || i002\n'
    bad '22 EINVAL' partition error 'takes one line' 'i001 | i002\ni001 | i003\n'
    bad '22 EINVAL' partition error 'bridge takes one node' 'bridge\n'
    bad '22 EINVAL' links error 101% 'i001>i002 loss 101%\n'
    bad '22 EINVAL' links error '-1ms' 'i001>i002 delay -1ms\n'
    bad '22 EINVAL' links error "'0' is no rate" 'i001>i002 rate 0\n'
    bad '22 EINVAL' links error "'0mbit' is no rate" 'i001>i002 rate 0mbit\n'
    bad '22 EINVAL' links error 'no effect is named' 'i001>i002\n'
    bad '22 EINVAL' links error 'names no link' 'i001 drop\n'
    bad '22 EINVAL' links error 'to itself' 'i001>i001 drop\n'
    bad '22 EINVAL' links error 'drop goes with no other' 'i001>i002 drop reject\n'
    bad '22 EINVAL' links error 'drop goes with no other' 'i001>i002 drop delay 5ms\n'
    bad '22 EINVAL' links error "'delay' is there twice" 'i001>i002 delay 5ms delay 6ms\n'
    bad '22 EINVAL' links error 'i001>i002 is there twice' 'i001>i002 drop\ni001>i002 delay 5ms\n'
    bad '22 EINVAL' links error 'reorder needs a delay' 'i001>i002 reorder 5%\n'
    bad '22 EINVAL' i004/net i004/error 'the jitter of a delay' 'delay 10ms 20ms\n'
    bad '22 EINVAL' i004/net i004/error 'a single link' 'i001>i002 drop\n'
    bad '22 EINVAL' i004/net i004/error "not '5'" 'loss 5\n'
    bad '22 EINVAL' links error 'UTF-8' 'i001>i002 dr\xffop\n'
    is '22 EINVAL' "$(for _ in $(seq 10000); do echo 'i001>i002 loss 1%'; done | put links)"
    has "$(cat error)" 4096
    is "$before" "$(cat partition links i004/net; told)"
    # The good ones before a bad one in the same write neither.
    is '22 EINVAL' "$(printf 'i004>i005 drop\nnonsense\n' | put links)"
    is "$before" "$(cat partition links i004/net; told)"
    mount_cluster alone -n 1 --host simulated:
    is '22 EINVAL' "$(put_line "$M/partition" halves)"
    has "$(cat "$M/error")" 2
    umount_cluster
}

@test "faults outlive kill, restart and a new container; a new sandbox begins with them" {
    echo 'isolate i002' >partition
    echo kill >i002/control
    echo start >i002/control
    deaf i001 i002
    echo restart >i002/control
    deaf i001 i002
    docker rm -f "$P-i002" >/dev/null
    wait_for 10 reads i002/state missing
    echo start >i002/control
    deaf i001 i002
    # Its network goes with the sandbox; the next one has the faults before the node is in it.
    docker rm -f "$P-i002" "$P-i002-sandbox" >/dev/null
    wait_for 10 reads i002/state missing
    echo start >i002/control
    deaf i001 i002
    hears i001 i003
    echo heal >partition
    hears i001 i002
}

@test "a change while a sandbox is gone is noted, and holds for the next one" {
    docker rm -f "$P-i002" "$P-i002-sandbox" >/dev/null
    wait_for 10 reads i002/state missing
    echo 'isolate i002' >partition
    echo start >i002/control
    deaf i001 i002
}

@test "in force before the node's first packet" {
    # shellcheck disable=SC2016
    local program='[ "$(hostname)" = i001 ] || until echo up | nc -w 1 i001 7777 >/dev/null 2>&1; do echo failed >>/opt/app/var/first; sleep 1; done; sleep 1000'
    P=$P-first
    mount_cluster first -n 2 -i "$IMAGE" -- sh -c "$program"
    cd "$M"
    echo 'start i001' >control
    # Again and again: once healed, i002 may connect and be ended by the restart before it has said anything.
    docker exec -d "$P-i001" sh -c 'while :; do nc -l -p 7777; done >/opt/app/var/heard'
    echo 'i002>i001 drop' >links
    echo 'start i002' >control
    wait_for 60 test -s i002/bindmounts/var/first
    [ ! -s i001/bindmounts/var/heard ]
    echo heal >links
    echo 'restart -t 0 i002' >control
    wait_for 60 contains i001/bindmounts/var/heard up
    cd /
    umount_cluster
}

@test "one sandbox that does not answer: the write fails, and no other keeps the change" {
    P=$P-silent
    mount_busybox silent -n 3 --timeout 60
    cd "$M"
    echo start >control
    docker pause "$(docker ps -qf "name=$P-i002-sandbox")" >/dev/null
    is '110 ETIMEDOUT' "$(put_line partition 'i001 | i002 | i003')"
    has "$(cat error)" i002
    is '' "$(cat partition)"
    local one three
    one=$(cat i001/id) three=$(cat i003/ip)
    docker exec "$one" ping -c 1 -W 5 "$three" >/dev/null
    docker unpause "$(docker ps -qf "name=$P-i002-sandbox")" >/dev/null
    echo 'i001 | i002 | i003' >partition
    unanswered "$one" "$three"
    # What was asked for and given up meanwhile does not come back.
    echo heal >control
    docker exec "$one" ping -c 1 -W 5 "$(cat i002/ip)" >/dev/null
    cd /
    umount_cluster
}

@test "history: what was written, how it ended, what is in force" {
    local line
    echo 'i001>i002 drop' >links
    line=$(jq -c 'select(.command.phase == "invoke") | [.command.verb, .command.line, .command.nodes]' history | tail -1)
    is '["links","i001>i002 drop",[]]' "$line"
    put_line i003/net 'loss 101%' >/dev/null
    line=$(jq -c 'select(.command.phase == "fail") | [.command.verb, .command.nodes, .command.errno]' history | tail -1)
    is '["net",["i003"],"EINVAL"]' "$line"
    echo crash >i005/control
    is 'i001>i002 drop, i005 crashed' "$(told)"
    line=$(jq -c 'select(.state.to == "exited") | [.state.node, .state.cause]' history | tail -1)
    is '["i005","command"]' "$line"
    "$CTHULHU" top --once "$M" | grep -q 'fault: i005 crashed'
    "$CTHULHU" timeline "$M" -o "$TMP/t.svg"
    contains "$TMP/t.svg" 'i001&gt;i002 drop'
    echo start >i005/control
    is 'i001>i002 drop' "$(told)"
}

@test "crash: nobody hears of it; a node that does not run falls silent; start ends it" {
    echo crash >i004/control
    reads i004/state exited
    wait_for 5 reads i004/exit_code 137
    deaf i001 i004
    # A node that is only stopped still answers for its address.
    echo stop >i003/control
    hears i001 i003
    echo crash >i003/control
    deaf i001 i003
    echo heal >control
    deaf i001 i003
    echo 'start i003 i004' >control
    hears i001 i003
    hears i001 i004
    echo 'crash i003 i004' >control
    deaf i005 i004
    echo 'restart i004' >control
    hears i005 i004
    echo start >control
    hears i005 i003
}

@test "delay holds packets, and loses none of those behind one that is held" {
    grep -q '^delay *yes' capabilities || skip "no delay here: $(grep ^delay capabilities)"
    echo 'i001>i002 delay 100ms' >links
    has "$(docker exec "$P-i001" ping -q -c 10 -i 0.01 "$(cat i002/ip)")" '10 packets received'
}

@test "a network with IPv6: what would get past the rules is refused, and crash is silent in both" {
    local six one
    six=$(printf 'fd00:%x:%x::/64' "$RANDOM" "$RANDOM")
    docker network create --ipv6 --subnet "$(free_subnet)" --subnet "$six" "$P-both" >/dev/null ||
        skip "the engine makes no network with IPv6"
    M=$TMP/both
    mkdir "$M"
    "$CTHULHU" mount -n 2 --prefix "$P-both" --network "$P-both" -i "$IMAGE" --start "$M" -- "${NODE[@]}"
    cd "$M"
    one=$(cat i001/id)
    six=$(jq -r --arg net "$P-both" '.NetworkSettings.Networks[$net].GlobalIPv6Address' < <(docker inspect "$P-both-i002-sandbox" | jq '.[0]'))
    docker exec "$one" ping -6 -c 1 -W 5 "$six" >/dev/null
    is '95 EOPNOTSUPP' "$(put_line partition 'i001 | i002')"
    has "$(cat error)" 'drop is not possible here: the network has IPv6 too'
    is '95 EOPNOTSUPP' "$(put_line i001/net 'delay 5ms')"
    is '' "$(cat partition i001/net)"
    grep -q '^delay *no .*IPv6' capabilities
    grep -q '^crash *yes' capabilities
    echo 'crash i002' >control
    unanswered "$one" "$six"
    unanswered "$one" "$(cat i002/ip)"
    echo 'start i002' >control
    docker exec "$one" ping -6 -c 1 -W 5 "$six" >/dev/null
    cd /
    umount_cluster
    docker network rm "$P-both" >/dev/null
}

@test "over a TCP connection to the engine" {
    local host=${DOCKER_HOST:-unix:///var/run/docker.sock} one two
    [ "${host#unix://}" != "$host" ] || skip "the engine at $host is not on a unix socket"
    python3 "$FS_TESTS/engine_proxy.py" tcp "${host#unix://}" "$TMP/tcp" 3>&- &
    PROXY_PID=$!
    wait_for 10 reads "$TMP/tcp.mode" pass
    M=$TMP/far
    mkdir "$M"
    DOCKER_HOST=tcp://127.0.0.1:$(cat "$TMP/tcp.port") "$CTHULHU" mount -n 2 --prefix "$P-far" -i "$IMAGE" --start "$M" -- sleep 1000
    one=$(cat "$M/i001/id") two=$(cat "$M/i002/ip")
    docker exec "$one" ping -c 1 -W 5 "$two" >/dev/null
    echo 'i001 | i002' >"$M/partition"
    unanswered "$one" "$two"
    echo 'crash i002' >"$M/control"
    echo heal >"$M/control"
    echo 'start i002' >"$M/control"
    docker exec "$one" ping -c 1 -W 5 "$two" >/dev/null
    umount_cluster
    kill "$PROXY_PID"
}
