#!/usr/bin/env bash
# `cthulhu sandbox` on a kernel that has netem: Debian's for clouds, in a virtual machine that this starts as any user.
#
#   fs-tests/netem.sh
#
# Kernel and qemu come as Debian's packages; they are unpacked once, into ${XDG_CACHE_HOME:-~/.cache}/cthulhu-tests, and
# not installed. CTHULHU is the binary to test; it goes into the guest's initial file system with what netem_guest.py
# needs, which runs there as init and prints a line a check: `ok NAME: …` or `FAILED NAME: …`. Exit status 0: it came to
# its end, whatever the checks say; 77: the packages cannot be had.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cthulhu-tests
tools=$cache/kernel-with-netem
# Seconds that the guest may take. It takes some 30 on an idle machine. It is emulated everywhere, as KVM may be there and
# not work, where the machine is a virtual one itself.
deadline=${NETEM_DEADLINE:-240}

skip() {
    printf 'netem.sh: %s\n' "$*" >&2
    exit 77
}

# What has to be fetched for a package, with all that it needs and this machine does not have.
with_needs() {
    apt-get install --print-uris -qq -y --no-install-recommends "$1" 2>/dev/null | sed -n "s/^'[^']*' \([^_]*\)_.*/\1/p"
}

fetch() {
    local kernel needs
    kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9.]*-.*\)/\1/p' | head -n 1)
    mapfile -t needs < <(with_needs qemu-system-x86)
    [ -n "$kernel" ] && apt-get download -q "$kernel" "${needs[@]}" >/dev/null 2>&1
}

# get: unpacks kernel and qemu into the cache, unless they are there.
get() {
    [ ! -e "$tools" ] || return 0
    local part deb
    [ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] || skip 'only for Debian on x86-64'
    mkdir -p "$cache"
    part=$(mktemp -d "$cache/part.XXXXXX")
    # shellcheck disable=SC2064 # as it is now
    trap "rm -rf '$part'" EXIT
    mkdir "$part/debs" "$part/root"
    cd "$part/debs"
    # The lists may name versions that the mirror has no more.
    fetch || { [ "$(id -u)" = 0 ] && apt-get update -qq >/dev/null 2>&1 && fetch; } ||
        skip 'cannot get linux-image-cloud-amd64 and qemu-system-x86: run apt-get update, or see that a package mirror can be reached'
    for deb in *.deb; do dpkg -x "$deb" "$part/root"; done
    cd /
    # Another may have been faster.
    mv -T "$part/root" "$tools" 2>/dev/null || [ -e "$tools" ]
    rm -rf "$part"
}

get
work=$(mktemp -d "${TMP:-${TMPDIR:-/tmp}}/netem.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Debug information is most of a debug build, and all of it would have to be loaded.
cp "$CTHULHU" "$work/cthulhu"
! command -v strip >/dev/null || strip "$work/cthulhu"
/usr/bin/python3 "$here/netem_image.py" "$work/image" "$tools/lib/modules" "$here/netem_guest.py" "$work/cthulhu"

kernel=("$tools"/boot/vmlinuz-*)
qemu=$(command -v qemu-system-x86_64) || {
    qemu=$tools/usr/bin/qemu-system-x86_64
    export LD_LIBRARY_PATH=$tools/usr/lib/x86_64-linux-gnu:$tools/lib/x86_64-linux-gnu
}
status=0
# Carriage returns, as the output is that of a serial line.
timeout -k 5 "$deadline" "$qemu" -L "$tools/usr/share/qemu" -L "$tools/usr/share/seabios" -M pc -cpu max -m 768 \
    -accel tcg -nodefaults -no-user-config -display none -serial stdio -no-reboot \
    -kernel "${kernel[0]}" -initrd "$work/image" \
    -append 'console=ttyS0 quiet rdinit=/init panic=-1 mitigations=off' </dev/null 2>&1 | tr -d '\r' | tee "$work/out" || status=$?
if ! grep -q '^END$' "$work/out"; then
    printf 'netem.sh: the guest did not come to its end within %s s (status %s)\n' "$deadline" "$status" >&2
    exit 1
fi
