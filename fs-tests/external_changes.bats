#!/usr/bin/env bats
# What happens outside shows in the tree: nobody wrote to control.

load lib.bash

setup_file() {
    begin
    mount_busybox live -n 3
}

teardown_file() { end; }

setup() {
    cd "$M"
    echo resume 2>/dev/null >control || true
    echo start >control
}

# agrees NODE STATE: state, pid.txt and status say the same, and what docker says.
agrees() {
    reads "$1/state" "$2" || return 1
    [ "$(field "$1" '{{.State.Status}}')" = "$2" ] || return 1
    [ "$(awk -v n="$1" '$1 == n { print $3 }' status)" = "$2" ] || return 1
    case $2 in
    running | paused) reads "$1/pid.txt" "$(field "$1" '{{.State.Pid}}')" ;;
    *) [ ! -s "$1/pid.txt" ] ;;
    esac
}

@test "docker kill" {
    docker kill "$P-i001" >/dev/null
    wait_for 5 agrees i001 exited
    wait_for 5 reads i001/exit_code 137
    agrees i002 running
}

@test "docker stop, then docker start: a new pid" {
    local pid
    pid=$(cat i001/pid.txt)
    wait_for 10 contains i001/log started
    docker stop -t 5 "$P-i001" >/dev/null
    wait_for 5 agrees i001 exited
    wait_for 5 reads i001/exit_code 143
    docker start "$P-i001" >/dev/null
    wait_for 5 agrees i001 running
    refused test "$pid" = "$(cat i001/pid.txt)"
}

@test "docker pause and unpause" {
    docker pause "$P-i002" >/dev/null
    wait_for 5 agrees i002 paused
    docker unpause "$P-i002" >/dev/null
    wait_for 5 agrees i002 running
}

@test "docker restart" {
    local pid
    pid=$(cat i002/pid.txt)
    docker restart -t 2 "$P-i002" >/dev/null
    changed() { agrees i002 running && [ "$(cat i002/pid.txt)" != "$pid" ]; }
    wait_for 5 changed
}

@test "docker rm -f makes it missing; start brings it back with the same address and bind mounts" {
    local ip id inode
    ip=$(cat i003/ip) id=$(cat i003/id)
    echo kept >i003/bindmounts/var/kept
    docker rm -f "$P-i003" >/dev/null
    wait_for 5 reads i003/state missing
    is '' "$(cat i003/pid.txt)"
    is missing "$(awk '$1 == "i003" { print $3 }' status)"
    is "$ip" "$(cat i003/ip)"
    is i003 "$(cat i003/name)"
    is kept "$(cat i003/bindmounts/var/kept)"
    is '3 ESRCH' "$(put_line i003/control kill)"
    echo stop >i003/control
    echo start >i003/control
    agrees i003 running
    refused test "$id" = "$(cat i003/id)"
    is "$(field i003 '{{.Id}}')" "$(cat i003/id)"
    is "$(cat i003/id)" "$(jq -r .i003.container_id spec.json)"
    docker exec "$P-i003" ip addr | grep -q "inet $ip/"
    is kept "$(docker exec "$P-i003" cat /opt/app/var/kept)"
}

@test "a node whose sandbox was removed too comes back with its address" {
    local ip
    ip=$(cat i003/ip)
    docker rm -f "$P-i003" "$P-i003-sandbox" >/dev/null
    wait_for 5 reads i003/state missing
    echo start >i003/control
    agrees i003 running
    docker exec "$P-i003" ip addr | grep -q "inet $ip/"
    wait_for 20 pings "$P-i001" i003
}

@test "start at the root brings back all that are missing" {
    docker rm -f "$P-i001" "$P-i002" "$P-i003" >/dev/null
    wait_for 5 all_in missing
    echo start >control
    for n in i001 i002 i003; do agrees $n running; done
}

@test "kill -9 of the process itself" {
    needs_root 'to signal a process of root'
    kill -9 "$(cat i002/pid.txt)"
    wait_for 5 agrees i002 exited
    wait_for 5 reads i002/exit_code 137
}

@test "a process that ends by itself: its exit code" {
    local m=$TMP/ends
    mkdir "$m"
    "$CTHULHU" mount --prefix "$P-ends" -i "$IMAGE" "$m" -- sh -c 'echo bye; exit 42'
    echo start >"$m/control"
    wait_for 5 reads "$m/i001/state" exited
    wait_for 5 reads "$m/i001/exit_code" 42
    wait_for 5 reads "$m/i001/log" bye
    umount_cluster "$m"
}

@test "out of the cgroup's memory: killed, and seen" {
    local m=$TMP/oom
    mkdir "$m"
    "$CTHULHU" mount --prefix "$P-oom" -i "$IMAGE" --memory 8m --start "$m" -- sh -c 'x=a; while :; do x=$x$x; done'
    wait_for 30 reads "$m/i001/state" exited
    refused reads "$m/i001/exit_code" 0
    umount_cluster "$m"
}

@test "poll(2) on state, pid.txt and ready tells of a change with POLLPRI and POLLERR" {
    python3 - "$P-i001" "$M" <<'PY'
import os, select, subprocess, sys
container, m = sys.argv[1:]
files = {}
poll = select.poll()
for name in ["state", "pid.txt", "ready"]:
    f = open(f"{m}/i001/{name}", "rb", buffering=0)
    f.read()
    files[f.fileno()] = name, f
    poll.register(f, select.POLLPRI | select.POLLERR)
quiet = open(f"{m}/i002/state", "rb", buffering=0)
quiet.read()
poll.register(quiet, select.POLLPRI | select.POLLERR)
assert poll.poll(300) == [], "news where nothing happened"
subprocess.run(["docker", "kill", container], check=True, stdout=subprocess.DEVNULL)
told = set()
for _ in range(20):
    for fd, events in poll.poll(5000):
        assert fd in files, "news of a node that nothing happened to"
        assert events & select.POLLPRI and events & select.POLLERR, events
        name, f = files[fd]
        f.seek(0)
        f.read()
        told.add(name)
    if len(told) == 3:
        break
assert told == {"state", "pid.txt", "ready"}, told
# As in sysfs: read again from the start, and it shows the new value.
for fd, (name, f) in files.items():
    f.seek(0)
    assert f.read() == {"state": b"exited\n", "pid.txt": b"", "ready": b"no\n"}[name], name
PY
}

@test "a file that is open keeps what it was; read from the start again it tells the new value" {
    exec 5<i001/state
    is running "$(cat <&5)"
    echo stop >i001/control
    is exited "$(cat i001/state)"
    exec 5<&-
}

@test "a storm of changes from outside ends in the truth" {
    local pids=() pid n
    for n in i001 i002 i003; do
        (for _ in 1 2 3; do
            docker kill "$P-$n"
            docker start "$P-$n"
            docker pause "$P-$n"
            docker unpause "$P-$n"
        done >/dev/null) &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid"; done
    for n in i001 i002 i003; do wait_for 5 agrees $n running; done
}
