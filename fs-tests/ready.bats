#!/usr/bin/env bats
# ready: what makes a node ready, and who is told.

load lib.bash

setup_file() {
    begin
    need_image
}

teardown_file() {
    end
}

teardown() {
    [ -z "${M:-}" ] || umount_cluster 2>/dev/null || true
}

ready_is() { reads "$M/$1/ready" "$2"; }
in_node() { docker exec "$P-i001" sh -c "$1"; }
# stays SECONDS CONDITION...: it holds now, and whenever it is looked at in so many seconds.
stays() {
    local end=$((SECONDS + $1))
    shift
    while [ "$SECONDS" -lt "$end" ]; do
        "$@" || return 1
        sleep 0.1
    done
}

# Waits with poll(2) until a file says so, with nothing but its notifications.
polled() {
    timeout 60 python3 - "$1" "$2" <<'PY'
import os, select, sys
file = os.open(sys.argv[1], os.O_RDONLY)
poll = select.poll()
poll.register(file, select.POLLPRI | select.POLLERR)
while os.pread(file, 100, 0).decode().strip() != sys.argv[2]:
    poll.poll()
PY
}

@test "--ready-port: ready when the node accepts connections, and no longer when it does not" {
    mount_cluster port --ready-port 7001 -n 2 -i "$IMAGE" -- sh -c 'while [ ! -e /open ]; do sleep 0.1; done
        nc -ll -p 7001 -e true & echo $! >/listener; sleep 3600'
    is no "$(cat "$M/i001/ready")"
    echo start >"$M/control"
    stays 1 ready_is i001 no
    polled "$M/i001/ready" yes 3>&- &
    local poll=$!
    "$CTHULHU" wait "$M/i001" --timeout 60s 3>&- &
    local waiter=$!
    in_node ': >/open'
    wait "$poll"
    wait "$waiter"
    is yes "$(cat "$M/i001/ready")"
    is no "$(cat "$M/i002/ready")" 'ready of the other'
    # It fails again, and passes again.
    polled "$M/i001/ready" no 3>&- &
    poll=$!
    in_node 'kill $(cat /listener)'
    wait "$poll"
    in_node 'nc -ll -p 7001 -e true >/dev/null 2>&1 &'
    wait_for 20 ready_is i001 yes
    # Frozen, it is not; thawed, it is as it was.
    echo pause >"$M/i001/control"
    is no "$(cat "$M/i001/ready")"
    echo resume >"$M/i001/control"
    wait_for 10 ready_is i001 yes
    # It dies, and is ready in its next run without more ado: /open is there.
    echo kill >"$M/i001/control"
    is no "$(cat "$M/i001/ready")"
    echo start >"$M/i001/control"
    wait_for 20 ready_is i001 yes
    has "$(grep '"ready"' "$M/history")" '"node":"i001","ready":true'
    umount_cluster
}

@test "--ready-log: a line of the present run, not of one before" {
    mount_cluster log --ready-log '^listening on [0-9]+$' -i "$IMAGE" -- sh -c 'trap "exit 0" TERM; echo not listening on 1
        [ -e /quick ] || while [ ! -e /go ]; do sleep 0.1; done; echo listening on 7001; while :; do sleep 3600 & wait $!; done'
    echo start >"$M/i001/control"
    wait_for 10 contains "$M/i001/log" 'not listening'
    stays 1 ready_is i001 no
    in_node ': >/go'
    wait_for 10 ready_is i001 yes
    in_node 'rm /go'
    echo restart >"$M/i001/control"
    stays 1 ready_is i001 no
    in_node ': >/go; : >/quick'
    wait_for 10 ready_is i001 yes
    local run
    for run in 1 2 3 4 5; do
        echo restart >"$M/i001/control"
        wait_for 10 ready_is i001 yes
    done
    # Somebody else restarts it.
    docker restart -t 1 "$P-i001" >/dev/null
    wait_for 10 reads "$M/i001/state" running
    wait_for 10 ready_is i001 yes
    # A container made anew has its own output.
    docker rm -f "$P-i001" >/dev/null
    wait_for 10 ready_is i001 no
    echo start >"$M/i001/control"
    stays 1 ready_is i001 no
    in_node ': >/go'
    wait_for 10 ready_is i001 yes
    umount_cluster
}

@test "--ready-cmd: exit status 0, of a shell line or of words; one that hangs is not begun again" {
    mount_cluster cmd --ready-cmd 'echo x >>/asked; [ ! -e /hang ] || sleep 3600; test -e /go' -i "$IMAGE"
    echo start >"$M/i001/control"
    wait_for 20 in_node 'test -s /asked'
    stays 1 ready_is i001 no
    in_node ': >/go'
    wait_for 10 ready_is i001 yes
    in_node 'rm /go'
    wait_for 10 ready_is i001 no
    in_node ': >/go'
    wait_for 10 ready_is i001 yes
    in_node ': >/hang'
    wait_for 20 ready_is i001 no
    stays 3 in_node '[ "$(ps | grep -c "[s]leep 3600")" -le 3 ]'
    umount_cluster
    mount_cluster words --ready-cmd '["/bin/test","-e","/go"]' -i "$IMAGE" --start
    in_node ': >/go'
    wait_for 10 ready_is i001 yes
    umount_cluster
    # An image without that program: never ready, and nothing worse.
    mount_cluster none --ready-cmd '["/no/such/program"]' -i "$IMAGE" --start
    stays 2 ready_is i001 no
    is running "$(cat "$M/i001/state")"
    umount_cluster
}

@test "an image without a shell: its port is probed all the same" {
    mount_cluster scratch --ready-port 8080 --start
    wait_for 30 ready_is i001 yes
    umount_cluster
}

@test "without a probe, ready follows the HEALTHCHECK; health and ready answer poll(2)" {
    docker build -q -t "$IMAGE-healthy" - >/dev/null <<EOF
FROM $IMAGE
HEALTHCHECK --interval=0.3s --timeout=5s --retries=1 CMD test -e /good
EOF
    mount_cluster health -i "$IMAGE-healthy" -- sh -c 'rm -f /good; sleep 3600'
    echo start >"$M/i001/control"
    wait_for 20 reads "$M/i001/health" unhealthy
    is no "$(cat "$M/i001/ready")"
    polled "$M/i001/health" healthy 3>&- &
    local health=$!
    polled "$M/i001/ready" yes 3>&- &
    local ready=$!
    in_node ': >/good'
    wait "$health"
    wait "$ready"
    umount_cluster
    # A probe that was asked for counts instead.
    mount_cluster instead -i "$IMAGE-healthy" --ready-cmd true --start -- sleep 3600
    wait_for 10 ready_is i001 yes
    umount_cluster
    docker rmi -f "$IMAGE-healthy" >/dev/null
}

@test "a node that dies instead is not ready; over the simulated engine every probe passes" {
    local options
    mount_cluster dies --ready-port 9 -i "$IMAGE" -- sh -c 'exit 7'
    echo start >"$M/i001/control"
    wait_for 10 reads "$M/i001/exit_code" 7
    is no "$(cat "$M/i001/ready")"
    local status=0
    with_deadline 30 "$CTHULHU" wait "$M/i001" --timeout 10m 2>"$TMP/out" || status=$?
    is 1 "$status" 'exit status of wait'
    has "$(cat "$TMP/out")" 'exit code 7'
    umount_cluster
    for options in '--ready-port 1' '--ready-log started' '--ready-cmd x'; do
        # shellcheck disable=SC2086
        mount_cluster simulated -n 3 --host simulated: $options
        is no "$(cat "$M/i003/ready")"
        echo start >"$M/control"
        wait_for 10 ready_is i003 yes
        echo stop >"$M/i003/control"
        is no "$(cat "$M/i003/ready")"
        umount_cluster
    done
    mount_cluster never --host simulated: --ready-log 'no such line' --start
    stays 1 ready_is i001 no
    umount_cluster
}

@test "probes that make no sense are refused in a sentence, before anything is made" {
    local wrong
    mkdir "$TMP/wrong"
    while read -ra wrong; do
        refused "$CTHULHU" mount --prefix "$P" --host simulated: "${wrong[@]}" "$TMP/wrong" 2>"$TMP/out" </dev/null
        has "$(cat "$TMP/out")" --ready-
    done <<'EOF'
--ready-port 0
--ready-port 70000
--ready-log (
--ready-log=
--ready-cmd=
--ready-cmd []
--ready-port 1 --ready-cmd true
--ready-log x --ready-cmd true
EOF
    nothing_left "$TMP/wrong"
}

@test "a pause changes nothing in what the HEALTHCHECK has found, until the first check after it" {
    docker build -q -t "$IMAGE-paused" - >/dev/null <<EOF
FROM $IMAGE
HEALTHCHECK --interval=2s --timeout=60s --retries=1 CMD test -e /good
EOF
    mount_cluster paused -i "$IMAGE-paused" -- sh -c ': >/good; sleep 3600'
    echo start >"$M/i001/control"
    wait_for 60 reads "$M/i001/health" healthy
    echo pause >"$M/i001/control"
    is 'unhealthy' "$(field i001 '{{.State.Health.Status}}')" "Docker's own word"
    is 'healthy no' "$(cat "$M/i001/health") $(cat "$M/i001/ready")"
    echo resume >"$M/i001/control"
    is 'healthy yes' "$(cat "$M/i001/health") $(cat "$M/i001/ready")"
    # Somebody else does it.
    docker pause "$P-i001" >/dev/null
    wait_for 60 reads "$M/i001/state" paused
    docker unpause "$P-i001" >/dev/null
    wait_for 60 reads "$M/i001/state" running
    is 'healthy yes' "$(cat "$M/i001/health") $(cat "$M/i001/ready")"
    is '' "$(grep '"unhealthy"' "$M/history" || true)" 'what the history says'
    # A check does.
    in_node 'rm /good'
    wait_for 60 reads "$M/i001/health" unhealthy
    echo pause >"$M/i001/control"
    echo resume >"$M/i001/control"
    is 'unhealthy no' "$(cat "$M/i001/health") $(cat "$M/i001/ready")"
    umount_cluster
    docker rmi -f "$IMAGE-paused" >/dev/null
}
