"""Folders of recordings of event cameras, a folder per class: N-MNIST, N-CARS, and your own."""

import os
from pathlib import Path

import numpy as np

from spiketrain.data.aedat import read_aedat
from spiketrain.data.archive import read_arrays
from spiketrain.data.atis_bin import read_bin
from spiketrain.data.cache import Kept, Parsed, cached
from spiketrain.data.camera import Size, Trial, from_first, placed, recorded, require_size
from spiketrain.data.catalogue import CATALOGUE, folder_of
from spiketrain.data.dataset import Dataset
from spiketrain.data.event_dataset import event_dataset
from spiketrain.data.event_split import PADDING
from spiketrain.data.events import LAST, Events
from spiketrain.data.prophesee import read_dat
from spiketrain.data.source import Source
from spiketrain.errors import DataError

NMNIST: Size = (2, 34, 34)
ENDINGS = (".bin", ".aedat", ".dat", ".npz")
SIDES = {"train": ("train", "Train"), "test": ("test", "Test"), "validation": ("validation", "valid", "Validation")}


def load_nmnist(
    path: str | None = None,
    bin_ms: float = 10.0,
    steps: int | None = None,
    pool: int = 1,
    clip: bool = False,
    padding: str = PADDING[0],
    stream: bool = False,
) -> Dataset:
    """Load N-MNIST: 60,000 and 10,000 handwritten digits in front of a moving camera, 2 x 34 x 34 channels.

    Args:
        path: the folder of `Train` and `Test`; found by `spiketrain.data.catalogue` unless it is given.
        bin_ms: as the arguments that follow, see `spiketrain.data.event_dataset`. Recordings last about 0.3 s.
        pool: how many rows and how many columns become one; divides 34.
        stream: as in `load_shd`.

    Raises:
        DataError: a file is missing or damaged, or an argument is not as above.

    Reference: Orchard et al. (2015), https://doi.org/10.3389/fnins.2015.00437.
    """
    splits, classes = read_recordings(folder_of(CATALOGUE["nmnist"], path), NMNIST, stream)
    return event_dataset("nmnist", splits, classes, bin_ms=bin_ms, steps=steps, pool=pool, clip=clip, padding=padding)


def load_recordings(
    path: str,
    height: int = 128,
    width: int = 128,
    bin_ms: float = 10.0,
    steps: int | None = None,
    pool: int = 1,
    clip: bool = False,
    padding: str = PADDING[0],
    stream: bool = False,
) -> Dataset:
    """Load your own recordings, `PATH/train/CLASS/FILE` and `PATH/test/CLASS/FILE`, and `PATH/validation` if it is there.

    Files end in `.bin`, `.aedat`, `.dat` or `.npz`, in small or capital letters, and are read by `read_recording`. Classes
    are in the order of their names; the data set takes the name of the folder.

    Args:
        path: the folder.
        height: the rows of the camera.
        width: its columns.
        bin_ms: as the arguments that follow, see `spiketrain.data.event_dataset`.
        pool: how many rows and how many columns become one.
        stream: as in `load_shd`.

    Raises:
        DataError: a folder is missing, a file is damaged, or an argument is not as above.
    """
    splits, classes = read_recordings(Path(os.path.expanduser(path)), (2, height, width), stream)
    name = Path(path).name
    return event_dataset(name, splits, classes, bin_ms=bin_ms, steps=steps, pool=pool, clip=clip, padding=padding)


def read_recording(path: str | os.PathLike, size: Size) -> Trial:
    """Read one recording by the ending of its name: whole microseconds, and units in an array of `size`.

    An `.npz` holds the arrays `t`, whole microseconds, `x`, `y`, and `p`, 1 where it became brighter and 0, or -1,
    where darker. Times count from the first event, and in a `.bin` from the start of the recording.

    Raises:
        DataError: the file is missing, damaged, without an event, longer than `Events` can be, or of no known kind.
    """
    path = Path(path)
    times, units = _read(path, size)
    if times.max() > LAST:
        raise DataError(
            f"{path}: the last event is {times.max()} microseconds after the start, more than {LAST}. Cut it."
        )
    return times, units


def _read(path: Path, size: Size) -> Trial:
    ending = path.suffix.lower()
    if ending == ".bin":
        return read_bin(path, size)
    if ending == ".aedat":
        times, units = read_aedat(path, size)
        return times - times.min(), units  # those of version 3.1 count from the start of the camera
    if ending == ".dat":
        return read_dat(path, size)[0]
    if ending == ".npz":
        return _read_npz(path, size)
    raise DataError(f"{path} ends in none of {', '.join(ENDINGS)}.")


def _read_npz(path: Path, size: Size) -> Trial:
    arrays = read_arrays(path, "Write it with np.savez(path, t=..., x=..., y=..., p=...).")
    missing = [name for name in "txyp" if name not in arrays]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}. It has {', '.join(arrays) or 'no arrays'}.")
    t, x, y, p = (arrays[name] for name in "txyp")
    for name in "txyp":
        if arrays[name].shape != (t.size,) or arrays[name].dtype.kind not in "iub":
            raise DataError(
                f"{path}, array {name}: expects {t.size} whole numbers on one axis, "
                f"got {arrays[name].dtype} of shape {arrays[name].shape}."
            )
    with Source(path) as source:
        return recorded(source, from_first(t), placed(source, size, x, y, p > 0, np.arange(len(t))))


def read_recordings(folder: Path, size: Size, stream: bool = False) -> Kept:
    """Return the events below a folder, `SPLIT/CLASS/FILE`, by split, and the names of the classes.

    Raises:
        DataError: a folder is missing, or a file is damaged.
    """
    require_size(size)
    found = {side: next((folder / n for n in names if (folder / n).is_dir()), None) for side, names in SIDES.items()}
    sides = {side: path for side, path in found.items() if path is not None}
    for side in ("train", "test"):
        if side not in sides:
            raise DataError(f"{folder} has no folder `{side}`. Recordings lie in {folder / side}/CLASS/FILE.")
    classes = tuple(sorted(path.name for path in sides["train"].iterdir() if path.is_dir()))
    files = {side: _files(path, classes) for side, path in sides.items()}

    def parse() -> Parsed:
        splits = {}
        for side, of_side in files.items():
            trials = (read_recording(path, size) for path, _ in of_side)
            splits[side] = Events.of_trials(trials, [label for _, label in of_side], size)
        return splits, classes

    every = [path for of_side in files.values() for path, _ in of_side]
    where = [str(path.relative_to(folder)) for path in every]
    parameters = {"reader": "recordings", "size": size, "files": where, "classes": classes}
    return cached(every, parameters, parse, stream=stream)


def _files(folder: Path, classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    unknown = sorted({path.name for path in folder.iterdir() if path.is_dir()} - set(classes))
    if unknown:
        raise DataError(f"{folder} has the class {unknown[0]}, and the training set has only {', '.join(classes)}.")
    files = [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted((folder / name).glob("*"))
        if path.suffix.lower() in ENDINGS
    ]
    if not files:
        raise DataError(f"{folder} holds no CLASS/FILE that ends in {', '.join(ENDINGS)}.")
    for path, _ in files:
        if not path.is_file():
            raise DataError(f"{path} is no regular file, or a link to nothing. Recordings are files.")
    return files
