"""Events as `.npz`: the arrays of `Events`, per split. What the cache holds, and a format for your own recordings."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from spiketrain.data.archive import map_arrays, read_arrays, write_arrays
from spiketrain.data.events import Events
from spiketrain.data.events_on_disk import EventsOnDisk
from spiketrain.errors import DataError, ShapeError

NAMES = ("times", "units", "offsets", "labels", "size", "dropped")
SPLITS = ("train", "test", "validation")
REMEDY = "Write it with spiketrain.save_events(path, {'train': events, 'test': events}, classes)."


def save_events(path: str | os.PathLike, splits: Mapping[str, Events], classes: tuple[str, ...] = ()) -> None:
    """Write splits of events and the names of their classes, as a whole or not at all.

    An array is called by its name in `Events` and its split, `times_train`; `classes` holds the names.

    Raises:
        DataError: a split is called neither `train`, `test` nor `validation`.
        OSError: the disk is full, read-only, gone.
    """
    arrays = {"classes": np.array(classes, str)}
    for split, events in splits.items():
        if split not in SPLITS:
            raise DataError(f"save_events(splits=...) expects {', '.join(SPLITS)}, got {split!r}.")
        for name in NAMES:
            arrays[f"{name}_{split}"] = np.asarray(getattr(events, name))
        if events.groups is not None:
            arrays[f"groups_{split}"] = events.groups
    write_arrays(Path(path), arrays)


def read_events(path: str | os.PathLike) -> tuple[dict[str, Events], tuple[str, ...]]:
    """Read what `save_events` wrote: the splits, and the names of the classes, numbers where they have none.

    Raises:
        DataError: the file is missing or damaged, or an array is missing or not as `Events` needs it.
    """
    arrays = read_arrays(path, REMEDY)
    splits = {}
    for split in SPLITS:
        if f"times_{split}" not in arrays:
            continue
        missing = [f"{name}_{split}" for name in NAMES[:5] if f"{name}_{split}" not in arrays]
        if missing:
            raise DataError(f"{path} lacks {', '.join(missing)}. {REMEDY}")
        of = {name: arrays[f"{name}_{split}"] for name in (*NAMES, "groups") if f"{name}_{split}" in arrays}
        try:
            splits[split] = Events(
                of["times"],
                of["units"],
                of["offsets"],
                of["labels"],
                tuple(np.atleast_1d(of["size"]).tolist()),
                of.get("groups"),
                int(of.get("dropped", 0)),
            )
        except (DataError, ShapeError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{path}, arrays of {split}: {error}") from None
    return splits, _classes(path, splits, arrays)


def map_events(path: str | os.PathLike) -> tuple[dict[str, EventsOnDisk], tuple[str, ...]]:
    """Return what `read_events` does, with events that stay in the file.

    Raises:
        DataError: as there, or the file is compressed; what is wrong with an event is said when it is read.
    """
    arrays = map_arrays(path, REMEDY)
    splits = {split: EventsOnDisk(path, split) for split in SPLITS if f"times_{split}" in arrays}
    return splits, _classes(path, splits, arrays)


def _classes(
    path: str | os.PathLike, splits: Mapping[str, Events | EventsOnDisk], arrays: dict[str, np.ndarray]
) -> tuple[str, ...]:
    if not splits:
        raise DataError(f"{path} holds no times_train, times_test or times_validation. {REMEDY}")
    named = tuple(str(name) for name in np.atleast_1d(arrays.get("classes", ())).tolist())
    labels = 1 + max(int(events.labels.max(initial=-1)) for events in splits.values())
    return named or tuple(str(label) for label in range(labels))
