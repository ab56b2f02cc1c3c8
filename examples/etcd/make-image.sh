#!/usr/bin/env bash
# Makes an image of etcd out of Debian's (or Ubuntu's) packages, without any image registry.
#
#   examples/etcd/make-image.sh [IMAGE]        default: cthulhu-example-etcd
#
# The image holds etcd, etcdctl and the libraries that they run with, nothing else. One that is there is left as it is:
# docker rmi it to have it recreated.
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
image=${1:-cthulhu-example-etcd}

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

work=$(mktemp -d "${TMPDIR:-/tmp}/cthulhu-etcd.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$work"

# Into our own directory, which apt's user may not enter.
download() { apt-get -q -o APT::Sandbox::User="$(id -un)" download etcd-server etcd-client >download.log 2>&1; }

# A machine that is new knows no packages yet.
update() {
    if [ "$(id -u)" = 0 ]; then apt-get -q update; else sudo -n apt-get -q update; fi >update.log 2>&1
}

say 'downloading the packages etcd-server and etcd-client'
download || { update && download; } || {
    reason=$(cat ./*.log | sed -n 's/^E: *//p' | tail -n 1)
    fail "cannot download them: ${reason:-apt-get gives no reason}; see that apt-get update works here"
}

mkdir unpacked root root/tmp
for package in ./*.deb; do dpkg -x "$package" unpacked; done
mkdir -p root/usr/bin
for program in etcd etcdctl; do
    [ -x "unpacked/usr/bin/$program" ] || fail "there is no $program in Debian's packages any more"
    cp "unpacked/usr/bin/$program" root/usr/bin/
    # None for a program that is linked statically.
    { ldd "unpacked/usr/bin/$program" 2>/dev/null || true; } | { grep -o '/[^ ]*' || true; } | while read -r library; do
        mkdir -p "root$(dirname "$library")"
        cp -L "$library" "root$library"
    done
done

# etcd refuses to run on the machines that its makers do not test on, unless it is told.
arch=$(dpkg --print-architecture)
changes=(--change 'ENV PATH=/usr/bin' --change 'CMD ["etcd"]')
[ "$arch" = amd64 ] || changes+=(--change "ENV ETCD_UNSUPPORTED_ARCH=$arch")

say "importing the image $image"
tar --owner=0 --group=0 --numeric-owner -C root -c . | engine import "${changes[@]}" - "$image" >import.log 2>&1 ||
    fail "the engine refused the image: $(tail -n 1 import.log)"
engine run --rm --network none "$image" etcd --version >version.log 2>&1 ||
    fail "etcd does not run in the image: $(tail -n 1 version.log)"
say "made $image: $(head -n 1 version.log)"
