#!/usr/bin/env bats
# Clusters, and others' containers, in one network of the user's (--network): who has which name and address there.

load lib.bash

setup_file() {
    begin
    need_image
}

teardown_file() {
    docker ps -aq --filter "name=^/$P-other" | xargs -r docker rm -f >/dev/null
    sweep "$TMP"
    docker network ls -q --filter "name=^$P-net" | xargs -r docker network rm >/dev/null
}

setup() {
    A=$TMP/a$BATS_TEST_NUMBER B=$TMP/b$BATS_TEST_NUMBER NET=$P-net$BATS_TEST_NUMBER
    mkdir "$A" "$B"
}

teardown() {
    for M in "$A" "$B"; do if mountpoint -q "$M"; then umount_cluster; fi; done
    docker ps -aq --filter "name=^/$P-other" | xargs -r docker rm -f >/dev/null
    docker network rm "$NET" >/dev/null 2>&1 || true
}

network() { docker network create --subnet "$(free_subnet)" "$@" "$NET" >/dev/null; }

# mounted DIR PREFIX OPTION...: in this test's network; stderr goes to DIR.err.
mounted() {
    local dir=$1 prefix=$2
    shift 2
    with_deadline 120 "$CTHULHU" mount --prefix "$prefix" -i "$IMAGE" --network "$NET" --start "$@" "$dir" -- "${NODE[@]}" 2>"$dir.err"
}

# address FROM NAME: what a node's C library makes of a name.
address() { docker exec "$1" ping -c 1 -W 1 "$2" | sed -n '1s/.*(\(.*\)).*/\1/p'; }
# dns FROM NAME: all that the engine's DNS answers, on a line.
dns() { docker exec "$1" nslookup "$2" 127.0.0.11 2>/dev/null | sed -n '/^Name:/,$s/^Address: *//p' | sort | xargs; }
# reverse_dns FROM ADDRESS: the name that DNS itself has for an address.
reverse_dns() { docker exec "$1" nslookup "$2" 127.0.0.11 2>/dev/null | sed -n 's/.*name = //p'; }

@test "two clusters in one network: each name leads to one's own nodes, in DNS too, and mount says so" {
    network
    mounted "$A" "$P-a" -n 3
    mounted "$B" "$P-b" -n 3
    is 0 "$(grep -c 'is a name of' "$A.err")"
    has "$(cat "$B.err")" "i001 is a name of the container $P-a-i001-sandbox in the network $NET: host names there are $P-b-i001, …"
    is i001 "$(docker exec "$P-a-i001" hostname)"
    is "$P-b-i001" "$(docker exec "$P-b-i001" hostname)"
    is i001 "$(cat "$B/i001/name")"
    local from node
    for from in i001 i003; do
        for node in i001 i002 i003; do
            is "$(cat "$A/$node/ip")" "$(address "$P-a-$from" "$node")" "A: $node seen by $from"
            is "$(cat "$B/$node/ip")" "$(address "$P-b-$from" "$node")" "B: $node seen by $from"
            is "$(cat "$A/$node/ip")" "$(dns "$P-a-$from" "$node")" "A's $node in DNS"
            is "$(cat "$A/$node/ip")" "$(dns "$P-b-$from" "$P-a-$node")" "$P-a-$node in DNS"
            is "$(cat "$B/$node/ip")" "$(dns "$P-a-$from" "$P-b-$node")" "$P-b-$node in DNS"
        done
    done
    # Recreated, it is called the same.
    docker rm -f "$P-b-i002-sandbox" "$P-b-i002" >/dev/null
    wait_for 20 reads "$B/i002/state" missing
    echo start >"$B/i002/control"
    is "$P-b-i002" "$(docker exec "$P-b-i002" hostname)"
    is "$(cat "$A/i002/ip")" "$(dns "$P-b-i001" i002)"
}

@test "a prefix makes names of its own, in a network of its own too" {
    M=$A
    mount_cluster "a$BATS_TEST_NUMBER" -n 2 -i "$IMAGE" --start -- "${NODE[@]}"
    is "$(cat "$A/i002/ip")" "$(dns "$P-i001" i002)"
    is "$(cat "$A/i002/ip")" "$(dns "$P-i001" "$P-i002")"
    is i001 "$(docker exec "$P-i001" hostname)"
}

@test "a name that somebody else's container has, running or not, by alias or by name: said or refused" {
    network
    docker create --name "$P-other1" --network "$NET" --network-alias I002 "$IMAGE" >/dev/null
    local status=0
    "$CTHULHU" mount -n 2 -i "$IMAGE" --network "$NET" "$A" 2>"$TMP/err" || status=$?
    is 1 "$status"
    has "$(tail -n 1 "$TMP/err")" "I002 is a name of the container $P-other1 in the network $NET: choose host names of your own with --prefix P"
    is '' "$(containers "$A")" containers
    mounted "$A" "$P-a" -n 2
    has "$(cat "$A.err")" "I002 is a name of the container $P-other1"
    is "$P-a-i002" "$(docker exec "$P-a-i002" hostname)"
    # The names that a prefix makes can be taken too.
    docker run -d --name "$P-other2" --network "$NET" --network-alias "$P-b-i001" "$IMAGE" >/dev/null
    status=0
    mounted "$B" "$P-b" -n 2 || status=$?
    is 1 "$status"
    has "$(tail -n 1 "$B.err")" "$P-b-i001 is a name of the container $P-other2 in the network $NET: choose another --prefix"
    is '' "$(containers "$B")" containers
}

@test "two that are mounted at once in one network: never two of a name" {
    network
    local first second
    mounted "$A" "$P-a" -n 2 & first=$!
    mounted "$B" "$P-b" -n 2 & second=$!
    # Both may have chosen the same addresses, or have seen each other's names when the nodes were there.
    wait "$first" || tail -n 1 "$A.err" | grep -E 'came to the network|is not free in the network'
    wait "$second" || tail -n 1 "$B.err" | grep -E 'came to the network|is not free in the network'
    local up=() prefix
    for prefix in a b; do
        if [ -n "$(docker ps -q --filter "name=^/$P-$prefix-i001$")" ]; then up+=("$P-$prefix-i001"); fi
    done
    if [ ${#up[@]} -gt 0 ]; then is 1 "$(dns "${up[0]}" i001 | wc -w)" 'addresses of i001'; fi
    # Those that were refused can come one after the other.
    for prefix in a b; do
        [ -n "$(docker ps -q --filter "name=^/$P-$prefix-i001$")" ] || mounted "$TMP/$prefix$BATS_TEST_NUMBER" "$P-$prefix" -n 2
    done
    is 1 "$(dns "$P-a-i001" i001 | wc -w)" 'addresses of i001'
}

@test "a node's C library finds the node's name for an address" {
    network
    mounted "$A" "$P-a" -n 2
    mounted "$B" "$P-b" -n 2
    local prefix dir
    for prefix in a b; do
        dir=$TMP/$prefix$BATS_TEST_NUMBER
        # As gethostbyaddr(3) and getnameinfo(3) do: /etc/hosts comes before DNS, and of an address the first line counts.
        is i002 "$(docker exec "$P-$prefix-i001" awk -v ip="$(cat "$dir/i002/ip")" '$1 == ip { print $2; exit }' /etc/hosts)"
        is i001 "$(docker exec "$P-$prefix-i001" awk -v ip="$(cat "$dir/i001/ip")" '$1 == ip { print $2; exit }' /etc/hosts)"
        # Programs that ask DNS themselves get the same.
        is i001 "$(reverse_dns "$P-$prefix-i001" "$(cat "$dir/i001/ip")")"
        is i002 "$(reverse_dns "$P-$prefix-i001" "$(cat "$dir/i002/ip")")"
    done
}

@test "--ip-range: nodes keep out of what the engine chooses from, as long as there is room" {
    local subnet
    subnet=$(free_subnet)
    docker network create --subnet "$subnet" --ip-range "${subnet%.0/24}.0/28" "$NET" >/dev/null
    mounted "$A" "$P-a" -n 3
    is "${subnet%.0/24}.16 ${subnet%.0/24}.17 ${subnet%.0/24}.18" "$(cat "$A"/i*/ip | xargs)"
    # The engine's own choice never meets a node that is gone for a moment.
    docker run -d --name "$P-other" --network "$NET" "$IMAGE" >/dev/null
    is "${subnet%.0/24}.2" "$(docker inspect -f "{{(index .NetworkSettings.Networks \"$NET\").IPAddress}}" "$P-other")"
}

@test "an address that is taken between the plan and the start: one sentence names it" {
    network
    mounted "$A" "$P-a" -n 2
    local ip
    ip=$(cat "$A/i002/ip")
    docker rm -f "$P-a-i002-sandbox" "$P-a-i002" >/dev/null
    wait_for 20 reads "$A/i002/state" missing
    docker run -d --name "$P-other" --network "$NET" --ip "$ip" "$IMAGE" >/dev/null
    has "$(put_line "$A/i002/control" start)" EIO
    has "$(cat "$A/i002/error")" "its address $ip is not free in the network $NET any more: "
    docker rm -f "$P-other" >/dev/null
    is OK "$(put_line "$A/i002/control" start)"
}
