"""What is in a data set or a file: trials, classes, channels, durations, events. Imports no JAX."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spiketrain.data.aedat import DVS128
from spiketrain.data.camera import Size, Trial
from spiketrain.data.catalogue import CATALOGUE, folder_of, locate
from spiketrain.data.dataset import Dataset
from spiketrain.data.event_npz import read_events
from spiketrain.data.events import Events
from spiketrain.data.events_on_disk import EventsOnDisk
from spiketrain.data.gesture import read_gesture
from spiketrain.data.hdf5 import read_hdf5
from spiketrain.data.idx import load_idx, read_idx
from spiketrain.data.npz import load_npz
from spiketrain.data.prophesee import read_dat
from spiketrain.data.recordings import NMNIST, read_recording, read_recordings
from spiketrain.data.source import naming
from spiketrain.data.speech import read_speech
from spiketrain.data.time_series import load_ts, read_ts, read_tsv
from spiketrain.data.vowels import load_vowels
from spiketrain.errors import DataError


class Part(NamedTuple):
    """One split of a data set, or one file.

    `durations` are seconds up to the last event where there are events, and time steps where there are none; `events`
    are those of each trial, or None.
    """

    name: str
    labels: np.ndarray
    classes: tuple[str, ...]
    size: tuple[int, ...]
    durations: np.ndarray
    events: np.ndarray | None = None
    dropped: int = 0


def inspect(what: str, path: str | None = None, size: Size | None = None) -> list[Part]:
    """Read a data set of the catalogue by its name, or a file or folder of your own, as a whole.

    Args:
        what: the name or the path.
        path: the folder of the files of a name; found by the catalogue unless it is given.
        size: (2, height, width) of an event camera; that of the DVS128 for `.aedat`, of N-MNIST for `.bin`, and of
            its header for `.dat`, unless it is given.

    Raises:
        DataError: a file is missing, damaged, of no known kind, or without a trial.
    """
    parts = _parts(what, path, size)
    for part in parts:
        if not len(part.labels):
            raise DataError(f"{what}: {part.name} holds no trial.")
    return parts


def _parts(what: str, path: str | None, size: Size | None) -> list[Part]:
    if what in CATALOGUE:
        if size is not None:
            raise DataError(f"{what} has a size of its own, so that `--size` says nothing.")
        return _known(what, path)
    if path is not None:
        raise DataError(f"{what} is none of the names {', '.join(CATALOGUE)}, so that `--path` says nothing.")
    file = Path(os.path.expanduser(what))
    if not file.exists():
        raise DataError(f"{what} is neither a file or folder nor one of the names {', '.join(CATALOGUE)}.")
    if file.is_dir():
        if any(file.glob("*_TRAIN.ts*")):
            return _of_dataset(load_ts(str(file), missing="zero"))
        return _of_splits(*read_recordings(file, size or DVS128))
    if not file.is_file():
        raise DataError(f"{what} is no regular file.")
    return _of_file(file, size)


def _known(name: str, path: str | None) -> list[Part]:
    if name in ("shd", "ssc", "spoken_digits"):
        return _of_splits(*read_speech(name, path))
    if name == "gesture":
        return _of_splits(*read_gesture(path))
    if name == "nmnist":
        return _of_splits(*read_recordings(folder_of(CATALOGUE[name], path), NMNIST))
    if name == "vowels":
        return _of_dataset(load_vowels(locate(CATALOGUE[name], path)[0]))
    return _of_dataset(load_idx(path, source=name))


def _of_file(file: Path, size: Size | None) -> list[Part]:
    ending = file.suffix.lower()
    if ending in (".h5", ".hdf5"):
        events, classes = read_hdf5(file)
        return _of_splits({file.name: events}, classes)
    if ending == ".dat":
        return _of_recording(file, *read_dat(file, size))
    if ending in (".bin", ".aedat"):
        size = size or (NMNIST if ending == ".bin" else DVS128)
        return _of_recording(file, read_recording(file, size), size)
    if ending == ".npz":
        return _of_npz(file, size)
    if ending in (".ts", ".tsv"):
        series = (read_ts if ending == ".ts" else read_tsv)(file)
        classes = series.classes or tuple(sorted(set(series.labels)))
        labels = np.array([classes.index(label) for label in series.labels])
        lengths = np.array([len(trial) for trial in series.trials])
        return [Part(file.name, labels, classes, (series.trials[0].shape[1],), lengths)]
    if "ubyte" in file.name or ending == ".idx":
        array = read_idx(file)
        n = len(array)
        return [Part(file.name, np.zeros(n, int), ("-",), array.shape[1:] or (1,), np.ones(n, int))]
    raise DataError(f"{file} ends in none of .h5, .bin, .aedat, .dat, .npz, .ts, .tsv, and is no IDX by its name.")


def _of_npz(file: Path, size: Size | None) -> list[Part]:
    import zipfile

    try:
        with zipfile.ZipFile(file) as archive:
            names = set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        names = set()
    if names & {"times_train.npy", "times_test.npy", "times_validation.npy"}:
        return _of_splits(*read_events(file))
    if "t.npy" in names:
        size = size or DVS128
        return _of_recording(file, read_recording(file, size), size)
    return _of_dataset(load_npz(str(file)))


def _of_recording(file: Path, trial: Trial, size: Size) -> list[Part]:
    with naming(file):
        events = Events.of_trials([trial], [0], size)
    return _of_splits({file.name: events}, ("-",))


def _of_splits(splits: Mapping[str, Events | EventsOnDisk], classes: Sequence[str]) -> list[Part]:
    return [
        Part(side, e.labels, tuple(classes), e.size, np.maximum(e.durations, 0) / 1e6, e.counts, e.dropped)
        for side, e in splits.items()
    ]


def _of_dataset(data: Dataset) -> list[Part]:
    splits = {"train": data.train, "test": data.test, "validation": data.validation}
    return [
        Part(side, split.y, data.classes, (data.n_channels,), split.lengths)
        for side, split in splits.items()
        if split is not None
    ]
