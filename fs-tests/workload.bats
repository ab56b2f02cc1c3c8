#!/usr/bin/env bats
# cthulhu workload: clients that do what they should, and clients that do not.

# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load lib.bash

setup_file() {
    begin
    mount_cluster workload -n 3 --host simulated: --start
}

teardown_file() { end; }

setup() {
    export STORE="$BATS_TEST_TMPDIR/store" SLEEP=5$$$RANDOM
    CLIENT=(python3 "$FS_TESTS/workload/client.py")
    # What earlier tests have appended.
    SEEN=$(wc -l <"$M/history")
}

teardown() { [ -z "${pid:-}" ] || kill -9 "$pid" 2>/dev/null || true; }

# works STATUS ARGUMENT...: a workload's exit status; what it says is in $output.
works() {
    local wanted=$1
    shift
    status=0
    output=$(MARK=$STORE with_deadline 120 "$CTHULHU" workload "$M" "$@" 2>&1 3>&-) || status=$?
    is "$wanted" "$status" "exit status of workload $* ($output)"
    no_clients
}

# behind ARGUMENT...: a workload in the background, once it has begun an operation; its pid is in $pid.
behind() {
    # The shell has what it starts in the background ignore these two.
    env --default-signal=INT,QUIT "MARK=$STORE" "$CTHULHU" workload "$M" "$@" >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
    pid=$!
    wait_for 60 has_begun
}
has_begun() { own | grep -q '"invoke"'; }

# ends STATUS: that workload does.
ends() {
    local got=0
    wait "$pid" || got=$?
    pid=
    is "$1" "$got" "exit status ($(cat "$BATS_TEST_TMPDIR/out"))"
}

# Pids of clients, and of what they have started.
clients() {
    local one
    grep -lzs "^MARK=$STORE\$" /proc/[0-9]*/environ | cut -d/ -f3 | while read -r one; do
        case $(readlink "/proc/$one/exe") in
        '' | */timeout | */cthulhu) ;;
        *) echo "$one" ;;
        esac
    done
}
none_of_them() { [ -z "$(clients)" ]; }
no_clients() { wait_for 20 none_of_them; }

# What this test has appended to the history; what the check of it says.
own() { tail -n "+$((SEEN + 1))" "$M/history"; }
operations() {
    own >"$BATS_TEST_TMPDIR/history"
    python3 "$FS_TESTS/workload/history.py" "$BATS_TEST_TMPDIR/history"
}
errors() { own | jq -r 'select(.test.type == "info" or .test.type == "fail") | .test.error' | sort -u; }

@test "every model: operations in the history, and all read back" {
    local model ok fail info open_
    for model in set register queue bank monotonic list; do
        rm -f "$STORE"
        SEEN=$(wc -l <"$M/history")
        MODEL=$model works 0 --model "$model" --for 1s --rate 200 -- "${CLIENT[@]}"
        read -r ok fail info open_ <<<"$(operations)"
        is '0 0' "$info $open_" "unknown and open operations of $model"
        [ "$ok" -gt 4 ]
        has "$output" "$((ok + fail)) operations: $ok ok, $fail failed, 0 unknown; "
        has "$output" "$model, seed "
        has "$output" 'good: '
        # The last operations read every key.
        is "$(own | jq -r 'select(.test) | .test.key' | sort -u)" \
            "$(own | jq -r 'select(.test.type == "ok") | .test | select(.f == "read" or .f == "drain") | .key' | sort -u)" "keys of $model"
        [ "$model" != bank ] || is 80 "$(own | jq 'select(.test.f == "read" and .test.type == "ok") | .test.value | add' | sort -u)" total
    done
}

@test "a client that loses what it has acknowledged: violated, with the keys and lines, also in the history" {
    # Judged by itself, whatever came before in this mount.
    MISBEHAVE=lose:4 works 1 --model set --for 300ms --rate 200 -- "${CLIENT[@]}"
    has "$output" 'violated: '
    is '["set","violated"]' "$(own | jq -c 'select(.verdict) | .verdict | [.model, .result]')"
    [ "$(own | jq 'select(.verdict) | .verdict.anomalies[0].lines[0]')" -gt "$SEEN" ]
    rm "$STORE"
    SEEN=$(wc -l <"$M/history")
    works 0 --model set --for 300ms -- "${CLIENT[@]}"
    has "$output" 'good: '
    is '["set","good"]' "$(own | jq -c 'select(.verdict) | .verdict | [.model, .result]')"
    rm "$STORE"
    MISBEHAVE=lose:4 works 0 --model set --for 300ms --rate 200 --no-check -- "${CLIENT[@]}"
    refused grep -qE 'good|violated' <<<"$output"
}

@test "what is read back is what was added" {
    works 0 --model set --for 1s -- "${CLIENT[@]}"
    is "$(own | jq -c '.test | select(.f == "add" and .type == "ok") | .value' | sort -n | xargs)" \
        "$(own | jq -c '.test | select(.f == "read" and .type == "ok") | .value | .[]' | sort -n | xargs)"
    is "$(own | jq -c '.test | select(.f == "add" and .type == "ok") | .value' | sort -u | wc -l)" \
        "$(own | jq -c '.test | select(.f == "add" and .type == "ok")' | wc -l)" 'different values'
}

@test "the processes are spread over the nodes, or over those named; the environment says where they are" {
    # shellcheck disable=SC2016
    local say='echo "$CTHULHU_PROCESS $CTHULHU_NODE $CTHULHU_ADDRESS $CTHULHU" >>"$STORE.env"; while read -r line; do echo "{\"type\":\"ok\",\"value\":[]}"; done'
    with_deadline 60 env "CTHULHU=$M" "$CTHULHU" workload --model set --for 200ms --no-check --processes 4 -- sh -c "$say"
    is "$(for at in '0 i001' '1 i002' '2 i003' '3 i001'; do echo "$at $(cat "$M/${at#* }/ip") $M"; done)" "$(sort "$STORE.env")"
    rm "$STORE.env"
    works 0 --model set --for 200ms --no-check --processes 2 --node i003 -- sh -c "$say"
    is 'i003 i003' "$(cut -d' ' -f2 "$STORE.env" | xargs)"
    works 125 --model set --node i004 -- sh -c "$say"
    has "$output" '--node i004: there is no such node or service'
}

@test "the same seed draws the same operations again" {
    # Without the up to five that read back.
    drawn() { own | jq -c '.test | select(.type == "invoke") | [.f, .value]' | head -n -5; }
    MODEL=monotonic works 0 --model monotonic --seed 7 --for 2s --processes 1 -- "${CLIENT[@]}"
    drawn >"$BATS_TEST_TMPDIR/first"
    SEEN=$(wc -l <"$M/history")
    MODEL=monotonic works 0 --model monotonic --seed 7 --for 2s --processes 1 -- "${CLIENT[@]}"
    drawn >"$BATS_TEST_TMPDIR/second"
    # One may have come further than the other.
    local common
    common=$(wc -l <"$BATS_TEST_TMPDIR/first")
    [ "$common" -le "$(wc -l <"$BATS_TEST_TMPDIR/second")" ] || common=$(wc -l <"$BATS_TEST_TMPDIR/second")
    [ "$common" -gt 3 ]
    is "$(head -n "$common" "$BATS_TEST_TMPDIR/first")" "$(head -n "$common" "$BATS_TEST_TMPDIR/second")"
    # Numbers of processes and names of keys are not used again.
    is '' "$(comm -12 <(own | jq '.test.process // empty' | sort -u) <(head -n "$SEEN" "$M/history" | jq '.test.process // empty' | sort -u))"
    is '' "$(comm -12 <(own | jq '.test.key // empty' | sort -u) <(head -n "$SEEN" "$M/history" | jq '.test.key // empty' | sort -u))"
}

@test "clients that fail, do not know, hang, die or talk nonsense: the rest goes on" {
    local what error patience ok fail info open_
    while IFS='|' read -r what error; do
        # Five operations begin at once, and the fourth goes wrong. A client that is started again needs its time.
        case $what in hang*) patience=2s ;; *) patience=1m ;; esac
        rm -f "$STORE"
        SEEN=$(wc -l <"$M/history")
        MISBEHAVE=$what works 0 --model set --for 300ms --rate 200 --op-timeout "$patience" --no-check -- "${CLIENT[@]}"
        read -r ok fail info open_ <<<"$(operations)"
        [ "$ok" -gt 2 ] && [ "$((fail + info))" -gt 0 ] && is 0 "$open_" "open operations ($what)"
        has "$(errors)" "$error"
        # Reading back may go wrong in the same way.
        is 1 "$(errors | sed 's/answered read/answered add/' | sort -u | wc -l)" "errors of $what: $(errors)"
        has "$output" "$fail failed, $info unknown"
    done <<'END'
fail:4|no leader
info:4|connection reset
hang:4|no answer within 2 s
die:4|the client ended with exit status 7
kill:4|the client was ended by signal 10
half:4|the client ended with exit status 0 after “{"type"”
close:4|the client was killed (SIGKILL), or has closed its stdin or stdout
nonsense:4|the client answered add with “done!”, which is no JSON object
type:4|whose type is not ok, fail or info
twice:4|which nobody asked for
long:4|the client answered add with a line of more than 65536 bytes
binary:4|which is no JSON object
END
}

@test "what clients say is harmless for terminals" {
    MISBEHAVE=binary:4 works 0 --model set --for 300ms --no-check -- "${CLIENT[@]}"
    has "$output" 'u{1b}[2J'
    refused grep -q $'\x1b' <<<"$output"
}

@test "clients that ignore signals and the end of their stdin are killed" {
    MISBEHAVE=stubborn:0 works 0 --model set --for 300ms --no-check -- "${CLIENT[@]}"
}

@test "a client that has left its process group is killed, too" {
    works 125 --model set --processes 1 --for 500ms --op-timeout 200ms --read-timeout 1s -- python3 -c 'import os, time
os.setpgid(0, os.getpgid(os.getppid()))
time.sleep(1000)'
    has "$output" 'the first did not answer in time'
}

@test "what it found cannot be printed: no violation" {
    local status=0
    with_deadline 60 "$CTHULHU" workload "$M" --model set --for 300ms -- "${CLIENT[@]}" >/dev/full 2>"$BATS_TEST_TMPDIR/err" || status=$?
    is 125 "$status" "exit status ($(cat "$BATS_TEST_TMPDIR/err"))"
    contains "$BATS_TEST_TMPDIR/err" 'No space left on device'
    is '["set","good"]' "$(own | jq -c 'select(.verdict) | .verdict | [.model, .result]')"
}

@test "no client that makes sense: one sentence, at once" {
    works 127 --model set -- "$TMP/none"
    has "$output" "cannot run $TMP/none: command not found"
    works 126 --model set -- /etc/passwd
    has "$output" 'cannot run /etc/passwd: Permission denied'
    works 125 --model set --for 1h -- sh -c 'exit 127'
    has "$output" 'no client (“sh -c exit 127”) has given a sensible answer: the first ended with exit status 127. A client reads lines such as {"op":"add","key":"k1"}'
    works 125 --model set --for 1h -- sh -c 'while read -r x; do echo ok; done'
    has "$output" 'the first answered add with “ok”, which is no JSON object. A client'
    works 125 --model set --for 1h -- yes
    has "$output" 'the first wrote “y”, which nobody asked for'
    works 125 --model bank --for 1h --read-timeout 1s --op-timeout 200ms -- sleep 100
    has "$output" 'the first did not answer in time'
    MODEL=set MISBEHAVE=fail:1 works 125 --model bank --read-timeout 1s -- "${CLIENT[@]}"
    has "$output" 'the accounts of the bank could not be made: no leader'
}

@test "what cannot be read back: which keys and why, and status 4" {
    # shellcheck disable=SC2016
    works 4 --model set --for 500ms --read-timeout 1s --no-check -- sh -c 'while read -r line; do
        case $line in *add*) echo "{\"type\":\"ok\"}" ;; *) echo "{\"type\":\"fail\",\"error\":\"no leader\"}" ;; esac; done'
    has "$output" 'no read of k'
    has "$output" 'has succeeded within 1 s after the end: no leader'
}

@test "an answer that no line of the history holds is unknown" {
    # shellcheck disable=SC2016
    works 4 --model set --for 500ms --read-timeout 1s --no-check -- python3 -c 'for line in open(0):
    print("{\"type\":\"ok\"}" if "add" in line else "{\"type\":\"ok\",\"value\":[" + "0," * 32740 + "0]}", flush=True)'
    has "$output" 'does not fit in a line of the history'
}

@test "a signal ends it: nothing is left, no operation is open" {
    local signal
    for signal in INT:130 TERM:143 HUP:129; do
        SEEN=$(wc -l <"$M/history")
        MISBEHAVE=hang:5 behind --model set --for 1h --op-timeout 1h -- "${CLIENT[@]}"
        kill "-${signal%:*}" "$pid"
        ends "${signal#*:}"
        no_clients
        read -r _ _ _ open_ <<<"$(operations)"
        is 0 "$open_" 'open operations'
        has "$(cat "$BATS_TEST_TMPDIR/out")" 'interrupted'
    done
    has "$(errors)" 'the workload was interrupted'
}

@test "a workload that is killed takes its clients along" {
    MISBEHAVE=stubborn:0 behind --model set --for 1h -- "${CLIENT[@]}"
    refused none_of_them
    kill -9 "$pid"
    wait "$pid" 2>/dev/null || true
    pid=
    no_clients
}

@test "it goes on while a nemesis is at work" {
    echo '{"nemesis":{"phase":"started","episodes":1}}' >>"$M/history"
    behind --model set --for 200ms --no-check -- "${CLIENT[@]}"
    wait_for 60 contains "$BATS_TEST_TMPDIR/out" 'going on until the nemesis is over'
    before=$(own | grep -c invoke)
    more() { [ "$(own | grep -c invoke)" -gt "$((before + 20))" ]; }
    wait_for 60 more
    echo '{"nemesis":{"phase":"healed","error":"i003 has ended"}}' >>"$M/history"
    echo '{"nemesis":{"phase":"over"}}' >>"$M/history"
    ends 0
    has "$(cat "$BATS_TEST_TMPDIR/out")" 'a cluster that has not recovered: i003 has ended'
    # Everything is read back after that.
    own | sed -n '/"over"/,$p' | grep -q '"f":"read"'
}

@test "a mount that goes away" {
    (
        mount_cluster away -n 1 --host simulated: --start
        SEEN=0
        behind --model set --for 1h --rate 1 -- "${CLIENT[@]}"
        "$CTHULHU" umount "$M"
        ends 125
        has "$(cat "$BATS_TEST_TMPDIR/out")" "the mount $M has gone away"
        no_clients
    )
}

@test "what cannot work is refused" {
    works 2 --model set
    works 2 --model stack -- true
    works 2 --model set --rate 0 -- true
    works 2 --model set --rate 1e-300 -- true
    works 2 --model set --processes 0 -- true
    run env -u CTHULHU "${CTHULHU}" workload --model set -- true
    is 125 "$status"
    has "$output" 'name the mountpoint of a cluster, or set CTHULHU to it'
    run "$CTHULHU" workload "$TMP" --model set -- true
    is 125 "$status"
    has "$output" "no cluster is mounted at $TMP"
    has "$("$CTHULHU" workload --help)" Example
}

@test "as the COMMAND of run" {
    cd "$BATS_TEST_TMPDIR"
    MARK=$STORE TMPDIR=$BATS_TEST_TMPDIR with_deadline 90 "$CTHULHU" run --host simulated: -n 3 -- \
        "$CTHULHU" workload --model set --for 300ms -- "${CLIENT[@]}" >out 2>&1
    contains out ' ok, 0 failed, 0 unknown; '
    no_clients
}

@test "two workloads in the COMMAND of run: the verdict of each counts" {
    cd "$BATS_TEST_TMPDIR"
    # shellcheck disable=SC2016
    MARK=$STORE TMPDIR=$BATS_TEST_TMPDIR with_deadline 90 "$CTHULHU" run --host simulated: -n 3 --prefix "$P-two" --artifacts art -- \
        sh -c 'MISBEHAVE=lose:4 "$@"; rm "$STORE"; "$@"' sh \
        "$CTHULHU" workload --model set --for 300ms --rate 200 -- "${CLIENT[@]}" >out 2>&1
    contains out '^cthulhu: violated: set: '
    is '["violated","good"]' "$(jq -c 'map(.result)' "art/$P-two/verdict.json")"
    no_clients
}

# The first block of that language in docs/workload.md, with the port of the server that is under way.
block() { awk -v lang="$1" '$0 == "```" lang { on = 1; next } $0 == "```" && on { exit } on' "$FS_TESTS/../docs/workload.md" | sed "s/:8080/:$port/"; }

# Starts the system of that page on a free port.
serve() {
    python3 "$FS_TESTS/workload/sets.py" 0 >"$BATS_TEST_TMPDIR/server" 3>&- &
    pid=$!
    wait_for 60 contains "$BATS_TEST_TMPDIR/server" serving
    port=$(awk '{ print $NF }' "$BATS_TEST_TMPDIR/server")
}

# documented COMMAND...: a client of that page works; it knows a refused connection, and that a time-out is not one.
documented() {
    is 1 "$(($(block "$1" | wc -l) < 40))" 'a short client'
    shift
    works 0 --model set --for 1s --rate 50 -- env CTHULHU_ADDRESS=127.0.0.1 "$@"
    has "$output" ' ok, 0 failed, 0 unknown; '
    kill -STOP "$pid"
    is '"info"' "$(echo '{"op":"add","key":"k1","value":7}' | CTHULHU_ADDRESS=127.0.0.1 "$@" | jq .type)"
    kill -9 "$pid"
    wait "$pid" 2>/dev/null || true
    pid=
    refused=$(echo '{"op":"read","key":"k1"}' | CTHULHU_ADDRESS=127.0.0.1 "$@" | jq .type)
}

@test "the documented client in Python" {
    serve
    block python >"$BATS_TEST_TMPDIR/client.py"
    documented python python3 "$BATS_TEST_TMPDIR/client.py"
    is '"fail"' "$refused"
}

@test "the documented client in shell" {
    serve
    block bash >"$BATS_TEST_TMPDIR/client.sh"
    documented bash bash "$BATS_TEST_TMPDIR/client.sh"
    is '"fail"' "$refused"
}

@test "the documented client in Go" {
    command -v go >/dev/null || skip 'Go is not here: apt-get install golang-go'
    serve
    block go >"$BATS_TEST_TMPDIR/client.go"
    GOCACHE=$BATS_TEST_TMPDIR/cache GOTOOLCHAIN=local GO111MODULE=off go build -o "$BATS_TEST_TMPDIR/client" "$BATS_TEST_TMPDIR/client.go"
    documented go "$BATS_TEST_TMPDIR/client"
    is '"info"' "$refused"
}
