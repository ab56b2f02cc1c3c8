#!/usr/bin/env bash
# Other people's suites of POSIX tests, on the backing file system and on bindmounts/var of a mount: what passes there
# must pass here, but for what posix-exceptions.txt lists with its reason.
#
#   fs-tests/posix.sh [pjdfstest] [fsx]        as root; both if none is named
#
# The suites come from crates.io and are built once, into ${XDG_CACHE_HOME:-~/.cache}/cthulhu-tests. CTHULHU is the
# binary to test. The mount is over the simulated engine; POSIX_HOST=docker takes the real one.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/lib.bash"

PJDFSTEST=0.2.2
FSX=0.3.2
# Of fsx: the same sequence each time, another for each configuration.
SEED=${POSIX_SEED:-19700101}
tools=${XDG_CACHE_HOME:-$HOME/.cache}/cthulhu-tests
exceptions=$FS_TESTS/posix-exceptions.txt

fail() {
    printf 'posix.sh: %s\n' "$*" >&2
    exit 1
}

# need CRATE VERSION: builds it unless it is there.
need() {
    [ "$("$tools/bin/$1" --version 2>/dev/null)" != "$1 $2" ] || return 0
    command -v cargo >/dev/null || fail "$1 $2 is not in $tools/bin, and cargo, to build it, is missing"
    local began=$SECONDS
    echo "building $1 $2 into $tools"
    # Without optimization: it waits for the file system anyway, and is built in half the time.
    CARGO_TARGET_DIR=$tools/target cargo install -q --locked --debug --version "$2" --root "$tools" "$1"
    echo "built $1 in $((SECONDS - began)) s"
}

# Of lines "TEST ok|FAILED|skipped" in a file the names of those that are ok, sorted.
passed_in() { awk '$2 == "ok" { print $1 }' "$1" | sort; }

# judge SUITE: compares $TMP/SUITE.disk and .mount, lines "TEST ok|FAILED|skipped", and prints the figures.
judge() {
    local suite=$1 pattern reason excepted=0 bad=
    passed_in "$TMP/$suite.disk" >"$TMP/on-disk"
    passed_in "$TMP/$suite.mount" >"$TMP/on-mount"
    [ -s "$TMP/on-disk" ] || fail "$suite: nothing passed on $kind"
    comm -23 "$TMP/on-disk" "$TMP/on-mount" >"$TMP/lost"
    : >"$TMP/excused"
    while read -r pattern reason; do
        case $pattern in "$suite"::*) ;; *) continue ;; esac
        [ -n "$reason" ] || fail "posix-exceptions.txt: $pattern has no reason"
        pattern=${pattern#"$suite"::}
        matching "$pattern" <"$TMP/lost" >>"$TMP/excused"
        if [ -z "$(awk '{ print $1 }' "$TMP/$suite.disk" | matching "$pattern")" ]; then
            bad+="posix-exceptions.txt: there is no test $pattern"$'\n'
        fi
        if [ -n "$(matching "$pattern" <"$TMP/on-mount")" ]; then
            bad+="posix-exceptions.txt: stale, as these pass: $(matching "$pattern" <"$TMP/on-mount" | xargs)"$'\n'
        fi
    done <"$exceptions"
    sort -u -o "$TMP/excused" "$TMP/excused"
    excepted=$(wc -l <"$TMP/excused")
    while read -r name; do bad+="$suite: $name passes on $kind, and not on the mount"$'\n'; done \
        < <(comm -23 "$TMP/lost" "$TMP/excused")
    printf '%s: %s of %s passed on %s, %s of %s on the mount (%s exceptions)\n' "$suite" \
        "$(wc -l <"$TMP/on-disk")" "$(wc -l <"$TMP/$suite.disk")" "$kind" \
        "$(wc -l <"$TMP/on-mount")" "$(wc -l <"$TMP/$suite.mount")" "$excepted"
    printf '%s' "$bad" >&2
    [ -z "$bad" ] || wrong=1
}

# Of the names on stdin those that a pattern of the shell covers.
matching() {
    local name
    while read -r name; do
        # shellcheck disable=SC2254 # it is meant as a pattern
        case $name in $1) echo "$name" ;; esac
    done
}

# ---- pjdfstest: one system call's errors and effects at a time -------------------------------------------------------

pjdfstest() {
    need pjdfstest "$PJDFSTEST"
    local where
    # Two users that every Debian has; and what Linux has of the features that are optional.
    cat >"$TMP/pjdfstest.toml" <<TOML
[features]
posix_fallocate = {}
rename_ctime = {}
utime_now = {}
utimensat = {}
[settings]
naptime = 0.02
[dummy_auth]
entries = [["nobody", "$(id -gn nobody)"], ["daemon", "$(id -gn daemon)"]]
TOML
    for where in disk mount; do
        NO_COLOR=1 "$tools/bin/pjdfstest" -c "$TMP/pjdfstest.toml" -p "$TMP/$where" -s /dev/shm \
            >"$TMP/out" 2>"$TMP/stderr" || true
        # Nothing but its last line tells that it came to its end.
        grep -q Summary "$TMP/out" || { cat "$TMP/stderr" && fail "pjdfstest broke off on the $where"; }
        sed 's/\x1b\[[0-9;]*m//g' "$TMP/out" | awk '$2 ~ /^(ok|FAILED|skipped)$/ && NF == 2 { print $1, $2 }' \
            >"$TMP/pjdfstest.$where"
    done
    judge pjdfstest
}

# ---- fsx: one file, thousands of random operations, each read compared with what was written --------------------------

# fsx_with NAME OPERATIONS LENGTH LARGEST SYNCED ALIGN MMAP FALLOCATE: on both at once.
fsx_with() {
    local name=$1 operations=$2 where pids=()
    cat >"$TMP/$name.toml" <<TOML
flen = $3
nomsyncafterwrite = $5
[opsize]
max = $4
align = $6
[weights]
close_open = 1
read = 10
write = 10
mapread = $7
mapwrite = $7
invalidate = $7
truncate = 5
fsync = 0.1
fdatasync = 0.1
posix_fallocate = $8
punch_hole = 3
sendfile = 3
posix_fadvise = 1
copy_file_range = 3
TOML
    seed=$((SEED + ${#names[@]}))
    names+=("$name")
    echo "fsx: $name, $operations operations, seed $seed"
    for where in disk mount; do
        mkdir -p "$TMP/artifacts.$where"
        (
            if "$tools/bin/fsx" -q -f "$TMP/$name.toml" -N "$operations" -S "$seed" -P "$TMP/artifacts.$where" \
                "$TMP/$where/fsx.$name" >"$TMP/fsx.out.$where" 2>&1; then
                echo "$name ok"
            else
                tail -n 20 "$TMP/fsx.out.$where" >&2
                echo "$name FAILED"
            fi >>"$TMP/fsx.$where"
        ) &
        pids+=($!)
    done
    wait "${pids[@]}"
}

fsx() {
    need fsx "$FSX"
    local names=() seed
    rm -f "$TMP"/fsx.disk "$TMP"/fsx.mount
    #        name           operations length  largest unsynced align mmap fallocate
    fsx_with everything     20000      262144  65536   false    1     10   2
    fsx_with no-mmap        20000      262144  65536   false    1     0    2
    fsx_with mmap-unsynced   5000      262144  65536   true     1     20   0
    fsx_with pages           5000      262144  65536   false    4096  10   0
    fsx_with large           1000      4194304 1048576 false    1     10   2
    judge fsx
}

# ---- the two places ---------------------------------------------------------------------------------------------------

[ "$(id -u)" = 0 ] || fail 'only root can switch users, as pjdfstest does'
begin
trap end EXIT
chmod 755 "$TMP"
case ${POSIX_HOST:-simulated:} in
docker) need_image && mount_cluster m --allow-other -i "$IMAGE" --start -- "${NODE[@]}" ;;
*) mount_cluster m --allow-other --host simulated: ;;
esac >/dev/null
# Beside the mount's own backing directory, so on the same file system.
mkdir -m 755 "$TMP/disk" "$M/i001/bindmounts/var/suites"
ln -s "$M/i001/bindmounts/var/suites" "$TMP/mount"
kind=$(findmnt -no FSTYPE -T "$TMP/disk")
wrong=0
[ $# -gt 0 ] || set -- pjdfstest fsx
for suite in "$@"; do
    case $suite in
    pjdfstest | fsx) "$suite" ;;
    *) fail "there is no suite $suite" ;;
    esac
done
exit "$wrong"
