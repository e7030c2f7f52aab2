"""What run folders say about their runs, read without JAX: settings, result, and how far the unfinished ones came."""

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from spiketrain.config.files import JSON_BYTES, YAML_BYTES, parse_json, parse_yaml, read_bytes
from spiketrain.errors import ConfigError

FAILURE = "error.txt"
_TAIL = 1 << 16  # bytes at the end of metrics.jsonl, in which its last line lies
_PARTS = {"checkpoints", "pictures", "profile", "tensorboard"}


@dataclass(frozen=True)
class Run:
    """One run folder.

    Args:
        folder: where it is.
        settings: every setting by its whole key, such as `optimizer.learning_rate`.
        state: `finished`, `failed`, `unfinished` (which includes one that is training now) or `unreadable`.
        metrics: of a finished run, by split and name, such as `test/accuracy`.
        step: the last step on record.
        why: what failed or cannot be read.
        members: of a finished ensemble, the metrics of each member.
    """

    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)
    state: str = "unreadable"
    metrics: dict[str, float] = field(default_factory=dict)
    step: int = 0
    why: str = ""
    members: tuple[dict[str, float], ...] = ()

    def each(self) -> list["Run"]:
        """Return the members of an ensemble as runs of one seed each, as the run itself where it is none."""
        if not self.members:
            return [self]
        first = self.settings["seed"]
        return [
            replace(self, settings=self.settings | {"seed": first + k, "ensemble": 1}, metrics=metrics, members=())
            for k, metrics in enumerate(self.members)
        ]


def find_runs(folders: Sequence[Path]) -> list[Run]:
    """Return the runs in and below folders, in the order of their paths, with numbers in the order of numbers.

    An ensemble counts as a run of each of its seeds.

    Raises:
        ConfigError: a folder is missing, or holds no run.
    """
    found: dict[Path, Run] = {}
    for folder in folders:
        paths = list(_run_folders(folder))
        if not paths:
            missing = "there is no such folder" if not folder.is_dir() else "no folder in it holds a config.yaml"
            raise ConfigError(f"{folder}: {missing}. Name a run, the folder of a sweep, or a folder above them.")
        found |= {path.resolve(): read_run(path) for path in paths}
    in_order = sorted(found.values(), key=lambda run: [_by_number(part) for part in run.folder.parts])
    return [one for run in in_order for one in run.each()]


def read_run(folder: Path) -> Run:
    """Return what one run folder says."""
    step = _last_step(folder / "metrics.jsonl")
    try:
        settings = flat(_mapping(parse_yaml(read_bytes(folder / "config.yaml", YAML_BYTES)), "config.yaml"))
        if not (folder / "result.json").exists() or (folder / FAILURE).exists():
            why = _first_line(folder / FAILURE)
            return Run(folder, settings, "failed" if why else "unfinished", step=step, why=why)
        result = _mapping(parse_json(read_bytes(folder / "result.json", JSON_BYTES)), "result.json")
        members = tuple(_metrics(_mapping(member, "a member")) for member in result.get("members", ()))
        if members and type(settings.get("seed")) is not int:
            raise ValueError("an ensemble without a seed")
        return Run(folder, settings, "finished", _metrics(result), step, members=members)
    except (OSError, ValueError, TypeError, OverflowError) as error:
        return Run(folder, step=step, why=" ".join(str(error).split()))


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one level of `a.b.c` keys."""
    settings: dict[str, Any] = {}
    for key, value in config.items():
        settings |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return settings


def differing(one: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ between two configurations, by their whole key."""
    a, b = flat(one), flat(other)
    return {key: (a.get(key), b.get(key)) for key in sorted(a | b) if a.get(key) != b.get(key)}


def lower_is_better(metric: str) -> bool:
    """Return whether the lowest value of a metric is its best: that of a loss, and of no other."""
    return metric.endswith("loss")


def _run_folders(folder: Path) -> Iterator[Path]:
    for path, folders, files in os.walk(folder):
        if "config.yaml" in files:
            yield Path(path)
            folders.clear()
        folders[:] = [name for name in folders if name not in _PARTS and not name.startswith(".")]


def _metrics(result: dict[str, Any]) -> dict[str, float]:
    return {
        f"{split}/{name}": float(value)
        for split, values in result.items()
        if isinstance(values, dict)
        for name, value in values.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


def _by_number(part: str) -> tuple[bool, int, str]:
    return (not part.isdecimal(), int(part) if part.isdecimal() else 0, part)


def _mapping(data: Any, name: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ValueError(f"{name} is no mapping")
    return data


def _first_line(path: Path) -> str:
    """Return what failed; where, the lines after it tell."""
    try:
        return " ".join(read_bytes(path, _TAIL).decode("utf-8", errors="replace").partition("\n\n")[0].split())
    except FileNotFoundError:
        return ""


def _last_step(path: Path) -> int:
    """Return the step of the last whole line of a record, which may be cut off within one."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            lines = file.read(_TAIL).splitlines()
    except OSError:
        return 0
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return 0
