"""What a suite looks like: three nodes of the built-in demo program, which tell each other that they live."""

import json
import urllib.request

import pytest
from conftest import within


def view(node, peer):
    """What a node believes of its peer, asked over its own port: up, down or unknown."""
    try:
        with urllib.request.urlopen(f"http://{node.ip}:8080/", timeout=60) as answer:
            return json.load(answer)["peers"][peer.ip]["state"]
    except OSError:  # it has just been started, and does not listen yet
        return "unknown"


def test_a_stopped_node_is_missed_and_the_others_live(cluster):
    first, second, third = cluster.nodes
    within(60, lambda: view(first, second) == "up" and view(third, second) == "up")
    second.do("stop")
    assert (first.state, second.state, third.state) == ("running", "exited", "running")
    within(60, lambda: view(first, second) == "down" and view(third, second) == "down")
    assert view(first, third) == "up"


def test_a_killed_node_comes_back_at_its_address_with_its_files(cluster):
    first, second, _ = cluster.nodes
    address, pid = second.ip, second.pid
    kept = second.path / "bindmounts/var/kept"
    kept.write_text("what was on its disk")
    second.do("kill")
    assert second.exit_code == "137"
    second.do("start")
    assert second.ip == address and second.pid != pid
    assert kept.read_text() == "what was on its disk"
    within(60, lambda: view(first, second) == "up")


def test_what_a_test_notes_has_its_place_in_the_history(cluster):
    node = cluster.nodes[0]
    cluster.note(op="write", phase="invoke", key="x", value=1)
    node.do("kill")
    cluster.note(op="write", phase="fail", key="x", value=1)
    lines = cluster.history()
    begun, failed = [line["seq"] for line in lines if line.get("test", {}).get("op") == "write"]
    death = [line["seq"] for line in lines if line.get("state", {}).get("to") == "exited"][-1]
    assert begun < death < failed


def test_what_cannot_be_done_says_why(cluster):
    node = cluster.nodes[0]
    node.do("stop")
    with pytest.raises(RuntimeError, match="not running"):
        node.do("kill")
