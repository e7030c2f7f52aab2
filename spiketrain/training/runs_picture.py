"""The picture of a table of runs: a row per setting, a dot per seed, mean and standard deviation beside them."""

from pathlib import Path
from typing import Any

from spiketrain.training.recorded import lower_is_better
from spiketrain.training.runs_table import Row, Table, shown

_ROWS = 40  # more of them cannot be read
_BELOW = 0.3  # of a row: where the mean lies, so that it covers no seed
_BLUE, _RED = "#0072B2", "#D55E00"  # told apart without colour vision, too (Okabe and Ito)


def draw(table: Table, path: Path) -> None:
    """Write a picture of the first metric of a table, the best row on top; its ending says the format.

    Raises:
        ImportError: matplotlib is missing; the message says what to install.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Pictures need matplotlib. Install it with `pip install spiketrain[plots]`.") from error
    metric = table.metrics[0]
    rows = [row for row in table.rows if metric in row.metrics]
    drawn = rows[:_ROWS]
    figure = Figure(figsize=(7.5, 1.3 + 0.36 * max(len(drawn), 2)), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    scale = 100.0 if metric.endswith("accuracy") else 1.0
    for y, row in enumerate(drawn):
        spread = row.metrics[metric]
        values = [scale * value for value in spread.values.values()]
        ax.plot(values, [y] * len(values), "o", color=_BLUE, alpha=0.55, markersize=6, markeredgewidth=0)
        _mean(ax, scale * spread.mean, None if spread.std is None else scale * spread.std, y + _BELOW)
    ax.set_yticks([y + _BELOW / 2 for y in range(len(drawn))], [_label(table.keys, row, metric) for row in drawn])
    ax.set_ylim(max(len(drawn), 1) - 0.4, -0.6)
    unit = " (%)" if scale == 100.0 else ""
    ax.set_xlabel(f"{metric.replace('/', ' ')}{unit}, {'lower' if lower_is_better(metric) else 'higher'} is better")
    ax.grid(axis="x", color="0.9")
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.plot([], [], "o", color=_BLUE, alpha=0.55, markeredgewidth=0, label="one seed")
    ax.plot([], [], "|-", color=_RED, markersize=9, markeredgewidth=2, label="mean ± standard deviation over seeds")
    hidden = f"the best {len(drawn)} of {len(rows)} settings" if len(drawn) < len(rows) else None
    figure.legend(loc="outside upper center", ncols=2, frameon=False, title=hidden)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160)


def _mean(ax: Any, mean: float, std: float | None, y: float) -> None:
    if std is not None:
        ax.plot([mean - std, mean + std], [y, y], "-", color=_RED, linewidth=1.5)
        ax.plot([mean], [y], "|", color=_RED, markersize=9, markeredgewidth=2)


def _label(keys: list[str], row: Row, metric: str) -> str:
    """Return what sets a row apart, by the last part of each key, and how many of its seeds are drawn."""
    names = {key: key.removesuffix(".name").rpartition(".")[2] for key in keys}
    said = [f"{names[key]}={shown(row.settings[key])}" for key in keys if key in row.settings]
    n, runs = len(row.metrics[metric].values), len(row.finished) + len(row.others)
    seeds = f"{n} seed" + "s" * (n > 1) if n == runs else f"{n} of {runs} seeds"
    return ", ".join([*said, seeds])
