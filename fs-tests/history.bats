#!/usr/bin/env bats
# history: what was done, what became of the nodes and why, and what tests append; while it is written, when there is no
# room, and after a daemon was killed.

load lib.bash

setup_file() {
    begin
    need_image
}

teardown_file() {
    end
}

setup() {
    M=$TMP/m$BATS_TEST_NUMBER
    H=$M/history
    D=$TMP/d$BATS_TEST_NUMBER
}

teardown() {
    local pid
    [ ! -e "$TMP/filled" ] || rm -f "$D/filler"
    for pid in $(daemons "$TMP"); do kill "$pid" || true; done
    wait_for 60 no_daemons "$TMP"
}

history_py() { python3 "$FS_TESTS/history.py" "$@"; }

# lines JQ: what it says of each line, one a line. select JQ: how many lines it is true of.
lines() { jq -r "$1" "$H"; }
count() { jq -c "select($1)" "$H" | wc -l; }
there() { [ "$(count "$1")" -gt 0 ]; }

# The states of a node, with their causes: states NODE
states() {
    lines ".state | select(.node == \"$1\") |
        \"\\(.from) \\(.to) \\(.cause) \\(.command // \"-\") \\(.exit_code // \"-\") \\(.signal // \"-\")\""
}

# ends_with NODE LINE: the node's last state line.
ends_with() { [ "$(states "$1" | tail -n 1)" = "$2" ]; }

@test "commands: each has its line and its end, and what it changed lies in between" {
    mount_busybox m$BATS_TEST_NUMBER -n 2
    is 644 "$(stat -c %a "$H")"
    is 'mounted 2' "$(lines '.cluster | "\(.phase) \(.nodes | length)"')"
    is "$(cat "$M/i002/ip")" "$(lines '.cluster.nodes[1].ip')"
    is "$(cat /proc/sys/kernel/random/boot_id)" "$(lines '.cluster.boot_id')"
    echo 'start i001' >"$M/control"
    is '3 ESRCH' "$(put_line "$M/i002/control" kill)"
    echo stop >"$M/i001/control"
    echo '{"after":"stop"}' >>"$H"
    is 'start i001 - i001 -
start - ok i001 -
kill - i002 -
kill - fail i002 ESRCH
stop - i001 -
stop - ok i001 -' "$(lines '.command | select(.) |
        "\(.line // .verb) - \(if .phase == "invoke" then "" else .phase + " " end)\(.nodes | join("+")) \(.errno // "-")"' |
        sed 's/^start i001 - i001/start i001 - i001/')"
    is 'created running command 1 - -' "$(states i001 | head -n 1)"
    wait_for 10 ends_with i001 'exited exited command 3 143 SIGTERM' || is 'running exited command 3 143 SIGTERM' "$(states i001 | tail -n 1)"
    is "$(lines '.command | select(.phase == "fail") | .error')" "$(cat "$M/i002/error")"
    # From the command's first line to the end of the stop, and then the test's: in this order.
    is 'invoke exited ok test' "$(lines 'if .test then "test" elif .command.id == 3 then .command.phase elif .state.command == 3 then .state.to else empty end' | uniq | tr '\n' ' ' | sed 's/ $//')"
    history_py sound "$H"
    umount_cluster
}

@test "lines that are no commands, and nodes that fail each in its own way" {
    mount_busybox m$BATS_TEST_NUMBER -n 3
    echo 'start i001' >"$M/control"
    is '22 EINVAL' "$(put_line "$M/control" 'fly away')"
    is '2 ENOENT' "$(put_line "$M/control" 'stop i009')"
    is '3 ESRCH' "$(put_line "$M/control" pause)"
    is 'fly away null EINVAL
stop i009 stop ENOENT
pause pause ESRCH' "$(jq -rs '[.[].command | select(.)] | group_by(.id)[] | select(.[1].errno) | "\(.[0].line) \(.[0].verb) \(.[1].errno)"' "$H")"
    is '{"i002":"ESRCH","i003":"ESRCH"}' "$(jq -c '.command.failed | select(.)' "$H")"
    is 'running paused command 4 - -' "$(states i001 | tail -n 1)"
    umount_cluster
}

@test "why a state changed: exit code, signal, removal, pause and start from outside" {
    mount_cluster m$BATS_TEST_NUMBER -n 3 -i "$IMAGE" --start -- sh -c 'while [ ! -e /opt/app/var/end ]; do sleep 0.05; done; exit $(cat /opt/app/var/end)'
    echo 7 >"$M/i001/bindmounts/var/end.new" && mv "$M/i001/bindmounts/var/end.new" "$M/i001/bindmounts/var/end"
    docker kill "$P-i002" >/dev/null
    docker rm -f "$P-i003" >/dev/null
    wait_for 20 there '.state.node == "i001" and .state.exit_code == 7'
    wait_for 20 there '.state.node == "i002" and .state.exit_code == 137'
    wait_for 20 ends_with i003 'exited missing engine - - -'
    is exit "$(lines '.state | select(.node == "i001" and .exit_code == 7) | .cause')"
    is 'signal SIGKILL' "$(lines '.state | select(.node == "i002" and .exit_code == 137) | "\(.cause) \(.signal)"')"
    docker start "$P-i002" >/dev/null
    wait_for 20 ends_with i002 'exited running engine - - -'
    docker pause "$P-i002" >/dev/null
    wait_for 20 ends_with i002 'running paused engine - - -'
    docker unpause "$P-i002" >/dev/null
    wait_for 20 ends_with i002 'paused running engine - - -'
    is "$(cat "$M/i002/pid.txt")" "$(lines '.state.pid // empty' | tail -n 1)"
    echo start >"$M/i003/control"
    is 'missing created command 2 - -
created running command 2 - -' "$(states i003 | tail -n 2)"
    history_py sound "$H"
    umount_cluster
}

@test "a node that has too little memory" {
    mount_cluster m$BATS_TEST_NUMBER --memory 16m -i "$IMAGE" --start -- dd if=/dev/zero of=/dev/null bs=300M count=1
    [ "$(docker inspect -f '{{.HostConfig.Memory}}' "$P-i001")" = 16777216 ]
    more() { [ "$(count .state.exit_code)" -gt "$ends" ]; }
    local ends=0
    wait_for 20 more
    # An engine that hears of the end before it hears of the cause never tells the cause: another run may.
    while [ "$(field i001 '{{.State.OOMKilled}}')" = false ] && [ "$((++ends))" -lt 6 ]; do
        echo start >"$M/i001/control" || true
        wait_for 20 more
    done
    [ "$(field i001 '{{.State.OOMKilled}}')" = true ] || skip 'this engine does not tell'
    wait_for 20 ends_with i001 "$(states i001 | tail -n 1 | cut -d' ' -f1-2) oom - 137 SIGKILL"
    umount_cluster
}

@test "what a test appends: whole lines, as they were, or none and a sentence" {
    local line
    mount_busybox m$BATS_TEST_NUMBER
    line='{"op":"write","key":"x","value":123456789012345678901234567890,"at":0.30000000000000000001}'
    echo "$line" >>"$H"
    is "$line" "$(sed -n 's/.*"test":\(.*\)}$/\1/p' "$H")"
    # > is no other thing, and truncation loses nothing.
    echo '{"n":1}' >"$H"
    truncate -s 0 "$H"
    { printf '{"n":2}\n\n{"n":3}\n{"n"' && printf ':4}'; } >>"$H"
    is '1 2 3 4' "$(lines '.test.n // empty' | tr '\n' ' ' | sed 's/ $//')"
    is "$(stat -c %s "$H")" "$(wc -c <"$H")"
    for line in 'no json' '[1]' '"x"' '{"a":1' '{"a":1}{"b":2}' "{\"a\":\"$(head -c 70000 /dev/zero | tr '\0' x)\"}"; do
        is '22 EINVAL' "$(printf '{"not":"taken"}\n%s\n' "$line" | put "$H")"
        has "$(cat "$M/error")" 'history: '
    done
    has "$(cat "$M/error")" 'longer than 65536 bytes'
    is '22 EINVAL' "$(printf '{"a":"\xff"}\n' | put "$H")"
    has "$(cat "$M/error")" 'not UTF-8'
    is 'close 22 EINVAL' "$(printf '{"unfinished' | put "$H")"
    is 0 "$(count '.test.not')"
    for line in "rm $H" "mv $H $M/other" "chmod 600 $H" "ln $H $M/other"; do
        refused $line 2>/dev/null
    done
    is 5 "$(count .test)"
    umount_cluster
}

@test "a write that the kernel splits is refused before any of it is taken" {
    local longest=1044480 size wrong
    mount_busybox m$BATS_TEST_NUMBER
    # lines SIZE LAST: so many bytes of lines, the last of them so.
    lines_of() {
        python3 -c 'import sys
size, last = int(sys.argv[1]), sys.argv[2].encode() + b"\n"
line = b"{\"n\":1}\n"
many = (size - len(last)) // len(line) - 1
rest = size - len(last) - many * len(line)
sys.stdout.buffer.write(line * many + b"{\"n\":%*d}\n" % (rest - 7, 1) + last)' "$@"
    }
    is $longest "$(lines_of $longest '{"last":1}' | wc -c)"
    for size in $((longest + 1)) $((1 << 20)) $(((1 << 20) + 1)) 3000000; do
        is '27 EFBIG' "$(lines_of $size '{"last":1}' | put "$H")" "$size bytes"
        has "$(cat "$M/error")" "at most $longest bytes"
        is '27 EFBIG' "$(lines_of $size 'echo stop' | put "$M/control")" "$size bytes"
    done
    is '22 EINVAL' "$(lines_of $longest 'not json' | put "$H")"
    is 0 "$(count .test)"
    is OK "$(lines_of $longest '{"last":1}' | put "$H")"
    is 1 "$(count .test.last)"
    is 1 "$(lines 'select(.test) | "\(.time) \(.mono_ns)"' | sort -u | wc -l)" 'times of one write'
    # Wherever in a page it begins.
    wrong=$(python3 - "$H" $longest <<'END'
import ctypes, os, sys
path, longest = sys.argv[1], int(sys.argv[2])
fd = os.open(path, os.O_WRONLY | os.O_APPEND)
libc = ctypes.CDLL(None, use_errno=True)
libc.write.restype = ctypes.c_ssize_t
for size in (longest, longest + 1, 2 << 20):
    for at in (0, 1, 4095):
        memory = ctypes.create_string_buffer(b"", size + 8192)
        begin = (ctypes.addressof(memory) + 4095) // 4096 * 4096 + at
        ctypes.memmove(begin, b"\n" * (size - 9) + b"{bad: 1}\n", size)
        got = libc.write(fd, ctypes.c_void_p(begin), ctypes.c_size_t(size))
        wanted = 22 if size == longest else 27
        if got != -1 or ctypes.get_errno() != wanted:
            print(size, at, got, ctypes.get_errno())
END
    )
    is '' "$wrong"
    umount_cluster
}

@test "what an earlier write has begun outlives a later one that is refused" {
    mount_busybox m$BATS_TEST_NUMBER
    python3 - "$H" <<'END'
import errno, os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
def refused(text):
    try:
        os.write(fd, text)
    except OSError as error:
        assert error.errno == errno.EINVAL, error
    else:
        raise AssertionError(text)
os.write(fd, b'{"begun":')
refused(b'1}\nnot json\n')
os.write(fd, b'2}\n{"begun"')
refused(b' not json\n{"whole":1}\n')
os.write(fd, b'{"whole":2}\n')
os.close(fd)
END
    is '2 2' "$(lines '.test.begun // .test.whole // empty' | xargs)"
    umount_cluster
}

@test "lines without an end: so much in all open files together, and what is nested too deep" {
    mount_busybox m$BATS_TEST_NUMBER
    python3 - "$M" <<'END'
import errno, os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (2000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
half, handles, refused = b'x' * 65536, [], 0
for name in ("history", "control", "partition", "i001/net") * 250:
    handles.append(os.open(f"{sys.argv[1]}/{name}", os.O_WRONLY | os.O_APPEND))
    try:
        os.write(handles[-1], half)
    except OSError as error:
        assert error.errno == errno.ENOBUFS, error
        refused += 1
assert refused == 1000 - 32 * 16, refused
assert "32 MiB" in open(f"{sys.argv[1]}/error").read()
os.write(handles[-4], b'{"whole":1}\n')
END
    is 1 "$(count .test.whole)"
    is '22 EINVAL' "$(python3 -c 'print("{\"a\":" + "[" * 120 + "]" * 120 + "}")' | put "$H")"
    has "$(cat "$M/error")" 'nested more than 120 deep'
    is OK "$(python3 -c 'print("{\"a\":" + "[" * 119 + "]" * 119 + "}")' | put "$H")"
    "$CTHULHU" history "$M" --format edn >/dev/null
    "$CTHULHU" timeline "$M" -o - >/dev/null
    umount_cluster
    python3 -c 'print("{\"mono_ns\":1,\"test\":{\"a\":" + "[" * 60000 + "]" * 60000 + "}}")' >"$TMP/deep"
    refused with_deadline 60 "$CTHULHU" history "$TMP/deep" --format edn 2>"$TMP/stderr"
    has "$(cat "$TMP/stderr")" 'line 1: not of a history: nested more than 121 deep'
}

@test "it is followed by poll(2) and by tail -f, and never read in halves" {
    local tail writer
    mount_busybox m$BATS_TEST_NUMBER
    history_py poll "$H" 20 >"$TMP/polled" &
    writer=$!
    wait_for 10 contains "$TMP/polled" ready
    echo '{"n":1}' >>"$H"
    wait "$writer"
    has "$(cat "$TMP/polled")" '"test":{"n":1}}'
    # From the beginning: so it misses nothing, however late it starts. Nothing has ended well yet.
    tail -n +1 -f "$H" >"$TMP/tailed" &
    tail=$!
    refused grep '"phase":"ok"' "$H"
    echo start >"$M/control"
    wait_for 20 contains "$TMP/tailed" '"phase":"ok"'
    kill "$tail"
    history_py write "$H" a 20000 7 &
    writer=$!
    while kill -0 "$writer" 2>/dev/null; do
        history_py sound "$H" >/dev/null
        "$CTHULHU" history "$M" | jq -e .seq >/dev/null
    done
    wait "$writer"
    umount_cluster
}

# LINES_APPENDED=N says how many lines eight processes append.
@test "eight processes append at once while nodes are killed at random" {
    local pids=() each n pid rss
    each=$((${LINES_APPENDED:-40000} / 8))
    mount_busybox m$BATS_TEST_NUMBER -n 3 --start
    rss=$(daemon_rss)
    # Two with a line a write, three with a hundred, two with more than one request takes, one of a shell's.
    for n in 1 2 3 4 5 6 7; do
        case $n in
        [12]) history_py write "$H" "w$n" "$each" 1 & ;;
        [345]) history_py write "$H" "w$n" "$each" 100 & ;;
        *) history_py write "$H" "w$n" "$((n == 7 ? each * 2 - 300 : each))" 20000 & ;;
        esac
        pids+=($!)
    done
    (for n in $(seq 0 299); do
        echo "{\"writer\":\"sh\",\"n\":$n,\"pad\":\"$(printf '%*s' $((n % 50)) '' | tr ' ' x)\"}" >>"$H"
    done) &
    pids+=($!)
    while kill -0 "${pids[@]}" 2>/dev/null; do
        docker kill "$P-i00$((RANDOM % 3 + 1))" >/dev/null 2>&1 || true
        echo start >"$M/control"
    done
    for pid in "${pids[@]}"; do wait "$pid"; done
    # What a write takes is given back: no more than the threads that serve requests hold on to.
    [ "$(($(daemon_rss) - rss))" -lt 40000 ]
    rss="$rss kB, then $(daemon_rss) kB"
    n=$(history_py check "$H" "w1=$each,w2=$each,w3=$each,w4=$each,w5=$each,w6=$each,w7=$((each * 2 - 300)),sh=300" $((each * 8)))
    echo "# $((each * 8)) lines appended, $n in all; daemon $rss" >&3
    [ "$(count '.state.cause == "signal"')" -gt 0 ]
    "$CTHULHU" history "$M" --format edn | tail -n 1 | grep -q "^{:index $((n - 1)), "
    umount_cluster
}

daemon_rss() {
    awk '/^VmRSS:/ { print $2 }' "/proc/$(daemons "$TMP" | head -n 1)/status"
}

@test "after umount it is kept, and printed by the name of the mountpoint" {
    local kept n
    mount_busybox m$BATS_TEST_NUMBER --start
    echo '{"type":"invoke","process":0,"f":"write","value":[1,null]}' >>"$H"
    n=$(wc -l <"$H")
    kept=$(umount_cluster | sed -n 's/.*is in //p')
    is $((n + 1)) "$(wc -l <"$kept/history")"
    H=$kept/history
    is unmounting "$(lines .cluster.phase | tail -n 1)"
    "$CTHULHU" history "$M" | cmp - "$H"
    "$CTHULHU" history "$kept" | cmp - "$H"
    "$CTHULHU" history "$H" --format jsonl | cmp - "$H"
    has "$("$CTHULHU" history "$M" --format edn)" ':type :invoke, :process 0, :f :write, :value [1 nil]}'
    has "$("$CTHULHU" history "$M" --format edn | head -n 1)" '{:index 0, :time 0, :type :info, :process :nemesis, :f :cluster, :value {:phase "mounted", '
    # Half a line at the end is none.
    head -c -3 "$H" >"$TMP/torn"
    is "$n" "$("$CTHULHU" history "$TMP/torn" | wc -l)"
    refused "$CTHULHU" history "$TMP/state" 2>"$TMP/out"
    has "$(cat "$TMP/out")" 'has no history'
    refused "$CTHULHU" history "$TMP/nowhere" 2>"$TMP/out"
    has "$(cat "$TMP/out")" 'there is no'
    # A fresh mount begins fresh.
    H=$M/history
    mount_busybox m$BATS_TEST_NUMBER
    is 1 "$(wc -l <"$H")"
    umount_cluster
}

@test "a daemon that is killed, and the next one with the same --data: it goes on" {
    local n last
    mount_busybox m$BATS_TEST_NUMBER --data "$D" --start
    echo '{"n":1}' >>"$H"
    n=$(wc -l <"$H")
    for pid in $(daemons "$TMP"); do kill -9 "$pid"; done
    wait_for 20 no_daemons "$TMP"
    "$CTHULHU" history "$M" | cmp - "$D/history"
    # As if it had been in the middle of a line.
    printf '{"seq":%s,"time":"2026-' $((n + 1)) >>"$D/history"
    mount_busybox m$BATS_TEST_NUMBER --data "$D"
    echo start >"$M/control"
    echo '{"n":2}' >>"$H"
    history_py sound "$H"
    is '1 2' "$(lines '.test.n // empty' | tr '\n' ' ' | sed 's/ $//')"
    is 'mounted mounted' "$(lines '.cluster.phase // empty' | tr '\n' ' ' | sed 's/ $//')"
    # Ids of commands are not used again.
    is 0 "$(jq -s '[.[].command | select(.phase == "invoke") | .id] | length - (unique | length)' "$H")"
    umount_cluster
    H=$D/history
    is unmounting "$(lines .cluster.phase | tail -n 1)"
    # What is something else is not touched.
    last=$TMP/else
    mkdir "$last"
    echo 'Dear diary' >"$last/history"
    refused with_deadline 60 "$CTHULHU" mount --prefix "$P" -i "$IMAGE" --data "$last" "$M" 2>"$TMP/out"
    has "$(cat "$TMP/out")" "cannot keep the history in $last/history"
    is 'Dear diary' "$(cat "$last/history")"
    nothing_left "$M"
}

@test "a full disk: ENOSPC for a test, and our own lines are there when there is room again" {
    [ "$(id -u)" = 0 ] || skip 'only root can mount a tmpfs'
    mkdir "$D"
    mount -t tmpfs -o size=512k none "$D"
    mount_busybox m$BATS_TEST_NUMBER --data "$D/data"
    local before
    touch "$TMP/filled"
    dd if=/dev/zero of="$D/filler" bs=64k 2>/dev/null || true
    dd if=/dev/zero of="$D/filler" bs=1 oflag=append conv=notrunc 2>/dev/null || true
    # To the end of its last page it has room still.
    while [ "$(put_line "$H" '{"pad":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}')" = OK ]; do :; done
    before=$(wc -l <"$H")
    is '28 ENOSPC' "$(put_line "$H" '{"lost":"and the test knows","pad":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}')"
    has "$(cat "$M/error")" 'no space is left'
    echo start >"$M/control"
    echo stop >"$M/control"
    is "$before" "$(wc -l <"$H")"
    is 0 "$(count '.test.lost')"
    rm "$D/filler"
    wait_for 20 there '.command.verb == "stop" and .command.phase == "ok"'
    echo '{"room":"again"}' >>"$H"
    history_py sound "$H"
    is 'start stop' "$(lines '.command | select(.phase == "ok") | .verb' | tr '\n' ' ' | sed 's/ $//')"
    umount_cluster
}

@test "the teardown cuts a command off: its end comes before the last line" {
    mount_cluster m$BATS_TEST_NUMBER --data "$D" -i "$IMAGE" --start -- sh -c 'trap "" TERM; while :; do sleep 1; done'
    (echo 'stop -t 60' >"$M/control") 2>/dev/null &
    wait_for 20 there '.command.line == "stop -t 60"'
    umount_cluster
    wait
    H=$D/history
    is 'fail EINTR unmounting' "$(jq -r '(.command | select(.) | "\(.phase) \(.errno)"), .cluster.phase // empty' "$H" | tail -n 2 | tr '\n' ' ' | sed 's/ $//')"
    nothing_left "$M"
}
