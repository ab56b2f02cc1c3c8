#!/usr/bin/env bats
# Hard use of bindmounts: node and tester in one file at once, mapped and unbuffered access, very large and very many files.

load lib.bash

setup_file() {
    begin
    mount_busybox hard -n 1 --start
}

teardown_file() { end; }

setup() {
    V=$M/i001/bindmounts/var/t$BATS_TEST_NUMBER
    mkdir "$V"
    cd "$V"
}

teardown() {
    cd /
    rm -rf "$V"
}

# Runs a command in the node, in this test's directory.
inside() {
    docker exec -w "/opt/app/var/${V##*/}" "$P-i001" "$@"
}

say() { echo "# $*" >&3; }

# Prints how long a command took, what it printed to a file: took NAME COMMAND...
took() {
    local name=$1 began=${EPOCHREALTIME/./}
    shift
    "$@"
    say "$name: $(((${EPOCHREALTIME/./} - began) / 1000)) ms"
}

memory() { awk '$1 == "VmHWM:" { print $2 }' "/proc/$(daemons "$TMP")/status"; }

@test "what one side has written the other reads, by every way of reading, hundreds of times" {
    python3 "$FS_TESTS/both_sides.py" "$P-i001" "/opt/app/var/${V##*/}" "${RANDOM_SEED:-1}" 300 >"$TMP/out" || { cat "$TMP/out" && false; }
    say "$(cat "$TMP/out")"
}

@test "node and tester write their own regions of one file at once, and append to another: nothing is lost" {
    : >regions
    : >appended
    inside sh -c 'n=0
        while [ $n -lt 400 ]; do
            printf "node %05d of the node.........\n" $n >>appended
            printf "node %05d of the node.........\n" $n | dd of=regions bs=32 seek=$((2 * n)) conv=notrunc 2>/dev/null
            n=$((n + 1))
        done' &
    local node=$!
    python3 - <<'PY'
import os, random
random.seed(int(os.environ.get("RANDOM_SEED", "1")))
order = list(range(400))
random.shuffle(order)
regions, appended = os.open("regions", os.O_RDWR), os.open("appended", os.O_WRONLY | os.O_APPEND)
for n in order:
    line = b"test %05d of the tester.......\n" % n
    assert len(line) == 32 or not line, len(line)
    os.write(appended, line)
    os.pwrite(regions, line, 32 * (2 * n + 1))
    assert os.pread(regions, 32, 32 * (2 * n + 1)) == line
PY
    wait "$node"
    is "$(sha256sum <regions)" "$(inside sha256sum regions | sed 's/regions/-/')"
    is "$(sha256sum <appended)" "$(inside sha256sum appended | sed 's/appended/-/')"
    is "$(sort appended)" "$(sort regions)"
    is 800 "$(sort -u appended | wc -l)"
}

@test "O_DIRECT: aligned and odd, here and in the node" {
    python3 - <<'PY'
import errno, mmap, os
page = mmap.mmap(-1, 65536)
data = os.urandom(65536)
page[:] = data
fd = os.open("f", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
assert os.pwritev(fd, [page], 4096) == 65536
page[:] = bytes(65536)
assert os.preadv(fd, [page], 4096) == 65536 and page[:] == data
# Odd ones: where the kernel passes data through, the disk beneath decides; else anything goes.
disk = os.open(os.environ["TMP"] + "/odd", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
def odd(fd):
    try:
        return os.pwrite(fd, b"odd", 3)
    except OSError as e:
        return e.errno
done = odd(fd)
assert done in (3, odd(disk)), errno.errorcode.get(done, done)
# An ordinary user's daemon reads and writes by itself, whatever the size.
assert done == 3 or os.geteuid() == 0, errno.errorcode.get(done, done)
if done == 3:
    assert os.pread(fd, 5, 2) == b"\0odd\0"
    assert os.pread(fd, 99, 4096 + 65536 - 7) == data[-7:]
PY
    dd if=f of=copied bs=4096 iflag=direct oflag=direct 2>/dev/null
    is "$(inside sha256sum f | cut -c 1-64)" "$(sha256sum copied | cut -c 1-64)"
    is "$(inside dd if=f bs=4096 iflag=direct 2>/dev/null | sha256sum)" "$(sha256sum <f)"
}

@test "a file of 10 GB, nearly all of it holes" {
    truncate -s 10G f
    local at
    for at in 0 1 4294967295 4294967296 6000000000 10737418239; do
        printf "%s" $((at % 10)) | dd of=f bs=1 seek=$at conv=notrunc status=none
    done
    is 10737418240 "$(stat -c %s f)"
    is 10737418240 "$(inside stat -c %s f)"
    [ "$(du -k f | cut -f 1)" -lt 1024 ]
    python3 - <<'PY'
import os
fd = os.open("f", os.O_RDONLY)
found = at = 0
while True:
    try:
        at = os.lseek(fd, at, os.SEEK_DATA)
    except OSError as e:
        assert e.errno == 6
        break
    found, at = found + 1, os.lseek(fd, at, os.SEEK_HOLE)
assert found == 4, found
for at in (0, 1, 4294967295, 4294967296, 6000000000, 10737418239):
    assert os.pread(fd, 1, at) == b"%d" % (at % 10), at
assert os.pread(fd, 99, 10737418230) == bytes(9) + b"9"
PY
    is 9 "$(inside tail -c 1 f)"
    with_deadline 120 cp --sparse=always f copied
    [ "$(du -k copied | cut -f 1)" -lt 1024 ]
    cmp -n 4096 -i 6000000000 f copied
    rm f copied
}

@test "a large file, really written: the same on both sides" {
    # 10240 by hand, see docs/testing.md.
    local mb=${FILE_STRESS_MB:-64}
    made() { openssl enc -aes-128-ctr -pass pass:seed -nosalt -md sha256 </dev/zero 2>/dev/null | head -c $((mb << 20)) || true; }
    command -v openssl >/dev/null || made() { head -c $((mb << 20)) /dev/urandom; }
    took "writing $mb MB" sh -c "$(declare -f made | tail -n +1); mb=$mb; made | tee f | sha256sum >../sum"
    sync f
    took "reading $mb MB" sh -c 'sha256sum <f >../read'
    cmp ../sum ../read
    is "$(cut -c 1-64 ../sum)" "$(inside sha256sum f | cut -c 1-64)"
    took "copying $mb MB" cp f copied
    cmp f copied
    rm ../sum ../read
}

@test "very many files in one directory: each is listed exactly once, can be looked at, and goes" {
    local files=${FILE_STRESS_FILES:-100000}
    mkdir many
    cat >../many.py <<'PY'
import os, sys
what, files = sys.argv[1], int(sys.argv[2])
names = [f"file{n:07}" for n in range(files)]
if what == "create":
    for name in names:
        os.close(os.open("many/" + name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
elif what == "list":
    listed = os.listdir("many")
    assert len(listed) == files and sorted(listed) == names
else:
    assert all(os.stat("many/" + name).st_size == 0 for name in names)
PY
    local step
    for step in create list stat; do took "$step of $files files" python3 ../many.py $step "$files"; done
    took "find" sh -c "find many -type f | wc -l >../found"
    is "$files" "$(cat ../found)"
    is "$files" "$(inside sh -c 'ls many | wc -l')"
    took "rm -r" rm -r many
    is '' "$(inside ls)"
    say "the daemon's memory: at most $(memory) KB"
    rm ../many.py ../found
}
