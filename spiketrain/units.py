"""Physical quantities at the boundary of a model: checked once, by name, then plain equations."""

from dataclasses import dataclass
from typing import Any

import brainunit as u
import jax
import numpy as np

from spiketrain.errors import UnitError

UNITLESS = u.UNITLESS


@dataclass(frozen=True)
class Constant:
    """A scalar with its unit that can be hashed and compared, so that it can be a static attribute."""

    magnitude: float
    unit: Any = UNITLESS

    @classmethod
    def of(cls, value: Any) -> "Constant":
        """Build one from a number, a zero-dimensional array or a scalar `Quantity`."""
        return cls(float(magnitude(value)), unit_of(value))

    @property
    def value(self) -> Any:
        """The number, as a `Quantity` where it has a unit."""
        return with_unit(self.magnitude, self.unit)

    def __str__(self) -> str:
        return f"{self.magnitude:g}" if self.unit == UNITLESS else f"{self.magnitude:g} * u.{self.unit}"


def unit_of(value: Any) -> Any:
    """Return the unit of `value`; `UNITLESS` for a bare number or array."""
    return u.get_unit(value)


def magnitude(value: Any, unit: Any = None) -> Any:
    """Return the bare number or array in `value`, measured in `unit` (its own by default)."""
    if not isinstance(value, u.Quantity):
        return value
    return value.mantissa if unit is None or unit == value.unit else value.to_decimal(unit)


def in_seconds(time: Any) -> Any:
    """Return a time as bare seconds; a bare time counts in ms."""
    return magnitude(time, u.second) if isinstance(time, u.Quantity) else time * 1e-3


def with_unit(value: Any, unit: Any) -> Any:
    """Attach `unit` to a bare number or array; a unitless one stays bare."""
    return value if unit == UNITLESS else u.Quantity(value, unit=unit)


def has_unit(value: Any) -> bool:
    """Whether `value` carries a physical unit."""
    return unit_of(value) != UNITLESS


def same_dimension(a: Any, b: Any) -> bool:
    """Whether two units measure the same physical dimension."""
    return a.has_same_dim(b)


def show(value: Any) -> str:
    """Write a value the way an error message should: short, with its unit, never a whole array."""
    number = magnitude(value)
    if isinstance(number, jax.core.Tracer):
        text = f"a traced array of shape {number.shape}"
    elif np.ndim(number):
        text = f"an array of shape {np.shape(number)}"
    elif isinstance(number, int | float | np.number | np.ndarray | jax.Array):
        text = f"{float(number):g}"
    else:
        text = f"{number!r} ({type(number).__name__})"
    return f"{text} {unit_of(value)}" if has_unit(value) else text


def expect_unit(owner: str, name: str, value: Any, unit: Any) -> Any:
    """Return `value` if it has the dimension of `unit`, or raise an error that says what to write.

    Args:
        owner: what the user called, such as `LIF`.
        name: the argument as the user wrote it.
        value: what arrived.
        unit: a unit of the right dimension.
    """
    if same_dimension(unit_of(value), unit):
        return value
    number = magnitude(value)
    example = float(number) if isinstance(number, int | float | np.number) else 1.0
    if unit == UNITLESS:
        raise UnitError(
            f"{owner}({name}=...) expects a number without a unit, got {show(value)}. Write, for example, `{example}`."
        )
    raise UnitError(
        f"{owner}({name}=...) expects a quantity in units of `{unit}`, got {show(value)}"
        f"{'' if has_unit(value) else ' without a unit'}. Write, for example, `{example} * u.{unit}`."
    )
