"""All-to-all connections with one weight per pair."""

from typing import Any

import brainunit as u
import jax.numpy as jnp
from flax import nnx

from spiketrain.parameter import Trainable
from spiketrain.projections.comm.base import Comm, make_weight, precision


class Dense(Comm):
    r"""Multiply spikes with a weight matrix: $y = s \, W$.

    Args:
        in_size: the number of presynaptic neurons.
        out_size: the number of postsynaptic neurons.
        weight: a scalar, a matrix `(in_size, out_size)` or an initialiser, with or without a unit; wrapped in
            `Trainable` where an optimizer is to change it. Trained and scaled by fan-in unless it is given.
        rngs: needed where `weight` is an initialiser.

    Input and output: `(..., in_size)` in, `(..., out_size)` out, in the unit of the weights; any number of leading
    axes, so a whole train is one product, in the precision of its arrays unless `jax.default_matmul_precision` is set.

    Raises:
        ShapeError: the weight or the input has the wrong shape.
    """

    def __init__(self, in_size: int, out_size: int, *, weight: Any = None, rngs: nnx.Rngs | None = None):
        super().__init__(in_size, out_size)
        shape = (in_size, out_size)
        weight = Trainable(nnx.initializers.lecun_normal()) if weight is None else weight
        self.weight = make_weight("Dense", weight, shape, rngs)
        self.weight.set_raw_value(jnp.broadcast_to(self.weight.get_raw_value(), shape))

    def __call__(self, spikes: Any) -> Any:
        """Return the weighted sum over presynaptic neurons."""
        self.check(spikes)
        # `@` of a numpy array does not know quantities
        return u.math.matmul(spikes, self.weight.value, precision=precision())
