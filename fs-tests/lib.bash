# Helpers of the end-to-end tests. Loaded by every .bats file, and by run.sh for `sweep`.
# shellcheck shell=bash
#
# A file of tests works on clusters of its own: everything lies in $TMP (mountpoints, state, data), and every container
# carries the prefix $P. So the tests can run beside other clusters on the same engine, and never touch those.

IMAGE=cthulhu-test-busybox
# What a node of the scratch image runs: ends at SIGTERM with 143, at once.
# shellcheck disable=SC2034,SC2016
NODE=(sh -c 'trap "exit 143" TERM; echo started; while :; do sleep 3600 & wait $!; done')
FS_TESTS=${BASH_SOURCE[0]%/*}
[ "$FS_TESTS" != "${BASH_SOURCE[0]}" ] || FS_TESTS=.
FS_TESTS=$(cd "$FS_TESTS" && pwd)
CTHULHU=${CTHULHU:-$FS_TESTS/../target/x86_64-unknown-linux-gnu/release/cthulhu}
export CTHULHU FS_TESTS

# ---- around a file --------------------------------------------------------------------------------------------------

# Makes the file's temp dir and prefix. For setup_file.
begin() {
    TMP=$(cd "$(mktemp -d "${CTHULHU_TEST_TMP:-${TMPDIR:-/tmp}}/cthulhu-test.XXXXXX")" && pwd -P)
    P=t$$x$RANDOM
    XDG_STATE_HOME=$TMP/state
    mkdir "$TMP/state"
    export TMP P XDG_STATE_HOME
}

# Removes all that the file has left. For teardown_file.
end() {
    sweep "$TMP"
}

# Removes what lies below a directory of ours: daemons, mounts, containers, networks, then the directory itself.
sweep() {
    local dir=$1 pid at id
    [ -n "$dir" ] && [ -d "$dir" ] || return 0
    for pid in $(daemons "$dir"); do kill "$pid" 2>/dev/null || true; done
    wait_for 20 no_daemons "$dir" || for pid in $(daemons "$dir"); do kill -9 "$pid" 2>/dev/null || true; done
    # shellcheck source=lab.bash
    [ ! -d "$dir/lab" ] || (. "$FS_TESTS/lab.bash" && LAB=$dir/lab lab_down)
    for pid in $(engine_processes "$dir"); do kill -9 "$pid" 2>/dev/null || true; done
    mounts "$dir" | sort -r | while read -r at; do umount -l "$at" 2>/dev/null || fusermount3 -uz "$at" || true; done
    for id in $(containers "$dir"); do docker rm -fv "$id" >/dev/null 2>&1 || true; done
    for id in $(networks "$dir"); do docker network rm "$id" >/dev/null 2>&1 || true; done
    for id in $(volumes "$dir"); do docker volume rm "$id" >/dev/null 2>&1 || true; done
    rm -rf --one-file-system "$dir" 2>/dev/null || true
    [ -e "$dir" ] || return 0
    # What nodes wrote as root, an ordinary user deletes through a container.
    docker run --rm --network none -v "$dir:/sweep" "$IMAGE" sh -c 'rm -rf /sweep/* /sweep/.[!.]*' || true
    rm -rf --one-file-system "$dir"
}

# Pids of the daemons whose state lies below a directory.
daemons() {
    local environ exe
    grep -lzs "^XDG_STATE_HOME=$1/" /proc/[0-9]*/environ | while read -r environ; do
        exe=$(readlink "${environ%/environ}/exe") || continue
        exe=${exe% (deleted)}
        [ "${exe##*/}" = "${CTHULHU##*/}" ] || continue
        environ=${environ%/environ}
        echo "${environ#/proc/}"
    done
}

# Pids of an engine whose directories lie below a directory (second_engine.bats has one), its containerd and its shims.
engine_processes() {
    local pid
    for pid in $(pgrep -f -- "$1/"); do
        case $(readlink "/proc/$pid/exe") in
        */dockerd | */containerd | */containerd-shim*) echo "$pid" ;;
        esac
    done
}

no_daemons() { [ -z "$(daemons "$1")" ]; }

# Mountpoints below a directory.
mounts() {
    awk -v dir="$1/" 'index($5 "/", dir) == 1 { print $5 }' /proc/self/mountinfo
}

# Ids of the containers, of the networks, whose mountpoint lies below a directory.
containers() {
    docker ps -a --no-trunc --filter label=io.cthulhu.cluster \
        --format '{{.ID}} {{.Label "io.cthulhu.mountpoint"}} {{.Names}}' 2>/dev/null | known_to_engine | below "$1"
}

# Of lines that end in a container's name, those that have one. Docker 20.10 lists some containers that it removed itself while it
# restarted, without a name, and says "No such container" to all else about them.
known_to_engine() { grep -v ' $' || true; }

networks() {
    docker network ls --no-trunc --filter label=io.cthulhu.cluster \
        --format '{{.ID}} {{.Label "io.cthulhu.mountpoint"}}' 2>/dev/null | below "$1"
}

below() {
    awk -v dir="$1/" 'index($2 "/", dir) == 1 { print $1 }'
}

# Fails, saying what there is, unless nothing of a cluster is left below a directory (default: all of this file's).
nothing_left() {
    local dir=${1:-$TMP} left
    left=$(
        for one in $(mounts "$dir"); do echo "mount $one"; done
        for one in $(containers "$dir"); do echo "container $one"; done
        for one in $(networks "$dir"); do echo "network $one"; done
        for one in $(volumes "$dir"); do echo "volume $one"; done
        for one in $(docker ps -a --filter "name=^/$P-" --format '{{.Names}}'); do echo "container $one"; done
        if [ "$dir" = "$TMP" ]; then for one in $(daemons "$TMP"); do echo "process $one"; done; fi
    )
    is '' "$left" 'what is left'
}

# What `cthulhu ls --json` says of clusters below a directory (default: this file's), on a line.
listed_below() {
    "$CTHULHU" ls --json | jq -c --arg dir "${1:-$TMP}/" '[.[] | select(.mountpoint | startswith($dir))]'
}

# ---- the scratch image ----------------------------------------------------------------------------------------------

# An image without any registry: Debian's static busybox, in an otherwise empty file system. Made once, or loaded from the archive
# CTHULHU_TEST_IMAGE.
need_image() {
    docker image inspect "$IMAGE" >/dev/null 2>&1 && return
    if [ -n "${CTHULHU_TEST_IMAGE:-}" ]; then
        docker load -qi "$CTHULHU_TEST_IMAGE" >/dev/null
        return
    fi
    local work applet
    work=$(mktemp -d "${TMP:-/tmp}/image.XXXXXX")
    (
        cd "$work"
        apt-get download -q busybox-static >/dev/null 2>&1 || {
            echo "cannot get busybox-static: run apt-get update, or see that a package mirror can be reached" >&2
            exit 1
        }
        dpkg -x busybox-static_*.deb unpacked
        mkdir -p root/bin root/tmp root/etc root/proc root/sys root/dev root/opt/app
        cp unpacked/bin/busybox root/bin/ 2>/dev/null || cp unpacked/usr/bin/busybox root/bin/
        for applet in $(root/bin/busybox --list); do
            [ "$applet" = busybox ] || ln -s busybox "root/bin/$applet"
        done
        echo 'root:x:0:0:root:/:/bin/sh' >root/etc/passwd
        tar -C root -c . | docker import --change 'CMD ["sleep","3600"]' --change 'ENV PATH=/bin' - "$IMAGE" >/dev/null
    ) || return 1
    rm -rf "$work"
}

# ---- the image of the traffic agent ---------------------------------------------------------------------------------

# Sets TRAFFIC to an image with nothing in it but fs-tests/traffic/traffic.rs, linked statically. Made once for each source.
# Without rustc TRAFFIC stays empty: a test then says needs_traffic.
need_traffic() {
    local source=$FS_TESTS/traffic/traffic.rs image rustc work
    export TRAFFIC=
    image=cthulhu-test-traffic:$(sha256sum "$source" | cut -c1-12)
    if ! docker image inspect "$image" >/dev/null 2>&1; then
        rustc=$(command -v rustc || command -v "$HOME/.cargo/bin/rustc") || return 0
        work=$(mktemp -d "${TMP:-/tmp}/traffic.XXXXXX")
        "$rustc" -O --edition 2024 -C target-feature=+crt-static -C strip=symbols \
            --target "$(uname -m)-unknown-linux-gnu" -o "$work/traffic" "$source" || return 1
        tar -C "$work" -c traffic | docker import --change 'CMD ["/traffic"]' - "$image" >/dev/null || return 1
        rm -rf "$work"
    fi
    TRAFFIC=$image
}

# For setup.
needs_traffic() {
    [ -n "$TRAFFIC" ] || skip "no rustc to build the traffic agent with, and no image of it is there"
}

# ---- an image with volumes ------------------------------------------------------------------------------------------

# Makes the image $P-volume: of the scratch image, with something in /data and nothing in /empty, which are volumes.
volume_image() {
    docker create --network none --name "$P-volume" "$IMAGE" sh -c 'mkdir /data /empty; echo seed >/data/seed; chown 7:7 /data; chmod 1755 /data' >/dev/null
    docker start -a "$P-volume"
    docker commit --change 'VOLUME /data /empty' --change 'CMD ["sh","-c","trap \"exit 143\" TERM; while :; do sleep 3600 & wait $!; done"]' \
        "$P-volume" "$P-volume" >/dev/null
    docker rm "$P-volume" >/dev/null
}

in_node() { docker exec "$P-$1" sh -c "$2"; }

# Writes to all three places that a node has; says which of them have it still.
write_all() { in_node i001 'for f in /layer /data/volume /opt/app/var/bindmount; do echo x >$f; done'; }
survivors() {
    in_node i001 'for f in /layer /data/volume /opt/app/var/bindmount; do [ ! -e $f ] || echo $(basename $f); done' | xargs
}

# Names of the volumes of clusters below this file's directory.
volumes() {
    docker volume ls --filter label=io.cthulhu.cluster --format '{{.Name}} {{.Label "io.cthulhu.mountpoint"}}' | below "${1:-$TMP}"
}

# ---- clusters -------------------------------------------------------------------------------------------------------

# mount_cluster DIR OPTION...: makes $TMP/DIR, mounts there with this file's prefix, and sets M to it.
mount_cluster() {
    M=$TMP/$1
    shift
    export M
    mkdir -p "$M"
    with_deadline 120 "$CTHULHU" mount --prefix "$P" "$M" "$@"
}

# The same with nodes of the scratch image that end at SIGTERM: mount_busybox DIR OPTION...
mount_busybox() {
    need_image
    mount_cluster "$@" -i "$IMAGE" -- "${NODE[@]}"
}

umount_cluster() {
    with_deadline 60 "$CTHULHU" umount "${1:-$M}"
}

# A subnet that no network of the engine has.
free_subnet() {
    python3 -c '
import subprocess
used = subprocess.run("docker network inspect $(docker network ls -q)", shell=True, capture_output=True, text=True).stdout
print(next(s for s in (f"10.213.{n}.0/24" for n in range(256)) if s not in used))'
}

# own_bridge: makes a bridge for a second dockerd in the machine's network, and sets BRIDGE to its name. That dockerd must not get --bridge=none: it
# would take that for an order to remove the machine's docker0.
own_bridge() {
    BRIDGE=ct$$x$((RANDOM % 1000))
    ip link add "$BRIDGE" type bridge
    ip addr add "10.254.$((RANDOM % 256)).1/29" dev "$BRIDGE"
    ip link set "$BRIDGE" up
    export BRIDGE
}

# needs_root WHY: skips the test as an ordinary user. Not for setup_file: there, say it in setup.
needs_root() {
    [ "$(id -u)" = 0 ] || skip "needs root: $1"
}

# ---- waiting --------------------------------------------------------------------------------------------------------

# wait_for SECONDS CONDITION...: until the condition holds; fails at the deadline. A deadline ends a test that would hang, and measures
# nothing: it is never less than two minutes, so that no load on the machine breaks a test.
wait_for() {
    local end=$((SECONDS + ($1 < 120 ? 120 : $1)))
    shift
    until "$@"; do
        if [ "$SECONDS" -gt "$end" ]; then
            echo "timed out waiting for: $*" >&2
            return 1
        fi
        sleep 0.05
    done
}

# with_deadline SECONDS COMMAND...: 124 if it takes longer.
with_deadline() {
    timeout -k 5 "$@"
}

# polling PID: whether a wait or a run waits for its nodes, in its thread for that: in poll(2) (7 on x86-64; 271 is ppoll(2), 73 on arm64).
polling() {
    local thread
    for thread in "/proc/$1/task"/*; do
        if grep -qx work "$thread/comm" && grep -qE '^(7|271|73) ' "$thread/syscall"; then return 0; fi
    done 2>/dev/null
    return 1
}

# traps_term CONTAINER: its first process handles SIGTERM already, so that a stop does not come too early.
traps_term() {
    local caught
    caught=$(sed -n 's/^SigCgt:[[:space:]]*//p' "/proc/$(docker inspect -f '{{.State.Pid}}' "$1")/status")
    [ $((0x$caught >> 14 & 1)) = 1 ]
}

# Whether the live values of $M can be read; whether every one of them is EHOSTDOWN.
known() { cat "$M/status" >/dev/null 2>&1; }
unknown() {
    local file
    for file in "$M"/status "$M"/spec.json "$M"/i[0-9]*/{state,pid.txt,exit_code,health,ready,ready_reason,id,inspect.json}; do
        case $(LC_ALL=C cat "$file" 2>&1) in
        *'Host is down') ;;
        *) return 1 ;;
        esac
    done
}

reads() { [ "$(cat "$1")" = "$2" ]; }
contains() { grep -q -- "$2" "$1"; }
pings() { docker exec "$1" ping -c 1 -W 1 "$2" >/dev/null; }
gone() { ! kill -0 "$1" 2>/dev/null; }

# ---- judging --------------------------------------------------------------------------------------------------------

# is WANTED GOT [WHAT]
is() {
    [ "$1" = "$2" ] || {
        printf '%s: wanted "%s", got "%s"\n' "${3:-value}" "$1" "$2" >&2
        return 1
    }
}

# has TEXT PART
has() {
    case $1 in
    *"$2"*) ;;
    *)
        printf 'no "%s" in "%s"\n' "$2" "$1" >&2
        return 1
        ;;
    esac
}

# refused COMMAND...: it must fail.
refused() {
    if "$@"; then
        echo "did not fail: $*" >&2
        return 1
    fi
}

# Writes stdin to a file in one write(2); prints OK, or the number and name of the errno.
put() {
    python3 "$FS_TESTS/put.py" "$1"
}

# put_line FILE TEXT: the same with a line.
put_line() {
    printf '%s\n' "$2" | put "$1"
}

# The engine's own word on a node: field NODE TEMPLATE
field() {
    docker inspect -f "$2" "$P-$1"
}

# All nodes of $M in a state: all_in STATE
all_in() {
    local file
    for file in "$M"/i[0-9]*/state; do
        reads "$file" "$1" || return 1
    done
}
