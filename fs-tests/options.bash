# What options.bats and run_options.bats share: mounts with options, and what mount must refuse.
# shellcheck shell=bash

setup_file() {
    begin
    need_image
}

teardown_file() { end; }

setup() {
    M=$TMP/m$BATS_TEST_NUMBER
    mkdir "$M"
}

teardown() {
    if mountpoint -q "$M"; then umount_cluster; fi
}

mounted() {
    with_deadline 120 "$CTHULHU" mount --prefix "$P" -i "$IMAGE" --start "$@" "$M" -- "${NODE[@]}"
}

# bad PART OPTION...: mount must fail with one sentence, the last line on stderr, that has PART in it; nothing is left.
bad() {
    local part=$1 status=0
    shift
    with_deadline 60 "$CTHULHU" mount --prefix "$P" -i "$IMAGE" "$@" "$M" >"$TMP/stdout" 2>"$TMP/stderr" || status=$?
    is 1 "$status" "exit status of mount $*"
    is '' "$(cat "$TMP/stdout")" stdout
    has "$(tail -n 1 "$TMP/stderr")" "$part"
    is 1 "$(grep -cvE '^(creating|starting) ' "$TMP/stderr")" "lines on stderr: $(cat "$TMP/stderr")"
    nothing_left
    is '' "$(ls -A "$M")" 'content of the mountpoint'
}
