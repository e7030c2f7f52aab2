"""`.bin` of N-MNIST and N-Caltech101: events of 40 bits."""

import os

import numpy as np

from spiketrain.data.camera import Size, Trial, placed, recorded, records
from spiketrain.data.source import Source

OVERFLOW_ROW = 240
OVERFLOW_US = 2**13
EVENT = np.dtype([("x", "u1"), ("y", "u1"), ("rest", "u1", 3)])


def read_bin(path: str | os.PathLike, size: Size = (2, 34, 34)) -> Trial:
    """Read one recording.

    Bits 39 to 32 of an event are its column, 31 to 24 its row, 23 its polarity, 22 to 0 its time in microseconds. An
    event in row 240 is none: the clock went on by 2^13 microseconds for all that follow.

    Args:
        path: the file.
        size: (2, height, width); (2, 34, 34) for N-MNIST, (2, 180, 240) for N-Caltech101.

    Raises:
        DataError: the file is missing or cut short, has no event, or one outside of `size`, naming the byte.

    Reference: Orchard et al. (2015), https://doi.org/10.3389/fnins.2015.00437.
    """
    with Source(path) as source:
        events, at = records(source, source.rest(), EVENT)
        rest = events["rest"].astype(np.int64)
        times = (rest[:, 0] & 0x7F) << 16 | rest[:, 1] << 8 | rest[:, 2]
        overflow = events["y"] == OVERFLOW_ROW
        times += OVERFLOW_US * np.cumsum(overflow)
        events, times, brighter, at = (a[~overflow] for a in (events, times, rest[:, 0] >> 7, at))
        return recorded(source, times, placed(source, size, events["x"], events["y"], brighter, at))
