#!/usr/bin/env python3
"""Clients of etcd, one a node, that write all the time until SIGTERM.

    writers.py CLUSTER

Each client talks to its own node only, from this machine, and writes one key after the other, each once. What it asks and
what it is told goes into the cluster's history: a line before each write, and one when it is acknowledged ("ok") or
nobody knows what became of it ("info").
"""

import base64
import http.client
import json
import pathlib
import signal
import sys
import threading
import time
import urllib.request

cluster = pathlib.Path(sys.argv[1])
stopped = threading.Event()


def put(ip, key):
    """Raises OSError or HTTPException unless etcd acknowledges it."""
    pair = {"key": base64.b64encode(key.encode()).decode(), "value": ""}
    request = urllib.request.Request(f"http://{ip}:2379/v3/kv/put", json.dumps(pair).encode())
    with urllib.request.urlopen(request, timeout=1) as answer:
        answer.read()


def client(name, ip):
    with open(cluster / "history", "a", buffering=1) as history:
        while not stopped.is_set():
            # Never the same again, in a second run of this program either.
            key = f"key-{name}-{time.monotonic_ns()}"

            def tell(outcome):
                history.write(json.dumps({"type": outcome, "process": name, "f": "write", "value": key}) + "\n")

            tell("invoke")
            try:
                put(ip, key)
            except (OSError, http.client.HTTPException):
                tell("info")
            else:
                tell("ok")
            stopped.wait(0.05)


signal.signal(signal.SIGTERM, lambda *_: stopped.set())
nodes = json.loads((cluster / "spec.json").read_text())
threads = [threading.Thread(target=client, args=(name, node["ip"])) for name, node in nodes.items()]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
