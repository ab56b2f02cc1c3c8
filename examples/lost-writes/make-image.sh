#!/usr/bin/env bash
# Makes an image of Redis and its Sentinel out of Debian's (or Ubuntu's) packages, without any image registry.
#
#   examples/lost-writes/make-image.sh [IMAGE]        default: cthulhu-example-redis
#
# The image holds redis-server, redis-sentinel, redis-cli and the libraries that they run with, and busybox for a shell, nothing
# else. One that is there is left as it is: docker rmi it to have it recreated.
set -euo pipefail

say() { printf 'make-image: %s\n' "$*"; }
fail() {
    printf 'make-image: %s\n' "$*" >&2
    exit 1
}

case "${1-}" in
-h | --help)
    sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0"
    exit 0
    ;;
-*) fail "no such option: $1" ;;
esac
[ $# -le 1 ] || fail 'there is one argument at most, the name of the image'
image=${1:-cthulhu-example-redis}

for command in apt-get dpkg ldd tar docker; do
    command -v "$command" >/dev/null || fail "$command is missing: this works on Debian and Ubuntu, with Docker"
done
if docker version >/dev/null 2>&1; then
    engine() { docker "$@"; }
elif [ "$(id -u)" != 0 ] && sudo -n docker version >/dev/null 2>&1; then
    engine() { sudo -n docker "$@"; }
else
    fail 'the engine does not answer: see what docker version says, and run this as root or in the group docker'
fi

if engine image inspect "$image" >/dev/null 2>&1; then
    say "the image $image is there already"
    exit 0
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/cthulhu-redis.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$work"

# Into our own directory, which apt's user may not enter.
download() { apt-get -q -o APT::Sandbox::User="$(id -un)" download "$@" >download.log 2>&1; }

# A machine that is new knows no packages yet.
update() {
    if [ "$(id -u)" = 0 ]; then apt-get -q update; else sudo -n apt-get -q update; fi >update.log 2>&1
}

need() {
    say "downloading the packages $*"
    download "$@" || { update && download "$@"; } || {
        reason=$(cat ./*.log | sed -n 's/^E: *//p' | tail -n 1)
        fail "cannot download them: ${reason:-apt-get gives no reason}; see that apt-get update works here"
    }
}

need redis-server redis-sentinel redis-tools busybox-static
# The libraries that they depend on need not be installed here.
mapfile -t libraries < <(dpkg -f redis-tools_*.deb Depends | tr ',' '\n' | sed -n 's/^ *\(lib[^ :]*\).*/\1/p')
need "${libraries[@]}"

mkdir unpacked root root/tmp
for package in ./*.deb; do dpkg -x "$package" unpacked; done
directories=$(find unpacked -name '*.so.*' -printf '%h\n' | sort -u | paste -sd:)
mkdir -p root/usr/bin root/bin
cp -L unpacked/bin/busybox root/bin/sh 2>/dev/null || cp -L unpacked/usr/bin/busybox root/bin/sh
for program in redis-server redis-sentinel redis-cli; do
    [ -x "unpacked/usr/bin/$program" ] || fail "there is no $program in Debian's packages any more"
    # Server and Sentinel are one program by two names.
    cp -d "unpacked/usr/bin/$program" root/usr/bin/
    program=$(readlink -f "unpacked/usr/bin/$program")
    cp -n "$program" root/usr/bin/
    LD_LIBRARY_PATH=$directories ldd "$program" >libraries.txt
    ! grep 'not found' libraries.txt >missing.txt || fail "$(basename "$program") needs a library that is not here: $(head -n 1 missing.txt)"
    { grep -o '/[^ ]*\|unpacked/[^ ]*' libraries.txt || true; } | while read -r library; do
        # Where the loader looks, wherever it was found.
        directory=root/$(dirname "/${library#*unpacked/}")
        mkdir -p "$directory"
        cp -Ln "$library" "$directory/"
    done
done

say "importing the image $image"
tar --owner=0 --group=0 --numeric-owner -C root -c . |
    engine import --change 'ENV PATH=/usr/bin:/bin' --change 'CMD ["redis-server"]' - "$image" >import.log 2>&1 ||
    fail "the engine refused the image: $(tail -n 1 import.log)"
engine run --rm --network none "$image" redis-server --version >version.log 2>&1 ||
    fail "Redis does not run in the image: $(tail -n 1 version.log)"
say "made $image: $(head -n 1 version.log)"
