#!/bin/sh
# What a node runs: a Sentinel beside its server, whose end is the node's.
redis-sentinel /opt/app/etc/sentinel.conf &
exec redis-server /opt/app/etc/redis.conf
