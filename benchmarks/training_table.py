"""The tables of the training workloads, from their results file."""

import statistics
from typing import Any

from benchmarks.training import OURS, PEERS, PRECISION

FIRST = "spiketrain"  # the row that ratios are taken against
ONE = "spiketrain, one device"


def agrees(entry: dict[str, Any], report: dict[str, Any], precision: float) -> bool:
    """Return whether a first loss is the reference's."""
    goal, allowed = entry["reference"]["loss"], precision * (10 if entry["kind"] == "recurrent" else 1)
    return abs(report["first_loss"] - goal) <= allowed * goal


def refusal(entry: dict[str, Any], row: str, report: dict[str, Any]) -> str:
    """Return why no speed of this row is shown, or nothing.

    A row of spiketrain has to reproduce the first loss to the precision that it states. A peer may differ: its loss
    stands in the table.
    """
    if "missing" in report:
        return str(report["missing"])
    if row in OURS and not agrees(entry, report, OURS[row][1]):
        return f"refused: first loss {report['first_loss']:.6g}, reference {entry['reference']['loss']:.6g}"
    return ""


def milliseconds(report: dict[str, Any]) -> float:
    """Return the median over rounds of a step's time."""
    return 1e3 * statistics.median(round_["seconds"] for round_ in report["rounds"])


def ratio(reports: dict[str, Any], row: str, entry: dict[str, Any]) -> float | None:
    """Return how many times as long as spiketrain a row takes: the median of the ratios within a round."""
    if FIRST not in reports or refusal(entry, FIRST, reports[FIRST]):
        return None
    pairs = zip(reports[row]["rounds"], reports[FIRST]["rounds"], strict=True)
    return statistics.median(a["seconds"] / b["seconds"] for a, b in pairs)


def cell(entry: dict[str, Any], allocator: str, row: str) -> str:
    """Return time and ratio of a row in one workload."""
    reports = entry[allocator]
    if row not in reports or refusal(entry, row, reports[row]):
        return "-" if row not in reports else refusal(entry, row, reports[row])
    times = ratio(reports, row, entry)
    took = f"{milliseconds(reports[row]):.3g}"
    return took if times is None or row == FIRST else f"{took} ({times:.2f})"


def summary(results: dict[str, Any], allocator: str) -> str:
    """Return a row per workload: milliseconds per step, and how many times as long as spiketrain that is."""
    workloads = [entry for entry in results["workloads"] if allocator in entry]
    rows = list(dict.fromkeys(row for entry in workloads for row in entry[allocator]))
    lines = [f"| ms per step | {' | '.join(rows)} |", "|---" * (len(rows) + 1) + "|"]
    for entry in workloads:
        lines.append(f"| {entry['title']} | {' | '.join(cell(entry, allocator, row) for row in rows)} |")
    return "\n".join(lines)


def details(entry: dict[str, Any], allocator: str) -> str:
    """Return everything that was seen in one workload, a row per library."""
    goal = entry["reference"]
    lines = [
        "| | ms per step | range | times as long | CPU ms | compile | import | peak memory | first loss "
        "| loss after 3 updates | rates |",
        "|---" * 11 + "|",
        f"| reference (float64) | | | | | | | | {goal['loss']:.5f} | | {percent(goal['rates'])} |",
    ]
    reports = entry[allocator]
    for row, report in reports.items():
        version = "" if row in OURS else f" {next(iter(report['versions'].values()), '')}"
        if why := refusal(entry, row, report):
            lines.append(f"| {row}{version} | {why} |" + " |" * 9)
            continue
        took = [1e3 * round_["seconds"] for round_ in report["rounds"]]
        cpu = 1e3 * statistics.median(round_["cpu_s"] for round_ in report["rounds"])
        times, after = ratio(reports, row, entry), report["loss_after_updates"]
        lines.append(
            f"| {row}{version} | {statistics.median(took):.3g} | {min(took):.3g} to {max(took):.3g} "
            f"| {'' if times is None else f'{times:.2f}'} | {cpu:.3g} | {report['compile_s']:.1f} s "
            f"| {report['import_s']:.1f} s | {report['rounds'][-1]['peak_memory_mb']:.0f} MB | {loss(entry, report)} "
            f"| {'' if after is None else f'{after:.4f}'} | {percent(report['rates'])} |"
        )
    return "\n".join(lines)


def loss(entry: dict[str, Any], report: dict[str, Any]) -> str:
    """Return a first loss, marked where it is another one than the reference's."""
    return f"{'' if agrees(entry, report, PRECISION) else 'other: '}{report['first_loss']:.5f}"


def percent(rates: list[float]) -> str:
    """Return the spikes per step and neuron of the hidden layers."""
    return ", ".join(f"{100 * rate:.1f} %" for rate in rates)


def page(results: dict[str, Any]) -> str:
    """Return all tables, for the benchmarks' page."""
    names = {"default": "Default allocator", "tuned": "Allocator tuned, for every library"}
    parts = []
    for allocator, name in names.items():
        if any(allocator in entry for entry in results["workloads"]):
            parts += [f"**{name}**", summary(results, allocator)]
    parts += [f"{peer} is not in the table: {why}." for peer, why in results["missing"].items()]
    for entry in results["workloads"]:
        parts += [f"<details><summary>{entry['title']}</summary>", details(entry, "default"), "</details>"]
    if any(entry["name"].startswith("R") for entry in results["workloads"]):
        parts.append(f"Sizes of R1 and R2 were drawn with the seed {results['seed']}.")
    return "\n\n".join(parts)


def short(results: dict[str, Any]) -> str:
    """Return a row per workload for the main page: every library with the faster of its ways to write it."""
    libraries = {ONE: [ONE]} | {next(iter(rows)): list(rows) for rows in PEERS.values()}
    workloads = [entry for entry in results["workloads"] if "default" in entry]
    shown = [name for name, rows in libraries.items() if any(row in e["default"] for row in rows for e in workloads)]
    lines = [f"| ms per step | spiketrain | {' | '.join(shown)} |", "|---" * (len(shown) + 2) + "|"]
    for entry in workloads:
        cells = [cell(entry, "default", FIRST)]
        for name in shown:
            rows = [r for r in libraries[name] if entry["default"].get(r, {}).get("rounds")]
            fastest = min(rows, key=lambda row: milliseconds(entry["default"][row]), default=name)
            cells.append(cell(entry, "default", fastest))
        lines.append(f"| {entry['title']} | {' | '.join(cells)} |")
    return "\n".join(lines)
