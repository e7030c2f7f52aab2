"""Runs that differ by their seed alone are one row: mean, spread and best of its metrics, and what sets it apart."""

import csv
import dataclasses
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from spiketrain.config.registry import did_you_mean
from spiketrain.errors import ConfigError
from spiketrain.training.recorded import Run, lower_is_better

DEFAULT_METRICS = ("validation/accuracy", "test/accuracy")


@dataclass(frozen=True)
class Spread:
    """A metric over the seeds of a row: one value each, their mean, their sample standard deviation, the best run."""

    values: dict[Any, float]
    mean: float
    std: float | None
    best: float
    best_run: Path


@dataclass(frozen=True)
class Row:
    """The runs of one setting: those that count, those that do not, and each metric over the seeds."""

    settings: dict[str, Any]
    finished: list[Run]
    others: list[Run]
    metrics: dict[str, Spread]


@dataclass(frozen=True)
class Table:
    """Rows, the best by the first metric first, and the keys in which they differ.

    `twice` are runs that do not count, because a later one has the same settings and the same seed.
    """

    metrics: list[str]
    keys: list[str]
    rows: list[Row]
    unreadable: list[Run]
    twice: list[Run]


def tabulate(runs: Sequence[Run], metrics: Sequence[str] = ()) -> Table:
    """Return the table of some runs.

    The standard deviation is that of a sample, `sqrt(sum((x - mean)^2) / (n - 1))`, and there is none for one seed.

    Args:
        runs: as `find_runs` returns them; of two with the same settings and seed, the later one counts.
        metrics: which to show; the first one orders the rows. Accuracies unless they are given.

    Raises:
        ConfigError: no finished run has such a metric.
    """
    known = sorted({name for run in runs for name in run.metrics})
    for name in metrics:
        if known and name not in known:
            raise ConfigError(f"--metric {name}: no run has it.{did_you_mean(name, known)}")
    wanted = list(metrics) or [name for name in DEFAULT_METRICS if name in known] or list(DEFAULT_METRICS[:1])
    groups: dict[str, dict[Any, Run]] = {}
    twice = []
    for run in runs:
        if run.state != "unreadable":
            settings = {key: value for key, value in run.settings.items() if key != "seed"}
            group = groups.setdefault(repr(sorted(settings.items())), {})
            seed = repr(run.settings.get("seed"))
            if seed in group:
                twice.append(group.pop(seed))
            group[seed] = run
    rows = [_row(list(group.values()), wanted) for group in groups.values()]
    rows.sort(key=lambda row: _rank(row, wanted[0]))
    return Table(wanted, differences([row.settings for row in rows]), rows, _unreadable(runs), twice)


def differences(settings: Sequence[dict[str, Any]]) -> list[str]:
    """Return the keys in which settings differ, and among those that only some have, the ones that vary there.

    What comes with a choice, such as the time constants of one kind of neuron, is said by the choice.
    """
    keys = list(dict.fromkeys(key for one in settings for key in one))
    values = {key: {repr(one[key]) for one in settings if key in one} for key in keys}
    varying = [key for key in keys if len(values[key]) > 1]
    told_apart = {repr([one.get(key) for key in varying]) for one in settings}
    if len(told_apart) == len(settings):
        return varying
    return [key for key in keys if len(values[key]) > 1 or not all(key in one for one in settings)]


def write_csv(table: Table, file: TextIO) -> None:
    """Write a line per row, with numbers as they are."""
    writer = csv.writer(file, lineterminator="\n")
    columns = [f"{name} {of}" for name in table.metrics for of in ("mean", "std", "n", "best", "best run")]
    writer.writerow([*table.keys, "finished", "runs", *columns])
    for row in table.rows:
        cells: list[Any] = [shown(row.settings[key]) if key in row.settings else "" for key in table.keys]
        cells += [len(row.finished), len(row.finished) + len(row.others)]
        for name in table.metrics:
            s = row.metrics.get(name)
            cells += ["", "", 0, "", ""] if s is None else [s.mean, s.std, len(s.values), s.best, s.best_run]
        writer.writerow(cells)


def as_json(table: Table) -> str:
    """Return the table, with every value of every seed, as JSON."""
    rows = [
        {
            "settings": {key: row.settings[key] for key in table.keys if key in row.settings},
            "metrics": {name: dataclasses.asdict(spread) for name, spread in row.metrics.items()},
            "finished": [run.folder for run in row.finished],
            "others": [_not_finished(run) for run in row.others],
        }
        for row in table.rows
    ]
    aside = {"unreadable": [_not_finished(run) for run in table.unreadable], "twice": [r.folder for r in table.twice]}
    whole = {"metrics": table.metrics, "differences": table.keys, "rows": rows, **aside}
    return json.dumps(whole, indent=1, default=str, skipkeys=True)


def shown(setting: Any) -> str:
    """Return a setting as the command line takes it."""
    return setting if isinstance(setting, str) else json.dumps(setting, default=str, skipkeys=True)


def _row(runs: list[Run], metrics: Sequence[str]) -> Row:
    finished = [run for run in runs if run.state == "finished"]
    spreads = {name: _spread(finished, name) for name in metrics if any(name in run.metrics for run in finished)}
    settings = {key: value for key, value in runs[0].settings.items() if key != "seed"}
    return Row(settings, finished, [run for run in runs if run.state != "finished"], spreads)


def _spread(runs: Sequence[Run], metric: str) -> Spread:
    measured = [run for run in runs if metric in run.metrics]
    values = {_plain(run.settings.get("seed")): run.metrics[metric] for run in measured}
    choose = min if lower_is_better(metric) else max
    best = choose(measured, key=lambda run: run.metrics[metric])
    std = statistics.stdev(values.values()) if len(values) > 1 else None
    return Spread(values, statistics.fmean(values.values()), std, best.metrics[metric], best.folder)


def _rank(row: Row, metric: str) -> tuple[bool, float]:
    if metric not in row.metrics:
        return True, 0.0
    mean = row.metrics[metric].mean
    return False, mean if lower_is_better(metric) else -mean


def _unreadable(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.state == "unreadable"]


def _not_finished(run: Run) -> dict[str, Any]:
    return {"folder": run.folder, "state": run.state, "step": run.step, "why": run.why}


def _plain(seed: Any) -> Any:
    return seed if isinstance(seed, int | str) else repr(seed)
