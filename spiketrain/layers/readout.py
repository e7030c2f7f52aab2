"""The end of a stack: from its last layer to one train per class."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from spiketrain.errors import DomainError
from spiketrain.layers.linear import linear
from spiketrain.layers.stack import flat
from spiketrain.neurons.base import Neuron
from spiketrain.neurons.leaky_integrator import LeakyIntegrator
from spiketrain.neurons.lif import LIF
from spiketrain.parameter import Trainable


class LeakyReadout(nnx.Module):
    """A linear layer and a leaky integrator per class, whose potentials are the output.

    Args:
        in_size: the shape of one input, one number.
        n_out: the number of classes.
        tau: the initial time constant, trained for every class; a bare number counts in ms.
        scale: the standard deviation of the weights times the square root of their fan-in.
        precision: of the product, see `SpikeProduct`.
        rngs: random numbers for the weights.
    """

    def __init__(
        self,
        in_size: tuple[int, ...],
        n_out: int,
        *,
        tau: Any = 20.0,
        scale: float = 1.0,
        precision: str = "float32",
        rngs: nnx.Rngs,
    ):
        flat("LeakyReadout", in_size)
        self.linear = linear(in_size, features=n_out, scale=scale, precision=precision, rngs=rngs)
        self.membrane = LeakyIntegrator(n_out, tau=Trainable(tau))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the potentials `(T, B, n_out)`."""
        return self.membrane(self.linear(x))


class PopulationReadout(nnx.Module):
    """A linear layer onto several spiking neurons per class; the output is how many of a class fire, over all of them.

    With `sum_over_time` as readout of the loss, the score of a class is the mean spike count of its neurons. With one
    neuron per class the output is its spikes, as `FirstSpike` and `VanRossum` take them.

    Args:
        in_size: the shape of one input, one number.
        n_out: the number of classes.
        neuron: makes the neurons, `neuron(size, rngs=rngs)`.
        per_class: how many neurons vote for a class.
        scale: the standard deviation of the weights times the square root of their fan-in.
        precision: of the product, see `SpikeProduct`.
        rngs: random numbers for weights and neurons.

    Reference: Fang et al. (2021), https://arxiv.org/abs/2007.05785, where ten neurons vote for a class.
    """

    def __init__(
        self,
        in_size: tuple[int, ...],
        n_out: int,
        *,
        neuron: Callable[..., Neuron] = LIF,
        per_class: int = 10,
        scale: float = 1.0,
        precision: str = "float32",
        rngs: nnx.Rngs,
    ):
        flat("PopulationReadout", in_size)
        if per_class < 1:
            raise DomainError(f"PopulationReadout(per_class=...) must be at least 1, got {per_class}.")
        n = n_out * per_class
        self.per_class = per_class
        self.linear = linear(in_size, features=n, scale=scale, precision=precision, rngs=rngs)
        self.spiking = neuron(n, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the part of every class's neurons that fires, `(T, B, n_out)`."""
        spikes = self.spiking(self.linear(x))
        classes = spikes.shape[-1] // self.per_class
        return spikes.reshape(*spikes.shape[:-1], classes, self.per_class).mean(-1)


def linear_readout(
    in_size: tuple[int, ...], n_out: int, *, scale: float = 1.0, precision: str = "float32", rngs: nnx.Rngs
) -> nnx.Linear:
    """Return a linear layer whose output at every step is the score of each class; arguments as in `LeakyReadout`."""
    flat("linear_readout", in_size)
    return linear(in_size, features=n_out, scale=scale, precision=precision, rngs=rngs)
