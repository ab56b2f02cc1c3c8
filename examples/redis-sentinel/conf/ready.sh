#!/bin/sh
# Whether this node's Sentinel knows all others and a master that has both replicas, so that it could be replaced.
redis-cli -p 26379 sentinel master example | paste -sd' ' | grep -q ' flags master .* num-slaves 2 num-other-sentinels 2 ' || exit 1
master=$(redis-cli -p 26379 sentinel get-master-addr-by-name example | head -n 1)
redis-cli -h "$master" info replication | grep -q '^connected_slaves:2'
