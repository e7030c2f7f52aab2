"""`.npz` as data only: nothing in it is unpickled, checksums are compared, and sizes are bounded before it is read."""

import io
import math
import os
import struct
import tempfile
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from spiketrain.data.source import LARGEST, one_line
from spiketrain.errors import DataError


def read_arrays(path: str | os.PathLike, remedy: str) -> dict[str, np.ndarray]:
    """Return all arrays of an `.npz` by name.

    Args:
        path: the file.
        remedy: what an error tells to do.

    Raises:
        DataError: the file is missing or damaged, holds more than arrays, or more than `LARGEST` bytes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > LARGEST:
                raise ValueError(f"it holds {size} bytes, more than the {LARGEST} that are read")
            # Members are read whole, because zipfile compares checksums only at a member's end.
            return {
                name.removesuffix(".npy"): np.lib.format.read_array(io.BytesIO(archive.read(name)), allow_pickle=False)
                for name in archive.namelist()
            }
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. {remedy}") from None
    except Exception as error:  # zipfile, its decompressors and numpy raise a dozen kinds on damaged files
        raise DataError(f"{path} is not a readable .npz: {one_line(error)} {remedy}") from None


def map_arrays(path: str | os.PathLike, remedy: str) -> dict[str, np.ndarray]:
    """Return all arrays of an `.npz` by name as parts of the file, which are read where they are looked at.

    Checksums are not compared: that would read the whole file.

    Args:
        path: the file.
        remedy: what an error tells to do.

    Raises:
        DataError: the file is missing or damaged, compressed, or holds more than arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
            return {
                member.filename.removesuffix(".npy"): _mapped(archive, file, member) for member in archive.infolist()
            }
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. {remedy}") from None
    except Exception as error:  # zipfile and numpy raise a dozen kinds on damaged files
        raise DataError(f"{path} is not an .npz that can be read in parts: {one_line(error)} {remedy}") from None


def _mapped(archive: zipfile.ZipFile, file: IO[bytes], member: zipfile.ZipInfo) -> np.ndarray:
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member.filename} is compressed, as np.savez_compressed writes it")
    with archive.open(member) as content:
        version = np.lib.format.read_magic(content)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = header[version](content)
        start = content.tell()
    if dtype.hasobject or fortran and len(shape) > 1:
        raise ValueError(f"{member.filename} holds {dtype}, or its first axis is not the slowest")
    size = dtype.itemsize * math.prod(shape)
    if start + size != member.file_size:
        raise ValueError(f"{member.filename} has {member.file_size - start} bytes, and its header says {size}")
    file.seek(member.header_offset)
    name, extra = struct.unpack("<26x2H", file.read(30))  # the header in front of a member; the central one may differ
    start += member.header_offset + 30 + name + extra
    if start + size > os.fstat(file.fileno()).st_size:
        raise ValueError(f"{member.filename} goes on after the end of the file")
    if not size:
        return np.zeros(shape, dtype)  # there is nothing to map
    return np.memmap(file, dtype, mode="r", offset=start, shape=shape)


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an `.npz` that is there as a whole or not at all, whoever else writes it.

    Raises:
        OSError: the disk is full, read-only, gone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
