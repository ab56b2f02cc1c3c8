#!/usr/bin/env bats
# The suite beside this file, run as a user does.
#
#   bats examples/go/go.bats

setup() {
    command -v go >/dev/null || skip 'Go is not here: apt-get install golang-go'
    # Whoever runs this may have no home.
    export GOCACHE="$BATS_TEST_TMPDIR/cache" GOFLAGS=-mod=mod GOTOOLCHAIN=local GOPROXY=off
    cp "$BATS_TEST_DIRNAME"/{go.mod,cluster_test.go} "$BATS_TEST_TMPDIR"
    cd "$BATS_TEST_TMPDIR"
}

@test "go test with a cluster of its own" {
    # Compiled before, so that the cluster does not wait for it.
    go test -c -o cluster.test .
    cthulhu run -n 3 --artifacts artifacts -- ./cluster.test -test.v 3>&-
    [ ! -e artifacts ]
}

@test "without a cluster, it says what to do" {
    output=$(env -u CTHULHU go test . 2>&1) && return 1
    [[ $output == *'cthulhu run -n 3 -- go test'* ]]
}
