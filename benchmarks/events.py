"""Training from files in the layout of the Spiking Heidelberg Digits: the memory of events beside that of dense trains."""

from typing import Any

from benchmarks.circuits import alone

SIDES = {"memory": "events in memory", "stream": "events in their file (`stream`)", "dense": "dense trains"}


def events(trials: int, per_trial: int) -> dict[str, Any]:
    """Read and train in a process for each way of holding the data."""
    return alone("events", trials, per_trial)


def table(results: dict[str, Any]) -> str:
    """Return the peaks as Markdown."""
    sides, steps = results["sides"], results["sides"]["memory"]["time_steps"]
    dense = results["trials"] * steps * results["channels"] * 4 / 1e6
    rows = [
        f"{results['trials']:,} trials of {results['per_trial']:,} events, in files of {results['file_mb']:,.0f} MB; as "
        f"dense trains of {steps} steps of {results['channels']} channels {dense:,.0f} MB.",
        "",
        "| peak memory | reading | reading and an epoch |",
        "|---|---|---|",
        f"| events in memory, parsed for the first time | {sides['first']['reading_mb']:,.0f} MB | |",
    ]
    for name, title in SIDES.items():
        side = sides[name]
        rows.append(f"| {title} | {side['reading_mb']:,.0f} MB | {side['training_mb']:,.0f} MB |")
    return "\n".join(rows)
