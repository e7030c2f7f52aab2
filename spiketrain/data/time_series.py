"""Labelled time series as text: `.ts` of sktime and aeon, `.tsv` of the UCR archive."""

import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spiketrain.data.dataset import Dataset, Split
from spiketrain.data.source import LARGEST, naming, text
from spiketrain.errors import DataError

LARGEST_TEXT = 2**31
LARGEST_VALUE = float(np.finfo(np.float32).max)
FILLINGS = ("refuse", "hold", "zero")


class Series(NamedTuple):
    """Trials (T_i, C) in float64, NaN where a value is missing; the label of each; and all labels, where they are listed."""

    trials: list[np.ndarray]
    labels: list[str]
    classes: tuple[str, ...] | None


def load_ts(path: str, standardize: bool = True, missing: str = "refuse") -> Dataset:
    """Load `NAME_TRAIN.ts` and `NAME_TEST.ts`, or both as `.tsv`, from a folder; the data set is called NAME.

    Args:
        path: the folder, or one of the two files.
        standardize: whether to shift and scale each channel to mean 0 and variance 1 over the training set, in
            float64; padding stays zero.
        missing: `refuse` missing values, `hold` the value before (a leading one becomes zero), or write `zero`; after
            `standardize`, so that zero is the mean.

    Raises:
        DataError: a file is missing, ambiguous or damaged, naming the line, or has missing values that are refused.

    References: Dau et al. (2019), https://doi.org/10.1109/JAS.2019.1911747; https://www.timeseriesclassification.com.
    """
    if missing not in FILLINGS:
        raise DataError(f"load_ts(missing=...) expects one of {', '.join(FILLINGS)}, got {missing!r}.")
    train_file, test_file = _files(Path(os.path.expanduser(path)))
    read = read_ts if train_file.suffix == ".ts" else read_tsv
    train, test = read(train_file), read(test_file)
    channels = train.trials[0].shape[1]
    for file, series in ((train_file, train), (test_file, test)):
        other = next((trial.shape[1] for trial in series.trials if trial.shape[1] != channels), channels)
        if other != channels:
            raise DataError(
                f"{file}: has trials of {other} channels, and the first of {train_file.name} has {channels}."
            )
    classes = train.classes or tuple(sorted(set(train.labels), key=_as_number))
    mean, scale = _moments(train.trials) if standardize else (0.0, 1.0)
    steps = max(len(trial) for series in (train, test) for trial in series.trials)
    splits = []
    for file, series in ((train_file, train), (test_file, test)):
        unknown = sorted(set(series.labels) - set(classes))
        if unknown:
            raise DataError(f"{file}: has the label {unknown[0]}, and the training set has only {', '.join(classes)}.")
        shape = len(series.trials), steps, channels
        if (size := 8 * math.prod(shape)) > LARGEST:
            raise DataError(
                f"{file}: padded to the longest trial, of {steps} steps, its {shape[0]} trials would take {size} bytes, "
                f"more than the {LARGEST} that are read. Cut the longest."
            )
        x = np.zeros(shape)
        for i, trial in enumerate(series.trials):
            x[i, : len(trial)] = _filled((trial - mean) / scale, missing, file, i)
        lengths = np.array([len(trial) for trial in series.trials])
        with naming(file):
            splits.append(Split(x, lengths, np.array([classes.index(label) for label in series.labels])))
    return Dataset(train_file.stem.removesuffix("_TRAIN"), splits[0], splits[1], classes)


def read_ts(path: str | os.PathLike) -> Series:
    """Read a `.ts` file: after `@data`, a trial per line, channels between colons, values between commas, the label last.

    A missing value is `?` or NaN. Series with a time stamp per value, and regression targets, are refused, and so are
    trials that contradict `@dimensions`, `@equalLength` or, unless lengths differ, `@seriesLength`.

    Raises:
        DataError: naming the line.
    """
    lines = text(path, LARGEST_TEXT).splitlines()
    start, classes, said = _header(path, lines)
    trials, labels = [], []
    for n, line in enumerate(lines[start:], start + 1):
        if not line.strip() or line.startswith("#"):
            continue
        *channels, label = (part.strip() for part in line.split(":"))
        if not channels or not label:
            raise DataError(f"{path}, line {n}: expects channels and a label between colons.")
        if classes is not None and label not in classes:
            raise DataError(f"{path}, line {n}: the label {label[:40]!r} is none of {', '.join(classes)}.")
        values = [_values(path, n, channel.split(",")) for channel in channels]
        if len({len(v) for v in values}) != 1:
            raise DataError(f"{path}, line {n}: the channels have {', '.join(str(len(v)) for v in values)} values.")
        trials.append(np.stack(values, 1))
        labels.append(label)
        _require_said(path, n, said, trials[-1], trials[0])
    return _checked(path, len(lines), Series(trials, labels, classes))


def _header(path: str | os.PathLike, lines: list[str]) -> tuple[int, tuple[str, ...] | None, dict[str, str]]:
    """Return the number of the line `@data`, the classes, and the first word after each key."""
    classes, said = None, dict[str, str]()
    for n, line in enumerate(lines, 1):
        words = line.split()
        key = words[0].lower() if words else ""
        if key == "@data":
            return n, classes, said
        if key == "@timestamps" and words[1:2] == ["true"]:
            raise DataError(f"{path}, line {n}: series with a time stamp per value are not read.")
        if key == "@targetlabel" and words[1:2] == ["true"] or key == "@classlabel" and words[1:2] == ["false"]:
            raise DataError(f"{path}, line {n}: the trials have no class.")
        if key == "@classlabel":
            classes = tuple(words[2:]) or None
        if words and key[0] not in "@#":
            raise DataError(f"{path}, line {n}: expects a line that begins with @ or #, before @data.")
        said[key] = words[1].lower() if len(words) > 1 else ""
    raise DataError(f"{path} ends at line {len(lines)} without @data. It is cut short, or no .ts file.")


def _require_said(path: str | os.PathLike, n: int, said: dict[str, str], trial: np.ndarray, first: np.ndarray) -> None:
    """Refuse a trial that contradicts the header."""
    steps, channels = (str(size) for size in trial.shape)
    if said.get("@dimensions", channels) != channels:
        raise DataError(
            f"{path}, line {n}: has {channels} channels, and the header says @dimensions {said['@dimensions']}."
        )
    if said.get("@equallength") == "true" and len(trial) != len(first):
        raise DataError(
            f"{path}, line {n}: has {steps} steps and the first trial {len(first)}, and the header says @equalLength true."
        )
    # Where lengths differ no one number is right, and some writers give one all the same.
    if said.get("@equallength") != "false" and said.get("@serieslength", steps) != steps:
        raise DataError(
            f"{path}, line {n}: has {steps} steps, and the header says @seriesLength {said['@serieslength']}."
        )


def read_tsv(path: str | os.PathLike) -> Series:
    """Read a `.tsv` file of one channel: a trial per line, its label first, as many values between tabs in each.

    NaN at the end of a line is padding; elsewhere it is a missing value.

    Raises:
        DataError: naming the line.
    """
    lines = text(path, LARGEST_TEXT).splitlines()
    trials, labels, width = [], [], 0
    for n, line in enumerate(lines, 1):
        if not line.strip():
            continue
        label, *cells = line.rstrip("\n").split("\t")
        width = width or len(cells)
        if len(cells) != width:
            raise DataError(
                f"{path}, line {n}: has {len(cells)} values, and the lines before have {width}. "
                "Write NaN at the end of a trial that is shorter."
            )
        values = _values(path, n, cells)
        there = np.flatnonzero(~np.isnan(values))
        if not label.strip() or not len(there):
            raise DataError(f"{path}, line {n}: expects a label and at least one value, between tabs.")
        trials.append(values[: there[-1] + 1, None])
        labels.append(label.strip())
    return _checked(path, len(lines), Series(trials, labels, None))


def _values(path: str | os.PathLike, n: int, cells: list[str]) -> np.ndarray:
    try:
        if "_" in (joined := ",".join(cells)):  # which float takes as grouping digits
            raise ValueError(f"expects numbers without _, got {joined}")
        values = np.array([float("nan") if cell.strip() == "?" else float(cell) for cell in cells])
    except ValueError as error:
        raise DataError(f"{path}, line {n}: {str(error)[:80]}.") from None
    largest = np.nanmax(np.abs(values), initial=0)
    if largest > LARGEST_VALUE:
        raise DataError(
            f"{path}, line {n}: holds a value of size {largest}, beyond the {LARGEST_VALUE:.6g} of float32."
        )
    return values


def _checked(path: str | os.PathLike, lines: int, series: Series) -> Series:
    if not series.trials:
        raise DataError(f"{path} ends at line {lines} without a trial. It is cut short.")
    return series


def _filled(trial: np.ndarray, missing: str, file: Path, i: int) -> np.ndarray:
    """Return a trial without missing values."""
    gone = np.isnan(trial)
    if not gone.any():
        return trial
    if missing == "refuse":
        raise DataError(
            f"{file}, trial {i}: {gone.sum()} values are missing. Write `data.missing=hold` for the value before, "
            "or `data.missing=zero`."
        )
    if missing == "hold":
        before = np.maximum.accumulate(np.where(gone, -1, np.arange(len(trial))[:, None]))
        held = np.take_along_axis(trial, np.maximum(before, 0), 0)
        return np.where(before < 0, 0.0, held)
    return np.where(gone, 0.0, trial)


def _moments(trials: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    frames = np.concatenate(trials)
    there = ~np.isnan(frames)
    n = np.maximum(there.sum(0), 1)
    mean = np.where(there, frames, 0).sum(0) / n
    deviation = np.sqrt((np.where(there, frames - mean, 0) ** 2).sum(0) / n)
    return mean, np.where(deviation > 0, deviation, 1.0)


def _files(path: Path) -> tuple[Path, Path]:
    folder = path if path.is_dir() else path.parent
    stem = "*" if path.is_dir() else path.stem.removesuffix("_TRAIN").removesuffix("_TEST")
    found = [
        (train, test)
        for ending in (".ts", ".tsv")
        for train in sorted(folder.glob(f"{stem}_TRAIN{ending}"))
        if (test := train.with_name(train.name.replace("_TRAIN", "_TEST"))).is_file()
        and (path.is_dir() or path.suffix == ending)
    ]
    if len(found) != 1:
        names = ", ".join(train.name for train, _ in found) or "none"
        raise DataError(
            f"data.path={path} must name a folder with one pair of NAME_TRAIN.ts and NAME_TEST.ts, or of .tsv, or one of "
            f"its files; it has {names}. Get one from https://www.timeseriesclassification.com."
        )
    return found[0]


def _as_number(label: str) -> tuple[float, str]:
    try:
        return float(label), label
    except ValueError:
        return float("inf"), label
