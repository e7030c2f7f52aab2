"""HDF5 in the layout of the Spiking Heidelberg Digits and Spiking Speech Commands: spikes of spoken words."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from spiketrain.data.events import Events
from spiketrain.data.source import Source, one_line
from spiketrain.errors import DataError

BLOCK = 32  # trials that are read at once
KEYS_BYTES = 1 << 20


def read_hdf5(path: str | os.PathLike, units: int | None = None) -> tuple[Events, tuple[str, ...]]:
    """Read the trials of one file, and the names of its classes in the order of their labels.

    The file holds `spikes/times` (seconds, of variable length) and `spikes/units` (likewise), `labels`, and may hold
    `extra/speaker`, which becomes `groups`, and `extra/keys`, the names. Times are widened to float64 before they
    become microseconds, because 1e6 is beyond float16, and rounded to whole ones. Classes without a name are called
    by their number.

    Args:
        path: the file.
        units: how many channels there are; as many as the highest that fires unless it is given.

    Raises:
        DataError: h5py is not installed; the file is missing, damaged or of another layout, naming the array and the
            trial, or points outside itself.

    Reference: Cramer et al. (2020), https://doi.org/10.1109/TNNLS.2020.3044364, https://zenkelab.org/datasets.
    """
    h5py = _h5py()
    path = Path(path)
    with Source(path):  # says what is wrong with a file that cannot be opened at all
        size = path.stat().st_size
    try:
        with h5py.File(path, "r") as file:
            return _read(h5py, path, file, size, units)
    except DataError:
        raise
    except Exception as error:  # h5py raises whatever its library says, and Python's own on damaged names
        raise DataError(f"{path} ({size} bytes) is no readable HDF5 file: {one_line(error)}") from None


def _h5py() -> ModuleType:
    try:
        import h5py
    except ImportError:
        raise DataError("HDF5 files are read with h5py. Install it: pip install 'spiketrain[hdf5]'.") from None
    return h5py


def _read(h5py: Any, path: Path, file: Any, size: int, units: int | None) -> tuple[Events, tuple[str, ...]]:
    times, places, labels = (_dataset(h5py, path, file, n) for n in ("spikes/times", "spikes/units", "labels"))
    speaker = _dataset(h5py, path, file, "extra/speaker", optional=True)
    n = len(labels)
    for array in (times, places, labels, *([] if speaker is None else [speaker])):
        if array.shape != (n,) or n > size:
            raise DataError(f"{path}, {array.name}: expects shape ({n},), one entry per label, got {array.shape}.")
    for array, kinds in ((times, "f"), (places, "iu")):
        inner = h5py.check_vlen_dtype(array.dtype)
        if inner is None or inner.kind not in kinds:
            raise DataError(f"{path}, {array.name}: expects arrays of variable length, got dtype {array.dtype}.")
    for array in (labels, *([] if speaker is None else [speaker])):
        if array.dtype.kind not in "iu":
            raise DataError(f"{path}, {array.name}: expects integers, got dtype {array.dtype}.")
    try:
        events = Events.of_trials(
            _trials(path, times, places, size),
            labels[:],
            None if units is None else (units,),
            groups=None if speaker is None else speaker[:],
        )
    except DataError as error:
        raise DataError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
    return events, _classes(h5py, path, file, int(events.labels.max(initial=-1)) + 1)


def _dataset(h5py: Any, path: Path, file: Any, name: str, *, optional: bool = False) -> Any:
    """Return an array that lies in this file and nowhere else."""
    here = file
    for part in name.split("/"):
        link = here.get(part, getlink=True) if isinstance(here, h5py.Group) else None
        if link is None and optional:
            return None
        if not isinstance(link, h5py.HardLink):
            problem = "is missing" if link is None else "points elsewhere, which is not followed"
            raise DataError(f"{path}: {name} {problem}. The layout is that of https://zenkelab.org/datasets.")
        here = here[part]
    if not isinstance(here, h5py.Dataset) or here.is_virtual or here.external or here.ndim != 1:
        raise DataError(f"{path}: {name} must be an array of one axis that lies in the file.")
    return here


def _trials(path: Path, times: Any, places: Any, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield times in microseconds and units; they take no more memory than the file's size allows."""
    n = held = 0
    for start in range(0, len(times), BLOCK):
        for t, unit in zip(times[start : start + BLOCK], places[start : start + BLOCK], strict=True):
            if len(t) != len(unit):
                raise DataError(f"{path}, trial {n}: {times.name} has {len(t)} entries and {places.name} {len(unit)}.")
            held += t.nbytes + unit.nbytes
            if held > size:
                raise DataError(f"{path}, trial {n}: the trials so far are larger than the file, {size} bytes.")
            yield t.astype(np.float64) * 1e6, unit
            n += 1


def _classes(h5py: Any, path: Path, file: Any, n: int) -> tuple[str, ...]:
    keys = _dataset(h5py, path, file, "extra/keys", optional=True)
    if keys is None:
        return tuple(str(label) for label in range(n))
    if len(keys) < n or len(keys) * keys.dtype.itemsize > KEYS_BYTES:
        raise DataError(f"{path}: extra/keys holds {len(keys)} names, and labels go up to {n - 1}.")
    return tuple(k.decode("utf-8", "replace") if isinstance(k, bytes) else str(k) for k in keys[:])
