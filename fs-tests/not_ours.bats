#!/usr/bin/env bats
# What is not ours, or somebody still needs, is not taken: data that goes on at another place, containers of committed nodes, things that
# only have our labels, locks and state that another user could plant.
#
# prune is told at which mountpoints, as other clusters are on this machine.

load lib.bash

setup_file() {
    begin
    need_image
    # Whoever looks at locks must get to them.
    chmod 755 "$TMP" "$TMP/state"
}

teardown_file() { end; }

setup() {
    M=$TMP/m$BATS_TEST_NUMBER
    O=$TMP/o$BATS_TEST_NUMBER
    mkdir -p "$M" "$O"
}

# A node appends its $NAME to one file, all the time.
WRITER=(sh -c 'while :; do echo $NAME >>/opt/app/var/db; sleep 0.05; done')

# mount_at DIR PREFIX OPTION...
mount_at() {
    local at=$1 prefix=$2
    shift 2
    with_deadline 120 "$CTHULHU" mount --prefix "$P-$prefix" -n 1 -i "$IMAGE" --start "$@" "$at" -- "${WRITER[@]}"
}

# The daemon that serves a mountpoint is killed with SIGKILL: kill_daemon MOUNTPOINT
kill_daemon() {
    local pid
    pid=$("$CTHULHU" ls --json | jq -r --arg m "$1" '.[] | select(.mountpoint == $m) | .pid')
    kill -9 "$pid"
    wait_for 10 gone "$pid"
}

state_of() { echo "$XDG_STATE_HOME"/cthulhu/"${1##*/}"-*; }
prune() { with_deadline 60 "$CTHULHU" prune --yes "$@"; }
engine() { echo "${DOCKER_HOST:-unix:///var/run/docker.sock}"; }
id_of() { "$CTHULHU" ls --json | jq -r --arg m "$1" '.[] | select(.mountpoint == $m) | .id'; }
names() { docker ps -a --filter "name=^/$P-" --format '{{.Names}}' | sort | xargs; }

# Who has written to a file of i001 since now, after five more lines: writers DATA
writers() {
    local db=$1/i001/var/db lines
    lines=$(wc -l <"$db")
    wait_for 20 longer "$db" $((lines + 5))
    tail -n "+$((lines + 1))" "$db" | sort -u | xargs
}
longer() { [ "$(wc -l <"$1")" -gt "$2" ]; }

@test "what umount kept, gone on with at another place: prune and the next mount leave it" {
    local data
    mount_at "$M" a -e NAME=A >/dev/null
    data=$("$CTHULHU" umount "$M")
    data=${data##* is in }
    mount_at "$O" b -e NAME=B --data "$data" >/dev/null
    is 'nothing is left over' "$(prune "$M")"
    refused "$CTHULHU" mount --host simulated: "$M" 2>"$TMP/stderr"
    has "$(cat "$TMP/stderr")" "$data: the cluster at $O keeps its data there now"
    is B "$(writers "$data")"
    tail -n 1 "$O/history" >/dev/null
    # And the other way round: what the cluster at its own place writes is no other's.
    "$CTHULHU" umount "$O" >/dev/null
    "$CTHULHU" mount --host simulated: "$M" >/dev/null
    refused mount_at "$O" b --data "$data" 2>"$TMP/stderr"
    has "$(cat "$TMP/stderr")" "--data $data: the cluster at $M keeps its data there now"
    "$CTHULHU" umount "$M" >/dev/null
    prune "$M" "$O"
    [ ! -e "$data" ]
}

@test "prune leaves data to which nodes of a killed daemon may still write, until those are gone" {
    local data status=0
    mount_at "$M" a >/dev/null
    data=$("$CTHULHU" umount "$M")
    data=${data##* is in }
    mount_at "$O" b -e NAME=B --data "$data" >/dev/null
    kill_daemon "$O"
    prune "$M" 2>"$TMP/stderr" || status=$?
    is 1 "$status"
    has "$(cat "$TMP/stderr")" "nodes of the cluster at $O may still write there"
    is B "$(writers "$data")"
    prune "$O"
    prune "$M"
    [ ! -e "$data" ]
    is '' "$(names)"
}

@test "one --data, its daemon killed: the next one removes those nodes first" {
    mount_at "$M" a -e NAME=A --data "$TMP/data" >/dev/null
    kill_daemon "$M"
    mount_at "$O" b -e NAME=B --data "$TMP/data" 2>"$TMP/stderr" >/dev/null
    has "$(cat "$TMP/stderr")" "removed what was left of the cluster at $M, which kept its data here"
    is "$P-b-i001 $P-b-i001-sandbox" "$(names)"
    is B "$(writers "$TMP/data")"
    "$CTHULHU" umount "$O"
    # When all is gone, the lock names nobody.
    is '' "$(cat "$TMP/data/lock")"
    "$CTHULHU" umount "$M"
}

@test "one --data, its daemon killed, and the engine cannot be asked: refused, with names" {
    mount_at "$M" a -e NAME=A --data "$TMP/data3" >/dev/null
    kill_daemon "$M"
    sed -i "s,\"engine\":\"[^\"]*\",\"engine\":\"unix://$TMP/none.sock\"," "$TMP/data3/lock"
    refused mount_at "$O" b --data "$TMP/data3" 2>"$TMP/stderr"
    # A mount that has failed does not forget it.
    refused mount_at "$O" b --data "$TMP/data3" 2>"$TMP/stderr"
    has "$(cat "$TMP/stderr")" "at $M may still write there, and cannot be removed from unix://$TMP/none.sock"
    has "$(cat "$TMP/stderr")" "remove $TMP/data3/lock"
    is A "$(writers "$TMP/data3")"
    "$CTHULHU" umount "$M"
    is '' "$(names)"
}

@test "what a user has labelled goes with the cluster, and does not make it look dead" {
    local id sidecar
    mount_at "$M" a >/dev/null
    id=$(id_of "$M")
    for sidecar in 1 2; do
        docker create --name "$P-sidecar$sidecar" --label io.cthulhu.cluster="$id" --label io.cthulhu.mountpoint="$M" "$IMAGE" >/dev/null
    done
    docker rename "$P-sidecar2" "$P-renamed"
    is 'nothing is left over' "$(prune "$M")"
    is "$P-a-i001 $P-a-i001-sandbox $P-renamed $P-sidecar1" "$(names)"
    # As the label of a cluster of which there is nothing else says nothing of whose it is.
    docker create --name "$P-alone" --label io.cthulhu.cluster="$P-none" --label io.cthulhu.mountpoint="$M" "$IMAGE" >/dev/null
    is 'nothing is left over' "$(prune "$M")"
    # Nor while its place is held, whatever its owner's label says.
    docker create --name "$P-forged" --label io.cthulhu.cluster="$P-old" --label io.cthulhu.mountpoint="$M" \
        --label io.cthulhu.owner="1.1@0.0" "$IMAGE" >/dev/null
    is 'nothing is left over' "$(prune "$M")"
    docker rm "$P-forged" >/dev/null
    "$CTHULHU" umount "$M"
    is "$P-alone" "$(names)"
    docker rm "$P-alone" >/dev/null
}

@test "a container of a committed node is its maker's: umount, prune and the next mount leave it" {
    mount_at "$M" a >/dev/null
    docker commit "$P-a-i001" "$P-snap" >/dev/null
    docker rename "$P-a-i001" "$P-renamed"
    docker create --name "$P-mine" "$P-snap" >/dev/null
    kill_daemon "$M"
    # The node's own name, and an image that is gone.
    docker create --name "$P-a-i001" "$P-snap" >/dev/null
    prune "$M"
    is "$P-a-i001 $P-mine" "$(names)"
    docker rm "$P-a-i001" >/dev/null
    # A cluster of that image, whose nodes are ours though; one is recreated from an image of itself under the same name.
    "$CTHULHU" mount --prefix "$P-a" -n 1 -i "$P-snap" --start "$M" >/dev/null
    docker commit "$P-a-i001" "$P-snap" >/dev/null
    docker rm -f "$P-a-i001" >/dev/null
    echo start >"$M/control"
    is running "$(cat "$M/i001/state")"
    docker create --name "$P-mine2" "$P-snap" >/dev/null
    "$CTHULHU" umount "$M"
    is "$P-mine $P-mine2" "$(names)"
    "$CTHULHU" mount --prefix "$P-a" -n 1 -i "$P-snap" "$M" >/dev/null
    "$CTHULHU" umount "$M"
    is "$P-mine $P-mine2" "$(names)"
    docker rm "$P-mine" "$P-mine2" >/dev/null
    docker rmi "$P-snap" >/dev/null
}

@test "labels do not reach the terminal as they are" {
    local owner evil
    evil=$(printf '/x\033]0;title\007\033[8m\302\2332J\nline')
    owner=1.1@00000000-0000-4000-8000-000000000000.$(stat -L -c %i /proc/self/ns/pid)
    docker create --name "$P-evil" --label io.cthulhu.cluster="$(printf 'c\033[8m')$P" --label io.cthulhu.mountpoint="$evil" \
        --label io.cthulhu.owner="$owner" --label io.cthulhu.uid="$(id -u)" --label io.cthulhu.role=node "$IMAGE" >/dev/null
    docker create --name "$P-i001" --label io.cthulhu.cluster="$P" --label io.cthulhu.mountpoint="$evil" "$IMAGE" >/dev/null
    {
        "$CTHULHU" ls
        "$CTHULHU" ls --json
        # Not asked for --yes: nothing is removed.
        "$CTHULHU" prune "$evil" </dev/null || true
        "$CTHULHU" prune </dev/null || true
        "$CTHULHU" mount --prefix "$P" -i "$IMAGE" "$M" || true
        "$CTHULHU" doctor || true
    } >"$TMP/out" 2>&1
    docker rm "$P-evil" "$P-i001" >/dev/null
    has "$(cat "$TMP/out")" 'title'
    has "$(cat "$TMP/out")" "a container named $P-i001 exists already"
    is '' "$(LC_ALL=C grep -aP '[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]' "$TMP/out" | cat -v)"
    refused grep -q '^line' "$TMP/out"
}

@test "locks and records are their owner's alone, whatever the umask" {
    (
        umask 0
        "$CTHULHU" mount --host simulated: --data "$TMP/open" "$M" >/dev/null
    )
    is 600 "$(stat -c %a "$(state_of "$M")"/{lock,cluster.json,daemon.log} "$TMP/open/lock" | sort -u)"
    "$CTHULHU" umount "$M" >/dev/null
    # One that an earlier version has made.
    chmod 666 "$TMP/open/lock"
    "$CTHULHU" mount --host simulated: --data "$TMP/open" "$M" >/dev/null
    "$CTHULHU" umount "$M" >/dev/null
    is 600 "$(stat -c %a "$TMP/open/lock")"
    [ "$(id -u)" = 0 ] || return 0
    chmod 755 "$TMP/open"
    refused setpriv --reuid 65534 --regid 65534 --clear-groups cat "$TMP/open/lock" 2>/dev/null
}

@test "planted links in the place of locks and of the home for state are not followed" {
    local home=$TMP/shared
    mkdir -m 777 "$home"
    mkdir "$TMP/victim" "$TMP/d8"
    echo precious >"$TMP/victim/file"
    ln -s "$TMP/victim/file" "$TMP/d8/lock"
    refused "$CTHULHU" mount --host simulated: --data "$TMP/d8" "$M" 2>"$TMP/stderr"
    has "$(cat "$TMP/stderr")" 'it is a symbolic link, which is not followed'
    is precious "$(cat "$TMP/victim/file")"
    # Others can write to it.
    mkdir -m 777 "$home/cthulhu"
    chmod 777 "$home/cthulhu"
    XDG_STATE_HOME=$home refused "$CTHULHU" mount --host simulated: "$M" 2>"$TMP/stderr"
    has "$(cat "$TMP/stderr")" "other users can write to $home/cthulhu"
    XDG_STATE_HOME=$home refused prune "$M" 2>"$TMP/stderr"
    has "$(cat "$TMP/stderr")" "other users can write to $home/cthulhu"
    rmdir "$home/cthulhu"
    needs_root 'to be two users'
    ln -s "$TMP/victim" "$home/cthulhu"
    chown -h 65534 "$home/cthulhu"
    XDG_STATE_HOME=$home refused "$CTHULHU" mount --host simulated: "$M" 2>"$TMP/stderr"
    has "$(cat "$TMP/stderr")" "$home/cthulhu belongs to user 65534"
    is file "$(ls "$TMP/victim")"
    rm "$home/cthulhu"
    # The lock of another user, who could hold it for ever.
    mkdir "$TMP/d9"
    touch "$TMP/d9/lock"
    chown 65534 "$TMP/d9/lock"
    refused "$CTHULHU" mount --host simulated: --data "$TMP/d9" "$M" 2>"$TMP/stderr"
    has "$(cat "$TMP/stderr")" 'it belongs to user 65534'
}
