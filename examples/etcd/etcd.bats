#!/usr/bin/env bats
# etcd keeps every write that it has acknowledged, whatever a schedule of faults does to it.
#
#   bats examples/etcd/etcd.bats        SEEDS='1 2 3' of the schedules

bats_require_minimum_version 1.5.0

@test "no seed finds an acknowledged write that is lost" {
    "$BATS_TEST_DIRNAME/../make-image.sh" cthulhu-example-etcd etcd-server etcd-client >&2 ||
        { [ $? = 77 ] && skip 'etcd cannot be had here as a package of Debian or Ubuntu'; }
    for seed in ${SEEDS:-1 2}; do
        run -0 cthulhu run -n 3 -i cthulhu-example-etcd --port 2379 --config "$BATS_TEST_DIRNAME/conf" -e ETCD_UNSUPPORTED_ARCH=arm64 \
            --node-command 'etcd --config-file /opt/app/etc/etcd.yaml' --ready-cmd 'etcdctl endpoint health' \
            --role-in-node 'leader=etcdctl --command-timeout=1s endpoint status --cluster | grep ", true, " | cut -d/ -f3 | cut -d: -f1' \
            --nemesis "seed:$seed" --every 3s --for 12s --quiet 4s -- \
            cthulhu workload --model set --processes 3 -- "$BATS_TEST_DIRNAME/client.py"
        echo "# seed $seed: $(grep '^good' <<< "$output")" >&3
    done
}
