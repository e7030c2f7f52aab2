"""What every synapse shares: a size, a unit, and the order of its update."""

from typing import Any

import jax.numpy as jnp
from flax import nnx

from spiketrain.dynamics import Dynamics
from spiketrain.environ import get_dtype
from spiketrain.errors import ShapeError, UnitError
from spiketrain.parameter import Parameter, drawn
from spiketrain.state import ShortTermState
from spiketrain.typing import Size, as_size
from spiketrain.units import UNITLESS, has_unit, magnitude, same_dimension, show, unit_of, with_unit


class Synapse(Dynamics):
    """Filters what arrives. The order of one update: integrate over `dt`, then add the arrivals, then emit.

    Args:
        size: the shape of one trial's output, an integer or a tuple.
        unit: the unit of what arrives and of the output, such as `u.nS`; a projection fills it in from its
            weights where it is None.
        rngs: random numbers, needed where an argument is an initialiser.
        parameters: the physical arguments that the subclass declares.

    Attributes:
        linear: whether the response to two arrivals is the sum of the responses to each. Only then may arrivals of
            several presynaptic neurons share one state.
    """

    linear = True

    def __init__(self, size: Size, *, unit: Any, rngs: nnx.Rngs | None, **parameters: Any):
        self.size = self.in_size = as_size(type(self).__name__, size)
        self.unit = unit
        for name, value in parameters.items():
            assert isinstance(getattr(type(self), name), Parameter)
            setattr(self, name, drawn(value, self.size, rngs, owner=type(self).__name__, name=name))

    def zeros(self, batch_shape: tuple[int, ...]) -> ShortTermState:
        """Return a State of zeros in the synapse's unit."""
        return ShortTermState(with_unit(jnp.zeros((*batch_shape, *self.size)), self._unit), dtype=get_dtype())

    def arrivals(self, inputs: tuple[Any, ...], *, at: ShortTermState) -> Any:
        """Sum what arrives in this step, checked for unit and shape."""
        for x in inputs:
            shape = jnp.shape(magnitude(x))
            if shape not in ((), at.shape):
                raise ShapeError(
                    f"{type(self).__name__}.update got an input of shape {shape}, but its state has shape {at.shape}. "
                    "An input has the shape of the state or is a scalar; nothing else is broadcast."
                )
            if not same_dimension(unit_of(x), self._unit):
                wants = f"quantities in units of `{self._unit}`" if self._unit != UNITLESS else "bare numbers"
                hint = f"Write, for example, `{type(self).__name__}({self.size[0]}, unit=u.{unit_of(x)})`."
                raise UnitError(
                    f"{type(self).__name__}.update expects {wants}, got {show(x)}."
                    + (f" {hint}" if has_unit(x) else "")
                )
        return sum(inputs, with_unit(0.0, self._unit))

    @property
    def _unit(self) -> Any:
        return UNITLESS if self.unit is None else self.unit
