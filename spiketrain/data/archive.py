"""`.npz` as data only: nothing in it is unpickled, checksums are compared, and sizes are bounded before it is read."""

import io
import math
import os
import secrets
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from spiketrain.data.source import LARGEST, one_line
from spiketrain.data.stored import Stored, StoredFile, regular
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
        with open(path, "rb", opener=regular) as file, zipfile.ZipFile(file) as archive:
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


def map_arrays(path: str | os.PathLike, remedy: str) -> dict[str, Any]:
    """Return all arrays of an `.npz` by name as `Stored`: parts of the file, which are read where they are looked at.

    Checksums are not compared, as that would read the whole file: `compare_checksums` does.

    Args:
        path: the file.
        remedy: what an error tells to do.

    Raises:
        DataError: the file is missing or damaged, compressed, or holds more than arrays.
    """
    return arrays_in(StoredFile(path, remedy), remedy)


def arrays_in(file: StoredFile, remedy: str) -> dict[str, Stored]:
    """Return what `map_arrays` does, of a file that is open.

    Raises:
        DataError: as there.
    """
    try:
        with open(file.descriptor, "rb", closefd=False) as stream, zipfile.ZipFile(stream) as archive:
            return {
                member.filename.removesuffix(".npy"): _stored(archive, member, file) for member in archive.infolist()
            }
    except Exception as error:  # zipfile and numpy raise a dozen kinds on damaged files
        raise DataError(f"{file.path} is not an .npz that can be read in parts: {one_line(error)} {remedy}") from None


def _stored(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: StoredFile) -> Stored:
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member.filename} is compressed, as np.savez_compressed writes it")
    with archive.open(member) as content:
        version = np.lib.format.read_magic(content)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = header[version](content)
        start = content.tell()
    if dtype.hasobject or not dtype.itemsize or fortran and len(shape) > 1:
        raise ValueError(f"{member.filename} holds {dtype}, or its first axis is not the slowest")
    size = dtype.itemsize * math.prod(shape)
    if start + size != member.file_size:
        raise ValueError(f"{member.filename} has {member.file_size - start} bytes, and its header says {size}")
    local = os.pread(file.descriptor, 30, member.header_offset)
    name, extra = struct.unpack("<26x2H", local)  # the header in front of a member; the central one may differ
    start += member.header_offset + 30 + name + extra
    if start + size > os.fstat(file.descriptor).st_size:
        raise ValueError(f"{member.filename} goes on after the end of the file")
    return Stored(file, start, shape, dtype)


def compare_checksums(path: str | os.PathLike) -> None:
    """Read an `.npz` once, and compare the checksums of all it holds.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        with open(path, "rb", opener=regular) as file, zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
    except Exception as error:  # zipfile raises a dozen kinds on damaged files
        raise DataError(f"{path} is not a readable .npz: {one_line(error)}") from None
    if damaged:
        raise DataError(f"{path} is damaged in {damaged}.")


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an `.npz` that is there as a whole or not at all, whoever else writes it.

    Raises:
        OSError: the disk is full, read-only, gone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(unfinished, "xb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
