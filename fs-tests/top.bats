#!/usr/bin/env bats
# cthulhu top: a table of a cluster for a pipe, a screen that follows it for a terminal.

load lib.bash

# Says what no terminal should be told.
# shellcheck disable=SC2016
RUDE=(sh -c 'trap "exit 143" TERM; printf "first\nst\033[2Jill \033]0;evil\007here\n"; while :; do sleep 3600 & wait $!; done')

setup_file() {
    begin
    need_image
    mount_cluster live -n 4 -i "$IMAGE" -- "${RUDE[@]}"
    mkdir "$TMP/many"
    "$CTHULHU" mount -n 100 --host simulated: --start "$TMP/many" -i any
}

teardown_file() { end; }

setup() { cd "$TMP"; }

teardown() {
    # Of a test that has failed: without it, bats would wait for the screen.
    [ ! -s "$TMP/pid" ] || kill "$(cat "$TMP/pid")" 2>/dev/null || true
    rm -f "$TMP/pid"
}

# Prints the fields of a node's row in a table without its log's line, on a line: row TABLE NODE
row() {
    awk -v node="$2" '$1 == node { print $3, $4, $5 }' <<<"$1"
}

# open_screen ROWS COLUMNS DIR: top on a terminal. What it writes to it is in $TMP/screen, keys are written to 9, its exit status is
# in $TMP/status when it has ended, and $TMP/before and $TMP/after tell how the terminal was set.
open_screen() {
    rm -f "$TMP"/{keys,screen,status,before,after,pid,said}
    mkfifo "$TMP/keys"
    cat >"$TMP/inner.sh" <<SH
stty rows $1 cols $2
stty -g >"$TMP/before"
sh -c 'echo \$\$ >"$TMP/pid"; exec "$CTHULHU" top "\$0"' "$3" 2>"$TMP/said"
echo \$? >"$TMP/status"
stty -g >"$TMP/after"
SH
    TERM=xterm-256color script -qec "sh $TMP/inner.sh" /dev/null <"$TMP/keys" >"$TMP/screen" 2>&1 3>&- &
    terminal=$!
    exec 9>"$TMP/keys"
    wait_for 20 contains "$TMP/screen" NAME
}

keys() { printf "$1" >&9; }

# screen_ended STATUS: it has ended with it, and has given the terminal back as it was.
screen_ended() {
    wait_for 20 test -s "$TMP/after"
    exec 9>&-
    wait "$terminal"
    rm -f "$TMP/pid"
    is "$1" "$(cat "$TMP/status")" 'exit status'
    is "$(cat "$TMP/before")" "$(cat "$TMP/after")" 'terminal settings'
    local last
    # Leaves the other screen, and shows the cursor.
    last=$(tail -c 20 "$TMP/screen" | cat -v)
    has "$last" '^[[?1049l'
    has "$last" '^[[?25h'
}

@test "a table of running, paused, ended and missing nodes, when stdout is no terminal" {
    echo start >live/control
    echo 'pause i002' >live/control
    echo 'kill i003' >live/control
    docker rm -f "$P-i004" >/dev/null
    wait_for 20 reads live/i004/state missing
    wait_for 20 contains live/i001/log here
    local table line
    table=$("$CTHULHU" top live)
    echo "$table"
    is "running yes $(cat live/i001/pid.txt)" "$(row "$table" i001)"
    is "paused no $(cat live/i002/pid.txt)" "$(row "$table" i002)"
    is 'exited 137 no' "$(row "$table" i003)"
    is 'missing no -' "$(row "$table" i004)"
    has "$table" '2 of 4 up'
    line=$(grep ^i001 <<<"$table")
    has "$line" "$(cat live/i001/ip)"
    # Uptime, cpu, memory, and the last line, of which the escape sequences are gone.
    [[ $line =~ \ [0-9]+s\ +[0-9.]+%\ +[0-9.]+[KM]\ +still\ here$ ]]
    refused has "$table" evil 2>/dev/null
    refused has "$table" $'\033' 2>/dev/null
    # Any way to name it; a reader that has seen enough.
    cd live
    has "$("$CTHULHU" top --once . | head -1)" NAME
}

@test "an engine in memory: a hundred rows, and why there is no cpu and memory" {
    local table
    table=$("$CTHULHU" top many)
    is 100 "$(grep -c ' running ' <<<"$table")"
    has "$table" '100 of 100 up'
    has "$table" 'no cpu and memory: the engine is simulated'
}

@test "a screen shows what changes, and q gives the terminal back" {
    reads live/i002/state paused && echo 'resume i002' >live/control
    echo start >live/control
    open_screen 24 100 "$TMP/live"
    wait_for 20 contains "$TMP/screen" running
    refused contains "$TMP/screen" exited
    echo 'stop i001' >live/control
    wait_for 20 contains "$TMP/screen" exited
    # The log of the first node, and back with the left arrow.
    refused contains "$TMP/screen" first
    keys '\r'
    wait_for 20 contains "$TMP/screen" first
    keys '\033[D'
    docker rm -f "$P-i003" >/dev/null
    wait_for 20 contains "$TMP/screen" missing
    refused contains "$TMP/screen" evil
    refused contains "$TMP/screen" $'\033\\[2Jill'
    keys q
    screen_ended 0
    is '' "$(cat "$TMP/said")"
}

@test "^C, SIGTERM and SIGHUP give the terminal back too" {
    open_screen 24 80 "$TMP/many"
    keys '\003'
    screen_ended 0
    open_screen 24 80 "$TMP/many"
    kill "$(cat "$TMP/pid")"
    screen_ended 143
    open_screen 24 80 "$TMP/many"
    kill -HUP "$(cat "$TMP/pid")"
    screen_ended 129
}

@test "a hundred nodes scroll, on a narrow terminal too" {
    local columns
    for columns in 100 20; do
        open_screen 12 "$columns" "$TMP/many"
        wait_for 20 contains "$TMP/screen" running
        refused contains "$TMP/screen" i060
        keys G
        wait_for 20 contains "$TMP/screen" i100
        keys q
        screen_ended 0
    done
}

@test "when the mount goes away the screen ends with a sentence below it" {
    mkdir "$TMP/short"
    "$CTHULHU" mount -n 2 --host simulated: -i any "$TMP/short"
    open_screen 24 80 "$TMP/short"
    wait_for 20 contains "$TMP/screen" created
    umount_cluster "$TMP/short"
    screen_ended 1
    has "$(cat "$TMP/said")" 'has gone away'
}

@test "what is no cluster is refused with a sentence" {
    local wrong
    has "$("$CTHULHU" top --help)" Example
    run "$CTHULHU" top nowhere
    is 1 "$status"
    has "$output" 'there is no nowhere: name the mountpoint of a cluster'
    for wrong in "$TMP" live/i001 live/control; do
        run "$CTHULHU" top "$wrong"
        is 1 "$status"
        has "$output" "no cluster is mounted at $wrong"
    done
    run "$CTHULHU" top
    is 2 "$status"
    mkdir "$TMP/dead"
    "$CTHULHU" mount --host simulated: -i any "$TMP/dead"
    kill -9 "$("$CTHULHU" ls --json | jq -r --arg dir "$TMP/dead" '.[] | select(.mountpoint == $dir).pid')"
    wait_for 20 dead_mount
    run "$CTHULHU" top "$TMP/dead"
    is 1 "$status"
    has "$output" "the daemon of $TMP/dead is gone: cthulhu umount $TMP/dead"
    umount_cluster "$TMP/dead"
}

dead_mount() { ! stat -f "$TMP/dead" >/dev/null 2>&1; }
