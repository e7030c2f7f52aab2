"""Where the batch of each optimizer step comes from: data on the devices, or data read while the steps before run."""

import jax
import numpy as np
from jax.sharding import Mesh

from spiketrain.data.dataset import LabelledTrials
from spiketrain.errors import TrainingError
from spiketrain.training import devices
from spiketrain.training.epochs import Epochs
from spiketrain.training.read_ahead import BatchReader, ReadAhead
from spiketrain.training.step import SplitData, on_devices

Fed = tuple[SplitData, jax.Array, int | None]
"""Data on the devices, an order of its trials of which the step takes its batch, and to how many time steps that is cut."""


def feed_of(split: LabelledTrials, epochs: Epochs, mesh: Mesh, *, steps: int, workers: int) -> "Resident | Streamed":
    """Return what feeds the steps of a run, as `Resident` and `Streamed` say.

    Raises:
        TrainingError: there are workers, and nothing that they could read.
    """
    if split.streams:
        return Streamed(split, epochs, mesh, steps=steps, workers=workers)
    if workers:
        raise TrainingError(
            f"trainer.workers={workers} read data that stream, and these are in memory. Write `trainer.workers=0`, or "
            "`data.stream=true`."
        )
    return Resident(split, epochs, mesh)


class Resident:
    """All training trials are on the devices; a step takes its batch from them.

    Args:
        split: the training trials.
        epochs: their order.
        mesh: the devices.
    """

    def __init__(self, split: LabelledTrials, epochs: Epochs, mesh: Mesh):
        self._data, self._epochs, self._mesh, self._epoch = on_devices(split, mesh), epochs, mesh, -1

    def at(self, step: int) -> Fed:
        """Return what the optimizer step after `step` others works on."""
        epoch, position = divmod(step, self._epochs.steps)
        if epoch != self._epoch:
            order, self._time_steps = self._epochs.order(epoch)
            self._order, self._epoch = devices.put(order, devices.whole(self._mesh)), epoch
        return self._data, self._order, self._time_steps[position]

    def close(self) -> None:
        """Leave nothing running."""


class Streamed:
    """Training trials are read from disk for one batch at a time, a few batches ahead; they are the same as of `Resident`.

    Which trials a step takes follows from its number alone, so that no position has to be kept to continue.

    Args:
        split: the training trials.
        epochs: their order.
        mesh: the devices.
        steps: the number of optimizer steps of the run.
        workers: how many processes read; 0 is a thread of this one.
    """

    def __init__(self, split: LabelledTrials, epochs: Epochs, mesh: Mesh, *, steps: int, workers: int):
        self._epochs, self._mesh, self._epoch = epochs, mesh, -1
        size = epochs.batch_size
        self._read = ReadAhead(BatchReader(split, size, StepRows(epochs, steps)), workers=workers)
        self._all = devices.put(np.arange(size, dtype=np.int32), devices.whole(mesh))
        self._fed: tuple[int, Fed] | None = None

    def at(self, step: int) -> Fed:
        """Return what the optimizer step after `step` others works on, and begin to read what comes after it."""
        if self._fed is None or self._fed[0] != step:
            batch = self._read.at(step)
            epoch, position = divmod(step, self._epochs.steps)
            if epoch != self._epoch:
                (_, self._time_steps), self._epoch = self._epochs.order(epoch), epoch
            sharding = devices.by_trial if isinstance(batch, dict) and devices.data_is_divided() else devices.whole
            data = devices.put(batch, sharding(self._mesh))
            self._fed = step, (data, self._all, self._time_steps[position])
        return self._fed[1]

    def close(self) -> None:
        """End what reads ahead."""
        self._read.close()


class StepRows:
    """The trials of every optimizer step of a run, by its number."""

    def __init__(self, epochs: Epochs, steps: int):
        self._epochs, self._steps = epochs, steps

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> np.ndarray:
        return self._epochs.rows(step)
