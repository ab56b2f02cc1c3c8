"""How late the writes of a schedule begin. The engine is simulated, so its machine has no part in it."""
import json
import time
from contextlib import contextmanager

from setting import CTHULHU, Mounted, run


@contextmanager
def lateness(nodes, slow):
    """A seed draws an episode each tenth of a second. A start takes as long as the engine of a small machine may take."""
    with Mounted(nodes, "--host", f"simulated:?start={slow}", "--start") as mountpoint:

        def ours():
            with open(f"{mountpoint}/history") as history:
                history.seek(0, 2)
                run(CTHULHU, "nemesis", "--seed", str(time.monotonic_ns()), "--every", "100ms", "--for", "20s", "--quiet", "10ms", mountpoint)
                late = sorted(json.loads(line)["nemesis"]["late_ms"] for line in history if '"late_ms"' in line)
            return {"usual": late[len(late) * 99 // 100], "most": late[-1]}

        yield [{"cthulhu": ours}]
