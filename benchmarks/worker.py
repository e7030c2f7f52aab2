"""What a worker process does: prepare once, then run whenever the parent says so, and say how long it took.

Needs nothing but Python, since it runs in the environment of every peer.
"""

import importlib.metadata
import json
import sys
import time
from collections.abc import Callable
from typing import Any

Round = Callable[[], dict[str, Any]]


def serve(prepare: Callable[[float], Round], *packages: str) -> None:
    """Answer lines of standard input with rounds: one JSON object per line.

    Args:
        prepare: given the seconds to simulate, returns a function that runs one round and returns what it saw. A
            round may time its own loop, as `seconds`, where the library prepares every run anew.
        packages: whose versions are reported.
    """
    say = sys.stdout
    sys.stdout = sys.stderr  # a library may print what it likes
    started = time.perf_counter()
    run = prepare(float(sys.argv[1]))
    built = time.perf_counter()
    run()
    first = time.perf_counter()
    versions = {name: importlib.metadata.version(name) for name in packages}
    report = {"build_s": built - started, "first_run_s": first - built, "versions": versions}
    print(json.dumps(report), file=say, flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        seen = run()
        seen = {"seconds": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu} | seen
        print(json.dumps(seen), file=say, flush=True)
