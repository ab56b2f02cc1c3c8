#!/usr/bin/env bats
# cthulhu run: a command with a cluster of its own, whichever way the command, a node, the daemon or run itself ends.

load lib.bash

setup_file() {
    begin
    need_image
    # Gets healthy when the file healthy is there.
    docker create --name "$P-base" "$IMAGE" >/dev/null
    docker commit --change 'HEALTHCHECK --interval=200ms --retries=1000 CMD test -e /opt/app/var/healthy' \
        "$P-base" "$P-checked" >/dev/null
    docker rm "$P-base" >/dev/null
    mkdir "$TMP/tmp" "$TMP/work"
    # Where run mounts.
    export TMPDIR=$TMP/tmp
}

teardown_file() {
    end
    docker rmi "$P-checked" >/dev/null || true
}

setup() { cd "$TMP/work"; }

teardown() {
    [ -z "${pid:-}" ] || kill -9 "$pid" 2>/dev/null || true
    rm -rf "$TMP/work"/*
}

# runs STATUS ARGUMENT...: its exit status, within 90 s; what it and COMMAND say is in $output.
runs() {
    local wanted=$1
    shift
    status=0
    output=$(with_deadline 90 "$CTHULHU" run "$@" 2>&1 3>&-) || status=$?
    is "$wanted" "$status" "exit status of run $* ($output)"
}

# behind ARGUMENT...: a run in the background; its pid is in $pid.
behind() {
    # The shell has what it starts in the background ignore these two.
    env --default-signal=INT,QUIT "$CTHULHU" run "$@" >out 2>&1 3>&- &
    pid=$!
}

# ends STATUS: the run in the background does, with that status, and has removed all.
ends() {
    local got=0
    wait_for 60 gone_or_zombie "$pid"
    wait "$pid" || got=$?
    pid=
    is "$1" "$got" "exit status ($(cat out))"
    no_trace
}

gone_or_zombie() { ! grep -qE '^State:\s[^Z]' "/proc/$1/status" 2>/dev/null; }
no_trace() {
    nothing_left
    is '' "$(ls "$TMP/tmp")" 'what is in TMPDIR'
    is '' "$(ls "$XDG_STATE_HOME/cthulhu")" 'what is in the state directory'
}

@test "a command gets a cluster of its own, whose nodes are ready, and its directory, stdin and stdout" {
    # shellcheck disable=SC2016
    echo typed | runs_through 0 -n 3 -i "$IMAGE" --node-command 'sh -c "echo I am {{ name }}; exec sleep 3600"' -- \
        sh -c 'cat "$CTHULHU"/i00?/ready; cat; pwd; docker inspect -f {{.State.Running}} "$(jq -r .i003.container_id "$CTHULHU/spec.json")"
            until grep -h . "$CTHULHU"/i002/log; do sleep 0.1; done; df "$CTHULHU" | grep -c "$CTHULHU"'
    is "yes yes yes typed $TMP/work true I am i002 1 " "$(tr '\n' ' ' <out)" 'what it printed'
    no_trace
}

runs_through() {
    local wanted=$1 got=0
    shift
    with_deadline 90 "$CTHULHU" run "$@" >out 2>err || got=$?
    is "$wanted" "$got" "exit status ($(cat err))"
}

@test "the command waits for the probe" {
    # shellcheck disable=SC2016
    runs 0 -n 2 -i "$IMAGE" --ready-log '^serving' --node-command 'sh -c "sleep 1; echo serving {{ name }}; exec sleep 3600"' -- \
        sh -c 'grep -h serving "$CTHULHU"/i00?/log'
    has "$output" 'serving i001
serving i002'
    runs 125 -n 2 -i "$IMAGE" --ready-log '^serving' --artifacts art --node-command 'sh -c "sleep 1; echo cannot bind; exit 3"' -- touch ran
    has "$output" 'is not ready: it has ended with exit code 3; the end of its log:
  | cannot bind'
    grep -q 'cannot bind' art/run-*/i00?/log
    refused test -e ran
    no_trace
}

@test "the exit status is the command's" {
    runs 7 --host simulated: -n 2 -- sh -c 'exit 7'
    # shellcheck disable=SC2016
    runs 143 --host simulated: -n 2 -- sh -c 'kill $$'
    runs 0 --host simulated: -n 2 --artifacts art -- true
    refused test -e art
    no_trace
}

@test "what cannot work is refused before anything is made" {
    runs 1 -n 2
    has "$output" 'nothing to run: cthulhu run … -- COMMAND'
    runs 1 -n 2 pytest
    has "$output" 'pytest: run mounts at a place of its own, and what it runs comes after --'
    runs 1 --foreground -- true
    has "$output" '--foreground'
    runs 127 -- no-such-program x
    has "$output" 'cannot run no-such-program: command not found'
    runs 127 -- ./none
    has "$output" 'cannot run ./none: command not found'
    runs 1 --node-command "sh 'x" -- true
    has "$output" '--node-command: a quote'
    runs 1 --node-command 'sh {{ nmae }}' -- true
    has "$output" nmae
    runs 2 --wait-timeout 0 -- true
    TMPDIR=$TMP/none runs 1 -- true
    has "$output" "no directory $TMP/none"
    no_trace
}

@test "no cluster, no command: the reason, and 125" {
    runs 125 -n 2 -i "$P-none" --artifacts art -- touch ran
    has "$output" "the image $P-none is not here and cannot be pulled"
    refused test -e ran
    no_trace
    runs 125 --host "unix://$TMP/none" -- touch ran
    has "$output" "$TMP/none"
    refused test -e ran
    touch not-executable
    runs 126 --host simulated: -- ./not-executable
    has "$output" 'cannot run ./not-executable: Permission denied'
    is '' "$(ls "$TMP/tmp")" 'what is in TMPDIR'
}

@test "a node that dies before it is ready, and one that never is" {
    runs 125 -n 2 -i "$P-checked" --artifacts art --node-command \
        'sh -c "sleep 1; echo cannot bind {{ name }}; exit 3"' -- touch ran
    has "$output" 'is not ready: it has ended with exit code 3; the end of its log:'
    has "$output" '  | cannot bind i00'
    grep -q 'cannot bind' art/run-*/i00?/log
    refused test -e ran
    no_trace
    runs 125 -n 1 -i "$P-checked" --wait-timeout 1s -- touch ran
    has "$output" 'not ready after 1 s: i001 (running'
    refused test -e ran
    no_trace
}

@test "artifacts of a run that fails: logs, bindmounts, history, timeline, specs" {
    # shellcheck disable=SC2016
    local test='cd "$CTHULHU"; echo kept >i001/bindmounts/var/mine; ln -s /etc/passwd i001/bindmounts/var/link
        echo "{\"op\":\"write\",\"key\":\"k\"}" >>history; echo kill >i002/control; false'
    runs 1 -n 2 -i "$IMAGE" --prefix "$P" --artifacts "art/of it" --node-command \
        'sh -c "echo hello from {{ name }}; exec sleep 3600"' -- sh -c "$test"
    has "$output" "artifacts: $TMP/work/art/of it/$P"
    cd "art/of it/$P"
    is kept "$(cat i001/bindmounts/var/mine)"
    jq -e .peers i001/bindmounts/etc/config.json
    is 'hello from i002' "$(cat i002/log)"
    is exited "$(cat i002/state)"
    is 137 "$(cat i002/exit_code)"
    is running "$(cat i001/state)"
    is "/$P-i002" "$(jq -r .Name i002/inspect.json)"
    is "$IMAGE" "$(jq -r .i001.image spec.json)"
    has "$(cat status)" i002
    has "$(jq -c .test.key history)" '"k"'
    is '"unmounting"' "$(tail -n 1 history | jq .cluster.phase)"
    has "$(cat timeline.html)" '</html>'
    has "$(cat left-out.txt)" 'i001/bindmounts/var/link: a link to /etc/passwd'
    refused test -e i001/bindmounts/var/link
    [ -s daemon.log ]
    # The next of that name has a directory of its own.
    cd "$TMP/work"
    runs 1 --host simulated: --prefix "$P" --artifacts "art/of it" -- false
    has "$(cat "art/of it/$P.2/timeline.html")" '</html>'
    # Where none can be written, nothing is begun.
    touch file
    runs 1 --host simulated: --artifacts file/x -- touch ran
    has "$output" "--artifacts $TMP/work/file/x"
    refused test -e ran
    no_trace
}

@test "--artifacts-when always: of a run that ends well too, and of one that is interrupted" {
    # shellcheck disable=SC2016
    runs 0 -n 1 -i "$IMAGE" --prefix "$P" --artifacts art --artifacts-when always --node-command \
        'sh -c "echo hello; exec sleep 3600"' -- sh -c 'echo "{\"op\":\"write\"}" >>"$CTHULHU/history"
            until grep hello "$CTHULHU/i001/log"; do sleep 0.1; done'
    has "$output" "artifacts: $TMP/work/art/$P"
    is hello "$(cat "art/$P/i001/log")"
    is running "$(cat "art/$P/i001/state")"
    is '"write"' "$(jq 'select(.test) | .test.op' "art/$P/history")"
    has "$(cat "art/$P/timeline.html")" '</html>'
    runs 3 --host simulated: --prefix failed --artifacts art --artifacts-when always -- sh -c 'exit 3'
    has "$(cat art/failed/timeline.html)" '</html>'
    behind --host 'simulated:?start=60s' --prefix early --timeout 100 --artifacts art --artifacts-when always -- touch ran
    wait_for 30 contains out creating
    kill "$pid"
    ends 143
    [ -s art/early/daemon.log ]
    # What it says by default.
    runs 0 --host simulated: --prefix good --artifacts art --artifacts-when failure -- true
    refused test -e art/good
    runs 2 --artifacts-when always -- true
    runs 2 --artifacts art --artifacts-when never -- true
    no_trace
}

@test "SIGTERM, SIGINT and SIGHUP are passed on; a second one kills" {
    local signal
    for signal in TERM HUP INT QUIT; do
        # shellcheck disable=SC2016
        behind --host simulated: -- sh -c 'trap "exit 9" '$signal'; touch up; while :; do sleep 0.1; done'
        wait_for 30 test -e up
        kill -s $signal "$pid"
        ends 9
        rm up
    done
    behind --host simulated: -- sh -c 'trap "touch first" TERM; touch up; while :; do sleep 0.1; done'
    wait_for 30 test -e up
    kill "$pid"
    wait_for 30 test -e first
    sleep 0.5 # two wishes, not one
    kill "$pid"
    ends 137
}

@test "signals that follow one another fast kill too" {
    # shellcheck disable=SC2016
    behind --host simulated: -- sh -c 'trap "" TERM; echo $$ >up; while :; do sleep 0.1; done'
    wait_for 30 test -s up
    # Each comes within 200 ms after the one before it; they are not one signal for ever.
    with_deadline 60 python3 -c '
import os, sys, time
run, command = map(int, sys.argv[1:])
while os.path.exists(f"/proc/{command}"):
    os.kill(run, 15)
    time.sleep(0.02)' "$pid" "$(cat up)"
    ends 137
}

@test "a signal to run and one to its whole group, as timeout(1) and kill %1 send them, let the command clean up" {
    # shellcheck disable=SC2016
    local command='trap "sleep 1; touch clean; exit 9" TERM; touch up; while :; do sleep 0.1; done'
    printf '#!/bin/sh\n%s\n' "$command" >slow && chmod +x slow
    setsid env --default-signal=INT,QUIT "$CTHULHU" run --host simulated: -- ./slow >out 2>&1 3>&- &
    pid=$!
    wait_for 30 test -e up
    kill "$pid"
    kill -- "-$pid"
    ends 9
    [ -e clean ]
}

@test "a caller that ignores SIGCHLD gets the right status too" {
    run with_deadline 60 env --ignore-signal=CHLD "$CTHULHU" run --host simulated: -- sh -c 'exit 7'
    is 7 "$status" "$output"
    no_trace
}

@test "a signal during the start ends the run, and the command is not run" {
    behind --host 'simulated:?start=60s' -n 2 --timeout 100 --artifacts art -- touch ran
    wait_for 30 contains out creating
    kill "$pid"
    ends 143
    refused test -e ran
    behind -n 2 -i "$P-checked" --wait-timeout 100s --node-command 'sleep 3600' -- touch ran
    wait_for 30 polling "$pid"
    kill "$pid"
    ends 143
    refused test -e ran
    has "$(cat out)" 'interrupted: the cluster is being taken down'
}

@test "^C in a terminal reaches the command once; during the start it ends the run" {
    cat >at_terminal.py <<'END'
import os, pty, sys
wanted, argv = sys.argv[1].encode(), sys.argv[2:]
os.environ["TERM"] = "xterm"  # else nothing shows how far the start is
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(argv[0], argv)
seen, typed = b"", False
while True:
    try:
        piece = os.read(terminal, 1000)
    except OSError:
        break
    if not piece:
        break
    seen += piece
    if wanted in seen and not typed:
        os.write(terminal, b"\x03")
        typed = True
_, status = os.waitpid(pid, 0)
sys.stdout.write(seen.decode(errors="replace"))
sys.exit(os.waitstatus_to_exitcode(status))
END
    # shellcheck disable=SC2016
    run with_deadline 60 python3 at_terminal.py 'now ^C' "$CTHULHU" run --host simulated: -- \
        sh -c 'n=0; trap "n=\$((n + 1))" INT; echo now ^C; i=0; while [ $i -lt 10 ]; do sleep 0.1; i=$((i + 1)); done; exit $((40 + n))'
    is 41 "$status" "$output"
    run with_deadline 60 python3 at_terminal.py creating "$CTHULHU" run --host 'simulated:?start=60s' --timeout 100 -- touch ran
    is 130 "$status" "$output"
    refused test -e ran
    no_trace
}

@test "when run itself is killed, the command and the cluster end" {
    # shellcheck disable=SC2016
    behind -n 2 -i "$IMAGE" -- sh -c 'echo $$ >up; while :; do sleep 0.1; done'
    wait_for 60 test -s up
    kill -9 "$pid"
    wait_for 10 gone "$(cat up)"
    wait_for 30 nothing_left
    is '' "$(ls "$TMP/tmp")" 'what is in TMPDIR'
    # What its nodes wrote stays, as after an unmount.
    prune_runs
    is '' "$(ls "$XDG_STATE_HOME/cthulhu")" 'what is in the state directory'
    # During its start too.
    behind --host 'simulated:?start=60s' --timeout 100 -- touch ran
    wait_for 30 contains out creating
    kill -9 "$pid"
    wait_for 30 nothing_left
    prune_runs
    no_trace
}

# Removes what is left of the runs of this file, and of nobody else.
prune_runs() {
    local state
    for state in "$XDG_STATE_HOME"/cthulhu/cthulhu-run-*; do
        state=${state##*/}
        "$CTHULHU" prune --yes "$TMP/tmp/${state%-*}"
    done
}

@test "when both are killed, prune leaves nothing, in TMPDIR neither" {
    behind --host simulated: -- sh -c 'touch up; sleep 60'
    wait_for 30 test -e up
    kill -9 "$(listed_below | jq '.[0].pid')" "$pid"
    wait "$pid" || true
    pid=
    prune_runs
    no_trace
}

@test "when the daemon is killed, run removes what it left" {
    # shellcheck disable=SC2016
    behind -n 2 -i "$IMAGE" -- sh -c 'touch up; while [ ! -e on ]; do sleep 0.1; done; cat "$CTHULHU/status" || exit 6'
    wait_for 60 test -e up
    kill -9 "$(listed_below | jq '.[0].pid')"
    touch on
    ends 6
    has "$(cat out)" 'the daemon was killed; what it left is removed'
}

# Each run is a test of its own: its cluster has what it wrote, and none of another's.
# shellcheck disable=SC2016
OWN_TEST='set -e
cd "$CTHULHU"
echo "$1" >i001/bindmounts/var/token
echo stop >i002/control
is_now() { [ "$(cat i001/state i002/state i003/state | tr "\n" " ")" = "$1 " ] || { cat status; exit 1; }; }
is_now "running exited running"
echo "{\"run\":$1}" >>history
echo start >i002/control
is_now "running running running"
[ "$(cat i001/bindmounts/var/token)" = "$1" ]
[ "$(jq -r "select(.test) | .test.run" history)" = "$1" ]'

@test "many at once on one engine, each with its own test" {
    local n clusters=${RUN_CLUSTERS:-20} pids=()
    for n in $(seq "$clusters"); do
        with_deadline 300 "$CTHULHU" run -n 3 -i "$IMAGE" --node-command 'sh -c "trap exit TERM; while :; do sleep 3600 & wait; done"' \
            -- sh -c "$OWN_TEST" - "$n" >"out.$n" 2>&1 3>&- &
        pids+=($!)
    done
    for n in $(seq "$clusters"); do
        wait "${pids[n - 1]}" || { echo "run $n: status $?" && cat "out.$n" && return 1; }
    done
    no_trace
}
