#!/usr/bin/env bats
# 1,000 random verbs over 5 nodes, docker commands from outside mixed in: 1,000 of 1,000 agree with the engine.
# RANDOM_VERBS=N runs another number, RANDOM_SEED=S repeats a run.

load lib.bash

setup_file() {
    begin
    mount_busybox random -n 5
}

teardown_file() { end; }

@test "after every verb that returned 0, state, pid.txt, status and the engine agree" {
    run with_deadline 1200 python3 "$FS_TESTS/random_verbs.py" "$M" "$P" "${RANDOM_VERBS:-1000}" ${RANDOM_SEED:+"$RANDOM_SEED"}
    echo "$output"
    echo "# ${lines[${#lines[@]} - 1]}" >&3
    is 0 "$status" 'exit status'
}
