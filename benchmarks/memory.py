"""Training within a memory budget: what it saves, what it costs, and a trial that needs it."""

import math
import statistics
from typing import Any

from benchmarks.circuits import alone

PART = 1 / 8  # of the temporaries of a step without a budget


def memory(lengths: list[int], B: int, rounds: int) -> dict[str, Any]:
    """Train W1 within a budget: trials of the first length beside training without one, longer ones alone."""
    runs = [alone("memory", T, B, PART, 0 if n else rounds) for n, T in enumerate(lengths)]
    for run in runs:
        whole, pieces = run["whole"].get("losses"), run["pieces"]["losses"]
        if whole and not all(math.isclose(a, b, rel_tol=1e-3) for a, b in zip(whole, pieces, strict=True)):
            raise SystemExit(f"The losses of T {run['T']} in pieces, {pieces}, are not those of whole trials, {whole}.")
    return {"part": PART, "rounds": rounds, "runs": runs}


def table(results: dict[str, Any]) -> str:
    """Return the runs as Markdown: medians, and medians of the ratios within a round."""
    rows = [
        "| | temporaries | budget | pieces of | s per step | times as long | CPU | first loss | loss after 3 updates |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for run in results["runs"]:
        title = f"T {run['T']:,}, B {run['B']}"
        rows.append(row(f"{title}, whole trials", run["whole"], run["whole"], ""))
        rows.append(row(f"{title}, within a budget", run["pieces"], run["whole"], f"{run['budget_mb']:.1f} MB"))
    return "\n".join(rows)


def row(title: str, side: dict[str, Any], base: dict[str, Any], budget: str) -> str:
    """Return one row, against `base` where that was run."""
    cells = [title, f"{side['temporaries_mb']:,.1f} MB", budget]
    if "rounds" not in side:
        return f"| {' | '.join([*cells, '', 'compiled, not run', '', '', '', ''])} |"
    cells.append(f"{side['piece_steps']} steps" if side["piece_steps"] else "")
    cells.append(f"{statistics.median(r['seconds'] for r in side['rounds']):.2f}")
    for what in ("seconds", "cpu_s"):
        ratios = [a[what] / b[what] for a, b in zip(side["rounds"], base.get("rounds", []), strict=False)]
        cells.append(f"{statistics.median(ratios):.2f}" if ratios else "")
    return f"| {' | '.join(cells)} | {side['losses'][0]:.4f} | {side['losses'][-1]:.4f} |"
