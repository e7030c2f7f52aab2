"""Trials that stay in their file, and are read when a batch needs them, so that a data set may exceed memory."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from spiketrain.data.archive import arrays_in
from spiketrain.data.stored import Stored, StoredFile
from spiketrain.errors import DataError, ShapeError


class OnDisk:
    """Some trials of one split in an `.npz`. A copy that is sent to another process opens the file there.

    Args:
        path: the file.
        split: `train`, `test` or `validation`.

    Attributes:
        rows: the trials, by their places in the file.

    Raises:
        DataError: the file is missing, damaged or compressed, or an array is missing or not as it has to be.
    """

    REMEDY = ""

    def __init__(self, path: str | os.PathLike, split: str):
        self.path, self.split = Path(path).absolute(), split
        self._file = StoredFile(self.path, self.REMEDY)
        self.rows = np.arange(self._opened())

    def _open(self, arrays: Mapping[str, Stored]) -> int:
        """Take what belongs to the split, and return its number of trials."""
        raise NotImplementedError

    def _opened(self) -> int:
        arrays = arrays_in(self._file, self.REMEDY)
        try:
            return self._open(arrays)
        except KeyError as error:
            raise DataError(f"{self.path} lacks {error.args[0]}. {self.REMEDY}") from None
        except (DataError, ShapeError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{self.path}, arrays of {self.split}: {error}") from None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name in ("path", "split", "rows", "_file")}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._opened()

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Any) -> Self:
        """Return the trials at `rows` (integers, a mask or a slice), in that order; none is read."""
        return self._with(rows=self.rows[rows])

    def _with(self, **changed: Any) -> Self:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__ | changed)
        return other
