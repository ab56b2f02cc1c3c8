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
    contains "$TMP/shown" 'i003 died of a signal that no command sent (SIGKILL, exit code 137); never came back'
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
