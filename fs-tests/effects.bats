#!/usr/bin/env bats
# What each effect does to real packets between nodes, in both directions, against what was asked. What this machine cannot
# do, as `capabilities` says, must be refused with EOPNOTSUPP and the reason; then that is what is tested.

load lib.bash

setup_file() {
    begin
    need_image
    need_traffic
    [ -n "$TRAFFIC" ] || return 0
    mount_cluster cluster -n 3 -i "$TRAFFIC" --start
}

teardown_file() {
    umount_cluster 2>/dev/null || true
    end
}

setup() {
    needs_traffic
    M=$TMP/cluster
}

teardown() {
    [ ! -e "$M/control" ] || echo heal >"$M/control"
}

measured() { with_deadline 400 python3 "$FS_TESTS/effects.py" "$M" "$1"; }
seen() { with_deadline 400 python3 "$FS_TESTS/connections.py" "$M" "$1"; }
tcp() { with_deadline 400 python3 "$FS_TESTS/tcp.py" "$M" "$1"; }

@test "drop: none comes one way, and all the other; a partition both ways" { measured drop; }
@test "loss: the share asked for over 10,000 packets" { measured loss; }
@test "delay: as long as was asked for, a peer, and nothing waits the other way" { measured delay; }
@test "jitter: within its bounds, and order is kept" { measured jitter; }
@test "rate: UDP and TCP get what was asked for, and nobody else is held back" { measured rate; }
@test "duplicate: the share asked for comes twice, and nothing is lost" { measured duplicate; }
@test "corrupt: what is altered is not delivered, and wrong payload never" { measured corrupt; }
@test "reorder: some overtake others, and nothing is lost" { measured reorder; }
@test "several effects at once: on one link, on others, and by net" { measured together; }
@test "TCP, delay: who connects waits as long, in either direction, and no other peer" { tcp delay; }
@test "TCP, loss: all bytes come, as what is lost is sent again, and only one way" { tcp loss; }
@test "TCP, duplicate: all bytes come, some twice, and only one way" { tcp duplicate; }
@test "TCP, reorder: all bytes come, some out of order, and only one way" { tcp reorder; }
@test "TCP, corrupt: all bytes come right, as wrong sums are found, and only one way" { tcp corrupt; }
@test "TCP, drop one way: what comes back is heard, what goes is not until heal, and nobody connects" { tcp drop; }
@test "reject: refused at once, for TCP and for a connected UDP socket" { seen reject; }
@test "an open connection under drop: silence, and after heal it goes on, nothing missing" { seen silence; }
@test "an open connection under reject: a reset" { seen reset; }
@test "crash: peers see silence for as long as it lasts, and a reset once the node is back" { seen crash; }
@test "the host is reached, and reaches all, unless it is named: drop" { seen host; }
@test "the host named: reject" { seen host_reject; }
@test "the host named: loss and delay" { seen host_links; }
