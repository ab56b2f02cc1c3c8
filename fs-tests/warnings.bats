#!/usr/bin/env bats
# What the engine warns of when it creates a container: a limit that it does not keep is an error, the rest is said.
#
# engine_proxy.py puts the warnings into the engine's answers; the tests' own docker commands go to the engine itself.

load lib.bash

setup_file() {
    begin
    need_image
    local host=${DOCKER_HOST:-unix:///var/run/docker.sock}
    [ "${host#unix://}" != "$host" ] || skip "the engine at $host is not on a unix socket"
    export PROXY=unix://$TMP/proxy.sock
    python3 "$FS_TESTS/engine_proxy.py" "$TMP/proxy.sock" "${host#unix://}" "$TMP/ctl" 3>&- &
    echo $! >"$TMP/proxy.pid"
    wait_for 10 reads "$TMP/ctl.mode" pass
}

teardown_file() {
    engine pass || true
    for pid in $(daemons "$TMP"); do kill "$pid" || true; done
    wait_for 60 no_daemons "$TMP" || true
    kill "$(cat "$TMP/proxy.pid")" || true
    end
}

setup() {
    M=$TMP/m$BATS_TEST_NUMBER
    mkdir "$M"
}

teardown() {
    engine pass
    if mountpoint -q "$M"; then umount_cluster; fi
}

# engine MODE: how the engine behaves from now on.
engine() {
    echo "$1" >"$TMP/ctl"
    wait_for 10 reads "$TMP/ctl.mode" "$1"
}

# mounted OPTION...: what it says goes to $TMP/stdout and $TMP/stderr.
mounted() {
    with_deadline 120 "$CTHULHU" mount --prefix "$P" --host "$PROXY" -i "$IMAGE" "$@" "$M" -- "${NODE[@]}" \
        >"$TMP/stdout" 2>"$TMP/stderr"
}

@test "a limit that the engine discards fails the mount, in the engine's words" {
    engine discards
    local option status
    for option in '--memory 64m' '--cpus 0.5'; do
        status=0
        # shellcheck disable=SC2086
        mounted -n 2 $option || status=$?
        is 1 "$status" "exit status with $option"
        has "$(tail -n 1 "$TMP/stderr")" 'the engine would not keep its limits: Your kernel does not support memory limit'
        has "$(tail -n 1 "$TMP/stderr")" 'Limitation discarded.'
        nothing_left
    done
}

@test "a limit that the engine discards when a node is recreated fails its start, and is kept by the next" {
    mounted -n 1 --memory 64m --start
    docker rm -f "$P-i001" >/dev/null
    wait_for 20 reads "$M/i001/state" missing
    engine discards
    has "$(put_line "$M/i001/control" start)" EIO
    has "$(cat "$M/i001/error")" 'Limitation discarded.'
    is missing "$(cat "$M/i001/state")"
    is '' "$(docker ps -aq --filter "name=^/$P-i001$")" 'the container without its limit'
    engine pass
    is OK "$(put_line "$M/i001/control" start)"
    is $((64 << 20)) "$(field i001 '{{.HostConfig.Memory}}')"
}

@test "any other warning is said once at mount, and logged for each container" {
    engine warns
    mounted -n 2 --memory 64m
    is 1 "$(grep -c '^the engine warns: .*Memory limited without swap.$' "$TMP/stderr")" "$(cat "$TMP/stderr")"
    local log
    log=$(grep 'the engine warns' "$TMP"/state/cthulhu/*/daemon.log)
    for name in i001 i002 i001-sandbox; do has "$log" "container=\"$P-$name\""; done
    umount_cluster
    # Nobody has asked for a limit.
    engine discards
    mounted -n 1
    has "$(cat "$TMP/stderr")" 'Limitation discarded.'
    umount_cluster
    engine pass
    mounted -n 1 --memory 64m
    is 0 "$(grep -c warns "$TMP/stderr")" 'warnings of an engine that does not warn'
}
