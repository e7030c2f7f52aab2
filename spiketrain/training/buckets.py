"""Batches of trials of similar length, each padded to one of a few lengths, so that short trials cost what they last."""

import jax
import numpy as np

from spiketrain.training.order import order_by_length


class Buckets:
    """Orders the trials of an epoch so that a batch holds similar lengths, and says how many steps each batch needs.

    A batch is padded to the smallest of at most `count` lengths that holds its longest trial. The lengths are quantiles
    of the longest trials of the batches of epoch 0, and the longest of all: each occurs in epoch 0, so that later
    epochs compile nothing. Orders are functions of (seed, epoch), the lengths of the seed; all of the trials too.

    Args:
        lengths: (n,), the number of steps of each trial.
        count: how many padded lengths at most.
        batch_size: the number of trials in a batch.
        seed: of the order of trials.
    """

    def __init__(self, lengths: np.ndarray, *, count: int, batch_size: int, seed: int):
        self._lengths, self._batch_size, self._seed = lengths, batch_size, seed
        shares = np.arange(1, count + 1) / count
        padded = np.unique(np.quantile(self._arranged(0)[1], shares, method="inverted_cdf"))
        padded[-1] = lengths.max()
        self.padded = padded

    def order(self, epoch: int) -> tuple[jax.Array, list[int]]:
        """Return the trials in order, and the number of steps of each batch."""
        order, longest = self._arranged(epoch)
        return order, self.padded[np.searchsorted(self.padded, longest)].tolist()

    def _arranged(self, epoch: int) -> tuple[jax.Array, np.ndarray]:
        order, longest = order_by_length(self._seed, epoch, self._lengths, self._batch_size)
        return order, np.asarray(longest)
