"""A page that counts its visits in Redis, and answers 503 without it."""

import os
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def count():
    """Raises OSError unless Redis answers within two seconds, ValueError unless that is a number."""
    with socket.create_connection((os.environ["REDIS_HOST"], 6379), timeout=2) as redis:
        redis.sendall(b"INCR visits\r\n")
        return int(redis.recv(100).lstrip(b":"))


class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            status, text = 200, f"visit {count()}\n"
        except (OSError, ValueError) as error:
            status, text = 503, f"no database: {error}\n"
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())


ThreadingHTTPServer(("", 8000), Page).serve_forever()
