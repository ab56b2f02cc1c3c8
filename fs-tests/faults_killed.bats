#!/usr/bin/env bats
# The daemon is killed while faults are in force: nothing of them is left on the host, because nothing of them was ever there.

load lib.bash

setup_file() {
    begin
    need_image
}

teardown() {
    [ ! -e "${M:-}/control" ] || umount_cluster
}

teardown_file() {
    end
}

# All of the host's network that faults could have touched: its firewall as nftables and as iptables see it, without
# counters; queueing disciplines; interfaces and routes. Without what belongs to networks that the engine has still: others' clusters.
host_network() {
    local others all
    others=$(docker network ls -q)
    all=$(
        echo "--- nftables"
        nft list ruleset 2>/dev/null | sed -E 's/counter packets [0-9]+ bytes [0-9]+/counter/'
        echo "--- iptables"
        iptables-save 2>/dev/null | sed -E '/^#/d; s/\[[0-9]+:[0-9]+\]//'
        ip6tables-save 2>/dev/null | sed -E '/^#/d; s/\[[0-9]+:[0-9]+\]//'
        echo "--- qdiscs"
        tc qdisc show | grep -v ' dev veth' | sort
        echo "--- interfaces"
        # The ends of others' containers come and go; ours would be seen by nothing_left.
        ls /sys/class/net | grep -v '^veth'
        echo "--- routes"
        ip rule show
        ip route show
        ip -6 route show | grep -v ' dev veth'
    )
    # And those that have come meanwhile.
    others+=$'\n'$(docker network ls -q)
    grep -Ev "$(sed 's/^/br-/' <<<"$others" | paste -sd '|')" <<<"$all"
}

host_network_is() { [ "$1" = "$(host_network)" ]; }

# What a fault did or left would stay. What differs for a moment only is a network that another cluster is being given.
same() { # BEFORE WHEN
    wait_for 5 host_network_is "$1" || {
        echo "$2:"
        diff <(echo "$1") <(host_network)
        return 1
    }
}

# A fault of each kind, one after the other, and a node that runs to crash. What this machine cannot do is refused, and the next
# comes all the same.
fault() { # NUMBER
    case $(($1 % 7)) in
        0) echo halves >"$M/partition" ;;
        1) printf 'i001>i002 delay 50ms 10ms loss 5%%\ni003>* rate 1mbit\ni002>host loss 10%%\n' >"$M/links" ;;
        2) echo 'reject isolate i002' >"$M/partition" ;;
        3) echo 'delay 20ms' >"$M/i001/net" ;;
        4) echo 'crash i003' >"$M/control" ;;
        5) echo heal >"$M/control" ;;
        6) echo 'start i003' >"$M/control" ;;
    esac
}

# Faults without end, until the mount is dead. It must be read: that the file exists the kernel still believes.
trouble() {
    local i=0
    while cat "$M/partition" >/dev/null; do
        fault $((i++)) || true
    done
}

@test "faults change nothing of the host's network, and after umount it is as before the mount" {
    needs_root "it reads the host's firewall"
    local before mounted number
    before=$(host_network)
    mount_busybox quiet -n 3 --start
    # What the engine does for any container is no fault's doing.
    mounted=$(host_network)
    for number in 0 1 2 3 4; do
        # Not all of them are possible on every machine.
        fault "$number" || has "$(cat "$M/error")" 'not possible here'
        same "$mounted" "under fault $number"
    done
    has "$(cat "$M/partition")" ' | '
    wait_for 5 reads "$M/i003/exit_code" 137
    echo heal >"$M/control"
    same "$mounted" "healed"
    umount_cluster
    same "$before" "after umount"
    nothing_left
}

@test "SIGKILL at random moments while faults change: after prune the host's network is as before" {
    needs_root "it reads the host's firewall"
    local rounds=${FAULT_KILLS:-20} round pid before writer seed=$RANDOM
    RANDOM=$seed
    echo "# $rounds rounds, seed $seed" >&3
    before=$(host_network)
    for round in $(seq "$rounds"); do
        mount_busybox killed -n 3 --start
        pid=$(daemons "$TMP")
        trouble 2>/dev/null &
        writer=$!
        # Something is in force before the moment is drawn.
        wait_for 10 grep -q fault "$M/history"
        sleep "0.$(printf '%03d' $((RANDOM % 400)))"
        kill -9 "$pid"
        wait "$writer" || true
        fusermount3 -uz "$M" 2>/dev/null || true
        "$CTHULHU" prune --yes "$M" >/dev/null
        same "$before" "round $round"
        rmdir "$M"
    done
    nothing_left
}
