#!/usr/bin/env python3
"""Checks what a workload has appended to a history: operations of a process one after another, no process after an info.

Prints the number of operations that are ok, failed, unknown, and left open.
"""
import collections
import json
import sys

open_, over, counts = {}, set(), collections.Counter()
for line in open(sys.argv[1]):
    test = json.loads(line).get("test")
    if test is None:
        continue
    process, kind = test["process"], test["type"]
    assert process not in over, f"process {process} goes on after an info: {line}"
    if kind == "invoke":
        assert process not in open_, f"process {process} has begun two operations: {line}"
        open_[process] = test
    else:
        begun = open_.pop(process)
        assert (begun["f"], begun["key"]) == (test["f"], test["key"]), f"{begun} ends as {test}"
        counts[kind] += 1
        if kind == "info":
            assert test["error"], line
            over.add(process)
print(counts["ok"], counts["fail"], counts["info"], len(open_))
