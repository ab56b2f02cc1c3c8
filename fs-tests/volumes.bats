#!/usr/bin/env bats
# What a node has written and what becomes of it: its container's own layer, the volumes of its image, its bindmounts.
# The restart of an engine is in second_engine.bats.

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

cluster() { mount_cluster "$1" -i "$P-volume" --start "${@:2}"; }

# Removes the containers of $M. The engine may be removing a sandbox by itself, and then refuses.
rid_of_containers() {
    containers "$M" | xargs -r docker rm -f >/dev/null 2>&1 || true
    [ -z "$(containers "$M")" ]
}

# after WHAT SURVIVES...: what the node has still, of what it wrote before, once it was started again.
after() {
    echo start >"$M/i001/control"
    is "${*:2}" "$(survivors)" "what survives $1"
}

@test "an image's volume has at first what the image has there, owner and all" {
    cluster populated -n 2
    is '/data seed 7:7 1755' "$(in_node i001 'echo /data $(ls /data) $(stat -c %u:%g /data) $(stat -c %a /data)')"
    is seed "$(in_node i002 'ls /data; cat /empty/* 2>/dev/null')"
    # Each node has its own.
    in_node i001 'echo x >/data/f'
    is seed "$(in_node i002 'ls /data')"
    is 4 "$(volumes | wc -l)" volumes
    umount_cluster
    is '' "$(volumes)" volumes
}

@test "stop, kill, crash and restart lose nothing" {
    local verb
    cluster lives
    for verb in stop kill crash restart; do
        write_all
        echo "$verb" >"$M/i001/control"
        after "$verb" layer volume bindmount
    done
    umount_cluster
}

@test "docker rm loses the layer, with -v too; so does the end of the sandbox; the rest stays" {
    local how
    cluster removed
    for how in "rm -f $P-i001" "rm -fv $P-i001" "rm -f $P-i001-sandbox" "rm -fv $P-i001 $P-i001-sandbox"; do
        write_all
        # shellcheck disable=SC2086
        docker $how >/dev/null
        [ "${how#*sandbox}" != "$how" ] || wait_for 30 reads "$M/i001/state" missing
        after "docker $how" volume bindmount
    done
    is 2 "$(volumes | wc -l)" volumes
    umount_cluster
    is '' "$(volumes)" volumes
}

@test "umount loses the layer and the volumes; --data keeps the bindmounts, and a mount without it nothing" {
    cluster kept --data "$TMP/data"
    write_all
    umount_cluster
    is '' "$(volumes)" volumes
    cluster kept --data "$TMP/data"
    after umount bindmount
    umount_cluster
    cluster kept
    after 'umount, without --data'
    # Of a node that is missing too.
    write_all
    docker rm -f "$P-i001" >/dev/null
    umount_cluster
    is '' "$(volumes)" volumes
    nothing_left
}

@test "what a killed daemon leaves goes with umount, the next mount and prune" {
    local how
    for how in umount mount prune all; do
        cluster killed
        kill -9 "$(daemons "$TMP")"
        wait_for 30 no_daemons "$TMP"
        is 2 "$(volumes | wc -l)" volumes
        # Volumes alone are enough to be found.
        case $how in
        all)
            wait_for 60 rid_of_containers
            docker network rm $(networks "$M") >/dev/null
            has "$("$CTHULHU" ls --host "${DOCKER_HOST:-unix:///var/run/docker.sock}")" 'left over'
            "$CTHULHU" prune --yes "$M" >"$TMP/out"
            has "$(cat "$TMP/out")" '0 containers, 0 networks and 2 volumes'
            ;;
        prune)
            "$CTHULHU" prune --yes "$M" >"$TMP/out"
            has "$(cat "$TMP/out")" ', 1 network and 2 volumes'
            ;;
        umount) umount_cluster ;;
        mount)
            with_deadline 120 "$CTHULHU" mount --prefix "$P" -i "$P-volume" --start "$M"
            is seed "$(in_node i001 'ls /data')"
            is 2 "$(volumes | wc -l)" volumes
            umount_cluster
            ;;
        esac
        is '' "$(volumes)" "volumes after $how"
        is '' "$(containers "$TMP")" containers
    done
}

@test "run leaves no volume, when it fails too" {
    local code status
    for code in 0 7; do
        status=0
        # shellcheck disable=SC2016
        TMPDIR=$TMP "$CTHULHU" run --prefix "$P" -i "$P-volume" -- sh -c '
            docker exec "$0-i001" touch /data/x
            docker inspect -f "{{range .Mounts}}{{.Name}} {{end}}" "$0-i001" >"$1"
            exit "$2"' "$P" "$TMP/names" "$code" 2>"$TMP/out" || status=$?
        is "$code" "$status" status
        is 2 "$(wc -w <"$TMP/names")" volumes
        is '' "$(volumes)" "volumes after a run of status $code"
    done
}

@test "what the user mounts on the path of a volume wins" {
    mkdir "$TMP/theirs"
    echo mine >"$TMP/theirs/f"
    cluster mine --volume "$TMP/theirs:/data/" --var-target /empty
    is f "$(in_node i001 'ls /data')"
    is '' "$(volumes)" volumes
    in_node i001 'echo written >/empty/w'
    is written "$(cat "$M/i001/bindmounts/var/w")"
    umount_cluster
}

@test "a volume that somebody else's container uses: umount says so, and prune removes it later" {
    local status=0 volume
    cluster used
    volume=$(volumes | head -n 1)
    docker run -d --name "$P-other" --network none -v "$volume:/theirs" "$IMAGE" sleep 3600 >/dev/null
    umount_cluster 2>"$TMP/out" || status=$?
    docker rm -f "$P-other" >/dev/null
    is 1 "$status"
    has "$(cat "$TMP/out")" 'volume is in use'
    is "$volume" "$(volumes)"
    "$CTHULHU" prune --yes "$M" >"$TMP/out"
    is '' "$(volumes)" volumes
}
