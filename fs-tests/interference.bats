#!/usr/bin/env bats
# 1,000 random verbs and faults over 4 nodes, while somebody else restarts, renames, disconnects, kills and removes containers
# of nodes and sandboxes. INTERFERENCE=N does another number, RANDOM_SEED=S repeats a run.

load lib.bash

setup_file() {
    begin
    [ "$(id -u)" = 0 ] || return 0
    mount_busybox interference -n 4 --start
}

teardown_file() { end; }

setup() { needs_root "to send from the nodes' network namespaces"; }

@test "after every write that returned 0, files, engine and network agree" {
    run with_deadline 1400 python3 "$FS_TESTS/interference.py" "$M" "${INTERFERENCE:-1000}" ${RANDOM_SEED:+"$RANDOM_SEED"}
    echo "$output"
    echo "# ${lines[${#lines[@]} - 1]}" >&3
    is 0 "$status" 'exit status'
    umount_cluster
    nothing_left
}
