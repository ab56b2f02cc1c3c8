#!/usr/bin/env python3
"""A client of cthulhu workload: a set is the keys of etcd below a prefix, at the node that is this client's."""
import base64
import json
import os
import sys
import urllib.error
import urllib.request


def etcd(call, **request):
    coded = {name: base64.b64encode(value.encode()).decode() if isinstance(value, str) else value for name, value in request.items()}
    url = f"http://{os.environ['CTHULHU_ADDRESS']}:2379/v3/kv/{call}"
    with urllib.request.urlopen(url, json.dumps(coded).encode(), timeout=1) as answer:
        return json.load(answer)


def do(op, key="", value=None):
    if op == "add":
        return etcd("put", key=f"{key}/{value}") and None
    found = etcd("range", key=f"{key}/", range_end=f"{key}0", keys_only=True).get("kvs", [])
    return [int(base64.b64decode(one["key"]).decode().split("/")[1]) for one in found]


for line in sys.stdin:
    try:
        answer = {"type": "ok", "value": do(**json.loads(line))}
    except OSError as error:
        answer = {"type": "info", "error": str(error)}
    print(json.dumps(answer), flush=True)
