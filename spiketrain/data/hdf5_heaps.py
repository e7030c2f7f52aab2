"""What an HDF5 file says about arrays of variable length is compared with its size before the HDF5 library believes it.

Such arrays lie in global heaps, which the library follows from object to object: where a size is damaged it may never
arrive, nor can it be interrupted. For a row that says it is long it makes room first, and looks at the heap then.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from spiketrain.errors import DataError

MARK = b"GCOL\x01"  # the signature of a collection of objects, and its version
LEAST = 4096  # bytes; no collection is smaller
PIECE = 1 << 20


def check_heaps(path: Path, width: int) -> None:
    """Refuse a file with a collection whose objects do not fit into it, or that begins within another.

    Five bytes that happen to be those of `MARK` are no collection unless a size follows that one could have; the
    library itself refuses one that is too small or goes on after the end of the file.

    Args:
        path: the file.
        width: how many bytes a length takes in it.

    Raises:
        DataError: naming the byte.

    Reference: HDF5 File Format Specification, section III.E,
    https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t4.html.
    """
    size, end = path.stat().st_size, 0
    with path.open("rb") as file:
        for at in _marks(path):
            _, length = _header(file, at, width)
            if not LEAST <= length <= size - at:
                continue
            wrong = at if at < end else _misfit(file, at, at + length, width)
            if wrong is not None:
                raise DataError(
                    f"{path}, byte {wrong}: the sizes in a global heap, where HDF5 keeps arrays of variable length, do "
                    "not add up. The file is damaged: get it again."
                )
            end = at + length


def check_lengths(path: Path, array: Any) -> None:
    """Refuse an array of variable length with a row of more entries than the file has bytes.

    A row is kept as its length in four bytes and its place in a heap; those that are compressed are left to the library.

    Args:
        path: the file.
        array: an `h5py.Dataset` in it.

    Raises:
        DataError: naming the row and the byte.
    """
    size = path.stat().st_size
    for row, rows, at, width in _parts(array):
        kind = np.dtype({"names": ["length"], "formats": ["<u4"], "itemsize": width})
        lengths = np.fromfile(path, kind, min(rows, size // width), offset=at)["length"]
        beyond = np.flatnonzero(lengths > size)
        if len(beyond):
            i = int(beyond[0])
            raise DataError(
                f"{path}, {array.name} row {row + i} (byte {at + i * width}): says that it has {lengths[i]} entries, and "
                f"the file has {size} bytes. It is damaged: get it again."
            )


def _parts(array: Any) -> Iterator[tuple[int, int, int, int]]:
    """Yield the first row, the number of rows, the first byte, and the bytes of a row, of what lies uncompressed in a file."""
    first = array.id.get_offset()
    if first is not None:
        yield 0, len(array), first, array.id.get_storage_size() // len(array)
    elif array.chunks and not array.id.get_create_plist().get_nfilters():
        chunks: list[Any] = []
        array.id.chunk_iter(chunks.append)
        for chunk in chunks:
            yield chunk.chunk_offset[0], array.chunks[0], chunk.byte_offset, chunk.size // array.chunks[0]


def _marks(path: Path) -> Iterator[int]:
    """Yield every byte at which `MARK` stands."""
    kept, start = b"", 0
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            content = kept + piece
            at = content.find(MARK)
            while at >= 0:
                yield start + at
                at = content.find(MARK, at + 1)
            kept = content[1 - len(MARK) :]
            start += len(content) - len(kept)


def _misfit(file: IO[bytes], at: int, end: int, width: int) -> int | None:
    """Return the first byte of an object that does not fit into the collection from `at` to `end`, if there is one."""
    header = 8 + _padded(width)  # of the collection and of each object
    at += header
    while at + header <= end:
        index, length = _header(file, at, width)
        taken = header + _padded(length) if index else length  # the free space is object 0, and counts its own header
        if not header <= taken <= end - at:
            return at
        at += taken
    return None


def _header(file: IO[bytes], at: int, width: int) -> tuple[int, int]:
    """Return the first two bytes and the length, in which the headers of collections and objects are alike."""
    file.seek(at)
    content = file.read(8 + width)
    return int.from_bytes(content[:2], "little"), int.from_bytes(content[8:], "little")


def _padded(length: int) -> int:
    return -(-length // 8) * 8
