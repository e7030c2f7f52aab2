"""Every neuron to every other, at one strength."""

from typing import Any

import brainunit as u
import jax.numpy as jnp
from flax import nnx

from spiketrain.errors import ShapeError
from spiketrain.projections.comm.base import Comm, make_weight


class AllToAll(Comm):
    r"""Connect every pair with one shared weight, without a matrix: $y_j = w \sum_i s_i$.

    Args:
        in_size: the number of presynaptic neurons.
        out_size: the number of postsynaptic neurons.
        weight: one number with or without a unit, wrapped in `Trainable` where an optimizer is to change it. For one
            weight per pair there is `Dense`.
        allow_autapses: whether neuron i reaches neuron i. False leaves that pair out, for a population onto itself.
        rngs: needed where `weight` is an initialiser.

    Input and output: `(..., in_size)` in, `(..., out_size)` out, in the unit of the weight.

    Raises:
        ShapeError: the weight is no scalar, the input has the wrong shape, or autapses are excluded between
            populations of different sizes.
    """

    def __init__(
        self, in_size: int, out_size: int, *, weight: Any, allow_autapses: bool = True, rngs: nnx.Rngs | None = None
    ):
        super().__init__(in_size, out_size)
        self.weight = make_weight("AllToAll", weight, (), rngs)
        self.allow_autapses = allow_autapses
        if not allow_autapses and in_size != out_size:
            raise no_autapses("AllToAll", in_size, out_size)

    def __call__(self, spikes: Any) -> Any:
        """Return the weighted sum over presynaptic neurons."""
        self.check(spikes)
        spikes = spikes * self.weight.value
        total = u.math.sum(spikes, axis=-1, keepdims=True)
        if not self.allow_autapses:
            return total - spikes
        return u.math.broadcast_to(total, (*jnp.shape(total)[:-1], *self.out_size))


def no_autapses(owner: str, in_size: int, out_size: int) -> ShapeError:
    """Return the error of excluding autapses where there can be none."""
    return ShapeError(
        f"{owner}(allow_autapses=False) leaves out the connection of neuron i to itself, which needs one population, "
        f"got {in_size} neurons onto {out_size}. Leave the argument out between two populations."
    )
