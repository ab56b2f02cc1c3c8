#!/usr/bin/env bats
# SIGTERM and SIGINT swept over a whole start: nothing is left, and exit status and sentence say what came of it.

load lib.bash

setup_file() {
    begin
    need_image
}

teardown_file() { end; }

# sweep_signals DIR STEP_MS MOST_STEPS OPTION...
sweep_signals() {
    mkdir "$TMP/$1"
    run with_deadline 1200 python3 "$FS_TESTS/signal_sweep.py" "$TMP/$1" "$2" "$3" -- -n 2 "${@:4}"
    echo "$output"
    echo "# ${lines[${#lines[@]} - 1]}" >&3
    is 0 "$status" 'exit status'
    nothing_left
}

@test "every 5 ms over the simulated engine" {
    sweep_signals simulated 5 60 --host simulated:
}

@test "ten moments over Docker" {
    sweep_signals docker 100 10 -i "$IMAGE"
}
