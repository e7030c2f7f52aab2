"""Trials that are events, or on disk, and dense on the devices in one batch at a time."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from spiketrain.data.dataset import LabelledTrials
from spiketrain.data.event_split import EventSplit
from spiketrain.data.event_trials import EventTrials
from spiketrain.training import devices
from spiketrain.training.read_ahead import BatchReader, InTurn, ReadAhead

Data = dict[str, jax.Array]


def events_on_devices(split: EventSplit, mesh: Mesh) -> EventTrials:
    """Put the events of a split on every device, those of several processes included."""
    return devices.put(split.trials(), devices.whole(mesh))


def taken(trials: EventTrials, rows: jax.Array, steps: int | None, mesh: Mesh) -> Data:
    """Return some trials as a dense batch, divided among the devices, within a compiled function."""
    batch = trials.batch(devices.divided(rows, mesh), steps) | {"weight": jnp.ones(rows.shape, jnp.float32)}
    return devices.divided(batch, mesh)


class EventBatches:
    """The trials of a split in batches of one size; each is made dense when it is asked for.

    The last is filled up with trials of weight zero; `trial` is the place of each, beyond the last where it is filled up.
    """

    def __init__(self, split: EventSplit, size: int, mesh: Mesh):
        self._trials, self._n, self._size = events_on_devices(split, mesh), len(split), size
        self._make = jax.jit(lambda trials, places: self._made(trials, places, mesh))

    def __len__(self) -> int:
        return -(-self._n // self._size)

    def __iter__(self) -> Iterator[Data]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int) -> Data:
        places = np.arange(i * self._size, (i + 1) * self._size, dtype=np.int32)
        return self._make(self._trials, places)

    def _made(self, trials: EventTrials, places: jax.Array, mesh: Mesh) -> Data:
        weight = (places < self._n).astype(jnp.float32)
        return taken(trials, places % self._n, None, mesh) | devices.divided({"weight": weight, "trial": places}, mesh)


class StreamedBatches:
    """As `EventBatches`, of trials that a thread reads from disk, a few batches ahead of what is asked for."""

    def __init__(self, split: LabelledTrials, size: int, mesh: Mesh):
        self._reader = BatchReader(split, size, InTurn(len(split), size))
        self._n, self._size, self._mesh = len(split), size, mesh
        self._make = jax.jit(lambda trials: taken(trials, jnp.arange(size), None, mesh))

    def __len__(self) -> int:
        return len(self._reader)

    def __iter__(self) -> Iterator[Data]:
        ahead = ReadAhead(self._reader)
        try:
            for i in range(len(self)):
                yield self._on_devices(ahead.at(i), i)
        finally:
            ahead.close()

    def _on_devices(self, batch: Any, i: int) -> Data:
        places = np.arange(i * self._size, (i + 1) * self._size)
        more = {"weight": (places < self._n).astype(np.float32), "trial": places}
        if isinstance(batch, EventTrials):
            dense = self._make(devices.put(batch, devices.whole(self._mesh)))
            return dense | devices.put(more, devices.by_trial(self._mesh))
        return devices.put(batch | more, devices.by_trial(self._mesh))
