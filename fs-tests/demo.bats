#!/usr/bin/env bats
# The built-in demo node: peers find each other, and notice who is gone.

load lib.bash

setup_file() {
    begin
    mount_cluster demo -n 3
    echo start >"$M/control"
}

teardown_file() { end; }

# All see all: each has found both of its peers.
all_found() {
    local n peer
    for n in i001 i002 i003; do
        for peer in i001 i002 i003; do
            [ "$n" = "$peer" ] || grep -q "peer $(cat "$M/$peer/ip") found" "$M/$n/log" || return 1
        done
    done
}

# The node's view as JSON, from inside the cluster's network or through the bridge.
view() {
    python3 - "$(cat "$M/$1/ip")" "$(jq -r .i001.port "$M/spec.json")" <<'PY'
import sys, urllib.request
print(urllib.request.urlopen(f"http://{sys.argv[1]}:{sys.argv[2]}/", timeout=10).read().decode())
PY
}

@test "three demo nodes find each other" {
    wait_for 20 all_found
    contains "$M/i001/log" "listening on $(cat "$M/i001/ip"):8080"
}

@test "what it says stands in bindmounts/var too" {
    wait_for 20 all_found
    contains "$M/i002/bindmounts/var/i002.log" "peer $(cat "$M/i001/ip") found"
}

@test "its view is JSON on its port" {
    wait_for 20 all_found
    is "$(cat "$M/i002/ip" "$M/i003/ip" | sort)" "$(view i001 | jq -r '.peers | keys[]' | sort)"
    is '["up","up"]' "$(view i001 | jq -c '[.peers[].state]')"
}

@test "one that is stopped is noticed, and one that comes back too" {
    wait_for 20 all_found
    local ip before
    ip=$(cat "$M/i003/ip")
    echo stop >"$M/i003/control"
    wait_for 20 contains "$M/i001/log" "peer $ip lost"
    wait_for 20 contains "$M/i002/log" "peer $ip lost"
    is down "$(view i001 | jq -r --arg ip "$ip" '.peers[$ip].state')"
    before=$(grep -c "peer $ip found" "$M/i001/log")
    echo start >"$M/i003/control"
    again() { [ "$(grep -c "peer $ip found" "$M/i001/log")" -gt "$before" ]; }
    wait_for 20 again
}

@test "one that is paused is noticed" {
    wait_for 20 all_found
    local ip before
    ip=$(cat "$M/i002/ip")
    before=$(grep -c "peer $ip lost" "$M/i001/log") || true
    echo pause >"$M/i002/control"
    lost() { [ "$(grep -c "peer $ip lost" "$M/i001/log")" -gt "$before" ]; }
    wait_for 20 lost
    echo resume >"$M/i002/control"
}

@test "it ends at SIGTERM with exit code 143 or 0, at once" {
    local begin=$SECONDS
    with_deadline 280 sh -c 'echo "stop -t 300" >"$0"' "$M/i001/control"
    [ $((SECONDS - begin)) -lt 120 ]
    case $(cat "$M/i001/exit_code") in 0 | 143) ;; *) false ;; esac
    echo start >"$M/i001/control"
}
