#!/usr/bin/env bats
# `reset`: a used cluster becomes one that was just mounted. Compared file by file with itself after the mount.
# RESETS=N makes another number of rounds, RESET_SEED=S repeats them.

load lib.bash

setup_file() {
    begin
    need_image
    volume_image
}

teardown_file() {
    end
    docker rmi "$P-volume" >/dev/null
}

teardown() {
    [ -z "${M:-}" ] || umount_cluster 2>/dev/null || true
}

cluster() { mount_cluster "$1" -i "$P-volume" "${@:2}"; }

# What the cluster shows, but for its containers' ids and what grows: the history and the logs.
shown() {
    python3 "$FS_TESTS/reset.py" show "$M"
}

@test "after everything that a test can do, it is as after the mount" {
    local fresh sandboxes nodes
    cluster all -n 3 --config "$(config)"
    fresh=$(shown)
    sandboxes=$(docker ps -q --filter "name=$P-.*-sandbox" | sort)
    nodes=$(cat "$M"/i*/id)
    echo start >"$M/control"
    write_all
    in_node i002 'rm -rf /opt/app/var/* /opt/app/etc/*; mkdir -p /opt/app/var/a/b; ln -s /etc/passwd /opt/app/etc/config.json; chmod 0 /opt/app/var/a'
    echo mine >"$M/i003/bindmounts/var/mine"
    echo 'i001 | i002 i003' >"$M/partition"
    echo 'i003>* delay 5ms' >"$M/links" 2>/dev/null || echo 'i003>* drop' >"$M/links"
    echo 'drop' >"$M/i001/net"
    echo 'crash i002' >"$M/control"
    echo 'pause i001' >"$M/control"
    echo kill >"$M/i003/control"
    is '22 EINVAL' "$(put_line "$M/control" nonsense)"
    [ "$(shown)" != "$fresh" ]
    echo reset >"$M/control"
    is "$fresh" "$(shown)" 'after reset'
    is "$sandboxes" "$(docker ps -q --filter "name=$P-.*-sandbox" | sort)" 'sandboxes'
    is 0 "$(cat "$M"/i*/id | grep -cFx "$nodes" || true)" 'old containers'
    is 6 "$(containers "$M" | wc -l)" containers
    is 6 "$(volumes | wc -l)" volumes
    echo start >"$M/control"
    is '' "$(survivors)" 'what survives'
    is seed "$(in_node i001 'ls /data')" "the image's volume"
    umount_cluster
    nothing_left
}

config() {
    mkdir -p "$TMP/config"
    echo '{{ name }} of {{ nodes | length }}' >"$TMP/config/app.conf"
    echo "$TMP/config"
}

@test "--start starts them; the log begins with a line that says what is cut; the history goes on" {
    local before
    cluster again -n 3 --start -- sh -c 'echo hello; trap "exit 143" TERM; while :; do sleep 3600 & wait $!; done'
    wait_for 10 contains "$M/i003/log" hello
    before=$(cat "$M"/i*/pid.txt)
    echo 'reset --start' >"$M/control"
    is 3 "$(grep -c running "$M/status")" running
    is 0 "$(cat "$M"/i*/pid.txt | grep -cFx "$before" || true)" 'old processes'
    wait_for 10 contains "$M/i003/log" hello
    is '[cthulhu: 6 bytes cut before this line (reset)]' "$(head -n 1 "$M/i003/log")"
    is 1 "$(grep -c hello "$M/i003/log")" 'lines of the run'
    is '"reset" "ok"' "$(jq -c 'select(.command.verb == "reset" and .command.phase == "ok") | .command.verb, .command.phase' "$M/history" | xargs -d '\n')"
    # Every change of state that it made is its own.
    is '' "$(jq -c 'select(.state != null and .state.cause != "command")' "$M/history")"
    "$CTHULHU" timeline "$M" -o "$TMP/reset.svg"
    umount_cluster
}

@test "the nodes that are named are new, the others know nothing of it" {
    local pid
    cluster some -n 3 --start
    write_all
    pid=$(cat "$M/i001/pid.txt")
    echo 'drop' >"$M/i002/net"
    echo 'reset --start i002 i003' >"$M/control"
    is "$pid" "$(cat "$M/i001/pid.txt")"
    is 'layer volume bindmount' "$(survivors)"
    is '' "$(cat "$M/i002/net")"
    echo reset >"$M/i001/control"
    is created "$(cat "$M/i001/state")"
    is running "$(cat "$M/i002/state")"
    is '22 EINVAL' "$(put_line "$M/i001/control" 'reset i002')"
    is '22 EINVAL' "$(put_line "$M/control" 'reset --stop')"
    is '2 ENOENT' "$(put_line "$M/control" 'reset i004')"
    umount_cluster
}

@test "a lost sandbox is made new with its node" {
    cluster lost -n 2 --start
    docker restart -t 0 "$P-i001-sandbox" >/dev/null 2>&1 || docker rm -f "$P-i001-sandbox" >/dev/null
    echo 'reset --start' >"$M/control"
    is 2 "$(grep -c running "$M/status")"
    echo 'i001 | i002' >"$M/partition"
    umount_cluster
    nothing_left
}

@test "directories that a node has made its own are as they were, and so are those that it closes" {
    local fresh
    cluster taken -n 2
    fresh=$(shown)
    echo start >"$M/control"
    in_node i001 'chown 7:7 /opt/app/var; chmod 700 /opt/app/var; mkdir -p /opt/app/etc/a/b; chmod 0 /opt/app/etc/a/b; chown 7:7 /opt/app/etc; chmod 755 /opt/app/etc'
    echo reset >"$M/control"
    is "$fresh" "$(shown)" 'after reset'
    is "$(stat -c %u:%g:%a "$M/i002/bindmounts/var")" "$(stat -c %u:%g:%a "$M/i001/bindmounts/var")" 'owner and mode'
    is 0 "$(docker ps -aq --filter name=cthulhu-sweep | wc -l)" 'containers that delete'
    umount_cluster
}

@test "what cannot be deleted is named; the other nodes are new, and so is this one the next time" {
    local held=$TMP/held/i001/var/held
    needs_root 'to mount a tmpfs'
    cluster stuck -n 2 --data "$TMP/held" --start
    mkdir "$held"
    mount -t tmpfs none "$held"
    is '5 EIO' "$(put_line "$M/control" 'reset --start')"
    has "$(cat "$M/error")" 'i001: cannot make its files new: '
    is '' "$(grep i002 "$M/error" || true)"
    is missing "$(cat "$M/i001/state")"
    is running "$(cat "$M/i002/state")"
    # Without its configuration it could not even start.
    [ -s "$M/i001/bindmounts/etc/config.json" ]
    umount "$held"
    echo 'reset --start' >"$M/control"
    is '' "$(cat "$M/error")" error
    is i001.log "$(ls "$M/i001/bindmounts/var")"
    umount_cluster
}

@test "a program that goes on writing to the files is no obstacle" {
    local writer n
    cluster busy -n 2 --start
    (while :; do mkdir -p "$M/i001/bindmounts/var/d" && echo x >"$M/i001/bindmounts/var/d/$RANDOM" || true; done) 2>/dev/null &
    writer=$!
    for n in 1 2 3; do
        echo 'reset --start' >"$M/control" || echo 'reset --start' >"$M/control"
    done
    kill "$writer"
    is 2 "$(grep -c running "$M/status")"
    umount_cluster
}

@test "a daemon that is killed meanwhile leaves nothing that the next mount does not remove" {
    local n
    for n in 1 2 3; do
        cluster killed -n 2 --start
        write_all
        (echo 'reset --start' >"$M/control") 2>/dev/null &
        sleep "0.$((n * 15))"
        kill -9 "$(daemons "$TMP")"
        wait || true
        "$CTHULHU" umount "$M"
        nothing_left
    done
}

@test "many times, with random faults, verbs and files before each" {
    cluster many -n 3
    run with_deadline 3600 python3 "$FS_TESTS/reset.py" rounds "$M" "$P" "${RESETS:-60}" "$(daemons "$TMP")" ${RESET_SEED:+"$RESET_SEED"}
    echo "$output"
    echo "# ${lines[${#lines[@]} - 1]}" >&3
    is 0 "$status" 'exit status'
    is 6 "$(containers "$M" | wc -l)" containers
    is 6 "$(volumes | wc -l)" volumes
    umount_cluster
    nothing_left
}
