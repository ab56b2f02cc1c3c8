#!/usr/bin/env bats
# An engine that is set up in another way than usual: userns-remap, live-restore, TLS. A dockerd of this file's own, in network and
# mount namespaces of its own.

load lib.bash

setup_file() {
    begin
    [ "$(id -u)" = 0 ] || return 0
    PATH=$PATH:/usr/sbin:/sbin
    command -v dockerd >/dev/null || skip 'there is no dockerd on this machine'
    need_image
    docker save -o "$TMP/image.tar" "$IMAGE"
    export CTHULHU_TEST_IMAGE=$TMP/image.tar DOCKER_HOST=unix://$TMP/e/docker.sock
    mkdir "$TMP/e" "$TMP/certs"
    certificates
    # The ordinary user comes here too.
    chmod 755 "$TMP"
    printf '%s:100000:65536\n' nobody nogroup >"$TMP/e/sub"
    # shellcheck disable=SC2016
    setsid unshare --net --mount --propagation slave sh -ec '
        ip link set lo up
        mount --bind "$0/e/sub" /etc/subuid
        mount --bind "$0/e/sub" /etc/subgid
        exec dockerd --data-root "$0/e/data" --exec-root "$0/e/exec" --pidfile "$0/e/docker.pid" -H "$DOCKER_HOST" \
            --bridge=none --iptables=false --ip6tables=false --ip-masq=false --userns-remap nobody:nogroup --live-restore \
            -H tcp://127.0.0.1:2376 --tlsverify --tlscacert "$0/certs/ca.pem" --tlscert "$0/certs/server.pem" \
            --tlskey "$0/certs/key.pem"' "$TMP" >"$TMP/e/log" 2>&1 </dev/null 3>&- &
    echo $! >"$TMP/e/pid"
    wait_for 60 engine_answers || {
        tail -n 5 "$TMP/e/log" >&2
        return 1
    }
    chmod 666 "$TMP/e/docker.sock"
    need_image
}

teardown_file() {
    local one
    if [ -e "$TMP/e/pid" ]; then
        for one in $(daemons "$TMP"); do kill "$one" || true; done
        wait_for 60 no_daemons "$TMP" || true
        # With live-restore it would leave them behind.
        for one in $(docker ps -aq); do docker rm -fv "$one" >/dev/null; done
        kill "$(cat "$TMP/e/pid")"
        wait_for 60 gone "$(cat "$TMP/e/pid")"
    fi
    unset DOCKER_HOST
    end
    [ ! -e "$TMP" ]
}

setup() {
    needs_root 'to run a second dockerd'
    M=$TMP/m$BATS_TEST_NUMBER
}

engine_answers() { timeout 30 docker version >/dev/null 2>&1; }

# Where the engine is.
inside() { nsenter --target "$(cat "$TMP/e/pid")" --net --mount "$@"; }

# The line of a check.
line() { grep -E "^[a-z]+ +$1: " "$TMP/out"; }

# An authority, a certificate of it for the engine (and for clients), and another authority.
certificates() {
    local subject=-subj
    (
        cd "$TMP/certs"
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout ca-key.pem -out ca.pem $subject /CN=authority
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout other-key.pem -out other.pem $subject /CN=another
        openssl req -newkey rsa:2048 -nodes -keyout key.pem -out request.pem $subject /CN=engine
        printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' >extensions
        openssl x509 -req -days 2 -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -extfile extensions -out server.pem
        cp server.pem cert.pem
        mkdir ../strangers ../none
        cp key.pem cert.pem ../strangers
        cp other.pem ../strangers/ca.pem
        cp ca.pem ../none
    ) 2>"$TMP/openssl"
}

# doctor_by VARIABLE=VALUE...: leaves its words in $TMP/out, and its exit status in $status.
doctor_by() {
    run inside env -u DOCKER_HOST "$@" "$CTHULHU" doctor
    echo "$output" >"$TMP/out"
}

@test "doctor names userns-remap and live-restore, and mounting works" {
    doctor_by DOCKER_HOST="$DOCKER_HOST"
    is 0 "$status"
    has "$(line userns-remap)" note
    has "$(line live-restore)" ok
    has "$(line addresses)" "this machine reaches the nodes' addresses"
    # On the machine's own network the addresses lead nowhere, or to somebody else.
    [ -z "$(line rootless)" ]
}

@test "with userns-remap, what nodes wrote is cleaned up through a container, for an ordinary user" {
    local state=$TMP/nobody
    mkdir -p "$state" "$M"
    chmod 777 "$state" "$M"
    as_nobody() { inside setpriv --reuid 65534 --regid 65534 --clear-groups env HOME="$state" XDG_STATE_HOME="$state" "$@"; }
    as_nobody "$CTHULHU" mount --prefix "$P" -i "$IMAGE" --start "$M" -- \
        sh -c 'mkdir -m 700 /opt/app/var/d && echo x >/opt/app/var/d/f; touch /opt/app/var/done; trap "exit 0" TERM; while :; do sleep 3600 & wait $!; done'
    data=$(echo "$state"/cthulhu/*/data)
    wait_for 20 test -e "$data/i001/var/done"
    is 100000 "$(stat -c %u "$data/i001/var/d/f")" 'the file belongs to'
    as_nobody "$CTHULHU" umount "$M"
    as_nobody "$CTHULHU" prune --yes "$M"
    [ ! -e "$data" ]
}

@test "TLS: with the right certificates it connects" {
    doctor_by DOCKER_HOST=tcp://127.0.0.1:2376 DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH="$TMP/certs"
    is 0 "$status"
    has "$(line engine)" 'at tcp://127.0.0.1:2376'
    has "$(line engine)" note
    has "$(line engine)" bindmounts/
}

@test "TLS that fails: the advice is about certificates, not about installing an engine" {
    local certs
    # Of another authority; none for the client.
    for certs in strangers none; do
        doctor_by DOCKER_HOST=tcp://127.0.0.1:2376 DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH="$TMP/$certs"
        is 1 "$status"
        has "$(line engine)" problem
        has "$(line engine)" DOCKER_CERT_PATH
        refused grep docker.io "$TMP/out"
    done
    # Without TLS.
    doctor_by DOCKER_HOST=tcp://127.0.0.1:2376
    is 1 "$status"
    has "$(line engine)" DOCKER_TLS_VERIFY=1
    # Nobody there.
    doctor_by DOCKER_HOST=tcp://127.0.0.1:9
    is 1 "$status"
    has "$(line engine)" 'See that an engine listens there'
    refused grep docker.io "$TMP/out"
}
