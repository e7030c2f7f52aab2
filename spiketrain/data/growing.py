"""A flat array that grows by pieces, and lies in a temporary file once it is large."""

import tempfile
from typing import Any

import numpy as np

from spiketrain.errors import DataError

SPILL = 1 << 28


class Growing:
    """Numbers of one kind, appended piece by piece within `with`; beyond `SPILL` bytes they are mapped from a file.

    Args:
        dtype: their type.
    """

    def __init__(self, dtype: Any):
        self._dtype = np.dtype(dtype)
        self._file = tempfile.SpooledTemporaryFile(SPILL)

    def __enter__(self) -> "Growing":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()  # what is mapped from it stays

    def append(self, piece: np.ndarray) -> None:
        """Append numbers.

        Raises:
            DataError: the disk of the temporary file is full.
        """
        try:
            self._file.write(piece.astype(self._dtype, copy=False).tobytes())
        except OSError as error:
            raise DataError(
                f"Events are collected in {tempfile.gettempdir()}, and cannot be: {error.strerror}. "
                "TMPDIR=FOLDER uses another folder."
            ) from None

    def array(self) -> np.ndarray:
        """Return all numbers; append none after it."""
        if self._file.tell() > SPILL:
            self._file.flush()
            return np.memmap(self._file, self._dtype, mode="r")
        self._file.seek(0)
        return np.frombuffer(bytearray(self._file.read()), self._dtype)
