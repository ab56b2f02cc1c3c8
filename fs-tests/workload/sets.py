#!/usr/bin/env python3
"""The system of docs/workload.md: sets of numbers over HTTP. POST /k1 with a number adds it, GET /k1 lists them.

sets.py PORT [FILE]: keeps them in FILE, which it reads when it starts.
"""
import collections
import http.server
import json
import sys

sets = collections.defaultdict(list)
# Buffered: what was acknowledged last is lost with the process.
file = open(sys.argv[2], "a+") if len(sys.argv) > 2 else None
if file:
    file.seek(0)
    for line in file:
        key, number = line.split()
        sets[key].append(int(number))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(json.dumps(sets[self.path[1:]]))

    def do_POST(self):
        number = int(self.rfile.read(int(self.headers["Content-Length"])))
        if file:
            print(self.path[1:], number, file=file)
        sets[self.path[1:]].append(number)
        self.answer("")

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("", int(sys.argv[1])), Handler)
print("serving on port", server.server_address[1], flush=True)
server.serve_forever()
