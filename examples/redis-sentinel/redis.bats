#!/usr/bin/env bats
# Redis with Sentinel loses writes that it has acknowledged: a search by seed finds that, and shrinking tells what it takes.
#
#   bats examples/redis-sentinel/redis.bats

bats_require_minimum_version 1.5.0

setup() {
    "$BATS_TEST_DIRNAME/../make-image.sh" cthulhu-example-redis redis-server redis-sentinel redis-tools >&2 ||
        { [ $? = 77 ] && skip 'Redis cannot be had here as a package of Debian or Ubuntu'; }
    cd "$BATS_TEST_TMPDIR"
    redis=(-n 3 -i cthulhu-example-redis --port 6379 --config "$BATS_TEST_DIRNAME/conf" --quiet 4s
        --node-command 'sh /opt/app/etc/node.sh' --ready-cmd 'sh /opt/app/etc/ready.sh' --ready-interval 1s
        --role-in-node 'leader=redis-cli -p 26379 sentinel get-master-addr-by-name example | head -n 1' --role-interval 5s)
    workload=(cthulhu workload --model set --processes 3 --for 3s -- "$BATS_TEST_DIRNAME/client.py")
}

@test "one of five seeds finds acknowledged writes that are lost, and one or two lines of its schedule do" {
    for seed in 1 2 3 4 5; do
        run cthulhu run "${redis[@]}" --nemesis "seed:$seed" --every 6s --for 18s --artifacts "$BATS_TEST_TMPDIR/$seed" -- "${workload[@]}"
        [ "$status" = 1 ] || continue
        echo "# seed $seed: $(grep -m 1 ' acknowledged elements are lost' <<< "$output")" >&3
        # Not one that fails too seldom.
        ! cthulhu shrink --jobs 2 -o smallest "$BATS_TEST_TMPDIR/$seed"/run-*/schedule "${redis[@]}" -- "${workload[@]}" || break
    done
    sed 's/^/# /' smallest >&3
    [ "$(grep -c '^at ' smallest)" -le 2 ]
}
