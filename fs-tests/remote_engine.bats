#!/usr/bin/env bats
# The machine's engine as if it were on another one: behind an sshd of this file's own, behind TLS, named by a docker context.

load lib.bash

setup_file() {
    begin
    PATH=$TMP/bin:$PATH:/usr/sbin:/sbin
    # ssh's socket lies there.
    export XDG_RUNTIME_DIR=$TMP/run DOCKER_CONFIG=$TMP/docker
    mkdir "$TMP/bin" "$TMP/ssh" "$TMP/certs" "$TMP/docker"
    mkdir -m 700 "$TMP/run"
    need_image
    ENGINE=$(docker context inspect default --format '{{.Endpoints.docker.Host}}')
    ENGINE=${ENGINE#unix://}
    export ENGINE
    certificates
    tcp_front --tls "$TMP/certs"
    ! command -v sshd >/dev/null || start_sshd
}

teardown_file() {
    local one
    for one in "$TMP"/*.pid; do [ ! -e "$one" ] || kill "$(cat "$one")" || true; done
    end
    [ ! -e "$TMP" ]
}

setup() {
    M=$TMP/m
    mkdir -p "$M"
}

teardown() {
    [ -z "$(mounts "$M")" ] || with_deadline 60 "$CTHULHU" umount "$M"
    nothing_left
    no_ssh
}

certificates() {
    (
        cd "$TMP/certs" || exit
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout ca-key.pem -out ca.pem -subj /CN=authority
        openssl req -newkey rsa:2048 -nodes -keyout key.pem -out request.pem -subj /CN=engine
        printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' >extensions
        openssl x509 -req -days 2 -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -extfile extensions -out server.pem
        cp server.pem cert.pem
    ) 2>"$TMP/openssl"
}

# tcp_front OPTION...: a port in front of the engine; sets PORT.
tcp_front() {
    python3 "$FS_TESTS/tcp_front.py" "$@" "$ENGINE" "$TMP/front" >"$TMP/connections" 2>"$TMP/front.log" 3>&- &
    echo $! >"$TMP/front.pid"
    wait_for 20 test -e "$TMP/front"
    PORT=$(cat "$TMP/front")
    export PORT
}

# An sshd for this user, on a free port of loopback; sets SSH to its address. ssh takes its files from the passwd entry's home
# and not from $HOME, so one with another configuration is put before it in PATH.
start_sshd() {
    local port
    [ "$(id -u)" != 0 ] || mkdir -p /run/sshd
    ssh-keygen -q -t ed25519 -N '' -f "$TMP/ssh/host"
    ssh-keygen -q -t ed25519 -N '' -f "$TMP/ssh/key"
    cp "$TMP/ssh/key.pub" "$TMP/ssh/authorized"
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    cat >"$TMP/ssh/sshd_config" <<END
ListenAddress 127.0.0.1
Port $port
HostKey $TMP/ssh/host
AuthorizedKeysFile $TMP/ssh/authorized
PidFile $TMP/sshd.pid
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
END
    cat >"$TMP/ssh/config" <<END
IdentityFile $TMP/ssh/key
IdentitiesOnly yes
UserKnownHostsFile $TMP/ssh/known
StrictHostKeyChecking yes
END
    printf '[127.0.0.1]:%s %s\n' "$port" "$(cut -d' ' -f1,2 "$TMP/ssh/host.pub")" >"$TMP/ssh/known"
    printf '#!/bin/sh\nexec /usr/bin/ssh -F %s/ssh/config "$@"\n' "$TMP" >"$TMP/bin/ssh"
    chmod +x "$TMP/bin/ssh"
    "$(command -v sshd)" -f "$TMP/ssh/sshd_config" -E "$TMP/ssh/log" 3>&-
    wait_for 20 test -s "$TMP/sshd.pid"
    SSH=ssh://$(id -un)@127.0.0.1:$port$ENGINE
    export SSH
}

needs_sshd() { [ -n "${SSH:-}" ] || skip 'there is no sshd on this machine'; }

# Pids of ssh that forward to a socket of this file.
forwards() { pgrep -f -- "-L $TMP/run/" || true; }
no_forwards() { [ -z "$(forwards)" ]; }
# Nothing of ssh is left: no process, no directory.
no_ssh() {
    wait_for 20 no_forwards
    is '' "$(ls "$TMP/run")"
}

# What doctor says of an engine: engine_line OPTION...
engine_line() { "$CTHULHU" doctor "$@" | grep -E '^[a-z]+ +engine:'; }

# A round of what a cluster does, on the mounted one.
exercise() {
    is OK "$(put_line "$M/control" start)"
    is running "$(cat "$M/i002/state")"
    is OK "$(put_line "$M/partition" 'i001 | i002')"
    refused pings "$P-i001" "$(cat "$M/i002/ip")"
    is OK "$(put_line "$M/control" heal)"
    pings "$P-i001" "$(cat "$M/i002/ip")"
    is OK "$(put_line "$M/i001/control" kill)"
    is exited "$(cat "$M/i001/state")"
    is 137 "$(cat "$M/i001/exit_code")"
    is OK "$(put_line "$M/i001/control" start)"
    wait_for 20 contains "$M/i001/log" started
}

@test "ssh: a cluster behind it does all that one here does, and takes it away" {
    needs_sshd
    mount_busybox m -n 2 --host "$SSH"
    is "$SSH" "$(listed_below | jq -r '.[0].engine')"
    is 1 "$(forwards | wc -l)"
    exercise
    umount_cluster
}

# A live value, or that there is none now.
live_or_down() {
    case $(LC_ALL=C cat "$M/i002/state" 2>&1) in
    running | *'Host is down') ;;
    *) return 1 ;;
    esac
}
other_forward() { [ -n "$(forwards)" ] && [ "$(forwards)" != "$1" ]; }

@test "ssh: it is started again when it ends, and values are live again" {
    local old
    needs_sshd
    mount_busybox m -n 2 --start --host "$SSH"
    old=$(forwards)
    kill -9 "$old"
    live_or_down
    wait_for 30 other_forward "$old"
    live_or_down
    wait_for 30 known
    is running "$(cat "$M/i002/state")"
    # What is not there any more is made anew.
    is OK "$(put_line "$M/control" start)"
    exercise
    umount_cluster
}

@test "ssh: a line that falls silent is given up, and values are live again" {
    local old silent
    needs_sshd
    mount_busybox m -n 1 --start --host "$SSH"
    old=$(forwards)
    # The sshd of the connection, and what it has started; not the one that listens.
    silent=$(pgrep -P "$(cat "$TMP/sshd.pid")")
    silent="$silent $(pgrep -P "${silent//$'\n'/,}" || true)"
    # shellcheck disable=SC2086 # pids
    kill -STOP $silent
    wait_for 60 other_forward "$old"
    wait_for 30 known
    is running "$(cat "$M/i001/state")"
    # shellcheck disable=SC2086
    kill -9 $silent
    umount_cluster
}

@test "ssh: it ends with a daemon that is killed, and prune finds the engine by the record" {
    needs_sshd
    mount_busybox m -n 1 --host "$SSH"
    kill -9 "$(listed_below | jq '.[0].pid')"
    wait_for 20 no_forwards
    "$CTHULHU" prune --yes "$M"
}

@test "ssh: what it says is in the sentence" {
    local port=${SSH#*127.0.0.1:}
    needs_sshd
    port=${port%%/*}
    mv "$TMP/ssh/known" "$TMP/ssh/unknown"
    run engine_line --host "$SSH"
    mv "$TMP/ssh/unknown" "$TMP/ssh/known"
    has "$output" 'Host key verification failed'
    mv "$TMP/ssh/authorized" "$TMP/ssh/unauthorized"
    run engine_line --host "$SSH"
    mv "$TMP/ssh/unauthorized" "$TMP/ssh/authorized"
    has "$output" 'Permission denied'
    run engine_line --host "ssh://127.0.0.1:$port$TMP/none.sock"
    has "$output" "$TMP/none.sock"
    has "$output" 'open failed'
    run engine_line --host ssh://me:secret@127.0.0.1
    has "$output" 'no password'
}

@test "TLS: a cluster behind it does all that one here does, over few connections" {
    export DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH=$TMP/certs
    local address=tcp://127.0.0.1:$PORT
    # The docker program is for this machine's engine.
    docker() { env -u DOCKER_TLS_VERIFY -u DOCKER_CERT_PATH docker "$@"; }
    export -f docker
    : >"$TMP/connections"
    mount_busybox m -n 2 --host "$address"
    is "$address" "$(listed_below | jq -r '.[0].engine')"
    exercise
    umount_cluster
    # Four streams and two attachments have their own; the requests, of which there are some hundred, share the rest.
    [ "$(wc -l <"$TMP/connections")" -lt 40 ]
}

@test "a context: --context names it, and umount finds the engine again without it" {
    docker context create far --docker \
        "host=tcp://127.0.0.1:$PORT,ca=$TMP/certs/ca.pem,cert=$TMP/certs/cert.pem,key=$TMP/certs/key.pem" >/dev/null
    mount_busybox m -n 2 --context far
    is context:far "$(listed_below | jq -r '.[0].engine')"
    exercise
    kill -9 "$(listed_below | jq '.[0].pid')"
    umount_cluster
    run "$CTHULHU" doctor --context near
    has "$output" 'docker context near cannot be used'
    # Both are meant: two machines.
    run "$CTHULHU" doctor --context far --host unix:///x
    is 1 "$status"
    has "$output" 'at context:far'
    has "$output" 'unix:///x'
}

@test "a context with an ssh:// address" {
    needs_sshd
    docker context create behind-ssh --docker "host=$SSH" >/dev/null
    mount_busybox m -n 1 --context behind-ssh
    is context:behind-ssh "$(listed_below | jq -r '.[0].engine')"
    umount_cluster
}
