#!/usr/bin/env bash
# Makes a Docker image of Debian's (or Ubuntu's) packages and what they depend on, without any image registry.
#
#   examples/make-image.sh IMAGE PACKAGE... [-- COMMAND ARGUMENT...]
#   examples/make-image.sh my-redis redis-server redis-tools
#
# The packages are unpacked beside a shell and coreutils. Their install scripts are not run, all files belong to root, and manuals
# and translations are left out. COMMAND runs in the image as root, to finish it: make a user there, for instance.
#
# An image that exists is left as it is: docker rmi it to have it made again. This needs no root, only a user who may use Docker.
# The exit status is 77 if this machine cannot get the packages, and 1 if anything else fails.
set -euo pipefail

say() { printf 'make-image: %s\n' "$*"; }
fail() {
    local status=$1
    shift
    printf 'make-image: %s\n' "$*" >&2
    exit "$status"
}
# What a log says about why.
reason() { { grep '^E: ' "$1" || grep . "$1" || echo 'no reason is given'; } | tail -n 1 | sed 's/^E: *//'; }

image=${1-} packages=()
case $image in
-h | --help)
    sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "$0"
    exit 0
    ;;
'' | -*) fail 1 "usage: $0 IMAGE PACKAGE... [-- COMMAND ARGUMENT...]" ;;
esac
shift
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    packages+=("$1")
    shift
done
finish=("${@:2}")
[ ${#packages[@]} -gt 0 ] || fail 1 "no package is named: $0 IMAGE PACKAGE... [-- COMMAND ARGUMENT...]"

command -v docker >/dev/null || fail 1 'there is no program docker here: install it'
docker version >/dev/null 2>&1 ||
    fail 1 'Docker does not answer: see what docker version says, and run this as root or in the group docker'
if docker image inspect "$image" >/dev/null 2>&1; then
    say "the image $image exists already"
    exit 0
fi
for program in apt-get dpkg-deb; do
    command -v "$program" >/dev/null || fail 77 "there is no program $program here: this works on Debian and Ubuntu"
done

work=$(mktemp -d "${TMPDIR:-/tmp}/make-image.XXXXXX") container='' unfinished=''
clean_up() {
    rm -rf "$work"
    [ -z "$container" ] || docker rm -f "$container" >/dev/null
    [ -z "$unfinished" ] || docker rmi -f "$unfinished" >/dev/null
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
umask 022
mkdir -p "$work"/{debs/partial,lists/partial,root}
: >"$work/status"

# apt-get of nobody's system: nothing is installed there yet, and it writes here only, so it needs no root.
apt() {
    apt-get -q -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" -o Dir::Log="$work" -o Dir::Cache="$work" \
        -o Dir::Cache::archives="$work/debs" -o Dir::State::status="$work/status" -o Acquire::Languages=none "$@"
}
download() {
    apt --no-install-recommends -y --download-only "$@" install \
        base-files base-passwd dash coreutils grep sed "${packages[@]}" >"$work/log" 2>&1
}
own_lists=(-o Dir::State::lists="$work/lists")

say "downloading ${packages[*]}, and what they depend on"
# With the machine's list of packages; if that is missing or out of date, with one of our own.
download || { apt "${own_lists[@]}" update >"$work/log" 2>&1 && download "${own_lists[@]}"; } ||
    fail 77 "cannot get ${packages[*]}: $(reason "$work/log")"

# Since Debian 12, /bin and its like are links; older packages still say /bin.
for directory in bin sbin lib lib64; do
    mkdir -p "$work/root/usr/$directory"
    ln -s "usr/$directory" "$work/root/$directory"
done
for package in "$work"/debs/*.deb; do
    dpkg-deb --fsys-tarfile "$package" |
        tar -xp -C "$work/root" --keep-directory-symlink --no-same-owner \
            --exclude './usr/share/doc/*' --exclude './usr/share/man/*' --exclude './usr/share/locale/*' ||
        fail 1 "cannot unpack $(basename "$package"), see above"
done
for table in passwd group; do cp "$work/root/usr/share/base-passwd/$table.master" "$work/root/etc/$table"; done

say "importing the image $image"
imported=$(tar --owner=0 --group=0 --numeric-owner -C "$work/root" -c . | docker import - 2>"$work/log") ||
    fail 1 "Docker refused the image: $(reason "$work/log")"
if [ ${#finish[@]} = 0 ]; then
    docker tag "$imported" "$image"
else
    unfinished=$imported
    container=$(docker create --network none "$imported" "${finish[@]}")
    docker start -a "$container" >"$work/log" 2>&1 || fail 1 "${finish[0]} failed in the image: $(reason "$work/log")"
    docker commit "$container" "$image" >/dev/null
    unfinished=''
fi
say "made $image, $(du -sm "$work/root" | cut -f 1) MB"
