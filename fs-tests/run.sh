#!/usr/bin/env bash
# Runs all tests, setting up what they need on a bare Debian or Ubuntu.
#
#   fs-tests/run.sh [--no-cargo] [FILE...]
#
# The suites in examples/ are among them: what a user is to copy must work. --no-cargo leaves out `cargo test`; FILE...
# runs only those .bats files. CTHULHU=/path/to/cthulhu tests that binary instead of building one. As an ordinary user, it
# takes what needs root through sudo.
set -euo pipefail

# In braces, so that bash reads it whole: the file may be edited while it runs.
{
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(dirname "$here")
# Seconds that one .bats file may take.
deadline=${FILE_DEADLINE:-1500}

say() { printf '==> %s\n' "$*"; }
fail() {
    printf 'run.sh: %s\n' "$*" >&2
    exit 1
}

with_cargo=yes
files=()
while [ $# -gt 0 ]; do
    case $1 in
    --no-cargo) with_cargo= ;;
    -h | --help)
        sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    -*) fail "no such option: $1 (there is --no-cargo)" ;;
    *)
        if [ -f "$1" ]; then
            files+=("$(realpath "$1")")
        elif [ -f "$here/$1" ]; then
            files+=("$here/$1")
        else
            fail "there is no test file $1"
        fi
        ;;
    esac
    shift
done
[ ${#files[@]} -gt 0 ] || files=("$here"/*.bats "$project"/examples/*/*.bats)

if [ "$(id -u)" = 0 ]; then
    as_root() { "$@"; }
else
    command -v sudo >/dev/null || fail 'run it as root, or install sudo: packages, the engine and mounts need root'
    as_root() { sudo "$@"; }
fi

# ---- what must be there ---------------------------------------------------------------------------------------------

# Debian's package of each command.
needed=(
    dockerd:docker.io fusermount3:fuse3 bats:bats tree:tree rsync:rsync python3:python3 getfattr:attr jq:jq
    curl:curl script:bsdutils ip:iproute2 flock:util-linux
)
missing=()
for one in "${needed[@]}"; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${one%%:*}" >/dev/null || missing+=("${one##*:}")
done
# An engine elsewhere needs only its command line here.
if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null || fail "these are missing: ${missing[*]}; install them (this script can on Debian and Ubuntu)"
    say "installing: ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q >/dev/null ||
        fail "apt-get update failed: see that this machine reaches its package mirror"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}" >/dev/null ||
        fail "apt-get could not install ${missing[*]}"
fi
[ -e /dev/fuse ] || as_root modprobe fuse 2>/dev/null || true
[ -c /dev/fuse ] || fail 'there is no /dev/fuse: load the kernel module (modprobe fuse), or start this container with --device /dev/fuse'

export PATH=$PATH:/usr/sbin:/sbin
[ -d "$HOME/.cargo/bin" ] && PATH=$PATH:$HOME/.cargo/bin
if [ -n "$with_cargo" ] || [ -z "${CTHULHU:-}" ]; then
    command -v cargo >/dev/null || fail 'cargo is missing: get it from https://rustup.rs, or give a built binary with CTHULHU=/path/to/cthulhu and --no-cargo'
    command -v cc >/dev/null || fail 'cargo needs a linker: apt-get install build-essential'
fi

# ---- the temp dir, and the end --------------------------------------------------------------------------------------

CTHULHU_TEST_TMP=$(cd "$(mktemp -d "${TMPDIR:-/tmp}/cthulhu-tests.XXXXXX")" && pwd -P)
chmod 755 "$CTHULHU_TEST_TMP"
export CTHULHU_TEST_TMP
engine_pid=

# shellcheck disable=SC2317 # the trap calls it
clean_up() {
    local dir
    trap '' INT TERM
    # Whatever a test left, below our own directory and nowhere else.
    for dir in "$CTHULHU_TEST_TMP"/*/; do
        [ -d "$dir" ] || continue
        # shellcheck disable=SC2016
        as_root env CTHULHU="${CTHULHU:-cthulhu}" bash -c '. "$1"; sweep "$2"' - "$here/lib.bash" "${dir%/}" || true
    done
    as_root rm -rf --one-file-system "$CTHULHU_TEST_TMP" || true
    if [ -n "$engine_pid" ]; then
        say "stopping the engine that was started here (pid $engine_pid)"
        as_root kill "$engine_pid" 2>/dev/null || true
        for _ in $(seq 300); do
            as_root kill -0 "$engine_pid" 2>/dev/null || break
            sleep 0.1
        done
    fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# ---- the engine -----------------------------------------------------------------------------------------------------

engine_answers() { as_root timeout 10 docker version >/dev/null 2>&1; }

if engine_answers; then
    say "using the engine that runs: $(as_root docker version --format '{{.Server.Version}}')"
else
    [ -z "${DOCKER_HOST:-}" ] || fail "the engine at DOCKER_HOST=$DOCKER_HOST does not answer"
    engine_log=${TMPDIR:-/tmp}/cthulhu-tests-dockerd.log
    say "starting dockerd (its log: $engine_log)"
    # shellcheck disable=SC2016
    engine_pid=$(as_root setsid sh -c 'dockerd >"$1" 2>&1 </dev/null & echo $!' - "$engine_log")
    for second in $(seq 60); do
        if engine_answers; then break; fi
        as_root kill -0 "$engine_pid" 2>/dev/null ||
            { engine_pid='' && fail "dockerd ended at once: $(tail -n 1 "$engine_log")"; }
        [ "$second" -lt 60 ] || fail "dockerd did not answer within 60 s: see $engine_log"
        sleep 1
    done
fi

# ---- the binary -----------------------------------------------------------------------------------------------------

if [ -z "${CTHULHU:-}" ]; then
    target=$(rustc -vV | sed -n 's/^host: //p')
    say "building a static release for $target"
    (cd "$project" && RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --target "$target") ||
        fail 'the build failed'
    CTHULHU=${CARGO_TARGET_DIR:-$project/target}/$target/release/cthulhu
fi
CTHULHU=$(realpath "$CTHULHU")
[ -x "$CTHULHU" ] || fail "$CTHULHU is no program"
export CTHULHU

# The examples take cthulhu from PATH as a user's own suites do, and know nothing of our temp dir.
mkdir -p "$CTHULHU_TEST_TMP/examples/bin" "$CTHULHU_TEST_TMP/examples/state"
ln -s "$CTHULHU" "$CTHULHU_TEST_TMP/examples/bin/cthulhu"
as_example=(
    PATH="$CTHULHU_TEST_TMP/examples/bin:$PATH" TMPDIR="$CTHULHU_TEST_TMP/examples"
    XDG_STATE_HOME="$CTHULHU_TEST_TMP/examples/state"
)

# ---- the tests ------------------------------------------------------------------------------------------------------

passed=0 failed=0
if [ -n "$with_cargo" ]; then
    out=$CTHULHU_TEST_TMP/cargo.out
    status=0
    # schedules/ is a workspace of its own: the control path under shuttle.
    for workspace in "$project" "$project/schedules"; do
        say "cargo test in $workspace"
        (cd "$workspace" && cargo test --no-fail-fast) 2>&1 | tee -a "$out" || status=$?
    done
    p=$(sed -n 's/^test result: .* \([0-9]*\) passed.*/\1/p' "$out" | awk '{ n += $1 } END { print n + 0 }')
    f=$(sed -n 's/^test result: .* \([0-9]*\) failed.*/\1/p' "$out" | awk '{ n += $1 } END { print n + 0 }')
    # A build that fails has no result lines.
    if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
    passed=$((passed + p)) failed=$((failed + f))
fi

# What a caller may set for the tests; sudo hands nothing on by itself.
settings=()
for name in DOCKER_HOST RANDOM_VERBS RANDOM_SEED HARD_USE_FILES HARD_USE_MB HOSTILE_FILES POSIX_HOST POSIX_SEED; do
    if [ -n "${!name:-}" ]; then settings+=("$name=${!name}"); fi
done

for file in "${files[@]}"; do
    say "$(basename "$file")"
    out=$CTHULHU_TEST_TMP/out
    begin=$SECONDS status=0
    case $file in
    */examples/*/*.bats) around=("${as_example[@]}") ;;
    *) around=(CTHULHU_TEST_TMP="$CTHULHU_TEST_TMP") ;;
    esac
    # As root also for an ordinary user: some of what is tested only root may do.
    as_root env PATH="$PATH" HOME="$HOME" CTHULHU="$CTHULHU" "${around[@]}" \
        "${settings[@]}" \
        timeout -k 30 "$deadline" bats --tap "$file" </dev/null 2>&1 | tee "$out" || status=$?
    p=$(grep -c '^ok ' "$out") || true
    f=$(grep -c '^not ok ' "$out") || true
    if [ "$status" -ge 124 ]; then
        printf 'run.sh: %s did not end within %s s\n' "$(basename "$file")" "$deadline"
        f=$((f + 1))
    elif [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then
        printf 'run.sh: %s could not be run\n' "$(basename "$file")"
        f=1
    fi
    passed=$((passed + p)) failed=$((failed + f))
    say "$(basename "$file"): $p passed, $f failed, $((SECONDS - begin)) s"
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
exit
}
