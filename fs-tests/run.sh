#!/usr/bin/env bash
# Runs all tests, setting up what they need on a bare Debian or Ubuntu.
#
#   fs-tests/run.sh [--no-cargo] [--strict-skips] [--lane root|user|newer] [FILE...]
#
# The suites in examples/ are among them: what a user is to copy must work. All .bats files are run as root, and beside them
# those for which it matters who runs them as an ordinary user in group docker, who is made for it, and a chosen set over a newer
# engine (newer_engine.sh). --lane runs one lane alone, the user's with all files; FILE... runs only those .bats files.
# --no-cargo leaves out `cargo test`. What was skipped is listed at the end; with --strict-skips, a skip that is not in
# skips-allowed.txt is a failure.
# CTHULHU=/path/to/cthulhu tests that binary instead of building one; BUILD_PROFILE=dev builds one that is not optimised. As an
# ordinary user, it takes what needs root through sudo.
set -euo pipefail

# In braces, so that bash reads it whole: the file may be edited while it runs.
{
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(dirname "$here")
# Seconds that one .bats file may take.
deadline=${FILE_DEADLINE:-1500}
# Cargo's profile of the program under test. With dev, half of the building is saved.
profile=${BUILD_PROFILE:-release}

say() { printf '==> %s\n' "$*"; }
fail() {
    printf 'run.sh: %s\n' "$*" >&2
    exit 1
}

with_cargo=yes strict=''
lanes=(root user newer)
files=()
# What an ordinary user runs where both lanes do: rights, ways to mount and unmount, bindmounts without the kernel's passthrough.
# USERS_FILES names others; `examples` stands for those in examples/, which root leaves out then.
read -ra users_files <<<"${USERS_FILES:-invalid_args bindmounts cli compose control demo faults mount_lifecycle external_changes not_ours posix prune reset run templates tree wait}"
# What runs over the newer engine: what an engine has a say in. NEWER_FILES names others.
read -ra newer_files <<<"${NEWER_FILES:-compose control tree external_changes mount_lifecycle log faults second_engine effects fault_reachability}"
# Of these files, the tests there: others run beside them, so none that measures times.
declare -A newer_tests=([effects]='^(drop|duplicate|reject|an open connection|crash|the host (is|named: reject))')
while [ $# -gt 0 ]; do
    case $1 in
    --no-cargo) with_cargo= ;;
    --strict-skips) strict=yes ;;
    --lane)
        case ${2:-} in root | user | newer) ;; *) fail '--lane takes root, user or newer' ;; esac
        lanes=("$2")
        shift
        ;;
    -h | --help)
        sed -n '2,13s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    -*) fail "no such option: $1 (there are --no-cargo, --strict-skips and --lane)" ;;
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
# These take longest, and so come first: no lane is left with one at the end.
slow=(interference posix file_stress hostile scale faults chaos random stopped patroni)
# These wait for time to pass, and hardly use a processor: they run beside all others.
waiting=(engine machines machines_simulated nemesis remote roles stopped workload)
# These come last, when all else is over: they measure an idle machine, or look at what is the whole machine's.
alone=(effects fault_reachability faults_killed netem prune scale)
declare -A files_of=()
newers=()
for name in "${newer_files[@]}"; do newers+=("$here/$name.bats"); done
if [ ${#files[@]} -gt 0 ]; then
    if [ "${lanes[*]}" = newer ]; then
        newers=("${files[@]}")
    else
        # Of those that are named, its own.
        mapfile -t newers < <(printf '%s\n' "${newers[@]}" | grep -Fxf <(printf '%s\n' "${files[@]}"))
        [ ${#newers[@]} -gt 0 ] || lanes=("${lanes[@]/newer/}")
    fi
fi
if [ ${#files[@]} -gt 0 ] || [ ${#lanes[@]} -eq 1 ]; then
    [ ${#files[@]} -gt 0 ] || files=("$here"/*.bats "$project"/examples/*/*.bats)
    users=("${files[@]}")
else
    files=("$here"/*.bats) users=()
    for name in "${users_files[@]}"; do
        [ "$name" = examples ] || users+=("$here/$name.bats")
    done
    if [[ " ${users_files[*]} " = *' examples '* ]]; then
        users+=("$project"/examples/*/*.bats)
    else
        files+=("$project"/examples/*/*.bats)
    fi
fi
is_alone() {
    local name
    name=$(basename "$1" .bats)
    [[ " ${alone[*]} " = *" $name "* ]]
}
# Two lanes share what root runs, and a third has what mostly waits, for the engine or for time to pass.
waits=()
if [ ${#lanes[@]} -gt 1 ] && [ ${#files[@]} -gt 1 ]; then
    lanes+=(beside waits)
    for name in "${waiting[@]}"; do
        for file in "${files[@]}"; do [ "$(basename "$file" .bats)" != "$name" ] || waits+=("$file"); done
    done
    mapfile -t files < <(printf '%s\n' "${files[@]}" | grep -vFxf <(printf '%s\n' "${waits[@]:-none}"))
fi
# order first|middle|last FILE...: those of the files that come first, last or in between.
order() {
    local when=$1 file name its
    shift
    for file in "$@"; do
        name=$(basename "$file" .bats) its=middle
        if [[ " ${slow[*]} " = *" $name "* ]]; then its=first; fi
        if is_alone "$file"; then its=last; fi
        [ "$its" != "$when" ] || printf '%s\n' "$file"
    done
}
in_order() { order first "$@" && order middle "$@"; }
files_of=([waits]=$(printf '%s\n' "${waits[@]}") [shared]=$(in_order "${files[@]}") [alone]=$(order last "${files[@]}")
    [user]=$(in_order "${users[@]}" && order last "${users[@]}") [newer]=$(printf '%s\n' "${newers[@]}"))
# An array's element that was taken away is empty.
read -ra lanes <<<"${lanes[*]}"

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
    curl:curl script:bsdutils ip:iproute2 ping:iputils-ping nft:nftables flock:util-linux
    setpriv:util-linux ssh:openssh-client openssl:openssl useradd:passwd busybox:busybox-static
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
newer=$CTHULHU_TEST_TMP/newer/engine
engine_pid='' made_user='' fuse_mode='' lane_pids=() cargo_pid=''

# shellcheck disable=SC2317 # the trap calls it
clean_up() {
    local dir pid
    trap '' INT TERM
    for pid in "${lane_pids[@]}" $cargo_pid; do kill "$pid" 2>/dev/null || true; done
    wait
    # Whatever a test left, below our own directory and nowhere else.
    [ ! -e "$newer/pid" ] || as_root "$here/newer_engine.sh" stop "$newer" || true
    for dir in "$CTHULHU_TEST_TMP"/{root,beside,waits,user,newer}/*/; do
        [ -d "$dir" ] || continue
        # shellcheck disable=SC2016
        as_root env CTHULHU="${CTHULHU:-cthulhu}" bash -c '. "$1"; sweep "$2"' - "$here/lib.bash" "${dir%/}" || true
    done
    as_root rm -rf --one-file-system "$CTHULHU_TEST_TMP" || true
    [ -z "$made_user" ] || as_root userdel "$USER_NAME" || true
    [ -z "$fuse_mode" ] || as_root chmod "$fuse_mode" /dev/fuse || true
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
    say "building a static program for $target, profile $profile"
    # As releases are built: .github/workflows/release.yml.
    static='-C target-feature=+crt-static -C relocation-model=static'
    (cd "$project" && RUSTFLAGS=$static cargo build --profile "$profile" --target "$target") || fail 'the build failed'
    CTHULHU=${CARGO_TARGET_DIR:-$project/target}/$target/${profile/#dev/debug}/cthulhu
    # `cargo test` uses what was built for this, if it is built in the same way.
    if [ "$profile" = dev ]; then export RUSTFLAGS=$static CARGO_BUILD_TARGET=$target; fi
fi
CTHULHU=$(realpath "$CTHULHU")
[ -x "$CTHULHU" ] || fail "$CTHULHU is no program"
export CTHULHU

# ---- who runs the tests ---------------------------------------------------------------------------------------------

readonly USER_NAME=cthulhu-test

# Makes the ordinary user, who is in the group that may use the engine's socket, and what that one needs.
make_user() {
    local socket=${DOCKER_HOST:-unix:///var/run/docker.sock} group=
    case $socket in unix://*) group=$(stat -c %G "${socket#unix://}") ;; esac
    case $group in
    root | UNKNOWN) fail "the engine's socket ${socket#unix://} belongs to group $group: no ordinary user may use it; give it to group docker" ;;
    esac
    if ! id "$USER_NAME" >/dev/null 2>&1; then
        say "making the user $USER_NAME"
        as_root useradd --no-create-home --shell /bin/bash "$USER_NAME"
        made_user=yes
    fi
    [ -z "$group" ] || as_root usermod -aG "$group" "$USER_NAME"
    # As udev makes it.
    if [ "$(stat -c %a /dev/fuse)" != 666 ]; then
        fuse_mode=$(stat -c %a /dev/fuse)
        say "/dev/fuse has mode $fuse_mode: 0666 until the end"
        as_root chmod 666 /dev/fuse
    fi
}

# Where an ordinary user comes to them: the project may lie in somebody's home.
suite=$CTHULHU_TEST_TMP/suite
mkdir -p "$suite" "$CTHULHU_TEST_TMP/root"
cp "$CTHULHU" "$suite/${CTHULHU##*/}"
CTHULHU=$suite/${CTHULHU##*/}
cp -r "$here" "$suite/fs-tests"
cp -r "$project/examples" "$project/docs" "$suite"
mkdir "$suite/tests"
cp -r "$project/tests/histories" "$suite/tests"
chmod -R go+rX "$suite"
for lane in "${lanes[@]}"; do
    mkdir -p "$CTHULHU_TEST_TMP/$lane/examples/bin" "$CTHULHU_TEST_TMP/$lane/examples/state" \
        "$CTHULHU_TEST_TMP/$lane/scratch"
    # The examples take cthulhu from PATH as a user's own suites do, and know nothing of our temp dir.
    ln -s "$CTHULHU" "$CTHULHU_TEST_TMP/$lane/examples/bin/cthulhu"
done
user_home=$CTHULHU_TEST_TMP/user/home
if [[ " ${lanes[*]} " = *' user '* ]]; then
    make_user
    mkdir -p "$user_home"
    as_root chown -R "$USER_NAME" "$CTHULHU_TEST_TMP/user"
fi

# ---- the tests ------------------------------------------------------------------------------------------------------

# They need processors, and the others mostly wait for the engine: so they run beside them, and give way to them.
cargo_tests() {
    local what out running='' status
    trap '[ -z "$running" ] || kill "$running" 2>/dev/null; exit 143' TERM
    for what in "${cargo_runs[@]}"; do
        out=$cargo_out.${what##* } status=0
        # shellcheck disable=SC2086 # several words
        (cd "$project" && exec nice -n 5 cargo $what --no-fail-fast) >"$out" 2>&1 &
        running=$!
        wait "$running" || status=$?
        echo "$status" >"$out.status"
    done
    : >"$cargo_out.done"
}

passed=0 failed=0 cargo_pid='' cargo_out=$CTHULHU_TEST_TMP/cargo
# The second: the control path under many schedules.
cargo_runs=('test' 'test --features shuttle --test schedules')
if [ -n "$with_cargo" ]; then
    say 'cargo test runs beside the others; what it says comes at the end'
    cargo_tests </dev/null &
    cargo_pid=$!
fi
# Every test that was skipped, as LANE: FILE: TEST: WHY.
skips=$CTHULHU_TEST_TMP/skips
: >"$skips"

# What a caller may set for the tests; sudo hands nothing on by itself.
settings=("BUILD_PROFILE=$profile")
for name in DOCKER_HOST RANDOM_VERBS RANDOM_SEED FILE_STRESS_FILES FILE_STRESS_MB HOSTILE_FILES POSIX_HOST POSIX_SEED SCALE_NODES IDLE_SECONDS \
    LINES_APPENDED KILL_ROUNDS RUN_CLUSTERS FLOOD_MB FAULT_STATES FAULT_KILLS INTERFERENCE CHAOS_SECONDS RESETS RESET_SEED; do
    if [ -n "${!name:-}" ]; then settings+=("$name=${!name}"); fi
done
# What does not depend on who runs it, the ordinary user does less often.
fewer=(RESETS=10 RANDOM_VERBS=300 FILE_STRESS_FILES=20000 HOSTILE_FILES=20000 SCALE_NODES=20 IDLE_SECONDS=20 KILL_ROUNDS=50 LINES_APPENDED=16000 RUN_CLUSTERS=4)

as_user() {
    as_root setpriv --reuid "$USER_NAME" --regid "$(id -g "$USER_NAME")" --init-groups env -i "$@"
}

# start_newer: the newer engine, with the images that tests need. Its network reaches no mirror, so they come from the engine that
# runs. 77 if this machine cannot have it.
start_newer() {
    local tmp=$CTHULHU_TEST_TMP/newer
    as_root env HOME="$HOME" "$here/newer_engine.sh" get || return
    # shellcheck disable=SC2016
    as_root env TMP="$tmp/scratch" bash -c '. "$1" && need_image && docker save -o "$2" "$IMAGE"' - "$here/lib.bash" "$tmp/image.tar" || return
    as_root env HOME="$HOME" "$here/newer_engine.sh" start "$newer" || return
    as_root env HOME="$HOME" "$here/newer_engine.sh" run "$newer" docker load -qi "$tmp/image.tar"
}

# run_file LANE FILE OUT: runs a file of tests, and returns its exit status.
run_file() {
    local lane=$1 file=$2 out=$3 tmp=$CTHULHU_TEST_TMP/$1 around bats name enter=()
    name=$(basename "$file" .bats)
    case $file in
    */examples/*/*.bats)
        around=(PATH="$tmp/examples/bin:$PATH" TMPDIR="$tmp/examples" XDG_STATE_HOME="$tmp/examples/state")
        ;;
    *) around=(PATH="$PATH" CTHULHU_TEST_TMP="$tmp" TMPDIR="$tmp/scratch") ;;
    esac
    bats=(timeout -k 30 "$deadline" bats --tap "$file")
    if [ "$lane" = newer ]; then
        around+=("${fewer[@]}" FAULT_STATES=100 CTHULHU_TEST_IMAGE="$tmp/image.tar")
        [ -z "${newer_tests[$name]:-}" ] || bats+=(--filter "${newer_tests[$name]}")
        # It has engines of its own.
        if [ "$name" = second_engine ]; then enter=("$here/newer_engine.sh" alone); else enter=("$here/newer_engine.sh" run "$newer"); fi
    fi
    # In the background, so that a signal to us is heeded at once.
    if [ "$lane" != user ]; then
        as_root env HOME="$HOME" "${around[@]}" "${settings[@]}" CTHULHU="$CTHULHU" "${enter[@]}" "${bats[@]}" </dev/null >"$out" 2>&1 &
    else
        (cd / && as_user HOME="$user_home" USER="$USER_NAME" "${around[@]}" "${fewer[@]}" "${settings[@]}" CTHULHU="$CTHULHU" "${bats[@]}" </dev/null) >"$out" 2>&1 &
    fi
    running=$!
    wait "$running"
}

# next_file LANE: takes the next file from those that are left for a lane, if there is one.
next_file() {
    local left from=("$1")
    case $1 in root) from=(shared alone) ;; beside) from=(shared) ;; esac
    for left in "${from[@]/#/$CTHULHU_TEST_TMP/left.}"; do
        # shellcheck disable=SC2016 # the other shell's
        flock "$CTHULHU_TEST_TMP/left.lock" sh -c '[ -s "$1" ] && head -n 1 "$1" && sed -i 1d "$1"' - "$left" && return
    done
    return 1
}

# run_lane LANE: runs all files, prints the output of each when it has ended, and leaves the figures in a file.
run_lane() {
    local lane=$1 file name out begin other status p f s passed=0 failed=0 skipped=0 running='' started=$SECONDS
    trap '[ -z "$running" ] || kill "$running" 2>/dev/null; exit 143' TERM
    # Four lanes at once are more than two processors can do: this one begins when another has ended, or waits.
    if [ "$lane" = beside ] && [ ${#lanes[@]} -gt 3 ]; then
        until compgen -G "$CTHULHU_TEST_TMP/*.done" >/dev/null || [ -e "$CTHULHU_TEST_TMP/user.waits" ]; do sleep 0.2; done
    fi
    if [ "$lane" = newer ]; then
        start_newer >"$CTHULHU_TEST_TMP/newer.out" 2>&1 || status=$?
        case ${status:-0} in
        0) say "newer: $(head -n 1 "$CTHULHU_TEST_TMP/newer.out")" ;;
        77)
            echo "skipped: $(tail -n 1 "$CTHULHU_TEST_TMP/newer.out")" >"$CTHULHU_TEST_TMP/newer.figures"
            echo "newer: all files: all tests: $(tail -n 1 "$CTHULHU_TEST_TMP/newer.out")" >>"$skips"
            return
            ;;
        *)
            cat "$CTHULHU_TEST_TMP/newer.out"
            return
            ;;
        esac
    fi
    while file=$(next_file "$lane"); do
        name="$lane: $(basename "$file")" out=$CTHULHU_TEST_TMP/$lane.out
        if is_alone "$file" && [ "$lane" != newer ] && [ -n "$with_cargo" ]; then
            : >"$CTHULHU_TEST_TMP/$lane.waits"
            until [ -e "$cargo_out.done" ]; do sleep 0.2; done
        fi
        if is_alone "$file" && [ "$lane" = root ]; then
            for other in "${lanes[@]}"; do
                until [ "$other" = root ] || [ -e "$CTHULHU_TEST_TMP/$other.done" ]; do sleep 0.2; done
            done
        fi
        begin=$SECONDS status=0
        case $file in "$project"/*) file=$suite${file#"$project"} ;; esac
        run_file "$lane" "$file" "$out" || status=$?
        s=$(grep -c '^ok .* # skip' "$out") || true
        p=$(($(grep -c '^ok ' "$out") - s)) || true
        f=$(grep -c '^not ok ' "$out") || true
        sed -n "s/^ok [0-9]* \(.*\) # skip */$name: \1: /p" "$out" >>"$skips"
        # Lanes do not talk into each other.
        flock "$CTHULHU_TEST_TMP" sh -c 'echo "==> $1" && cat "$2"' - "$name" "$out"
        if [ "$status" -ge 124 ]; then
            printf 'run.sh: %s did not end within %s s\n' "$name" "$deadline"
            f=$((f + 1))
        elif [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then
            printf 'run.sh: %s could not be run\n' "$name"
            f=1
        fi
        say "$name: $p passed, $f failed, $s skipped, $((SECONDS - begin)) s"
        passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    done
    echo "$passed $failed $skipped $((SECONDS - started))" >"$CTHULHU_TEST_TMP/$lane.figures"
}

for left in "${!files_of[@]}"; do
    printf '%s\n' "${files_of[$left]}" | sed '/^$/d' >"$CTHULHU_TEST_TMP/left.$left"
done
for lane in "${lanes[@]}"; do
    {
        run_lane "$lane" || true
        : >"$CTHULHU_TEST_TMP/$lane.done"
    } &
    lane_pids+=($!)
done
for pid in "${lane_pids[@]}"; do wait "$pid" || true; done
lane_pids=()
if [ -n "$cargo_pid" ]; then
    wait "$cargo_pid" || true
    cargo_pid=''
    for what in "${cargo_runs[@]}"; do
        out=$cargo_out.${what##* }
        say "cargo $what"
        cat "$out"
        read -r status <"$out.status" || status=1
        p=$(sed -n 's/^test result: .* \([0-9]*\) passed.*/\1/p' "$out" | awk '{ n += $1 } END { print n + 0 }')
        f=$(sed -n 's/^test result: .* \([0-9]*\) failed.*/\1/p' "$out" | awk '{ n += $1 } END { print n + 0 }')
        # A build that fails has no result lines.
        if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
        passed=$((passed + p)) failed=$((failed + f))
        say "cargo $what: $p passed, $f failed"
        # A test says so itself, and counts as passed.
        sed -n "s/.*SKIPPED \([^ ]*\): /cargo: ${what##* }: \1: /p" "$out" | sort -u >>"$skips"
    done
fi
# A lane that could not go on, for want of room perhaps, leaves files behind.
for left in shared waits alone user newer; do
    if [ -s "$CTHULHU_TEST_TMP/left.$left" ] && ! grep -qs '^skipped: ' "$CTHULHU_TEST_TMP/$left.figures"; then
        [[ $left = @(user|newer|waits) && " ${lanes[*]} " != *" $left "* ]] && continue
        [[ $left = @(shared|alone) && " ${lanes[*]} " != *' root '* ]] && continue
        printf 'run.sh: these files of lane %s were not run: %s\n' "$left" "$(xargs <"$CTHULHU_TEST_TMP/left.$left")"
        failed=$((failed + 1))
    fi
done
declare -A lane_title=([root]='as root' [user]='as user' [newer]='over the newer engine' [beside]='as root, beside the others'
    [waits]='as root, what waits')
for lane in "${lanes[@]}"; do
    if grep -qs '^skipped: ' "$CTHULHU_TEST_TMP/$lane.figures"; then
        say "over the newer engine: SKIPPED: $(sed 's/^skipped: //' "$CTHULHU_TEST_TMP/$lane.figures")"
        # Asked for by name, it must be had.
        [ ${#lanes[@]} -gt 1 ] || failed=$((failed + 1))
    elif read -r p f s seconds <"$CTHULHU_TEST_TMP/$lane.figures"; then
        say "${lane_title[$lane]}: $p passed, $f failed, $s skipped, $seconds s"
        passed=$((passed + p)) failed=$((failed + f))
    else
        say "${lane_title[$lane]}: it did not come to its end"
        failed=$((failed + 1))
    fi
done

if [ -s "$skips" ]; then
    mapfile -t allowed < <(sed '/^#/d; s/  *# .*//' "$here/skips-allowed.txt")
    say 'skipped, as LANE: FILE: TEST: WHY:'
    cat "$skips"
    while IFS= read -r skipped; do
        for pattern in "${allowed[@]}"; do
            # shellcheck disable=SC2053 # a pattern
            if [[ $skipped = $pattern ]]; then continue 2; fi
        done
        [ -n "$strict" ] || continue
        printf 'run.sh: this was skipped and must not be (skips-allowed.txt): %s\n' "$skipped"
        failed=$((failed + 1))
    done <"$skips"
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
exit
}
