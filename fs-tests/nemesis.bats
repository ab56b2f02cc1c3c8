#!/usr/bin/env bats
# Schedules of faults: drawn, performed, taken from a history, made smaller. Over the simulated engine: what the faults do to
# packets is tested elsewhere.

bats_require_minimum_version 1.5.0
load lib.bash

setup_file() {
    begin
    mount_cluster nemesis -n 3 --host simulated: --start
}

teardown_file() { end; }

setup() {
    cd "$BATS_TEST_TMPDIR" || return 1
    # shellcheck disable=SC2153
    echo heal >"$M/control"
    echo resume 2>/dev/null >"$M/control" || true
    echo start >"$M/control"
}

# mount_at DIR OPTION...
mount_at() { with_deadline 60 "$CTHULHU" mount "$@"; }

# performs STATUS ARGUMENT...: cthulhu nemesis on the cluster, with no quiet time to speak of; $output has what it says.
performs() {
    local wanted=$1
    shift
    status=0
    output=$(with_deadline 60 "$CTHULHU" nemesis --quiet 10ms "$@" "$M" 2>&1 3>&-) || status=$?
    is "$wanted" "$status" "exit status of nemesis $* ($output)"
}

# Whether all is as it was: no faults, and all nodes run.
healed() {
    is '' "$(cat "$M/partition" "$M/links" "$M"/i00?/net)" faults
    is 'running' "$(sort -u "$M"/i00?/state)" states
}

# The lines of the history about the last schedule that was performed.
performed() {
    jq -c 'select(.nemesis).nemesis' "$M/history" | tac | sed '/"started"/q' | tac
}

# What a seed draws.
drawn() { "$CTHULHU" nemesis --dry-run --every 1s --for 30s "$@" "$M"; }

@test "the same seed draws the same bytes, another seed others" {
    drawn --seed 7 >one
    drawn --seed 7 >two
    drawn --seed 8 >three
    cmp one two
    ! cmp -s one three || return 1
    is '# cthulhu schedule 1, seed 7' "$(head -n 1 one)"
    [ "$(grep -c '^at ' one)" -gt 5 ]
    is '' "$(jq -c 'select(.nemesis)' "$M/history")" 'a dry run performs nothing'
}

@test "a schedule without one of its episodes is a schedule, and what is printed is read back" {
    drawn --seed 7 >whole
    sed 4d whole >fewer
    "$CTHULHU" nemesis --dry-run --schedule fewer "$M" >printed
    cmp fewer printed
    "$CTHULHU" replay whole --dry-run >printed
    cmp whole printed
}

@test "only faults of the kinds that are named are drawn" {
    drawn --seed 1 --faults pause,delay >schedule
    [ "$(grep -c ' pause i00.$' schedule)" -gt 0 ]
    [ "$(grep -c 'i00./net delay ' schedule)" -gt 0 ]
    is 0 "$(grep '^at' schedule | grep -cv ' pause \|/net delay')"
}

@test "what is performed is in the history, and is healed at the end" {
    cat >schedule <<'END'
at 0.1s for 0.3s crash i001
at 0.1s for 0.4s partition i001 | i002 i003
at 0.2s for 0.2s i002/net delay 50ms 10ms
at 0.2s for 0.2s pause i003
at 0.5s for 0.2s links i001>i002 drop; i002>i001 loss 5%
at 0.6s restart i002
END
    performs 0 --schedule schedule
    healed
    performed >did
    is '{"phase":"started","episodes":6}' "$(head -n 1 did | jq -c 'del(.by)')"
    is 'crash i001, i002/net delay 50ms 10ms, links i001>i002 drop; i002>i001 loss 5%, partition i001 | i002 i003, pause i003, restart i002' \
        "$(jq -r 'select(.phase == "begin").words' did | sort | paste -sd, | sed 's/,/, /g')"
    is 'i002/net cleared, links cleared, partition cleared, resume i003, start i001' \
        "$(jq -r 'select(.phase == "end").words' did | sort | paste -sd, | sed 's/,/, /g')"
    is 0 "$(jq -r .error did | grep -cv null)" errors
    is 'healed over' "$(jq -r .phase did | tail -n 2 | paste -sd' ')"
    # They were in force: by the daemon's own lines.
    [ -n "$(jq -c 'select(.fault.links // [] | index("i001>i002 drop") and index("i002>i001 loss 5%"))' "$M/history")" ]
    [ -n "$(jq -c 'select(.state.node == "i003" and .state.to == "paused")' "$M/history")" ]
}

@test "what has no end of its own ends with the schedule" {
    printf 'at 0s stop i001\nat 0s partition isolate i002\nat 0.2s i003/net loss 5%%\nat 0.3s kill -s HUP i002\n' >schedule
    performs 0 --schedule schedule
    healed
    is 4 "$(performed | jq -c 'select(.phase == "begin")' | wc -l)"
    is 3 "$(performed | jq -c 'select(.phase == "end")' | wc -l)"
}

@test "SIGTERM and SIGINT in the middle: all is healed first" {
    printf 'at 0s for 100s crash i001\nat 0s for 100s pause i002\nat 0s for 100s partition isolate i003\nat 50s kill i003\n' >schedule
    for signal in TERM:143 INT:130; do
        env --default-signal=INT "$CTHULHU" nemesis --quiet 50s --schedule schedule "$M" >out 2>&1 3>&- &
        pid=$!
        wait_for 20 contains out 'partition isolate i003'
        wait_for 20 contains out 'pause i002'
        wait_for 20 contains out 'crash i001'
        kill -s "${signal%:*}" "$pid"
        status=0
        with_deadline 20 tail --pid="$pid" -f /dev/null
        wait "$pid" || status=$?
        is "${signal#*:}" "$status" "exit status ($(cat out))"
        healed
        is 'healed over' "$(performed | jq -r .phase | tail -n 2 | paste -sd' ')"
        is 0 "$(performed | grep -c 'kill i003')" 'what was not begun'
    done
}

@test "a second signal leaves it as it is, when the engine does not answer" {
    mount_at "$TMP/hangs" -n 3 --host "simulated:?hang=$TMP/hang" --start
    printf 'at 0s for 100s pause i002\n' >schedule
    "$CTHULHU" nemesis --schedule schedule "$TMP/hangs" >out 2>&1 3>&- &
    pid=$!
    wait_for 20 contains out 'pause i002'
    touch "$TMP/hang"
    kill "$pid"
    wait_for 20 contains out 'all is healed first'
    sleep 0.3
    kill "$pid"
    status=0
    wait "$pid" || status=$?
    is 143 "$status" "exit status ($(cat out))"
    has "$(cat out)" 'left as it is: write heal, resume and start'
    rm "$TMP/hang"
    "$CTHULHU" umount "$TMP/hangs" >/dev/null
}

@test "one schedule at a time, until its nemesis has ended or was killed" {
    printf 'at 0s for 100s pause i002\n' >schedule
    "$CTHULHU" nemesis --schedule schedule "$M" >out 2>&1 3>&- &
    pid=$!
    wait_for 20 contains out 'pause i002'
    # shellcheck disable=SC2016
    "$CTHULHU" workload "$M" --model set --for 200ms --no-check -- \
        sh -c 'while read -r line; do echo "{\"type\":\"ok\",\"value\":[]}"; done' >said 2>&1 3>&- &
    workload=$!
    wait_for 20 contains said 'going on until the nemesis is over'
    printf 'at 0s stop i001\n' >another
    performs 1 --schedule another
    has "$output" "$M: another nemesis is at work there"
    kill -9 "$pid"
    wait "$pid" || true
    with_deadline 20 tail --pid="$workload" -f /dev/null
    wait "$workload"
    has "$(cat said)" 'a cluster that has not recovered: the nemesis has ended without healing'
    echo resume >"$M/control"
    performs 0 --schedule another
    healed
}

@test "of two that begin in the same instant, one is refused" {
    local pids=() statuses=() name
    printf 'at 1s for 0.1s pause i002\n' >schedule
    for name in one other; do
        "$CTHULHU" nemesis --schedule schedule "$M" >"$name" 2>&1 3>&- &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do
        status=0
        wait "$pid" || status=$?
        statuses+=("$status")
    done
    is '0 1' "$(printf '%s\n' "${statuses[@]}" | sort | paste -sd' ')" "exit statuses ($(cat one other))"
    has "$(cat one other)" 'another nemesis is at work there'
    healed
}

@test "one in another pid namespace is heeded, too" {
    [ "$(id -u)" = 0 ] || skip 'needs root: to make a pid namespace'
    printf 'at 0s for 100s pause i002\n' >schedule
    unshare --pid --fork --kill-child "$CTHULHU" nemesis --schedule schedule "$M" >out 2>&1 3>&- &
    pid=$!
    wait_for 20 contains out 'pause i002'
    performs 1 --schedule schedule
    has "$output" 'another nemesis is at work there'
    kill -9 "$pid"
    wait "$pid" || true
    echo resume >"$M/control"
    printf 'at 0s for 0.1s pause i001\n' >schedule
    wait_for 20 "$CTHULHU" nemesis --quiet 10ms --schedule schedule "$M"
    healed
}

@test "it ends when its cluster is unmounted, and does nothing to another one at that place" {
    mount_at "$TMP/goes" -n 2 --host simulated: --start
    printf 'at 0s for 100s pause i002\nat 1s for 100s partition isolate i001\n' >schedule
    "$CTHULHU" nemesis --schedule schedule "$TMP/goes" >out 2>&1 3>&- &
    pid=$!
    wait_for 20 contains out 'pause i002'
    "$CTHULHU" umount "$TMP/goes" >/dev/null
    mount_at "$TMP/goes" -n 2 --host simulated:
    with_deadline 20 tail --pid="$pid" -f /dev/null
    status=0
    wait "$pid" || status=$?
    is 1 "$status" 'exit status'
    has "$(cat out)" "$TMP/goes is not mounted any more"
    is '' "$(cat "$TMP/goes/partition")$(jq -c 'select(.nemesis or .command)' "$TMP/goes/history")" 'what was done to the other'
    "$CTHULHU" umount "$TMP/goes" >/dev/null
}

@test "a node that ends by itself is told, and not started" {
    printf 'at 0.1s for 0.1s pause i001\n' >schedule
    cp schedule later
    echo stop >"$M/i003/control"
    performs 1 --schedule schedule
    has "$output" 'not all is healed: i003 has ended, and no episode did that'
    is exited "$(cat "$M/i003/state")"
    has "$(performed)" '{"phase":"healed","error":"i003 has ended'
}

@test "a node that a signal of the schedule has ended is told, unless the line has a 'for'" {
    printf 'at 0s kill -s KILL i001\nat 0s for 0.1s kill -s KILL i002\n' >schedule
    performs 1 --schedule schedule
    has "$output" "not all is healed: i001 has ended, and kill -s KILL i001 has no 'for'"
    is 'exited running running' "$(cat "$M"/i00?/state | paste -sd' ')" states
}

@test "what does not go as the schedule says is told: a node that is down already" {
    printf 'at 0s for 2s stop i001\nat 0.5s for 0.5s pause i002\n' >schedule
    echo stop >"$M/i002/control"
    performs 1 --schedule schedule
    has "$output" 'pause i002: i002 is not running (exited)'
    has "$output" '1 write did not go as the schedule says'
    has "$(performed | jq -r 'select(.words == "pause i002").error')" 'is not running'
    is exited "$(cat "$M/i002/state")"
}

@test "of a service, one of whose nodes is down, the others are paused, and go on at the end" {
    mount_at "$TMP/groups" --group kv:3:x --group gw:1:x --host simulated: --start
    echo stop >"$TMP/groups/kv-1/control"
    printf 'at 0s for 0.1s pause kv\n' >schedule
    run -1 with_deadline 60 "$CTHULHU" nemesis --quiet 10ms --schedule schedule "$TMP/groups"
    has "$output" 'kv-1 is not running (exited)'
    is 'exited running running running' "$(cat "$TMP/groups/"i00?/state | paste -sd' ')" states
    "$CTHULHU" umount "$TMP/groups" >/dev/null
}

@test "the net of a role is that of its node, and of no other if there is no such node" {
    echo i001 >leads-now
    mount_at "$TMP/nets" -n 3 --role "leader=cat $PWD/leads-now" --role-interval 20ms --host simulated: --start
    wait_for 20 grep -q 'leader  i001$' "$TMP/nets/roles"
    printf 'at 0s for 0.1s @other2/net delay 50ms\n' >schedule
    with_deadline 60 "$CTHULHU" nemesis --quiet 10ms --schedule schedule "$TMP/nets" 3>&-
    is i003 "$(jq -r 'select(.command.line == "delay 50ms").command.nodes[]' "$TMP/nets/history")"
    echo i001 i002 >leads-now
    wait_for 20 grep -q 'leader  i001 i002$' "$TMP/nets/roles"
    printf 'at 0s for 0.1s @leader/net delay 70ms\n' >schedule
    run -1 with_deadline 60 "$CTHULHU" nemesis --quiet 10ms --schedule schedule "$TMP/nets"
    has "$output" 'is not one node now'
    is '' "$(jq -r 'select(.command.line == "delay 70ms")' "$TMP/nets/history")"
    "$CTHULHU" umount "$TMP/nets" >/dev/null
}

# ---- what is refused before the first write ---------------------------------------------------------------------------------

# refuses LINES SENTENCE...: the schedule is refused with these words, and nothing was done.
refuses() {
    local before
    printf '%b' "$1" >schedule
    shift
    before=$(wc -l <"$M/history")
    performs 1 --schedule schedule
    for sentence in "$@"; do has "$output" "$sentence"; done
    is 1 "$(wc -l <<<"$output")" "lines ($output)"
    is "$before" "$(wc -l <"$M/history")" 'lines of the history'
}

@test "an overlap is refused with the numbers of its lines" {
    refuses '# a comment\nat 1s for 5s crash i001\n\nat 3s for 1s kill i001\n' 'schedule, line 4 (kill i001) overlaps line 2 (crash i001)'
    refuses 'at 1s partition halves\nat 3s for 1s partition isolate i001\n' 'line 2' 'overlaps line 1' "say with 'for'"
    refuses 'at 1s for 5s pause\nat 3s restart i002\n' 'line 2 (restart i002) overlaps line 1 (pause)'
}

@test "unknown nodes, roles and words, and nonsense are refused" {
    refuses 'at 1s crash i009\n' 'at 1s crash i009: there is no node i009'
    refuses 'at 1s for 1s i009/net loss 5%%\n' 'there is no node i009'
    refuses 'at 1s for 1s partition isolate i009\n' "no node is named 'i009'"
    refuses 'at 1s crash @leader\n' 'there is no role @leader; roles: none were given (--role)'
    refuses 'at 1s crash @other1\n' 'there is no role @other1; roles: none were given (--role)'
    refuses 'at 1s for 1s i001/net nonsense\n' "'nonsense' is not an effect"
    refuses 'crash i001\n' 'line 1: write at TIME [for TIME] WHAT'
    refuses 'at 1s explode i001\n' "line 1: no such command: 'explode'"
    refuses 'at 1s for 1s restart i001\n' 'restart is over at once'
    refuses '' 'the schedule is empty'
    printf '\0\377' >binary
    performs 1 --schedule binary
    performs 1 --schedule /nonexistent
    has "$output" 'cannot read /nonexistent'
    performs 1 --faults partition,meteor
    has "$output" "there is no 'meteor'; there are partition, oneway, crash"
    performs 1 --every 1ms --for 1h
    has "$output" 'a schedule has at most 10000 episodes'
    performs 2 --schedule binary --seed 3
    status=0
    output=$("$CTHULHU" nemesis /tmp 2>&1) || status=$?
    is 1 "$status"
    has "$output" '/tmp is not the mountpoint of a cluster'
}

# ---- times --------------------------------------------------------------------------------------------------------------------

@test "50 nodes, a slow start: what one waits for makes no other late" {
    # Figures belong in benches/run.sh: this is about the order of things. A start takes 500 ms, and 50 nodes are ended and
    # started at once; in turn that would take 25 s.
    mount_at "$TMP/many" -n 50 --host 'simulated:?start=500ms' --start
    for k in $(seq -w 50); do echo "at 0.5s for 0.5s kill i0$k"; done >schedule
    echo 'at 1.5s for 0.1s partition halves' >>schedule
    with_deadline 60 "$CTHULHU" nemesis --quiet 10ms --schedule schedule "$TMP/many" >out 2>&1 3>&-
    jq -c 'select(.nemesis).nemesis' "$TMP/many/history" >did
    is 51 "$(grep -c '"phase":"begin"' did)"
    is 51 "$(grep -c '"phase":"end"' did)"
    # The last start has not come before the partition: it would be seconds late.
    [ "$(jq -s 'map(.late_ms // 0) | max' did)" -lt 5000 ] || { cat out && return 1; }
    "$CTHULHU" umount "$TMP/many" >/dev/null
}

# ---- replay -------------------------------------------------------------------------------------------------------------------

@test "what was done by hand is a schedule, and is done again" {
    mount_at "$TMP/by-hand" -n 3 --host simulated: --start
    cd "$TMP/by-hand" || return 1
    echo 'isolate i001' >partition
    sleep 0.3
    echo crash >i002/control
    echo 'loss 5%' >i003/net
    sleep 0.3
    echo heal >control
    echo start >control
    cd "$BATS_TEST_TMPDIR" || return 1
    "$CTHULHU" replay "$TMP/by-hand" --dry-run >schedule
    sed 's/[0-9][0-9.]*s /N /g' schedule >shape
    is '# cthulhu schedule 1
at N for N partition isolate i001
at N for N crash i002
at N for N i003/net loss 5%' "$(cat shape)"
    with_deadline 60 "$CTHULHU" replay schedule "$TMP/by-hand" --quiet 10ms >out 2>&1 3>&-
    is '1 crash i002,1 i003/net loss 5%,1 partition isolate i001' \
        "$(jq -r 'select(.nemesis.phase == "begin").nemesis.words' "$TMP/by-hand/history" | sort | uniq -c | sed 's/^ *//' | paste -sd,)"
    # And what the schedule has done is that schedule again.
    "$CTHULHU" replay "$TMP/by-hand" --dry-run | sed 's/[0-9][0-9.]*s /N /g' | diff shape -
    "$CTHULHU" umount "$TMP/by-hand" >/dev/null
    # Also when it is not mounted any more.
    "$CTHULHU" replay "$TMP/by-hand" --dry-run | sed 's/[0-9][0-9.]*s /N /g' | diff shape -
}

@test "what failed on some nodes is replayed for the others" {
    mount_at "$TMP/some" -n 3 --host simulated: --start
    echo stop >"$TMP/some/i002/control"
    ! echo pause 2>/dev/null >"$TMP/some/control" || return 1
    ! echo resume 2>/dev/null >"$TMP/some/control" || return 1
    echo start >"$TMP/some/i002/control"
    is '# cthulhu schedule 1
at N for N stop i002
at N for N pause i001 i003' "$("$CTHULHU" replay "$TMP/some" --dry-run | sed 's/[0-9][0-9.]*s /N /g')"
    "$CTHULHU" umount "$TMP/some" >/dev/null
}

@test "what was added to links is replayed on top of the rest" {
    mount_at "$TMP/added" -n 3 --host simulated: --start
    echo 'i001>i002 drop' >"$TMP/added/links"
    echo 'i002>i003 loss 5%' >>"$TMP/added/links"
    is '[null,true]' "$(jq -c 'select(.command.phase == "invoke" and .command.verb == "links").command.appended' "$TMP/added/history" | jq -sc .)"
    is 'links i001>i002 drop,links i001>i002 drop; i002>i003 loss 5%' \
        "$("$CTHULHU" replay "$TMP/added" --dry-run | sed -n 's/^at .*s \(links\)/\1/p' | paste -sd,)"
    "$CTHULHU" umount "$TMP/added" >/dev/null
}

@test "there is nothing to replay, or no such history" {
    mount_at "$TMP/idle" -n 1 --host simulated: --start
    run -1 "$CTHULHU" replay "$TMP/idle" --dry-run
    has "$output" 'nothing was done to the cluster'
    "$CTHULHU" umount "$TMP/idle" >/dev/null
    run -1 "$CTHULHU" replay "$TMP/nowhere" --dry-run
    has "$output" "there is no $TMP/nowhere"
    run -2 "$CTHULHU" replay "$TMP/idle"
}

# ---- run and shrink ---------------------------------------------------------------------------------------------------------

# simulated STATUS ARGUMENT...: cthulhu run over three simulated nodes.
simulated() {
    local wanted=$1
    shift
    status=0
    output=$(TMPDIR=$BATS_TEST_TMPDIR with_deadline 60 "$CTHULHU" run -n 3 --host simulated: "$@" 2>&1 3>&-) || status=$?
    is "$wanted" "$status" "exit status of run $* ($output)"
}

# Until a schedule is over, and what of it went otherwise.
until_over='until grep -q "\"phase\":\"over\"" "$CTHULHU/history"; do sleep 0.05; done; jq -r "select(.nemesis.error).nemesis.error" "$CTHULHU/history"'

@test "run --nemesis: the schedule is performed while COMMAND runs, from its first line to the quiet time" {
    printf 'at 0.1s for 0.2s crash i001\n' >schedule
    simulated 0 --nemesis schedule --quiet 10ms -- sh -c "$until_over"
    has "$output" 'crash i001'
    has "$output" 'start i001'
    has "$output" 'nemesis: healed'
    simulated 0 --nemesis seed:7 --every 200ms --for 1s --quiet 10ms -- sh -c "grep -q '\"seed\":7' \$CTHULHU/history && $until_over"
}

@test "run --nemesis: COMMAND's exit status counts, and its end ends the schedule" {
    printf 'at 0s for 100s crash i001\n' >schedule
    simulated 3 --nemesis schedule -- sh -c 'until grep -q exited $CTHULHU/i001/state; do sleep 0.05; done; exit 3'
    is '' "$(ls -d "$BATS_TEST_TMPDIR"/cthulhu-* 2>/dev/null)" 'what is left'
}

@test "run --nemesis: what cannot be performed is refused before COMMAND" {
    printf 'at 0s crash i009\n' >schedule
    simulated 125 --nemesis schedule -- touch ran
    has "$output" 'there is no node i009'
    printf 'at 0s\n' >schedule
    simulated 1 --nemesis schedule -- touch ran
    has "$output" 'line 1'
    simulated 1 --nemesis seed:x -- touch ran
    simulated 1 --nemesis schedule --every 1s -- touch ran
    has "$output" '--faults, --every and --for draw a schedule'
    simulated 2 --every 1s -- touch ran
    [ ! -e ran ]
}

# shrinks STATUS ARGUMENT...
shrinks() {
    local wanted=$1
    shift
    status=0
    TMPDIR=$BATS_TEST_TMPDIR with_deadline 150 "$CTHULHU" shrink "$@" >out 2>err 3>&- || status=$?
    is "$wanted" "$status" "exit status of shrink $* ($(cat out err))"
}

four_lines() {
    printf 'at 0s for 0.1s pause i001\nat 0.02s for 0.1s pause i002\nat 0.04s for 0.1s i003/net loss 5%%\nat 0.06s for 0.1s partition isolate i001\n' >schedule
}

@test "shrink: a test that fails iff two lines are there leaves these two" {
    four_lines
    # shellcheck disable=SC2016
    test='sleep 0.3; ! { grep -q "\"words\":\"pause i002\"" "$CTHULHU/history" && grep -q "\"words\":\"partition isolate" "$CTHULHU/history"; }'
    shrinks 0 --tries 1 -o smallest schedule -n 3 --host simulated: --quiet 10ms -- sh -c "$test"
    is 'partition isolate i001,pause i002' "$(sed -n 's/^at .*s \(pa.*\)/\1/p' smallest | sort | paste -sd,)"
    has "$(cat err)" 'the whole schedule fails in 6 of 6 runs'
    has "$(cat err)" 'without any fault it fails in 0 of 1 runs'
    has "$(cat err)" '2 of 4 episodes are left; they fail in 8 of 8 runs'
    has "$(cat smallest)" '# fails in 8 of 8 runs'
    # It is a schedule.
    "$CTHULHU" replay smallest --dry-run >/dev/null
    is '' "$(ls -d "$BATS_TEST_TMPDIR"/cthulhu-* 2>/dev/null)" 'what is left'
}

@test "shrink: a test that never fails, or comes to no verdict, is refused; so are wrong options" {
    four_lines
    shrinks 1 schedule -n 1 --host simulated: -- true
    has "$(cat err)" 'there is no node i002'
    has "$(cat err)" 'no run came to a verdict'
    shrinks 1 schedule -n 3 --host simulated: --quiet 10ms -- true
    has "$(cat err)" 'it fails in 0 of 12 runs'
    shrinks 2 schedule -n 3 --no-such-option -- true
    # What run refuses with the status 1 is no failure of the test.
    shrinks 1 schedule -n 3 --host simulated: --every 1s -- true
    has "$(cat err)" '--every and --for draw a schedule'
    shrinks 1 schedule -n 3 --host simulated: --node-command "'" -- true
    has "$(cat err)" '--node-command'
    shrinks 127 schedule -n 3 --host simulated: -- no-such-program
    is 1 "$(wc -l <err)" lines
    shrinks 1 /nonexistent -n 3 -- true
    has "$(cat err)" 'cannot read /nonexistent'
}

@test "shrink: a test that fails without any fault is told so" {
    four_lines
    shrinks 1 --tries 1 schedule -n 3 --host simulated: --quiet 10ms -- false
    has "$(cat err)" 'it fails without any fault too, in 5 of 5 runs'
}

@test "shrink: runs side by side; a signal ends them, and nothing is left" {
    four_lines
    # shellcheck disable=SC2016
    test='cat; sleep 0.3; ! grep -q "pause i002" "$CTHULHU/history"'
    shrinks 0 --jobs 3 schedule -n 3 --host simulated: --quiet 10ms -- sh -c "$test"
    is 1 "$(grep -c '^at .*pause i002$' out)" "lines ($(cat out))"
    is 1 "$(grep -c '^at ' out)"

    TMPDIR=$BATS_TEST_TMPDIR env --default-signal=INT "$CTHULHU" shrink --jobs 3 schedule -n 3 --host simulated: -- \
        sh -c 'touch "$0"; sleep 100' "$BATS_TEST_TMPDIR/begun" >out 2>&1 3>&- &
    pid=$!
    wait_for 60 test -e begun
    kill "$pid"
    wait "$pid" || status=$?
    is 143 "$status"
    nothing_here() { [ -z "$(ls -d "$BATS_TEST_TMPDIR"/cthulhu-* 2>/dev/null)" ] && [ -z "$(mounts "$BATS_TEST_TMPDIR")" ]; }
    wait_for 30 nothing_here
}

# ---- roles ----------------------------------------------------------------------------------------------------------------------

# A cluster whose leader the file $TMP/leader names.
with_leader() {
    echo i002 >"$TMP/leader"
    mount_at "$TMP/roles" -n 3 --host simulated: --role "leader=cat $TMP/leader" --start
    R=$TMP/roles
}

@test "a role is looked up when its episode begins, and its end means the same node" {
    with_leader
    cat >schedule <<'END'
at 0.1s for 1s crash @leader
at 0.2s for 0.2s partition isolate @leader
at 0.2s for 0.2s links @leader>@other2 drop
at 0.3s for 0.2s @leader/net loss 5%
END
    { wait_for 20 grep -q exited "$R/i002/state" && echo i003 >"$TMP/leader"; } &
    with_deadline 60 "$CTHULHU" nemesis --quiet 10ms --schedule schedule "$R" >out 2>&1 3>&-
    wait
    jq -c 'select(.nemesis).nemesis' "$R/history" >did
    is '"crash i002"' "$(jq -c 'select(.words == "crash @leader").resolved' did)"
    is '"start i002"' "$(jq -c 'select(.episode == 1 and .phase == "end").words' did)"
    has "$(jq -r 'select(.words == "partition isolate @leader").resolved' did)" 'partition isolate i00'
    is '' "$(cat "$R/partition" "$R/links" "$R"/i00?/net)" faults
    is running "$(sort -u "$R"/i00?/state)" states
    "$CTHULHU" umount "$R" >/dev/null
}

@test "half of what is drawn is aimed at roles" {
    with_leader
    "$CTHULHU" nemesis --seed 3 --every 1s --for 40s --dry-run "$R" >schedule
    [ "$(grep -c '^at .*@leader' schedule)" -gt 3 ]
    [ "$(grep '^at ' schedule | grep -vc '@leader')" -gt 3 ]
    "$CTHULHU" umount "$R" >/dev/null
}

@test "who leads is not known: the last known is used, and that is told" {
    with_leader
    wait_for 20 grep -q i002 "$R/roles"
    printf 'at 0.1s for 0.2s crash @leader\n' >schedule
    echo nobody-here >"$TMP/leader"
    status=0
    with_deadline 60 "$CTHULHU" nemesis --quiet 10ms --schedule schedule "$R" >out 2>&1 3>&- || status=$?
    is 1 "$status" "exit status ($(cat out))"
    has "$(cat out)" 'the last known is used: crash i002'
    is '"crash i002"' "$(jq -c 'select(.nemesis.words == "crash @leader").nemesis.resolved' "$R/history")"
    is running "$(sort -u "$R"/i00?/state)" states
    "$CTHULHU" umount "$R" >/dev/null
}

@test "replay --roles names nodes by the roles that they had" {
    with_leader
    wait_for 20 grep -q i002 "$R/roles"
    echo crash >"$R/i002/control"
    echo start >"$R/control"
    echo i003 >"$TMP/leader"
    wait_for 20 grep -q i003 "$R/roles"
    echo 'i003>i002 drop' >"$R/links"
    echo >"$R/links"
    "$CTHULHU" replay "$R" --dry-run >by-name
    "$CTHULHU" replay "$R" --roles --dry-run >by-role
    is 'crash i002,links i003>i002 drop' "$(sed -n 's/^at .*s \(crash\|links\)/\1/p' by-name | paste -sd,)"
    is 'crash @leader,links @leader>@other2 drop' "$(sed -n 's/^at .*s \(crash\|links\)/\1/p' by-role | paste -sd,)"
    with_deadline 60 "$CTHULHU" replay by-role "$R" --quiet 10ms >out 2>&1 3>&-
    has "$(cat out)" 'crash @leader (crash i003)'
    run -1 "$CTHULHU" replay by-role --roles --dry-run
    has "$output" 'is a schedule: --roles is for a history'
    "$CTHULHU" umount "$R" >/dev/null
}

@test "a role that nobody has yet, or that was never known, is a role" {
    mount_at "$TMP/nobody" -n 3 --host simulated: --role leader=true --role 'chief=exit 3' --start
    # The same seed draws the same, whoever leads.
    "$CTHULHU" nemesis --seed 3 --every 1s --for 40s --dry-run "$TMP/nobody" >drawn
    [ "$(grep -c '@leader' drawn)" -gt 0 ]
    for role in leader chief; do
        printf 'at 0.1s for 0.2s pause @%s\nat 0.1s for 0.2s @%s/net loss 10%%\n' "$role" "$role" >schedule
        status=0
        with_deadline 60 "$CTHULHU" nemesis --quiet 10ms --schedule schedule "$TMP/nobody" >out 2>&1 3>&- || status=$?
        is 1 "$status" "exit status ($(cat out))"
        has "$(cat out)" '2 writes did not go as the schedule says'
        ! grep -q 'unknown:/\|(pause' out || { cat out && return 1; }
    done
    is '' "$(cat "$TMP/nobody"/i00?/net)" faults
    "$CTHULHU" umount "$TMP/nobody" >/dev/null
}
