#!/usr/bin/env bash
# Sets up what bench.py measures cthulhu beside, runs it, and takes everything down again. benches/run.sh --help has the options.
#
# On Debian and Ubuntu it installs what is missing, and says so. compose comes from Debian trixie if the machine has none of
# version 2; it is unpacked into ${XDG_CACHE_HOME:-~/.cache}/cthulhu-tests and not installed. A peer that cannot be had is shown
# as SKIPPED. What needs root, an ordinary user's run does with sudo.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(dirname "$here")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cthulhu-tests

say() { printf '==> %s\n' "$*" >&2; }
fail() {
    printf 'benches/run.sh: %s\n' "$*" >&2
    exit 1
}

export PATH=$PATH:/usr/sbin:/sbin PYTHONDONTWRITEBYTECODE=1
[ ! -d "$HOME/.cargo/bin" ] || PATH=$PATH:$HOME/.cargo/bin
command -v python3 >/dev/null || fail 'python3 is missing: install it'
help=$(python3 "$here/bench.py" --parse-only "$@") || exit
[ -z "$help" ] || { printf '%s\n' "$help" && exit 0; }

# ---- the programs, built as whoever calls ---------------------------------------------------------------------------

# build NAME OPTION...: the path of that program.
build() {
    local name=$1 target
    shift
    target=$(rustc -vV | sed -n 's/^host: //p')
    say "building $name (static, for $target)"
    cd "$project"
    # As releases are built: .github/workflows/release.yml.
    RUSTFLAGS='-C target-feature=+crt-static -C relocation-model=static' \
        cargo build --quiet --release --locked --target "$target" --message-format json-render-diagnostics "$@" |
        sed -n "s|.*\"executable\":\"\([^\"]*/$name\)\".*|\1|p"
}

if ! command -v cargo >/dev/null; then
    [ -n "${CTHULHU:-}" ] || fail 'cargo is missing: get it from https://rustup.rs, or give a built binary with CTHULHU=/path/to/cthulhu'
    export MINIMAL_FS=${MINIMAL_FS:-}
fi
if [ -z "${CTHULHU:-}" ]; then CTHULHU=$(build cthulhu --bin cthulhu) || fail 'the build failed'; fi
if [ -z "${MINIMAL_FS+set}" ]; then MINIMAL_FS=$(build minimal_fs --example minimal_fs) || fail 'the build failed'; fi
CTHULHU=$(realpath "$CTHULHU")
[ -x "$CTHULHU" ] || fail "$CTHULHU is no program"
export CTHULHU MINIMAL_FS

if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail 'run it as root, or install sudo: mounts and peers need root'
    handed=()
    for name in CTHULHU MINIMAL_FS PATH HOME DOCKER_HOST XDG_CACHE_HOME TMPDIR CTHULHU_TEST_IMAGE; do
        [ -z "${!name+set}" ] || handed+=("$name=${!name}")
    done
    exec sudo env "${handed[@]}" "${BASH_SOURCE[0]}" "$@"
fi

# ---- what must be there ---------------------------------------------------------------------------------------------

# missing COMMAND:PACKAGE...: packages of commands that are not here.
missing() {
    local one
    for one in "$@"; do command -v "${one%%:*}" >/dev/null || echo "${one##*:}"; done
}

install_packages() {
    [ $# -gt 0 ] || return 0
    command -v apt-get >/dev/null || return 1
    say "installing: $*"
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@"; } >/dev/null 2>&1
}

needed=(docker:docker.io fusermount3:fuse3 setpriv:util-linux)
mapfile -t packages < <(missing "${needed[@]}")
install_packages "${packages[@]}" || fail "these are missing, and apt-get could not install them: ${packages[*]}"
optional=(iptables-restore:iptables bindfs:bindfs git:git)
mapfile -t packages < <(missing "${optional[@]}")
install_packages "${packages[@]}" || true
version=$(timeout 20 docker version --format '{{.Server.Version}}' 2>/dev/null) ||
    fail "no engine answers${DOCKER_HOST:+ at $DOCKER_HOST}: start one, or set DOCKER_HOST"
say "using Docker Engine $version"
case ${DOCKER_HOST:-unix:} in unix:* | tcp:*) ;; *) fail "DOCKER_HOST must be unix://PATH or tcp://HOST:PORT" ;; esac
[ -z "${DOCKER_TLS_VERIFY:-}" ] || fail 'an engine with TLS is not measured: unset DOCKER_TLS_VERIFY, and use its socket'

# ---- the place, and the end -----------------------------------------------------------------------------------------

# shellcheck source=../fs-tests/lib.bash
. "$project/fs-tests/lib.bash"
# shellcheck source=../fs-tests/debian.bash
. "$project/fs-tests/debian.bash"
# shellcheck source=../fs-tests/lab.bash
. "$project/fs-tests/lab.bash"

bench=''
# shellcheck disable=SC2317 # the trap calls it
finish() {
    trap '' INT TERM
    local id
    [ -z "$bench" ] || wait "$bench" || true
    for id in $(docker ps -aq --filter "label=cthulhu-bench=$P"); do docker rm -fv "$id" >/dev/null || true; done
    for id in $(docker network ls -q --filter "label=cthulhu-bench=$P"); do docker network rm "$id" >/dev/null || true; done
    chmod "$fuse_mode" /dev/fuse
    end
}
[ -c /dev/fuse ] || modprobe fuse 2>/dev/null || true
[ -c /dev/fuse ] || fail 'there is no /dev/fuse: load the kernel module (modprobe fuse), or start this container with --device /dev/fuse'
fuse_mode=$(stat -c %a /dev/fuse)
begin
trap finish EXIT
# An ordinary user must be able to open it, as on most systems he is.
chmod 666 /dev/fuse
trap 'exit 130' INT
trap 'exit 143' TERM
chmod 755 "$TMP"
need_image || fail 'there is no image to measure with'

# ---- peers ----------------------------------------------------------------------------------------------------------

skipped() {
    echo "$*" >>"$TMP/skipped"
}

: >"$TMP/skipped"
COMPOSE='docker compose'
if [[ $(docker compose version --short 2>/dev/null) != [v2-9]* ]]; then
    say 'taking docker-compose of Debian trixie'
    if COMPOSE=$(compose_of_trixie "$cache" 2>"$TMP/why"); then
        COMPOSE=$(printf '%q' "$COMPOSE")
    else
        skipped "compose: $(tail -n 1 "$TMP/why")"
    fi
fi
[ -n "$MINIMAL_FS" ] || skipped 'the minimal fuser file system: cargo is missing'
NO_LAB=$(lab_missing)
[ -z "$NO_LAB" ] || skipped "a cluster over several machines: $NO_LAB"
for package in $(missing "${optional[@]}"); do skipped "$package cannot be installed"; done
export COMPOSE IMAGE TMP P NO_LAB

# ---- the measurements -----------------------------------------------------------------------------------------------

# Beside this shell, so that a signal to it is passed on at once. What a shell starts beside itself would ignore ^C.
ended=''
trap 'ended=130; kill -TERM "$bench" 2>/dev/null || true' INT
trap 'ended=143; kill -TERM "$bench" 2>/dev/null || true' TERM
python3 "$here/bench.py" "$@" &
bench=$!
status=0
wait "$bench" || status=$?
# A signal has ended the wait.
while kill -0 "$bench" 2>/dev/null; do wait "$bench" || status=$?; done
exit "${ended:-$status}"
