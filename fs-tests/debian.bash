# Packages of another suite of Debian, unpacked and not installed. Loaded by newer_engine.sh, compose_check.bats and benches/run.sh.
# shellcheck shell=bash

# The mirror of Debian's archive that the machine itself uses.
mirror() {
    # shellcheck disable=SC2016 # apt's own variables
    apt-get indextargets --format '$(SITE) $(CODENAME) $(ORIGIN)' 2>/dev/null |
        awk '$3 == "Debian" && $1 !~ /security/ && $2 !~ /-/ { print $1; exit }'
}

# private_apt DIR ARGUMENT...: apt-get with sources, lists, caches and a list of installed packages of its own.
private_apt() {
    local dir=$1
    shift
    apt-get -qq -o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State="$dir/state" \
        -o Dir::State::Lists="$dir/state/lists" -o Dir::State::status="$dir/status" -o Dir::Cache="$dir/cache" \
        -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@"
}

fetch() {
    local dir=$1
    shift
    private_apt "$dir" update && cd "$dir/debs" && private_apt "$dir" download "$@"
}

# unpack_packages SUITE DIR PACKAGE...: fetches the packages, without what they depend on, and unpacks them into DIR/root.
# DIR is empty and the caller's to remove. Fails if this machine cannot have them, and stderr says why.
unpack_packages() {
    local suite=$1 dir=$2 from deb
    shift 2
    command -v apt-get >/dev/null && command -v dpkg >/dev/null || { echo 'only for Debian and its like' >&2 && return 1; }
    from=$(mirror)
    [ -n "$from" ] || { echo "apt's sources name no mirror of Debian, or apt-get update was never run" >&2 && return 1; }
    # apt fetches as a user of its own.
    chmod 755 "$dir"
    mkdir -p "$dir"/state/lists/partial "$dir"/cache/archives/partial "$dir"/debs "$dir"/root
    : >"$dir/status"
    echo "deb $from $suite main" >"$dir/sources.list"
    (fetch "$dir" "$@") >"$dir/log" 2>&1 || { echo "cannot get $* of $suite from $from: $(tail -n 1 "$dir/log")" >&2 && return 1; }
    for deb in "$dir"/debs/*.deb; do dpkg -x "$deb" "$dir/root" || return 1; done
}

# compose_of_trixie CACHE: prints the path of Debian trixie's compose, which is kept in the directory CACHE. Fails, and stderr says why.
compose_of_trixie() {
    local cache=$1 kept=$1/compose-trixie program=usr/libexec/docker/cli-plugins/docker-compose part status=0
    if [ ! -x "$kept/$program" ]; then
        mkdir -p "$cache"
        part=$(mktemp -d "$cache/part.XXXXXX")
        # Another may have been faster.
        { unpack_packages trixie "$part" docker-compose && mv -T "$part/root" "$kept" 2>/dev/null; } ||
            [ -x "$kept/$program" ] || status=1
        rm -rf "$part"
        [ "$status" = 0 ] || return 1
    fi
    "$kept/$program" version >/dev/null || return
    printf '%s\n' "$kept/$program"
}
