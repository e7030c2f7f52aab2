"""All-to-all connections with one weight per pair."""

from typing import Any

import jax.numpy as jnp
from flax import nnx

from spiketrain.parameter import Trainable
from spiketrain.products import SpikeProduct
from spiketrain.projections.comm.base import Comm, make_weight
from spiketrain.units import magnitude, unit_of, with_unit


class Dense(Comm):
    r"""Multiply spikes with a weight matrix: $y = s \, W$.

    Args:
        in_size: the number of presynaptic neurons.
        out_size: the number of postsynaptic neurons.
        weight: a scalar, a matrix `(in_size, out_size)` or an initialiser, with or without a unit; wrapped in
            `Trainable` where an optimizer is to change it. Trained and scaled by fan-in unless it is given.
        precision: "float32", "bf16x3", "bf16x2" or "bf16", whose errors `SpikeProduct` states. The last three are for
            spikes: they round an input that is not an integer to eight bits.
        rngs: needed where `weight` is an initialiser.

    Input and output: `(..., in_size)` in, `(..., out_size)` out, in the unit of the weights; any number of leading
    axes, so a whole train is one product. With "float32" it is in the precision of its arrays, unless
    `jax.default_matmul_precision` is set.

    Raises:
        DomainError: the precision is none of these.
        ShapeError: the weight or the input has the wrong shape.
    """

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        weight: Any = None,
        precision: str = "float32",
        rngs: nnx.Rngs | None = None,
    ):
        super().__init__(in_size, out_size)
        self.product = SpikeProduct(precision)
        shape = (in_size, out_size)
        weight = Trainable(nnx.initializers.lecun_normal()) if weight is None else weight
        self.weight = make_weight("Dense", weight, shape, rngs)
        self.weight.set_raw_value(jnp.broadcast_to(self.weight.get_raw_value(), shape))

    def __call__(self, spikes: Any) -> Any:
        """Return the weighted sum over presynaptic neurons."""
        self.check(spikes)
        y = self.product(jnp.asarray(magnitude(spikes)), self.weight.get_raw_value())
        return with_unit(y, unit_of(spikes) * self.unit)
