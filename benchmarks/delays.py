"""Learned delays: one convolution over a trial beside one product per delay and beside what XLA has."""

import statistics
from typing import Any

from benchmarks.circuits import alone

TITLES = {
    "layer": "spiketrain (`LearnedDelays`)",
    "loop": "one product per delay",
    "columns": "one product of all delays side by side",
    "conv": "`lax.conv_general_dilated`",
    "fft": "`jnp.fft.rfft`",
}


def delays(T: int, batches: list[int], sizes: list[int], longest: int, rounds: int) -> dict[str, Any]:
    """Time forward and backward of a stack of layers with learned delays, every form in every round."""
    return {"batches": [alone("delays", T, B, longest, rounds, *sizes) for B in batches]}


def table(results: dict[str, Any]) -> str:
    """Return the rounds as Markdown: medians, and medians of the ratios within a round."""
    one = results["batches"][0]
    rows = [
        f"{'-'.join(map(str, one['sizes']))}, T {one['T']}, delays up to {one['longest']} steps, forward and backward; "
        f"{len(one['seconds']['layer'])} rounds.",
        "",
        "| B | | ms | times as long | largest difference of a gradient |",
        "|---|---|---|---|---|",
    ]
    for one in results["batches"]:
        base = one["seconds"]["layer"]
        for name, title in TITLES.items():
            seconds = one["seconds"][name]
            ratio = statistics.median(a / b for a, b in zip(seconds, base, strict=True))
            ms, error = 1e3 * statistics.median(seconds), one["differences"][name]
            rows.append(f"| {one['B']} | {title} | {ms:.3g} | {ratio:.2f} | {error:.0e} |")
    return "\n".join(rows)
