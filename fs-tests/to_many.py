#!/usr/bin/env python3
"""Sends datagrams to many at once from one network namespace, and takes them in others.

usage: to_many.py DESTINATION COUNT SIZE SENDER RECEIVER=EXPECTED...

SENDER and RECEIVER are PID@ADDRESS: a process in the namespace, and the address there. Waits until each receiver has as many as
expected and nothing more comes. Prints a line a receiver: how many came, and after how many seconds the last one did.
"""
import contextlib
import ctypes
import os
import socket
import sys
import threading
import time

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
PORT = 9999
# Nothing is expected to take so long.
PATIENCE = 60
# So long without any packet, and nothing more is on its way.
QUIET = 1


@contextlib.contextmanager
def inside(pid):
    here, there = os.open("/proc/thread-self/ns/net", os.O_RDONLY), os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        if libc.setns(there, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        yield
    finally:
        libc.setns(here, CLONE_NEWNET)
        os.close(here)
        os.close(there)


def udp(end):
    pid, address = end.split("@")
    with inside(pid):
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.inet_aton(address)


def main(destination, count, size, sender, *receivers):
    group = int(destination.split(".")[0]) in range(224, 240)
    begun = time.monotonic()
    takers = []
    for receiver in receivers:
        end, expected = receiver.split("=")
        into, address = udp(end)
        into.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        into.bind(("", PORT))
        if group:
            into.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(destination) + address)
        came = []

        def take(into=into, expected=int(expected), came=came):
            with contextlib.suppress(TimeoutError):
                while True:
                    into.settimeout(PATIENCE if len(came) < expected else QUIET)
                    into.recv(65536)
                    came.append(time.monotonic() - begun)

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        takers.append((thread, came))
    out, address = udp(sender)
    out.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, address)
    out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
    begun = time.monotonic()
    for number in range(int(count)):
        out.sendto(number.to_bytes(4, "big") + bytes(int(size) - 4), (destination, PORT))
    for thread, came in takers:
        thread.join()
        print(len(came), f"{came[-1] if came else 0:.3f}")


main(*sys.argv[1:])
