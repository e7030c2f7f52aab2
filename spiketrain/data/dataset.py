"""Trials with labels, padded to one length: what every loader returns and every training run reads."""

from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from spiketrain.errors import DataError, ShapeError


class LabelledTrials(Protocol):
    """What a data set is made of: trials that can be counted and chosen from.

    They are dense in `Split` and `SplitOnDisk`, and events in `EventSplit`.
    """

    @property
    def lengths(self) -> np.ndarray:
        """The number of steps of each trial, (n,)."""

    @property
    def y(self) -> np.ndarray:
        """The labels, (n,)."""

    @property
    def shape(self) -> tuple[int, int]:
        """The number of steps T and of channels C."""

    @property
    def streams(self) -> bool:
        """Whether trials stay on disk, and are read for one batch at a time."""

    def __len__(self) -> int: ...

    def take(self, indices: Any) -> Self:
        """Return the trials at `indices`, in that order."""

    def dense(self) -> "Split":
        """Return the same trials as one dense array."""


Trials = TypeVar("Trials", bound=LabelledTrials)


@dataclass(frozen=True, eq=False)
class Split:
    """Holds n labelled trials of C channels and at most T steps.

    Args:
        x: (n, T, C), real numbers, stored as float32. Steps at and after a trial's length are padding and are
            stored as zeros, whatever they were (NaN included).
        lengths: (n,), integers from 1 to T, stored as int32.
        y: (n,), integers from 0, the labels, stored as int32.

    Raises:
        ShapeError: an array has the wrong number of axes, or the arrays disagree about n.
        DataError: an array has the wrong kind of number or a value that is not allowed, or there is no trial.
    """

    x: np.ndarray
    lengths: np.ndarray
    y: np.ndarray

    def __post_init__(self):
        x = np.asarray(self.x)
        lengths, y = checked(x, np.asarray(self.lengths), np.asarray(self.y))
        object.__setattr__(self, "x", _zero_padded(x, lengths))
        object.__setattr__(self, "lengths", lengths)
        object.__setattr__(self, "y", y)

    def __len__(self):
        return len(self.y)

    @property
    def shape(self) -> tuple[int, int]:
        """T and C."""
        return self.x.shape[1:]

    @property
    def streams(self) -> bool:
        """No: the trials are in memory."""
        return False

    def take(self, indices: Any) -> "Split":
        """Return the trials at `indices` (integers, a mask or a slice), in that order."""
        return Split(self.x[indices], self.lengths[indices], self.y[indices])

    def dense(self) -> "Split":
        """Return these trials, which are dense."""
        return self


@dataclass(frozen=True, eq=False)
class Dataset:
    """Holds splits of the same C channels and T steps, labelled with the same classes.

    Args:
        name: what the data are called in logs.
        train: the trials to learn from.
        test: the trials to report on.
        classes: the name of each label, in order.
        validation: the trials to choose by, where the data set has its own; otherwise they are drawn from `train`.

    Raises:
        ShapeError: the splits disagree about T or C.
        DataError: a label has no class.
    """

    name: str
    train: LabelledTrials
    test: LabelledTrials
    classes: tuple[str, ...]
    validation: LabelledTrials | None = None

    def __post_init__(self):
        splits = {"train": self.train, "test": self.test, "validation": self.validation}
        for name, split in splits.items():
            if split is None:
                continue
            if split.shape != self.train.shape:
                raise ShapeError(
                    f"Dataset(train=..., {name}=...) expects the same (T, C) in both splits, "
                    f"got {self.train.shape} and {split.shape}. "
                    f"Pad the shorter trials with zeros at the end and give their lengths."
                )
            if split.y.max() >= self.n_classes:
                i = int(np.argmax(split.y))
                raise DataError(
                    f"Dataset({name}=...) has label {split.y[i]} at y[{i}], "
                    f"but classes=(...) names {self.n_classes}. "
                    f"Write labels from 0 to {self.n_classes - 1}, or name every class."
                )

    @property
    def n_channels(self) -> int:
        """The number of channels C."""
        return self.train.shape[1]

    @property
    def n_steps(self) -> int:
        """The number of time steps T that every trial is padded to."""
        return self.train.shape[0]

    @property
    def n_classes(self) -> int:
        """The number of classes."""
        return len(self.classes)


def split_validation(split: Trials, fraction: float, seed: int) -> tuple[Trials, Trials | None]:
    """Hold out a share of every class for validation.

    Of a class with k trials, k * fraction are drawn, rounded to the nearest integer (a half to the even one).
    The draw is a function of `seed`, and both parts keep the order of the trials.

    Args:
        split: the trials to divide.
        fraction: the share to hold out, 0 <= fraction < 1.
        seed: a non-negative integer.

    Returns:
        The training part and the validation part; `split` itself and None if `fraction` is 0.

    Raises:
        DataError: `fraction` is outside [0, 1), selects no trial, or leaves a class without training trials.
    """
    if not 0 <= fraction < 1:
        raise DataError(f"split_validation(fraction=...) expects 0 <= fraction < 1, got {fraction}. For example, 0.1.")
    if fraction == 0:
        return split, None
    rng = np.random.default_rng(seed)
    held_out = np.zeros(len(split), bool)
    labels, counts = np.unique(split.y, return_counts=True)
    for label in labels:
        trials = rng.permutation(np.flatnonzero(split.y == label))
        n_held_out = round(len(trials) * fraction)
        if n_held_out == len(trials):
            raise DataError(
                f"split_validation(fraction={fraction}) leaves class {label} without a training trial: "
                f"it has {len(trials)} in all. Write a smaller fraction."
            )
        held_out[trials[:n_held_out]] = True
    if not held_out.any():
        raise DataError(
            f"split_validation(fraction={fraction}) selects no trial: the largest class has "
            f"{counts.max()}. Write a larger fraction, or 0 for no validation."
        )
    return split.take(~held_out), split.take(held_out)


def checked(x: np.ndarray, lengths: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return lengths and labels of the trials of x as `Split` stores them; what x holds is not looked at.

    Raises:
        ShapeError, DataError: as `Split`.
    """
    _check_shapes(x, lengths, y)
    _check_integers("lengths", lengths, 1, x.shape[1], "T")
    _check_integers("y", y, 0, np.iinfo(np.int32).max, "the largest int32")
    return lengths.astype(np.int32), y.astype(np.int32)


def _check_shapes(x: np.ndarray, lengths: np.ndarray, y: np.ndarray) -> None:
    for name, array, axes in (("x", x, ("n", "T", "C")), ("lengths", lengths, ("n",)), ("y", y, ("n",))):
        if array.ndim != len(axes):
            raise ShapeError(
                f"Split({name}=...) expects {len(axes)} axes, ({', '.join(axes)}), got shape {array.shape}."
            )
    if not len(x) == len(lengths) == len(y):
        raise ShapeError(
            f"Split(x=..., lengths=..., y=...) expects one length and one label per trial, "
            f"got {len(x)} trials, {len(lengths)} lengths and {len(y)} labels."
        )
    if x.size == 0:
        raise DataError(f"Split(x=...) expects at least one trial, step and channel, got shape {x.shape}.")


def _check_integers(name: str, array: np.ndarray, low: int, high: int, high_name: str) -> None:
    if array.dtype.kind not in "iu":
        raise DataError(f"Split({name}=...) expects integers, got dtype {array.dtype}. Write {name}.astype(np.int32).")
    bad = np.flatnonzero((array < low) | (array > high))
    if len(bad):
        raise DataError(
            f"Split({name}=...) expects values from {low} to {high} ({high_name}), "
            f"got {array[bad[0]]} at {name}[{bad[0]}]."
        )


def _zero_padded(x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    if x.dtype.kind not in "fiub":
        raise DataError(f"Split(x=...) expects real numbers, got dtype {x.dtype}. Write x.astype(np.float32).")
    with np.errstate(over="ignore", invalid="ignore"):
        result = x.astype(np.float32)  # always a copy: the caller's array stays as it is
    result[np.arange(x.shape[1]) >= lengths[:, None]] = 0
    bad = np.argwhere(~np.isfinite(result))
    if len(bad):
        where = tuple(bad[0].tolist())
        raise DataError(
            f"Split(x=...) expects finite float32 values up to each trial's length, "
            f"got {x[where]} at x{list(where)}. Write np.nan_to_num(x), or shorten the trial."
        )
    return result
