"""The end of a stack: from its last layer to one train per class."""

from typing import Any

import jax
from flax import nnx

from spiketrain.layers.linear import linear
from spiketrain.layers.stack import flat
from spiketrain.neurons.leaky_integrator import LeakyIntegrator
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


def linear_readout(
    in_size: tuple[int, ...], n_out: int, *, scale: float = 1.0, precision: str = "float32", rngs: nnx.Rngs
) -> nnx.Linear:
    """Return a linear layer whose output at every step is the score of each class; arguments as in `LeakyReadout`."""
    flat("linear_readout", in_size)
    return linear(in_size, features=n_out, scale=scale, precision=precision, rngs=rngs)
