#!/usr/bin/env bats
# A mountpoint that is missing is made, and goes with its cluster whichever way that ends; long names.

load lib.bash

setup_file() {
    begin
    need_image
}

teardown_file() { end; }

setup() {
    mkdir "$TMP/d$BATS_TEST_NUMBER"
    cd "$TMP/d$BATS_TEST_NUMBER"
    M=$PWD/cluster
}

simulated() { with_deadline 60 "$CTHULHU" mount --host simulated: "$@"; }
daemon() { listed_below "$PWD" | jq -r '.[0].pid'; }
kill_daemon() {
    local pid
    pid=$(daemon)
    kill -9 "$pid"
    wait_for 20 gone "$pid"
}
# Nothing is in the directory of this test, and nothing can be written where the cluster was.
is_away() {
    wait_for 60 test ! -e "${1:-cluster}"
    is '' "$(ls -A)" 'what is left'
    nothing_left "$PWD"
    refused sh -c 'echo start >"$0"/control' "${1:-cluster}" 2>/dev/null
    is '' "$(ls -A)" 'what a command to no cluster has made'
}

@test "a missing mountpoint is made, and goes with its cluster" {
    with_deadline 120 "$CTHULHU" mount --prefix "$P" -n 2 -i "$IMAGE" --start ./cluster
    is running "$(cat cluster/i002/state)"
    with_deadline 60 "$CTHULHU" umount ./cluster
    is_away
    # What it wrote is still known by the name.
    has "$("$CTHULHU" history ./cluster)" '"unmounting"'
    simulated sub/../cluster 2>err && false
    has "$(cat err)" 'no directory sub/..'
    rm err
    mkdir real
    ln -s real link
    simulated link/cluster/
    is i001 "$(cat real/cluster/i001/name)"
    with_deadline 60 "$CTHULHU" umount link/cluster
    is '' "$(ls -A real)"
    rm -r link real
    is_away
}

@test "a mountpoint that was there stays" {
    mkdir cluster
    chmod 750 cluster
    simulated ./cluster
    with_deadline 60 "$CTHULHU" umount ./cluster
    is '750 cluster' "$(stat -c '%a %n' *)"
    simulated ./cluster
    kill_daemon
    with_deadline 60 "$CTHULHU" umount ./cluster
    is '750 cluster' "$(stat -c '%a %n' *)"
    # From now on it is nobody's who made another.
    rmdir cluster
    simulated ./cluster
    with_deadline 60 "$CTHULHU" umount ./cluster
    is_away
}

@test "it goes by umount, by SIGTERM, and in the foreground by ^C" {
    simulated cluster
    if [ "$(id -u)" = 0 ]; then umount cluster; else fusermount3 -u cluster; fi
    is_away
    simulated cluster
    kill "$(daemon)"
    is_away
    env --default-signal=INT "$CTHULHU" mount --host simulated: --foreground cluster >"$TMP/out" 2>&1 3>&- &
    wait_for 60 grep -q 'mounted at' "$TMP/out"
    kill -INT $!
    wait $!
    is_away
}

@test "a mount that fails, or is interrupted, leaves none" {
    refused with_deadline 60 "$CTHULHU" mount --prefix "$P" -i "$P-none" cluster 2>/dev/null
    is_away
    refused with_deadline 60 "$CTHULHU" mount --prefix "$P" -i "$IMAGE" --start cluster -- no-such-program 2>"$TMP/err"
    has "$(cat "$TMP/err")" 'cannot start'
    is_away
    "$CTHULHU" mount --host 'simulated:?start=60s' --timeout 100 cluster >"$TMP/out" 2>&1 3>&- &
    wait_for 60 test -d cluster
    kill $!
    wait $! && false
    is_away
}

@test "after SIGKILL, umount takes it away, prune too, and the next mount's end" {
    with_deadline 120 "$CTHULHU" mount --prefix "$P" -i "$IMAGE" cluster
    kill_daemon
    with_deadline 60 "$CTHULHU" umount cluster
    is_away
    simulated cluster
    kill_daemon
    with_deadline 60 "$CTHULHU" prune --yes cluster
    is_away
    simulated cluster
    kill_daemon
    simulated cluster
    is i001 "$(cat cluster/i001/name)"
    with_deadline 60 "$CTHULHU" umount cluster
    is_away
    simulated cluster
    kill_daemon
    refused with_deadline 60 "$CTHULHU" mount --prefix "$P" -i "$P-none" cluster 2>/dev/null
    is_away
    # Twice, and the dead mount is away before anybody looks.
    simulated cluster
    kill_daemon
    simulated cluster
    kill_daemon
    if [ "$(id -u)" = 0 ]; then umount cluster; else fusermount3 -u cluster; fi
    is "$(printf %o $((0755 & ~$(umask))))" "$(stat -c %a cluster)"
    with_deadline 60 "$CTHULHU" umount cluster
    is_away
}

@test "nobody else's rights come with it, and nobody's files go with it" {
    (umask 077 && simulated cluster)
    kill_daemon
    if [ "$(id -u)" = 0 ]; then umount cluster; else fusermount3 -u cluster; fi
    is 700 "$(stat -c %a cluster)"
    echo mine >cluster/mine
    with_deadline 60 "$CTHULHU" umount cluster
    is mine "$(cat cluster/mine)"
    rm -r cluster
}

@test "two mounts at once at a missing place: one wins, the other says so" {
    local round pids status won
    for round in 1 2 3 4 5; do
        pids=() won=0
        for n in 1 2 3; do
            simulated -n 2 cluster >"$TMP/out.$n" 2>"$TMP/err.$n" 3>&- &
            pids+=($!)
        done
        for n in 1 2 3; do
            status=0
            wait "${pids[n - 1]}" || status=$?
            case $status in
            0) won=$((won + 1)) ;;
            1) has "$(tail -n 1 "$TMP/err.$n")" "$M is a mounted cluster already" ;;
            *) is 1 "$status" "$(cat "$TMP/err.$n")" ;;
            esac
        done
        is 1 "$won" "mounts of round $round"
        is i002 "$(cat cluster/i002/name)"
        with_deadline 60 "$CTHULHU" umount cluster
        is_away
    done
}

@test "where none can be made, mount says so" {
    local as_others=()
    simulated none/cluster 2>"$TMP/err" && false
    has "$(cat "$TMP/err")" 'cannot use none/cluster as a mountpoint: no directory none'
    : >file
    simulated file/cluster 2>"$TMP/err" && false
    has "$(cat "$TMP/err")" "cannot use $PWD/file/cluster: Not a directory"
    is file "$(ls -A)"
    rm file
    mkdir sealed
    chmod 555 sealed
    # Or root may write everywhere.
    [ "$(id -u)" != 0 ] || as_others=(setpriv --bounding-set=-dac_override)
    with_deadline 60 "${as_others[@]}" "$CTHULHU" mount --host simulated: sealed/cluster 2>"$TMP/err" && false
    is "cthulhu: cannot make $PWD/sealed/cluster: Permission denied" "$(cat "$TMP/err")"
}

@test "names of 242 to 255 bytes" {
    local name names=()
    for n in 242 243 250 255; do names+=("$(printf 'x%.0s' $(seq $n))"); done
    # Two that differ in their last byte; two bytes a character, and three.
    names+=("$(printf 'x%.0s' $(seq 254))y" "$(printf 'é%.0s' $(seq 127))" "$(printf '€%.0s' $(seq 85))")
    for name in "${names[@]}"; do
        simulated "./$name"
        is i001 "$(cat "./$name/i001/name")"
    done
    is ${#names[@]} "$(listed_below "$PWD" | jq length)" 'clusters'
    for name in "${names[@]}"; do with_deadline 60 "$CTHULHU" umount "./$name"; done
    is '' "$(ls -A)"
    # Over Docker too, where a container binds what lies in the state directory.
    name=${names[3]}
    with_deadline 120 "$CTHULHU" mount --prefix "$P" -i "$IMAGE" --start "./$name"
    docker exec "$P-i001" touch /opt/app/var/here
    [ -e "./$name/i001/bindmounts/var/here" ]
    with_deadline 60 "$CTHULHU" umount "./$name"
    is_away "$name"
}
