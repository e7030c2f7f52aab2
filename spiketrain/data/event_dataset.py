"""From splits of events to a data set: units pooled, times in steps, what falls outside counted and said."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path

from spiketrain.data.dataset import Dataset
from spiketrain.data.event_npz import map_events, read_events
from spiketrain.data.event_split import PADDING, EventSplit
from spiketrain.data.events import LAST, Events
from spiketrain.data.events_on_disk import EventsOnDisk
from spiketrain.errors import DataError

log = logging.getLogger(__name__)


def load_events(
    path: str,
    bin_ms: float = 10.0,
    steps: int | None = None,
    pool: int = 1,
    clip: bool = False,
    padding: str = PADDING[0],
    stream: bool = False,
) -> Dataset:
    """Load your own events, which `spiketrain.save_events` wrote; the data set takes the file's name.

    Args:
        path: the file.
        bin_ms: as the arguments that follow, see `event_dataset`.
        stream: whether events stay in the file, and are read for one batch at a time.

    Raises:
        DataError: the file is missing or damaged, or an argument is not as above.
    """
    splits: Mapping[str, Events | EventsOnDisk]
    splits, classes = map_events(path) if stream else read_events(path)
    name = Path(path).stem
    for side, events in splits.items():
        if events.dropped:
            log.warning("%s: %d events for %s have no finite time and are left out.", name, events.dropped, side)
    return event_dataset(name, splits, classes, bin_ms=bin_ms, steps=steps, pool=pool, clip=clip, padding=padding)


def event_dataset(
    name: str,
    splits: Mapping[str, Events | EventsOnDisk],
    classes: tuple[str, ...],
    *,
    bin_ms: float,
    steps: int | None = None,
    pool: int = 1,
    clip: bool = False,
    padding: str = PADDING[0],
) -> Dataset:
    """Make a data set of `train`, `test` and, where there is one, `validation`.

    Args:
        name: what the data are called in logs.
        splits: the events by split.
        classes: the name of each label, in order.
        bin_ms: the width of a time step in milliseconds, whole microseconds.
        steps: the number of steps; as many as the longest trial of all needs unless it is given. What falls after the
            last one is counted and said as a warning.
        pool: how many neighbouring channels become one, and of a camera of (2, height, width), rows and columns.
        clip: whether a channel with several events in a step counts one.
        padding: `after_last_event` ends a trial with the step of its last event, `none` with the last step of all.

    Raises:
        DataError: an argument is not as above, or a split is empty or missing.
        ShapeError: `pool` does not divide the channels.
    """
    bin_us = round(bin_ms * 1000) if math.isfinite(bin_ms) else 0
    if not 1 <= bin_us <= LAST or abs(bin_us - bin_ms * 1000) > 1e-6:
        raise DataError(
            f"data.bin_ms={bin_ms} must be a whole number of microseconds, at most {LAST}, such as 10 or 0.5."
        )
    if steps is not None and steps < 1:
        raise DataError(f"data.steps={steps} must be at least 1, or null for as many as the longest trial needs.")
    for side in ("train", "test"):
        if side not in splits:
            raise DataError(f"The data set {name} has no split `{side}`, only {', '.join(splits)}.")
    pooled = {
        side: events.pooled(*(1 if axis == 0 and len(events.size) == 3 else pool for axis in range(len(events.size))))
        for side, events in splits.items()
    }
    if steps is None:
        steps = max(EventSplit(events, bin_us).steps for events in pooled.values())
    made = {side: EventSplit(events, bin_us, steps, clip, padding) for side, events in pooled.items()}
    for side, split in made.items():
        if outside := split.outside:
            n = split.events.counts.sum()
            log.warning("data.steps=%d: %d of %d events for %s fall after the last step.", steps, outside, n, side)
    return Dataset(name, made["train"], made["test"], classes, made.get("validation"))
