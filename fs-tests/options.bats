#!/usr/bin/env bats
# What the options of the nodes do, seen from inside the nodes and through the mount, and how each is refused.
# Their plain use is in cli.bats, their wrong forms are in invalid_args.bats.

load lib.bash
load options.bash

in_node() { docker exec "$P-i001" "$@"; }

@test "--volume: a relative source, a file, a name with a colon, read-only ones that cannot be written" {
    mkdir "$TMP/rel" "$TMP/a:b"
    echo text >"$TMP/rel/file"
    echo colon >"$TMP/a:b/file"
    cd "$TMP"
    mounted --volume rel:/rel --volume ./rel/file:/one --volume rel/file:/two:ro --volume a:b:/colon --volume rel:/ro:ro
    is text "$(in_node cat /rel/file)"
    is colon "$(in_node cat /colon/file)"
    in_node sh -c 'echo more >>/one && echo new >/rel/new'
    is 'text more' "$(echo $(cat "$TMP/rel/file"))"
    is new "$(cat "$TMP/rel/new")"
    local write
    for write in 'echo no >/two' 'echo no >/ro/file' ': >/ro/other' 'rm /ro/file' 'chmod 777 /ro'; do
        run in_node sh -c "$write"
        [ "$status" != 0 ]
        has "$output" 'Read-only file system'
    done
    is 'text more' "$(echo $(cat "$TMP/rel/file"))"
    # As long as it is mounted, not only for the first run.
    echo restart >"$M/i001/control"
    is 'text more' "$(echo $(in_node cat /two))"
    refused in_node sh -c 'echo no >/two' 2>/dev/null
}

@test "--volume and targets that cannot be are refused" {
    mkdir "$TMP/dir"
    bad "$TMP/none" --volume "$TMP/none:/data"
    bad 'SRC:DST' --volume "$TMP/dir:data"
    bad 'SRC:DST' --volume "$TMP/dir:/data:rw"
    bad 'SRC:DST' --volume "$TMP/dir:"
    bad '/data' --volume "$TMP/dir:/data" --volume "$TMP/dir:/x/../data/"
    bad '/opt/app/var' --volume "$TMP/dir:/opt/app/var"
    bad '/same' --etc-target /same --var-target /same/
    bad "'/'" --etc-target /
    bad "'/'" --volume "$TMP/dir:/"
    bad 'in the mountpoint' --volume "$M:/data"
    bad 'in the mountpoint' --volume "$M/sub:/data"
}

@test "--volume of a directory that holds the mountpoint: the mount goes with the cluster all the same" {
    mounted --volume "$TMP:/all"
    in_node test -d /all/state
    umount_cluster
    nothing_left
    # In a node that has copied the mount, it is as dead as anywhere.
    mounted --volume "$TMP:/all"
    echo restart >"$M/control"
    umount "$M"
    wait_for 30 nothing_left 2>/dev/null
}

@test "--etc-target and --var-target: one in the other, and a name with a space" {
    mounted --etc-target /app --var-target '/app/my data'
    in_node cat /app/config.json | cmp - "$M/i001/bindmounts/etc/config.json"
    in_node sh -c 'echo x >"/app/my data/f"'
    is x "$(cat "$M/i001/bindmounts/var/f")"
    # What the engine makes to mount on is not mistaken for a file of the node's.
    is '' "$(find "$M/i001/bindmounts/etc/my data" -mindepth 1)"
    refused in_node test -e /opt/app/etc
}

@test "--entrypoint drops the image's command, takes its arguments from COMMAND, and must be there" {
    with_deadline 60 "$CTHULHU" mount --prefix "$P" -i "$IMAGE" --entrypoint /bin/pwd --start "$M"
    wait_for 20 reads "$M/i001/log" /
    # Its line can be there before it has ended.
    wait_for 20 reads "$M/i001/exit_code" 0
    umount_cluster
    with_deadline 60 "$CTHULHU" mount --prefix "$P" -i "$IMAGE" --entrypoint /bin/printf --start "$M" -- '%s.' 'a b' '' '$x'
    wait_for 20 reads "$M/i001/log" 'a b..$x.'
    umount_cluster
    bad /no/such/program --entrypoint /no/such/program --start
}

@test "--user: by number it writes to var and reads etc; one that is not in the image is refused by name" {
    mkdir "$TMP/conf"
    echo '{{ name }}' >"$TMP/conf/mine"
    chmod 644 "$TMP/conf/mine"
    mounted --user 1234:4321 --config "$TMP/conf"
    is '1234:4321' "$(in_node sh -c 'echo $(id -u):$(id -g)')"
    is "$(cat "$M/i001/ip")" "$(in_node cat /opt/app/etc/config.json | jq -r .self)"
    is i001 "$(in_node cat /opt/app/etc/mine)"
    in_node sh -c 'echo line >>/opt/app/var/i001.log && mkdir /opt/app/var/d && echo x >/opt/app/var/d/f && : >/opt/app/etc/own'
    is x "$(cat "$M/i001/bindmounts/var/d/f")"
    is '1234:4321' "$(stat -c %u:%g "$M/i001/bindmounts/var/d/f")"
    # As on any disk, what it may not write it may not.
    refused in_node sh -c 'echo no >/opt/app/etc/config.json' 2>/dev/null
    is 1234 "$(awk '$1 == "Uid:" { print $2 }' "/proc/$(cat "$M/i001/pid.txt")/status")"
    umount_cluster
    mounted --user root
    is 0 "$(in_node id -u)"
    umount_cluster
    bad nobody-here --user nobody-here --start
}

# The value of a cgroup file of the node's first process: limit CONTROLLER FILE_OF_V1 FILE_OF_V2
limit() {
    local pid at
    pid=$(cat "$M/i001/pid.txt")
    at=$(awk -F: -v c="$1" '$2 ~ "(^|,)" c "(,|$)" { print $3 }' "/proc/$pid/cgroup")
    if [ -n "$at" ] && [ -d "/sys/fs/cgroup/$1" ]; then
        cat "/sys/fs/cgroup/$1$at/$2"
    else
        at=$(awk -F: '$1 == 0 { print $3 }' "/proc/$pid/cgroup")
        cat "/sys/fs/cgroup$at/$3"
    fi
}

@test "--memory and --cpus are in force, with a node recreated too" {
    mounted --memory 48m --cpus 0.25
    local turn
    for turn in first again; do
        is $((48 << 20)) "$(limit memory memory.limit_in_bytes memory.max)" "memory, $turn"
        case $(limit cpu cpu.cfs_quota_us cpu.max) in
        25000 | '25000 100000') ;;
        *) is 'a quarter of a CPU' "$(limit cpu cpu.cfs_quota_us cpu.max)" "cpu, $turn" ;;
        esac
        [ "$turn" = again ] || {
            docker rm -f "$P-i001" >/dev/null
            wait_for 20 reads "$M/i001/state" missing
            echo start >"$M/i001/control"
        }
    done
}

@test "a node that takes more than --memory is killed: exit_code says 137, and it can be started again" {
    # A shell that makes a string longer and longer, beside which nothing else of the node is worth killing.
    with_deadline 60 "$CTHULHU" mount --prefix "$P" -i "$IMAGE" --memory 16m --start "$M" -- \
        sh -c 'echo begun; x=0123456789abcdef; [ -e /opt/app/var/twice ] && exec sleep 3600; while :; do x=$x$x; done'
    wait_for 60 reads "$M/i001/state" exited
    wait_for 20 reads "$M/i001/exit_code" 137
    # The event tells the code; the description is asked for after it.
    out_of_memory() { [ "$(jq .State.OOMKilled "$M/i001/inspect.json")" = true ]; }
    wait_for 20 out_of_memory
    : >"$M/i001/bindmounts/var/twice"
    echo start >"$M/i001/control"
    is running "$(cat "$M/i001/state")"
}

@test "--cap-add is in force: with it a node may, without it it may not" {
    mounted --cap-add NET_ADMIN --cap-add SYS_TIME
    in_node ip link set lo mtu 1400
    # SYS_TIME is 25, NET_ADMIN 12 (capability.h).
    local caps
    caps=$((16#$(awk '$1 == "CapEff:" { print $2 }' "/proc/$(cat "$M/i001/pid.txt")/status")))
    is 1 $((caps >> 25 & 1))
    is 1 $((caps >> 12 & 1))
    umount_cluster
    mounted
    refused in_node ip link set lo mtu 1400 2>/dev/null
    umount_cluster
    bad NO_SUCH_CAP --cap-add NO_SUCH_CAP --start
}

@test "--env-file is read as docker run reads it" {
    printf '\xef\xbb\xbfBOM=1\r\n  LEAD=  x  \r\n\t# no\n\xc2\xa0NBSP=a=b\nHERE\nEMPTY=\n   \nLAST={{ name }}\r' >"$TMP/env"
    HERE='from here' mounted --env-file "$TMP/env"
    docker inspect -f '{{json .Config.Env}}' "$P-i001" | jq -r '.[]' | grep -v ^PATH= >"$TMP/ours"
    HERE='from here' docker create --name "$P-like" --env-file "$TMP/env" "$IMAGE" >/dev/null
    docker inspect -f '{{json .Config.Env}}' "$P-like" | jq -r '.[]' | grep -v ^PATH= >"$TMP/dockers"
    docker rm "$P-like" >/dev/null
    diff "$TMP/dockers" "$TMP/ours"
    is "$(printf '%s\n' BOM=1 'LEAD=  x  ' NBSP=a=b 'HERE=from here' EMPTY= 'LAST={{ name }}')" "$(cat "$TMP/ours")"
}

@test "names that no program asks for are refused, in --env-file with the line and in -e" {
    local line
    for line in 'export X=5' 'A B=1' $'A\tB=1' 'A =1' 'HERE ' $'A\xc2\xa0B=1' $'A\xef\xbb\xbf=1' $'A\v=1' $'A\e=1'; do
        printf '# one\nGOOD=1\n%s\n' "$line" >"$TMP/env"
        HERE=1 bad "$TMP/env line 3: " --env-file "$TMP/env"
        has "$(cat "$TMP/stderr")" 'is no name of a variable'
        [[ $line == *=* ]] || continue
        bad 'is no name of a variable' -e "$line"
    done
    bad "leave 'export' out" -e 'export X=5'
    bad 'is no name of a variable' -e ' X=5'
    for line in '=x' ' =x' 'UNSET_HERE'; do
        printf '\n%s\n' "$line" >"$TMP/env"
        bad "$TMP/env line 2: '${line# }' is not of the form K=V" --env-file "$TMP/env"
        bad 'is not of the form K=V' -e "$line"
    done
    has "$(cat "$TMP/stderr")" UNSET_HERE
}
