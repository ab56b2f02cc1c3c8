#!/usr/bin/env bats
# Clusters over several machines without a machine: --host a=simulated: --host b=simulated:. Each engine hangs while a file is there.
# What real engines and networks make of it is in machines.bats.

load lib.bash

setup_file() { begin; }

teardown_file() { end; }

setup() {
    M=$TMP/m$BATS_TEST_NUMBER
    mkdir "$M"
}

teardown() {
    rm -f "$M".hang-*
    [ ! -e "$M/status" ] || umount_cluster
}

# mounted 'HOST[&OPTION]...' OPTION...: over those simulated engines.
mounted() {
    local host hosts=()
    for host in $1; do hosts+=(--host "$(sed "s|^[^&]*|&=simulated:?hang=$M.hang-&|" <<<"$host")"); done
    with_deadline 240 "$CTHULHU" mount "${hosts[@]}" "${@:2}" "$M"
}
hang() { : >"$M.hang-$1"; }
back() { rm "$M.hang-$1"; }

# refused_mount TEXT HOSTS OPTION...: that mount fails with a sentence that has the text in it.
refused_mount() {
    local status=0
    mounted "${@:2}" 2>"$TMP/out" || status=$?
    [ "$status" = 1 ] || [ "$status" = 2 ]
    has "$(cat "$TMP/out")" "$1"
    is '' "$(mounts "$M")"
}

placed() { cat "$M"/i*/host | xargs; }
is_down() { LC_ALL=C cat "$1" 2>&1 | grep -q 'Host is down'; }
state_of() { awk -v node="$1" '$1 == node' "$M/status" | grep -owE 'created|running|exited|paused|missing|unknown'; }
host_is() { [ "$(awk -v host="$1" '$1 == host { print $3 }' "$M/hosts")" = "$2" ]; }

@test "spread: one on each in turn" {
    mounted 'a b c' -n 7
    is 'a b c a b c a' "$(placed)"
    is 'a 3 b 2 c 2' "$(awk 'NR > 1 { print $1, $4 }' "$M/hosts" | xargs)"
}

@test "pack: the first is filled, then the next" {
    mounted 'a b c' -n 6 --place pack --capacity a=1 --capacity b=3
    is 'a b b b c c' "$(placed)"
}

@test "spread heeds capacities" {
    mounted 'a b c' -n 6 --capacity a=1
    is 'a b c b c b' "$(placed)"
}

@test "by name" {
    mounted 'a b' -n 4 --place 'i001-i003@b,i004@a'
    is 'b b b a' "$(placed)"
}

@test "by a label: its values in turn" {
    mounted 'a&label=rack=r1 b&label=rack=r1 c&label=rack=r2' -n 6 --place label:rack
    is 'a c b c a c' "$(placed)"
}

@test "what cannot be placed is refused" {
    refused_mount 'capacity' 'a b' -n 6 --capacity a=2 --capacity b=3
    refused_mount 'no machine has that name' 'a b' -n 2 --place 'i001@nowhere,i002@a'
    refused_mount i003 'a b' -n 2 --place 'i001-i003@a'
    refused_mount c 'a b' -n 2 --capacity c=3
    refused_mount rack 'a b' -n 2 --place label:rack
    refused_mount a 'a a' -n 2
}

@test "engines without a swarm in common are refused, with what to do" {
    refused_mount 'docker swarm' 'a b&swarm=none' -n 2
    for word in init join 2377/tcp 7946 4789/udp; do has "$(cat "$TMP/out")" "$word"; done
}

@test "one host: nothing says that there could be several" {
    mounted a -n 2
    is 0 "$(find "$M" -name host -o -name hosts | wc -l)" 'files of hosts'
    is 'NAME ADDRESS STATE PID' "$(head -n 1 "$M/status" | xargs)"
    is null "$(jq .i001.host "$M/spec.json")"
    is '22 EINVAL' "$(put_line "$M/partition" hosts)"
}

@test "a clock that is ahead, and one that is behind" {
    mounted 'a b&clock=2s c&clock=-3s' -n 3
    has "$(awk '$1 == "b" { print $5 }' "$M/hosts")" '+2'
    has "$(awk '$1 == "c" { print $5 }' "$M/hosts")" '-3'
}

@test "@ and the shape hosts" {
    mounted 'a b c' -n 6 --start
    echo '@a | @b @c' >"$M/partition"
    is 'i001 i004 | i002 i003 i005 i006' "$(cat "$M/partition")"
    echo hosts >"$M/partition"
    is 'i001 i004 | i002 i005 | i003 i006' "$(cat "$M/partition")"
    echo '@a>@b delay 50ms' >"$M/links"
    is 4 "$(wc -l <"$M/links")"
    echo 'stop @b i003' >"$M/control"
    is 'running exited exited running exited running' "$(cat "$M"/i*/state | xargs)"
    is '2 ENOENT' "$(put_line "$M/control" 'stop @x')"
    is '2 ENOENT' "$(put_line "$M/partition" '@x | @a')"
    echo heal >"$M/control"
    is '' "$(cat "$M/links" "$M/partition")"
}

@test "an engine hangs: only what concerns it fails, at once, and nothing is half done" {
    mounted 'a b' -n 4 --start --timeout 10
    hang b
    wait_for 60 is_down "$M/i002/state"
    is_down "$M/i004/state"
    is 'running running' "$(cat "$M/i001/state" "$M/i003/state" | xargs)"
    is 'running unknown running unknown' "$(for n in i001 i002 i003 i004; do state_of $n; done | xargs)"
    host_is b away
    is b "$(cat "$M/i002/host")"
    is '112 EHOSTDOWN' "$(put_line "$M/partition" '@a | @b')"
    has "$(cat "$M/error")" b
    is '112 EHOSTDOWN' "$(put_line "$M/links" 'i001>i002 drop')"
    is '112 EHOSTDOWN' "$(put_line "$M/i002/control" stop)"
    echo 'i001>i003 drop' >"$M/links"
    is 'i001>i003 drop' "$(cat "$M/links")"
    echo 'heal i001' >"$M/control"
    is '112 EHOSTDOWN' "$(put_line "$M/control" stop)"
    is 'exited exited' "$(cat "$M/i001/state" "$M/i003/state" | xargs)"
    has "$(cat "$M/error")" i002
    has "$(cat "$M/error")" i004
    is 0 "$(grep -cE 'i00[13]' "$M/error")"
    back b
    wait_for 60 host_is b up
    is 'running running' "$(cat "$M/i002/state" "$M/i004/state" | xargs)"
    echo '@a | @b' >"$M/partition"
    is 'i001 i003 | i002 i004' "$(cat "$M/partition")"
}

@test "1,000 nodes, and an engine hangs in the middle of a start of all: the others' run, error names the rest, the next start has them" {
    mounted 'a&start=20ms b&start=20ms c&start=20ms' -n 1000
    some_of_b() { [ "$(cat "$M"/i00[258]/state "$M"/i011/state | grep -c running)" -gt 1 ]; }
    put_line "$M/control" start >"$TMP/answer" &
    wait_for 60 some_of_b
    hang b
    wait_for 120 host_is b away
    wait $!
    # Of those that were under way it is unknown.
    grep -xE '112 EHOSTDOWN|110 ETIMEDOUT' "$TMP/answer"
    is 'running' "$(grep -l '^[ac]$' "$M"/i*/host | sed 's/host$/state/' | xargs cat | sort -u)" 'the nodes of a and c'
    tr -c 'a-z0-9' '\n' <"$M/error" | grep '^i[0-9]' | sort >"$TMP/named"
    back b
    wait_for 60 host_is b up
    grep -L running "$M"/i*/state | sed 's|.*/\(i[0-9]*\)/state|\1|' | sort >"$TMP/missed"
    [ -s "$TMP/missed" ]
    is '' "$(comm -13 "$TMP/named" "$TMP/missed" | head -n 5)" 'who was missed and not named'
    is '' "$(sed 's|.*|'"$M"'/&/host|' "$TMP/named" | xargs cat | grep -v b)" 'who was named and is not on b'
    echo start >"$M/control"
    is 1000 "$(grep -cw running "$M/status")"
}
