#!/usr/bin/env python3
"""A client of every model of `cthulhu workload`: keeps all keys in the JSON file STORE, which a lock protects.

MISBEHAVE=WHAT:N makes it do something wrong with every Nth operation of all clients: see below.
"""
import fcntl
import json
import os
import signal
import sys
import time

STORE = os.environ["STORE"]
WHAT, _, EVERY = os.environ.get("MISBEHAVE", ":0").partition(":")


def do(op, store):
    key, value = op["key"], op.get("value")
    if op["op"] == "init":
        store[key] = value
    elif op["op"] == "write":
        store[key] = value
    elif op["op"] == "cas":
        if store.get(key) != value[0]:
            return {"type": "fail", "error": "another value"}
        store[key] = value[1]
    elif op["op"] in ("add", "enqueue", "append"):
        store.setdefault(key, []).append(value)
    elif op["op"] == "inc":
        store[key] = store.get(key, 0) + 1
        return {"type": "ok", "value": store[key]}
    elif op["op"] == "dequeue":
        return {"type": "ok", "value": store[key].pop(0) if store.get(key) else None}
    elif op["op"] == "drain":
        return {"type": "ok", "value": store.pop(key, [])}
    elif op["op"] == "transfer":
        store[key][value["from"]] -= value["amount"]
        store[key][value["to"]] += value["amount"]
    else:
        nothing = {"register": None, "monotonic": 0}.get(os.environ.get("MODEL"), [])
        return {"type": "ok", "value": store.get(key, nothing)}
    return {"type": "ok"}


def misbehave(answer):
    """Returns what to answer with; None for nothing."""
    if WHAT == "hang":
        # Not alone: what it has started must go with it.
        os.spawnlp(os.P_NOWAIT, "sleep", "sleep", os.environ["SLEEP"])
        time.sleep(1000)
    if WHAT == "die":
        sys.exit(7)
    if WHAT == "kill":
        os.kill(os.getpid(), signal.SIGUSR1)
    if WHAT == "half":
        print(answer[:7], end="", flush=True)
        sys.exit(0)
    if WHAT == "close":
        os.close(1)
        time.sleep(1000)
    return {
        "nonsense": "done!",
        "type": '{"type":"okay"}',
        "twice": answer + "\n" + answer,
        "long": '{"type":"ok","value":"' + "x" * 4_000_000 + '"}',
        "binary": "\x1b[2J\x00\udcff",
        "fail": '{"type":"fail","error":"no leader"}',
        "info": '{"type":"info","error":"connection reset"}',
    }.get(WHAT, answer)


if WHAT == "stubborn":
    for number in signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE:
        signal.signal(number, signal.SIG_IGN)
sys.stdout.reconfigure(errors="surrogateescape")
for line in sys.stdin:
    op = json.loads(line)
    with open(STORE, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        store = json.loads(file.read() or '{"count":0}')
        store["count"] += 1
        bad = int(EVERY) and store["count"] % int(EVERY) == 0
        lost = bad and WHAT in ("lose", "fail")
        answer = '{"type":"ok"}' if lost else json.dumps(do(op, store))
        file.truncate(0)
        file.write(json.dumps(store))
    if bad:
        answer = misbehave(answer)
    print(answer, flush=True)
while WHAT == "stubborn":
    time.sleep(1000)
