#!/usr/bin/env bats
# The log of a node: whole over all its runs, bounded, the newest kept.

load lib.bash

# How much the flooding node writes, in MB.
FLOOD=${FLOOD_MB:-30}

setup_file() {
    begin
    need_image
}

teardown_file() {
    end
}

teardown() {
    [ -z "${M:-}" ] || umount_cluster 2>/dev/null || true
}

# run_nodes DIR COMMAND...: two nodes that run a script, with the options in OPTIONS.
run_nodes() {
    local dir=$1
    shift
    # shellcheck disable=SC2086
    mount_cluster "$dir" ${OPTIONS:-} -i "$IMAGE" -- "$@"
}

@test "a node that prints one line and dies shows that line, run after run" {
    local run expected='' has
    run_nodes fast sh -c 'echo only line; exit 3'
    for run in 1 2 3 4 5; do
        echo start >"$M/i001/control"
        # It ends by itself; this waits for it.
        echo 'stop -t 10' >"$M/i001/control"
        is 3 "$(cat "$M/i001/exit_code")" 'exit code'
        expected+=$'only line\n'
        # Docker 26.1 on a busy machine has lost the output of such a run itself: then what it has is all that can be shown.
        has=$(docker logs "$P-i001")
        if [ "$has" != "${expected%$'\n'}" ]; then
            echo "# the engine itself has lost the output of run $run" >&3
            expected=${expected%$'only line\n'}
        fi
        is "$has" "$(cat "$M/i001/log")" "log after run $run"
        is "${expected%$'\n'}" "$has" "the engine's log after run $run"
    done
    [ -n "$expected" ]
    is "${#expected}" "$(stat -Lc %s "$M/i001/log")" size
    umount_cluster
}

@test "when stop, kill and restart have returned, the log has all that the run has said" {
    local verb last
    # Ends with a thousand lines on both streams, and one without a newline.
    run_nodes ends sh -c 'trap "i=0; while [ \$i -lt 500 ]; do i=\$((i + 1)); echo out \$i; echo err \$i >&2; done; printf last; exit 0" TERM
        echo begun; while :; do sleep 3600 & wait $!; done'
    for verb in 'stop -t 10' 'restart -t 10' 'stop -t 10' 'kill -s KILL'; do
        echo start >"$M/i001/control"
        wait_for 10 sh -c 'tail -n 1 "$0" | grep -q begun' "$M/i001/log"
        echo "$verb" >"$M/i001/control"
        case $verb in
        stop*) last='last' ;;
        restart*)
            last=lastbegun
            wait_for 10 sh -c 'tail -n 1 "$0" | grep -q begun' "$M/i001/log"
            ;;
        kill*) last=lastbegun ;;
        esac
        is "$last" "$(tail -n 1 "$M/i001/log")" "last line after $verb"
    done
    is 1500 "$(grep -c '^out ' "$M/i001/log")" 'lines of stdout'
    is 1500 "$(grep -c '^err ' "$M/i001/log")" 'lines of stderr'
    is 3 "$(grep -c '^out 500$' "$M/i001/log")" 'ends'
    umount_cluster
}

@test "what was written before umount is in the data directory, and a later mount goes on with it" {
    OPTIONS="--data $TMP/data" run_nodes kept sh -c 'echo begun; sleep 3600'
    echo start >"$M/i001/control"
    docker exec "$P-i001" sh -c 'echo the last words >/proc/1/fd/1'
    umount_cluster
    is $'begun\nthe last words' "$(cat "$TMP/data/i001/log")"
    OPTIONS="--data $TMP/data" run_nodes kept sh -c 'echo again; sleep 3600'
    echo start >"$M/i001/control"
    wait_for 10 reads "$M/i001/log" $'begun\nthe last words\nagain'
    umount_cluster
}

@test "tail -f and grep follow what is written" {
    run_nodes tail sh -c 'echo begun; sleep 3600'
    echo start >"$M/i001/control"
    wait_for 10 contains "$M/i001/log" begun
    tail -s 0.1 -f "$M/i001/log" >"$TMP/tailed" 3>&- &
    local tail=$!
    docker exec "$P-i001" sh -c 'echo one more >/proc/1/fd/1'
    wait_for 10 contains "$TMP/tailed" 'one more'
    kill "$tail"
    is 1 "$(grep -c 'one more' "$M/i001/log")"
    umount_cluster
}

# Checks that a log is within a limit, begins with what was cut, and is the newest whole lines up to the last.
newest_lines() {
    awk -v size="$(stat -Lc %s "$1")" -v most="$2" -v last="$3" '
        NR == 1 && !/^\[cthulhu: [0-9]+ bytes cut before this line \(--log-limit 4m\)\]$/ { print "begins with " $0; bad = 1 }
        NR == 1 { cut = $2; rest = size - length($0) - 1; next }
        { gsub(/x/, ""); if (NR > 2 && $1 != number + 1) { print "after " number " comes " $1; bad = 1 } number = $1 + 0 }
        END {
            if (number != last) { print "the last is " number; bad = 1 }
            if (size > most || size < most / 4) { print size " bytes"; bad = 1 }
            if (cut + rest != last * 100) { print cut " cut and " rest " left"; bad = 1 }
            exit bad
        }' "$1"
}

used() { du -cb "$1"/log* | tail -n 1 | cut -f 1; }

@test "a node that writes $FLOOD MB at full speed: its log is the newest 4 MB, and other nodes are read meanwhile" {
    local lines=$((FLOOD * 10000)) most=$((4 << 20)) read=0 dir began spent=0
    # Lines of a hundred bytes that begin with their number.
    export M=$TMP/flood
    mkdir "$M"
    with_deadline 120 "$CTHULHU" mount --prefix "$P" "$M" -n 2 -i "$IMAGE" --log-limit 4m --data "$TMP/flooded" -- \
        sh -c 'if [ "$(hostname)" = i001 ]; then exec awk -v n='"$lines"' "BEGIN { while (i++ < n) printf \"%-9d %089d\\n\", i, 0 }"; fi; sleep 3600'
    dir=$TMP/flooded/i001
    echo 'start i002' >"$M/control"
    echo start >"$M/i001/control" &
    began=$!
    until reads "$M/i001/state" exited; do
        is 1 "$(with_deadline 60 cat "$M/i002/pid.txt" | wc -l)" 'lines of pid.txt'
        read=$((read + 1))
        spent=$(used "$dir")
        # Three files while one takes the place of another.
        [ "$spent" -le "$((most + most / 2))" ] || { echo "$spent bytes on disk" >&2; return 1; }
    done
    wait "$began"
    echo "# read $read times meanwhile"
    wait_for 120 newest_lines "$M/i001/log" "$most" "$lines" 2>/dev/null || newest_lines "$M/i001/log" "$most" "$lines"
    # Both read in pieces from an offset, backwards.
    is 3 "$(tail -n 3 "$M/i001/log" | wc -l)"
    tac "$M/i001/log" >"$TMP/reversed"
    is "$(tail -n 1 "$M/i001/log")" "$(head -n 1 "$TMP/reversed")"
    is "$(wc -l <"$M/i001/log")" "$(wc -l <"$TMP/reversed")"
    umount_cluster
    newest_lines "$dir/log" "$most" "$lines"
    is 'etc log var' "$(echo $(ls "$dir"))"
    # And on with it: where it was joined it is cut again.
    with_deadline 120 "$CTHULHU" mount --prefix "$P" "$M" -i "$IMAGE" --log-limit 4m --data "$TMP/flooded" -- \
        awk "BEGIN { while (i++ < 30000) printf \"%-9d %089d\\n\", $lines + i, 0 }"
    newest_lines "$M/i001/log" "$most" "$lines"
    echo start >"$M/i001/control"
    echo 'stop -t 10' >"$M/i001/control"
    wait_for 60 newest_lines "$M/i001/log" "$most" "$((lines + 30000))" 2>/dev/null || newest_lines "$M/i001/log" "$most" "$((lines + 30000))"
    umount_cluster
    newest_lines "$dir/log" "$most" "$((lines + 30000))"
}

@test "a log limit that makes no sense is refused before anything is made" {
    local wrong
    mkdir "$TMP/wrong"
    for wrong in 0 x 1k -5m; do
        refused "$CTHULHU" mount --prefix "$P" "--log-limit=$wrong" --host simulated: "$TMP/wrong" 2>"$TMP/out"
        has "$(cat "$TMP/out")" --log-limit
    done
    nothing_left "$TMP/wrong"
}
