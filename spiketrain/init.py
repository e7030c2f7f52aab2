"""Initialisers with units: frozen callables `f(key, shape, dtype)`, as flax's own are.

`jax.nn.initializers` and `flax.nnx.initializers` fit wherever one of these does.
"""

from typing import Any

import jax

from spiketrain.errors import DomainError, UnitError
from spiketrain.units import Constant, same_dimension, show, unit_of, with_unit


def _pair(owner: str, names: tuple[str, str], a: Any, b: Any) -> tuple[float, float, Any]:
    if not same_dimension(unit_of(a), unit_of(b)):
        raise UnitError(f"{owner}({names[0]}=..., {names[1]}=...) must share a unit, got {show(a)} and {show(b)}.")
    first, second = Constant.of(a), Constant.of(b)
    scaled = second.value if second.unit == first.unit else second.value.in_unit(first.unit)
    return first.magnitude, Constant.of(scaled).magnitude, first.unit


class _Hashable:
    """Initialisers are static attributes: equal by type and arguments, units included."""

    _key: tuple[Any, ...]

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._key == other._key

    def __hash__(self) -> int:
        return hash((type(self), self._key))

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self._key}"


class Uniform(_Hashable):
    """Draw from the uniform distribution on `[low, high)`."""

    def __init__(self, low: Any, high: Any):
        self.low, self.high, self.unit = self._key = _pair("Uniform", ("low", "high"), low, high)
        if not self.low < self.high:
            raise DomainError(f"Uniform(low, high) needs low < high, got {show(low)} and {show(high)}.")

    def __call__(self, key: jax.Array, shape: tuple[int, ...], dtype: Any = float) -> Any:
        """Draw an array."""
        return with_unit(jax.random.uniform(key, shape, dtype, self.low, self.high), self.unit)


class Normal(_Hashable):
    """Draw from the normal distribution."""

    def __init__(self, mean: Any, std: Any):
        self.mean, self.std, self.unit = self._key = _pair("Normal", ("mean", "std"), mean, std)
        if self.std < 0:
            raise DomainError(f"Normal(std=...) must not be negative, got {show(std)}.")

    def __call__(self, key: jax.Array, shape: tuple[int, ...], dtype: Any = float) -> Any:
        """Draw an array."""
        return with_unit(self.mean + self.std * jax.random.normal(key, shape, dtype), self.unit)


class Sparse(_Hashable):
    """Connect each pair with probability `prob` at strength `weight`; zero elsewhere."""

    def __init__(self, prob: float, weight: Any):
        if not 0 < prob <= 1:
            raise DomainError(f"Sparse(prob=...) must lie in (0, 1], got {show(prob)}.")
        constant = Constant.of(weight)
        self.prob, self.weight, self.unit = self._key = (float(prob), constant.magnitude, constant.unit)

    def __call__(self, key: jax.Array, shape: tuple[int, ...], dtype: Any = float) -> Any:
        """Draw a matrix of zeros and `weight`."""
        return with_unit(self.weight * jax.random.bernoulli(key, self.prob, shape).astype(dtype), self.unit)
