"""HDF5 in the layout of the Spiking Heidelberg Digits and Spiking Speech Commands: spikes of spoken words."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from spiketrain.data.events import CLASSES, LAST, Events
from spiketrain.data.hdf5_heaps import check_heaps, check_lengths
from spiketrain.data.source import Source, one_line
from spiketrain.errors import DataError

BLOCK = 32  # rows that are read at once
TEXT_BYTES = 1 << 20  # names may take so many, or as many as the file has


def read_hdf5(path: str | os.PathLike, units: int | None = None) -> tuple[Events, tuple[str, ...]]:
    """Read the trials of one file, and the names of its classes in the order of their labels.

    The file holds `spikes/times` (seconds, of variable length) and `spikes/units` (likewise), `labels`, and may hold
    `extra/speaker`, which becomes `groups`, and `extra/keys`, the names. Times are widened to float64 before they
    become microseconds, because 1e6 is beyond float16, and rounded to whole ones. Classes without a name are called
    by their number. Speakers that are not integers from 0, such as names, are numbered in the order of their names.

    Args:
        path: the file.
        units: how many channels there are; as many as the highest that fires unless it is given.

    Raises:
        DataError: h5py is not installed; the file is missing, damaged or of another layout, naming the array and the
            trial, or points outside itself.

    Reference: Cramer et al. (2020), https://doi.org/10.1109/TNNLS.2020.3044364, https://zenkelab.org/datasets.
    """
    (events,), classes = read_hdf5_files([path], units)
    return events, classes


def read_hdf5_files(
    paths: Iterable[str | os.PathLike], units: int | None = None
) -> tuple[list[Events], tuple[str, ...]]:
    """Read the files of one data set, in which a label means the same class and a group the same speaker.

    Raises:
        DataError: as `read_hdf5`, or the files name their classes differently.
    """
    h5py = _h5py()
    with ExitStack() as opened:
        files = [_File(h5py, Path(path), opened) for path in paths]
        classes = _classes(files)
        groups = _numbered([file.speakers for file in files])
        return [file.events(units, group) for file, group in zip(files, groups, strict=True)], classes


def _h5py() -> ModuleType:
    try:
        import h5py
    except ImportError:
        raise DataError("HDF5 files are read with h5py. Install it: pip install 'spiketrain[hdf5]'.") from None
    return h5py


class _File:
    """One file: labels, speakers and names, which are read and compared at once, and trials, which are read by `events`.

    Args:
        h5py: the library.
        path: the file.
        opened: closes it.
    """

    def __init__(self, h5py: ModuleType, path: Path, opened: ExitStack):
        with Source(path):  # says what is wrong with a file that cannot be opened at all
            self.path, self.size, self._h5py = path, path.stat().st_size, h5py
        with self._readable():
            self._file = opened.enter_context(h5py.File(path, "r"))
            check_heaps(path, self._file.id.get_create_plist().get_sizes()[1])
            self._times, self._units, labels = (self._array(n) for n in ("spikes/times", "spikes/units", "labels"))
            speaker, keys = (self._array(name, optional=True) for name in ("extra/speaker", "extra/keys"))
            self._check(labels, speaker)
            for array in (self._times, self._units, speaker, keys):
                if array is not None and h5py.check_vlen_dtype(array.dtype) is not None:
                    check_lengths(path, array)
            self.labels = self._labels(labels)
            self.speakers = None if speaker is None else self._speakers(speaker)
            self.keys = None if keys is None else self._keys(keys)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except DataError:
            raise
        except Exception as error:  # h5py raises whatever its library says, and Python's own on damaged names
            raise DataError(f"{self.path} ({self.size} bytes) is no readable HDF5 file: {one_line(error)}") from None

    def _array(self, name: str, *, optional: bool = False) -> Any:
        """Return an array that lies in this file and nowhere else."""
        here = self._file
        for part in name.split("/"):
            link = here.get(part, getlink=True) if isinstance(here, self._h5py.Group) else None
            if link is None and optional:
                return None
            if not isinstance(link, self._h5py.HardLink):
                problem = "is missing" if link is None else "points elsewhere, which is not followed"
                raise DataError(f"{self.path}: {name} {problem}. The layout is that of https://zenkelab.org/datasets.")
            here = here[part]
        if not isinstance(here, self._h5py.Dataset) or here.is_virtual or here.external or here.ndim != 1:
            raise DataError(f"{self.path}: {name} must be an array of one axis that lies in the file.")
        return here

    def _check(self, labels: Any, speaker: Any) -> None:
        n = len(labels)
        for array in (self._times, self._units, labels, *([] if speaker is None else [speaker])):
            if array.shape != (n,) or n > self.size:
                raise DataError(
                    f"{self.path}, {array.name}: expects shape ({n},), one entry per label, got {array.shape}."
                )
        for array, kinds in ((self._times, "f"), (self._units, "iu")):
            inner = self._h5py.check_vlen_dtype(array.dtype)
            if not isinstance(inner, np.dtype) or inner.kind not in kinds:
                raise DataError(
                    f"{self.path}, {array.name}: expects arrays of variable length, got dtype {array.dtype}."
                )
        if labels.dtype.kind not in "iu":
            raise DataError(f"{self.path}, {labels.name}: expects integers, got dtype {labels.dtype}.")

    def _labels(self, array: Any) -> np.ndarray:
        labels = self._rows(array, 0, len(array))
        beyond = np.flatnonzero((labels < 0) | (labels >= CLASSES))
        if len(beyond):
            row = int(beyond[0])
            raise DataError(
                f"{self._at(array, row)}: expects the number of a class, from 0 to {CLASSES - 1}, got {labels[row]}."
            )
        return labels.astype(np.int32)

    def _speakers(self, array: Any) -> np.ndarray:
        """Return integers from 0 as they are, and everything else as text."""
        if array.dtype.kind in "iu":
            speakers = self._rows(array, 0, len(array))
            if ((speakers >= 0) & (speakers <= LAST)).all():
                return speakers.astype(np.int32)
        return np.array(self._text(array), object)

    def _keys(self, array: Any) -> tuple[str, ...]:
        most = int(self.labels.max(initial=-1))
        if len(array) <= most:
            raise DataError(f"{self.path}: extra/keys holds {len(array)} names, and labels go up to {most}.")
        return tuple(self._text(array))

    def _text(self, array: Any) -> list[str]:
        """Return entries as text, which is no larger than the file, however often an entry points at the same bytes."""
        text: list[str] = []
        most = max(self.size, TEXT_BYTES)
        held = len(array) * array.dtype.itemsize
        for start in range(0, len(array), BLOCK):
            if held > most:
                raise DataError(f"{self._at(array, start)}: the entries are larger than the file, {self.size} bytes.")
            rows = self._rows(array, start, min(start + BLOCK, len(array)))
            text += [row.decode("utf-8", "replace") if isinstance(row, bytes) else str(row) for row in rows]
            held += sum(map(len, text[start:]))
        return text

    def events(self, units: int | None, groups: np.ndarray | None) -> Events:
        """Read the trials."""
        size = None if units is None else (units,)
        with self._readable():
            try:
                return Events.of_trials(self._trials(), self.labels, size, groups=groups)
            except DataError as error:
                if str(self.path) in str(error):
                    raise
                raise DataError(f"{self.path}, {self._times.name} and {self._units.name}: {error}") from None

    def _trials(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield times in microseconds and units; they take no more memory than the file's size allows."""
        held = 0
        for start in range(0, len(self.labels), BLOCK):
            rows = (self._rows(a, start, min(start + BLOCK, len(a))) for a in (self._times, self._units))
            for n, (t, unit) in enumerate(zip(*rows, strict=True), start):
                if len(t) != len(unit):
                    raise DataError(
                        f"{self._at(self._times, n)}, trial {n}: {self._times.name} has {len(t)} entries and "
                        f"{self._units.name} {len(unit)}."
                    )
                held += t.nbytes + unit.nbytes
                if held > self.size:
                    raise DataError(
                        f"{self._at(self._times, n)}: the trials so far are larger than the file, {self.size} bytes."
                    )
                with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is dropped, and counted
                    us = t.astype(np.float64) * 1e6
                yield us, unit

    def _rows(self, array: Any, start: int, stop: int) -> np.ndarray:
        """Return some rows; where they cannot be read together, the halves find the first that is to blame."""
        try:
            return array[start:stop]
        except Exception as error:
            if stop - start <= 1:
                raise DataError(f"{self._at(array, start)}: cannot be read: {one_line(error)}") from None
        middle = (start + stop) // 2
        return np.concatenate([self._rows(array, start, middle), self._rows(array, middle, stop)])

    def _at(self, array: Any, row: int) -> str:
        """Return where a row is, with its byte where the rows of an array lie one after the other."""
        first = array.id.get_offset()
        byte = "" if first is None else f" (byte {first + row * (array.id.get_storage_size() // len(array))})"
        return f"{self.path}, {array.name} row {row}{byte}"


def _classes(files: Sequence[_File]) -> tuple[str, ...]:
    """Return the names of the classes, of which a file may know the first ones only."""
    named = {file.path: file.keys for file in files if file.keys is not None}
    if not named:
        return tuple(str(label) for label in range(1 + max(int(file.labels.max(initial=-1)) for file in files)))
    longest = max(named, key=lambda path: len(named[path]))
    for path, keys in named.items():
        for label, (one, other) in enumerate(zip(named[longest], keys, strict=False)):
            if one != other:
                raise DataError(
                    f"{longest} and {path}: extra/keys call class {label} {one!r} in one and {other!r} in the other, so "
                    "that labels mean different classes. The files belong to different data sets."
                )
    return named[longest]


def _numbered(speakers: Sequence[np.ndarray | None]) -> list[np.ndarray | None]:
    """Return the speakers of several files as integers: their own where all have them, else the ranks of all names."""
    there = [of_file for of_file in speakers if of_file is not None]
    if all(of_file.dtype.kind == "i" for of_file in there):
        return list(speakers)
    names = sorted({str(speaker) for of_file in there for speaker in of_file})
    rank = {name: i for i, name in enumerate(names)}
    return [None if of is None else np.array([rank[str(speaker)] for speaker in of], np.int32) for of in speakers]
