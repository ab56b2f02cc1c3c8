# A lab of several Docker engines on this machine, each as if it had a machine of its own, joined to one swarm.
# Loaded by machines.bats, kill_machines.sh and benches/run.sh; lib.bash's `sweep` takes one down that a test left.
# shellcheck shell=bash
#
#   lab_up 3                      engines a, b and c below $LAB, or nothing if they are there
#   lab_docker b ps               the docker command, for engine b
#   lab_url b; lab_socket b       tcp://ADDRESS:2375 and unix://PATH
#   lab_freeze b; lab_thaw b      SIGSTOP and SIGCONT of its dockerd
#   lab_kill b; lab_start b       SIGKILL, and another dockerd over the same data
#   lab_cut b; lab_mend b         its network cable: to the other engines, and to us
#   lab_reset b                   breaks every TCP connection from here to its API
#   lab_down                      all of it is gone
#
# Each engine has PID, network, mount and UTS namespaces of its own, held by a process (`init`) that does nothing. Killing it ends
# dockerd, its containers and their mounts. The engines meet at a bridge in one more network namespace, the switch. This machine's
# own network gets one interface, in an address range that no route leads to.
#
# In an engine's mount namespace, /run is its own, so that /var/run/docker.sock is its own socket, and of the directory that $LAB is in
# there is only its own part: another machine does not have our files. Engine a is the swarm's only manager. All share this kernel.

# lab_missing: why this machine cannot run the lab. Says nothing if it can.
lab_missing() {
    local why
    [ "$(id -u)" = 0 ] || { echo 'needs root: to run engines in namespaces of their own' && return; }
    PATH=$PATH:/usr/sbin:/sbin
    command -v dockerd >/dev/null || { echo 'there is no dockerd on this machine' && return; }
    # shellcheck disable=SC2016
    why=$(unshare --pid --fork --kill-child --mount --net --uts sh -c '
        ip link add d0 type veth peer name d1 && ip link add br0 type bridge || { echo "no veth or bridge in the kernel" && exit; }
        ip link add vx0 type vxlan id 77 dstport 4789 dev d0 || echo "no vxlan in the kernel, which a Swarm overlay needs"' 2>/dev/null) ||
        why='no namespaces of its own for an engine: unshare(2) is refused here'
    [ -z "$why" ] || echo "this machine cannot run several engines: $why"
}

lab_up() {
    local count=${1:-3} net link engine token pid pids=()
    export LAB=${LAB:-$TMP/lab}
    if [ -e "$LAB/up" ]; then
        for engine in $(lab_engines); do lab_answers "$engine" || lab_start "$engine"; done
        return
    fi
    # One that did not come up.
    lab_down
    mkdir -p "$LAB/switch"
    net=$(lab_free_net) || return 1
    link=lab$BASHPID
    echo "$link" >"$LAB/link"
    echo "$net" >"$LAB/net"
    lab_machine switch || return 1
    lab_in switch sh -c 'ip link set lo up && ip link add br0 type bridge && ip link set br0 up'
    lab_plug "$link" "$$" host
    ip addr add "$net.1/24" dev "$link"
    ip link set dev "$link" up
    for engine in $(printf '%s\n' {a..z} | head -n "$count"); do
        mkdir -p "$LAB/$engine/etc"
        lab_machine "$engine" || return 1
        lab_plug eth0 "$(cat "$LAB/$engine/init")" "$engine"
        lab_in "$engine" sh -c "ip link set lo up && ip addr add $(lab_address "$engine")/24 dev eth0 && ip link set eth0 up"
        lab_begin "$engine"
    done
    for engine in $(lab_engines); do lab_await "$engine" || return 1; done
    lab_docker a swarm init --advertise-addr "$(lab_address a)" --default-addr-pool 10.214.0.0/16 --task-history-limit 1 >/dev/null || return 1
    token=$(lab_docker a swarm join-token -q worker)
    for engine in $(lab_engines); do
        [ "$engine" != a ] || continue
        lab_docker "$engine" swarm join --token "$token" --advertise-addr "$(lab_address "$engine")" "$(lab_address a):2377" >/dev/null &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || return 1; done
    : >"$LAB/up"
}

# lab_images IMAGE...: gives every engine what the engine of this machine has.
lab_images() {
    local engine
    docker save "$@" -o "$LAB/images.tar" || return 1
    for engine in $(lab_engines); do lab_docker "$engine" load -qi "$LAB/images.tar" >/dev/null || return 1; done
    rm "$LAB/images.tar"
}

lab_down() {
    local file pid link
    [ -d "${LAB:=$TMP/lab}" ] || return 0
    link=$(cat "$LAB/link") || link=none
    ip link del "$link" 2>/dev/null || true
    for file in "$LAB"/*/init; do
        pid=$(cat "$file") || continue
        case $(tr '\0' ' ' <"/proc/$pid/cmdline") in *"$LAB/"*) ;; *) continue ;; esac
        kill -9 "$pid" || true
        # It is gone once everything in its namespace is.
        until gone "$pid"; do sleep 0.05; done
    done 2>/dev/null
    wait_for 60 lab_no_cgroups "$link"
    rm -rf --one-file-system "$LAB"
}

lab_engines() { (cd "$LAB" && printf '%s\n' ? | grep '^[a-z]$'); }
lab_socket() { echo "unix://$LAB/$1/docker.sock"; }
lab_address() { echo "$(cat "$LAB/net").$((11 + $(printf %d "'$1") - $(printf %d "'a")))"; }
lab_url() { echo "tcp://$(lab_address "$1"):2375"; }
lab_docker() { docker -H "$(lab_socket "$1")" "${@:2}"; }
# lab_in MACHINE COMMAND...: in its namespaces.
lab_in() { nsenter --target "$(cat "$LAB/$1/init")" --pid --mount --net --uts -- "${@:2}"; }

lab_freeze() { lab_signal "$1" STOP; }
lab_thaw() { lab_signal "$1" CONT; }
lab_cut() { lab_in switch ip link set dev "port-$1" down; }
lab_mend() { lab_in switch ip link set dev "port-$1" up; }

# Its containerd goes with it; shims and containers stay until an engine starts over their data.
lab_kill() {
    lab_signal "$1" KILL
    wait_for 60 lab_ended "$1"
    # Ends that nobody has taken note of yet would pass for processes that live.
    rm -f "$LAB/$1/docker.pid" "$LAB/$1/exec/containerd/containerd.pid"
}

lab_start() {
    if lab_ended "$1"; then lab_begin "$1"; fi
    lab_await "$1"
}

# Fails if there was none, or if this kernel cannot (CONFIG_INET_DIAG_DESTROY).
lab_reset() { [ -n "$(ss --no-header --kill --tcp dst "$(lab_address "$1")" dport = 2375)" ]; }

# ---- for the above only ---------------------------------------------------------------------------------------------

lab_signal() { lab_in "$1" kill -s "$2" "$(cat "$LAB/$1/docker.pid")"; }
lab_ended() { ! lab_in "$1" pgrep -x dockerd >/dev/null; }
lab_answers() { timeout 10 docker -H "$(lab_socket "$1")" version >/dev/null 2>&1; }
# An engine that is killed leaves those of its containers, which hold nothing any more.
lab_no_cgroups() {
    find /sys/fs/cgroup -depth -type d -path "*/cthulhu-$1-*" -exec rmdir {} + 2>/dev/null || true
    [ -z "$(find /sys/fs/cgroup -maxdepth 2 -name "cthulhu-$1-*")" ]
}

# lab_await ENGINE: until it answers, or has ended.
lab_await() {
    until lab_answers "$1"; do
        sleep 0.05
        lab_ended "$1" || continue
        echo "engine $1 ended:" && tail -n 3 "$LAB/$1/log" && return 1
    done >&2
}

# The first three numbers of a /24 that no route here leads to, but the one for all the rest.
lab_free_net() {
    local net
    for net in {10.212,192.168}.{0..255}; do
        if [ -z "$(ip -4 route show root "$net.0/24"; ip -4 route show match "$net.0/24" | grep -v ^default)" ]; then echo "$net" && return; fi
    done
    echo 'no address range is free here' >&2
    return 1
}

# lab_machine NAME: makes its namespaces.
lab_machine() {
    local dir=$LAB/$1
    # shellcheck disable=SC2016
    setsid unshare --pid --fork --kill-child --mount --propagation private --net --uts sh -ec '
        # /proc is still that of this machine.
        read -r pid rest </proc/self/stat
        mount -t proc proc /proc
        mount -t tmpfs -o mode=755 tmpfs /run
        if [ "$1" != switch ]; then
            mkdir /run/own
            mount --bind "$0" /run/own
            mount -t tmpfs -o mode=755 tmpfs "$2"
            mkdir -p "$0"
            mount --move /run/own "$0"
        fi
        [ ! -d /etc/docker ] || [ ! -d "$0/etc" ] || mount --bind "$0/etc" /etc/docker
        hostname "$1"
        echo "$pid" >"$0/init.new"
        mv "$0/init.new" "$0/init"
        # The ends of orphans must be awaited.
        while :; do sleep 3600 & wait $!; done' "$dir" "$1" "${LAB%/*}" >"$dir/init.log" 2>&1 </dev/null 3>&- &
    wait_for 60 test -e "$dir/init"
}

# lab_plug NAME PID PORT: a cable from the switch's port to an interface in the network of a process.
lab_plug() {
    # From outside of its PID namespace, which has no number for that process.
    nsenter --target "$(cat "$LAB/switch/init")" --net -- sh -ec '
        ip link add dev "port-$2" type veth peer name "lab-$2"
        ip link set dev "lab-$2" netns "$1" name "$0"
        ip link set dev "port-$2" master br0 up' "$@"
}

# Starts its dockerd. Racks: a and b stand in r1, c and d in r2.
lab_begin() {
    local dir=$LAB/$1
    # shellcheck disable=SC2016
    lab_in "$1" setsid --fork sh -c 'exec dockerd --data-root "$0/data" --exec-root "$0/exec" --pidfile "$0/docker.pid" --log-level warn --tls=false \
        -H unix:///var/run/docker.sock -H "unix://$0/docker.sock" -H "tcp://$1:2375" \
        --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/$2" --label "rack=r$3"' \
        "$dir" "$(lab_address "$1")" "cthulhu-$(cat "$LAB/link")-$1" "$((($(printf %d "'$1") - 95) / 2))" >>"$dir/log" 2>&1 </dev/null 3>&-
}
