"""Spoken words as spikes: the Heidelberg Digits, the Speech Commands, and digits of six speakers in the same layout."""

import logging

import numpy as np

from spiketrain.data.catalogue import CATALOGUE, locate
from spiketrain.data.dataset import Dataset
from spiketrain.data.event_split import PADDING, EventSplit
from spiketrain.data.events import Events
from spiketrain.data.hdf5 import read_hdf5
from spiketrain.errors import DataError

log = logging.getLogger(__name__)


def load_shd(
    path: str | None = None,
    bin_ms: float = 10.0,
    steps: int | None = None,
    pool: int = 1,
    clip: bool = False,
    padding: str = PADDING[0],
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
        validation_speaker: the speaker whose training recordings are for validation; none has this part unless given.

    Raises:
        DataError: a file is missing or damaged, or an argument is not as above.

    Reference: Cramer et al. (2020), https://doi.org/10.1109/TNNLS.2020.3044364.
    """
    (train, test), classes = _read("shd", path, 700)
    splits = {"train": train, "test": test}
    if validation_speaker is not None:
        splits["train"], splits["validation"] = _without_speaker("validation_speaker", train, validation_speaker)
    return _dataset("shd", splits, classes, bin_ms, steps, pool, clip, padding)


def load_ssc(
    path: str | None = None,
    bin_ms: float = 10.0,
    steps: int | None = None,
    pool: int = 1,
    clip: bool = False,
    padding: str = PADDING[0],
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
    (train, validation, test), classes = _read("ssc", path, 700)
    splits = {"train": train, "validation": validation, "test": test}
    return _dataset("ssc", splits, classes, bin_ms, steps, pool, clip, padding)


def load_spoken_digits(
    path: str | None = None,
    bin_ms: float = 8.0,
    steps: int | None = None,
    pool: int = 1,
    clip: bool = False,
    padding: str = PADDING[0],
    held_out_speaker: int | None = None,
    validation_speaker: int | None = None,
) -> Dataset:
    """Load 3,000 recordings of the digits by six speakers, 64 mel bands, in the layout of the Heidelberg Digits.

    Args:
        path: the folder of `fsdd_train.h5` and `fsdd_test.h5`; found by `spiketrain.data.catalogue` unless it is given.
        bin_ms: as `steps`, `pool`, `clip`, `padding` and `validation_speaker`, see `load_shd`. The spikes were made
            with steps of 8 ms.
        held_out_speaker: the speaker, 0 to 5, all of whose recordings are the test set, those of the other five in
            both files being for training; without it, the files are the training and the test set.

    Raises:
        DataError: a file is missing or damaged, or an argument is not as above.

    Reference: Jackson et al. (2018), Free Spoken Digit Dataset, https://github.com/Jakobovski/free-spoken-digit-dataset.
    """
    (train, test), classes = _read("spoken_digits", path, 64)
    if held_out_speaker is not None:
        train, test = _without_speaker("held_out_speaker", Events.joined(train, test), held_out_speaker)
    splits = {"train": train, "test": test}
    if validation_speaker is not None:
        splits["train"], splits["validation"] = _without_speaker("validation_speaker", train, validation_speaker)
    return _dataset("spoken_digits", splits, classes, bin_ms, steps, pool, clip, padding)


def _read(name: str, path: str | None, units: int) -> tuple[list[Events], tuple[str, ...]]:
    files = locate(CATALOGUE[name], path)
    read = [read_hdf5(file, units) for file in files]
    for file, (events, _) in zip(files, read, strict=True):
        if events.dropped:
            log.warning("%s: %d spikes have no finite time and are left out.", file, events.dropped)
    return [events for events, _ in read], max((classes for _, classes in read), key=len)


def _without_speaker(argument: str, events: Events, speaker: int) -> tuple[Events, Events]:
    """Return the trials of the other speakers, and those of this one."""
    if events.groups is None:
        raise DataError(f"data.{argument}={speaker}: the files have no extra/speaker.")
    of_speaker = events.groups == speaker
    if not of_speaker.any() or of_speaker.all():
        there = ", ".join(str(group) for group in np.unique(events.groups))
        raise DataError(f"data.{argument}={speaker} leaves no trial on one side. There are the speakers {there}.")
    return events.take(~of_speaker), events.take(of_speaker)


def _dataset(
    name: str,
    splits: dict[str, Events],
    classes: tuple[str, ...],
    bin_ms: float,
    steps: int | None,
    pool: int,
    clip: bool,
    padding: str,
) -> Dataset:
    bin_us = round(bin_ms * 1000)
    if bin_us < 1 or abs(bin_us - bin_ms * 1000) > 1e-6:
        raise DataError(f"data.bin_ms={bin_ms} must be a whole number of microseconds, such as 10 or 0.5.")
    splits = {side: events.pooled(pool) for side, events in splits.items()}
    if steps is None:
        steps = max(EventSplit(events, bin_us).steps for events in splits.values())
    made = {}
    for side, events in splits.items():
        made[side] = EventSplit(events, bin_us, steps, clip, padding).dense()
        if outside := EventSplit(events, bin_us, steps).outside:
            log.warning(
                "data.steps=%d: %d of %d spikes for %s fall after the last step and are left out.",
                steps,
                outside,
                len(events.times),
                side,
            )
    return Dataset(name, made["train"], made["test"], classes, made.get("validation"))
