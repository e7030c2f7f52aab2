"""`.aedat` of jAER and cAER: version 2.0 from the DVS128, and version 3.1, the format of DVS128 Gesture."""

import os
from collections.abc import Iterator

import numpy as np

from spiketrain.data.camera import Size, Trial, from_first, placed, recorded, records
from spiketrain.data.source import Source
from spiketrain.errors import DataError

LONGEST_HEADER = 1 << 20
DVS128: Size = (2, 128, 128)
EVENT_2 = np.dtype([("address", ">u4"), ("time", ">u4")])
EVENT_3 = np.dtype([("data", "<u4"), ("time", "<i4")])
POLARITY_EVENT = 1
PACKET = (
    "<i4"  # after type and source, two numbers of 16 bits: size, offset and overflow of time, capacity, number, valid
)


def read_aedat(path: str | os.PathLike, size: Size = DVS128) -> Trial:
    """Read one recording of version 2.0 or 3.1, as its first line says.

    Version 2.0 holds pairs of 32-bit numbers, the most significant byte first: an address and a time. Of a DVS128
    address, bits 14 to 8 are the row, 7 to 1 the column, counted from the right, and bit 0 is set where it became
    darker; an address with bit 15 is a signal from outside and is skipped.

    Version 3.1 holds packets with headers of 28 bytes, the least significant byte first. Packets of polarity events
    are read, others skipped, and so are events that are marked as not valid. Of an event, bits 31 to 17 are the
    column, 16 to 2 the row, 1 the polarity; its time has 31 bits, to which the packet adds those above.

    Times count from the first event in version 2.0, and from the start of the camera in version 3.1, as do the labels
    of DVS128 Gesture.

    Args:
        path: the file.
        size: (2, height, width) of the camera; version 2.0 is read for the DVS128 alone.

    Raises:
        DataError: the file is missing, cut short, without an event, of another version or inconsistent, naming the byte.

    Reference: https://docs.inivation.com/software/software-advanced-usage/file-formats.
    """
    with Source(path) as source:
        first = _line(source, source.read(2, "the first line"))
        if first.startswith(b"#!AER-DAT2"):
            return _read_2(source, size)
        if first.startswith(b"#!AER-DAT3.1"):
            return _read_3(source, size)
        raise source.wrong(0, f"expects #!AER-DAT2.0 or #!AER-DAT3.1, got {first[:20]!r}.")


def _line(source: Source, start: bytes) -> bytes:
    """Return the rest of a line that begins with `start`."""
    line = bytearray(start)
    while not line.endswith(b"\n"):
        line += source.read(1, "the header")
        if source.at > LONGEST_HEADER:
            raise source.wrong(source.at, f"the header is longer than {LONGEST_HEADER} bytes.")
    return bytes(line)


def _read_2(source: Source, size: Size) -> Trial:
    if size != DVS128:
        raise DataError(f"{source.path}: version 2.0 is read for the DVS128, of size {DVS128}, not {size}.")
    content = source.rest()
    while content[:1] == b"#":  # an address of the DVS128 begins with a zero
        end = content.find(b"\n") + 1
        if end == 0:
            raise source.wrong(source.at, "the file ends within the header. It is cut short.")
        content = content[end:]
    events, at = records(source, content, EVENT_2)
    address = events["address"]
    high = np.flatnonzero(address >> 16)
    if len(high):
        raise source.wrong(int(at[high[0]]), f"{address[high[0]]:#010x} is no address of a DVS128.")
    inside = address & 0x8000 == 0
    events, at, address = events[inside], at[inside], address[inside]
    x, y = 127 - ((address & 0xFE) >> 1).astype(int), (address & 0x7F00) >> 8
    return recorded(source, from_first(events["time"]), placed(source, size, x, y, address & 1 == 0, at))


def _read_3(source: Source, size: Size) -> Trial:
    while not _line(source, b"").startswith(b"#!END-HEADER"):
        pass
    times, units = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for start, overflow, events in _packets(source):
        valid = np.flatnonzero(events["data"] & 1)
        data, time, at = events["data"][valid], events["time"][valid], start + EVENT_3.itemsize * valid
        negative = np.flatnonzero(time < 0)
        if len(negative):
            raise source.wrong(int(at[negative[0]]), f"an event has the negative time {time[negative[0]]}.")
        times.append(time.astype(np.int64) + (overflow << 31))
        units.append(placed(source, size, data >> 17, data >> 2 & 0x7FFF, data >> 1 & 1, at))
    return recorded(source, np.concatenate(times), np.concatenate(units))


def _packets(source: Source) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield the polarity packets of version 3.1: the byte of the first event, the overflow of time, and the events."""
    while kind := source.up_to(4):
        start = source.at - len(kind)
        if len(kind) < 4:
            raise source.wrong(start, "the file ends within the header of a packet. It is cut short.")
        width, _, overflow, capacity, number, _ = source.array(PACKET, 6, "the header of a packet").tolist()
        if not 0 <= number <= capacity or width < 1 or overflow < 0:
            raise source.wrong(start, f"a packet says {number} events of {width} bytes in room for {capacity}.")
        polarity = int.from_bytes(kind[:2], "little") == POLARITY_EVENT
        if polarity and width != EVENT_3.itemsize:
            raise source.wrong(start, f"polarity events have {EVENT_3.itemsize} bytes, not {width}.")
        content = source.read(width * capacity, "the events of a packet")
        if polarity:
            yield start + 28, overflow, np.frombuffer(content[: width * number], EVENT_3)
