#!/usr/bin/env bats
# The daemon is killed while faults are in force: nothing of them is left on the host, because nothing of them was ever there.

load lib.bash

setup_file() {
    begin
    need_image
}

teardown_file() {
    end
}

# All of the host's network that faults could have touched: its firewall as nftables and as iptables see it, without
# counters; queueing disciplines; interfaces. Without what belongs to networks that the engine has still: others' clusters.
host_network() {
    local others
    others=$(docker network ls -q | sed 's/^/br-/' | paste -sd '|')
    {
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
    } | grep -Ev "$others"
}

# Faults without end, until the mount is gone.
trouble() {
    local i=0
    while [ -e "$M/partition" ]; do
        case $((i++ % 6)) in
            0) echo halves >"$M/partition" ;;
            1) printf 'i001>i002 delay 50ms 10ms loss 5%%\ni003>* rate 1mbit\ni002>host loss 10%%\n' >"$M/links" ;;
            2) echo 'reject isolate i002' >"$M/partition" ;;
            3) echo 'delay 20ms' >"$M/i001/net" ;;
            4) echo 'crash i003' >"$M/control" ;;
            5) echo heal >"$M/control" ;;
        esac || return 0
    done
}

@test "SIGKILL at random moments while faults change: after prune the host's network is as before" {
    needs_root "it reads the host's firewall"
    local rounds=${FAULT_KILLS:-20} round pid before writer seed=$RANDOM
    RANDOM=$seed
    echo "# $rounds rounds, seed $seed" >&3
    before=$(host_network)
    for round in $(seq "$rounds"); do
        mount_busybox killed -n 3 2>/dev/null
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
        [ "$before" = "$(host_network)" ] || {
            echo "round $round:"
            diff <(echo "$before") <(host_network)
            return 1
        }
        rmdir "$M"
    done
    nothing_left
}
