#!/usr/bin/env bats
# Redis with Sentinel loses writes that it has acknowledged. A search by seed finds that, and shrinking tells what it takes.
#
#   bats examples/redis-sentinel/redis.bats

bats_require_minimum_version 1.5.0

setup_file() {
    "$BATS_TEST_DIRNAME/../make-image.sh" cthulhu-example-redis redis-server redis-sentinel redis-tools >&2 ||
        { [ $? = 77 ] && skip 'Redis cannot be had here as a package of Debian or Ubuntu'; }
    cd "$BATS_FILE_TMPDIR"
    cluster=(-n 3 -i cthulhu-example-redis --port 6379 --config "$BATS_TEST_DIRNAME/conf" --ready-cmd 'sh /opt/app/etc/ready.sh'
        --node-command 'sh /opt/app/etc/node.sh'
        --role-in-node 'leader=redis-cli -p 26379 sentinel get-master-addr-by-name example | head -n 1')
    workload=(cthulhu workload --model set --processes 3 --rate 100 -- "$BATS_TEST_DIRNAME/client.py")
}
