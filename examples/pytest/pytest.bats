#!/usr/bin/env bats
# The suite beside this file, run as a user does.
#
#   bats examples/pytest/pytest.bats

setup_file() {
    here=$BATS_TEST_DIRNAME
    export here PYTHON=
    for python in python3 /usr/bin/python3; do
        if "$python" -c 'import pytest' 2>/dev/null; then PYTHON=$python && break; fi
    done
    export PYTHONDONTWRITEBYTECODE=1
}

setup() { [ -n "$PYTHON" ] || skip 'pytest is not here: apt-get install python3-pytest'; }

@test "pytest with a cluster of its own" {
    cthulhu run -n 3 --artifacts "$BATS_TEST_TMPDIR/artifacts" -- "$PYTHON" -m pytest -q -p no:cacheprovider "$here" 3>&-
    [ ! -e "$BATS_TEST_TMPDIR/artifacts" ]
}

@test "a test that fails leaves artifacts" {
    cp "$here/conftest.py" "$BATS_TEST_TMPDIR"
    cat >"$BATS_TEST_TMPDIR/test_wrong.py" <<'END'
def test_wrong(cluster):
    assert cluster.nodes[1].state == "exited"
END
    status=0
    cthulhu run -n 3 --artifacts "$BATS_TEST_TMPDIR/artifacts" -- \
        "$PYTHON" -m pytest -q -p no:cacheprovider "$BATS_TEST_TMPDIR" 3>&- || status=$?
    [ "$status" = 1 ]
    grep -q . "$BATS_TEST_TMPDIR"/artifacts/run-*/i002/log
    grep -q '</html>' "$BATS_TEST_TMPDIR"/artifacts/run-*/timeline.html
}

@test "without a cluster, it says what to do" {
    output=$(env -u CTHULHU "$PYTHON" -m pytest -q -p no:cacheprovider "$here" 2>&1) && return 1
    [[ $output == *'cthulhu run -n 3 -- pytest'* ]]
}
