#!/usr/bin/env bats
# The log of a node on engines whose default is to rotate, to drop or to keep no output; and when the engine fails to read a log.

load lib.bash

setup_file() {
    begin
    PATH=$PATH:/usr/sbin:/sbin
    need_image
}

teardown_file() {
    end
}

teardown() {
    [ -z "${M:-}" ] || umount_cluster 2>/dev/null || true
    [ ! -e "$TMP/proxy.pid" ] || kill "$(cat "$TMP/proxy.pid")" || true
    rm -f "$TMP/proxy.pid" "$TMP"/ctl*
    [ ! -e "$TMP/e/docker.pid" ] || stop_engine
    unset DOCKER_HOST
}

# own_engine OPTION...: a dockerd of the test's own, without a network, and DOCKER_HOST is it.
own_engine() {
    needs_root 'to run a second dockerd'
    command -v dockerd >/dev/null || skip 'there is no dockerd on this machine'
    mkdir -p "$TMP/e"
    docker save "$IMAGE" >"$TMP/e/image"
    export DOCKER_HOST=unix://$TMP/e/docker.sock
    unshare -n setsid dockerd --data-root "$TMP/e/data" --exec-root "$TMP/e/exec" --pidfile "$TMP/e/docker.pid" \
        -H "$DOCKER_HOST" --bridge none --iptables=false --ip6tables=false "$@" >>"$TMP/e/log" 2>&1 </dev/null 3>&- &
    wait_for 60 engine_answers || {
        tail -n 5 "$TMP/e/log" >&2
        return 1
    }
    docker load -qi "$TMP/e/image"
}

engine_answers() { timeout 10 docker version >/dev/null 2>&1; }

stop_engine() {
    local pid
    pid=$(cat "$TMP/e/docker.pid")
    kill "$pid"
    wait_for 60 gone "$pid"
    mounts "$TMP/e" | sort -r | while read -r at; do umount -l "$at" || true; done
    rm -rf --one-file-system "$TMP/e"
}

# Stands between cthulhu and the engine at $PROXY.
proxy() {
    local host=${DOCKER_HOST:-unix:///var/run/docker.sock}
    [ "${host#unix://}" != "$host" ] || skip "the engine at $host is not on a unix socket"
    export PROXY=unix://$TMP/proxy.sock
    python3 "$FS_TESTS/engine_proxy.py" "$TMP/proxy.sock" "${host#unix://}" "$TMP/ctl" 3>&- &
    echo $! >"$TMP/proxy.pid"
    wait_for 10 reads "$TMP/ctl.mode" pass
}

# engine MODE: how the engine behaves from now on.
engine() {
    echo "$1" >"$TMP/ctl"
    wait_for 10 reads "$TMP/ctl.mode" "$1"
}

says() { docker exec "$P-i001" sh -c "echo '$1' >/proc/1/fd/1"; }
daemons_log() { cat "$TMP"/state/cthulhu/*/daemon.log; }

# A node writes 4 MB at full speed on an engine of these options: its log has every line once, in order.
whole_on() {
    own_engine "$@"
    mount_cluster whole -i "$IMAGE" --log-limit 1g --start -- \
        sh -c 'awk "BEGIN { while (i++ < 40000) printf \"%d %092d\\n\", i, 0; print \"end\" }"; sleep 3600'
    wait_for 120 contains "$M/i001/log" '^end$'
    awk '$1 == "end" { next } $1 != NR { print "line " NR " is " $1; exit 1 } END { if (NR != 40001) exit 1 }' "$M/i001/log"
    umount_cluster
}

@test "whole on an engine that rotates" {
    whole_on --log-driver json-file --log-opt max-size=1m --log-opt max-file=3 --log-opt compress=true
}

@test "whole on an engine that rotates, with the driver local" {
    whole_on --log-driver local --log-opt max-size=1m --log-opt max-file=2
}

@test "whole on an engine that drops what does not fit a buffer" {
    whole_on --log-opt mode=non-blocking --log-opt max-buffer-size=4k --log-opt max-size=1m
}

@test "there, and good for --ready-log, on an engine that keeps no output" {
    own_engine --log-driver none
    mount_cluster none -i "$IMAGE" --start --ready-log '^hello$' -- sh -c 'echo hello; sleep 3600'
    with_deadline 90 "$CTHULHU" wait --timeout 60 "$M"
    is hello "$(cat "$M/i001/log")"
    umount_cluster
}

@test "an engine that refuses the log driver too: a mount without --ready-log, and a sentence" {
    local id
    own_engine --log-driver none
    proxy
    engine nolog
    mkdir "$TMP/refused"
    refused with_deadline 120 "$CTHULHU" mount --host "$PROXY" --prefix "$P" -i "$IMAGE" --start --ready-log '^hello$' \
        "$TMP/refused" -- sh -c 'echo hello; sleep 3600' 2>"$TMP/out"
    has "$(cat "$TMP/out")" "--ready-log: the engine does not give the nodes' output ("
    nothing_left "$TMP/refused"
    mount_cluster unread --host "$PROXY" -i "$IMAGE" --data "$TMP/unread-data" --start -- sh -c 'echo hello; sleep 3600'
    is none "$(field i001 '{{.HostConfig.LogConfig.Type}}')"
    is '' "$(cat "$M/i001/log")"
    has "$(daemons_log)" 'the engine refuses a log driver'
    umount_cluster
    has "$(cat "$TMP/unread-data/i001/log")" '[cthulhu: what follows could not be read: '
}

@test "an engine that refuses the log driver, and reads its default: the log is there" {
    proxy
    engine nolog
    mount_cluster default --host "$PROXY" -i "$IMAGE" --start --ready-log '^hello$' -- sh -c 'echo hello; sleep 3600'
    with_deadline 90 "$CTHULHU" wait --timeout 60 "$M"
    is hello "$(cat "$M/i001/log")"
    is null "$(field i001 '{{json .HostConfig.LogConfig.Config}}' | sed 's/{}/null/')"
    umount_cluster
}

@test "the engine's own error is no output: it is asked again, and every line is there once" {
    local nth expected=begun
    proxy
    mount_cluster broken --host "$PROXY" -i "$IMAGE" --start -- sh -c 'echo begun; sleep 3600'
    for nth in 1 2 3; do
        wait_for 30 reads "$M/i001/log" "$expected"
        engine broken
        says "line $nth"
        expected+=$'\n'"line $nth"
        wait_for 60 reads "$M/i001/log" "$expected"
        engine pass
    done
    has "$(daemons_log)" 'Error grabbing logs: a test'
    umount_cluster
}

@test "what the engine has lost while it could not be reached is said in the log" {
    needs_root "to cut the engine's own file"
    proxy
    mount_cluster hole --host "$PROXY" -i "$IMAGE" --start -- sh -c 'echo begun; sleep 3600'
    wait_for 30 reads "$M/i001/log" begun
    engine closed
    wait_for 60 unknown
    says lost
    truncate -s 0 "$(field i001 '{{.LogPath}}')"
    says late
    engine pass
    wait_for 60 reads "$M/i001/log" $'begun\n[cthulhu: output is missing here: the engine did not have it any more]\nlate'
    # And no hole where none is.
    engine closed
    wait_for 60 unknown
    says later
    engine pass
    wait_for 60 contains "$M/i001/log" later
    is 4 "$(wc -l <"$M/i001/log")"
    umount_cluster
}
