"""Training steps: spiketrain and its peers side by side on the same inputs and weights."""

import json
import os
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import reference, workloads
from benchmarks.environments import python_of
from benchmarks.workloads import Workload
from spiketrain.cli.startup import TUNABLES, cores

WORKERS = Path(__file__).resolve().parent / "workers"
ALLOCATORS = {"default": {}, "tuned": {"GLIBC_TUNABLES": TUNABLES}}
# The options of a row, and how far its first loss may lie from the reference, relative: ten times as far in a
# recurrent network, where a spike that rounding moves by a step moves others.
OURS: dict[str, tuple[dict[str, Any], float]] = {
    "spiketrain": ({}, 1e-4),
    "spiketrain, one device": ({"devices": 1}, 1e-4),
    "spiketrain, bf16 residual": ({"residuals": "bfloat16"}, 1e-4),
    "spiketrain, bf16 products": ({"precision": "bf16"}, 3e-2),
}
# A peer whose loop over time holds the products by default is also run layer by layer, where products stand outside.
PEERS: dict[str, dict[str, dict[str, Any]]] = {
    "spyx": {"Spyx": {}, "Spyx, by layer": {"by_layer": True}},
    "brainpy": {"brainpy.state": {}, "brainpy.state, by layer": {"by_layer": True}},
    "sparx": {"sparx": {}},
    "jaxpike": {"jaxpike": {}},
    "spikingjelly": {"SpikingJelly": {}},
    "snntorch": {"snnTorch": {}, "snnTorch, by layer": {"by_layer": True}},
    "norse": {"Norse": {}},
}
PRECISION = 1e-4  # of a peer that computes the same
ROUND_S, STEPS = 0.6, (3, 10)  # what a round aims at, and the fewest and most steps that it has
TOO_LONG_S = 10.0  # a step that takes longer is run once, and that time is said


def chosen(names: list[str], sizes: dict[str, Any], seed: int) -> list[Workload]:
    """Return the workloads of these names: the table's, or one of each where sizes are given."""
    found: list[Workload] = []
    for name in names:
        if name == "R":
            if sizes:
                raise SystemExit("The sizes of R are drawn: leave it out of --workloads where sizes are given.")
            found += workloads.random(seed)
        else:
            try:
                found += [workloads.NAMED[name](**sizes)] if sizes else workloads.DEFAULT[name]
            except (TypeError, ValueError) as error:  # a size that this workload does not have, or too few
                raise SystemExit(str(error)) from None
    return found


def rows_of(workload: Workload, peers: list[str]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return environment and options by row. One layer of neurons has no products to put anywhere."""
    rows = {row: ("spiketrain", options) for row, (options, _) in OURS.items()}
    for peer in peers:
        rows |= {row: (peer, options) for row, options in PEERS[peer].items()}
    idle = {"forward": {"by_layer", "precision", "residuals"}, "backward": {"by_layer", "precision"}}
    return {row: given for row, given in rows.items() if not idle.get(workload.kind, set()) & given[1].keys()}


def run(
    chosen: list[Workload], peers: list[str], missing: dict[str, str], rounds: int, allocators: list[str]
) -> dict[str, Any]:
    """Run every workload with these allocators, and return all rounds."""
    results: dict[str, Any] = {"rounds": rounds, "missing": missing, "workloads": []}
    peers = [peer for peer in peers if peer not in missing]
    for workload in chosen:
        print(workload.title, flush=True)
        arrays = workloads.draw(workload)
        entry = {"title": workload.title, **workload.as_dict(), "reference": reference.first(workload.kind, arrays)}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "arrays.npz"
            np.savez(path, **arrays)  # type: ignore[arg-type]
            for name in allocators:
                entry[name] = side_by_side(workload, path, rows_of(workload, peers), rounds, ALLOCATORS[name])
        results["workloads"].append(entry)
    return results


def side_by_side(
    workload: Workload, arrays: Path, rows: dict[str, Any], rounds: int, environment: dict[str, str]
) -> dict[str, Any]:
    """Run the rows of one workload in turn, each in a process that stays warm, and return what each reported."""
    found: dict[str, Any] = {}
    with ExitStack() as stack:
        workers = {}
        for row, (name, options) in rows.items():
            task = json.dumps({"workload": workload.as_dict(), "arrays": str(arrays), "options": options})
            command = [str(python_of(name)), str(WORKERS / f"train_{name}.py"), task]
            pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            own = {"JAX_NUM_CPU_DEVICES": str(options.get("devices", cores()))} if name == "spiketrain" else {}
            worker = subprocess.Popen(command, env=os.environ | environment | own, **pipes)  # type: ignore[call-overload]
            stack.enter_context(worker)
            stack.callback(worker.kill)
            found[row] = heard(worker) | {"rounds": []}
            if found[row].get("step_s", 0) > TOO_LONG_S:
                found[row]["missing"] = f"{found[row]['step_s']:.0f} s per step, run once"
            if "missing" not in found[row]:
                workers[row] = worker
            print(f"  {row}: {found[row].get('missing') or '{:.1f} ms'.format(1e3 * found[row]['step_s'])}", flush=True)
        order = list(workers)
        for nth in range(rounds):
            for row in order[nth % len(order) :] + order[: nth % len(order)]:  # no one always comes first
                if "missing" in found[row]:
                    continue
                steps = min(max(round(ROUND_S / found[row]["step_s"]), STEPS[0]), STEPS[1])
                print(steps, file=workers[row].stdin, flush=True)
                seen = heard(workers[row])
                found[row]["rounds"].append(seen)
                found[row] |= {"missing": seen["missing"]} if "missing" in seen else {}
    return found


def heard(worker: subprocess.Popen) -> dict[str, Any]:
    """Wait for what a worker says, and return that it has ended where it has: the others go on."""
    assert worker.stdout is not None
    line = worker.stdout.readline()
    return json.loads(line) if line else {"missing": "its process ended with an error", "versions": {}}
