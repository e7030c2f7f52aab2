"""Where a plastic weight may lie, and how a change of it depends on where it is."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spiketrain.errors import DomainError, UnitError
from spiketrain.units import Constant, expect_unit, has_unit, magnitude, same_dimension, show, unit_of, with_unit

_ROUNDING = 1e-6  # of the range: what a conversion of units may add to a weight at a bound


@dataclass(frozen=True, init=False)
class WeightBounds:
    r"""Keep a weight within $w_{min} \le w \le w_{max}$, and scale its changes by the room that is left:

    $$\Delta w = (w_{max} - w_{min}) \, f(w) \, \Delta, \qquad
    f(w) = \left(\frac{w_{max} - w}{w_{max} - w_{min}}\right)^\mu \text{ where } \Delta > 0, \quad
    \left(\frac{w - w_{min}}{w_{max} - w_{min}}\right)^\mu \text{ elsewhere.}$$

    A change $\Delta$, and with it the amplitude of a rule, is a fraction of the range and has no unit. With
    $\mu = 0$ it does not depend on the weight (additive) and the weight is cut off at the bounds; with $\mu = 1$ it is
    proportional to the room that is left (multiplicative). Whatever oversteps a bound is cut off for any $\mu$.

    Args:
        w_min: the lower bound, in the unit of the weights.
        w_max: the upper bound, in the unit of the weights.
        mu: the exponent, from 0 to 1.

    Raises:
        DomainError: the bounds are not finite and in order, or mu lies outside 0..1.
        UnitError: the bounds have different dimensions.

    Reference: Guetig et al. (2003), https://doi.org/10.1523/JNEUROSCI.23-09-03697.2003.
    """

    w_min: Constant
    w_max: Constant
    mu: float

    def __init__(self, w_min: Any, w_max: Any, *, mu: float = 0.0):
        lower, upper = Constant.of(w_min), Constant.of(w_max)
        expect_unit("WeightBounds", "w_max", w_max, lower.unit)
        if not -np.inf < lower.magnitude < magnitude(upper.value, lower.unit) < np.inf:
            raise DomainError(
                f"WeightBounds(w_min, w_max) must be finite with w_min below w_max, got {show(w_min)} and {show(w_max)}."
            )
        if has_unit(mu):
            raise UnitError(f"WeightBounds(mu=...) expects a number without a unit, got {show(mu)}.")
        if not 0 <= mu <= 1:
            raise DomainError(
                f"WeightBounds(mu=...) must lie in 0..1, got {show(mu)}. Write 0.0 for additive, 1.0 for multiplicative."
            )
        for name, value in (("w_min", lower), ("w_max", upper), ("mu", float(mu))):
            object.__setattr__(self, name, value)

    def checked(self, owner: str, w: Any) -> Any:
        """Return the weights `w` that a rule starts from, which must lie within the bounds."""
        if not same_dimension(unit_of(w), self.w_max.unit):
            raise UnitError(
                f"{owner}(bounds=...) expects bounds in the unit of the weights, `{unit_of(w)}`, got "
                f"{self.w_min} and {self.w_max}."
            )
        lower, upper = self._within(unit_of(w))
        slack = _ROUNDING * (upper - lower)
        if isinstance(magnitude(w), jax.core.Tracer):
            return self.change(w)
        low, high = float(jnp.min(magnitude(w))), float(jnp.max(magnitude(w)))
        if not lower - slack <= low <= high <= upper + slack:
            raise DomainError(
                f"{owner}(comm, bounds=...) starts from weights between {show(with_unit(low, unit_of(w)))} and "
                f"{show(with_unit(high, unit_of(w)))}, but they must lie between {self.w_min} and {self.w_max}."
            )
        return self.change(w)

    def change(self, w: Any, *fractions: Any) -> Any:
        """Return `w` after changes that are given as fractions of the range, all scaled at the old `w`."""
        unit, w = unit_of(w), magnitude(w)
        lower, upper = self._within(unit)
        total = 0.0
        for fraction in fractions:
            room = jnp.where(fraction > 0, upper - w, w - lower) / (upper - lower)
            total = total + fraction * room**self.mu
        return with_unit(jnp.clip(w + (upper - lower) * total, lower, upper), unit)

    def _within(self, unit: Any) -> tuple[Any, Any]:
        return magnitude(self.w_min.value, unit), magnitude(self.w_max.value, unit)
