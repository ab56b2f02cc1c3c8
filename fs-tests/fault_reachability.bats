#!/usr/bin/env bats
# 1,000 random states of partition, links and net over 5 nodes: who reaches whom, over all 20 directed pairs, is what the files
# say as soon as the write has returned, and the host reaches everybody. FAULT_STATES=N runs another number, RANDOM_SEED=S
# repeats a run.

load lib.bash

setup_file() {
    begin
    need_image
    need_traffic
    [ -n "$TRAFFIC" ] || return 0
    mount_cluster reach -n 5 -i "$TRAFFIC" --start
}

teardown_file() {
    umount_cluster 2>/dev/null || true
    end
}

setup() { needs_traffic; }

@test "after every write, who reaches whom is what the files say" {
    run with_deadline 600 python3 "$FS_TESTS/fault_reachability.py" "$M" "${FAULT_STATES:-1000}" ${RANDOM_SEED:+"$RANDOM_SEED"}
    echo "$output"
    echo "# ${lines[${#lines[@]} - 1]}" >&3
    is 0 "$status" 'exit status'
}
