"""Events that stay in their file until a batch needs them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from spiketrain.data.events import Events, check_offsets, pooled_units
from spiketrain.data.on_disk import OnDisk
from spiketrain.errors import DataError, ShapeError


class EventsOnDisk(OnDisk):
    """Trials of one split in a file of `spiketrain.save_events`, in the place of `Events`.

    Labels, groups and the place of each trial are in memory, 20 to 24 bytes per trial; of the events only those that are
    asked for, by `in_memory`. Arguments and errors are those of `OnDisk`.
    """

    REMEDY = "Write it with spiketrain.save_events."

    _pools: tuple[tuple[int, ...], ...] = ()

    def _open(self, arrays: Mapping[str, np.ndarray]) -> int:
        self._times, self._units, offsets, self._labels, size = (
            arrays[f"{name}_{self.split}"] for name in ("times", "units", "offsets", "labels", "size")
        )
        self._offsets, n = np.array(offsets), len(self._labels)
        # What belongs to trials is checked as that of trials without events; events are checked when they are read.
        none, groups = np.zeros(0, int), arrays.get(f"groups_{self.split}")
        empty = Events(none, none, np.zeros(n + 1, int), self._labels, tuple(size), groups)
        self._size, self._labels, self._groups = empty.size, np.array(empty.labels), empty.groups
        self.dropped = int(arrays.get(f"dropped_{self.split}", 0))
        if self._offsets.shape != (n + 1,) or self._times.ndim != 1 or self._times.shape != self._units.shape:
            raise ShapeError("there is not one label for each trial, or not one unit for each time.")
        check_offsets(self._offsets, len(self._times))
        return n

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_pools": self._pools}

    @property
    def labels(self) -> np.ndarray:
        """The labels, (N,)."""
        return self._labels[self.rows]

    @property
    def groups(self) -> np.ndarray | None:
        """To whom or what each trial belongs, (N,), where that is known."""
        return None if self._groups is None else self._groups[self.rows]

    @property
    def size(self) -> tuple[int, ...]:
        """How the units are arranged."""
        size = self._size
        for factors in self._pools:
            size, _ = pooled_units(size, factors)
        return size

    @property
    def counts(self) -> np.ndarray:
        """The number of events of each trial, (N,)."""
        return self._offsets[self.rows + 1] - self._offsets[self.rows]

    @property
    def durations(self) -> np.ndarray:
        """The time of the last event of each trial in microseconds, (N,); -1 where a trial has none."""
        durations, some = np.full(len(self), -1), self.counts > 0
        durations[some] = self._times[self._offsets[self.rows[some] + 1] - 1]
        return durations

    def after(self, us: int) -> int:
        """Return the number of events at `us` microseconds and later."""
        late = self.rows[self.durations >= us]
        trials = (self._times[self._offsets[row] : self._offsets[row + 1]] for row in late)
        return sum(len(times) - int(np.searchsorted(times, us)) for times in trials)

    def pooled(self, *factors: int) -> "EventsOnDisk":
        """Join units as `Events.pooled` does, once they are read.

        Raises:
            ShapeError: as there.
        """
        pooled_units(self.size, factors)
        return self._with(_pools=(*self._pools, factors))

    def in_memory(self) -> Events:
        """Read the events of these trials.

        Raises:
            DataError: they are not as `Events` needs them: the file is damaged.
        """
        places = [slice(self._offsets[row], self._offsets[row + 1]) for row in self.rows]
        times, units = (np.concatenate([a[at] for at in places] or [a[:0]]) for a in (self._times, self._units))
        offsets = np.append(0, np.cumsum(self.counts))
        try:
            events = Events(times, units, offsets, self.labels, self._size, self.groups)
        except (DataError, ShapeError) as error:
            raise DataError(
                f"{self.path}, arrays of {self.split}, among the {len(self)} trials from {self.rows.min()}: {error}"
            ) from None
        for factors in self._pools:
            events = events.pooled(*factors)
        return events
