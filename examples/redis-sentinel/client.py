#!/usr/bin/env python3
"""A client of cthulhu workload: adds numbers to a list of Redis, at the master that its node's Sentinel names, and reads them."""
import json
import os
import socket
import sys


def ask(address, port, *words):
    with socket.create_connection((address, port), timeout=0.5) as connection, connection.makefile() as answers:
        connection.sendall(" ".join(map(str, words)).encode() + b"\r\n")
        return answer(answers)


def answer(lines):
    line = next(lines).strip()
    if line[0] == "-":
        raise ValueError(line)
    if line[0] == "*":
        return [answer(lines) for _ in range(int(line[1:]))]
    return next(lines).strip() if line[0] == "$" else line


def do(op, key, value=None):
    master = ask(os.environ["CTHULHU_ADDRESS"], 26379, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "example")[0]
    if op == "add":
        return ask(master, 6379, "RPUSH", key, value) and None
    return [int(number) for number in ask(master, 6379, "LRANGE", key, 0, -1)]


for line in sys.stdin:
    try:
        result = {"type": "ok", "value": do(**json.loads(line))}
    except ValueError as refused:
        result = {"type": "fail", "error": str(refused)}
    except (OSError, StopIteration) as error:
        result = {"type": "info", "error": repr(error)}
    print(json.dumps(result), flush=True)
