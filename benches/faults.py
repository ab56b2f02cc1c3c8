"""How long a partition takes until it is in force, and until it is over, beside what people cut networks with today."""
import shutil
from contextlib import contextmanager, nullcontext

from clusters import not_started
from peers import Api, Firewall
from setting import read, run, timed, write


@contextmanager
def partition(nodes, with_peers=True):
    """Two groups. A write returns when every sandbox has applied its rules and read them back; none of the nodes runs.

    Docker takes the nodes of the smaller group off their network, one after the other.
    """
    indices = list(range(nodes))
    groups = [indices[:nodes // 2 + 1], indices[nodes // 2 + 1:]]
    text = " | ".join(" ".join(f"i{n + 1:03}" for n in group) for group in groups)
    with not_started(nodes) as mountpoint, Api(f"cut{nodes}", nodes) if with_peers else nullcontext() as client:
        path = f"{mountpoint}/partition"

        def ours():
            cut = timed(lambda: write(path, text))
            assert read(path) == text
            return {"cut": cut, "heal": timed(lambda: write(path, "heal"))}

        sides = {"cthulhu": ours}
        if client:
            minority = [client.ids[n][0] for n in groups[1]]

            def move(how):
                for one in minority:
                    run("docker", "network", how, client.name, one)

            sides["docker network disconnect"] = lambda: {
                "cut": timed(lambda: move("disconnect")),
                "heal": timed(lambda: move("connect")),
            }
        if client and shutil.which("iptables-restore") and shutil.which("nsenter"):
            # Addresses may have changed places after docker has connected them again.
            def firewall(cut, heal):
                rules = Firewall([ids[0] for ids in client.ids], groups)
                return {"cut": timed(lambda: cut(rules)), "heal": timed(lambda: heal(rules))}

            sides["iptables"] = lambda: firewall(Firewall.one_by_one, Firewall.flush)
            sides["iptables-restore"] = lambda: firewall(Firewall.restore, Firewall.restore_nothing)
        yield [sides]
