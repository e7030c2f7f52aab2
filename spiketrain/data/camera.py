"""What the readers of event cameras share: the place of an event, times from the first one, and that there is one."""

import numpy as np

from spiketrain.data.source import Source
from spiketrain.errors import ShapeError

Trial = tuple[np.ndarray, np.ndarray]
"""The times of a recording in whole microseconds, and its units, in the order of the file."""

Size = tuple[int, int, int]
"""Polarities (2: darker, brighter), height and width."""


def require_size(size: Size) -> None:
    """Refuse a size that is not that of a camera.

    Raises:
        ShapeError: saying what to write.
    """
    if len(size) != 3 or size[0] != 2 or min(size) < 1:
        raise ShapeError(f"The size of a camera is (2, height, width), such as (2, 128, 128), got {size}.")


def placed(
    source: Source, size: Size, x: np.ndarray, y: np.ndarray, brighter: np.ndarray, at: np.ndarray
) -> np.ndarray:
    """Return the units of events at columns `x` and rows `y`, whose bytes begin `at`.

    Raises:
        DataError: an event lies outside of `size`.
    """
    require_size(size)
    x, y = x.astype(np.int64), y.astype(np.int64)
    outside = np.flatnonzero((x < 0) | (y < 0) | (x >= size[2]) | (y >= size[1]))
    if len(outside):
        i = outside[0]
        raise source.wrong(int(at[i]), f"an event at x {x[i]}, y {y[i]} lies outside of the size {size}.")
    return (brighter.astype(np.int64) * size[1] + y) * size[2] + x


def records(source: Source, content: bytes, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Return the records that `content`, the rest of the file, consists of, and the byte at which each begins.

    Raises:
        DataError: the last one is not whole.
    """
    start, extra = source.at - len(content), len(content) % dtype.itemsize
    if extra:
        raise source.wrong(
            source.at - extra, f"the file ends {extra} bytes into an event of {dtype.itemsize}. It is cut short."
        )
    events = np.frombuffer(content, dtype)
    return events, start + dtype.itemsize * np.arange(len(events))


def recorded(source: Source, times: np.ndarray, units: np.ndarray) -> Trial:
    """Return the recording of these events, those of the whole file.

    Raises:
        DataError: there is none.
    """
    if not len(times):
        raise source.wrong(source.at, "the file ends without an event. It is cut short.")
    return times, units


def from_first(times: np.ndarray) -> np.ndarray:
    """Return the times from the earliest one, a clock of 32 bits that began anew being continued."""
    times = times.astype(np.int64)
    times = times + 2**32 * np.cumsum(np.diff(times, prepend=times[:1]) < -(2**31))
    return times - times.min(initial=2**63 - 1) if len(times) else times
