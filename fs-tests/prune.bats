#!/usr/bin/env bats
# ls and prune: what is left of clusters whose daemon is gone is found and goes; what lives, and what is not ours, stays.
#
# Other clusters are on the same engine, of other tests too: here prune is told at which mountpoints. What it does to
# a whole engine is tried on one of this file's own (as root).

load lib.bash

setup_file() {
    begin
    need_image
}

teardown_file() { end; }

setup() {
    M=$TMP/m$BATS_TEST_NUMBER
    mkdir -p "$M"
}

cluster() {
    mount_busybox "m$BATS_TEST_NUMBER" "$@"
}

# The daemon that serves $M is killed with SIGKILL.
kill_daemon() {
    local pid
    pid=$(jq -r .pid "$(record)")
    kill -9 "$pid"
    wait_for 10 gone "$pid"
}

record() { grep -l "\"$M\"" "$XDG_STATE_HOME"/cthulhu/*/cluster.json; }
state_of() { echo "$XDG_STATE_HOME"/cthulhu/"${1:-${M##*/}}"-*; }
listed() { "$CTHULHU" ls --json | jq -r --arg m "${1:-$M}" '.[] | select(.mountpoint == $m) | .state'; }
prune() { with_deadline 60 "$CTHULHU" prune --yes "${@:-$M}"; }

# What prune says of $M without being allowed to remove it.
shown() {
    local status=0
    "$CTHULHU" prune "${@:-$M}" </dev/null 2>"$TMP/stderr" || status=$?
    is 1 "$status" 'exit status'
}

# Nothing of $M is in the engine, in the mount table, in the state directory.
all_gone() {
    nothing_left "$M"
    [ ! -e "$(state_of)" ]
    is '' "$(listed)"
    is '' "$(ls -A "$M")"
    is 'nothing is left over' "$(prune)"
}

@test "a killed daemon's cluster: shown, not removed without --yes, then gone" {
    cluster -n 2 --start
    is mounted "$(listed)"
    kill_daemon
    is 'left over' "$(listed)"
    is 'null' "$("$CTHULHU" ls --json | jq -r --arg m "$M" '.[] | select(.mountpoint == $m) | .pid')"
    shown >"$TMP/out"
    has "$(cat "$TMP/stderr")" 'needs --yes'
    is 3 "$(wc -l <"$TMP/out")"
    has "$(cat "$TMP/out")" "at $M: 2 containers and 1 network in "
    has "$(cat "$TMP/out")" "dead mount $M"
    has "$(cat "$TMP/out")" "$(state_of): state of the cluster at $M, "
    is 'left over' "$(listed)"
    is 2 "$(containers "$M" | wc -l)"
    prune
    all_gone
}

@test "on a terminal it asks, and takes no for an answer" {
    cluster -n 1
    kill_daemon
    script -qec "$CTHULHU prune $M" /dev/null <<<n >"$TMP/out" || status=$?
    is 1 "$status"
    has "$(cat "$TMP/out")" 'Remove all this? [y/N]'
    is 'left over' "$(listed)"
    script -qec "$CTHULHU prune $M" /dev/null <<<y >"$TMP/out"
    all_gone
}

@test "the state directory is lost: the engine's labels tell" {
    cluster -n 2
    kill_daemon
    rm -rf "$(dirname "$(record)")"
    is 'left over' "$(listed)"
    is "2 $IMAGE null null" "$("$CTHULHU" ls --json | jq -r --arg m "$M" '.[] | select(.mountpoint == $m) | "\(.nodes) \(.image) \(.pid) \(.data)"')"
    prune
    all_gone
}

@test "of an earlier boot, and of before there was a label that says whose" {
    local owner boot id
    boot=$(cat /proc/sys/kernel/random/boot_id)
    owner=1.1@00000000-0000-4000-8000-000000000000.$(stat -L -c %i /proc/self/ns/pid)
    docker create --name "$P-old" --label io.cthulhu.cluster="$P-1" --label io.cthulhu.mountpoint="$M" \
        --label io.cthulhu.owner="$owner" --label io.cthulhu.role=node "$IMAGE" >/dev/null
    docker network create --label io.cthulhu.cluster="$P-1" --label io.cthulhu.mountpoint="$M" \
        --label io.cthulhu.owner="$owner" "$P-old" >/dev/null
    # One that a process of this boot owns, which is alive: this test.
    owner=$$.$(sed 's/.*) //' /proc/$$/stat | cut -d ' ' -f 20)@$boot.$(stat -L -c %i /proc/self/ns/pid)
    docker create --name "$P-living" --label io.cthulhu.cluster="$P-2" --label io.cthulhu.mountpoint="$M-2" \
        --label io.cthulhu.owner="$owner" --label io.cthulhu.role=node "$IMAGE" >/dev/null
    # One whose owner is in a pid namespace that cannot be seen from here.
    docker create --name "$P-elsewhere" --label io.cthulhu.cluster="$P-3" --label io.cthulhu.mountpoint="$M-2" \
        --label io.cthulhu.owner="1.1@$boot.1" --label io.cthulhu.role=node "$IMAGE" >/dev/null
    is 'left over' "$(listed)"
    is '' "$(listed "$M-2")"
    shown "$M" "$M-2" >"$TMP/out"
    is "cluster $P-1 at $M: 1 container and 1 network in $(engine)" "$(cat "$TMP/out")"
    prune "$M" "$M-2"
    is "$P-elsewhere $P-living" "$(docker ps -a --filter "name=^/$P-" --format '{{.Names}}' | sort | xargs)"
    docker rm "$P-elsewhere" "$P-living" >/dev/null
    is '' "$(docker network ls -q --filter "name=$P-old")"
}

engine() { echo "${DOCKER_HOST:-unix:///var/run/docker.sock}"; }

@test "what the nodes wrote is kept by umount and goes with prune; --data DIR stays" {
    cluster -n 1 --start
    echo precious >"$M/i001/bindmounts/var/f"
    umount_cluster
    grep -rqx precious "$(state_of)/data"
    shown >"$TMP/out"
    has "$(cat "$TMP/out")" "$(state_of): what nodes of an earlier cluster wrote, "
    prune
    all_gone
    cluster -n 1 --start --data "$TMP/mine"
    echo precious >"$M/i001/bindmounts/var/f"
    kill_daemon
    prune
    all_gone
    is precious "$(cat "$TMP/mine/i001/var/f")"
}

@test "ten thousand files of root's, FIFOs, links out, closed and deep directories" {
    local before
    mkdir "$TMP/outside"
    echo secret >"$TMP/outside/f"
    chmod 700 "$TMP/outside"
    before=$(find "$TMP/outside" -printf '%p %m %U %s %T@ %C@\n')
    cluster -n 1 --start --volume "$TMP/outside:/outside:ro"
    docker exec "$P-i001" sh -c '
        umask 077
        cd /opt/app/var
        mkdir many; cd many
        i=0; while [ $i -lt 10000 ]; do : >$i; i=$((i + 1)); done
        ln -s "$1" link; ln -s "$1/f" file; ln -s / root; ln -s ../../../../../../../.. up
        mkfifo fifo; mknod null c 1 3
        mkdir -p closed/in; : >closed/in/f; chmod 0 closed/in closed
        i=0; while [ $i -lt 300 ]; do mkdir d; cd d || exit; i=$((i + 1)); done
        chmod 500 /opt/app/var/many' - "$TMP/outside"
    umount_cluster
    # A second mount moves aside what it may not delete.
    cluster -n 1
    umount_cluster
    if [ "$(id -u)" != 0 ]; then [ -d "$(state_of)/data.old-1" ]; fi
    prune
    all_gone
    is "$before" "$(find "$TMP/outside" -printf '%p %m %U %s %T@ %C@\n')" 'what lies outside'
    is '' "$(docker ps -aq --filter name=cthulhu-sweep)"
}

@test "beside the living: a cluster that runs, one that begins, another prune" {
    local other=$TMP/other kept i
    mkdir "$other"
    cluster -n 1 --start
    "$CTHULHU" mount --prefix "$P-o" -n 1 -i "$IMAGE" "$other" >/dev/null -- "${NODE[@]}"
    M=$other kill_daemon
    prune "$M" "$other" >"$TMP/1" &
    prune "$M" "$other" >"$TMP/2" &
    prune "$M" "$other" >"$TMP/3" &
    wait
    is running "$(cat "$M/i001/state")"
    is mounted "$(listed)"
    is '' "$(listed "$other")$(containers "$other")$(networks "$other")$(mounts "$other")"
    # Even without its record and its lock.
    kept=$(state_of)
    rm "$kept/cluster.json" "$kept/lock"
    is 'nothing is left over' "$(prune)"
    is running "$(cat "$M/i001/state")"
    [ -d "$kept/data/i001" ]
    fusermount3 -u "$M"
    wait_for 30 no_daemons "$TMP"
    # Mounting takes a place from whatever prune is about to do with it.
    for i in 1 2 3; do
        prune >/dev/null 2>&1 &
        "$CTHULHU" mount --host simulated: "$M" >/dev/null
        wait $!
        prune >/dev/null
        is created "$(cat "$M/i001/state")"
        [ -s "$(state_of)/daemon.log" ]
        "$CTHULHU" umount "$M" >/dev/null
        [ ! -e "$(state_of)" ] || prune >/dev/null
    done
    all_gone
}

@test "an engine that cannot be asked keeps what is known of it; what is only on the disk goes" {
    local status=0
    cluster -n 1
    kill_daemon
    # Its record names an engine that is not there any more.
    sed -i "s,\"engine\": .*,\"engine\": \"unix://$TMP/none.sock\"\,," "$(record)"
    sed -i 's/,$/,/; $!b' "$(record)"
    jq . "$(record)" >/dev/null
    cp "$(record)" "$TMP/record"
    DOCKER_HOST=unix://$TMP/none.sock prune "$M" >"$TMP/out" 2>"$TMP/stderr" || status=$?
    is 1 "$status"
    has "$(cat "$TMP/stderr")" 'cannot reach the engine'
    has "$(cat "$TMP/stderr")" "stays, as its engine unix://$TMP/none.sock cannot be asked"
    cmp "$TMP/record" "$(record)"
    DOCKER_HOST=unix://$TMP/none.sock "$CTHULHU" ls >"$TMP/out" 2>"$TMP/stderr"
    is 1 "$(wc -l <"$TMP/stderr")"
    has "$(cat "$TMP/out")" "$M"
    sed -i "s,unix://$TMP/none.sock,$(engine)," "$(record)"
    prune
    all_gone
    "$CTHULHU" mount --host simulated: "$M" >/dev/null
    umount_cluster
    [ -d "$(state_of)/data" ]
    status=0
    DOCKER_HOST=unix://$TMP/none.sock prune "$M" >"$TMP/out" 2>"$TMP/stderr" || status=$?
    is 1 "$status"
    [ ! -e "$(state_of)" ]
}

@test "a silent engine does not hold up ls" {
    python3 - "$TMP/mute.sock" <<'PY' &
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen(9)
time.sleep(3600)
PY
    wait_for 10 test -S "$TMP/mute.sock"
    DOCKER_HOST=unix://$TMP/mute.sock with_deadline 60 "$CTHULHU" ls --json >"$TMP/out" 2>"$TMP/stderr"
    kill $!
    jq -e 'type == "array"' "$TMP/out"
    has "$(cat "$TMP/stderr")" 'did not answer within 2 s'
}

@test "what is in a state directory and not cthulhu's stays, and is told" {
    local status=0
    "$CTHULHU" mount --host simulated: "$M" >/dev/null
    umount_cluster
    mkdir "$(state_of)/mine"
    echo precious >"$(state_of)/mine/f"
    mkdir -p "$XDG_STATE_HOME/cthulhu/mine"
    ln -s "$TMP" "$XDG_STATE_HOME/cthulhu/link-0123456789ab"
    prune "$M" 2>"$TMP/stderr" || status=$?
    is 1 "$status"
    has "$(cat "$TMP/stderr")" "there is something in it that is not cthulhu's"
    is precious "$(cat "$(state_of)/mine/f")"
    rm -r "$(state_of)" "$XDG_STATE_HOME/cthulhu/link-0123456789ab"
    [ -d "$XDG_STATE_HOME/cthulhu/mine" ]
}

@test "a whole engine: all that is dead goes, images of other versions too, and nothing else" {
    needs_root 'to run a second dockerd'
    PATH=$PATH:/usr/sbin:/sbin
    command -v dockerd >/dev/null || skip 'there is no dockerd on this machine'
    local at pid=$TMP/e/pid networks
    export DOCKER_HOST=unix://$TMP/e/docker.sock XDG_STATE_HOME=$TMP/state-e
    mkdir "$TMP/e" "$TMP/state-e" "$TMP"/e{1,2,3}
    own_bridge
    setsid dockerd --data-root "$TMP/e/data" --exec-root "$TMP/e/exec" --pidfile "$TMP/e/docker.pid" -H "$DOCKER_HOST" \
        --bridge="$BRIDGE" --iptables=false --ip6tables=false --ip-masq=false >"$TMP/e/log" 2>&1 </dev/null 3>&- &
    echo $! >"$pid"
    wait_for 60 docker version >/dev/null 2>&1
    need_image
    networks=$(docker network ls -q | sort)
    # Another version: the same program with something at its end.
    cp "$CTHULHU" "$TMP/e/${CTHULHU##*/}"
    echo >>"$TMP/e/${CTHULHU##*/}"
    for at in e1 e2 e3; do
        CTHULHU=$([ $at != e2 ] && echo "$CTHULHU" || echo "$TMP/e/${CTHULHU##*/}")
        "$CTHULHU" mount --prefix $at -n 1 --start "$TMP/$at" >/dev/null
    done
    is 2 "$(docker images -q cthulhu-self | wc -l)"
    M=$TMP/e1 kill_daemon
    M=$TMP/e2 kill_daemon
    rm -rf "$XDG_STATE_HOME"/cthulhu/e2-*
    "$CTHULHU" prune --yes >"$TMP/out"
    is 'e3-i001 e3-i001-sandbox' "$(docker ps -a --format '{{.Names}}' | sort | xargs)"
    is running "$(cat "$TMP/e3/i001/state")"
    is "$TMP/e3" "$(mounts "$TMP" | grep "^$TMP/e[1-3]$")"
    # The image goes with the next one: a container of it was there when prune looked.
    "$CTHULHU" prune --yes >"$TMP/out"
    has "$(cat "$TMP/out")" 'made by another version of cthulhu, and unused'
    is 1 "$(docker images -q cthulhu-self | wc -l)"
    "$CTHULHU" umount "$TMP/e3"
    "$CTHULHU" prune --yes
    is '' "$(ls "$XDG_STATE_HOME/cthulhu")"
    is '' "$(docker ps -aq)$(mounts "$TMP" | grep "^$TMP/e[1-3]$")"
    is "$networks" "$(docker network ls -q | sort)"
    # The image is recreated where it has gone while a cluster that needs it again lives on.
    "$CTHULHU" mount --prefix e1 -n 1 "$TMP/e1" >/dev/null
    docker rm -f e1-i001 e1-i001-sandbox >/dev/null
    docker rmi -f "$(docker images -q cthulhu-self)" >/dev/null
    wait_for 10 reads "$TMP/e1/i001/state" missing
    echo start >"$TMP/e1/control"
    is running "$(cat "$TMP/e1/i001/state")"
    "$CTHULHU" umount "$TMP/e1" >/dev/null
    kill "$(cat "$pid")"
    wait_for 60 gone "$(cat "$pid")"
    ip link del "$BRIDGE"
}
