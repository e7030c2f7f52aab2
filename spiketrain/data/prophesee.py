"""`.dat` of Prophesee and ATIS cameras: the files of N-CARS and of automotive detection."""

import os
import re

import numpy as np

from spiketrain.data.camera import Size, Trial, from_first, placed, recorded, records
from spiketrain.data.source import Source

EVENT = np.dtype([("time", "<u4"), ("data", "<u4")])
CHANGE_EVENTS = (0, 12)  # the numbers that older and newer cameras give to changes of brightness
LARGEST_SIDE = 1 << 14  # rows and columns have 14 bits
FIELD = re.compile(rb"^%\s*(Version|Height|Width)\s+(\d{1,6})\s*$", re.IGNORECASE)


def read_dat(path: str | os.PathLike, size: Size | None = None) -> tuple[Trial, Size]:
    """Read one recording, and the size of its camera.

    Lines that begin with % are followed by the type and the size of an event, one byte each, and by events of a time
    and a word, 32 bits each, the least significant byte first. From version 2 on, bits 0 to 13 of the word are the
    column, 14 to 27 the row, 28 the polarity; before, bits 0 to 8, 9 to 16, and 17. A file without such lines is of
    version 0 and has no bytes for type and size. Times count from the first event.

    Args:
        path: the file.
        size: (2, height, width); that of the header unless it is given, and before version 2, whose header has none,
            that of the ATIS, (2, 240, 304).

    Raises:
        DataError: the file is missing, cut short, without an event, or holds something else, naming the byte.

    Reference: https://docs.prophesee.ai/stable/data/file_formats/dat.html.
    """
    with Source(path) as source:
        content = source.rest()
        header: dict[bytes, int] = {}
        at = 0
        while content[at : at + 1] == b"%":
            end = content.find(b"\n", at) + 1
            if end == 0:
                raise source.wrong(at, "the file ends within the header. It is cut short.")
            if field := FIELD.match(content[at:end]):
                name, number = field[1].lower(), int(field[2])
                if name != b"version" and not 1 <= number <= LARGEST_SIDE:
                    raise source.wrong(at, f"expects a {name.decode()} from 1 to {LARGEST_SIDE}, got {number}.")
                header[name] = number
            at = end
        if at:
            kind = content[at : at + 2]
            if len(kind) < 2 or kind[0] not in CHANGE_EVENTS or kind[1] != EVENT.itemsize:
                raise source.wrong(
                    at, f"expects events of type 0 or 12 and of 8 bytes, got {kind.hex(' ') or 'nothing'}."
                )
            at += 2
        if size is None:
            size = (2, header.get(b"height", 240), header.get(b"width", 304))
        events, starts = records(source, content[at:], EVENT)
        row, polarity = (14, 28) if header.get(b"version", 0) >= 2 else (9, 17)
        data = events["data"]
        x, y = data & (1 << row) - 1, data >> row & (1 << polarity - row) - 1
        units = placed(source, size, x, y, data >> polarity & 1, starts)
        return recorded(source, from_first(events["time"]), units), size
