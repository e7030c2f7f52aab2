"""`spiketrain-runs`: table the runs of a sweep, of several, or of any folder that holds runs. Imports no JAX.

spiketrain-runs runs/vowels/sweep_2026-01-31_12-00-00
spiketrain-runs runs --metric validation/loss --metric test/accuracy --csv runs.csv --picture runs.png
"""

import argparse
import math
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from spiketrain.cli.common import run
from spiketrain.errors import ConfigError
from spiketrain.training.recorded import Run, find_runs
from spiketrain.training.runs_table import DEFAULT_METRICS, Row, Spread, Table, as_json, shown, tabulate, write_csv


def command() -> None:
    """Entry point of the console command."""
    parser = argparse.ArgumentParser(
        prog="spiketrain-runs",
        description="Table runs: a row for those that differ by their seed alone, a column for what sets rows apart.",
    )
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="runs, sweeps, or folders above them")
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        help=f"such as test/loss; may be repeated, and the first one orders the rows (default: {', '.join(DEFAULT_METRICS)})",
    )
    parser.add_argument("--csv", type=Path, help="also write the table to this file, numbers in full")
    parser.add_argument("--json", type=Path, help="also write it to this file, with the value of every seed")
    parser.add_argument("--picture", type=Path, help="also draw the first metric, as .png, .svg or .pdf")
    arguments = parser.parse_args()
    sys.exit(run(lambda: _runs(arguments)))


def _runs(arguments: argparse.Namespace) -> None:
    table = tabulate(find_runs(arguments.folders), arguments.metric)
    for path in filter(None, (arguments.csv, arguments.json)):
        path.parent.mkdir(parents=True, exist_ok=True)
    if arguments.csv:
        with arguments.csv.open("w", encoding="utf-8", newline="") as file:
            write_csv(table, file)
    if arguments.json:
        arguments.json.write_text(as_json(table) + "\n", encoding="utf-8")
    if arguments.picture:
        _draw(table, arguments.picture)
    _print(table)


def _draw(table: Table, path: Path) -> None:
    from spiketrain.training.runs_picture import draw

    try:
        draw(table, path)
    except (ImportError, ValueError) as error:  # a ValueError is an ending that matplotlib does not know
        raise ConfigError(f"--picture {path}: {error}") from error


def _print(table: Table) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=1000)  # a file or a pipe has no edge to fold a cell at
    console.print(_rich(table))
    best = table.rows[0].metrics.get(table.metrics[0]) if table.rows else None
    if best is not None:
        console.print(f"best by {table.metrics[0]} in the first row: {best.best_run}", markup=False)
    for told in [other for row in table.rows for other in row.others] + table.unreadable:
        console.print(_told(told), markup=False)
    for told in table.twice:
        console.print(f"left out, for a later run has the same settings and seed: {told.folder}", markup=False)


def _rich(table: Table) -> RichTable:
    rich = RichTable(caption="mean ± standard deviation over seeds" if _has_spread(table) else None)
    for key in table.keys:
        rich.add_column(escape(key.replace(".", ".\n")), overflow="fold")
    rich.add_column("runs", justify="right")
    for name in table.metrics:
        rich.add_column(escape(name.replace("/", "\n", 1)) + " %" * name.endswith("accuracy"), justify="right")
        rich.add_column("best", justify="right")
    for row in table.rows:
        settings = [escape(shown(row.settings[key])) if key in row.settings else "–" for key in table.keys]
        cells = [cell for name in table.metrics for cell in _cells(name, row.metrics.get(name))]
        rich.add_row(*settings, _count(row), *cells)
    return rich


def _has_spread(table: Table) -> bool:
    return any(spread.std is not None for row in table.rows for spread in row.metrics.values())


def _count(row: Row) -> str:
    """Return how many runs count, and what became of the others: `3`, or `1 of 3, 1 failed, 1 unfinished`."""
    states = [run.state for run in row.others]
    told = [f"{states.count(state)} {state}" for state in sorted(set(states))]
    n = len(row.finished)
    return ", ".join([f"{n} of {n + len(states)}" if states else str(n), *told])


def _cells(metric: str, spread: Spread | None) -> tuple[str, str]:
    """Return mean ± standard deviation, and the best value.

    An accuracy is in percent, with one decimal; a mean of another metric has the decimals of its standard deviation's
    second digit, and a single value four digits.
    """
    if spread is None:
        return "–", "–"
    scale = 100.0 if metric.endswith("accuracy") else 1.0
    mean, best = scale * spread.mean, scale * spread.best
    if spread.std is None:
        return _number(mean, scale), _number(best, scale)
    std = scale * spread.std
    digits = 1 if scale == 100.0 or std == 0 else max(0, 1 - math.floor(math.log10(std)))
    return f"{mean:.{digits}f} ± {std:.{digits}f}", _number(best, scale)


def _number(value: float, scale: float) -> str:
    return f"{value:.1f}" if scale == 100.0 else f"{value:.4g}"


def _told(run: Run) -> str:
    after = f" after step {run.step}" if run.step and run.state != "unreadable" else ""
    return f"{run.state}{after}: {run.folder}" + (f": {run.why}" if run.why else "")


if __name__ == "__main__":
    command()
