#!/usr/bin/env bats
# SIGKILL of the daemon, or of the command that waits for it, at random moments: the next mount works, and after its
# umount nothing is left. KILL_ROUNDS=N runs another number over the simulated engine, RANDOM_SEED=S repeats a run.

load lib.bash

setup_file() {
    begin
    need_image
}

teardown_file() { end; }

# rounds DIR COUNT OPTION...
rounds() {
    mkdir "$TMP/$1"
    run with_deadline 1200 python3 "$FS_TESTS/sudden_death.py" "$TMP/$1" "$2" ${RANDOM_SEED:+"$RANDOM_SEED"} -- -n 2 "${@:3}"
    echo "$output"
    echo "# ${lines[0]}: ${lines[${#lines[@]} - 1]}" >&3
    is 0 "$status" 'exit status'
    nothing_left
}

@test "200 times over the simulated engine, or KILL_ROUNDS" {
    rounds simulated "${KILL_ROUNDS:-200}" --host simulated:
}

@test "20 times over Docker" {
    rounds docker 20 -i "$IMAGE"
}
