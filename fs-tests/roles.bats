#!/usr/bin/env bats
# Roles: who has them is what a command of the user's says, each time that one is named.

load lib.bash

setup_file() { begin; }

teardown_file() { end; }

setup() {
    M=$TMP/m$BATS_TEST_NUMBER
    WHO=$TMP/who$BATS_TEST_NUMBER
    cd "$TMP" || return
    echo i002 >"$WHO"
}

teardown() {
    [ ! -e "$M/status" ] || umount_cluster
}

# mounted OPTION...: three nodes that run, with the roles of the options.
mounted() { with_deadline 60 "$CTHULHU" mount --host simulated: -n 3 --start "$@" "$M"; }
leader() { mounted --role leader="cat $WHO" "$@"; }

# who NODES: what the command for the leader prints from now on.
who() { echo "$1" >"$WHO.new" && mv "$WHO.new" "$WHO"; }
# row ROLE: its line in the table, with single blanks.
row() { awk -v role="$1" '$1 == role { $1 = $1; print }' "$M/roles"; }
row_is() { [ "$(row leader)" = "leader${1:+ $1}" ]; }
# told QUERY: of the history's lines, what jq finds.
told() { jq -c "$1" "$M/history"; }
state() { cat "$M/$1/state"; }
# Whether processes run that have a word in their command line, which only a command of this file has.
runs() { pgrep -f -- "$1" >/dev/null; }
none_runs() { refused runs "$1"; }

@test "the files say who has it, and poll(2) reports it" {
    leader --role reader="echo i001 i003"
    wait_for 10 row_is i002
    is 'reader i001 i003' "$(row reader)"
    is leader "$(cat "$M/i002/role")"
    is reader "$(cat "$M/i001/role")"
    python3 - "$M/i001/role" "$M/roles" <<'PY' 3>&- &
import os, select, sys
for path, wanted in zip(sys.argv[1:], ("leader\nreader", "leader  i001")):
    file = os.open(path, os.O_RDONLY)
    poll = select.poll()
    poll.register(file, select.POLLPRI | select.POLLERR)
    while not os.pread(file, 1000, 0).decode().startswith(wanted):
        poll.poll()
PY
    local poll=$!
    who i001
    wait_for 10 gone "$poll"
    wait "$poll"
    is '' "$(cat "$M/i002/role")"
    # Nobody, and several.
    who ''
    wait_for 10 row_is ''
    who 'i003 i001'
    wait_for 10 row_is 'i001 i003'
    is '["i002"] ["i001"] [] ["i001","i003"]' "$(told 'select(.role.name == "leader").role.nodes' | xargs -d '\n')"
}

@test "a cluster without roles has no files for them, and @leader is no node" {
    mounted
    refused ls "$M/roles"
    refused ls "$M/i001/role"
    is '2 ENOENT' "$(put_line "$M/control" 'crash @leader')"
    is "no node is named '@leader'" "$(cat "$M/error")"
    is '2 ENOENT' "$(put_line "$M/partition" 'isolate @others')"
    is '2 ENOENT' "$(put_line "$M/partition" '@leader | i001')"
    is '2 ENOENT' "$(put_line "$M/links" '@leader>* drop')"
}

@test "it is found out when it is named, not before" {
    leader --role-interval 1h
    wait_for 10 row_is i002
    who i003
    echo 'crash @leader' >"$M/control"
    is 'running running exited' "$(state i001) $(state i002) $(state i003)"
    is 'leader i003' "$(row leader)"
    # What was found out stands before the command, and in it.
    is '{"role":["i003"]} {"nodes":["i003"],"roles":{"leader":["i003"]}}' "$(told 'if .role then {role: .role.nodes}
        elif .command.phase == "invoke" then {nodes: .command.nodes, roles: .command.roles} else empty end' | tail -n 2 | xargs -d '\n')"
    who i001
    echo 'kill -s TERM @leader i002' >"$M/control"
    is '["i001","i002"]' "$(told 'select(.command.verb == "kill" and .command.phase == "invoke").command.nodes')"
}

@test "each line of a write finds it out for itself" {
    leader --role-interval 1h
    # The leader's end elects the next: the command for the role looks into the mount.
    echo "test \$(cat \$CTHULHU/i001/state) = running && echo i001 || echo i002" >"$TMP/elect"
    umount_cluster
    mounted --role leader="sh $TMP/elect" --role-interval 1h
    is OK "$(printf 'kill @leader\nkill @leader\n' | put "$M/control")"
    is 'exited exited running' "$(state i001) $(state i002) $(state i003)"
}

@test "partition and links take it, and say nodes" {
    leader
    echo 'isolate @leader' >"$M/partition"
    is 'i002 | i001 i003' "$(cat "$M/partition")"
    who i003
    is 'i002 | i001 i003' "$(cat "$M/partition")"
    echo '@leader @other1 | @other2' >"$M/partition"
    is 'i001 i003 | i002' "$(cat "$M/partition")"
    is '{"leader":["i003"],"other1":["i001"],"other2":["i002"]}' \
        "$(told 'select(.command.verb == "partition" and .command.phase == "invoke").command.roles' | tail -n 1)"
    printf '@leader>* drop\n@other1>@leader delay 5ms\n' >"$M/links"
    is 'i003>* drop i001>i003 delay 5ms' "$(xargs <"$M/links")"
    who i001
    echo '@leader>host reject' >>"$M/links"
    is 'i003>* drop i001>i003 delay 5ms i001>host reject' "$(xargs <"$M/links")"
    is '{"leader":["i001"]}' "$(told 'select(.command.verb == "links" and .command.phase == "invoke").command.roles' | tail -n 1)"
    # A node's own net takes no names.
    is '22 EINVAL' "$(put_line "$M/i001/net" '@leader')"
    is '22 EINVAL' "$(put_line "$M/i001/control" 'stop @leader')"
}

@test "@others: the nodes that have none of the roles" {
    leader --role arbiter='echo i001'
    echo 'pause @others' >"$M/control"
    is 'running running paused' "$(state i001) $(state i002) $(state i003)"
    is '11 EAGAIN' "$(put_line "$M/control" 'crash @other2')"
    is 'there is no @other2 now: 1 nodes have none of the roles' "$(cat "$M/error")"
    who 'i002 i003'
    is '11 EAGAIN' "$(put_line "$M/partition" '@leader | @others')"
    is 'there are no @others now: every node has a role' "$(cat "$M/error")"
}

@test "an address, or a name, is an answer; another word is none" {
    leader --role-interval 1h
    local good bad
    for good in "$(cat "$M/i003/ip")" i003 "$(printf 'i003\ni003 \t i003')"; do
        who "$good"
        echo '@leader | @others' >"$M/partition"
        is 'i003 | i001 i002' "$(cat "$M/partition")" "$good"
    done
    for bad in 10.99.0.1 i004 localhost @leader @others 'i001 nonsense'; do
        who "$bad"
        is '11 EAGAIN' "$(put_line "$M/partition" 'isolate @leader')" "$bad"
        is "@leader is not known: the answer has '${bad#i001 }' in it, which is no node" "$(cat "$M/error")"
    done
    is 'i003 | i001 i002' "$(cat "$M/partition")"
}

@test "a command that fails: EAGAIN and its words, and the last known nodes stay in the table" {
    leader
    wait_for 10 row_is i002
    rm "$WHO"
    is '11 EAGAIN' "$(put_line "$M/control" 'kill @leader')"
    has "$(cat "$M/error")" "@leader is not known: exit status 1: cat: "
    is 'running running running' "$(state i001) $(state i002) $(state i003)"
    has "$(row leader)" 'leader i002 unknown: exit status 1: cat: '
    is '' "$(cat "$M/i002/role")"
    is '["i002"] true' "$(told 'select(.role) | .role.nodes, (.role.error | startswith("exit status 1"))' | tail -n 2 | xargs -d '\n')"
    is '"EAGAIN"' "$(told 'select(.command.phase == "fail").command.errno')"
    who i002
    wait_for 10 row_is i002
    is false "$(told 'select(.role) | .role | has("error")' | tail -n 1)"
    # A line that names another role is none of its business.
    umount_cluster
    mounted --role leader="cat $WHO" --role broken='exit 3' --role wild='kill -9 $$'
    echo 'isolate @leader' >"$M/partition"
    is '11 EAGAIN' "$(put_line "$M/partition" '@leader | @broken')"
    is '@broken is not known: exit status 3' "$(cat "$M/error")"
    wait_for 10 contains "$M/roles" 'wild .* unknown: exit status 137$'
}

@test "a command that prints too much: what is read of it is no answer" {
    leader --role flood='yes i001 | head -n 20000'
    is '11 EAGAIN' "$(put_line "$M/control" 'kill @flood')"
    is '@flood is not known: it prints more than 64 KiB' "$(cat "$M/error")"
    is 'running running running' "$(state i001) $(state i002) $(state i003)"
}

@test "nobody: EAGAIN" {
    leader
    who ''
    is '11 EAGAIN' "$(put_line "$M/control" 'crash @leader i001')"
    is 'no node is @leader now' "$(cat "$M/error")"
    is running "$(state i001)"
}

@test "a command that hangs: its writes fail, others go on, and nothing of it is left" {
    local mark=$RANDOM$RANDOM
    # A child of the command's, and one that it leaves behind.
    mounted --role leader="sleep 9.$mark & sleep 8$mark | cat" --role-timeout 300ms --role good='echo i001'
    refused timeout 20 sh -c "echo 'crash @leader' >$M/control"
    is '@leader is not known: no answer within 0.3 s' "$(cat "$M/error")"
    umount_cluster
    wait_for 10 none_runs "$mark"
    # It never ends by itself.
    mounted --role leader="sleep 9.$mark & sleep 8$mark | cat" --role-timeout 1h --role good='echo i001'
    wait_for 10 runs "$mark"
    sh -c "echo 'crash @leader' >$M/control" 3>&- &
    local writer=$!
    echo 'isolate @good' >"$M/partition"
    is 'i001 | i002 i003' "$(cat "$M/partition")"
    echo 'stop i003' >"$M/control"
    refused gone "$writer"
    with_deadline 20 "$CTHULHU" umount "$M"
    wait_for 10 none_runs "$mark"
    wait_for 10 gone "$writer"
}

@test "a writer that is killed while it waits does not do it later" {
    local mark=$RANDOM$RANDOM
    mounted --role leader="test -e $WHO.go || sleep 7$mark; echo i002" --role-timeout 1h
    wait_for 10 runs "$mark"
    python3 -c "open('$M/control', 'w').write('crash @leader\n')" 3>&- &
    local writer=$!
    wait_for 10 waits "$writer"
    kill -9 "$writer"
    wait_for 10 gone "$writer"
    : >"$WHO.go"
    kill "$(pgrep -f "^sleep 7$mark")"
    wait_for 10 row_is i002
    echo 'pause i001' >"$M/control"
    is '' "$(told 'select(.command.verb == "crash")')"
    is running "$(state i002)"
}
# Whether a process waits in the mount for the answer to a write.
waits() { grep -q fuse "/proc/$1/wchan" || grep -q '^1 ' "/proc/$1/syscall"; }

@test "a daemon that is killed takes its commands along" {
    local mark=$RANDOM$RANDOM
    mounted --role leader="sleep 9.$mark & sleep 8$mark | cat" --role-timeout 1h
    wait_for 10 runs "$mark"
    kill -9 "$("$CTHULHU" ls --json | jq --arg at "$M" '.[] | select(.mountpoint == $at).pid')"
    wait_for 10 none_runs "$mark"
    with_deadline 60 "$CTHULHU" umount "$M"
}

@test "a command may use the mount: read it, and even name itself" {
    # shellcheck disable=SC2016
    mounted --role leader='read -r ip <"$CTHULHU/i003/ip"; echo $ip' \
        --role mad='echo "pause @mad" >"$CTHULHU/control"; echo i001' --role-timeout 500ms
    echo 'isolate @leader' >"$M/partition"
    is 'i003 | i001 i002' "$(cat "$M/partition")"
    wait_for 10 contains "$M/roles" 'mad .* unknown: no answer within 0.5 s'
    is '11 EAGAIN' "$(put_line "$M/control" 'kill @mad')"
    is 'running running running' "$(state i001) $(state i002) $(state i003)"
}

@test "where a command runs: in the directory of the mount's caller, with its umask and no input" {
    mkdir "$TMP/here"
    cd "$TMP/here"
    umask 027
    mounted --role leader="pwd >said; umask >>said; wc -c >>said; echo \$CTHULHU >>said; echo i001"
    wait_for 10 row_is i001
    is "$TMP/here 0027 0 $M" "$(xargs <said)"
    is 640 "$(stat -c %a said)"
}

@test "nobody is asked while no node runs, unless it is needed" {
    with_deadline 60 "$CTHULHU" mount --host simulated: -n 2 --role leader="echo x >>$WHO.asked; echo i002" --role-interval 10ms "$M"
    is 'leader unknown: no node runs' "$(row leader)"
    refused ls "$WHO.asked"
    echo 'start @leader' >"$M/control"
    is 'created running' "$(state i001) $(state i002)"
    wait_for 10 row_is i002
    echo stop >"$M/control"
    wait_for 10 row_is 'i002 unknown: no node runs'
    local asked
    asked=$(wc -l <"$WHO.asked")
    sleep 0.3
    is "$asked" "$(wc -l <"$WHO.asked")"
}

@test "over machines, @ stands for roles and machines, and their names must differ" {
    local hosts=(--host a=simulated: --host b=simulated:)
    with_deadline 60 "$CTHULHU" mount "${hosts[@]}" -n 4 --role leader="cat $WHO" --start "$M"
    echo '@a | @leader' >"$M/partition"
    is 'i001 i003 | i002 | i004' "$(cat "$M/partition")"
    umount_cluster
    refused "$CTHULHU" mount "${hosts[@]}" --role a='echo i001' "$M" 2>"$TMP/out"
    has "$(cat "$TMP/out")" 'a machine is called a'
    refused "$CTHULHU" mount --host others=simulated: --host b=simulated: --role a='echo i001' "$M" 2>"$TMP/out"
    has "$(cat "$TMP/out")" 'a machine is called others'
    is '' "$(mounts "$M")"
}

@test "groups: a group's name in an answer stands for all its nodes" {
    with_deadline 60 "$CTHULHU" mount --host simulated: --group kv:2:x --group web:1:x --role data="echo kv" --role front="echo web" --start "$M"
    wait_for 10 contains "$M/roles" 'data *kv-1 kv-2'
    echo '@front | @data' >"$M/partition"
    is 'web | kv-1 kv-2' "$(cat "$M/partition")"
    is 'front' "$(cat "$M/web/role")"
}

@test "reset forgets the errors of the nodes that a role stands for" {
    leader
    put_line "$M/i002/control" nonsense
    put_line "$M/i001/control" nonsense
    echo 'reset --start @leader' >"$M/control"
    is '' "$(cat "$M/i002/error")"
    has "$(cat "$M/i001/error")" nonsense
}

@test "run has roles too" {
    # shellcheck disable=SC2016
    with_deadline 60 "$CTHULHU" run --host simulated: -n 3 --role leader="cat $WHO" -- \
        sh -c 'echo "isolate @leader" >"$CTHULHU/partition" && cat "$CTHULHU/partition" "$CTHULHU/roles"' >"$TMP/out"
    is 'i002 | i001 i003 leader i002' "$(tail -n 2 "$TMP/out" | xargs)"
}

# bad PART OPTION...: mount fails with one sentence that has PART in it, and nothing is there.
bad() {
    local status=0
    mounted "${@:2}" 2>"$TMP/out" || status=$?
    [ "$status" = 1 ] || [ "$status" = 2 ]
    has "$(cat "$TMP/out")" "$1"
    is '' "$(mounts "$M")"
}

@test "wrong options are refused" {
    bad 'the form is NAME=CMD' --role leader
    bad 'the command is empty' --role leader=
    bad 'another meaning' --role i001='echo i001'
    bad 'another meaning' --role others='echo i001'
    bad 'another meaning' --role other3='echo i001'
    bad 'another meaning' --role-in-node host='echo i001'
    bad 'has letters, digits' --role 'a b=echo i001'
    bad 'there twice' --role a='echo i001' --role-in-node a='echo i001'
    bad 'there is neither' --role-timeout 1s
    bad 'there is neither' --role-interval 1s
    bad 'a time is' --role a='echo i001' --role-timeout 0
    bad 'the first word is the program' --role-in-node 'a=[]'
    bad '--role-in-node' --role-in-node 'a=echo {{ nothing }}'
}

@test "--role-in-node: a running node says it, and @leader is the one that is cut off" {
    need_image
    # The leader is what a file in the nodes says, where there is one.
    M=$TMP/docker
    mkdir "$M"
    with_deadline 120 "$CTHULHU" mount --prefix "$P" -n 3 -i "$IMAGE" --start \
        --role-in-node leader='test {{ index }} != 3 || exec cat /leader; echo not here >&2; exit 4' \
        --role-in-node first='["echo", "{{ nodes[0].ip }}"]' "$M" -- "${NODE[@]}"
    wait_for 20 contains "$M/roles" 'leader .* unknown: none of 3 nodes answers; i001: exit status 4: not here'
    is '11 EAGAIN' "$(put_line "$M/partition" 'isolate @leader')"
    has "$(cat "$M/error")" 'not here'
    docker exec "$P-i003" sh -c 'echo a warning >&2; echo i002 >/leader'
    pings "$P-i001" i002
    echo 'isolate @leader' >"$M/partition"
    is 'i002 | i001 i003' "$(cat "$M/partition")"
    refused pings "$P-i001" i002
    pings "$P-i001" i003
    docker exec "$P-i003" sh -c 'echo i001 >/leader'
    echo 'isolate @leader' >"$M/partition"
    refused pings "$P-i003" i001
    pings "$P-i003" i002
    echo 'crash @first' >"$M/control"
    is exited "$(state i001)"
    # The others are asked, now that it does not run.
    echo heal >"$M/partition"
    echo 'pause @leader @first' >"$M/control" || true
    is 'leader i001' "$(row leader)"
    # One that hangs is not asked again, and what it was asked does not pile up.
    echo start >"$M/i001/control"
    umount_cluster
    with_deadline 120 "$CTHULHU" mount --prefix "$P" -n 2 -i "$IMAGE" --start --role-timeout 600ms --role-interval 100ms \
        --role-in-node leader='test {{ index }} = 2 || exec sleep 1234; echo i002' "$M" -- "${NODE[@]}"
    wait_for 20 row_is i002
    echo 'isolate @leader' >"$M/partition"
    is 'i002 | i001' "$(cat "$M/partition")"
    sleep 1
    is 1 "$(docker exec "$P-i001" sh -c 'ps | grep -c "[s]leep 1234"')"
    umount_cluster
}
