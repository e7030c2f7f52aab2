"""Convolution over time: every neuron sees the last few steps of all channels, or of its own."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from spiketrain import causal
from spiketrain.errors import ShapeError
from spiketrain.parameter import Trainable
from spiketrain.projections.comm.base import make_weight
from spiketrain.typing import Size, as_size
from spiketrain.units import magnitude, with_unit
from spiketrain.windowed import Windowed, window


class TemporalConv(Windowed):
    r"""Convolve a train over time, causally: $y_j[n] = \sum_{d=0}^{K-1} \sum_i W_{d i j} \, x_i[n - d]$.

    Input of before the trial is zero, so there are as many outputs as inputs. A whole trial is one product, or goes by
    frequencies where K is large (`causal.convolve`); a step equals its part of the trial up to rounding.

    Args:
        in_size: the number of channels.
        out_size: the number of outputs.
        steps: K, how many steps an output sees, the present one included.
        weight: an array `(steps, in_size, out_size)`, a scalar or an initialiser, with or without a unit; wrapped in
            `Trainable` where an optimizer is to change it. Trained and scaled by fan-in unless it is given.
        rngs: needed where `weight` is an initialiser.

    Input and output: numbers `(*batch, in_size)` in, `(*batch, out_size)` out in the unit of the weights.

    Raises:
        DomainError: `steps` is no positive whole number.
        ShapeError: the weight or the input has the wrong shape.
    """

    def __init__(
        self, in_size: int, out_size: int, *, steps: int = 5, weight: Any = None, rngs: nnx.Rngs | None = None
    ):
        self.in_size, self.out_size = as_size("TemporalConv", in_size), as_size("TemporalConv", out_size)
        self.steps = window("TemporalConv", steps)
        if len(self.in_size) != 1 or len(self.out_size) != 1:
            raise ShapeError(f"TemporalConv(in_size, out_size) takes one number each, got {in_size} and {out_size}.")
        shape = (steps, *self.in_size, *self.out_size)
        weight = Trainable(nnx.initializers.lecun_normal(in_axis=(0, 1))) if weight is None else weight
        self.weight = make_weight("TemporalConv", weight, shape, rngs)
        self.weight.set_raw_value(jnp.broadcast_to(self.weight.get_raw_value(), shape))

    @property
    def unit(self) -> Any:
        """The unit of the weights."""
        return self.weight.unit

    def filtered(self, seen: jax.Array) -> Any:
        """Return the sums over the window."""
        return with_unit(causal.convolve(seen, magnitude(self.weight.value)), self.unit)


class DepthwiseTemporalConv(Windowed):
    r"""Convolve every channel over time with a kernel of its own, causally: $y_i[n] = \sum_{d=0}^{K-1} W_{d i} \, x_i[n - d]$.

    Args:
        size: the number of channels, or their shape.
        steps: K, how many steps an output sees, the present one included.
        weight: an array `(steps, *size)`, a scalar or an initialiser, with or without a unit; wrapped in `Trainable`
            where an optimizer is to change it. Unless it is given it is trained and begins as the present input alone.
        rngs: needed where `weight` is an initialiser.

    Input and output: numbers `(*batch, *size)` in; the same shape out in the unit of the weights.

    Raises:
        DomainError: `steps` is no positive whole number.
        ShapeError: the weight or the input has the wrong shape.
    """

    def __init__(self, size: Size, *, steps: int = 5, weight: Any = None, rngs: nnx.Rngs | None = None):
        self.in_size = self.out_size = as_size("DepthwiseTemporalConv", size)
        self.steps = window("DepthwiseTemporalConv", steps)
        shape = (steps, *self.in_size)
        weight = Trainable(jnp.zeros(shape).at[0].set(1.0)) if weight is None else weight
        self.weight = make_weight("DepthwiseTemporalConv", weight, shape, rngs)
        self.weight.set_raw_value(jnp.broadcast_to(self.weight.get_raw_value(), shape))

    @property
    def unit(self) -> Any:
        """The unit of the weights."""
        return self.weight.unit

    def filtered(self, seen: jax.Array) -> Any:
        """Return the sums over the window."""
        return with_unit(causal.weighted(seen, magnitude(self.weight.value)), self.unit)
