#!/usr/bin/env bats
# cthulhu timeline: a picture of a history, of a living cluster and of one that is gone.

load lib.bash

setup_file() {
    begin
    need_image
}

teardown_file() { end; }

HISTORIES=$FS_TESTS/../tests/histories

# Fails unless a file is well-formed XML; prints the text that it shows.
shown() {
    python3 - "$1" <<'PY'
import sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
for style in list(root.iter()):
    for child in list(style):
        if child.tag.split("}")[-1] in ("style", "script"):
            style.remove(child)
print("\n".join(text.strip() for text in root.itertext() if text.strip()))
PY
}

@test "a file as .svg and as .html: whole, well-formed, with what happened in words" {
    local kind
    for kind in svg html; do
        "$CTHULHU" timeline "$HISTORIES/kill.jsonl" -o "$TMP/kill.$kind"
        shown "$TMP/kill.$kind" >"$TMP/shown"
        contains "$TMP/shown" 'i002 down by “kill” (SIGKILL, exit code 137); back after'
        contains "$TMP/shown" 'i003 died by itself (exit code 1); never came back'
        contains "$TMP/shown" 'command “kill -s TERM i003” failed: ESRCH'
        contains "$TMP/shown" '2 of 24 operations failed'
    done
    has "$(head -c 40 "$TMP/kill.svg")" '<?xml'
    has "$(head -c 40 "$TMP/kill.html")" '<!DOCTYPE html>'
    refused grep -q 'https\?://[^w]' "$TMP/kill.html"
}

@test "to stdout and from stdin" {
    is "$(cat "$TMP/kill.svg")" "$("$CTHULHU" timeline "$HISTORIES/kill.jsonl" -o -)"
    is "$(cat "$TMP/kill.html")" "$("$CTHULHU" timeline - -o - --format html <"$HISTORIES/kill.jsonl")"
}

@test "what cannot be drawn is refused in a sentence, and nothing is written" {
    has "$("$CTHULHU" timeline --help)" Example
    run "$CTHULHU" timeline "$HISTORIES/kill.jsonl"
    is 1 "$status"
    has "$output" "cthulhu timeline $HISTORIES/kill.jsonl -o timeline.svg"
    run "$CTHULHU" timeline "$HISTORIES/kill.jsonl" -o "$TMP/picture.png"
    is 1 "$status"
    has "$output" '--format svg'
    mkdir -p "$TMP/empty"
    run "$CTHULHU" timeline "$TMP/empty" -o "$TMP/none.svg"
    is 1 "$status"
    has "$output" "$TMP/empty has no history"
    run "$CTHULHU" timeline "$TMP/nowhere" -o "$TMP/none.svg"
    has "$output" "there is no $TMP/nowhere"
    : >"$TMP/nothing"
    run "$CTHULHU" timeline "$TMP/nothing" -o "$TMP/none.svg"
    has "$output" 'the history is empty'
    { head -3 "$HISTORIES/kill.jsonl"; echo '{"seq":4,'; head -1 "$HISTORIES/kill.jsonl"; } >"$TMP/broken"
    run "$CTHULHU" timeline "$TMP/broken" -o "$TMP/none.svg"
    is 1 "$status"
    has "$output" 'line 4 is no JSON object'
    run "$CTHULHU" timeline "$HISTORIES/kill.jsonl" --mount 2 -o "$TMP/none.svg"
    has "$output" 'there is no mount 2'
    run "$CTHULHU" timeline "$HISTORIES/kill.jsonl" -o "$TMP/no/such/dir.svg"
    has "$output" "cannot write $TMP/no/such/dir.svg"
    refused test -e "$TMP/none.svg"
}

@test "a torn last line and kinds of a later version are no obstacle, and told" {
    { cat "$HISTORIES/kill.jsonl"; echo '{"seq":99,"mono_ns":8136356789012,"weather":"fine"}'; printf '{"seq":100,"ti'; } >"$TMP/torn"
    "$CTHULHU" timeline "$TMP/torn" -o "$TMP/torn.svg"
    shown "$TMP/torn.svg" >"$TMP/shown"
    contains "$TMP/shown" '1 line of kinds unknown to this version'
    contains "$TMP/shown" 'The last line is incomplete'
}

@test "a cluster: while it is mounted, and after it is gone" {
    mount_busybox live -n 3 --start
    echo '{"process":0,"type":"invoke","f":"write","value":"<script>alert(1)</script>"}' >>"$M/history"
    echo kill >"$M/i002/control"
    echo '{"process":0,"type":"fail","f":"write","error":"<b>gone</b>"}' >>"$M/history"
    refused sh -c 'echo kill >"$1/i002/control"' - "$M" 2>/dev/null
    echo start >"$M/i002/control"
    # An end that nobody here asked for.
    docker kill "$P-i003" >/dev/null
    wait_for 20 reads "$M/i003/state" exited
    wait_for 20 reads "$M/i003/exit_code" 137
    "$CTHULHU" timeline "$M" -o "$TMP/live.html"
    "$CTHULHU" timeline "$M" -o "$TMP/live.svg"
    shown "$TMP/live.svg" >"$TMP/shown"
    contains "$TMP/shown" "3 nodes of $IMAGE"
    contains "$TMP/shown" 'i002 down by “kill” (SIGKILL, exit code 137); back after'
    contains "$TMP/shown" 'command “kill” failed: ESRCH'
    contains "$TMP/shown" 'i003 died of a signal that no command sent (SIGKILL, exit code 137); still down after'
    contains "$TMP/shown" 'the test.s operation failed: write'
    refused grep -e '<script>alert' -e '<b>gone' "$TMP/live.svg" "$TMP/live.html"
    shown "$TMP/live.html" >/dev/null

    umount_cluster
    # By the place where it was mounted.
    "$CTHULHU" timeline "$M" -o "$TMP/after.svg"
    shown "$TMP/after.svg" >"$TMP/shown"
    contains "$TMP/shown" 'i002 down by “kill”'
    nothing_left "$M"
}

# Mounts a simulated cluster of three nodes at $M and starts it.
mount_simulated() {
    M=$TMP/$1
    mkdir "$M"
    "$CTHULHU" mount --host simulated: -n 3 --start "$M" >/dev/null
}

@test "a cluster that is mounted is drawn to now, with who is paused" {
    mount_simulated now
    echo pause >"$M/i002/control"
    sleep 1.2
    "$CTHULHU" timeline "$M" -o "$TMP/now.svg"
    shown "$TMP/now.svg" >"$TMP/shown"
    contains "$TMP/shown" 'i002 was paused for [1-9].* s so far by “pause”'
    contains "$TMP/shown" ' so far · '
    # A copy of the history knows no now.
    cp "$M/history" "$TMP/copy"
    "$CTHULHU" timeline "$TMP/copy" -o "$TMP/copy.svg"
    shown "$TMP/copy.svg" >"$TMP/shown"
    contains "$TMP/shown" 'no end recorded'
    contains "$TMP/shown" 'i002 was paused for .*s, to the end by “pause”'
    "$CTHULHU" umount "$M"
}

# A suite that believes itself good: it appends operations, an episode and a verdict about the first operation.
suite() {
    cat >"$TMP/$1" <<'EOS'
#!/bin/bash
cd "$CTHULHU" || exit 1
add() {
    echo '{"process":0,"type":"invoke","f":"add","key":"<k>","value":"</script><img src=x>\u001b[31m"}' >>history
    tail -n 1 history | jq .seq
    echo '{"process":0,"type":"ok","f":"add","key":"<k>","value":"</script><img src=x>\u001b[31m"}' >>history
}
echo '{"nemesis":{"phase":"begin","episode":1,"words":"crash @leader","resolved":"crash i002","late_ms":0}}' >>history
echo crash >i002/control
first=$(add)
add >/dev/null
echo start >i002/control
echo '{"nemesis":{"phase":"end","episode":1,"words":"start i002","late_ms":0}}' >>history
echo '{"verdict":{"model":"set","result":"'"$1"'","text":"1 of 2 <b>elements</b> is lost","operations":2,
    "anomalies":[{"kind":"lost","text":"it was acknowledged, and </script><img src=x> no read has it","key":"<k>","lines":['"$first"'],"faults":["i002 crashed"]}]}}' |
    tr '\n' ' ' >>history
EOS
    chmod +x "$TMP/$1"
}

@test "a run that ends with 0 and a violated verdict leaves a report: the verdict, its operations, what was around" {
    suite suite
    cd "$TMP"
    "$CTHULHU" run --host simulated: -n 3 --prefix "$P" --artifacts "$TMP/art" -- ./suite violated 2>"$TMP/stderr"
    contains "$TMP/stderr" 'violated: set: 1 of 2 <b>elements</b> is lost'
    local kept=$TMP/art/$P
    is '["set","violated",1]' "$(jq -c '.[0] | [.model, .result, (.anomalies | length)]' "$kept/verdict.json")"
    refused test -e "$kept/left-out.txt"
    shown "$kept/report.html" >"$TMP/shown"
    is 'violated set 1 of 2 <b>elements</b> is lost' "$(grep -A 2 -x violated "$TMP/shown" | head -n 3 | paste -sd ' ')"
    contains "$TMP/shown" 'In force meanwhile:'
    contains "$TMP/shown" 'i002 down by “crash” (SIGKILL, exit code 137); back after'
    contains "$TMP/shown" '^nemesis: crash i002$'
    refused grep -e '<img' -e '<script' -e '<b>elements' "$kept/report.html"
    refused grep -q 'https\?://[^w]' "$kept/report.html"
    # A crash is one incident.
    is 1 "$(grep -c 'i002 down by' <(sed -n '/What happened/,/Timeline/p' "$TMP/shown"))"
    refused grep -q 'network: i002 crashed' "$TMP/shown"
    # The same again from the directory.
    "$CTHULHU" timeline "$kept" -o "$TMP/again.html" --format report
    cmp "$TMP/again.html" "$kept/report.html"
    # With lines of a log of that moment, and the schedule.
    printf '%s stepping down\n' "$(jq -r 'select(.test) | .time' "$kept/history" | head -n 1)" >"$kept/i001/log"
    echo '2001-01-01T00:00:00Z long ago' >"$kept/i003/log"
    echo 'at 1s crash @leader' >"$kept/schedule"
    "$CTHULHU" timeline "$kept" -o "$TMP/again.html" --format report
    shown "$TMP/again.html" >"$TMP/shown"
    contains "$TMP/shown" ' stepping down$'
    contains "$TMP/shown" '^at 1s crash @leader$'
    refused grep -q 'long ago' "$TMP/shown"
}

@test "a good verdict leaves nothing, or what was asked for" {
    suite suite
    cd "$TMP"
    "$CTHULHU" run --host simulated: -n 3 --prefix good --artifacts "$TMP/none" -- ./suite good
    refused test -e "$TMP/none"
    "$CTHULHU" run --host simulated: -n 3 --prefix good --artifacts "$TMP/none" --artifacts-when always -- true
    refused test -e "$TMP/none/good/verdict.json"
    shown "$TMP/none/good/report.html" >"$TMP/shown"
    contains "$TMP/shown" '^No verdict$'
}
