"""Trials in a user's own `.npz`, read as data only: nothing in the file is ever unpickled."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from spiketrain.data.archive import map_arrays, read_arrays
from spiketrain.data.dataset import Dataset, LabelledTrials, Split
from spiketrain.data.split_on_disk import SplitOnDisk
from spiketrain.errors import DataError, ShapeError

REQUIRED = ("x_train", "y_train", "x_test", "y_test")
OPTIONAL = ("lengths_train", "lengths_test")


def load_npz(path: str, stream: bool = False) -> Dataset:
    """Load a data set that `np.savez(path, x_train=..., y_train=..., x_test=..., y_test=...)` wrote.

    `x_train` and `x_test` are (n, T, C) real numbers with the same T and C; `y_train` and `y_test` are (n,)
    integers from 0, and every class has a training trial. `lengths_train` and `lengths_test`, (n,) integers,
    may say where the padding of each trial begins; without them all trials have T steps. The data set takes
    the file's name.

    Args:
        path: the file.
        stream: whether `x_train` and `x_test` stay in the file, and are read for one batch at a time; see `docs/data.md`.

    Raises:
        DataError: the file is missing or damaged, or an array is missing, unknown or not as above.
    """
    remedy = f"Write it again with np.savez(path, {', '.join(f'{name}=...' for name in REQUIRED)})."
    arrays = map_arrays(path, remedy) if stream else read_arrays(path, remedy)
    missing = [name for name in REQUIRED if name not in arrays]
    unknown = [name for name in arrays if name not in REQUIRED + OPTIONAL]
    if missing or unknown:
        problem = f"lacks {', '.join(missing)}" if missing else f"holds unknown arrays: {', '.join(unknown)}"
        raise DataError(
            f"{path} {problem}. It has {', '.join(arrays) or 'no arrays'}; write {', '.join(REQUIRED)} and, "
            f"for trials of different lengths, {', '.join(OPTIONAL)}."
        )
    train: LabelledTrials
    test: LabelledTrials
    if stream:
        train, test = SplitOnDisk(path, "train"), SplitOnDisk(path, "test")
    else:
        train, test = _split(path, arrays, "train"), _split(path, arrays, "test")
    labels = np.unique(train.y)
    n_classes = len(labels)
    gaps = np.flatnonzero(labels != np.arange(n_classes))
    if len(gaps):
        raise DataError(
            f"{path}: y_train has label {labels[-1]} but no trial of class {gaps[0]}. "
            f"Write labels that count from 0 without gaps, for example np.unique(y, return_inverse=True)[1]."
        )
    try:
        return Dataset(Path(path).stem, train, test, tuple(str(label) for label in range(n_classes)))
    except (DataError, ShapeError) as error:
        raise DataError(f"{path}: {error}") from None


def _split(path: str, arrays: Mapping[str, np.ndarray], side: str) -> Split:
    x, y = arrays[f"x_{side}"], arrays[f"y_{side}"]
    whole = np.full(x.shape[:1], x.shape[1] if x.ndim == 3 else 0)  # Split refuses other ndim before it looks
    try:
        return Split(x, arrays.get(f"lengths_{side}", whole), y)
    except (DataError, ShapeError) as error:
        raise DataError(f"{path}, arrays x_{side}, lengths_{side} and y_{side}: {error}") from None
