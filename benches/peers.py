"""What people use today, doing what cthulhu does: compose, Docker's command line, clients of the raw API, iptables."""
import json
import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

from engine import Engine, keeps_count_of_endpoints
from setting import COMPOSE, IMAGE, LABEL, NODE, PREFIX, TMP, run

# As many containers at once as cthulhu makes.
AT_ONCE = 8


def different_services():
    """A project as people have them: 30 services in 6 groups, two networks, a volume a group, an order."""
    label, value = LABEL.split("=")
    networks = {"web": ["front"], "app": ["front", "back"], "db": ["back"], "cache": ["back"], "queue": ["back"], "worker": ["back"]}
    command = [word.replace("$", "$$") for word in NODE]
    services = {}
    for group, of_group in networks.items():
        for number in range(1, 6):
            services[f"{group}{number}"] = {
                "image": IMAGE, "pull_policy": "never", "command": command, "labels": {label: value}, "networks": of_group,
                "environment": {"GROUP": group, "NUMBER": str(number)}, "volumes": [f"{group}:/data"],
                "depends_on": [f"db{number}"] if group in ("app", "worker") else [],
            }
    labelled = {"labels": {label: value}}
    return {"services": services, "networks": {"front": labelled, "back": labelled}, "volumes": {group: labelled for group in networks}}


class Compose:
    """A project: of so many equal services in one network, or a given one."""

    def __init__(self, name, nodes=0, project=None):
        self.project = f"{PREFIX}-{name}"
        self.file = f"{TMP}/{name}.yaml"
        if project:
            with open(self.file, "w") as file:
                json.dump(project, file)
            return
        label, value = LABEL.split("=")
        # compose expands variables.
        command = [word.replace("$", "$$") for word in NODE]
        service = {"image": IMAGE, "pull_policy": "never", "command": command, "labels": {label: value}}
        with open(self.file, "w") as file:
            # JSON is YAML too.
            json.dump({
                "services": {f"n{n + 1:03}": service for n in range(nodes)},
                "networks": {"default": {"labels": {label: value}}},
            }, file)

    def __call__(self, *words):
        run(*COMPOSE, "-p", self.project, "-f", self.file, *words)

    def up(self):
        self("up", "-d")

    def down(self):
        self("down", "-v")


class Api:
    """The best that a client of its own could do: the raw API, many containers at once, one or two of them a node."""

    def __init__(self, name, nodes, containers_a_node=1):
        self.name, self.nodes, self.two = f"{PREFIX}-{name}", nodes, containers_a_node == 2
        self.own = threading.local()
        self.ids = []
        self.network = None
        self.in_turn = not keeps_count_of_endpoints(Engine().version())

    def ask(self, *request):
        if not hasattr(self.own, "engine"):
            self.own.engine = Engine()
        return self.own.engine.ask(*request)

    def make(self, name, mode):
        label, value = LABEL.split("=")
        config = {"Image": IMAGE, "Cmd": NODE, "Labels": {label: value}, "HostConfig": {"NetworkMode": mode}}
        made = self.ask("POST", f"/containers/create?name={name}", config)["Id"]
        self.ask("POST", f"/containers/{made}/start")
        return made

    def node(self, number):
        made = [self.make(f"{self.name}-{number}", self.name)]
        if self.two:
            made.append(self.make(f"{self.name}-{number}-node", f"container:{made[0]}"))
        return made

    def up(self):
        label, value = LABEL.split("=")
        self.network = self.ask("POST", "/networks/create", {"Name": self.name, "Labels": {label: value}})["Id"]
        # Their connections end with the threads.
        with ThreadPoolExecutor(AT_ONCE) as pool:
            self.ids = list(pool.map(self.node, range(self.nodes)))

    def remove(self, container):
        self.ask("DELETE", f"/containers/{container}?force=1&v=1")

    def down(self):
        nodes = [ids[1] for ids in self.ids if self.two]
        endpoints = [ids[0] for ids in self.ids]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self.remove, nodes))
        # Older engines lose count of endpoints that are removed at the same time, and keep the network then.
        with ThreadPoolExecutor(1 if self.in_turn else AT_ONCE) as pool:
            list(pool.map(self.remove, endpoints))
        self.ask("DELETE", f"/networks/{self.network}")

    def __enter__(self):
        self.up()
        return self

    def __exit__(self, *_):
        self.down()


class Firewall:
    """A partition by rules in the network namespaces of running containers, from outside with nsenter."""

    def __init__(self, containers, groups):
        """groups: indices of containers."""
        engine = Engine()
        self.peers = {}
        found = [engine.inspect(one) for one in containers]
        address = [next(iter(one["NetworkSettings"]["Networks"].values()))["IPAddress"] for one in found]
        for group in groups:
            for member in group:
                others = [address[n] for n in range(len(containers)) if n not in group]
                self.peers[found[member]["State"]["Pid"]] = others

    def one_by_one(self):
        """As a script does it: a process for each rule."""
        for pid, others in self.peers.items():
            for other in others:
                run("nsenter", "-t", str(pid), "-n", "iptables", "-A", "INPUT", "-s", other, "-j", "DROP")

    def flush(self):
        for pid in self.peers:
            run("nsenter", "-t", str(pid), "-n", "iptables", "-F", "INPUT")

    def restore(self):
        """A process for each node, with all of its rules."""
        for pid, others in self.peers.items():
            rules = "".join(f"-A INPUT -s {other} -j DROP\n" for other in others)
            run("nsenter", "-t", str(pid), "-n", "iptables-restore", input=f"*filter\n{rules}COMMIT\n")

    def restore_nothing(self):
        for pid in self.peers:
            run("nsenter", "-t", str(pid), "-n", "iptables-restore", input="*filter\nCOMMIT\n")


class Serving:
    """A program that serves a mount until it is unmounted, as a context."""

    def __init__(self, mountpoint, *words):
        self.mountpoint, self.words = mountpoint, words

    def __enter__(self):
        self.process = subprocess.Popen(self.words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while not os.path.ismount(self.mountpoint):
            try:
                self.process.wait(0.02)
            except subprocess.TimeoutExpired:
                continue
            raise RuntimeError(f"{self.words[0]}: {self.process.stderr.read().strip()}")
        return self.mountpoint

    def __exit__(self, *_):
        run("umount", self.mountpoint)
        self.process.wait()
