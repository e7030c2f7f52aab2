"""The order of the trials of an epoch, a function of (seed, epoch) alone."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from spiketrain.errors import DataError

# In how many batches trials are sorted by length: many, and lengths are alike in a batch; few, and chance mixes trials.
WINDOW = 16


def stream(seed: Any, purpose: str) -> jax.Array:
    """Return the random key of one purpose of a seed."""
    return jax.random.fold_in(jax.random.key(seed), ("order", "encoder", "batches").index(purpose))


@partial(jax.jit, static_argnums=2)
def order_of_epoch(seed: int, epoch: int, trials: int) -> jax.Array:
    """Return the permutation of an epoch."""
    return jax.random.permutation(jax.random.fold_in(stream(seed, "order"), epoch), trials)


@partial(jax.jit, static_argnums=3)
def order_by_length(seed: int, epoch: int, lengths: jax.Array, batch_size: int) -> tuple[jax.Array, jax.Array]:
    """Return the permutation of an epoch with trials of similar length in a batch, and each batch's longest trial.

    The trials of every `WINDOW` batches are sorted by length, and then the batches of the epoch are shuffled. The
    trials that fill no batch are left out before, whatever their length.
    """
    batches = len(lengths) // batch_size
    order = order_of_epoch(seed, epoch, len(lengths))[: batches * batch_size]
    window = jnp.arange(len(order)) // (WINDOW * batch_size)
    order = order[jnp.lexsort((lengths[order], window))].reshape(batches, batch_size)
    order = order[jax.random.permutation(jax.random.fold_in(stream(seed, "batches"), epoch), batches)]
    return order.reshape(-1), lengths[order].max(axis=1)


def steps_per_epoch(trials: int, batch_size: int) -> int:
    """Return the number of full batches; what is left over in one epoch falls into others by chance."""
    if batch_size > trials:
        raise DataError(
            f"trainer.batch_size = {batch_size} is larger than the {trials} training trials. "
            f"Write, for example, `trainer.batch_size={trials}`."
        )
    return trials // batch_size
