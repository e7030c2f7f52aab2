"""What every comm shares: its sizes, its weight, and the check of what arrives."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from spiketrain.dynamics import Dynamics
from spiketrain.errors import ShapeError, UnitError
from spiketrain.parameter import Trainable, drawn
from spiketrain.state import LongTermState, ParamState
from spiketrain.typing import as_size
from spiketrain.units import magnitude, unit_of, with_unit


class Comm(nnx.Module):
    """A linear map from presynaptic spikes to what arrives at the postsynaptic neurons.

    The call takes `(..., in_size)` and returns `(..., out_size)` in the unit of the weights, times that of the input
    where it has one; with any number of leading axes, so a whole train is one product. The input may be spikes or
    any other numbers.

    Args:
        in_size: the number of presynaptic neurons.
        out_size: the number of postsynaptic neurons.
    """

    in_size: tuple[int, ...]
    out_size: tuple[int, ...]
    weight: LongTermState | ParamState

    def __init__(self, in_size: int, out_size: int):
        owner = type(self).__name__
        self.in_size, self.out_size = as_size(owner, in_size), as_size(owner, out_size)
        if len(self.in_size) != 1 or len(self.out_size) != 1:
            raise ShapeError(
                f"{owner}(in_size, out_size) takes one number each, got {in_size} and {out_size}. "
                f"Write, for example, `{owner}(800, 1000, ...)`."
            )

    @property
    def unit(self) -> Any:
        """The unit of the weights."""
        return self.weight.unit

    def check(self, spikes: Any) -> None:
        """Refuse an input that does not end in the shape of the presynaptic neurons."""
        shape = jnp.shape(magnitude(spikes))
        if shape[-len(self.in_size) :] != self.in_size:
            wanted = ", ".join(map(str, self.in_size))
            raise ShapeError(f"{type(self).__name__} expects spikes of shape (..., {wanted}), got {shape}.")


def one_step(comm: Any, *spikes: Any) -> Any:
    """Return what one step of spikes makes arrive: a comm that remembers, as one with delays does, is updated."""
    return comm.update(*spikes) if isinstance(comm, Dynamics) else comm(*spikes)


def make_weight(owner: str, weight: Any, shape: tuple[int, ...], rngs: nnx.Rngs | None) -> LongTermState | ParamState:
    """Return the State of a weight: one number for all connections, or an array of the given shape."""
    value = drawn(weight, shape, rngs, owner=owner, name="weight")
    kind = ParamState if isinstance(value, Trainable) else LongTermState
    value = value.value if isinstance(value, Trainable) else value
    bare = magnitude(value)
    if isinstance(bare, str | bool) or not isinstance(bare, int | float | np.ndarray | np.number | jax.Array):
        wanted = "a number, a matrix, a quantity" if len(shape) == 2 else "a number, an array, a quantity"
        raise UnitError(f"{owner}(weight=...) expects {wanted} or an initialiser, got {value!r}.")
    if jnp.shape(bare) not in ((), shape):
        allowed = f"a scalar or have shape {shape}" if shape else "a scalar"
        raise ShapeError(f"{owner}(weight=...) must be {allowed}, got {jnp.shape(bare)}.")
    return kind(with_unit(jnp.asarray(bare, float), unit_of(value)))
