"""Which trials each step of an epoch takes, and how many time steps of them."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from spiketrain.errors import TrainingError
from spiketrain.training.buckets import Buckets
from spiketrain.training.order import order_of_epoch, steps_per_epoch


class Epochs:
    """The trials of every epoch in order.

    Args:
        lengths: the number of time steps of each training trial.
        batch_size: the number of trials in a batch.
        seed: of the order; those of an ensemble are a sequence, and each member has an order of its own.
        buckets: to how many lengths batches are padded at most; None pads all of them to the longest trial.

    Attributes:
        steps: the number of optimizer steps of an epoch.
    """

    def __init__(self, lengths: np.ndarray, *, batch_size: int, seed: int | Sequence[int], buckets: int | None):
        self.steps, self.batch_size = steps_per_epoch(len(lengths), batch_size), batch_size
        self._trials, self._seed = len(lengths), seed
        self._latest = -1, np.zeros(0, np.int32)
        self._buckets: Buckets | None = None
        if buckets:
            if not isinstance(seed, int):
                raise TrainingError(
                    "trainer.length_buckets sorts the trials of one seed, and an ensemble has several. Leave out one of them."
                )
            self._buckets = Buckets(lengths, count=buckets, batch_size=batch_size, seed=seed)

    @property
    def padded(self) -> np.ndarray | None:
        """The lengths to which batches are padded; None where all are as long as the longest trial."""
        return None if self._buckets is None else self._buckets.padded

    def order(self, epoch: int) -> tuple[jax.Array, Sequence[int | None]]:
        """Return the trials in order, `(trials,)` or `(members, trials)`, and the time steps that each batch needs.

        None stands for all of them.
        """
        if self._buckets is not None:
            return self._buckets.order(epoch)
        whole: Sequence[int | None] = [None] * self.steps
        if isinstance(self._seed, int):
            return order_of_epoch(self._seed, epoch, self._trials), whole
        return jnp.stack([order_of_epoch(seed, epoch, self._trials) for seed in self._seed]), whole

    def rows(self, step: int) -> np.ndarray:
        """Return the trials of the optimizer step after `step` others, `(batch_size,)` or `(members, batch_size)`."""
        epoch, position = divmod(step, self.steps)
        latest = self._latest  # looked at once: a thread that reads ahead asks, too, and may be an epoch further
        if latest[0] != epoch:
            latest = self._latest = epoch, np.asarray(self.order(epoch)[0])
        return latest[1][..., position * self.batch_size : (position + 1) * self.batch_size]
