#!/usr/bin/env python3
"""A client of cthulhu workload: adds numbers to a list of Redis, at the master that its node's Sentinel names, and reads them."""
import json
import os
import socket
import sys


def ask(address, port, *words):
    with socket.create_connection((address, port), timeout=0.5) as connection, connection.makefile("rb") as answers:
        connection.sendall(" ".join(map(str, words)).encode() + b"\r\n")
        return answer(answers)


def answer(file):
    line = file.readline().decode()
    if not line.endswith("\r\n"):
        raise OSError("the connection was closed")
    kind, text = line[0], line[1:-2]
    if kind == "-":
        raise ValueError(text)
    if kind == "*":
        return [answer(file) for _ in range(int(text))]
    return file.read(int(text) + 2)[:-2].decode() if kind == "$" else text


def do(op, key="", value=None):
    master = ask(os.environ["CTHULHU_ADDRESS"], 26379, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "example")[0]
    if op == "add":
        return ask(master, 6379, "RPUSH", f"set{key}", value) and None
    return [int(number) for number in ask(master, 6379, "LRANGE", f"set{key}", 0, -1)]


for line in sys.stdin:
    try:
        result = {"type": "ok", "value": do(**json.loads(line))}
    except ValueError as refused:
        result = {"type": "fail", "error": str(refused)}
    except OSError as error:
        result = {"type": "info", "error": str(error)}
    print(json.dumps(result), flush=True)
