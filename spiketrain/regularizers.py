"""Penalties on hidden activity."""

import jax
import jax.numpy as jnp

from spiketrain.environ import dt_in_seconds


def spike_counts(spikes: jax.Array, mask: jax.Array) -> jax.Array:
    """Return how often every neuron spiked in a batch, over its valid steps.

    Args:
        spikes: `(T, B, *size)`.
        mask: `(T, B)`, true at valid steps.
    """
    valid = mask.reshape(*mask.shape, *[1] * (spikes.ndim - 2))
    return jnp.where(valid, spikes, 0).sum((0, 1))


def firing_rates(counts: jax.Array, mask: jax.Array) -> jax.Array:
    """Return the mean rate of every neuron in Hz, from its spikes at the valid steps of a batch.

    Args:
        counts: what `spike_counts` returns for the batch, or the sum of that over parts of it.
        mask: `(T, B)`, true at valid steps.
    """
    return counts / jnp.maximum(mask.sum(), 1) / dt_in_seconds()


def rate_bounds(rates: jax.Array, *, lower_hz: float, upper_hz: float) -> jax.Array:
    r"""Return the mean over neurons of $\max(0, r_{lo} - r)^2 + \max(0, r - r_{hi})^2$, with r in kHz.

    Zero while every neuron's rate lies within the bounds. A neuron that never spikes is still pulled up through
    the surrogate slope.

    Reference: Zenke and Vogels (2021), https://doi.org/10.1162/neco_a_01367.
    """
    below = jnp.maximum(0.0, lower_hz - rates)
    above = jnp.maximum(0.0, rates - upper_hz)
    return jnp.mean((below * 1e-3) ** 2 + (above * 1e-3) ** 2)
