"""All-to-all connections with one weight per pair."""

from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from spiketrain.errors import ShapeError, UnitError
from spiketrain.parameter import Trainable, drawn
from spiketrain.state import LongTermState, ParamState
from spiketrain.typing import as_size
from spiketrain.units import magnitude, unit_of, with_unit


class Dense(nnx.Module):
    r"""Multiply spikes with a weight matrix: $y = s \, W$.

    Args:
        in_size: the number of presynaptic neurons.
        out_size: the number of postsynaptic neurons.
        weight: a scalar, a matrix `(in_size, out_size)` or an initialiser, with or without a unit; wrapped in
            `Trainable` where an optimizer is to change it. Trained and scaled by fan-in unless it is given.
        rngs: needed where `weight` is an initialiser.

    Input and output: `(..., in_size)` in, `(..., out_size)` out, in the unit of the weights; any number of leading
    axes, so a whole train is one product.

    Raises:
        ShapeError: the weight or the input has the wrong shape.
    """

    def __init__(self, in_size: int, out_size: int, *, weight: Any = None, rngs: nnx.Rngs | None = None):
        self.in_size, self.out_size = as_size("Dense", in_size), as_size("Dense", out_size)
        shape = (in_size, out_size)
        weight = Trainable(nnx.initializers.lecun_normal()) if weight is None else weight
        value = drawn(weight, shape, rngs, owner="Dense", name="weight")
        kind = ParamState if isinstance(value, Trainable) else LongTermState
        value = value.value if isinstance(value, Trainable) else value
        bare = magnitude(value)
        if isinstance(bare, str | bool) or not isinstance(bare, int | float | np.ndarray | np.number | jax.Array):
            raise UnitError(
                f"Dense(weight=...) expects a number, a matrix, a quantity or an initialiser, got {value!r}."
            )
        if jnp.shape(bare) not in ((), shape):
            raise ShapeError(f"Dense(weight=...) must be a scalar or have shape {shape}, got {jnp.shape(bare)}.")
        self.weight = kind(with_unit(jnp.broadcast_to(jnp.asarray(bare, float), shape), unit_of(value)))

    @property
    def unit(self) -> Any:
        """The unit of the weights."""
        return self.weight.unit

    def __call__(self, spikes: Any) -> Any:
        """Return the weighted sum over presynaptic neurons."""
        if jnp.shape(magnitude(spikes))[-1:] != self.in_size:
            raise ShapeError(
                f"Dense expects spikes of shape (..., {self.in_size[0]}), got {jnp.shape(magnitude(spikes))}."
            )
        return u.math.matmul(spikes, self.weight.value)  # `@` of a numpy array does not know quantities
