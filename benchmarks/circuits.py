"""Circuits: the COBA network in several libraries, and one that is as large as a workstation holds."""

import json
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.environments import python_of

WORKERS = Path(__file__).resolve().parent / "workers"
NAMES = {"spiketrain": "spiketrain", "brainpy": "brainpy.state", "brian2": "brian2 (Cython)"}
ONE_THREAD = {"NPROC": "1"}  # what XLA takes for the number of processors


def coba(peers: list[str], rounds: int, seconds: float) -> dict[str, Any]:
    """Run spiketrain and its peers in turn, each in a process that stays warm, and return every round."""
    settings: dict[str, tuple[str, dict[str, str], list[str]]] = {}  # name, environment, arguments by row
    for name in ["spiketrain", *peers]:
        if name == "brian2":  # has one thread
            for method in ("exponential_euler", "rk2"):
                settings[f"{NAMES[name]}, {method}"] = (name, {}, [method])
        else:
            settings[f"{NAMES[name]}, one thread"] = (name, ONE_THREAD, [])
            settings[NAMES[name]] = (name, {}, [])
    results: dict[str, Any] = {"seconds": seconds, "workers": {}, "rounds": {row: [] for row in settings}}
    with ExitStack() as stack:
        workers = {}
        for row, (name, environment, arguments) in settings.items():
            command = [str(python_of(name)), str(WORKERS / f"coba_{name}.py"), str(seconds), *arguments]
            pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            worker = subprocess.Popen(command, env=os.environ | environment, **pipes)  # type: ignore[call-overload]
            stack.callback(worker.kill)
            results["workers"][row] = answer(row, worker)
            workers[row] = worker
        rows = list(settings)
        for nth in range(rounds):
            for row in rows[nth % len(rows) :] + rows[: nth % len(rows)]:  # no one always comes first
                print(file=workers[row].stdin, flush=True)
                results["rounds"][row].append(answer(row, workers[row]))
    return results


def answer(name: str, worker: subprocess.Popen) -> dict[str, Any]:
    """Wait for what a worker says."""
    assert worker.stdout is not None
    line = worker.stdout.readline()
    if not line:
        raise SystemExit(f"The process of {name} has ended; its error stands above.")
    return json.loads(line)


def coba_table(results: dict[str, Any]) -> str:
    """Return the rounds as Markdown: medians, and medians of the ratios within a round."""
    rows = [
        "| | s per simulated second | range | times as long | rate | build | first run |",
        "|---|---|---|---|---|---|---|",
    ]
    ours = [round_["seconds"] for round_ in next(iter(results["rounds"].values()))]
    for row, rounds in results["rounds"].items():
        took = [round_["seconds"] for round_ in rounds]
        ratio = statistics.median(a / b for a, b in zip(took, ours, strict=True))
        rate = statistics.median(round_["rate_hz"] for round_ in rounds)
        worker = results["workers"][row]
        version = "" if row.startswith("spiketrain") else f" {next(iter(worker['versions'].values()))}"
        rows.append(
            f"| {row}{version} | {statistics.median(took) / results['seconds']:.2f} "
            f"| {min(took) / results['seconds']:.2f} to {max(took) / results['seconds']:.2f} "
            f"| {ratio:.2f} | {rate:.1f} Hz | {worker['build_s']:.1f} s | {worker['first_run_s']:.1f} s |"
        )
    return "\n".join(rows)


def alone(worker: str, *arguments: Any) -> dict[str, Any]:
    """Run one worker in a process of its own, so that its peak memory is its own, and return what it prints."""
    command = [sys.executable, str(WORKERS / f"{worker}_spiketrain.py"), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def large_table(results: dict[str, Any]) -> str:
    """Return the run as Markdown."""
    return "\n".join(
        [
            "| neurons | synapses | build | compile | s per simulated second | rate | peak memory |",
            "|---|---|---|---|---|---|---|",
            f"| {results['neurons']:,} | {results['connections']:,} | {results['build_s']:.1f} s "
            f"| {results['compile_s']:.1f} s | {results['run_s'] / results['seconds']:.1f} | {results['rate_hz']:.1f} Hz "
            f"| {results['peak_memory_gb']:.1f} GB |",
        ]
    )


def long_table(results: dict[str, Any]) -> str:
    """Return the run as Markdown."""
    memory = results["peak_memory_gb_every_10_s"]
    return "\n".join(
        [
            "| biological time | steps | wall time | rate | peak memory after 10 s | at the end |",
            "|---|---|---|---|---|---|",
            f"| {results['seconds'] / 60:g} min | {results['steps']:,} | {results['run_s']:.0f} s "
            f"| {results['rate_hz']:.1f} Hz | {memory[min(1, len(memory) - 1)]:.3f} GB | {memory[-1]:.3f} GB |",
        ]
    )
