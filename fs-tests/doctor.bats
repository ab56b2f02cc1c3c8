#!/usr/bin/env bats
# doctor: a line for each check, and an exit status that says whether mount works.

load lib.bash

setup_file() { begin; }

teardown_file() { end; }

setup() {
    M=$TMP/m$BATS_TEST_NUMBER
    mkdir "$M"
}

# agrees COMMAND...: whether doctor, run by COMMAND, says the same as mount does then. Leaves doctor's words in $TMP/out.
agrees() {
    local said=0 did=0
    with_deadline 120 "$@" "$CTHULHU" doctor >"$TMP/out" || said=$?
    with_deadline 120 "$@" "$CTHULHU" mount --prefix "$P" "$M" >/dev/null 2>"$TMP/stderr" || did=$?
    [ "$did" != 0 ] || umount_cluster "$M"
    is "$did" "$said" 'exit status of doctor' || { cat "$TMP/out" "$TMP/stderr" >&2 && false; }
    is '' "$(grep -Ev '^(ok|note|unknown|problem) +[^ ].*: .' "$TMP/out")" 'lines of another form'
    is "$([ $did = 0 ] || echo problem)" "$(grep -o '^problem' "$TMP/out" | sort -u)"
    nothing_left
}

# The line of a check.
line() { grep -E "^[a-z]+ +$1: " "$TMP/out"; }

@test "on this machine all is well, and nothing is left of the trial" {
    local check
    agrees env
    for check in /dev/fuse fusermount3 --allow-other passthrough engine cgroup 'open files' state subnets nftables netem HTB NFQUEUE leftovers faults trial; do
        line "$check" >/dev/null || { echo "no line on $check" >&2 && false; }
    done
    has "$(line engine)" 'API 1.'
    # What a sandbox has found by trying.
    has "$(line faults)" 'drop (nftables)'
    has "$(line trial)" 'was mounted, started and unmounted'
    is '' "$(find "$XDG_STATE_HOME/cthulhu" -maxdepth 1 -name 'cthulhu-doctor*')"
    is '' "$(docker ps -aq --filter name=^/doctor)"
    is '' "$(find "${TMPDIR:-/tmp}" -maxdepth 1 -user "$(id -u)" -name 'cthulhu-doctor-*')"
}

@test "--json says the same" {
    "$CTHULHU" doctor --json >"$TMP/out"
    jq -e 'all(.check and .text and (.verdict | IN("ok", "note", "unknown", "problem")))' "$TMP/out"
    is ok "$(jq -r '.[] | select(.check == "trial") | .verdict' "$TMP/out")"
}

@test "no engine there" {
    agrees env DOCKER_HOST="unix://$TMP/none.sock"
    has "$(line engine)" 'problem'
    has "$(line engine)" "$TMP/none.sock"
    has "$(line engine)" 'sudo systemctl start docker'
    refused line trial
}

@test "no fusermount3 in PATH: an ordinary user cannot mount, root can" {
    mkdir "$TMP/bin"
    agrees env PATH="$TMP/bin"
    has "$(line fusermount3)" 'sudo apt-get install fuse3'
    if [ "$(id -u)" = 0 ]; then has "$(line fusermount3)" note; else has "$(line fusermount3)" problem; fi
}

@test "hardly any descriptors" {
    agrees prlimit --nofile=256:256
    has "$(line 'open files')" 'note'
}

@test "a state directory that cannot be written" {
    : >"$TMP/file"
    agrees env XDG_STATE_HOME="$TMP/file"
    if [ "$(id -u)" != 0 ]; then agrees env XDG_STATE_HOME=/nowhere; fi
}

@test "not in group docker: what to do stands there" {
    needs_root 'to leave a group'
    chmod 755 "$TMP"
    mkdir "$TMP/nobody"
    chmod 777 "$TMP/nobody" "$M"
    XDG_STATE_HOME=$TMP/nobody agrees setpriv --reuid 65534 --regid 65534 --clear-groups
    has "$(line engine)" 'sudo usermod -aG docker'
}

@test "a device that may not be opened" {
    needs_root 'for another /dev in a mount namespace'
    chmod 755 "$TMP"
    mkdir -p "$TMP/nobody"
    chmod 777 "$TMP/nobody" "$M"
    mkdir "$TMP/dev"
    mknod -m 600 "$TMP/dev/fuse" c 10 229
    mknod -m 666 "$TMP/dev/null" c 1 3
    mknod -m 666 "$TMP/dev/urandom" c 1 9
    cat >"$TMP/dev.sh" <<'SH'
mount --bind "$1" /dev && shift
exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
SH
    XDG_STATE_HOME=$TMP/nobody agrees unshare -m --propagation private sh "$TMP/dev.sh" "$TMP/dev"
    has "$(line /dev/fuse)" 'sudo chmod 0666 /dev/fuse'
}

@test "what is left over is told, and how it goes" {
    mount_cluster "m$BATS_TEST_NUMBER" --host simulated:
    kill -9 "$(daemons "$TMP")"
    wait_for 10 no_daemons "$TMP"
    "$CTHULHU" doctor >"$TMP/out"
    has "$(line leftovers)" note
    has "$(line leftovers)" 'cthulhu prune'
    "$CTHULHU" umount "$M" >/dev/null
}
