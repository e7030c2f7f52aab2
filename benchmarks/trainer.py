"""What a run takes besides its optimizer steps: evaluation, logging, checkpoints, and the trainer itself."""

import statistics
from typing import Any

from benchmarks.circuits import alone

ZERO = {"seconds": 0.0, "cpu_s": 0.0, "compile_s": 0.0}
PARTS = {
    "evaluation": "evaluation on the validation split",
    "logging": "metrics.jsonl, TensorBoard, the bar",
    "checkpoints": "checkpoints, as far as training waits for them",
    "callbacks": "callbacks",
}


def trainer(experiment: str, rounds: int) -> dict[str, Any]:
    """Run an experiment by its command, beside its steps alone, and with a clock around each part of the rest."""
    return alone("trainer", experiment, rounds)


def table(results: dict[str, Any]) -> str:
    """Return the rounds as Markdown: medians, and medians of the parts of a run within a round."""
    rounds, steps = results["rounds"], results["last"] - results["first"]
    lines = ["| | s | of the run | CPU s | of the run's |", "|---|---|---|---|---|"]
    whole, besides = [r["run"] for r in rounds], [difference(r["run"], r["steps"]) for r in rounds]
    lines.append(row(f"steps {results['first'] + 1} to {results['last']} of a run", whole, whole))
    lines.append(row("the same in a process that has just begun", [results["cold"]], [results["cold"]]))
    lines.append(row(f"{steps:,} jitted steps alone", [r["steps"] for r in rounds], whole))
    lines.append(row("**everything but the jitted steps**", besides, whole))
    clocked = [r["parts"]["took"] for r in rounds]
    seen = [{name: r["parts"]["parts"].get(name, ZERO) for name in PARTS} for r in rounds]
    for name, title in PARTS.items():
        compiling = statistics.median(parts[name]["compile_s"] for parts in seen)
        compiling = f", {compiling:.2f} s of it compiling" if compiling >= 0.005 else ""
        lines.append(row(f"{title}{compiling}", [parts[name] for parts in seen], clocked))
    lines.append(row("what follows: the last checkpoint, the test set, a picture", [r["end"] for r in rounds], whole))
    return "\n".join(lines)


def difference(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    """Return how much longer one side took."""
    return {name: one[name] - other[name] for name in ("seconds", "cpu_s")}


def row(title: str, sides: list[dict[str, float]], runs: list[dict[str, float]]) -> str:
    """Return one row, whose parts are those of the run of the same round."""
    cells = [title]
    for what in ("seconds", "cpu_s"):
        part = statistics.median(a[what] / b[what] for a, b in zip(sides, runs, strict=True))
        cells += [f"{statistics.median(side[what] for side in sides):.2f}", f"{100 * part:.1f} %"]
    return f"| {' | '.join(cells)} |"
