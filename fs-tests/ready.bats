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
    # A container recreated has its own output.
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
    with_deadline 60 "$CTHULHU" wait "$M/i001" --timeout 10m 2>"$TMP/out" || status=$?
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
--ready-interval 1s
--ready-log x --ready-timeout 1s
--ready-port 1 --ready-interval never
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

@test "ready_reason says why not, of every probe, and wait shows it with the end of the log" {
    local out=$TMP/reason.out status
    # reason PATTERN: of i001, as a whole line somewhere.
    reason() { grep -qE -- "$1" "$M/i001/ready_reason"; }
    # in_vain: what wait says of it.
    in_vain() {
        status=0
        with_deadline 60 "$CTHULHU" wait "$M" --timeout 300ms >"$out" 2>&1 || status=$?
        is 124 "$status" 'exit status of wait'
    }
    mount_cluster reason-port --ready-port 7001 -i "$IMAGE" -- sh -c 'echo up; sleep 3600'
    is 'it was never started' "$(cat "$M/i001/ready_reason")"
    echo start >"$M/i001/control"
    wait_for 60 reason '^connection refused by port 7001 since 20[0-9-]*T[0-9:]*Z$'
    wait_for 60 contains "$M/i001/log" up
    in_vain
    has "$(cat "$out")" 'i001 (running, not ready)'
    has "$(cat "$out")" 'i001: connection refused by port 7001 since '
    has "$(cat "$out")" "i001: the end of its log ($M/i001/log):
  | up"
    in_node 'nc -ll -p 7001 -e true >/dev/null 2>&1 &'
    wait_for 60 ready_is i001 yes
    is '' "$(cat "$M/i001/ready_reason")"
    echo pause >"$M/i001/control"
    is 'it is paused' "$(cat "$M/i001/ready_reason")"
    echo kill >"$M/i001/control"
    is 'it has exited' "$(cat "$M/i001/ready_reason")"
    docker rm -f "$P-i001" >/dev/null
    wait_for 60 reads "$M/i001/ready_reason" 'its container was removed'
    umount_cluster

    mount_cluster reason-log --ready-log '^listening$' -i "$IMAGE" --start -- sh -c 'echo one; echo two; sleep 3600'
    wait_for 60 reason '^2 lines seen, none matches \^listening\$$'
    in_vain
    has "$(cat "$out")" 'i001: 2 lines seen, none matches ^listening$'
    umount_cluster

    mount_cluster reason-cmd --ready-cmd 'printf "not \033[2Jyet\n"; ls /missing; exit 3' -i "$IMAGE" --start
    wait_for 60 reason '^exit status 3 since 20'
    reason '^  not \\u\{1b\}\[2Jyet$'
    reason '^  ls: /missing: No such file or directory$'
    in_vain
    has "$(cat "$out")" '  | not \u{1b}[2Jyet'
    has "$(cat "$out")" '  | ls: /missing: No such file or directory'
    umount_cluster
    mount_cluster reason-none --ready-cmd '["/no/such/program"]' -i "$IMAGE" --start
    wait_for 60 reason '^exit status 12[67] since '
    reason 'no such file or directory'
    umount_cluster
    mount_cluster reason-late --ready-cmd 'sleep 3600' --ready-timeout 100ms -i "$IMAGE" --start
    wait_for 60 reason '^no answer within 0.1 s since '
    umount_cluster

    docker build -q -t "$IMAGE-sick" - >/dev/null <<EOF
FROM $IMAGE
HEALTHCHECK --interval=0.1s --timeout=60s --retries=2 CMD echo no leader; exit 1
EOF
    mount_cluster reason-health -i "$IMAGE-sick" --start -- sleep 3600
    wait_for 60 reason '^its HEALTHCHECK says unhealthy: exit status 1 of the check at 20[0-9-]*T[0-9:]*Z$'
    reason '^  no leader$'
    in_vain
    has "$(cat "$out")" '  | no leader'
    umount_cluster
    docker rmi -f "$IMAGE-sick" >/dev/null
}

@test "run says why its nodes did not get ready" {
    local status=0
    with_deadline 60 "$CTHULHU" run -i "$IMAGE" --ready-cmd 'echo no leader; exit 1' --wait-timeout 15s \
        --node-command "sh -c 'echo up; sleep 3600'" -- true >"$TMP/out" 2>&1 || status=$?
    is 125 "$status" 'exit status of run'
    has "$(cat "$TMP/out")" 'i001: exit status 1 since '
    has "$(cat "$TMP/out")" '  | no leader'
    has "$(cat "$TMP/out")" '  | up'
}

@test "--ready-cmd is a template; a wrong one is refused before anything is made" {
    local wrong
    mount_cluster template -n 2 -i "$IMAGE" --start --ready-cmd '["/bin/test","-e","/tmp/{{ name }}-{{ index }}"]' \
        --ready-interval 50ms -- sh -c 'mkdir -p /tmp; : >/tmp/i001-1; sleep 3600'
    wait_for 60 ready_is i001 yes
    wait_for 60 contains "$M/i002/ready_reason" 'exit status 1'
    docker exec "$P-i002" sh -c ': >/tmp/i002-2'
    wait_for 60 ready_is i002 yes
    umount_cluster
    mkdir "$TMP/wrong-template"
    for wrong in 'test -e {{ nobody }}' '["{{ \"\" }}"]' '{{'; do
        refused "$CTHULHU" mount --prefix "$P" -i "$IMAGE" --ready-cmd "$wrong" "$TMP/wrong-template" 2>"$TMP/out"
        has "$(cat "$TMP/out")" --ready-cmd
    done
    nothing_left "$TMP/wrong-template"
}
