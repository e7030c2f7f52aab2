"""States: what a model remembers, told apart by how long it lives.

Each holds a bare array in the leaf and its unit in the metadata, so that optimizers, gradients and
checkpoints see plain arrays while equations see quantities.
"""

from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from spiketrain.domain import REAL, Domain
from spiketrain.errors import DomainError, ShapeError, UnitError
from spiketrain.units import has_unit, magnitude, show, unit_of, with_unit


class State(nnx.Variable):
    """An array with a unit. Read and write it through `.value`.

    Args:
        value: a number, array or `Quantity`; integers become floating.
        domain: where the value may lie. The leaf holds `domain.inverse(value)`, which is unconstrained, so
            that an optimizer can move it anywhere and the value still stays inside.
        dtype: what it is kept in, `environ.get_dtype()` for instance; that of `value` unless it is given. Half
            precision is for keeping, not for computing: `.value` hands out single precision at least.
    """

    def __init__(self, value: Any, *, domain: Domain = REAL, dtype: Any = None, **metadata: Any):
        bare = jnp.asarray(magnitude(value), dtype)
        if not jnp.issubdtype(bare.dtype, jnp.inexact):
            bare = bare.astype(float)
        super().__init__(domain.inverse(bare), unit=unit_of(value), domain=domain, **metadata)

    @property
    def value(self) -> Any:
        """The value, as a `Quantity` where the State has a unit."""
        raw = self.get_raw_value()
        if jnp.issubdtype(raw.dtype, jnp.floating) and jnp.finfo(raw.dtype).bits < 32:
            raw = raw.astype(jnp.float32)  # a constant times half precision would be rounded before it is used
        return with_unit(self.domain.forward(raw), self.unit)

    @value.setter
    def value(self, new: Any) -> None:
        old = self.get_raw_value()
        name = type(self).__name__
        if not unit_of(new).has_same_dim(self.unit):
            example = f" Write, for example, `1.0 * u.{self.unit}`." if not has_unit(new) else ""
            raise UnitError(f"{name}.value holds quantities in units of `{self.unit}`, got {show(new)}.{example}")
        bare = jnp.asarray(new.to_decimal(self.unit) if isinstance(new, u.Quantity) else new)
        if bare.shape != old.shape:
            raise ShapeError(
                f"{name}.value has shape {old.shape}, got {bare.shape}. Broadcast the value before writing it."
            )
        if self.domain != REAL and not isinstance(bare, jax.core.Tracer) and not self.domain.contains(np.asarray(bare)):
            raise DomainError(f"{name}.value must be {self.domain.describe}, got {show(new)}.")
        self.set_raw_value(_kept(self.domain.inverse(bare), old.dtype))


def _kept(x: jax.Array, dtype: Any) -> jax.Array:
    """Cast `x`; what a compiler holds in a register is rounded, too, so that V spikes and is reset at one value."""
    if jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32 and x.dtype != dtype:
        single = x.astype(jnp.float32)
        x = jax.lax.reduce_precision(single, jnp.finfo(dtype).nexp, jnp.finfo(dtype).nmant)
    return x.astype(dtype)


class ShortTermState(State):
    """What lives for one trial: membrane potentials, conductances, delay lines."""


class LongTermState(State):
    """What outlives a trial without being trained: plastic weights, fixed per-neuron parameters."""


class ParamState(State, nnx.Param):
    """What an optimizer trains; constant during a trial."""


class SpikeTrain(nnx.Intermediate):
    """A hidden train of spikes, kept while captured: `nnx.capture(model, SpikeTrain)`."""


class StateTrain(nnx.Intermediate):
    """The trains of all short-term States, kept while captured: `nnx.capture(model, StateTrain)`."""
