"""Events that stay in their file until a batch needs them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from spiketrain.data.events import Events, check_offsets, pooled_units
from spiketrain.data.on_disk import OnDisk
from spiketrain.data.stored import Stored
from spiketrain.errors import DataError, ShapeError

AT_ONCE = 256  # trials that are looked at together where only their times are asked for


class EventsOnDisk(OnDisk):
    """Trials of one split in a file of `spiketrain.save_events`, in the place of `Events`.

    Labels, groups, the place and the duration of each trial are in memory, 24 to 28 bytes per trial; of the events only
    those that are asked for, by `in_memory`. Arguments and errors are those of `OnDisk`.
    """

    REMEDY = "Write it with spiketrain.save_events."

    _pools: tuple[tuple[int, ...], ...] = ()

    def _open(self, arrays: Mapping[str, Stored]) -> int:
        self._times, self._units = (arrays[f"{name}_{self.split}"] for name in ("times", "units"))
        offsets, labels, size = (np.asarray(arrays[f"{name}_{self.split}"]) for name in ("offsets", "labels", "size"))
        n = len(labels)
        # What belongs to trials is checked as that of trials without events; events are checked when they are read.
        none, given = np.zeros(0, int), arrays.get(f"groups_{self.split}")
        groups = None if given is None else np.asarray(given)
        empty = Events(none, none, np.zeros(n + 1, int), labels, tuple(np.atleast_1d(size).tolist()), groups)
        self._size, self._labels, self._groups = empty.size, empty.labels, empty.groups
        self.dropped = int(np.asarray(arrays.get(f"dropped_{self.split}", 0)))
        self._offsets = offsets.astype(np.int64, casting="same_kind", copy=False)
        if self._offsets.shape != (n + 1,) or len(self._times.shape) != 1 or self._times.shape != self._units.shape:
            raise ShapeError("there is not one label for each trial, or not one unit for each time.")
        events = len(self._times)
        check_offsets(self._offsets.clip(-1, events + 1), events)  # clipped, their differences do not overflow
        self._durations = self._last_times()
        return n

    def _last_times(self) -> np.ndarray:
        some, ends = np.diff(self._offsets) > 0, self._offsets[1:]
        durations = np.full(len(ends), -1, np.int32)
        durations[some] = self._times.rows(ends[some] - 1, ends[some]).astype(np.int32, casting="same_kind")
        return durations

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
        return self._durations[self.rows].astype(int)

    def after(self, us: int) -> int:
        """Return the number of events at `us` microseconds and later."""
        late = self.rows[self.durations >= us]
        starts, stops = self._offsets[late], self._offsets[late + 1]
        pieces = (slice(i, i + AT_ONCE) for i in range(0, len(late), AT_ONCE))
        return sum(int((self._times.rows(starts[some], stops[some]) >= us).sum()) for some in pieces)

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
            DataError: they are not as `Events` needs them: the file is damaged, or was written since it was opened.
        """
        starts, stops = self._offsets[self.rows], self._offsets[self.rows + 1]
        times, units = (array.rows(starts, stops) for array in (self._times, self._units))
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
