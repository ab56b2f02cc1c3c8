#!/usr/bin/env bash
# From a bare Debian or Ubuntu machine to a living cluster of three nodes, and back again.
#
#   examples/quickstart.sh [--keep-engine]
#
# Installs what is missing (docker.io, fuse3, a C compiler), never anything else. Needs cargo 1.89 or newer.
# An engine that already answers is used and left alone. One that this script has to start is stopped again at its
# end, unless --keep-engine says otherwise. ^C cleans up too.
set -euo pipefail

repo=$(cd "$(dirname "$0")/.." && pwd)
readonly repo oldest_cargo=89 patience=30

keep_engine=no
case "${1-}" in
    '') ;;
    --keep-engine) keep_engine=yes ;;
    -h | --help) sed -n '2,/^set /{s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    *) echo "quickstart: unknown argument '$1'; there is only --keep-engine" >&2; exit 2 ;;
esac

# dockerd lives where an ordinary user's PATH does not lead.
PATH=$PATH:/usr/sbin:/sbin
work='' cthulhu='' engine_pid=''

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n%s\n' "$*"; }

# Prints a command as one would type it, and runs it.
show() {
    printf '$ %s\n' "$1"
    eval "$1"
}

fail() {
    echo "quickstart: $*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

cleanup() {
    local status=$?
    trap - EXIT
    trap '' INT TERM HUP
    if [ -n "$work" ]; then
        if [ -n "$cthulhu" ] && grep -q " $work/cluster fuse.cthulhu " /proc/mounts; then
            "$cthulhu" umount "$work/cluster" || status=1
        fi
        rm -rf --one-file-system "$work" || status=1
    fi
    if [ -n "$engine_pid" ]; then
        if [ "$keep_engine" = yes ]; then
            echo "The engine that this script started stays (pid $engine_pid)."
        else
            as_root kill "$engine_pid" 2>/dev/null || true
            for _ in $(seq 300); do
                [ -d "/proc/$engine_pid" ] || break
                sleep 0.1
            done
            echo "The engine that this script started is stopped again."
        fi
    fi
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# wait_for WHAT COMMAND...: until the command succeeds; no sleep is ever longer than needed, none is endless.
wait_for() {
    local what=$1 deadline=$((SECONDS + patience))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || fail "waited $patience s, and still not: $what"
        sleep 0.1
    done
}

engine_answers() { command -v docker >/dev/null && docker version >/dev/null 2>&1; }
engine_lives() { [ -d "/proc/$(cat /var/run/docker.pid 2>/dev/null || echo none)" ]; }

# ---------------------------------------------------------------------------------------------------------------------
say "1. What this machine needs"

[ "$(uname -s)" = Linux ] || fail "this needs Linux: FUSE and network namespaces are its ground"
command -v cargo >/dev/null || fail "cargo is missing: install Rust 1.$oldest_cargo or newer from https://rustup.rs, then run this again"
minor=$(cargo --version | sed -n 's/^cargo 1\.\([0-9]*\)\..*/\1/p')
[ "${minor:-0}" -ge "$oldest_cargo" ] || fail "$(cargo --version) is too old: Rust 1.$oldest_cargo or newer is needed, from https://rustup.rs"
if [ "$(id -u)" != 0 ]; then
    [ -w /dev/fuse ] || fail "you may not use /dev/fuse: run 'sudo modprobe fuse; sudo chmod 0666 /dev/fuse', or this script as root"
fi

packages=()
engine_answers || command -v dockerd >/dev/null || packages+=(docker.io)
command -v docker >/dev/null || [ -n "${packages[*]-}" ] || packages+=(docker.io)
command -v fusermount3 >/dev/null || packages+=(fuse3)
command -v cc >/dev/null || packages+=(gcc libc6-dev)
if [ "${#packages[@]}" -gt 0 ]; then
    command -v apt-get >/dev/null || fail "missing here: ${packages[*]}; install them (this script can do it only with apt-get)"
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null || fail "missing here: ${packages[*]}; install them as root, there is no sudo"
    echo "Installing: ${packages[*]}"
    as_root apt-get update -qq || echo "apt-get update failed: going on with the package lists that are here"
    # From Debian 13 on the docker command is a package of its own.
    case " ${packages[*]} " in
        *" docker.io "*) if apt-cache policy docker-cli | grep -q 'Candidate: [0-9]'; then packages+=(docker-cli); fi ;;
    esac
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null ||
        fail "apt-get could not install ${packages[*]}; the reason stands above"
else
    echo "Everything is installed already: cargo, a C compiler, docker, fusermount3."
fi
[ -e /dev/fuse ] || as_root modprobe fuse 2>/dev/null || true
[ -e /dev/fuse ] || fail "there is no /dev/fuse: load the module with 'sudo modprobe fuse', or give this container the device"

work=$(mktemp -d "${TMPDIR:-/tmp}/cthulhu-quickstart.XXXXXX")

no_right() { fail "you may not use the engine's socket: run 'sudo usermod -aG docker \$USER' and log in again, or run this as root"; }
socket=/var/run/docker.sock
if ! engine_answers && [ -z "${DOCKER_HOST-}" ] && [ -S $socket ] && ! [ -w $socket ]; then no_right; fi
if ! engine_answers && [ -z "${DOCKER_HOST-}" ] && engine_lives; then
    echo "An engine is coming up: waiting for it."
    wait_for "the engine that is coming up answers" engine_answers
fi
if engine_answers; then
    echo "An engine answers: it is used, and left as it is."
elif [ -n "${DOCKER_HOST-}" ]; then
    fail "DOCKER_HOST is $DOCKER_HOST, and no engine answers there: start that one, or unset DOCKER_HOST"
else
    [ "$(id -u)" = 0 ] || id -nG | grep -qw docker || no_right
    echo "No engine answers: starting dockerd in the background."
    # In a session of its own, so that ^C reaches it only after the cluster is gone.
    as_root setsid dockerd >"$work/dockerd.log" 2>&1 &
    launcher=$!
    engine_pid=$launcher
    deadline=$((SECONDS + 2 * patience))
    until engine_answers; do
        if ((SECONDS >= deadline)) || ! [ -d "/proc/$launcher" ]; then
            fail "dockerd does not come up: $(grep -v level=info "$work/dockerd.log" | tail -n 1)"
        fi
        sleep 0.2
    done
    engine_pid=$(cat /var/run/docker.pid)
fi

# ---------------------------------------------------------------------------------------------------------------------
say "2. Build: one static binary (a few minutes the first time)"

triple=$(rustc -vV | sed -n 's/^host: //p')
target=${CARGO_TARGET_DIR:-$repo/target}
echo "$ RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --locked --target $triple"
(cd "$repo" && RUSTFLAGS='-C target-feature=+crt-static' cargo build --quiet --release --locked --target "$triple" --target-dir "$target") ||
    fail "the build failed; the reason stands above"
PATH=$target/$triple/release:$PATH
cthulhu=$target/$triple/release/cthulhu
show "cthulhu --version"

# ---------------------------------------------------------------------------------------------------------------------
say "3. Mount three nodes of the built-in demo program, and start them"

# State goes to the temporary directory too, so that all of it goes at the end. The prefix keeps the containers' names
# apart from those of a cluster that you may have mounted.
export XDG_STATE_HOME=$work/state
cd "$work"
show "cthulhu mount -n 3 --prefix quickstart-$$ cluster" || fail "the cluster could not be mounted; the reason stands above"
show "echo start > cluster/control" || fail "the nodes did not start: $(cat cluster/error)"
ip1=$(cat cluster/i001/ip) ip2=$(cat cluster/i002/ip) ip3=$(cat cluster/i003/ip)

say "4. The cluster is a directory (the two other nodes look the same)"
echo '$ ls -lR cluster'
# shellcheck disable=SC2012
ls -lR cluster | sed "/^cluster\/$ip2:/Q"
show "cat cluster/status"
show "cat cluster/i001/pid.txt"
show "cat cluster/i001/bindmounts/etc/config.json"

# says NODE PEER WHAT [TIMES]: whether a node's log says that of a peer (so often).
says() { [ "$(grep -c "peer $2 $3\$" "cluster/$1/log")" -ge "${4:-1}" ]; }
wait_for "the nodes find each other" eval "says i001 $ip2 found && says i001 $ip3 found && says i003 $ip1 found && says i003 $ip2 found"
show "cat cluster/i001/log"

say "5. Stop one: its peers notice"
show "echo stop > cluster/i002/control"
show "cat cluster/status"
wait_for "i001 and i003 miss i002" eval "says i001 $ip2 lost && says i003 $ip2 lost"
show "tail -n 1 cluster/i001/log cluster/i003/log"

say "6. Start it again: they find it"
show "echo start > cluster/i002/control"
wait_for "i001 and i003 find i002 again" eval "says i001 $ip2 found 2 && says i003 $ip2 found 2"
show "grep 'peer $ip2' cluster/i001/log"

say "7. Cut one off from the others, and heal the network: no process is touched, nothing of it is on this machine"
if grep -q '^drop  *yes' cluster/capabilities; then
    show "echo 'isolate i003' > cluster/partition"
    show "cat cluster/partition"
    wait_for "i001 and i003 miss each other" eval "says i001 $ip3 lost && says i003 $ip1 lost"
    show "tail -n 1 cluster/i001/log cluster/i003/log"
    show "echo heal > cluster/control"
    wait_for "they find each other again" eval "says i001 $ip3 found 2 && says i003 $ip1 found 2"
else
    echo "This machine cannot do that: $(sed -n 's/^drop  *no  *//p' cluster/capabilities)"
fi

say "8. What the engine says is what the files say"
show "cat cluster/i002/pid.txt"
show "docker inspect -f '{{.State.Pid}}' quickstart-$$-i002"
[ "$(cat cluster/i002/pid.txt)" = "$(docker inspect -f '{{.State.Pid}}' quickstart-$$-i002)" ] ||
    fail "the two differ: that is a bug, please report it"

say "9. Take it down: nothing is left"
show "cthulhu umount cluster" || fail "the cluster could not be unmounted; the reason stands above"
ours=label=io.cthulhu.mountpoint=$work/cluster
left() {
    ls -d cluster 2>/dev/null || true
    docker ps -aq --filter "$ours"
    docker network ls -q --filter "$ours"
    grep " $work/cluster fuse.cthulhu " /proc/mounts || true
}
printf '$ %s\n' "ours=$ours" "ls -d cluster; docker ps -aq --filter \$ours; docker network ls -q --filter \$ours; grep fuse.cthulhu /proc/mounts"
left=$(left)
[ -z "$left" ] || fail "something is left of the cluster, which is a bug: $left"
echo "No container, no network, no mount, no directory. One image stays in the engine, made from the binary itself, so that the next"
echo "mount need not make it again; 'docker rmi \$(docker images -q cthulhu-self)' removes it."

say "All of that worked. To play on:"
[ -z "$engine_pid" ] || [ "$keep_engine" = yes ] || echo "  $([ "$(id -u)" = 0 ] || echo 'sudo ')dockerd >/tmp/dockerd.log 2>&1 &        # no engine runs here by itself"
cat <<END
  export PATH=$target/$triple/release:\$PATH
  cthulhu mount -n 3 --start /tmp/cluster
  cat /tmp/cluster/status
  tail -f /tmp/cluster/i001/log                # in another terminal; then, here:
  echo kill > /tmp/cluster/i002/control
  echo pause > /tmp/cluster/i003/control
  echo 'delay 100ms loss 10%' > /tmp/cluster/i001/net
  echo start > /tmp/cluster/i002/control; echo resume > /tmp/cluster/i003/control
  cthulhu umount /tmp/cluster
END
