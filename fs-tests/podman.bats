#!/usr/bin/env bats
# Rootful podman's socket in the engine's place: a service of this file's own, with storage, networks and configuration
# below $TMP, but for one directory whose path podman wants short. The docker command line talks to it too.

load lib.bash

setup_file() {
    begin
    [ "$(id -u)" = 0 ] || return 0
    command -v podman >/dev/null || return 0
    export DOCKER_HOST=unix://$TMP/p/podman.sock CONTAINERS_CONF=$TMP/p/containers.conf
    mkdir -p "$TMP"/p/{root,tmp,net}
    RUN=$(mktemp -d /tmp/ctp.XXXXXX)
    export RUN
    # The limits: podman's own defaults are higher than a machine's may be, and its runtime then fails.
    cat >"$CONTAINERS_CONF" <<CONF
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[network]
network_config_dir = "$TMP/p/net"
[engine]
runtime = "runc"
CONF
    # In a network namespace of its own: it leaves chains in the firewall.
    unshare --net podman --root "$TMP/p/root" --runroot "$RUN" --tmpdir "$TMP/p/tmp" system service --time 0 "$DOCKER_HOST" \
        >"$TMP/p/log" 2>&1 </dev/null 3>&- &
    echo $! >"$TMP/p/pid"
    wait_for 30 docker version >/dev/null 2>&1 || {
        tail -n 5 "$TMP/p/log" >&2
        return 1
    }
    need_image
}

teardown_file() {
    local id
    if [ -e "$TMP/p/pid" ]; then
        for id in $(daemons "$TMP"); do kill "$id" || true; done
        wait_for 30 no_daemons "$TMP" || true
        for id in $(docker ps -aq); do docker rm -fv "$id" >/dev/null; done
        for id in $(networks "$TMP"); do docker network rm "$id" >/dev/null || true; done
        kill "$(cat "$TMP/p/pid")"
        wait_for 30 gone "$(cat "$TMP/p/pid")"
        # Its storage is a mount of its own.
        { mounts "$TMP/p" && mounts "$RUN"; } | sort -r | while read -r id; do umount -l "$id" || true; done
        unset DOCKER_HOST
        rm -rf --one-file-system "$RUN"
    fi
    end
}

setup() {
    needs_root 'for rootful podman'
    command -v podman >/dev/null || skip 'there is no podman on this machine: sudo apt-get install podman'
    M=$TMP/m$BATS_TEST_NUMBER
}

teardown() {
    if [ -n "${M:-}" ] && [ -n "$(mounts "$M")" ]; then "$CTHULHU" umount "$M"; fi
}

@test "mount, start, stop, kill, pause, restart; what they say is what podman has" {
    mount_busybox "m$BATS_TEST_NUMBER" -n 2
    has "$(jq -r .engine "$XDG_STATE_HOME"/cthulhu/*/cluster.json)" "$TMP/p/podman.sock"
    is 2 "$(grep -c ' created ' "$M/status")"
    echo start >"$M/control"
    all_in running
    is "$(field i001 '{{.State.Pid}}')" "$(cat "$M/i001/pid.txt")"
    echo pause >"$M/i001/control"
    is paused "$(cat "$M/i001/state")"
    echo resume >"$M/i001/control"
    is running "$(cat "$M/i001/state")"
    echo kill >"$M/i001/control"
    is exited "$(cat "$M/i001/state")"
    wait_for 10 reads "$M/i001/exit_code" 137
    is '3 ESRCH' "$(put_line "$M/i001/control" kill)"
    echo 'stop -t 5' >"$M/i002/control"
    is exited "$(cat "$M/i002/state")"
    wait_for 10 reads "$M/i002/exit_code" 143
    echo restart >"$M/control"
    all_in running
    wait_for 10 pings "$P-i001" "$(cat "$M/i002/ip")"
    umount_cluster
    nothing_left "$M"
}

@test "news from outside: killed, removed and recreated; the log of all runs" {
    mount_busybox "m$BATS_TEST_NUMBER" -n 2 --start
    docker kill "$P-i001" >/dev/null
    wait_for 20 reads "$M/i001/state" exited
    wait_for 20 reads "$M/i001/exit_code" 137
    docker rm -f "$P-i002" >/dev/null
    wait_for 20 reads "$M/i002/state" missing
    echo start >"$M/control"
    all_in running
    docker pause "$P-i001" >/dev/null
    wait_for 20 reads "$M/i001/state" paused
    docker unpause "$P-i001" >/dev/null
    wait_for 20 reads "$M/i001/state" running
    docker start "$P-i001" >/dev/null
    both_runs() { is 2 "$(grep -cx started "$M/i001/log")" 2>/dev/null; }
    wait_for 20 both_runs
    umount_cluster
    nothing_left "$M"
}

@test "the demo cluster; a killed daemon, ls and prune; doctor" {
    mount_cluster "m$BATS_TEST_NUMBER" -n 3 --start
    wait_for 20 contains "$M/i001/log" 'listening on'
    kill -9 "$(daemons "$TMP")"
    wait_for 10 no_daemons "$TMP"
    is 'left over' "$(listed_below "$TMP" | jq -r '.[0].state')"
    "$CTHULHU" prune --yes "$M" >/dev/null
    nothing_left "$M"
    is '[]' "$(listed_below)"
    "$CTHULHU" doctor >"$TMP/out"
    grep -q '^ok *engine: Podman Engine' "$TMP/out"
    grep -q '^ok *trial: ' "$TMP/out"
}

@test "umount kills nodes, and waits for none that heeds no SIGTERM" {
    mount_cluster "m$BATS_TEST_NUMBER" -n 3 -i "$IMAGE" --start -- \
        sh -c 'trap "touch /opt/app/var/asked" TERM; touch /opt/app/var/traps; while :; do sleep 1; done'
    local data
    data=$(jq -r .data "$XDG_STATE_HOME/cthulhu/m$BATS_TEST_NUMBER"-*/cluster.json)
    wait_for 30 test -e "$data/i001/var/traps" -a -e "$data/i002/var/traps" -a -e "$data/i003/var/traps"
    echo pause >"$M/i003/control"
    umount_cluster
    nothing_left "$M"
    # Each would have had ten seconds.
    is '' "$(ls "$data"/i00?/var/asked 2>/dev/null)" 'who got a SIGTERM'
}
