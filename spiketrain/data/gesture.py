"""DVS128 Gesture: eleven gestures of 29 people in front of an event camera, cut out of long recordings."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from spiketrain.data.aedat import DVS128, read_aedat
from spiketrain.data.cache import Kept, Parsed, cached
from spiketrain.data.camera import Trial
from spiketrain.data.catalogue import CATALOGUE, folder_of
from spiketrain.data.dataset import Dataset
from spiketrain.data.event_dataset import event_dataset
from spiketrain.data.event_split import PADDING
from spiketrain.data.events import LAST, Events
from spiketrain.data.source import text
from spiketrain.errors import DataError

CLASSES = (
    "hand clapping",
    "right hand wave",
    "left hand wave",
    "right arm clockwise",
    "right arm counter clockwise",
    "left arm clockwise",
    "left arm counter clockwise",
    "arm roll",
    "air drums",
    "air guitar",
    "other gestures",
)
LONGEST_LIST = 1 << 20
HEADER = "class,startTime_usec,endTime_usec"
WINDOW = re.compile(r"\s*(\d{1,18})\s*,\s*(\d{1,18})\s*,\s*(\d{1,18})\s*", re.ASCII)
LISTS = {"train": "trials_to_train.txt", "test": "trials_to_test.txt"}


def load_gesture(
    path: str | None = None,
    bin_ms: float = 20.0,
    steps: int | None = None,
    pool: int = 4,
    clip: bool = False,
    padding: str = PADDING[0],
    stream: bool = False,
) -> Dataset:
    """Load DVS128 Gesture: 1,176 and 288 gestures, 2 x 128 x 128 channels before pooling, 11 classes.

    Args:
        path: the folder of the recordings and their lists; found by `spiketrain.data.catalogue` unless it is given.
        bin_ms: as the arguments that follow, see `spiketrain.data.event_dataset`. Gestures last about 6 s.
        pool: how many rows and how many columns become one.
        stream: as in `load_shd`.

    Raises:
        DataError: a file is missing or damaged, or an argument is not as above.

    Reference: Amir et al. (2017), https://doi.org/10.1109/CVPR.2017.781.
    """
    splits, classes = read_gesture(path, stream)
    return event_dataset("gesture", splits, classes, bin_ms=bin_ms, steps=steps, pool=pool, clip=clip, padding=padding)


def read_gesture(path: str | None = None, stream: bool = False) -> Kept:
    """Return the events of the training and the test set, grouped by user, and the names of the classes.

    Raises:
        DataError: a file is missing or damaged.
    """
    folder = folder_of(CATALOGUE["gesture"], path)
    recordings = {side: _listed(folder / name) for side, name in LISTS.items()}

    def parse() -> Parsed:
        splits = {}
        for side, pairs in recordings.items():
            labels: list[int] = []
            users: list[int] = []
            splits[side] = Events.of_trials(_trials(pairs, labels, users), labels, DVS128, groups=users)
        return splits, CLASSES

    files = [file for side in recordings.values() for pair in side for file in pair]
    names = {side: [recording.name for recording, _ in pairs] for side, pairs in recordings.items()}
    return cached(files, {"reader": "gesture", "recordings": names}, parse, stream=stream)


def _trials(pairs: list[tuple[Path, Path]], labels: list[int], users: list[int]) -> Iterator[Trial]:
    """Yield the gestures of recordings, and note the label and the user of each."""
    for recording, windows in pairs:
        times, units = read_aedat(recording)
        for line, (label, start, end) in enumerate(read_windows(windows), 2):
            inside = (times >= start) & (times < end)
            if not inside.any():
                raise DataError(
                    f"{windows}, line {line}: no event of {recording.name} lies from {start} to {end}; its last one is at "
                    f"{times.max()}. The recording is cut short, or these are the labels of another."
                )
            labels.append(label)
            users.append(_user(recording))
            yield times[inside] - start, units[inside]


def read_windows(path: str | os.PathLike) -> list[tuple[int, int, int]]:
    """Read the labels of one recording: class from 0, first microsecond, first microsecond after it.

    Raises:
        DataError: the file is missing, or not as the data set has it, naming the line.
    """
    header, *lines = text(path, LONGEST_LIST).splitlines() or [""]
    if "".join(header.split()) != HEADER:
        raise DataError(f"{path}, line 1: expects {HEADER}.")
    windows = []
    for n, line in enumerate(lines, 2):
        if not (found := WINDOW.fullmatch(line)):
            raise DataError(f"{path}, line {n}: expects three whole numbers, got {line[:80]!r}.")
        label, start, end = (int(number) for number in found.groups())
        if not (1 <= label <= len(CLASSES) and start < end <= start + LAST):
            raise DataError(
                f"{path}, line {n}: expects a class from 1 to {len(CLASSES)} and start < end, at most {LAST} later, "
                f"got {label}, {start}, {end}."
            )
        windows.append((label - 1, start, end))
    if not windows:
        raise DataError(f"{path}, line 2: the file ends without a gesture. It is cut short.")
    return windows


def _listed(path: Path) -> list[tuple[Path, Path]]:
    """Return the recordings of a list, and the labels of each."""
    pairs = []
    for name in text(path, LONGEST_LIST).split():
        recording = path.parent / Path(name).name  # a list names files of its own folder, and no others
        labels = recording.with_name(recording.stem + "_labels.csv")
        for file in (recording, labels):
            if not os.path.isfile(file):  # Path.is_file raises where a name is too long
                raise DataError(
                    f"{path} lists {name[:80]}, but {file.name[-80:]} is missing. Get it: {CATALOGUE['gesture'].get}."
                )
        pairs.append((recording, labels))
    if not pairs:
        raise DataError(f"{path}, line 1: lists no recording.")
    return pairs


def _user(recording: Path) -> int:
    number = recording.stem.removeprefix("user").partition("_")[0]
    return int(number) if number.isdecimal() and int(number) <= np.iinfo(np.int32).max else 0
