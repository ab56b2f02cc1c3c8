#!/usr/bin/env bash
# Fuzzes what reads outside input, each target for SECONDS (60), two at a time, or FUZZ_AT_ONCE.
#
#   fuzz/run.sh [SECONDS] [TARGET...]
#   fuzz/run.sh --build
#
# Installs cargo-fuzz if it is missing. Starts from the seeds in fuzz/corpus/TARGET; inputs that reach new code are kept
# below the target directory, in found/TARGET, for the next run. One that fails is kept in fuzz/artifacts/TARGET, and
# named. Works with a stable compiler: no sanitizer is used, as the product has no unsafe code outside of src/sys.
set -euo pipefail

# In braces, so that bash reads it whole: the file may be edited while it runs.
{
cd "$(dirname "${BASH_SOURCE[0]}")"
# cargo-fuzz needs this for its own flags, not for any language feature.
export RUSTC_BOOTSTRAP=1
target_dir=${CARGO_TARGET_DIR:-../target/fuzz}
readonly at_once=${FUZZ_AT_ONCE:-2}
# Short inputs find the same as long ones, and sooner.
readonly longest=4096

seconds=60 build_only=''
case ${1:-} in
--build) build_only=yes && shift ;;
[0-9]*) seconds=$1 && shift ;;
-*) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit 0 ;;
esac

cargo fuzz --version >/dev/null 2>&1 || cargo install --quiet --locked --debug cargo-fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
cargo fuzz build -s none --target "$host" --target-dir "$target_dir" --codegen-units 256
[ -z "$build_only" ] || exit 0
if [ $# -gt 0 ]; then targets=("$@"); else mapfile -t targets < <(cargo fuzz list); fi
binaries=$target_dir/$host/release

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Runs one target; says in a line how it went.
fuzz() {
    local target=$1 log=$scratch/$1.log status=0 runs coverage
    local found=$target_dir/found/$target
    mkdir -p "$found" "artifacts/$target"
    "$binaries/$target" -max_total_time="$seconds" -max_len=$longest -timeout=25 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="artifacts/$target/" "$found" "corpus/$target" >"$log" 2>&1 || status=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(grep -ao 'cov: [0-9]*' "$log" | tail -n 1 || true)
    printf '%-18s %s executions, %s, %s inputs found\n' "$target" "${runs:-?}" "${coverage:-cov: ?}" \
        "$(find "$found" -type f | wc -l)"
    if [ $status != 0 ]; then
        tail -n 40 "$log"
        printf '%s FAILED: %s\n' "$target" "$(sed -n 's/.*Test unit written to //p' "$log" | sed "s|^|$PWD/|" | tail -n 1)"
    fi
    return $status
}

failed=0 running=0
for target in "${targets[@]}"; do
    if [ $running -ge $at_once ]; then
        wait -n || failed=$((failed + 1))
        running=$((running - 1))
    fi
    fuzz "$target" &
    running=$((running + 1))
done
while [ $running -gt 0 ]; do
    wait -n || failed=$((failed + 1))
    running=$((running - 1))
done
[ $failed = 0 ]
exit
}
