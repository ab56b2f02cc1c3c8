#!/usr/bin/env bats
# cthulhu check: the operations of a test against a model, in a mounted cluster, after its end, in a file of any size.

load lib.bash

setup_file() {
    begin
    mount_cluster live -n 3 --host simulated: --data "$TMP/data"
    echo start >"$M/control"
}

teardown_file() { end; }

H() { echo "$TMP/live/history"; }

# did PROCESS F VALUE [RESULT]: an operation that is acknowledged, in the history of the mount.
did() {
    echo "{\"process\":$1,\"type\":\"invoke\",\"f\":\"$2\",\"value\":$3}" >>"$(H)"
    echo "{\"process\":$1,\"type\":\"ok\",\"f\":\"$2\",\"value\":${4:-$3}}" >>"$(H)"
}

# history_of FILE LINE...: a history with these lines of a test, whose process, type, f and value are the words of each.
history_of() {
    local file=$1 seq=1 process type f value
    shift
    echo '{"seq":1,"time":"2026-11-30T12:00:00.000000000Z","mono_ns":1,"cluster":{"phase":"mounted","nodes":[]}}' >"$file"
    printf '%s\n' "$@" | while read -r process type f value; do
        seq=$((seq + 1))
        printf '{"seq":%d,"time":"2026-11-30T12:00:%02d.000000000Z","mono_ns":%d,"test":{"process":%s,"type":"%s","f":"%s","value":%s}}\n' \
            $seq $seq $seq "$process" "$type" "$f" "${value:-null}"
    done >>"$file"
}

# ends_with STATUS OPTION...: check exits so; its stdout is in $TMP/out, its stderr in $TMP/err.
ends_with() {
    local wanted=$1 status=0
    shift
    "$CTHULHU" check "$@" >"$TMP/out" 2>"$TMP/err" || status=$?
    is "$wanted" "$status" "exit status ($(cat "$TMP/out" "$TMP/err"))"
}

# In 40 MB of data.
with_little_memory() (
    ulimit -d 40000
    "$@"
)

verdicts() { jq -c 'select(.verdict)' "$1" | wc -l; }

@test "a mounted cluster: good, and the verdict is in its history" {
    did 0 add 1
    did 0 add 2
    did 1 read null '[1,2]'
    ends_with 0 "$TMP/live" --model set
    is 'good: all 2 acknowledged elements are there (set, 3 operations)' "$(cat "$TMP/out")"
    is '' "$(cat "$TMP/err")"
    is '{"model":"set","result":"good","text":"all 2 acknowledged elements are there","operations":3}' \
        "$(jq -c '.verdict | select(.)' "$(H)")"
    # Once more: once more.
    ends_with 0 "$TMP/live" --model set --json
    is good "$(jq -r .result "$TMP/out")"
    is 2 "$(verdicts "$(H)")"
}

@test "a mounted cluster: violated, with lines, times and the faults that were in force" {
    echo 'i001 | i002 i003' >"$TMP/live/partition"
    echo pause >"$TMP/live/i003/control"
    did 0 add 3
    : >"$TMP/live/partition"
    echo resume >"$TMP/live/i003/control"
    did 1 read null '[1,2]'
    ends_with 1 "$TMP/live" --model set
    has "$(head -1 "$TMP/out")" 'violated: 1 of 3 acknowledged elements is lost (set, 5 operations)'
    contains "$TMP/out" '^1\. lost: 3 was acknowledged (lines [0-9-]*); the read of lines [0-9-]*, which began later'
    contains "$TMP/out" '  [0-9]*  [0-9:.]*Z  {"process":0,"type":"invoke","f":"add","value":3}'
    contains "$TMP/out" 'faults meanwhile: .*i001>i002 drop.*i003 paused'
    jq -e 'select(.verdict.result == "violated") | .verdict.anomalies[0] | .kind == "lost" and (.lines | length) == 4
        and (.faults | contains(["i001>i002 drop", "i003 paused"]))' "$(H)" >/dev/null
    # The numbers are those of the lines.
    is "$(jq -c 'select(.test.value == 3) | .seq' "$(H)" | xargs)" \
        "$(jq -c 'select(.verdict.result == "violated") | .verdict.anomalies[0].lines[:2][]' "$(H)" | xargs)"
}

@test "the directory of a cluster's data: not while it is mounted elsewhere, but after its end" {
    local before
    before=$(verdicts "$(H)")
    ends_with 1 "$TMP/data" --model set
    contains "$TMP/err" "cannot append the verdict.*the cluster at $TMP/live keeps its data there"
    is "$before" "$(verdicts "$(H)")"
    umount_cluster "$TMP/live"
    ends_with 1 "$TMP/data" --model set
    is '' "$(cat "$TMP/err")"
    is $((before + 1)) "$(verdicts "$TMP/data/history")"
    # A file is only read.
    ends_with 1 "$TMP/data/history" --model set
    is $((before + 1)) "$(verdicts "$TMP/data/history")"
    # The next mount goes on there, and is another history.
    mount_cluster live -n 1 --host simulated: --data "$TMP/data"
    jq -s -e '[.[].seq] == [range(1; length + 1)]' "$(H)" >/dev/null
    ends_with 4 "$TMP/live" --model set
    contains "$TMP/err" 'the test has recorded no operations'
    # The verdict would stand among the lines of another mount.
    ends_with 1 "$TMP/live" --model set --mount 1
    is $((before + 1)) "$(verdicts "$(H)")"
    umount_cluster "$TMP/live"
}

@test "an unmounted cluster is found by the place where it was mounted" {
    local kept
    mount_cluster live -n 1 --host simulated:
    did 0 inc null 1
    kept=$(umount_cluster "$TMP/live" | sed 's/.* is in //')
    ends_with 0 "$TMP/live" --model monotonic
    is '' "$(cat "$TMP/err")"
    is 1 "$(verdicts "$kept/history")"
    mount_cluster live -n 1 --host simulated:
    umount_cluster "$TMP/live"
}

@test "a directory of artifacts gets the verdict, and nothing else" {
    mkdir "$TMP/artifacts"
    history_of "$TMP/artifacts/history" '0 invoke write 1' '0 ok write 1' '1 invoke read' '1 ok read 1'
    ends_with 0 "$TMP/artifacts" --model register
    is 1 "$(verdicts "$TMP/artifacts/history")"
    is history "$(ls "$TMP/artifacts")"
    chmod a-w "$TMP/artifacts/history"
    if [ "$(id -u)" != 0 ]; then
        ends_with 0 "$TMP/artifacts" --model register
        contains "$TMP/err" 'cannot append the verdict'
    fi
}

@test "every model, good and violated" {
    local model line
    while IFS='|' read -r model line; do
        mapfile -t lines < <(tr ';' '\n' <<<"$line" | sed 's/^ *//')
        history_of "$TMP/one" "${lines[@]}"
        ends_with "${model#* }" "$TMP/one" --model "${model% *}"
    done <<'LINES'
register 0|0 invoke write 1; 1 invoke read; 0 info write 1; 1 ok read null; 1 invoke read; 1 ok read 1
register 1|0 invoke write 1; 0 ok write 1; 0 invoke cas [1,2]; 0 ok cas [1,2]; 1 invoke read; 1 ok read 1
set 0|0 invoke add 1; 0 ok add 1; 1 invoke read; 1 ok read [1]
set 1|0 invoke add 1; 0 ok add 1; 1 invoke read; 1 ok read [1,2]
set 4|0 invoke add 1; 0 ok add 1
queue 0|0 invoke enqueue 1; 0 ok enqueue 1; 1 invoke drain; 1 ok drain [1]
queue 1|0 invoke enqueue 1; 0 ok enqueue 1; 1 invoke dequeue; 1 ok dequeue 1; 1 invoke drain; 1 ok drain [1]
bank 0|0 invoke read; 0 ok read {"a":5,"b":5}; 0 invoke read; 0 ok read {"a":4,"b":6}
bank 1|0 invoke read; 0 ok read {"a":5,"b":5}; 0 invoke read; 0 ok read {"a":4,"b":7}
monotonic 0|0 invoke inc; 0 ok inc 1; 1 invoke read; 1 ok read 1
monotonic 1|0 invoke inc; 0 ok inc 2; 1 invoke read; 1 ok read 1
list 0|0 invoke append 1; 0 ok append 1; 1 invoke read; 1 ok read [1]
list 1|0 invoke append 1; 0 ok append 1; 0 invoke append 2; 0 ok append 2; 1 invoke read; 1 ok read [2,1]
LINES
    history_of "$TMP/one" '0 invoke read' '0 ok read {"a":5,"b":-5}'
    ends_with 0 "$TMP/one" --model bank --total 0
    ends_with 1 "$TMP/one" --model bank --total -1
    ends_with 1 "$TMP/one" --model bank --total 0 --no-negative
}

@test "a history that is cut off is checked as far as it goes" {
    history_of "$TMP/cut" '0 invoke add 1' '0 ok add 1' '1 invoke read' '1 ok read [1]' '0 invoke add 2'
    truncate -s -20 "$TMP/cut"
    ends_with 0 "$TMP/cut" --model set
    contains "$TMP/out" 'the last line of the history is cut off'
}

@test "what cannot be checked: a sentence, and neither good nor violated" {
    has "$("$CTHULHU" check --help)" Example
    history_of "$TMP/one" '0 invoke add 1' '1 ok add 1'
    ends_with 4 "$TMP/one" --model set
    contains "$TMP/out" 'unknown: line 3 makes no sense'
    ends_with 4 "$TMP/one" --model queue
    contains "$TMP/err" "the model queue has none of the test's 1 operation (add): it has enqueue, dequeue, drain"
    ends_with 4 "$TMP/one" --model set --mount 7
    contains "$TMP/err" 'there is no mount 7'
    ends_with 4 "$TMP/nowhere" --model set
    contains "$TMP/err" "there is no $TMP/nowhere"
    mkdir "$TMP/empty"
    ends_with 4 "$TMP/empty" --model set
    : >"$TMP/nothing"
    ends_with 4 "$TMP/nothing" --model set
    contains "$TMP/err" 'the history is empty'
    head -c 100000 /dev/urandom >"$TMP/noise"
    ends_with 4 "$TMP/noise" --model set
    contains "$TMP/err" 'is no JSON object'
    yes '{"a":1}' | head -100 >"$TMP/other"
    ends_with 4 "$TMP/other" --model set
    ends_with 2 "$TMP/one" --model stack
    ends_with 2 "$TMP/one"
    refused grep -q '^{"verdict' "$TMP/one"
}

@test "a verdict that cannot be printed, a mount that does not answer: unknown" {
    local status=0 pid
    history_of "$TMP/one" '0 invoke add 1' '0 ok add 1' '1 invoke read' '1 ok read []'
    "$CTHULHU" check "$TMP/one" --model set >/dev/full 2>"$TMP/err" || status=$?
    is 4 "$status" "exit status ($(cat "$TMP/err"))"
    mount_cluster live -n 1 --host simulated:
    did 0 inc null 1
    pid=$(daemons "$TMP")
    kill -STOP "$pid"
    status=0
    "$CTHULHU" check "$TMP/live" --model monotonic >"$TMP/out" 2>"$TMP/err" || status=$?
    kill -CONT "$pid"
    is 4 "$status" "exit status ($(cat "$TMP/out" "$TMP/err"))"
    contains "$TMP/err" 'is stopped'
    ends_with 0 "$TMP/live" --model monotonic
    umount_cluster "$TMP/live"
}

@test "a history that is much longer than the memory" {
    python3 - "$TMP/long" <<'PY'
import sys
# 64 MB: writes and reads of 1,000 registers, with values as long as they may be in a test that does not care.
pad = "x" * 300
with open(sys.argv[1], "w") as out:
    line = lambda seq, rest: out.write(f'{{"seq":{seq},"time":"2026-11-30T12:00:00.000000000Z","mono_ns":{seq},"test":{{{rest},"note":"{pad}"}}}}\n')
    for n in range(0, 140000, 4):
        key, value = n // 4 % 1000, n
        line(n + 1, f'"process":0,"type":"invoke","f":"write","key":{key},"value":{value}')
        line(n + 2, f'"process":0,"type":"ok","f":"write","key":{key},"value":{value}')
        line(n + 3, f'"process":1,"type":"invoke","f":"read","key":{key},"value":null')
        line(n + 4, f'"process":1,"type":"ok","f":"read","key":{key},"value":{value}')
PY
    [ "$(stat -c %s "$TMP/long")" -gt 60000000 ]
    local status=0
    with_little_memory "$CTHULHU" check "$TMP/long" --model register >"$TMP/out" 2>"$TMP/err" || status=$?
    is 0 "$status" "exit status ($(cat "$TMP/out" "$TMP/err"))"
    is 'good: 1000 keys are linearizable, each by itself (register, 70000 operations)' "$(cat "$TMP/out")"
    # A reader of the whole file does not fit.
    refused with_little_memory python3 -c 'import sys; len(open(sys.argv[1]).read())' "$TMP/long" 2>/dev/null
}
