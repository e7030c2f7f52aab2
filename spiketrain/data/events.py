"""Events in memory: when and where each spike fell, trial after trial in flat arrays. The one format of every reader."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from spiketrain.data.growing import Growing
from spiketrain.errors import DataError, ShapeError

LAST = np.iinfo(np.int32).max
CLASSES = 1 << 16  # labels lie below, because a name is made for each up to the highest
PIECE = 1 << 22  # events that are looked at together, in arrays that need not fit into memory


@dataclass(frozen=True, eq=False)
class Events:
    """Holds the E events of N labelled trials, each trial in the order of time.

    Trial i has the events `offsets[i]` to `offsets[i + 1]`. An event takes 5, 6 or 8 bytes: its time four, its unit
    one up to 256 units, two up to 65,536, and four beyond.

    Args:
        times: (E,), integers, microseconds from the start of the trial, stored as int32: at most 35 minutes.
        units: (E,), integers from 0 to `prod(size) - 1`, the place of each event in an array of `size` in C order.
        offsets: (N + 1,), integers that do not fall, from 0 to E, stored as int64.
        labels: (N,), integers from 0 to 65,535, stored as int32.
        size: how the units are arranged: `(700,)` channels, `(2, 34, 34)` polarities, rows and columns.
        groups: (N,), integers, to whom or what a trial belongs, such as its speaker; optional.
        dropped: how many events the files hold beside these, because their times were not finite.

    Raises:
        ShapeError: an array has the wrong number of axes, or the arrays disagree about E or N.
        DataError: an array has the wrong kind of number, or a value that is not allowed, naming where.
    """

    times: np.ndarray
    units: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    size: tuple[int, ...]
    groups: np.ndarray | None = None
    dropped: int = 0

    def __post_init__(self):
        size = tuple(int(n) for n in self.size)
        if not size or min(size) < 1 or math.prod(size) > LAST:
            raise ShapeError(
                f"Events(size=...) expects positive sizes, such as (700,) or (2, 34, 34), got {self.size}."
            )
        highest = {"times": LAST, "units": math.prod(size) - 1, "labels": CLASSES - 1, "offsets": len(self.times)}
        for name, most in highest.items():
            _check(name, np.asarray(getattr(self, name)), most)
        dtypes = {"times": np.int32, "units": _smallest(math.prod(size)), "offsets": np.int64, "labels": np.int32}
        for name, dtype in dtypes.items():
            object.__setattr__(self, name, np.asarray(getattr(self, name)).astype(dtype, copy=False))
        if self.groups is not None:
            groups = np.asarray(self.groups)
            _check("groups", groups, LAST)
            object.__setattr__(self, "groups", groups.astype(np.int32, copy=False))
        object.__setattr__(self, "size", size)
        self._check_lengths()
        self._check_order()

    def _check_lengths(self) -> None:
        if len(self.times) != len(self.units):
            raise ShapeError(
                f"Events(times=..., units=...) expects one unit per time, got {len(self.times)} and {len(self.units)}."
            )
        for name, given in (("labels", self.labels), ("groups", self.groups)):
            if given is not None and len(given) != len(self.offsets) - 1:
                raise ShapeError(
                    f"Events(offsets=..., {name}=...) expects {len(self.offsets) - 1} {name}, one fewer than offsets, "
                    f"got {len(given)}."
                )

    def _check_order(self) -> None:
        check_offsets(self.offsets, len(self.times))
        for piece in _pieces(len(self.times) - 1):
            later, earlier = self.times[piece.start + 1 : piece.stop + 1], self.times[piece]
            falls = np.flatnonzero(later < earlier) + piece.start + 1
            within = falls[~np.isin(falls, self.offsets)]
            if len(within):
                at = int(within[0])
                raise DataError(
                    f"Events(times=...) must not fall within a trial, got {self.times[at - 1]} and then {self.times[at]} "
                    f"at times[{at}]. Write Events.of_trials(...), which sorts."
                )

    @classmethod
    def of_trials(
        cls,
        trials: Iterable[tuple[Any, Any]],
        labels: Any,
        size: tuple[int, ...] | None = None,
        *,
        groups: Any = None,
        dropped: int = 0,
    ) -> "Events":
        """Join trials, each `(times, units)` in any order of time; events at the same time keep their order.

        Times are real numbers of microseconds and are rounded to whole ones; those that are not finite are dropped
        and counted. Without a `size` there are as many channels as the highest that fires. `trials` may be a
        generator, of more trials than fit into memory where `size` is given: beyond 256 MiB, events are collected in
        a temporary file, from which their arrays are mapped.

        Raises:
            DataError: times and units of a trial are not two arrays of one axis and one length, or as the constructor.
            ShapeError: as the constructor.
        """
        highest = LAST if size is None else math.prod(size) - 1
        counts: list[int] = []
        last = 0
        with Growing(np.int32) as times, Growing(_smallest(highest + 1)) as units:
            for t, unit in trials:
                t, unit, lost = _in_order(np.asarray(t), np.asarray(unit), len(counts), highest)
                times.append(t)
                units.append(unit)
                counts.append(len(t))
                dropped, last = dropped + lost, max(last, int(unit.max(initial=0)))
            size = (last + 1,) if size is None else size
            offsets = np.cumsum([0, *counts])
            return cls(times.array(), units.array(), offsets, labels, size, groups, dropped)

    def __len__(self):
        return len(self.labels)

    def in_memory(self) -> "Events":
        """Return these events, which are in memory."""
        return self

    @property
    def counts(self) -> np.ndarray:
        """The number of events of each trial, (N,)."""
        return np.diff(self.offsets)

    @property
    def durations(self) -> np.ndarray:
        """The time of the last event of each trial in microseconds, (N,); -1 where a trial has none."""
        durations = np.full(len(self), -1)
        durations[self.counts > 0] = self.times[self.offsets[1:][self.counts > 0] - 1]
        return durations

    def after(self, us: int) -> int:
        """Return the number of events at `us` microseconds and later."""
        late = np.flatnonzero(self.durations >= us)
        trials = (self.times[start:end] for start, end in zip(self.offsets[late], self.offsets[late + 1], strict=True))
        return sum(len(times) - int(np.searchsorted(times, us)) for times in trials)

    def take(self, rows: Any) -> "Events":
        """Return the trials at `rows` (integers, a mask or a slice), in that order.

        What was dropped is not known by trial, and so is that of no part.
        """
        rows = np.arange(len(self))[rows]
        counts = self.counts[rows]
        offsets = np.append(0, np.cumsum(counts))
        at = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], counts)
        groups = None if self.groups is None else self.groups[rows]
        return Events(self.times[at], self.units[at], offsets, self.labels[rows], self.size, groups)

    @classmethod
    def joined(cls, *parts: "Events") -> "Events":
        """Return the trials of several parts with units of one size, one part after the other.

        Raises:
            ShapeError: the sizes differ, or only some parts have groups.
        """
        if len({part.size for part in parts}) != 1 or len({part.groups is None for part in parts}) != 1:
            raise ShapeError(
                f"Events.joined(...) expects parts of one size, all with groups or none, got sizes "
                f"{', '.join(str(part.size) for part in parts)}."
            )
        times, units, labels = (np.concatenate([getattr(p, n) for p in parts]) for n in ("times", "units", "labels"))
        groups = None if parts[0].groups is None else np.concatenate([part.groups for part in parts])
        offsets = np.cumsum(np.concatenate([[0], *(part.counts for part in parts)]))
        return cls(times, units, offsets, labels, parts[0].size, groups, sum(part.dropped for part in parts))

    def pooled(self, *factors: int) -> "Events":
        """Join so many neighbouring units along each axis of `size` into one: `(2, 34, 34)` by 1, 2, 2 is `(2, 17, 17)`.

        Raises:
            ShapeError: there is not one positive factor per axis, or one does not divide its axis.
        """
        size, new = pooled_units(self.size, factors)
        return Events(self.times, new[self.units], self.offsets, self.labels, size, self.groups, self.dropped)


def pooled_units(size: tuple[int, ...], factors: tuple[int, ...]) -> tuple[tuple[int, ...], np.ndarray]:
    """Return the size that `Events.pooled` leaves, and the new unit of each.

    Raises:
        ShapeError: there is not one positive factor per axis, or one does not divide its axis.
    """
    if len(factors) != len(size) or any(f < 1 or n % f for f, n in zip(factors, size, strict=True)):
        raise ShapeError(
            f"Events.pooled(...) expects a factor for each axis of size {size} that divides it, got {factors}."
        )
    fewer = tuple(n // f for n, f in zip(size, factors, strict=True))
    places = np.unravel_index(np.arange(math.prod(size)), size)
    new = np.ravel_multi_index([place // f for place, f in zip(places, factors, strict=True)], fewer)
    return fewer, new.astype(_smallest(math.prod(fewer)))


def _in_order(t: np.ndarray, unit: np.ndarray, trial: int, highest: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the times of a trial in whole microseconds, in order, its units, and how many times were not finite."""
    if t.ndim != 1 or t.shape != unit.shape:
        raise DataError(
            f"Events, trial {trial}: expects a unit for each time, on one axis, got times of shape {t.shape} and units "
            f"of shape {unit.shape}."
        )
    unit = unit if len(unit) else unit.astype(np.uint8)  # an empty list is one of floats
    lost = 0
    if t.dtype.kind == "f":
        finite = np.isfinite(t)
        lost = len(t) - int(finite.sum())
        t, unit = np.rint(t[finite].astype(np.float64)), unit[finite]
    for name, array, most in (("times", t, LAST), ("units", unit, highest)):
        if len(array) and not 0 <= array.min() <= array.max() <= most:
            unit_of = " microseconds" if name == "times" else ""
            raise DataError(
                f"Events, trial {trial}: {name} must lie between 0 and {most}{unit_of}, "
                f"got {array.min():.0f} to {array.max():.0f}."
            )
    if unit.dtype.kind not in "iu":
        raise DataError(f"Events, trial {trial}: units must be integers, got dtype {unit.dtype}.")
    t = t.astype(np.int32)
    if (t[1:] < t[:-1]).any():
        order = np.argsort(t, kind="stable")
        t, unit = t[order], unit[order]
    return t, unit, lost


def check_offsets(offsets: np.ndarray, events: int) -> None:
    """Refuse offsets that do not rise from 0 to the number of events.

    Raises:
        DataError: saying so.
    """
    if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != events or (np.diff(offsets) < 0).any():
        raise DataError(f"Events(offsets=...) must rise from 0 to the number of events, {events}.")


def _pieces(n: int) -> Iterator[slice]:
    """Cut an array that need not fit into memory into pieces that do."""
    return (slice(start, min(start + PIECE, n)) for start in range(0, n, PIECE))


def _check(name: str, array: np.ndarray, most: int) -> None:
    if array.ndim != 1:
        raise ShapeError(f"Events({name}=...) expects one axis, got shape {array.shape}.")
    if array.dtype.kind not in "iu":
        raise DataError(f"Events({name}=...) expects integers, got dtype {array.dtype}.")
    for piece in _pieces(len(array)):
        bad = np.flatnonzero((array[piece] < 0) | (array[piece] > most)) + piece.start
        if len(bad):
            raise DataError(
                f"Events({name}=...) expects values from 0 to {most}, got {array[bad[0]]} at {name}[{bad[0]}]."
            )


def _smallest(units: int) -> type:
    return np.uint8 if units <= 2**8 else np.uint16 if units <= 2**16 else np.int32
