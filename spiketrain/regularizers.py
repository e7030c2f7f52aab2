"""Penalties on hidden activity, and the sums over time that they are made of, which add up over pieces of a trial."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from spiketrain.environ import dt_in_seconds
from spiketrain.errors import DomainError
from spiketrain.units import expect_unit, magnitude, unit_of


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


class Moments(NamedTuple):
    """Sums over the valid steps of a layer's spikes, `(B, N)`, of their squares, and of both for their mean over neurons.

    The last two are `(B,)`. Sums of the pieces of a trial add up to those of the trial.
    """

    spikes: jax.Array
    squares: jax.Array
    mean: jax.Array
    mean_squares: jax.Array

    @classmethod
    def of(cls, spikes: jax.Array, mask: jax.Array) -> "Moments":
        """Return the sums of spikes `(T, B, *size)` over the steps at which `mask`, `(T, B)`, is true."""
        s = jnp.where(mask[..., None], spikes.reshape(*mask.shape, math.prod(spikes.shape[2:])), 0)
        together = s.mean(-1)
        return cls(s.sum(0), (s**2).sum(0), together.sum(0), (together**2).sum(0))

    def synchrony(self, mask: jax.Array) -> jax.Array:
        """Return what `synchrony` does, from the sums over a whole trial."""
        steps = jnp.maximum(mask.sum(0), 1)
        alone = (self.squares / steps[:, None] - (self.spikes / steps[:, None]) ** 2).mean(-1)
        together = self.mean_squares / steps - (self.mean / steps) ** 2
        moves = alone > 0
        ratio = jnp.where(moves, together / jnp.where(moves, alone, 1), 0)
        return ratio.sum() / jnp.maximum(mask.any(0).sum(), 1)


def synchrony(spikes: jax.Array, mask: jax.Array) -> jax.Array:
    r"""Return how far the neurons of a layer fire together, the mean over trials of

    $$\chi^2 = \frac{\mathrm{Var}_t[\langle s_i \rangle_i]}{\langle \mathrm{Var}_t[s_i] \rangle_i}$$

    One where all fire in the same steps, about one over their number where they are independent, zero where none
    changes from step to step.

    Args:
        spikes: `(T, B, *size)`.
        mask: `(T, B)`, true at valid steps; a trial without any does not count.

    Reference: Golomb (2007), http://www.scholarpedia.org/article/Neuronal_synchrony_measures.
    """
    return Moments.of(spikes, mask).synchrony(mask)


def membrane_bounds(V: Any, mask: jax.Array, *, lower: Any, upper: Any) -> jax.Array:
    r"""Return the mean of $(\max(0, V_{lo} - V)^2 + \max(0, V - V_{hi})^2) / (V_{hi} - V_{lo})^2$.

    Over neurons, trials and valid steps. Zero while every potential lies within the bounds; it has a gradient where a
    potential has left the range in which the slope of the surrogate is of use.

    Args:
        V: potentials, `(T, B, *size)`, as `nnx.capture(model, StateTrain)` returns them.
        mask: `(T, B)`, true at valid steps.
        lower: the lowest potential that is free.
        upper: the highest potential that is free, above `lower`.

    Raises:
        DomainError: `upper` does not lie above `lower`.
        UnitError: the bounds are not in a unit of V.

    Reference: the squared form of a hinge in Kaiser, Mostafa and Neftci (2020),
    https://doi.org/10.3389/fnins.2020.00424.
    """
    unit = unit_of(V)
    low, high = (
        magnitude(expect_unit("membrane_bounds", name, bound, unit), unit)
        for name, bound in (("lower", lower), ("upper", upper))
    )
    if not low < high:
        raise DomainError(f"membrane_bounds(lower=..., upper=...) needs lower < upper, got {lower} and {upper}.")
    neurons = V[0, 0].size
    return outside(magnitude(V), mask, low, high).sum() / jnp.maximum(mask.sum() * neurons, 1)


def outside(V: jax.Array, mask: jax.Array, low: float, high: float) -> jax.Array:
    """Return the sum over steps, trials and neurons that `membrane_bounds` is the mean of; sums of pieces add up."""
    valid = mask.reshape(*mask.shape, *[1] * (V.ndim - 2))
    v = jnp.where(valid, V, low)
    excess = jnp.maximum(0.0, low - v) ** 2 + jnp.maximum(0.0, v - high) ** 2
    return excess.sum() / (high - low) ** 2


def rate_bounds(rates: jax.Array, *, lower_hz: float, upper_hz: float) -> jax.Array:
    r"""Return the mean over neurons of $\max(0, r_{lo} - r)^2 + \max(0, r - r_{hi})^2$, with r in kHz.

    Zero while every neuron's rate lies within the bounds. A neuron that never spikes is still pulled up through
    the surrogate slope.

    Reference: Zenke and Vogels (2021), https://doi.org/10.1162/neco_a_01367.
    """
    below = jnp.maximum(0.0, lower_hz - rates)
    above = jnp.maximum(0.0, rates - upper_hz)
    return jnp.mean((below * 1e-3) ** 2 + (above * 1e-3) ** 2)
