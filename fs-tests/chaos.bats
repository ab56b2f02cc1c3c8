#!/usr/bin/env bats
# Two minutes of everything at once, on a cluster beside another: chaos.py says what, and what must be true each time it is
# quiet. CHAOS_SECONDS=3600 (with FILE_DEADLINE=5400) is the long run, RANDOM_SEED=S repeats the choices of one.

load lib.bash

setup_file() {
    begin
    need_image
}

teardown_file() {
    docker rm -f "${P}b-sidecar" >/dev/null 2>&1 || true
    end
}

setup() { needs_root "to send from the nodes' network namespaces"; }

@test "whenever it is quiet, files, engine, network and history agree, and the cluster beside it has all it had" {
    local seconds=${CHAOS_SECONDS:-120}
    mkdir "$TMP/d"
    run with_deadline $((seconds + 900)) python3 "$FS_TESTS/chaos.py" "$TMP/d" "$P" "$IMAGE" "$seconds" ${RANDOM_SEED:+"$RANDOM_SEED"}
    echo "$output"
    echo "# ${lines[${#lines[@]} - 1]}" >&3
    is 0 "$status" 'exit status'
    nothing_left
}
