"""The engine as its raw API: HTTP over the socket that DOCKER_HOST names, one connection kept alive."""
import http.client
import json
import os
import socket
from urllib.parse import quote, urlsplit

HOST = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"


class Engine(http.client.HTTPConnection):
    """One connection. Each thread needs its own."""

    def __init__(self):
        address = urlsplit(HOST)
        super().__init__(address.hostname or "docker", address.port, timeout=300)
        self.path = address.path if address.scheme == "unix" else None

    def connect(self):
        if self.path is None:
            return super().connect()
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def ask(self, method, path, body=None):
        """The decoded answer. What the engine refuses is a RuntimeError with its own words."""
        data = None if body is None else json.dumps(body)
        self.request(method, path, data, {"Content-Type": "application/json"} if data else {})
        response = self.getresponse()
        text = response.read().decode()
        if response.status >= 400:
            raise RuntimeError(f"{method} {path}: {response.status} {text.strip()}")
        return json.loads(text) if text else None

    def inspect(self, container):
        return self.ask("GET", f"/containers/{container}/json")

    def containers(self, label):
        """Ids of the running containers with a label."""
        filters = quote(json.dumps({"label": [label]}))
        return [one["Id"] for one in self.ask("GET", f"/containers/json?filters={filters}")]

    def version(self):
        return self.ask("GET", "/version")["Version"]


def keeps_count_of_endpoints(version):
    """Docker 28.1 and newer no longer count a network's endpoints, so that they can be removed at the same time."""
    return tuple(int(part) for part in version.split("+")[0].split(".")[:2]) >= (28, 1)
