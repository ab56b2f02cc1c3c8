#!/usr/bin/env bats
# cthulhu compose check: what Compose files mean, what is ignored and what is refused. No engine, no mount.
# shellcheck disable=SC2016 # variables of Compose files

load lib.bash
load debian.bash

setup_file() { begin; }
teardown_file() { end; }

FILES=$FS_TESTS/compose

# Without the caller's environment, which compose files could take variables from.
bare() { env -i PATH="$PATH" HOME=/home/test "$@"; }

# check ARGUMENT...: sets output and status, within the time that any file may take.
check() {
    run bare timeout -k 1 5 "$CTHULHU" compose check "$@"
}

# check_text TEXT ARGUMENT...: the same of a file with that text.
check_text() {
    printf '%s\n' "$1" >"$BATS_TEST_TMPDIR/c.yaml"
    shift
    cd "$BATS_TEST_TMPDIR" || return
    check -f c.yaml "$@"
}

# value JQ-FILTER: what it gives of the JSON of c.yaml.
value() {
    bare "$CTHULHU" compose check -f c.yaml --json | jq -c "$1"
}

@test "23 files of public shapes: each as it is expected to be read, warned about and refused" {
    local name count=0
    for name in "$FILES"/*/; do
        name=$(basename "$name") count=$((count + 1))
        cd "$FILES/$name"
        # shellcheck disable=SC2046 # words
        check -f compose.yaml $(cat args 2>/dev/null)
        diff -u expected <(printf '%s\nexit status %s\n' "${output//"$PWD"/.}" "$status") || {
            echo "$name" >&2
            return 1
        }
    done
    is 23 "$count"
}

@test "compose reads them as we do" {
    local name compose=()
    if [[ $(docker compose version --short 2>/dev/null) = [v2-9]* ]]; then
        compose=(docker compose)
    else
        compose=("$(compose_of_trixie "${XDG_CACHE_HOME:-$HOME/.cache}/cthulhu-tests" 2>"$TMP/why")") ||
            skip "compose v2 is not here, nor can it be fetched: $(tail -n 1 "$TMP/why")"
    fi
    for name in "$FILES"/*/; do
        name=$(basename "$name")
        # Compose refuses this one too, for one of its reasons.
        [ "$name" != clickhouse ] || continue
        cd "$FILES/$name"
        local profile=() files=(-f compose.yaml)
        case $(cat args 2>/dev/null) in
        --profile*) profile=(--profile debug) ;;
        -f*) files+=(-f test.yaml) ;;
        esac
        bare "${compose[@]}" "${profile[@]}" "${files[@]}" config --format json 2>"$TMP/compose.err" |
            jq -S -f "$FILES/same.jq" >"$TMP/theirs"
        bare "$CTHULHU" compose check "${profile[@]}" "${files[@]}" --json | jq -S -f "$FILES/same.jq" >"$TMP/ours"
        [ -s "$TMP/theirs" ] || { cat "$TMP/compose.err" >&2 && return 1; }
        diff -u "$TMP/theirs" "$TMP/ours" || {
            echo "$name" >&2
            return 1
        }
    done
}

@test "YAML 1.1's traps: yes is a word, 0440 octal, 22:22 a port" {
    check_text 'services: {a: {image: i, environment: {A: yes}, ports: [22:22], secrets: [{source: s, mode: 0440}]}}
secrets: {s: {file: ./f}}'
    is 0 "$status"
    is '["yes","22",288]' "$(value '.services.a | [.environment.A, .ports[0].published, .secrets[0].mode]')"
}

@test "variables: \$\$ is a dollar sign, :? ends with what it says, .env and --compose-env-file have values" {
    check_text 'services: {a: {image: i, command: "echo $$HOME $X"}}'
    is 0 "$status"
    has "$output" "c.yaml:1:35: warning: the variable X is not set: it is taken as empty"
    # As compose, it doubles what must be read as one again.
    is '["echo","$$HOME"]' "$(value .services.a.command)"
    echo 'X=from-env' >.env
    is '["echo","$$HOME","from-env"]' "$(value .services.a.command)"
    echo 'X=from-file' >other
    check -f c.yaml --compose-env-file other
    has "$output" 'from-file'
    run env X=from-caller "$CTHULHU" compose check -f c.yaml --compose-env-file other
    has "$output" 'from-caller'
    rm .env
    check_text 'services:
  a:
    image: ${X:?no X}'
    is 1 "$status"
    has "$output" 'c.yaml:3:12: refused: the variable X must be set: no X'
}

@test "an unknown key is refused, with its place and the nearest one" {
    check_text 'services:
  a:
    image: i
    helthcheck: {test: x}'
    is 1 "$status"
    has "$output" "c.yaml:4:5: refused: service 'a': 'helthcheck' is no key of a service: did you mean 'healthcheck'?"
}

@test "what names itself is refused: depends_on, extends, include, aliases" {
    check_text 'services:
  a: {image: i, depends_on: [b]}
  b: {image: i, depends_on: {a: {condition: service_healthy}}}'
    is 1 "$status"
    has "$output" 'c.yaml:2:17: refused: services depend on each other in a circle: a -> b -> a'
    check_text 'services: {a: {extends: b}, b: {extends: {service: a}}}'
    is 1 "$status"
    has "$output" 'a service extends itself: a -> b -> a'
    echo 'include: [c.yaml]' >"$BATS_TEST_TMPDIR/d.yaml"
    check_text 'include: [d.yaml]'
    is 1 "$status"
    is 'cthulhu: d.yaml:1:11: a file includes itself: c.yaml -> d.yaml -> c.yaml' "$output"
    check_text 'a: &a [*a]'
    is 1 "$status"
    has "$output" 'c.yaml:1:8: '
}

@test "no file takes long, and each says in one line what is wrong with it" {
    local name begin
    cd "$BATS_TEST_TMPDIR"
    { echo 'x-0: &a0 [x]' && for n in $(seq 30); do echo "x-$n: &a$n [*a$((n - 1)), *a$((n - 1))]"; done; } >bomb.yaml
    { printf 'services: ' && head -c 100000 /dev/zero | tr '\0' '['; } >deep.yaml
    head -c 5000000 /dev/zero | tr '\0' 'x' >huge.yaml
    printf 'services: {a: {image: \xff}}' >latin.yaml
    mkfifo pipe.yaml
    mkdir directory.yaml
    printf 'services:\n  a: [\n' >open.yaml
    printf 'services:\n  a: {image: i}\n  a: {image: j}\n' >twice.yaml
    for name in bomb deep huge latin pipe directory open twice missing; do
        begin=$(date +%s%3N)
        check -f "$name.yaml"
        is 1 "$status" "$name"
        is 1 "$(printf '%s\n' "$output" | wc -l)" "$name"
        has "$output" "cthulhu: $name.yaml:"
        # A second, and what a busy machine may take.
        [ $(($(date +%s%3N) - begin)) -lt 4000 ]
    done
}

@test "a thousand services" {
    { echo 'services:' && for n in $(seq 1000); do echo "  s$n: {image: i, depends_on: [s$((n + 1))], environment: {N: $n}}"; done &&
        echo '  s1001: {image: i}'; } >"$BATS_TEST_TMPDIR/c.yaml"
    cd "$BATS_TEST_TMPDIR" || return
    check -f c.yaml
    is 0 "$status"
    is 1001 "$(grep -c '^service ' <<<"$output")"
}

@test "--scale, --image, --service and --profile" {
    check_text 'services:
  web: {image: w, depends_on: [db]}
  db: {image: d}
  n1: {build: ./node}
  off: {image: o, profiles: [p]}' --service web --scale web=3
    is 0 "$status"
    is $'service web: w, 3 nodes\nservice db: d' "$(grep '^service' <<<"$output")"
    check -f c.yaml
    is 1 "$status"
    has "$output" "c.yaml:4:8: refused: service 'n1': it is built (build: ./node): run 'docker compose build' and give it 'image:', or pass --image n1=NAME"
    refused grep 'service off' <<<"$output"
    check -f c.yaml --image n1=mine --profile p
    is 0 "$status"
    has "$output" 'service n1: mine'
    has "$output" 'service off: o'
    check -f c.yaml --image n1=mine --scale wbe=2
    is 1 "$status"
    has "$output" "c.yaml: refused: --scale: there is no service 'wbe': did you mean 'web'?"
    check -f c.yaml --scale web
    is 1 "$status"
    is 'cthulhu: --scale web: the form is SERVICE=VALUE' "$output"
}

@test "nothing is made, and no engine is asked" {
    cd "$BATS_TEST_TMPDIR"
    printf 'services: {a: {image: i, volumes: ["./new:/new"]}}\n' >c.yaml
    run bare DOCKER_HOST=unix:///nowhere "$CTHULHU" compose check -f c.yaml
    is 0 "$status"
    is c.yaml "$(ls)"
}
