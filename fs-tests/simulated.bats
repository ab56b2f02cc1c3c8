#!/usr/bin/env bats
# The core of control and tree without any engine: --host simulated:

load lib.bash

setup_file() {
    begin
    mount_cluster simulated -n 3 --host simulated:
}

teardown_file() { end; }

setup() {
    cd "$M"
    echo resume 2>/dev/null >control || true
    echo start >control
}

# is_state NODE STATE: state, status and pid.txt say so.
is_state() {
    is "$2" "$(cat "$1/state")" "state of $1"
    is "$2" "$(awk -v n="$1" '$1 == n { print $3 }' status)" "status of $1"
    case $2 in
    running | paused) [ -s "$1/pid.txt" ] ;;
    *) is '' "$(cat "$1/pid.txt")" "pid of $1" ;;
    esac
}

@test "no engine is asked" {
    DOCKER_HOST=unix:///nonexistent/docker.sock "$CTHULHU" ls >/dev/null
    is '' "$(containers "$TMP")" containers
    is '' "$(networks "$TMP")" networks
}

@test "the tree: files, sizes, links" {
    local file
    is 3 "$(find . -maxdepth 1 -type l | wc -l)"
    find . -type f >"$TMP/files"
    [ "$(wc -l <"$TMP/files")" -ge 49 ]
    while read -r file; do
        is "$(cat "$file" | wc -c)" "$(stat -c %s "$file")" "$file"
    done <"$TMP/files"
    is i002 "$(cat "$(readlink i002)/name")"
    jq -e '.i001.ip' spec.json >/dev/null
    is "$(cat i001/ip)" "$(jq -r .self i001/bindmounts/etc/config.json)"
    jq -e . i001/inspect.json >/dev/null
}

@test "cp -a, tar and diff" {
    tar -cf - . | (mkdir "$TMP/t" && tar -xf - -C "$TMP/t")
    cp -a . "$TMP/c"
    diff -r "$TMP/t" "$TMP/c"
}

@test "every verb, at a node and at the root" {
    echo stop >i001/control
    is_state i001 exited
    i001/control start
    is_state i001 running
    echo pause >i001/control
    is_state i001 paused
    is '16 EBUSY' "$(put_line i001/control start)"
    echo resume >i001/control
    is_state i001 running
    echo restart >i001/control
    is_state i001 running
    echo kill >i001/control
    is_state i001 exited
    is 137 "$(cat i001/exit_code)"
    echo 'stop i002' >control
    is_state i002 exited
    is_state i003 running
    is '3 ESRCH' "$(put_line control kill)"
    is_state i003 exited
    echo start >control
    for n in i001 i002 i003; do is_state $n running; done
}

@test "errors" {
    is '22 EINVAL' "$(put_line i001/control nonsense)"
    has "$(cat i001/error)" nonsense
    is '2 ENOENT' "$(put_line control 'stop i009')"
    has "$(cat error)" i009
    is '22 EINVAL' "$(printf 'st\0op\n' | put i001/control)"
}

@test "lines, split writes, no newline" {
    printf 'stop\nstart' >i001/control
    is_state i001 running
    { printf sto; printf 'p\n'; } >i001/control
    is_state i001 exited
}

@test "bindmounts are real" {
    echo x >i001/bindmounts/var/f
    mv i001/bindmounts/var/f i001/bindmounts/var/g
    is x "$(cat i001/bindmounts/var/g)"
    rm i001/bindmounts/var/g
}

@test "ls shows it; umount leaves nothing" {
    local m=$TMP/second
    mkdir "$m"
    "$CTHULHU" mount --host simulated: -n 2 "$m"
    is simulated: "$("$CTHULHU" ls --json | jq -r --arg m "$m" '.[] | select(.mountpoint == $m) | .engine')"
    umount_cluster "$m"
    is '' "$(mounts "$m")"
    is '' "$("$CTHULHU" ls --json | jq -r --arg m "$m" '.[] | select(.mountpoint == $m) | .mountpoint')"
}

@test "500 nodes" {
    local m=$TMP/many
    mkdir "$m"
    "$CTHULHU" mount --host simulated: -n 500 "$m"
    echo start >"$m/control"
    is 500 "$(grep -c running "$m/status")"
    is i500 "$(cat "$m/i500/name")"
    echo 'stop i500' >"$m/control"
    is 499 "$(grep -c running "$m/status")"
    umount_cluster "$m"
}

@test "names from i1000 on" {
    local m=$TMP/thousand
    mkdir "$m"
    "$CTHULHU" mount --host simulated: -n 1023 "$m"
    is i1023 "$(cat "$m/i1023/name")"
    is i999 "$(cat "$m/i999/name")"
    umount_cluster "$m"
}

@test "an engine that takes longer than --timeout: ETIMEDOUT, and the tree still answers" {
    local m=$TMP/slow
    mkdir "$m"
    "$CTHULHU" mount --host 'simulated:?pause=3600s' -n 2 --timeout 10 "$m"
    echo start >"$m/control"
    is '110 ETIMEDOUT' "$(put_line "$m/i001/control" pause)"
    has "$(cat "$m/i001/error")" i001
    is i001 "$(cat "$m/i001/name")"
    with_deadline 60 cat "$m/i001/state" >/dev/null
    umount_cluster "$m"
}

@test "a node that cannot be made: the sentence names it, and says why once" {
    local m=$TMP/unmade status=0
    mkdir "$m"
    with_deadline 120 "$CTHULHU" mount --host 'simulated:?create=3600s' -n 2 --timeout 10 "$m" 2>"$TMP/out" || status=$?
    is 1 "$status"
    has "$(tail -n 1 "$TMP/out")" 'cannot create i001: cannot reach the engine: it did not answer within 10 s' ||
        has "$(tail -n 1 "$TMP/out")" 'cannot create i002: cannot reach the engine: it did not answer within 10 s'
}

@test "few processes are allowed: either it is mounted and answers, or one sentence says why not" {
    [ "$(id -u)" = 0 ] || skip 'only root can make a cgroup'
    local root=/sys/fs/cgroup/pids group few status
    [ -d $root ] || root=/sys/fs/cgroup
    group=$root/$P
    mkdir "$group"
    if [ ! -e "$group/pids.max" ]; then
        rmdir "$group"
        skip 'no pids controller for cgroups here'
    fi
    mkdir "$TMP/few"
    for few in {2..46..2}; do
        echo "$few" >"$group/pids.max"
        status=0
        # shellcheck disable=SC2016
        with_deadline 60 bash -c 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"' bash "$group" \
            "$CTHULHU" mount --prefix "$P" --host simulated: -n 2 --start "$TMP/few" >"$TMP/out" 2>&1 || status=$?
        case $status in
        0) is running "$(with_deadline 10 cat "$TMP/few/i001/state")" "with $few processes" ;;
        *)
            is 1 $status "with $few processes"
            has "$(tail -n 1 "$TMP/out")" 'cthulhu: '
            [ -z "$(mounts "$TMP/few")" ]
            ;;
        esac
        "$CTHULHU" umount "$TMP/few" >/dev/null 2>&1 || true
    done
    is 0 $status 'with 46'
    rmdir "$group"
}
