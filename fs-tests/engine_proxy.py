#!/usr/bin/env python3
"""A socket in front of an engine's, whose behaviour can be switched.

usage: engine_proxy.py SOCKET ENGINE_SOCKET CONTROL

SOCKET is the path of a unix socket, or `tcp`: then a free port of 127.0.0.1 is taken, and stands in CONTROL.port.

Every line written to the FIFO CONTROL is a mode; once it is in force, its name stands in CONTROL.mode.

pass     everything goes through
silent   connections are taken and held open; nothing goes through, until the mode changes, then all of it does
closed   open connections are broken, new ones are closed at once
refused  open connections are broken, and nobody listens any more; the socket's file stays
gone     the same, and the file is gone too
warns    everything goes through, and the engine warns of something at each creation of a container
discards the same; it warns that it has discarded a limit
nolog    as pass, but a container whose log driver is named is refused
broken   as pass, but open log streams get an error of the engine's own, and end
"""
import json
import os
import re
import socket
import struct
import sys
import threading

WARNINGS = {
    "warns": "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.",
    "discards": "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
}


def warned(answer, warning):
    """The engine's answer to the creation of a container, with that warning; any other as it is. None: it is not whole."""
    if not answer.startswith(b"HTTP/1.1 201"):
        return answer
    head, found, body = answer.partition(b"\r\n\r\n")
    fields = [line.split(b":", 1) for line in head.split(b"\r\n")[1:]]
    length = next((int(value) for name, value in fields if name.lower() == b"content-length"), None)
    if not found or (length is not None and len(body) < length):
        return None
    if length is None or b'"Warnings"' not in body:
        return answer
    body = json.dumps({**json.loads(body), "Warnings": [warning]}).encode()
    kept = [b":".join(field) for field in fields if field[0].lower() != b"content-length"]
    return b"\r\n".join([answer.split(b"\r\n", 1)[0], *kept, b"Content-Length: %d" % len(body), b"", body])


class Proxy:
    def __init__(self, path, engine, control):
        self.path, self.engine, self.control = path, engine, control
        self.mode = "pass"
        self.changed = threading.Condition()
        self.listener = None
        self.open = set()
        self.logs = set()

    def listen(self):
        if self.path == "tcp":
            self.listener = socket.socket(socket.AF_INET)
            self.listener.bind(("127.0.0.1", 0))
            with open(self.control + ".port", "w") as file:
                file.write(f"{self.listener.getsockname()[1]}\n")
        else:
            if os.path.exists(self.path):
                os.unlink(self.path)
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(self.path)
        self.listener.listen(128)
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def accept(self, listener):
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            with self.changed:
                if self.mode in ("closed", "refused", "gone"):
                    near.close()
                    continue
                far = socket.socket(socket.AF_UNIX)
                far.connect(self.engine)
                self.open |= {near, far}
            threading.Thread(target=self.pump, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self.pump, args=(far, near), daemon=True).start()

    def pump(self, source, sink, is_request=False):
        held = b""
        try:
            if is_request and not self.pass_on(*self.request(source), source, sink):
                return
            while True:
                data = source.recv(1 << 16)
                with self.changed:
                    self.changed.wait_for(lambda: self.mode != "silent")
                    warning = WARNINGS.get(self.mode)
                if not data:
                    sink.sendall(held)
                    sink.shutdown(socket.SHUT_WR)
                    return
                if warning:
                    held += data
                    data = warned(held, warning)
                    if data is None:
                        continue
                    held = b""
                sink.sendall(data)
        except OSError:
            self.cut(source, sink)

    def request(self, source):
        """The first request of a connection: its head and what has come of its body, all of it where a container is created."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = source.recv(1 << 16)
            if not piece:
                raise OSError("it ended before its request")
            data += piece
        head, body = data.split(b"\r\n\r\n", 1)
        length = b"/containers/create" in head and re.search(rb"(?i)content-length: *(\d+)", head)
        while length and len(body) < int(length[1]):
            piece = source.recv(1 << 16)
            if not piece:
                break
            body += piece
        return head, body

    def pass_on(self, head, body, near, far):
        """Sends a request on, unless this answers it."""
        with self.changed:
            self.changed.wait_for(lambda: self.mode != "silent")
            mode = self.mode
            if re.match(rb"GET [^ ]*/logs\?", head):
                self.logs.add(near)
        if mode == "nolog" and b"/containers/create" in head and b'"LogConfig":{' in body:
            why = b'{"message":"logger: no log driver of that name is registered"}'
            near.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n"
                         b"Content-Length: %d\r\n\r\n%s" % (len(why), why))
            self.cut(near, far)
            return False
        far.sendall(head + b"\r\n\r\n" + body)
        return True

    def break_logs(self):
        """Ends log streams as the engine does that cannot read a log any more. They must be idle: this goes between chunks."""
        why = b"Error grabbing logs: a test\n"
        frame = struct.pack(">BxxxI", 3, len(why)) + why
        for near in self.logs & self.open:
            near.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(frame), frame))
            self.cut(near)
        self.logs.clear()

    def cut(self, *sockets):
        for one in sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()
            self.open.discard(one)

    def switch(self, mode):
        with self.changed:
            self.mode = mode
            self.changed.notify_all()
            if mode in ("closed", "refused", "gone"):
                self.cut(*list(self.open))
            if mode == "broken":
                self.break_logs()
            if mode in ("refused", "gone") and self.listener:
                # close() alone leaves an accept() that waits in another thread to go on.
                self.listener.shutdown(socket.SHUT_RDWR)
                self.listener.close()
                self.listener = None
            if mode == "gone" and os.path.exists(self.path):
                os.unlink(self.path)
            if mode not in ("refused", "gone") and not self.listener:
                self.listen()


def main(path, engine, control):
    proxy = Proxy(path, engine, control)
    if not os.path.exists(control):
        os.mkfifo(control)
    mode = "pass"
    while True:
        proxy.switch(mode)
        with open(control + ".new", "w") as file:
            file.write(mode + "\n")
        os.rename(control + ".new", control + ".mode")
        with open(control) as file:
            mode = file.read().split()[-1]


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
