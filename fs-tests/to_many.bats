#!/usr/bin/env bats
# Broadcast and multicast under faults of single links: they leave once for all receivers, and each link has its own fault.

load lib.bash

setup_file() {
    begin
    if [ "$(id -u)" = 0 ]; then mount_busybox m -n 3 --start; fi
}

teardown_file() { end; }

setup() {
    needs_root 'to enter the network namespaces of nodes'
    M=$TMP/m
    echo heal >"$M/control"
    B=$(ip -j -4 addr show dev "br-$(networks "$M" | cut -c 1-12)" | jq -r '.[0].addr_info[0].broadcast // empty')
    [ -n "$B" ] || B=$(docker exec "$P-i001" ip -4 addr show dev eth0 | sed -n 's/.* brd \([0-9.]*\).*/\1/p')
}

end_of() { echo "$(docker inspect -f '{{.State.Pid}}' "$P-$1")@$(cat "$M/$1/ip")"; }

# sent DESTINATION COUNT SIZE EXPECTED2 EXPECTED3: sets N2, T2, N3, T3: what came to i002 and i003 of what i001 sends.
sent() {
    local out
    out=$(python3 "$FS_TESTS/to_many.py" "$1" "$2" "$3" "$(end_of i001)" "$(end_of i002)=$4" "$(end_of i003)=$5" | xargs)
    read -r N2 T2 N3 T3 <<<"$out"
}

# has_faults WORD...: else the test is skipped.
has_faults() {
    local word
    for word in "$@"; do grep -q "^$word  *yes" "$M/capabilities" || skip "no $word here: $(grep "^$word" "$M/capabilities")"; done
}

@test "without faults each receiver gets each once" {
    local to
    for to in 239.1.1.1 "$B" 255.255.255.255; do
        sent "$to" 20 100 20 20
        is '20 20' "$N2 $N3" "to $to"
    done
}

@test "drop and loss are the one link's" {
    has_faults drop loss
    local fault
    for fault in drop 'loss 100%'; do
        echo "i001>i002 $fault" >"$M/links"
        for to in 239.1.1.1 "$B" 255.255.255.255; do
            sent "$to" 20 100 0 20
            is '0 20' "$N2 $N3" "$fault, to $to"
        done
    done
}

@test "duplicate: the second copy goes to the one receiver alone" {
    has_faults duplicate
    [ -n "$(grep dup "$M/capabilities")" ] || skip 'without nft_dup_ipv4 they come once'
    echo 'i001>i002 duplicate 100%' >"$M/links"
    local to
    for to in 239.1.1.1 "$B" 255.255.255.255; do
        sent "$to" 20 100 40 20
        is '40 20' "$N2 $N3" "to $to"
    done
    echo 'duplicate 100%' >"$M/i001/net"
    echo >"$M/links"
    sent 239.1.1.1 20 100 40 40
    is '40 40' "$N2 $N3" 'of all links'
    echo 'i001>i002 duplicate 25%' >"$M/links"
    echo >"$M/i001/net"
    # Five standard deviations.
    sent 239.1.1.1 1000 100 1182 1000
    [ "$N2" -ge 1182 ] && [ "$N2" -le 1318 ] && is 1000 "$N3"
    echo heal >"$M/control"
    sent 239.1.1.1 20 100 20 20
    is '20 20' "$N2 $N3" healed
}

@test "rate: they wait on the one link, and beyond the room are lost there" {
    has_faults rate
    grep -q NFQUEUE "$M/capabilities" || skip 'without NFQUEUE no rate holds them up'
    echo 'i001>i002 rate 100kbit' >"$M/links"
    local to
    for to in 239.1.1.1 "$B" 255.255.255.255; do
        # 10 ms a packet of 125 bytes with its headers (14, 20, 8): the last one waits for 199 before it.
        sent "$to" 200 83 200 200
        is '200 200' "$N2 $N3" "to $to"
        python3 -c "import sys; sys.exit(not ($T2 >= 1.98 and $T3 < $T2))" || { echo "$to: $T2 s, $T3 s" >&2; return 1; }
    done
    # 256 KiB may wait; half a megabyte is too much for what then takes seven seconds.
    echo 'i001>i002 rate 300kbit' >"$M/links"
    sent 239.1.1.1 400 1358 188 400
    [ "$N2" -ge 188 ] && [ "$N2" -le 250 ] && is 400 "$N3"
}

@test "delay is the one link's, beside a rate too" {
    has_faults delay rate
    grep -q NFQUEUE "$M/capabilities" || skip 'without NFQUEUE they are not held'
    for fault in 'delay 3s' 'delay 3s rate 10mbit'; do
        echo "i001>i002 $fault" >"$M/links"
        sent 239.1.1.1 20 100 20 20
        is '20 20' "$N2 $N3"
        python3 -c "import sys; sys.exit(not ($T2 >= 3 and $T3 < $T2))" || { echo "$fault: $T2 s, $T3 s" >&2; return 1; }
    done
}
