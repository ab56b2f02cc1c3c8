#!/usr/bin/env bats
# Many nodes, and many mounts one after the other.

load lib.bash

setup_file() { begin; }

teardown_file() { end; }

@test "many demo nodes mount, start, stop and vanish" {
    local nodes=${SCALE_NODES:-100} last
    M=$TMP/hundred
    mkdir "$M"
    with_deadline 300 "$CTHULHU" mount --prefix "$P" -n "$nodes" "$M"
    is $((2 * nodes)) "$(containers "$TMP" | wc -l)" containers
    is "$nodes" "$(find "$M" -maxdepth 1 -type l | wc -l)"
    with_deadline 300 sh -c 'echo start >"$0/control"' "$M"
    is "$nodes" "$(grep -c ' running ' "$M/status")"
    is "$nodes" "$(cat "$M"/i*/pid.txt | sort -u | wc -l)" pids
    is "$nodes" "$(docker ps --filter "label=io.cthulhu.role=node" --filter "name=^/$P-" -q | wc -l)"
    last=$(printf i%03d "$nodes")
    is $((nodes - 1)) "$(jq '.peers | length' "$M/$last/bindmounts/etc/config.json")"
    with_deadline 300 sh -c 'echo stop >"$0/control"' "$M"
    is "$nodes" "$(grep -c ' exited ' "$M/status")"
    is '' "$(cat "$M"/i*/pid.txt)"
    with_deadline 300 "$CTHULHU" umount "$M"
    nothing_left
}

@test "mounts in a row leave no process, no mount, no record, no temporary file" {
    local n m=$TMP/again before
    mkdir "$m"
    before=$(ls "${TMPDIR:-/tmp}" | wc -l)
    for n in $(seq "${SCALE_NODES:-100}"); do
        with_deadline 60 "$CTHULHU" mount --host simulated: -n 3 "$m" >/dev/null 2>&1
        is 3 "$(find "$m" -maxdepth 1 -type l | wc -l)" "nodes of mount $n"
        with_deadline 60 "$CTHULHU" umount "$m" >/dev/null 2>&1
        is 0 "$(mounts "$TMP" | wc -l)" "mounts after $n"
    done
    is '' "$(daemons "$TMP")" daemons
    is '' "$(find "$XDG_STATE_HOME" -name cluster.json)" records
    is '[]' "$(listed_below)"
    is 1 "$(find "$XDG_STATE_HOME/cthulhu" -maxdepth 1 -name 'again-*' | wc -l)" 'state directories of this place'
    [ "$(ls "${TMPDIR:-/tmp}" | wc -l)" -le $((before + 2)) ]
    is '' "$(ls -A "$m")"
}

@test "a daemon's descriptors, threads and memory do not grow with use" {
    local m=$TMP/use n pid fds threads
    mkdir "$m"
    "$CTHULHU" mount --host simulated: -n 3 "$m"
    pid=$(daemons "$TMP")
    use() {
        for n in $(seq "$1"); do
            echo start >"$m/control"
            cat "$m"/i*/state "$m"/i*/log >/dev/null
            echo x >"$m/i001/bindmounts/var/f$n"
            echo kill >"$m/i002/control"
            ls -lR "$m" >/dev/null
            rm "$m/i001/bindmounts/var/f$n"
        done
    }
    use 20
    sees() { [ "$(find "/proc/$pid/fd" -mindepth 1 | wc -l)" -le "$1" ]; }
    fds=$(find "/proc/$pid/fd" -mindepth 1 | wc -l)
    threads=$(find "/proc/$pid/task" -mindepth 1 -maxdepth 1 | wc -l)
    memory=$(awk '/^VmRSS/ { print $2 }' "/proc/$pid/status")
    use 200
    wait_for 10 sees $((fds + 3))
    [ "$(find "/proc/$pid/task" -mindepth 1 -maxdepth 1 | wc -l)" -le $((threads + 4)) ]
    now=$(awk '/^VmRSS/ { print $2 }' "/proc/$pid/status")
    [ "$now" -lt $((memory + 8192)) ] || { echo "$memory kB, then $now kB" && false; }
    umount_cluster "$m"
}

@test "idle with 3 nodes: no measurable CPU, 8 MB of its own, under 25 MB with the program" {
    local pid ticks now own resident
    mount_cluster idle -n 3 --start
    pid=$(daemons "$TMP")
    # All threads but the one that looks at the mounts whenever those of the machine change, which others do.
    ticks() {
        local thread
        for thread in "/proc/$pid/task"/*; do
            grep -qx mounts "$thread/comm" || cat "$thread/stat"
        done | sed 's/.*) //' | awk '{ sum += $12 + $13 } END { print sum }'
    }
    # What the start has set off may end first.
    calm() { local t; t=$(ticks); sleep 2; [ "$(ticks)" -le "$t" ]; }
    wait_for 30 calm
    ticks=$(ticks)
    # No condition to wait for: a time in which nothing may happen.
    sleep "${IDLE_SECONDS:-60}"
    now=$(ticks)
    [ $((now - ticks)) -le 2 ] || { echo "$((now - ticks)) ticks of CPU in ${IDLE_SECONDS:-60} s" && false; }
    own=$(awk '/^RssAnon/ { print $2 }' "/proc/$pid/status")
    resident=$(awk '/^VmRSS/ { print $2 }' "/proc/$pid/status")
    umount_cluster
    [ "$own" -lt 8192 ] || { echo "$own kB of its own" && false; }
    # A program that is not optimised is larger by itself.
    [ "${BUILD_PROFILE:-release}" = dev ] || [ "$resident" -lt 25600 ] || { echo "$resident kB resident" && false; }
    nothing_left
}

@test "a sandbox has less than 512 kB of its own, idle and under a fault" {
    local pid idle delaying
    needs_root 'to read the memory of a sandbox'
    # ET_EXEC. A position-independent program has some 450 kB of relocations besides.
    [ "$(od -An -tx2 -j16 -N2 "$CTHULHU" | tr -d ' ')" = 0002 ] || skip 'not built as releases are'
    mount_cluster own -n 2 --start
    pid=$(field i001-sandbox '{{.State.Pid}}')
    own() { awk '$1 == "Private_Dirty:" { print $2 }' "/proc/$pid/smaps_rollup"; }
    idle=$(own)
    echo '*>* delay 10ms' >"$M/links"
    delaying=$(own)
    umount_cluster
    [ "$idle" -lt 512 ] && [ "$delaying" -lt 512 ] || { echo "$idle kB, with a delay $delaying kB" && false; }
    nothing_left
}
