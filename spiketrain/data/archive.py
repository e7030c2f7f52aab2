"""`.npz` as data only: nothing in it is unpickled, checksums are compared, and sizes are bounded before it is read."""

import io
import os
import tempfile
import zipfile
from pathlib import Path

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
