#!/usr/bin/env bats
# A suite over the services of an ordinary Compose file.
#
#   bats examples/compose/web.bats

bats_require_minimum_version 1.5.0

setup_file() {
    local make=$BATS_TEST_DIRNAME/../make-image.sh
    { "$make" cthulhu-example-python python3 && "$make" cthulhu-example-redis redis-server redis-sentinel redis-tools; } >&2 ||
        { [ $? = 77 ]; return; } # no such packages here: setup skips
    # Of this file alone, so that suites can run side by side on one engine.
    export CLUSTER="$BATS_FILE_TMPDIR/cluster"
    cthulhu mount -f "$BATS_TEST_DIRNAME/compose.yaml" --prefix "compose-$$" --start "$CLUSTER" >&2 3>&-
}

teardown_file() { [ -z "$CLUSTER" ] || cthulhu umount "$CLUSTER"; }

# Each test begins with new containers and empty volumes.
setup() {
    [ -n "$CLUSTER" ] || skip 'Redis and Python cannot be had here as packages of Debian or Ubuntu'
    echo 'reset --start' > "$CLUSTER/control"
    cthulhu wait "$CLUSTER"
}

# What the page says, then its status.
page() { curl -s --max-time 10 -w '%{http_code}' "http://$(cat "$CLUSTER/web/ip"):8000/"; }
visit() { [ "$(page)" = "visit $1"$'\n200' ]; }
fails() { [[ $(page) == 'no database: '*503 ]]; }

@test "visits are counted, and are in the volume" {
    visit 1
    visit 2
    grep -rq INCR "$CLUSTER/volumes/data"
}

@test "without its database the page answers 503, and counts on when it is back" {
    visit 1
    echo stop > "$CLUSTER/db/control"
    fails
    echo start > "$CLUSTER/db/control"
    cthulhu wait "$CLUSTER/db"
    visit 2
}

@test "a database that is killed has not forgotten the visits" {
    visit 1
    echo kill > "$CLUSTER/db/control"
    echo start > "$CLUSTER/db/control"
    cthulhu wait "$CLUSTER/db"
    visit 2
}

@test "a partition between the two is over when it is healed" {
    echo 'web | db' > "$CLUSTER/partition"
    fails
    echo heal > "$CLUSTER/control"
    visit 1
}
