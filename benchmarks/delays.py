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


def delays(T: int, B: int, sizes: list[int], longest: int, rounds: int) -> dict[str, Any]:
    """Time forward and backward of a stack of layers with learned delays, every form in every round."""
    return alone("delays", T, B, longest, rounds, *sizes)


def table(results: dict[str, Any]) -> str:
    """Return the rounds as Markdown: medians, and medians of the ratios within a round."""
    base = results["seconds"]["layer"]
    rows = [
        f"{'-'.join(map(str, results['sizes']))}, T {results['T']}, B {results['B']}, delays up to "
        f"{results['longest']} steps, forward and backward; {len(base)} rounds.",
        "",
        "| | ms | times as long | largest difference of a gradient |",
        "|---|---|---|---|",
    ]
    for name, title in TITLES.items():
        seconds = results["seconds"][name]
        ratio = statistics.median(a / b for a, b in zip(seconds, base, strict=True))
        ms, error = 1e3 * statistics.median(seconds), results["differences"][name]
        rows.append(f"| {title} | {ms:.3g} | {ratio:.2f} | {error:.0e} |")
    return "\n".join(rows)
