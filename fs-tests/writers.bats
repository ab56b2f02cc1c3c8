#!/usr/bin/env bats
# A writer that is interrupted while its command is at work: one that lives waits on, one that dies goes at once.

load lib.bash

setup_file() {
    begin
    need_image
    # sleep, as the first process of a container, ends only by SIGKILL: stop and restart take their whole -t.
    mount_cluster deaf -n 2 -i "$IMAGE" --start -- sleep 3600
}

teardown_file() { end; }

setup() {
    cd "$M"
    echo start >control
}

# How often a line was begun as a command.
begun() {
    jq -r --arg line "$1" 'select(.command.phase == "invoke" and .command.line == $line) | .seq' history | wc -l
}

@test "a writer that handles, ignores or blocks its signals waits on, and its command runs once" {
    local where line pid
    for where in main thread; do
        line="restart -t $([ $where = main ] && echo 2 || echo 3)"
        pid=$(cat i001/pid.txt)
        is ${#line} "$(($(with_deadline 100 python3 "$FS_TESTS/interrupted_writer.py" i001/control "$line" $where) - 1))" \
            "what the write in the $where returned"
        is 1 "$(begun "$line")" "runs of $line"
        refused test "$pid" = "$(cat i001/pid.txt)"
        is running "$(cat i001/state)"
    done
    refused grep -v 'the grace ran out' i001/error
}

@test "a change of faults is waited for too" {
    local line='i001 | i002'
    # As long as its sandbox does not answer, the change waits.
    docker pause "$P-i001-sandbox" >/dev/null
    (sleep 2 && docker unpause "$P-i001-sandbox" >/dev/null) 3>&- &
    is ${#line} "$(($(with_deadline 100 python3 "$FS_TESTS/interrupted_writer.py" partition "$line" main) - 1))"
    wait $!
    is "$line" "$(cat partition)"
    is 1 "$(begun "$line")"
    echo heal >control
}

@test "a writer that dies of its signal goes at once, whichever signal it is" {
    local signal pid status
    for signal in KILL INT TERM HUP QUIT ABRT SEGV XCPU SYS ALRM USR1 PIPE RTMIN+3; do
        echo start >i002/control
        # Longer than anyone waits: the node is killed below.
        (ulimit -c 0 && exec env --default-signal python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
os.write(os.open(sys.argv[1], os.O_WRONLY), b"stop -t 3600\n")' i002/control 3>&-) &
        pid=$! status=0
        wait_for 30 writes $pid
        kill -s $signal $pid
        wait_for 40 ended $pid || { echo "still there: $signal" && false; }
        wait $pid || status=$?
        is $((128 + $(kill -l $signal))) $status "exit status after $signal"
        has "$(cat i002/error)" interrupted
        docker kill "$P-i002" >/dev/null
    done
}

# Whether it waits in write(2): 1 on x86-64, 64 on arm64.
writes() { grep -qE '^(1|64) ' "/proc/$1/syscall" 2>/dev/null; }
ended() { ! grep -qE '^State:\s[^Z]' "/proc/$1/status" 2>/dev/null; }

# writing FILE LINE: in the background; returns when it waits.
writing() {
    (exec sh -c 'echo "$1" >"$2"' sh "$2" "$1" 3>&-) &
    wait_for 30 writes $!
}

@test "who writes while another waits: commands of other nodes go on, those of the same node wait their time" {
    local file line writer last
    for file in control i001/control; do
        line=kill
        [ $file != control ] || line='kill i001'
        # Longer than anyone waits: the node is killed below.
        writing control 'stop -t 3600 i001'
        writer=$!
        # All of open, truncate, write and close, and by the script that control is.
        with_deadline 60 sh -c 'echo "kill i002" >control'
        is exited "$(cat i002/state)"
        with_deadline 60 ./control start i002
        is running "$(cat i002/state)"
        with_deadline 60 cat control i001/control >/dev/null
        # One that waits for its turn has the error of one that waits, and not for longer than --timeout.
        (exec sh -c 'echo "$1" >"$2"' sh "$line" "$file" 3>&- 2>/dev/null) &
        last=$!
        wait_for 30 writes $last
        kill -0 "$writer"
        docker kill "$P-i001" >/dev/null
        wait "$writer"
        refused wait $last
        has "$(cat "$(dirname "$file")/error")" 'is not running'
        echo start >control
    done
    # What sh and exec make of it: the file is not busy, though somebody has it open for writing.
    exec 4>i002/control
    with_deadline 60 i002/control stop
    exec 4>&-
    is exited "$(cat i002/state)"
    # A file that was looked up by another program is the same file still.
    [ control -ef control ]
}

@test "a change of faults does not keep others from the file" {
    docker pause "$P-i001-sandbox" >/dev/null
    writing partition 'i001 | i002'
    local writer=$!
    # It comes to its turn, as the first comes to its end.
    (exec sh -c 'echo "i002 | i001" >partition' 3>&-) &
    wait_for 30 writes $!
    with_deadline 60 cat partition links >/dev/null
    docker unpause "$P-i001-sandbox" >/dev/null
    wait $!
    wait "$writer"
    echo heal >control
}
