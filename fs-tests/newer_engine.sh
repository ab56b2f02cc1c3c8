#!/usr/bin/env bash
# A newer Docker Engine than the machine's own: Debian's, unpacked and not installed.
#
#   fs-tests/newer_engine.sh get             prints the directory of dockerd and its helpers, fetching them the first time
#   fs-tests/newer_engine.sh run COMMAND...  starts that engine, runs COMMAND with DOCKER_HOST set, and stops the engine
#
# The packages (54 MB, unpacked 210 MB) come from Debian's suite trixie, or NEWER_SUITE, on the mirror that the machine's own apt
# sources name. They are kept in ${XDG_CACHE_HOME:-~/.cache}/cthulhu-tests. Exit status 77: this machine cannot have them, and
# stderr says why.
#
# The engine runs in network and mount namespaces of its own, as it has its own firewall rules, bridges and routes. COMMAND runs
# in them too, so that it reaches the nodes' addresses.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
suite=${NEWER_SUITE:-trixie}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cthulhu-tests
root=$cache/docker-$suite

unavailable() {
    printf 'newer_engine.sh: %s\n' "$*" >&2
    exit 77
}

# The mirror of the Debian suite that the machine itself uses.
mirror() {
    apt-get indextargets --format '$(SITE) $(CODENAME) $(ORIGIN)' 2>/dev/null |
        awk '$3 == "Debian" && $1 !~ /security/ && $2 !~ /-/ { print $1; exit }'
}

# private_apt DIR APT-COMMAND...: apt with sources, lists and a status file of its own.
private_apt() {
    local dir=$1 command=$2
    shift 2
    "$command" -o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State="$dir/state" -o Dir::State::Lists="$dir/state/lists" -o Dir::State::status="$dir/status" \
        -o Dir::Cache="$dir/cache" -o Acquire::Languages=none \
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o Acquire::Retries=3 -qq "$@"
}

# Unpacks the engine into the cache, unless it is there.
get() {
    [ ! -x "$root/bin/dockerd" ] || return 0
    local part from deb name
    command -v apt-get >/dev/null && command -v dpkg >/dev/null || unavailable 'only for Debian and Ubuntu'
    from=$(mirror)
    [ -n "$from" ] || unavailable "apt's sources name no mirror of Debian: run apt-get update"
    mkdir -p "$cache"
    part=$(mktemp -d "$cache/part.XXXXXX")
    # shellcheck disable=SC2064 # as it is now
    trap "rm -rf '$part'" EXIT
    mkdir -p "$part"/{state/lists/partial,cache/archives/partial,debs,root/bin}
    : >"$part/status"
    echo "deb $from $suite main" >"$part/sources.list"
    # _apt may not write here; what is fetched is checked against the archive's signature all the same.
    [ "$(id -u)" != 0 ] || chmod 755 "$part"
    private_apt "$part" apt-get update >"$part/log" 2>&1 &&
        (cd "$part/debs" && private_apt "$part" apt-get download docker.io containerd >>"$part/log" 2>&1) ||
        unavailable "cannot get docker.io of $suite from $from: $(tail -n 1 "$part/log")"
    for deb in "$part"/debs/*.deb; do dpkg -x "$deb" "$part/root"; done
    for name in dockerd docker-proxy containerd containerd-shim-runc-v2; do
        deb=$(cd "$part/root" && find usr -name "$name" -type f | head -n 1)
        [ -n "$deb" ] || unavailable "the packages of $suite have no $name"
        ln -s "../$deb" "$part/root/bin/$name"
    done
    # Another may have been faster.
    mv -T "$part/root" "$root" 2>/dev/null || [ -x "$root/bin/dockerd" ]
}
