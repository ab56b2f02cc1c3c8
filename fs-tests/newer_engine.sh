#!/usr/bin/env bash
# A newer Docker Engine than the machine's own: Debian's, unpacked and not installed. As root.
#
#   fs-tests/newer_engine.sh get                 fetches it, unless it is there; prints its version
#   fs-tests/newer_engine.sh start DIR           starts it, with all that it writes below DIR
#   fs-tests/newer_engine.sh run DIR COMMAND...  runs a command beside it: in its network, with DOCKER_HOST and PATH set
#   fs-tests/newer_engine.sh stop DIR            stops it
#   fs-tests/newer_engine.sh alone COMMAND...    runs a command that starts `dockerd` from PATH itself
#
# The packages (54 MB, unpacked 210 MB) are those of Debian's suite trixie, or NEWER_SUITE, from the mirror that the machine's own
# apt sources name. They are kept in ${XDG_CACHE_HOME:-~/.cache}/cthulhu-tests. Exit status 77: this machine cannot have them,
# and stderr says why.
#
# The engine has network and mount namespaces of its own, so that its firewall rules, bridges and routes are not the machine's.
# Commands run in them too: nodes' addresses and mounts can be seen only there.
set -euo pipefail

# shellcheck source=debian.bash
. "$(dirname "${BASH_SOURCE[0]}")/debian.bash"

suite=${NEWER_SUITE:-trixie}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cthulhu-tests
root=$cache/docker-$suite

unavailable() {
    printf 'newer_engine.sh: %s\n' "$*" >&2
    exit 77
}

get() {
    [ "$(id -u)" = 0 ] || unavailable 'only root can run a second engine'
    [ ! -x "$root/bin/dockerd" ] || return 0
    local part deb name why
    mkdir -p "$cache"
    part=$(mktemp -d "$cache/part.XXXXXX")
    # shellcheck disable=SC2064 # as it is now
    trap "rm -rf '$part'" EXIT
    why=$(unpack_packages "$suite" "$part" docker.io containerd 2>&1) || unavailable "$why"
    mkdir -p "$part/root/bin"
    for name in dockerd docker-proxy containerd containerd-shim-runc-v2; do
        deb=$(cd "$part/root" && find usr/bin usr/sbin -name "$name" | head -n 1)
        [ -n "$deb" ] || unavailable "the packages of $suite have no $name"
        ln -s "../$deb" "$part/root/bin/$name"
    done
    "$part/root/bin/dockerd" --version >"$part/log" 2>&1 || unavailable "dockerd of $suite does not run here: $(tail -n 1 "$part/log")"
    # Another may have been faster.
    mv -T "$part/root" "$root" 2>/dev/null || [ -x "$root/bin/dockerd" ]
}

# alone COMMAND...: in namespaces of its own, with the newer dockerd in PATH. Does not return.
alone() {
    export PATH=$root/bin:$PATH
    # /sys shows the network of who mounted it, and has the machine's control groups in it.
    # shellcheck disable=SC2016
    exec unshare --net --mount --propagation slave sh -ec '
        ip link set lo up
        echo 1 >/proc/sys/net/ipv4/ip_forward
        mkdir -p /run/cthulhu-tests
        mount -t tmpfs tmpfs /run/cthulhu-tests
        mkdir /run/cthulhu-tests/cgroup
        mount --rbind /sys/fs/cgroup /run/cthulhu-tests/cgroup
        fuse=$(mountpoint -q /sys/fs/fuse/connections && echo yes || true)
        mount -t sysfs sysfs /sys
        mount --rbind /run/cthulhu-tests/cgroup /sys/fs/cgroup
        [ -z "$fuse" ] || mount -t fusectl fusectl /sys/fs/fuse/connections
        umount -l /run/cthulhu-tests
        exec "$@"' - "$@"
}

start() {
    local dir=$1 try
    mkdir -p "$dir"
    (
        # shellcheck disable=SC2016
        alone sh -c 'echo $$ >"$0/pid"; exec dockerd --data-root "$0/data" --exec-root "$0/exec" --pidfile "$0/docker.pid" \
            -H "unix://$0/docker.sock"' "$dir"
    ) >"$dir/log" 2>&1 </dev/null &
    for try in $(seq 600); do
        if DOCKER_HOST=unix://$dir/docker.sock timeout 10 docker version >/dev/null 2>&1; then return 0; fi
        kill -0 $! 2>/dev/null || break
        sleep 0.1
    done
    printf 'newer_engine.sh: the engine of %s does not answer (%s): %s\n' "$suite" "$try" "$(tail -n 1 "$dir/log")" >&2
    kill $! 2>/dev/null || true
    return 1
}

run() {
    local dir=$1
    shift
    export DOCKER_HOST=unix://$dir/docker.sock PATH=$root/bin:$PATH
    exec nsenter --target "$(cat "$dir/pid")" --net --mount --wd="$PWD" "$@"
}

stop() {
    local pid
    pid=$(cat "$1/pid")
    kill "$pid" 2>/dev/null || return 0
    for _ in $(seq 600); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -9 "$pid"
}

case ${1:-} in
get) get && "$root/bin/dockerd" --version ;;
start | run | stop | alone) "$@" ;;
*)
    sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 2
    ;;
esac
