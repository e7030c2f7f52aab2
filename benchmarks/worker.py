"""What a worker process does: prepare once, then run whenever the parent says so, and say how long it took.

Needs nothing but Python, since it runs in the environment of every peer. Imported first, so that it can tell how long
the other imports take.
"""

import importlib.metadata
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

STARTED = time.perf_counter()
UPDATES = 3  # before the loss is looked at again

Round = Callable[[], dict[str, Any]]
Training = tuple[Callable[[], tuple[float, list[float]]], Callable[[], float]]


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
    report = {"build_s": built - started, "first_run_s": first - built, "versions": versions(packages)}
    print(json.dumps(report), file=say, flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        seen = run()
        seen = {"seconds": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu} | seen
        print(json.dumps(seen), file=say, flush=True)


def serve_training(prepare: Callable[[dict[str, Any]], Training], *packages: str) -> None:
    """Train a workload a few steps at a time: a line of standard input says how many, one JSON object answers.

    Args:
        prepare: given the task, returns `measure()`, the first loss and the rates of the hidden layers, and `step()`,
            which makes one update, waits for it, and returns the loss before it. It raises NotImplementedError, with
            the reason, for a workload that the library cannot express.
        packages: whose versions are reported.
    """
    say = sys.stdout
    sys.stdout = sys.stderr
    report: dict[str, Any] = {"import_s": time.perf_counter() - STARTED, "versions": versions(packages)}
    try:
        measure, step = prepare(json.loads(sys.argv[1]))
        report["first_loss"], report["rates"] = measure()
        started = time.perf_counter()
        step()
        report["compile_s"] = time.perf_counter() - started
        for _ in range(UPDATES):
            started = time.perf_counter()
            report["loss_after_updates"] = step()
        report["step_s"] = time.perf_counter() - started
    except NotImplementedError as reason:
        report["missing"] = str(reason)
    print(json.dumps(report), file=say, flush=True)
    for line in sys.stdin:
        took, cpu = [], time.process_time()
        for _ in range(int(line)):
            started = time.perf_counter()
            step()
            took.append(time.perf_counter() - started)
        seen = {"seconds": statistics.median(took), "cpu_s": (time.process_time() - cpu) / len(took)}
        seen["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(seen), file=say, flush=True)


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of installed packages."""
    return {name: importlib.metadata.version(name) for name in packages}
