"""Spoken words as spikes: the Heidelberg Digits, the Speech Commands, and digits of six speakers in the same layout."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from spiketrain.data.cache import Kept, Parsed, cached
from spiketrain.data.catalogue import CATALOGUE, locate
from spiketrain.data.dataset import Dataset
from spiketrain.data.event_dataset import event_dataset
from spiketrain.data.event_split import PADDING
from spiketrain.data.events import Events
from spiketrain.data.events_on_disk import EventsOnDisk
from spiketrain.data.hdf5 import read_hdf5_files
from spiketrain.errors import DataError

log = logging.getLogger(__name__)

SPLITS = {
    "shd": ("train", "test"),
    "ssc": ("train", "validation", "test"),
    "spoken_digits": ("train", "test"),
}
UNITS = {"shd": 700, "ssc": 700, "spoken_digits": 64}


def load_shd(
    path: str | None = None,
    bin_ms: float = 10.0,
    steps: int | None = None,
    pool: int = 1,
    clip: bool = False,
    padding: str = PADDING[0],
    stream: bool = False,
    validation_speaker: int | None = None,
) -> Dataset:
    """Load the Spiking Heidelberg Digits: 10,420 recordings of the digits in English and German, 700 channels.

    Args:
        path: the folder of `shd_train.h5` and `shd_test.h5`; found by `spiketrain.data.catalogue` unless it is given.
        bin_ms: the width of a time step, whole microseconds.
        steps: the number of steps; as many as the longest recording needs unless it is given. What falls after the
            last one is counted and said.
        pool: how many neighbouring channels become one; divides 700.
        clip: whether a channel with several spikes in a step counts one.
        padding: `after_last_event` ends a trial with the step of its last spike, `none` with the last step of all.
        stream: whether events stay in a file, from which they are read for one batch at a time; see `docs/data.md`.
        validation_speaker: the speaker whose training recordings are for validation; none has this part unless given.
            Where the files name speakers by text, it is the place of the name among the sorted names of all files.

    Raises:
        DataError: a file is missing or damaged, or an argument is not as above.

    Reference: Cramer et al. (2020), https://doi.org/10.1109/TNNLS.2020.3044364.
    """
    splits, classes = _load("shd", path, stream)
    if validation_speaker is not None:
        splits = _moved("validation_speaker", validation_speaker, splits, "validation")
    return event_dataset("shd", splits, classes, bin_ms=bin_ms, steps=steps, pool=pool, clip=clip, padding=padding)


def load_ssc(
    path: str | None = None,
    bin_ms: float = 10.0,
    steps: int | None = None,
    pool: int = 1,
    clip: bool = False,
    padding: str = PADDING[0],
    stream: bool = False,
) -> Dataset:
    """Load the Spiking Speech Commands: 105,829 recordings of 35 words, 700 channels, with a validation set of its own.

    Args:
        path: the folder of `ssc_train.h5`, `ssc_valid.h5` and `ssc_test.h5`; found by `spiketrain.data.catalogue`
            unless it is given.
        bin_ms: as the arguments that follow, see `load_shd`.

    Raises:
        DataError: a file is missing or damaged, or an argument is not as above.

    Reference: Cramer et al. (2020), https://doi.org/10.1109/TNNLS.2020.3044364.
    """
    splits, classes = _load("ssc", path, stream)
    return event_dataset("ssc", splits, classes, bin_ms=bin_ms, steps=steps, pool=pool, clip=clip, padding=padding)


def load_spoken_digits(
    path: str | None = None,
    bin_ms: float = 8.0,
    steps: int | None = None,
    pool: int = 1,
    clip: bool = False,
    padding: str = PADDING[0],
    stream: bool = False,
    held_out_speaker: int | None = None,
    validation_speaker: int | None = None,
) -> Dataset:
    """Load 3,000 recordings of the digits by six speakers, 64 mel bands, in the layout of the Heidelberg Digits.

    Args:
        path: the folder of `fsdd_train.h5` and `fsdd_test.h5`; found by `spiketrain.data.catalogue` unless it is given.
        bin_ms: as `steps`, `pool`, `clip`, `padding`, `stream` and `validation_speaker`, see `load_shd`. The spikes were made
            with steps of 8 ms.
        held_out_speaker: the speaker, 0 to 5, all of whose recordings are the test set, those of the other five in
            both files being for training; without it, the files are the training and the test set.

    Raises:
        DataError: a file is missing or damaged, or an argument is not as above.

    Reference: Jackson et al. (2018), Free Spoken Digit Dataset, https://github.com/Jakobovski/free-spoken-digit-dataset.
    """
    splits, classes = _load("spoken_digits", path, stream)
    if held_out_speaker is not None:
        if stream:
            raise DataError(
                "data.held_out_speaker joins both files in memory. Write `data.stream=false`, or leave it out."
            )
        for events in splits.values():
            _speakers("held_out_speaker", held_out_speaker, events)
        joined = Events.joined(splits["train"].in_memory(), splits["test"].in_memory())
        splits = _moved("held_out_speaker", held_out_speaker, {"train": joined}, "test")
    if validation_speaker is not None:
        splits = _moved("validation_speaker", validation_speaker, splits, "validation")
    return event_dataset(
        "spoken_digits", splits, classes, bin_ms=bin_ms, steps=steps, pool=pool, clip=clip, padding=padding
    )


def read_speech(name: str, path: str | None = None, stream: bool = False) -> Kept:
    """Return the events of `shd`, `ssc` or `spoken_digits` by split, and the names of the classes.

    Raises:
        DataError: a file is missing or damaged, or they do not belong together.
    """
    units, files = UNITS[name], _files(name, path)

    def parse() -> Parsed:
        read, classes = read_hdf5_files(files.values(), units)
        return dict(zip(files, read, strict=True)), classes

    return cached(files.values(), {"reader": "hdf5", "units": units}, parse, stream=stream)


def _files(name: str, path: str | None) -> dict[str, Path]:
    return dict(zip(SPLITS[name], locate(CATALOGUE[name], path), strict=True))


def _load(name: str, path: str | None, stream: bool) -> Kept:
    """Read the splits, and say for each file how many events it lost, whatever becomes of its trials."""
    splits, classes = read_speech(name, path, stream)
    for side, file in _files(name, path).items():
        if lost := splits[side].dropped:
            log.warning("%s: %d events have no finite time and are left out.", file, lost)
    return splits, classes


def _speakers(argument: str, speaker: int, events: Events | EventsOnDisk) -> np.ndarray:
    if events.groups is None:
        raise DataError(f"data.{argument}={speaker}: the files have no extra/speaker.")
    return events.groups


def _moved(
    argument: str, speaker: int, splits: Mapping[str, Events | EventsOnDisk], to: str
) -> dict[str, Events | EventsOnDisk]:
    """Return the splits with the training trials of a speaker as one of their own."""
    train = splits["train"]
    speakers = _speakers(argument, speaker, train)
    of_speaker = speakers == speaker
    if not of_speaker.any() or of_speaker.all():
        there = ", ".join(map(str, np.unique(speakers)))
        raise DataError(f"data.{argument}={speaker} leaves no trial on one side. There are the speakers {there}.")
    return {**splits, "train": train.take(~of_speaker), to: train.take(of_speaker)}
