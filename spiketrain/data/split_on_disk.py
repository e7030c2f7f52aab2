"""Dense trials that stay in their file until a batch needs them."""

from collections.abc import Mapping

import numpy as np

from spiketrain.data.dataset import Split, checked
from spiketrain.data.on_disk import OnDisk
from spiketrain.data.stored import Stored
from spiketrain.errors import DataError


class SplitOnDisk(OnDisk):
    """Trials of one split in a file as `load_npz` reads it, in the place of `Split`.

    Labels and lengths are in memory, and of `x` those trials that are asked for, by `dense`. Arguments and errors are
    those of `OnDisk`.
    """

    REMEDY = "Write it with np.savez, not compressed."

    def _open(self, arrays: Mapping[str, Stored]) -> int:
        self._x, y = arrays[f"x_{self.split}"], np.asarray(arrays[f"y_{self.split}"])
        n, steps = (*self._x.shape, 0, 0)[:2]
        lengths = np.asarray(arrays.get(f"lengths_{self.split}", np.full(n, steps)))
        of_this_shape = np.broadcast_to(np.zeros((), self._x.dtype), self._x.shape)
        self._lengths, self._y = checked(of_this_shape, lengths, y)
        return n

    @property
    def streams(self) -> bool:
        """Yes: trials are read for one batch at a time."""
        return True

    @property
    def lengths(self) -> np.ndarray:
        """The number of steps of each trial, (n,)."""
        return self._lengths[self.rows]

    @property
    def y(self) -> np.ndarray:
        """The labels, (n,)."""
        return self._y[self.rows]

    @property
    def shape(self) -> tuple[int, int]:
        """T and C."""
        _, steps, channels = self._x.shape
        return steps, channels

    def dense(self) -> Split:
        """Read these trials.

        Raises:
            DataError: they are not as `Split` needs them, or the file was written since it was opened.
        """
        x = self._x.rows(self.rows, self.rows + 1)
        try:
            return Split(x, self.lengths, self.y)
        except DataError as error:
            raise DataError(
                f"{self.path}, array x_{self.split}, among the {len(self)} trials from {self.rows.min()}: {error}"
            ) from None
