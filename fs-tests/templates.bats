#!/usr/bin/env bats
# Templates: -e, COMMAND and the files of --config, rendered for each node, seen from inside the nodes.

load lib.bash

setup_file() {
    begin
    need_image
}

teardown_file() { end; }

setup() {
    M=$TMP/m$BATS_TEST_NUMBER
    D=$TMP/d$BATS_TEST_NUMBER
    mkdir "$M" "$D"
}

teardown() {
    if mountpoint -q "$M"; then umount_cluster; fi
}

# mounted OPTION...: mounts here, in nodes that print their environment and arguments, and stay.
mounted() {
    with_deadline 120 "$CTHULHU" mount --prefix "$P" -i "$IMAGE" --start "$@" "$M" -- \
        sh -c 'trap "exit 143" TERM; echo "$WHO|$OTHERS|$*"; while :; do sleep 3600 & wait $!; done' \
        program 'id={{ index }}' '{% if master %}first{% else %}join={{ nodes[0].ip }}:{{ port }}{% endif %}'
}

# bad PART OPTION...: mount must fail with nothing but a sentence that has PART in it, and must leave nothing behind.
bad() {
    local part=$1 status=0
    shift
    with_deadline 60 "$CTHULHU" mount --prefix "$P" -i "$IMAGE" -n 2 "$@" >"$TMP/stdout" 2>"$TMP/stderr" || status=$?
    is 1 "$status" "exit status of mount $*"
    is '' "$(cat "$TMP/stdout")" stdout
    is 1 "$(wc -l <"$TMP/stderr")" "lines of stderr: $(cat "$TMP/stderr")"
    has "$(cat "$TMP/stderr")" "$part"
    nothing_left
    if [ -d "$M" ]; then is '' "$(ls -A "$M")" 'content of the mountpoint'; fi
}

# How the first lines of a node's log begin: said NODE TEXT
said() { [ "$(head -n 1 "$M/$1/log")" = "$2" ]; }

@test "environment and arguments are each node's own, and a node recreated has the same" {
    mounted -n 3 --port 7000 -e 'WHO={{ name }}@{{ self }}' -e 'OTHERS={{ peers | join(",") }}'
    local one two three
    one=$(cat "$M/i001/ip") two=$(cat "$M/i002/ip") three=$(cat "$M/i003/ip")
    wait_for 20 said i001 "i001@$one|$two,$three|id=1 first"
    wait_for 20 said i002 "i002@$two|$one,$three|id=2 join=$one:7000"
    wait_for 20 said i003 "i003@$three|$one,$two|id=3 join=$one:7000"
    docker rm -f "$P-i002" >/dev/null
    wait_for 20 reads "$M/i002/state" missing
    echo start >"$M/i002/control"
    again() { [ "$(grep -cx "i002@$two|$one,$three|id=2 join=$one:7000" "$M/i002/log")" = 2 ]; }
    wait_for 20 again
}

@test "files of --config are rendered into etc, with their directories and permissions" {
    mkdir -p "$D/conf.d/empty"
    printf 'self = "%s"\n{%%- for peer in peers %%}\npeer = "{{ peer }}"\n{%%- endfor %%}\n' '{{ self }}' >"$D/conf.d/app.toml"
    printf '#!/bin/sh\necho {{ name }} {%% raw %%}{{ name }}{%% endraw %%}\n' >"$D/run"
    chmod 750 "$D/run"
    printf '{{ name }}\377' >"$D/binary"
    ln -s conf.d/app.toml "$D/current"
    mounted -n 2 --config "$D"
    printf 'self = "%s"\npeer = "%s"\n' "$(cat "$M/i002/ip")" "$(cat "$M/i001/ip")" >"$TMP/wanted"
    docker exec "$P-i002" cat /opt/app/etc/conf.d/app.toml | cmp - "$TMP/wanted"
    docker exec "$P-i002" cat /opt/app/etc/current | cmp - "$TMP/wanted"
    cmp "$M/i002/bindmounts/etc/conf.d/app.toml" "$TMP/wanted"
    is 'i001 {{ name }}' "$(docker exec "$P-i001" /opt/app/etc/run)"
    is 750 "$(stat -c %a "$M/i001/bindmounts/etc/run")"
    docker exec "$P-i001" cat /opt/app/etc/binary | cmp - "$D/binary"
    is '' "$(ls -A "$M/i001/bindmounts/etc/conf.d/empty")"
    # What was there without it is there still.
    is "$(cat "$M/i001/ip")" "$(jq -r .self "$M/i001/bindmounts/etc/config.json")"
}

@test "a config.json of one's own takes the place of the generated one" {
    echo '{"id": {{ index }}, "leader": {{ master }}, "peers": {{ peers | tojson }}}' >"$D/config.json"
    mounted -n 2 --config "$D"
    is '{"id":2,"leader":false,"peers":["'"$(cat "$M/i001/ip")"'"]}' \
        "$(docker exec "$P-i002" cat /opt/app/etc/config.json | jq -c .)"
}

@test "what --env-file says is taken as it is" {
    echo 'WHO={{ name }} {% nothing' >"$TMP/literal.env"
    mounted --env-file "$TMP/literal.env"
    wait_for 20 said i001 '{{ name }} {% nothing||id=1 first'
}

@test "the demo program takes files of --config and -e too" {
    echo '{{ name }}' >"$D/who"
    with_deadline 120 "$CTHULHU" mount --prefix "$P" -n 2 --config "$D" -e 'WHO={{ index }}' --start "$M"
    is i002 "$(cat "$M/i002/bindmounts/etc/who")"
    is running "$(cat "$M/i002/state")"
    has "$(jq -c .Config.Env "$M/i002/inspect.json")" WHO=2
}

@test "a wrong template is told by one sentence, before anything is made" {
    bad '-e WHO: `nobody` is not defined' "$M" -e 'WHO={{ nobody }}'
    bad '-e WHO: `nodes[5]` is not defined' "$M" -e 'WHO={{ nodes[5].ip }}'
    bad '-e WHO: `nodes[0].port` is not defined' "$M" -e 'WHO={{ nodes[0].port }}'
    bad '{% raw %}' "$M" -e 'WHO={{ name'
    bad 'COMMAND argument 2 line 2: `nobody`' "$M" -- sh $'-c\n{{ nobody }}'
    bad '{% raw %}' "$M" -- sh -c 'echo ${#array}'
    bad 'does not come to an end' "$M" -e "WHO={% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}"
    bad 'NUL' "$M" -e 'WHO={{ "\u0000" }}'
    mkdir "$D/conf.d"
    printf 'fine\nself = {{ slef }}\n' >"$D/conf.d/app.toml"
    bad "$D/conf.d/app.toml line 2: \`slef\` is not defined" "$M" --config "$D"
    # Only the second node's is wrong.
    echo '{% if index == 2 %}{{ slef }}{% endif %}' >"$D/conf.d/app.toml"
    bad "$D/conf.d/app.toml: \`slef\`" "$M" --config "$D"
    # One that fails only with the addresses that there are in the end is taken down again.
    bad '`slef`' "$M" -e 'WHO={{ slef if self[:4] != "198." }}'
    # A mountpoint that is missing is not made either.
    rm -r "$D/conf.d"
    mkdir "$TMP/default"
    (cd "$TMP/default" && M=$TMP/default/cthulhu-fixture bad '`nobody`' -e 'WHO={{ nobody }}')
    is '' "$(ls -A "$TMP/default")"
}

@test "a --config that cannot be read is told by one sentence, before anything is made" {
    bad "$D/none" "$M" --config "$D/none"
    echo text >"$TMP/file"
    bad 'not a directory' "$M" --config "$TMP/file"
    bad 'in the mountpoint' "$M" --config "$M"
    bad 'in the mountpoint' "$M" --config "$M/sub"
    bad 'the mountpoint lies in it' "$M" --config "$TMP"
    bad 'nodes write' "$M" --config "$D" --data "$D/data"
    mkdir -p "$TMP/kept/i001/etc"
    bad 'nodes write' "$M" --config "$TMP/kept/i001/etc" --data "$TMP/kept"
    mkfifo "$D/fifo"
    bad "$D/fifo" "$M" --config "$D"
    rm "$D/fifo"
    truncate -s 17M "$D/large"
    bad '16 MiB' "$M" --config "$D"
    { head -c 200000 /dev/zero | tr '\0' x && echo '{{ name }}'; } >"$D/large"
    bad '128 KiB' "$M" --config "$D"
    needs_root 'to be another user'
    echo secret >"$D/large"
    chmod 600 "$D/large"
    chmod 755 "$TMP"
    mkdir -m 777 "$TMP/nobody"
    local status=0
    XDG_STATE_HOME=$TMP/nobody setpriv --reuid 65534 --regid 65534 --clear-groups \
        "$CTHULHU" mount --host simulated: --config "$D" "$M" 2>"$TMP/stderr" || status=$?
    is 1 "$status"
    is "cthulhu: --config: cannot read $D/large: Permission denied" "$(cat "$TMP/stderr")"
}

@test "with --data the files are written again, and what a node has planted is not followed" {
    mkdir "$D/conf.d"
    echo '{{ name }} one' | tee "$D/app" >"$D/conf.d/app"
    mounted -n 1 --config "$D" --data "$TMP/data"
    echo secret >"$TMP/secret"
    mkdir "$TMP/away"
    ln -s "$TMP/away" "$M/i001/bindmounts/etc/planted"
    docker exec "$P-i001" sh -c "
        cd /opt/app/etc && echo own >own && rm -r app conf.d && ln -s '$TMP/secret' app && ln -s '$TMP/away' conf.d"
    umount_cluster
    [ -L "$TMP/data/i001/etc/app" ] && [ -L "$TMP/data/i001/etc/conf.d" ]
    echo '{{ name }} two' | tee "$D/app" >"$D/conf.d/app"
    mounted -n 1 --config "$D" --data "$TMP/data"
    is 'i001 two' "$(docker exec "$P-i001" cat /opt/app/etc/app)"
    is 'i001 two' "$(docker exec "$P-i001" cat /opt/app/etc/conf.d/app)"
    is own "$(docker exec "$P-i001" cat /opt/app/etc/own)"
    is secret "$(cat "$TMP/secret")"
    is '' "$(ls -A "$TMP/away")"
    umount_cluster
    # A directory where a file belongs is not taken away: it may hold somebody's data.
    rm "$TMP/data/i001/etc/app"
    mkdir "$TMP/data/i001/etc/app"
    local status=0
    mounted -n 1 --config "$D" --data "$TMP/data" 2>"$TMP/stderr" || status=$?
    is 1 "$status"
    has "$(cat "$TMP/stderr")" "$TMP/data/i001/etc/app: a directory"
    nothing_left
}
