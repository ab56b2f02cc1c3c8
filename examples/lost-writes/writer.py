#!/usr/bin/env python3
"""A client of Redis that writes all the time until SIGTERM, with nothing but a socket.

    writer.py ADDRESS PORT LIST FILE

Appends numbers to a list, from 1 up, 200 a second. FILE gets a line for each that was answered: "ok NUMBER", or "refused
NUMBER" and the server's reason.
"""

import signal
import socket
import sys
import time

address, port, key, path = sys.argv[1:]
going_on = True


def stop(*_):
    global going_on
    going_on = False


signal.signal(signal.SIGTERM, stop)
number, due = 0, time.monotonic()
with socket.create_connection((address, int(port)), timeout=10) as connection, open(path, "w", buffering=1) as told:
    answers = connection.makefile("r", newline="\r\n")
    while going_on:
        number += 1
        connection.sendall(f"RPUSH {key} {number}\r\n".encode())
        answer = answers.readline().rstrip()
        if not answer:
            sys.exit(f"{address} closed the connection")
        told.write(f"refused {number} {answer[1:]}\n" if answer.startswith("-") else f"ok {number}\n")
        # As many in a second if some took longer.
        due = max(due + 0.005, time.monotonic() - 1)
        time.sleep(max(0, due - time.monotonic()))
