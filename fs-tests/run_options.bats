#!/usr/bin/env bats
# The options of mount that docker run has too: what the nodes see of each, that it lasts, and how wrong ones are refused.
# The oldest of them (--memory, --cap-add, --user, ...) are in options.bats.

load lib.bash
load options.bash

# wrong OPTION VALUE...: each value is refused before anything is made, with a sentence that begins with the option.
wrong() {
    local option=$1 value
    shift
    for value; do
        bad "cthulhu: $option $value: " "$option" "$value"
        is 1 "$(wc -l <"$TMP/stderr")" "lines on stderr: $(cat "$TMP/stderr")"
    done
}

in_node() { docker exec "$P-i001" "$@"; }

# has_capability FIELD NUMBER: 1 or 0, of the node's first process.
has_capability() {
    local set
    set=$(awk -v f="$1:" '$1 == f { print $2 }' "/proc/$(cat "$M/i001/pid.txt")/status")
    echo $((16#$set >> $2 & 1))
}

@test "--ulimit: soft and hard limits, the last of a name counts" {
    mounted --ulimit nofile=10 --ulimit nproc=500 --ulimit nofile=1000:2000 --ulimit core=0
    is '1000 2000' "$(awk '/^Max open files/ { print $4, $5 }' "/proc/$(cat "$M/i001/pid.txt")/limits")"
    is '500 500' "$(awk '/^Max processes/ { print $3, $4 }' "/proc/$(cat "$M/i001/pid.txt")/limits")"
    # Of the node's program: runc 1.1 starts what docker exec runs with either limit.
    is '1000 2000' "$(in_node awk '/^Max open files/ { print $4, $5 }' /proc/1/limits)"
    umount_cluster
    wrong --ulimit nofile nofile= files=1 nofile=x nofile=2:1 nofile=-2
    # Out of the engine's own mouth, with the option.
    bad '(--ulimit)' --ulimit nofile=9999999999 --start
}

@test "--shm-size and --tmpfs: their sizes and modes, and what is written there" {
    mounted --shm-size 8m --tmpfs /scratch:size=2m,mode=1770 --tmpfs /plain
    is 8192 "$(in_node df -k /dev/shm | awk 'NR == 2 { print $2 }')"
    is '2048 /scratch' "$(in_node df -k /scratch | awk 'NR == 2 { print $2, $6 }')"
    is 1770 "$(in_node stat -c %a /scratch)"
    is tmpfs "$(in_node awk '$2 == "/plain" { print $3 }' /proc/mounts)"
    in_node sh -c 'echo x >/scratch/f'
    refused in_node sh -c 'head -c 3000000 /dev/zero >/scratch/big' 2>/dev/null
    umount_cluster
    wrong --shm-size lots 0
    wrong --tmpfs scratch / /x:wrong /x:size=lots
    bad '--var-target mounts something there' --tmpfs /opt/app//var/
    mkdir "$TMP/dir"
    bad '--volume mounts something there' --tmpfs /data --volume "$TMP/dir:/data"
}

@test "--tmpfs takes the place of a volume of the image" {
    volume_image
    with_deadline 60 "$CTHULHU" mount --prefix "$P" -i "$P-volume" --tmpfs /data/ --start "$M"
    is tmpfs "$(in_node awk '$2 == "/data" { print $3 }' /proc/mounts)"
    refused in_node test -e /data/seed
    is "cthulhu-$(jq -r .id <<<"$("$CTHULHU" ls --json | jq -c --arg m "$M" '.[] | select(.mountpoint == $m)')")-i001-1" "$(volumes)"
    umount_cluster
    docker image rm "$P-volume" >/dev/null
}

@test "--init: the first process is the engine's, and reaps what others leave" {
    mounted --init
    has "$(in_node cat /proc/1/cmdline | tr '\0' ' ')" init
    in_node sh -c '(sleep 0.1 &) ; :'
    no_zombies() { ! in_node ps -o stat | grep -q Z; }
    wait_for 20 no_zombies
    # It passes the stop signal on.
    echo stop >"$M/control"
    is 143 "$(cat "$M/i001/exit_code")"
}

@test "--tty: a terminal, and a log of whole lines without carriage returns" {
    with_deadline 60 "$CTHULHU" mount --prefix "$P" -i "$IMAGE" --tty --ready-log '^ready$' --start "$M" -- sh -c '
        trap "printf bye; exit 143" TERM
        test -t 0 && test -t 1 && test -t 2 && echo all terminals
        head -c 40000 /dev/zero | tr "\0" x; echo; printf "50%%\r100%%\n"; echo >&2 ready
        while :; do sleep 3600 & wait $!; done'
    is true "$(field i001 '{{.Config.Tty}}')"
    wait_for 20 reads "$M/i001/ready" yes
    local run
    run=$(printf 'all terminals\n%s\n50%%\r100%%\nready\n' "$(head -c 40000 /dev/zero | tr '\0' x)")
    is "$run" "$(cat "$M/i001/log")" log
    # What a run leaves without a line's end is there too, and the next run's output comes after it.
    echo stop >"$M/control"
    is 143 "$(cat "$M/i001/exit_code")"
    is "$run"$'\n'bye "$(cat "$M/i001/log")" 'log of the first run'
    echo start >"$M/control"
    wait_for 20 reads "$M/i001/ready" yes
    is "$run"$'\n'"bye$run" "$(cat "$M/i001/log")" 'log of both runs'
}

@test "--sysctl: the network's in the sandbox, others in the node" {
    mounted --sysctl net.core.somaxconn=77 --sysctl net.ipv4.ip_unprivileged_port_start=1024 --sysctl kernel.msgmax=4096
    is '77 1024 4096' "$(in_node cat /proc/sys/net/core/somaxconn /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax | xargs)"
    is '{"kernel.msgmax":"4096"}' "$(field i001 '{{json .HostConfig.Sysctls}}')"
    is 77 "$(field i001-sandbox '{{index .HostConfig.Sysctls "net.core.somaxconn"}}')"
    umount_cluster
    wrong --sysctl net.core.somaxconn =1 vm.swappiness=1 kernel.panic=1
    bad '(--sysctl)' --sysctl net.no.such=1
    bad '(--sysctl)' --sysctl kernel.msgmax=x --start
}

@test "--cap-drop: the capability is in no set of the node" {
    # NET_RAW is 13, CHOWN 0 (capability.h).
    mounted --cap-drop NET_RAW
    is '0 0 1' "$(has_capability CapEff 13) $(has_capability CapBnd 13) $(has_capability CapEff 0)"
    refused in_node ping -c 1 127.0.0.1 2>/dev/null
    umount_cluster
    mounted --cap-drop ALL --cap-add CHOWN
    is '0 1' "$(has_capability CapBnd 13) $(has_capability CapBnd 0)"
    umount_cluster
    bad NO_SUCH_CAP --cap-drop NO_SUCH_CAP --start
}

@test "--dns: the engine asks that server for names it does not know, and not for nodes" {
    wrong --dns 10.0.0 ns.example
    local subnet server
    subnet=$(free_subnet)
    server=${subnet%.0/24}.3
    mounted -n 2 --subnet "$subnet" --dns "$server"
    is "$server" "$(cat "$M/i002/ip")"
    is "[\"$server\"]" "$(field i001-sandbox '{{json .HostConfig.Dns}}')"
    has "$(in_node cat /etc/resolv.conf)" 'nameserver 127.0.0.11'
    has "$(in_node nslookup i002)" "$server"
    needs_root "a server on port 53 in the other node's network"
    nsenter --net="/proc/$(cat "$M/i002/pid.txt")/ns/net" timeout 60 python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 53))
while True: print(s.recv(512), flush=True)' >"$TMP/asked" 3>&- &
    asked() {
        in_node timeout 1 nslookup no-such-name.example >/dev/null 2>&1 || true
        grep -q no-such-name "$TMP/asked"
    }
    wait_for 20 asked
    refused grep -q i002 "$TMP/asked"
    kill $!
}

@test "--add-host: lines in /etc/hosts beside those of the nodes, and the engine's host" {
    mounted -n 2 --add-host db:10.0.0.5 --add-host up:host-gateway
    local hosts
    hosts=$(in_node cat /etc/hosts)
    is 10.0.0.5 "$(awk '$2 == "db" { print $1 }' <<<"$hosts")"
    is "$(docker run --rm --add-host up:host-gateway "$IMAGE" awk '$2 == "up" { print $1 }' /etc/hosts)" \
        "$(awk '$2 == "up" { print $1 }' <<<"$hosts")"
    is "$(cat "$M/i002/ip")" "$(awk '$2 == "i002" { print $1 }' <<<"$hosts")"
    umount_cluster
    wrong --add-host db db: :10.0.0.5 db:other
}

@test "--workdir: where the node's program begins" {
    mounted --workdir /opt/app
    is /opt/app "$(in_node pwd)"
    is /opt/app "$(docker exec "$P-i001" readlink /proc/1/cwd)"
    umount_cluster
    wrong --workdir app
}

@test "--label: on the node's container, and never one of cthulhu's own" {
    mounted --label com.example.team=kv --label plain --label 'with=a=b c'
    is 'kv  a=b c' "$(field i001 '{{index .Config.Labels "com.example.team"}} {{.Config.Labels.plain}} {{.Config.Labels.with}}')"
    is node "$(field i001 '{{index .Config.Labels "io.cthulhu.role"}}')"
    is '<no value>' "$(field i001-sandbox '{{.Config.Labels.plain}}')"
    umount_cluster
    wrong --label =v 'a b=c' io.cthulhu.role=sandbox io.cthulhu.mine
}

@test "--gpus: without a runtime for them, the node's start says so" {
    wrong --gpus some 0 device=
    # Such an engine may have some.
    if docker info -f '{{json .Runtimes}}' | grep -q nvidia; then return 0; fi
    bad 'no runtime for GPUs (--gpus)' --gpus all --start
    with_deadline 60 "$CTHULHU" mount --prefix "$P" -i "$IMAGE" --gpus device=0,1 "$M"
    is '[["0","1"],[["gpu"]]]' "$(field i001 '{{json .HostConfig.DeviceRequests}}' | jq -c '.[0] | [.DeviceIDs, .Capabilities]')"
    is '5 EIO' "$(put_line "$M/control" start)"
    has "$(cat "$M/error")" '--gpus'
}

@test "all of it lasts: after kill and start, after reset, and in a node recreated" {
    mounted -n 2 --ulimit nofile=1000:2000 --shm-size 8m --tmpfs /scratch:size=2m --init --tty --sysctl net.core.somaxconn=77 \
        --sysctl kernel.msgmax=4096 --cap-drop NET_RAW --add-host db:10.0.0.5 --workdir /opt/app --label mine=1
    seen() {
        in_node sh -c 'grep "open files" /proc/1/limits; df -k /dev/shm /scratch; cat /proc/1/cmdline /proc/sys/net/core/somaxconn /proc/sys/kernel/msgmax
            test -t 1 <&0 || ls -l /proc/1/fd/1; grep Cap /proc/1/status; cat /etc/hosts; pwd' | sed 's/^l.*->//'
        field i001 '{{.Config.Labels.mine}}'
    }
    local first
    first=$(seen)
    has "$first" /dev/pts
    echo kill >"$M/i001/control"
    echo start >"$M/i001/control"
    is "$first" "$(seen)" 'after kill and start'
    echo 'reset --start' >"$M/control"
    is "$first" "$(seen)" 'after reset'
    docker rm -f "$P-i001" >/dev/null
    wait_for 20 reads "$M/i001/state" missing
    echo start >"$M/i001/control"
    is "$first" "$(seen)" 'in a node recreated'
    docker rm -f "$P-i001" "$P-i001-sandbox" >/dev/null
    wait_for 20 reads "$M/i001/state" missing
    echo start >"$M/i001/control"
    is "$first" "$(seen)" 'in a node recreated with its sandbox'
}

@test "cthulhu run has the same options" {
    with_deadline 120 "$CTHULHU" run -i "$IMAGE" --ulimit nofile=333 --node-command "${NODE[0]} -c '${NODE[2]}'" -- \
        sh -c 'awk "/^Max open files/ { print \$4 }" "/proc/$(cat "$CTHULHU/i001/pid.txt")/limits"' >"$TMP/out" 2>"$TMP/err"
    is 333 "$(tail -n 1 "$TMP/out")"
}
