#!/usr/bin/env bats
# The command line: what it prints, and what each option does.

load lib.bash

setup_file() {
    begin
    need_image
}

teardown_file() { end; }

setup() {
    M=$TMP/m$BATS_TEST_NUMBER
    mkdir "$M"
}

teardown() {
    if mountpoint -q "$M"; then "$CTHULHU" umount "$M"; fi
    docker network rm "$P-net" >/dev/null 2>&1 || true
}

# Mounts busybox nodes with options, which come before the command.
mounted() {
    with_deadline 120 "$CTHULHU" mount --prefix "$P" -i "$IMAGE" --start "$@" "$M" -- "${NODE[@]}"
}

# As --help lists them.
subcommands() { "$CTHULHU" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]\+\) .*/\1/p' | grep -vx help; }

@test "--help, of every subcommand, with an example" {
    local sub
    [ "$(subcommands | wc -l)" -ge 10 ]
    for sub in '' $(subcommands); do
        run "$CTHULHU" $sub --help
        is 0 "$status" "$sub --help"
        has "$output" Example
        has "$output" 'cthulhu'
    done
    is "$("$CTHULHU" --help)" "$("$CTHULHU" help)"
    has "$("$CTHULHU" --version)" 'cthulhu '
}

@test "no arguments: the help, on stderr, and exit status 2" {
    local status=0
    "$CTHULHU" >"$TMP/stdout" 2>"$TMP/stderr" || status=$?
    is 2 "$status"
    has "$(cat "$TMP/stderr")" mount
}

@test "what cthulhu starts for itself is no subcommand, and no slip of the pen leads to it" {
    local word
    mkdir -p "$TMP/precious"
    echo x >"$TMP/precious/f"
    for word in sweep swep sleep sandbox sandbo daemon deamon; do
        refused "$CTHULHU" $word "$TMP/precious" >"$TMP/said" 2>&1
        has "$(cat "$TMP/said")" "unrecognized subcommand '$word'"
        is '' "$(grep -E "similar|'(sweep|sandbox|daemon|demo)'" "$TMP/said" | grep -v "unrecognized subcommand '$word'")"
    done
    is f "$(ls "$TMP/precious")"
    for word in bash elvish fish powershell zsh; do
        is 0 "$("$CTHULHU" completions $word | grep -cE 'sweep|internal|cthulhu[^ ]*(sandbox|daemon|demo)')" "of $word"
    done
    for word in sweep sandbox daemon demo; do refused "$CTHULHU" man $word 2>/dev/null; done
}

@test "completions for every shell; bash's can be loaded" {
    local shell
    for shell in bash zsh fish; do has "$("$CTHULHU" completions $shell)" umount; done
    "$CTHULHU" completions bash >"$TMP/completions"
    bash -c '. "$1"; complete -p cthulhu' - "$TMP/completions"
    refused "$CTHULHU" completions csh 2>/dev/null
}

@test "man is a manual page, and a reader may go away" {
    has "$("$CTHULHU" man)" .TH
    "$CTHULHU" man | head -1 >/dev/null
    is 0 "${PIPESTATUS[0]}"
}

@test "man has a page for each subcommand that --help lists, and writes them all" {
    local sub subs dir=$TMP/man/man1
    mapfile -t subs < <(subcommands && echo compose-check)
    "$CTHULHU" man --dir "$dir"
    is "$(printf '%s\n' cthulhu.1 "${subs[@]/%/.1}" | sed '2,$s/^/cthulhu-/' | sort)" "$(find "$dir" -printf '%f\n' | grep '\.1$' | sort)"
    cmp "$dir/cthulhu.1" <("$CTHULHU" man)
    for sub in "${subs[@]}"; do
        cmp "$dir/cthulhu-$sub.1" <("$CTHULHU" man "$sub")
        grep -q "^\.TH cthulhu-$sub 1 .*\"cthulhu [0-9]" "$dir/cthulhu-$sub.1"
        has "$(cat "$dir/cthulhu-$sub.1")" Example
    done
    for sub in daemon nope; do
        refused "$CTHULHU" man $sub 2>"$TMP/stderr"
        has "$(cat "$TMP/stderr")" "no subcommand is named '$sub': there are mount, umount,"
    done
    refused "$CTHULHU" man --dir "$CTHULHU/no" 2>"$TMP/stderr"
    has "$(cat "$TMP/stderr")" 'cannot write manual pages'
}

@test "mount says where and what next, on stdout" {
    local out
    out=$(mounted -n 2 2>/dev/null)
    has "$out" "$M"
    has "$out" 'cthulhu umount'
}

@test "ls and ls --json" {
    is '[]' "$(listed_below)"
    mounted -n 2
    has "$("$CTHULHU" ls)" "$M"
    is "$M 2 $IMAGE mounted" "$(listed_below | jq -r '.[] | "\(.mountpoint) \(.nodes) \(.image) \(.state)"')"
    "$CTHULHU" umount "$M"
    is '[]' "$(listed_below)"
}

@test "without a mountpoint: ./cthulhu-fixture, made" {
    local d=$TMP/default
    mkdir "$d"
    cd "$d"
    "$CTHULHU" mount --host simulated: -n 1
    is i001 "$(cat cthulhu-fixture/i001/name)"
    "$CTHULHU" umount cthulhu-fixture
}

@test "the original's flags" {
    local d=$TMP/original
    mkdir "$d"
    # That form has no --prefix.
    if [ -n "$(docker ps -aq --filter 'name=^/i00[123](-sandbox)?$')" ]; then
        skip 'another cluster has the names i001, i002, i003'
    fi
    "$CTHULHU" --instances 3 --docker-image "$IMAGE" --fixture-root "$d" --fixture-name demo
    is 3 "$(find "$d/demo" -maxdepth 1 -type l | wc -l)"
    is "$IMAGE" "$(cat "$d/demo/i003/image")"
    echo start >"$d/demo/control"
    is "$(docker inspect -f '{{.State.Pid}}' i001)" "$(cat "$d/demo/i001/pid.txt")"
    "$CTHULHU" umount "$d/demo"
    refused docker inspect i001 >/dev/null 2>&1
    "$CTHULHU" --instances 1 --docker-image "$IMAGE" --fixture-root "$d" --fixture-name demo --docker-bridge docker0 2>"$TMP/stderr"
    is 1 "$(grep -c 'cannot pin' "$TMP/stderr")"
    is created "$(cat "$d/demo/i001/state")"
    "$CTHULHU" umount "$d/demo"
}

@test "--port and --publish" {
    local base
    base=$(python3 -c '
import socket
for base in range(23000, 30000, 10):
    try:
        for p in (base, base + 1):
            s = socket.socket(); s.bind(("0.0.0.0", p)); s.close()
        print(base); break
    except OSError: pass')
    with_deadline 60 "$CTHULHU" mount --prefix "$P" -n 2 --port 7000 --publish "$base" --start "$M"
    is 7000 "$(jq .port "$M/i001/bindmounts/etc/config.json")"
    is "$base $((base + 1))" "$(jq -r '"\(.i001.published_port) \(.i002.published_port)"' "$M/spec.json")"
    answers() { curl -sf --max-time 5 "http://127.0.0.1:$1/" | jq -e . >/dev/null; }
    wait_for 20 answers "$base"
    wait_for 20 answers $((base + 1))
    # The sandbox holds the port: it is there for the next run too.
    echo restart >"$M/i001/control"
    wait_for 20 answers "$base"
}

@test "--subnet" {
    local subnet
    subnet=$(free_subnet)
    mounted -n 2 --subnet "$subnet"
    has "$(cat "$M/i001/ip")" "${subnet%.0/24}."
    is "$subnet" "$(docker network inspect "$(networks "$TMP")" -f '{{(index .IPAM.Config 0).Subnet}}')"
}

@test "--network: an existing one is used, and stays" {
    local subnet
    subnet=$(free_subnet)
    docker network create --subnet "$subnet" "$P-net" >/dev/null
    mounted -n 2 --network "$P-net"
    has "$(cat "$M/i001/ip")" "${subnet%.0/24}."
    is '' "$(networks "$TMP")" 'networks of our own'
    wait_for 20 pings "$P-i001" i002
    "$CTHULHU" umount "$M"
    docker network inspect "$P-net" >/dev/null
    docker network rm "$P-net" >/dev/null
}

@test "-e, --env-file and COMMAND after --" {
    printf '# a comment\nFROM_FILE=file\n\nBOTH=file\n' >"$TMP/env"
    "$CTHULHU" mount --prefix "$P" -i "$IMAGE" -e 'A=b c=d' -e EMPTY= -e BOTH=option --env-file "$TMP/env" --start "$M" -- \
        sh -c 'echo "$A|$EMPTY|$FROM_FILE|$BOTH|$0|$1"; sleep 3600' zero 'one  two'
    wait_for 10 reads "$M/i001/log" 'b c=d||file|option|zero|one  two'
}

@test "--volume, read-only and not" {
    mkdir "$TMP/vol"
    echo outside >"$TMP/vol/f"
    mounted --volume "$TMP/vol:/data" --volume "$TMP/vol:/ro:ro"
    is outside "$(docker exec "$P-i001" cat /data/f)"
    docker exec "$P-i001" sh -c 'echo inside >/data/f'
    is inside "$(cat "$TMP/vol/f")"
    refused docker exec "$P-i001" sh -c 'echo no >/ro/f' 2>/dev/null
}

@test "--etc-target and --var-target" {
    mounted --etc-target /etc/my --var-target /var/my
    docker exec "$P-i001" cat /etc/my/config.json | cmp - "$M/i001/bindmounts/etc/config.json"
    docker exec "$P-i001" sh -c 'echo x >/var/my/f'
    is x "$(cat "$M/i001/bindmounts/var/f")"
}

@test "--memory, --cpus, --cap-add, --user, --entrypoint" {
    mounted --memory 64m --cpus 0.5 --cap-add NET_ADMIN --user 1000:1000
    is '67108864 500000000 [NET_ADMIN]' \
        "$(docker inspect -f '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.CapAdd}}' "$P-i001" | sed 's/CAP_//')"
    is 1000:1000 "$(docker exec "$P-i001" sh -c 'echo $(id -u):$(id -g)')"
    # An ordinary user in the node can write where it is meant to.
    docker exec "$P-i001" sh -c 'echo mine >>/opt/app/var/i001.log && : >/opt/app/var/new'
    is mine "$(cat "$M/i001/bindmounts/var/i001.log")"
    "$CTHULHU" umount "$M"
    "$CTHULHU" mount --prefix "$P" -i "$IMAGE" --entrypoint echo --start "$M" -- from the entrypoint
    wait_for 10 reads "$M/i001/log" 'from the entrypoint'
}

@test "--start" {
    "$CTHULHU" mount --prefix "$P" -n 2 -i "$IMAGE" --start "$M" -- "${NODE[@]}"
    is 'running running' "$(echo $(cat "$M/i001/state" "$M/i002/state"))"
}

@test "--data keeps bind mounts and logs, and a later mount continues with them" {
    mounted --data "$TMP/data"
    wait_for 10 contains "$M/i001/log" started
    echo kept >"$M/i001/bindmounts/var/kept"
    echo more >>"$M/i001/bindmounts/var/i001.log"
    "$CTHULHU" umount "$M"
    grep -rqx kept "$TMP/data"
    mounted --data "$TMP/data"
    is kept "$(cat "$M/i001/bindmounts/var/kept")"
    is more "$(cat "$M/i001/bindmounts/var/i001.log")"
    is kept "$(docker exec "$P-i001" cat /opt/app/var/kept)"
    two() { [ "$(grep -c started "$M/i001/log")" = 2 ]; }
    wait_for 10 two
}

@test "--data in use by another mount is refused" {
    mounted --data "$TMP/data2"
    mkdir "$M.b"
    refused "$CTHULHU" mount --prefix "$P-b" -i "$IMAGE" --data "$TMP/data2" "$M.b" 2>"$TMP/stderr" || {
        "$CTHULHU" umount "$M.b"
        false
    }
    is 1 "$(wc -l <"$TMP/stderr")"
}

@test "--allow-other lets another user look, and without it none may" {
    needs_root 'to be another user, and --allow-other as user needs user_allow_other in /etc/fuse.conf'
    chmod 755 "$TMP"
    mounted
    refused as_nobody cat "$M/i001/state" 2>/dev/null
    "$CTHULHU" umount "$M"
    mounted --allow-other
    is running "$(as_nobody cat "$M/i001/state")"
    refused as_nobody sh -c "echo stop >'$M/i001/control'" 2>/dev/null
    is running "$(cat "$M/i001/state")"
}

as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }

@test "progress goes to stderr as plain lines when that is no terminal" {
    mounted -n 2 2>"$TMP/stderr" >"$TMP/stdout"
    refused grep -q "$(printf '[\033\r]')" "$TMP/stderr"
    refused grep -q "$(printf '[\033\r]')" "$TMP/stdout"
}
