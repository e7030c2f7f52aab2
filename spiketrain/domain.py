"""Where a physical parameter may lie, and the map that keeps a trained one there.

A trained parameter is stored as an unconstrained number and read through a smooth, strictly increasing map
onto its domain: no step of an optimizer can leave the domain, and the gradient never becomes exactly zero at
an edge, as it would by clipping.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Domain:
    """The real line; the base of every other domain."""

    describe = "a finite number"

    def contains(self, x: np.ndarray) -> bool:
        """Whether every entry of `x` lies in the domain."""
        return bool(np.all(np.isfinite(x)))

    def forward(self, raw: Any) -> Any:
        """Map an unconstrained array into the domain."""
        return raw

    def inverse(self, x: Any) -> Any:
        """Map a value in the domain to its unconstrained representation."""
        return x


@dataclass(frozen=True)
class NonNegative(Domain):
    r"""$x \ge 0$; a trained one is $|\theta|$."""

    describe = "a finite number and not negative"

    def contains(self, x: np.ndarray) -> bool:
        """Whether every entry of `x` is finite and not negative."""
        return super().contains(x) and bool(np.all(x >= 0))

    def forward(self, raw: Any) -> Any:
        """Return the absolute value."""
        return jnp.abs(raw)


@dataclass(frozen=True)
class Positive(Domain):
    r"""$x = e^\theta > 0$, so a step in $\theta$ changes a time constant by a factor."""

    describe = "greater than zero"

    def contains(self, x: np.ndarray) -> bool:
        """Whether every entry of `x` is finite and positive."""
        return super().contains(x) and bool(np.all(x > 0))

    def forward(self, raw: Any) -> Any:
        """Return the exponential."""
        return jnp.exp(raw)

    def inverse(self, x: Any) -> Any:
        """Return the logarithm."""
        return jnp.log(x)


@dataclass(frozen=True)
class Between(Domain):
    r"""$x = low + (high - low) / (1 + e^{-\theta})$, strictly between two bounds."""

    low: float
    high: float

    @property
    def describe(self) -> str:  # type: ignore[override]
        """Name both bounds."""
        return f"above {self.low:g} and below {self.high:g}"

    def contains(self, x: np.ndarray) -> bool:
        """Whether every entry of `x` lies between the bounds."""
        return bool(np.all((self.low < x) & (x < self.high)))

    def forward(self, raw: Any) -> Any:
        """Return the logistic function, scaled."""
        return self.low + (self.high - self.low) * jax.nn.sigmoid(raw)

    def inverse(self, x: Any) -> Any:
        """Return its inverse."""
        return jnp.log(x - self.low) - jnp.log(self.high - x)


REAL = Domain()
NON_NEGATIVE = NonNegative()
POSITIVE = Positive()
