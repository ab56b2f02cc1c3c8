#!/bin/sh
# What a node runs: a Sentinel beside its server, whose end is the node's.
redis-sentinel /opt/app/etc/sentinel.conf &
# A Sentinel asks a replica every ten seconds what it is: too seldom for a test. Redis 6 does not know these commands.
(sleep 1 && for period in info-period publish-period; do redis-cli -p 26379 sentinel debug $period 1000; done) > /dev/null &
exec redis-server /opt/app/etc/redis.conf
