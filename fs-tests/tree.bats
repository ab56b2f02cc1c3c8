#!/usr/bin/env bats
# The tree, file by file, through the tools that people use.

load lib.bash

setup_file() {
    begin
    mount_busybox tree -n 3
    echo start >"$M/control"
}

teardown_file() { end; }

NODE_FILES='bindmounts control error exit_code health id image inspect.json ip log name net pid.txt ready ready_reason state'

@test "the root has exactly its files, and one link and one directory a node" {
    cd "$M"
    local addresses
    addresses=$(cat i*/ip)
    is "$(printf '%s\n' capabilities control error history i001 i002 i003 links partition spec.json status $addresses | LC_ALL=C sort)" \
        "$(LC_ALL=C ls -1 -A)"
}

@test "a node's directory has exactly its files" {
    is "$NODE_FILES" "$(echo $(LC_ALL=C ls -1 -A "$M/i001/"))"
    is 'etc var' "$(echo $(ls -1 -A "$M/i001/bindmounts"))"
    is config.json "$(ls -1 -A "$M/i001/bindmounts/etc")"
    is i001.log "$(ls -1 -A "$M/i001/bindmounts/var")"
}

@test "links are relative and lead to the node of that name" {
    local n
    for n in i001 i002 i003; do
        is "$(cat "$M/$n/ip")" "$(readlink "$M/$n")"
        is "$n" "$(cat "$M/$(cat "$M/$n/ip")/name")"
        is "$M/$(cat "$M/$n/ip")" "$(realpath "$M/$n")"
    done
    is '' "$(find "$M" -xtype l)" 'broken or circular links'
}

@test "modes, types and owner" {
    cd "$M"
    is "directory 755 $(id -u)" "$(stat -c '%F %a %u' .)"
    is "directory 755 $(id -u)" "$(stat -c '%F %a %u' i001/)"
    is "directory 755 $(id -u)" "$(stat -c '%F %a %u' i001/bindmounts)"
    is 'symbolic link' "$(stat -c %F i001)"
    local f
    for f in control i001/control; do is "755 $(id -u)" "$(stat -c '%a %u' $f)" $f; done
    for f in partition links history i001/net; do is "644 $(id -u)" "$(stat -c '%a %u' $f)" $f; done
    for f in status spec.json error capabilities $(printf 'i001/%s ' $NODE_FILES); do
        case $f in */control | */bindmounts | */net) continue ;; esac
        is "444 $(id -u) $(id -g)" "$(stat -c '%a %u %g' "$f")" "$f"
    done
}

@test "link counts let find -noleaf and its optimisation agree" {
    is "$(find "$M" -noleaf | wc -l)" "$(find "$M" | wc -l)"
    [ "$(find "$M" -type d | wc -l)" -eq $((1 + 3 * 4)) ]
}

@test "sizes are true in every file" {
    local file
    find "$M" -type f >"$TMP/files"
    [ "$(wc -l <"$TMP/files")" -ge 49 ]
    while read -r file; do
        is "$(cat "$file" | wc -c)" "$(stat -c %s "$file")" "$file"
    done <"$TMP/files"
}

@test "every text ends in one newline, single values are one line, empty is 0 bytes" {
    local f
    for f in state pid.txt name ip image id health ready; do
        is 1 "$(wc -l <"$M/i001/$f")" "lines of $f"
        is "" "$(tail -c 1 "$M/i001/$f")" "end of $f"
    done
    for f in status spec.json control; do is "" "$(tail -c 1 "$M/$f")" "end of $f"; done
    is "" "$(tail -c 1 "$M/i001/inspect.json")" 'end of inspect.json'
    is 0 "$(stat -c %s "$M/i001/exit_code")" 'exit_code before any run has ended'
    is 0 "$(stat -c %s "$M/error")" 'error before any failure'
    is 0 "$(stat -c %s "$M/i001/bindmounts/var/i001.log")" i001.log
}

@test "the values are the engine's" {
    local n
    for n in i001 i002 i003; do
        is "$(field $n '{{.State.Pid}}')" "$(cat "$M/$n/pid.txt")"
        is "$(field $n '{{.State.Status}}')" "$(cat "$M/$n/state")"
        is "$(field $n '{{.Id}}')" "$(cat "$M/$n/id")"
        is "$(field $n '{{.Config.Image}}')" "$(cat "$M/$n/image")"
        is "$(docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$P-$n-sandbox")" "$(cat "$M/$n/ip")"
        is none "$(cat "$M/$n/health")"
        is yes "$(cat "$M/$n/ready")"
        is "sh" "$(cat "/proc/$(cat "$M/$n/pid.txt")/comm")" "the process of pid.txt"
    done
}

@test "inside, the node has its address, its host name, its peers' names and its bind mounts" {
    is "$(cat "$M/i002/ip")" "$(docker exec "$P-i001" sh -c "nslookup i002 2>/dev/null" | awk '/^Name/ { n = 1 } n && /^Address/ { print $NF; exit }' | sed 's/:53$//')"
    is i001 "$(docker exec "$P-i001" hostname)"
    docker exec "$P-i001" ip addr | grep -q "inet $(cat "$M/i001/ip")/"
    docker exec "$P-i001" cat /opt/app/etc/config.json | cmp - "$M/i001/bindmounts/etc/config.json"
    docker exec "$P-i001" test -w /opt/app/var/i001.log
    wait_for 20 pings "$P-i001" i003
}

@test "config.json: self, port, master, peers" {
    local f=$M/i002/bindmounts/etc/config.json
    is '["master","peers","port","self"]' "$(jq -c 'keys' "$f")"
    is "$(cat "$M/i002/ip") 8080 false" "$(jq -r '"\(.self) \(.port) \(.master)"' "$f")"
    is "$(cat "$M/i001/ip" "$M/i003/ip" | sort)" "$(jq -r '.peers[]' "$f" | sort)"
    is true "$(jq .master "$M/i001/bindmounts/etc/config.json")"
}

@test "spec.json: a record a node" {
    is '["i001","i002","i003"]' "$(jq -c keys "$M/spec.json")"
    is '["container_id","image","ip","port","published_port","root"]' "$(jq -c '.i001|keys' "$M/spec.json")"
    is "$(cat "$M/i003/ip") 8080 null $IMAGE $(cat "$M/i003/id")" \
        "$(jq -r '.i003|"\(.ip) \(.port) \(.published_port) \(.image) \(.container_id)"' "$M/spec.json")"
    is state "$(ls "$(jq -r .i003.root "$M/spec.json")" | grep -x state)"
}

@test "status: a table, one line a node" {
    is 4 "$(wc -l <"$M/status")"
    is 'NAME ADDRESS STATE PID' "$(head -1 "$M/status" | tr -s ' ')"
    is "i002 $(cat "$M/i002/ip") running $(cat "$M/i002/pid.txt")" "$(grep ^i002 "$M/status" | tr -s ' ')"
}

# inspection NAME: the engine's whole answer in the newest version of its API, which cthulhu asks for too; docker's own command line may
# be older than the engine.
inspection() {
    local host=${DOCKER_HOST:-unix:///var/run/docker.sock} api
    api=$(docker version --format '{{.Server.APIVersion}}')
    case $host in
    unix://*) curl -sSf --unix-socket "${host#unix://}" "http://engine/v$api/containers/$1/json" ;;
    *) curl -sSf "http://${host#*://}/v$api/containers/$1/json" ;;
    esac
}

@test "inspect.json is what docker inspect says, whole" {
    same_inspect() {
        diff <(inspection "$P-i001" | jq -S .) <(jq -S 'if type == "array" then .[0] else . end' "$M/i001/inspect.json")
    }
    wait_for 10 same_inspect
}

@test "every label is there" {
    local want got
    want='io.cthulhu.cluster io.cthulhu.container io.cthulhu.mountpoint io.cthulhu.node io.cthulhu.owner io.cthulhu.role io.cthulhu.uid'
    for one in i001 i001-sandbox; do
        got=$(docker inspect "$P-$one" | jq -r '.[0].Config.Labels | keys | map(select(startswith("io.cthulhu"))) | join(" ")')
        is "$want" "$got" "labels of $one"
        is "$M" "$(field $one '{{index .Config.Labels "io.cthulhu.mountpoint"}}')"
        is i001 "$(field $one '{{index .Config.Labels "io.cthulhu.node"}}')"
    done
    is node "$(field i001 '{{index .Config.Labels "io.cthulhu.role"}}')"
    is sandbox "$(field i001-sandbox '{{index .Config.Labels "io.cthulhu.role"}}')"
    is 1 "$(networks "$TMP" | wc -l)" networks
    docker network inspect "$(networks "$TMP")" | jq -e '.[0].Labels | has("io.cthulhu.cluster") and has("io.cthulhu.owner")'
}

@test "ls -lR, tree and find see the whole of it without a complaint" {
    ls -lR "$M" >"$TMP/ls" 2>"$TMP/ls.err"
    is '' "$(cat "$TMP/ls.err")"
    is 1 "$(grep -c "i001 -> $(cat "$M/i001/ip")" "$TMP/ls")"
    is "$(find "$M" | LC_ALL=C sort)" "$(tree -afi --noreport "$M" | sed 's/ -> .*//' | LC_ALL=C sort)"
    tree -l "$M" >/dev/null
    find -L "$M" -type f >/dev/null
}

@test "grep -r" {
    is "$(cat "$M/i002/ip")/name" "$(cd "$M" && grep -rlx i002 --include=name .  | sed 's,^\./,,')"
}

@test "tar round trip" {
    mkdir "$TMP/untarred"
    tar -C "$M" -cf "$TMP/t.tar" . 2>"$TMP/tar.err"
    is '' "$(cat "$TMP/tar.err")"
    tar -C "$TMP/untarred" -xf "$TMP/t.tar"
    diff -r "$M" "$TMP/untarred"
    is 755 "$(stat -c %a "$TMP/untarred/control")"
}

@test "cp -a and rsync -a copy all of it" {
    cp -a "$M" "$TMP/copied"
    diff -r "$M" "$TMP/copied"
    is "$(readlink "$M/i001")" "$(readlink "$TMP/copied/i001")"
    rsync -a "$M/" "$TMP/synced"
    diff -r "$M" "$TMP/synced"
    is '' "$(rsync -ain "$M/" "$TMP/synced" | grep -v '/$')" 'a second rsync would still copy'
}

@test "Python: open, seek, readinto and mmap of synthesized files and of bind mounts" {
    python3 - "$M" <<'PY'
import json, mmap, os, sys
m = sys.argv[1]
for name in ["control", "i001/control", "i001/state", "i001/inspect.json", "spec.json", "status",
             "i001/bindmounts/etc/config.json"]:
    path = os.path.join(m, name)
    with open(path, "rb") as f:
        whole = f.read()
        assert len(whole) == os.fstat(f.fileno()).st_size, name
        f.seek(3)
        assert f.read(5) == whole[3:8], name
        assert os.pread(f.fileno(), 1 << 20, len(whole)) == b"", name
        with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert mapped[:] == whole, name
json.load(open(os.path.join(m, "spec.json")))
assert open(m + "/i001/state").read() == "running\n"
entries = {e.name: e for e in os.scandir(m)}
assert entries["i001"].is_symlink() and entries["control"].is_file()
PY
}

@test "readdir: d_type and inode numbers agree with stat; seekdir works" {
    python3 - "$M" <<'PY'
import os, stat, sys
for top, dirs, files in os.walk(sys.argv[1]):
    seen = set()
    for e in os.scandir(top):
        s = os.lstat(e.path)
        assert e.inode() == s.st_ino, e.path
        assert e.is_dir(follow_symlinks=False) == stat.S_ISDIR(s.st_mode), e.path
        assert e.is_symlink() == stat.S_ISLNK(s.st_mode), e.path
        assert s.st_ino not in seen, e.path
        seen.add(s.st_ino)
PY
}

@test "mtime changes when the value changes, and not otherwise" {
    local before pid
    before=$(stat -c %y "$M/i002/state")
    is "$before" "$(cat "$M/i002/state" >/dev/null; stat -c %y "$M/i002/state")"
    pid=$(stat -c %y "$M/i002/pid.txt")
    echo restart >"$M/i002/control"
    refused test "$pid" = "$(stat -c %y "$M/i002/pid.txt")"
    is "$(stat -c %y "$M/i002/name")" "$(sleep 0.01; stat -c %y "$M/i002/name")"
    echo kill >"$M/i002/control"
    refused test "$before" = "$(stat -c %y "$M/i002/state")"
    echo start >"$M/i002/control"
}

@test "creating, deleting, renaming and linking give EPERM in synthesized directories" {
    python3 - "$M" <<'PY'
import errno, os, sys
m = sys.argv[1]
ip = os.readlink(m + "/i001")
def eperm(what, call, *args):
    try:
        call(*args)
    except OSError as e:
        assert e.errno == errno.EPERM, f"{what}: {e}"
    else:
        raise AssertionError(f"{what} worked")
for d in [m, f"{m}/{ip}", f"{m}/{ip}/bindmounts"]:
    eperm(f"create in {d}", os.open, d + "/new", os.O_CREAT | os.O_WRONLY, 0o644)
    eperm(f"mkdir in {d}", os.mkdir, d + "/new")
    eperm(f"symlink in {d}", os.symlink, "x", d + "/new")
    eperm(f"mkfifo in {d}", os.mkfifo, d + "/new")
    assert not os.path.lexists(d + "/new")
for f in ["control", "status", "i001", f"{ip}/state", f"{ip}/control"]:
    eperm(f"unlink {f}", os.unlink, f"{m}/{f}")
    eperm(f"rename {f}", os.rename, f"{m}/{f}", f"{m}/{f}2")
eperm("rmdir", os.rmdir, f"{m}/{ip}")
eperm("rmdir bindmounts", os.rmdir, f"{m}/{ip}/bindmounts")
eperm("rmdir bindmounts/etc", os.rmdir, f"{m}/{ip}/bindmounts/etc")
eperm("link", os.link, m + "/control", m + "/control2")
PY
    refused rm -rf "$M/i001/state"
    refused mv "$M/i001" "$M/i009"
    is running "$(cat "$M/i001/state")"
}

@test "a read-only file refuses to be written with EACCES or EPERM" {
    local f
    for f in status spec.json i001/state i001/pid.txt i001/name i001/log i001/inspect.json; do
        case $(echo x | put "$M/$f") in '13 EACCES' | '1 EPERM') ;; *)
            echo "$f: $(echo x | put "$M/$f")"
            return 1
            ;;
        esac
    done
    is running "$(cat "$M/i001/state")"
}

@test "tail -f log shows what the node says, and ends when it is killed" {
    local pid
    tail -n +1 -f "$M/i003/log" >"$TMP/tail" &
    pid=$!
    wait_for 10 contains "$TMP/tail" started
    echo restart >"$M/i003/control"
    two() { [ "$(grep -c started "$TMP/tail")" -ge 2 ]; }
    wait_for 10 two
    kill "$pid"
    wait_for 10 gone "$pid"
}

@test "log holds stdout and stderr of all runs" {
    wait_for 10 contains "$M/i003/log" started
    is "$(docker logs "$P-i003" 2>&1 | wc -l)" "$(wc -l <"$M/i003/log")"
}

@test "cat of every file ends" {
    find "$M" -type f -print0 | with_deadline 60 xargs -0 cat >/dev/null
}
