#!/usr/bin/env bats
# control: every verb at a node and at the root, every way to write, every errno.

load lib.bash

setup_file() {
    begin
    mount_busybox control -n 3
}

teardown_file() { end; }

# Every test begins with three running nodes.
setup() {
    cd "$M"
    echo resume 2>/dev/null >control || true
    echo start >control
}

# is_state NODE STATE: all that shows a state says this one, at once.
is_state() {
    is "$2" "$(cat "$1/state")" "state of $1"
    is "$2" "$(field "$1" '{{.State.Status}}')" "docker's state of $1"
    is "$2" "$(awk -v n="$1" '$1 == n { print $3 }' status)" "status of $1"
    local pid
    pid=$(cat "$1/pid.txt")
    if [ "$2" = running ] || [ "$2" = paused ]; then
        is "$(field "$1" '{{.State.Pid}}')" "$pid" "pid of $1"
        is "$pid" "$(awk -v n="$1" '$1 == n { print $4 }' status)" "status pid of $1"
    else
        is '' "$pid" "pid of $1"
        is 0 "$(stat -c %s "$1/pid.txt")" "size of pid.txt of $1"
    fi
}

# started NODE: runs, and its process has said so: from then on SIGTERM ends it.
started() {
    local before
    echo stop >"$1/control"
    before=$(grep -c started "$1/log") || true
    echo start >"$1/control"
    said_so() { [ "$(grep -c started "$1/log")" -gt "$2" ]; }
    wait_for 10 said_so "$1" "$before"
}

@test "stop and start at a node, as echo target" {
    started i002
    echo stop >i002/control
    is_state i002 exited
    is 143 "$(cat i002/exit_code)"
    is_state i001 running
    echo start >i002/control
    is_state i002 running
    is 143 "$(cat i002/exit_code)" 'exit_code of the last run that ended'
}

@test "stop and start at a node, as script" {
    i002/control stop
    is_state i002 exited
    i002/control start
    is_state i002 running
    i002/control kill -s KILL
    is_state i002 exited
    (cd i002 && ./control start)
    is_state i002 running
    (cd / && "$M/i002/control" stop -t 3)
    is_state i002 exited
    sh i002/control start
    is_state i002 running
}

@test "the script fails with the sentence of error on stderr" {
    echo stop >i002/control
    run i002/control kill
    is 1 "$status"
    is "$(cat i002/error)" "$output"
    has "$output" i002
    run i002/control nonsense
    is 1 "$status"
    has "$output" nonsense
}

@test "cat control shows the usage, and so does the script without arguments, with exit status 2" {
    local verb
    for file in ./control i001/control; do
        for verb in start stop restart kill pause resume crash; do contains $file "$verb"; done
        run $file
        is 2 "$status" "$file without arguments"
        for verb in start stop restart kill pause resume crash; do has "$output" "$verb"; done
    done
    is_state i001 running
}

@test "a restart is a new process at the same address" {
    local pid ip
    pid=$(cat i003/pid.txt) ip=$(cat i003/ip)
    echo restart >i003/control
    is_state i003 running
    refused test "$pid" = "$(cat i003/pid.txt)"
    is "$ip" "$(cat i003/ip)"
    docker exec "$P-i003" ip addr | grep -q "inet $ip/"
}

@test "kill gives 137, stop gives what the process makes of SIGTERM" {
    echo kill >i001/control
    is_state i001 exited
    is 137 "$(cat i001/exit_code)"
    started i002
    echo 'kill -s TERM' >i002/control
    wait_for 10 reads i002/exit_code 143
    started i003
    echo stop >i003/control
    is 143 "$(cat i003/exit_code)"
}

@test "the exit code follows the state exited, and is never that of an earlier run" {
    for _ in 1 2 3 4 5; do
        started i001
        echo 'kill -s TERM' >i001/control
        # A death is seen by its pidfd, before the engine knows of it and tells the code.
        wait_for 10 reads i001/state exited
        wait_for 10 reads i001/exit_code 143
    done
}

@test "kill takes signals as SIGTERM, TERM and 15, and one that does not end it leaves it running" {
    local signal
    for signal in SIGTERM TERM 15; do
        started i001
        echo "kill -s $signal" >i001/control
        wait_for 10 reads i001/state exited
        wait_for 10 reads i001/exit_code 143
    done
    echo 'kill -s WINCH' >i002/control
    is_state i002 running
    echo 'kill -s 0' >i002/control || true
    is_state i002 running
}

@test "verbs are idempotent where the table says so" {
    local pid
    pid=$(cat i001/pid.txt)
    echo start >i001/control
    is "$pid" "$(cat i001/pid.txt)"
    echo resume >i001/control
    echo pause >i001/control
    echo pause >i001/control
    is_state i001 paused
    echo resume >i001/control
    echo resume >i001/control
    is_state i001 running
    is "$pid" "$(cat i001/pid.txt)"
    echo stop >i001/control
    echo stop >i001/control
    is_state i001 exited
}

@test "paused: frozen, not to be started, and it can be stopped, restarted, killed" {
    echo pause >i001/control
    is_state i001 paused
    is no "$(cat i001/ready)"
    is '16 EBUSY' "$(put_line i001/control start)"
    has "$(cat i001/error)" paused
    is_state i001 paused
    echo stop >i001/control
    is_state i001 exited
    echo start >i001/control
    echo pause >i001/control
    echo restart >i001/control
    is_state i001 running
    echo pause >i001/control
    echo kill >i001/control
    wait_for 10 reads i001/state exited
    is 137 "$(cat i001/exit_code)"
}

@test "pause and resume keep the process" {
    local pid
    pid=$(cat i001/pid.txt)
    echo pause >i001/control
    echo resume >i001/control
    is "$pid" "$(cat i001/pid.txt)"
    is yes "$(cat i001/ready)"
}

@test "at the root: all, or those named" {
    echo stop >control
    for n in i001 i002 i003; do is_state $n exited; done
    echo 'start i001 i003' >control
    is_state i001 running
    is_state i002 exited
    is_state i003 running
    started i001
    started i003
    echo 'kill -s TERM i001 i003' >control
    wait_for 10 all_in exited
    ./control start i002
    is_state i002 running
    is_state i001 exited
    ./control restart
    for n in i001 i002 i003; do is_state $n running; done
    echo 'pause i002' >control
    is_state i002 paused
    is_state i001 running
    echo resume >control
    is_state i002 running
    echo 'stop -t 2 i002 i002' >control
    is_state i002 exited
}

@test "at the root one that fails does not hold back the others, and error names each" {
    echo 'stop i002 i003' >control
    is '3 ESRCH' "$(put_line control kill)"
    is_state i001 exited
    has "$(cat error)" i002
    has "$(cat error)" i003
    refused grep i001 error
    is 1 "$(wc -l <error)" 'lines of error'
}

@test "at the root nodes act in parallel" {
    # Each node ends when all three have got the stop signal: one after the other, the first would be killed.
    local m=$TMP/together one
    mkdir "$m" "$TMP/met"
    "$CTHULHU" mount --prefix "$P-together" -n 3 --timeout 300 -i "$IMAGE" --volume "$TMP/met:/met" --start "$m" -- sh -c '
        trap "touch /met/\$(hostname); until [ \$(ls /met | wc -l) = 3 ]; do sleep 0.1; done; exit 7" TERM
        while :; do sleep 3600 & wait $!; done'
    for one in i001 i002 i003; do wait_for 20 traps_term "$P-together-$one"; done
    with_deadline 280 sh -c 'echo "stop -t 200" >"$0/control"' "$m"
    is '7 7 7' "$(cat "$m"/i00[123]/exit_code | tr '\n' ' ' | sed 's/ $//')"
    umount_cluster "$m"
}

@test "stop -t SECONDS: the time between the stop signal and SIGKILL; 1 by default" {
    local m=$TMP/deaf begin took try
    mkdir -p "$m"
    "$CTHULHU" mount --prefix "$P-deaf" -n 1 -i "$IMAGE" --start "$m" -- sleep 3600
    # On a busy machine it may take a second all the same, but not every time.
    for try in $(seq 20); do
        begin=$(date +%s%N)
        echo 'stop -t 0' >"$m/i001/control"
        took=$((($(date +%s%N) - begin) / 1000000))
        is 137 "$(cat "$m/i001/exit_code")"
        echo start >"$m/i001/control"
        [ "$took" -ge 950 ] || break
    done
    begin=$(date +%s%N)
    echo 'stop' >"$m/i001/control"
    default=$((($(date +%s%N) - begin) / 1000000))
    umount_cluster "$m"
    [ "$default" -ge 950 ] || { echo "stop took $default ms" && false; }
    [ "$took" -lt 950 ] || { echo "stop -t 0 took $took ms at the ${try}th try" && false; }
}

@test "several lines in one write run in order; a last line without newline counts" {
    local pid
    pid=$(cat i001/pid.txt)
    printf 'stop\nstart\n' >i001/control
    is_state i001 running
    refused test "$pid" = "$(cat i001/pid.txt)"
    printf 'start\n\n   \nstop' >i001/control
    is_state i001 exited
    printf start >i001/control
    is_state i001 running
    printf '  stop \t -t  1  \n' >i001/control
    is_state i001 exited
    printf 'start i002\nstop i001 i002\nstart i001' >control
    is_state i001 running
    is_state i002 exited
}

@test "a failing line ends the rest: what came before it has happened" {
    echo stop >i002/control
    is '3 ESRCH' "$(printf 'start\nkill\nkill\nstart\n' | put i002/control)"
    is_state i002 exited
}

@test "split writes make one line" {
    { printf sta; printf 'rt\n'; } >i001/control
    is_state i001 running
    { printf 's'; printf 't'; printf 'o'; printf 'p'; printf '\n'; } >i001/control
    is_state i001 exited
    { printf 'start\nsto'; printf 'p\nsta'; printf 'rt'; } >i001/control
    is_state i001 running
}

@test "appending, and reading and writing through one descriptor" {
    echo stop >>i001/control
    is_state i001 exited
    exec 5<>i001/control
    echo start >&5
    is_state i001 running
    exec 5>&-
    dd if=<(echo stop) of=i001/control bs=1 conv=notrunc 2>/dev/null
    is_state i001 exited
    echo start | tee i001/control >/dev/null
    is_state i001 running
    cp <(echo stop) i001/control
    is_state i001 exited
    : >i001/control
    truncate -s 0 i001/control
    contains i001/control restart
    is_state i001 exited
}

@test "EINVAL: no such verb, bad arguments" {
    local line
    for line in explode 'stop -t' 'stop -t x' 'stop -t -1' 'stop -t 1.5' 'stop -t 99999999999999999999' 'kill -s NOPE' \
        'kill -s' 'kill -s 999' 'start -x' 'pause -s KILL' 'kill TERM' 'start i001' 'stop now' START; do
        is '22 EINVAL' "$(put_line i001/control "$line")" "$line"
        [ -s i001/error ]
        is 1 "$(wc -l <i001/error)" "lines of error after $line"
    done
    put_line i001/control 'explode'
    has "$(cat i001/error)" explode
    put_line i001/control 'kill -s NOPE'
    has "$(cat i001/error)" NOPE
    for line in explode 'kill -s NOPE' 'stop -t x i001'; do
        is '22 EINVAL' "$(put_line control "$line")" "$line at the root"
    done
    for n in i001 i002 i003; do is_state $n running; done
}

@test "ENOENT: no such node, and then nothing happens to the others either" {
    local line
    for line in 'stop i009' 'stop i001 i009' 'stop ../i001' 'stop i001/..' 'stop ..' 'stop 172.30.0.2.9' "stop $P-i001" \
        'stop I001' 'stop /' 'stop *'; do
        is '2 ENOENT' "$(put_line control "$line")" "$line"
        is 1 "$(wc -l <error)"
    done
    put_line control 'stop i009'
    has "$(cat error)" i009
    for n in i001 i002 i003; do is_state $n running; done
}

@test "ESRCH: not running" {
    echo stop >i001/control
    local line
    for line in kill 'kill -s TERM' pause resume; do
        is '3 ESRCH' "$(put_line i001/control "$line")" "$line"
        has "$(cat i001/error)" 'i001'
    done
    is_state i001 exited
}

@test "error holds the last failure, of its own directory" {
    put_line i001/control nonsense
    has "$(cat i001/error)" nonsense
    put_line i001/control drivel
    has "$(cat i001/error)" drivel
    is "$(cat i001/error | wc -c)" "$(stat -c %s i001/error)"
    refused grep -q drivel i002/error
    refused grep -q drivel error
}

@test "garbage: 1 MiB without a newline, NUL bytes, not UTF-8, control characters" {
    has "$(head -c 1048576 /dev/zero | tr '\0' a | python3 -c '
import os, sys
data, fd = sys.stdin.buffer.read(), os.open(sys.argv[1], os.O_WRONLY)
try:
    while data:
        data = data[os.write(fd, data):]
    os.close(fd)
except OSError as e:
    print(e.errno)' i001/control)" 22
    [ "$(wc -c <i001/error)" -lt 1000 ]
    is '22 EINVAL' "$(printf 'st\0op\n' | put i001/control)"
    is '22 EINVAL' "$(printf '\0\n' | put i001/control)"
    is '22 EINVAL' "$(printf '\377\376stop\n' | put i001/control)"
    is '22 EINVAL' "$(printf 'stop\001\n' | put i001/control)"
    is '22 EINVAL' "$(printf '\033[31m\n' | put i001/control)"
    refused grep -q "$(printf '\033')" i001/error
    is '22 EINVAL' "$(head -c 100000 /dev/urandom | tr -d '\n' | cat - <(echo) | put i001/control)"
    is_state i001 running
    echo stop >i001/control
    is_state i001 exited
}

@test "a failure without newline is told at close, and error says it" {
    is 'close 22 EINVAL' "$(printf nonsense | put i001/control)"
    has "$(cat i001/error)" nonsense
}

@test "many writers at once: every write that returned has taken effect" {
    local pids=() pid
    for n in i001 i002 i003; do
        (for _ in 1 2 3; do
            echo stop >$n/control && reads $n/state exited && echo start >$n/control && reads $n/state running || exit 1
        done) &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid"; done
    # Two on one node: both are served, in some order, and what is there at the end is one of the two.
    echo stop >i001/control &
    pid=$!
    echo restart >i001/control
    wait "$pid"
    case $(cat i001/state) in running | exited) ;; *) false ;; esac
    is_state i001 "$(cat i001/state)"
}

@test "a writer killed by SIGKILL while stop -t 300 waits goes at once" {
    local m=$TMP/deaf pid begin
    mkdir -p "$m"
    "$CTHULHU" mount --prefix "$P-deaf" -n 1 --timeout 400 -i "$IMAGE" --start "$m" -- sleep 3600
    python3 -c 'import sys; open(sys.argv[1], "w").write("stop -t 300\n")' "$m/i001/control" &
    pid=$!
    waits() { [ "$(cut -d ' ' -f 1 "/proc/$pid/syscall")" = 1 ]; }
    wait_for 10 waits
    begin=$SECONDS
    kill -9 "$pid"
    wait "$pid" || is 137 "$?"
    [ $((SECONDS - begin)) -lt 120 ]
    # And the cluster still answers.
    is i001 "$(cat "$m/i001/name")"
    umount_cluster "$m"
}

@test "kill takes real-time signals, and SIGCHLD by its other name" {
    local m=$TMP/real signal number
    mkdir "$m"
    # Says which signal it got, and dies of none.
    # shellcheck disable=SC2016
    "$CTHULHU" mount --prefix "$P-real" -n 1 -i "$IMAGE" --start "$m" -- sh -c '
        for n in 17 34 37 49 50 51 63 64; do trap "echo got $n" $n; done
        echo up; while :; do sleep 3600 & wait $!; done'
    wait_for 30 contains "$m/i001/log" up
    for signal in CLD:17 SIGRTMIN:34 RTMIN+3:37 rtmin+15:49 RTMIN+17:51 RTMAX-14:50 RTMAX-1:63 SIGRTMAX:64; do
        number=${signal#*:} signal=${signal%:*}
        is OK "$(put_line "$m/i001/control" "kill -s $signal")" "$signal"
        wait_for 30 contains "$m/i001/log" "got $number"
    done
    is running "$(cat "$m/i001/state")"
    is '22 EINVAL' "$(put_line "$m/i001/control" 'kill -s RTMIN+31')"
    has "$(cat "$m/i001/error")" "no such signal: 'RTMIN+31'"
    umount_cluster "$m"
}
