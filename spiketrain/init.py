"""Initialisers with units: frozen callables `f(key, shape, dtype)`, as flax's own are.

`jax.nn.initializers` and `flax.nnx.initializers` fit wherever one of these does; `Scaled` gives them a unit.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from spiketrain import units
from spiketrain.errors import DomainError, ShapeError, UnitError
from spiketrain.units import magnitude, same_dimension, show, unit_of, with_unit


def _common(owner: str, **arguments: Any) -> tuple[Any, ...]:
    """Return the magnitudes of all arguments in the unit of the first, and that unit."""
    first = units.Constant.of(next(iter(arguments.values())))
    if not all(same_dimension(unit_of(value), first.unit) for value in arguments.values()):
        names = ", ".join(f"{name}=..." for name in arguments)
        *most, last = (show(value) for value in arguments.values())
        raise UnitError(f"{owner}({names}) must share a unit, got {', '.join(most)} and {last}.")
    constants = [units.Constant.of(value) for value in arguments.values()]
    converted = [c if c.unit == first.unit else units.Constant.of(c.value.in_unit(first.unit)) for c in constants]
    return *(c.magnitude for c in converted), first.unit


class _Hashable:
    """Initialisers are static attributes: equal by type and arguments, units included."""

    _key: tuple[Any, ...]

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._key == other._key

    def __hash__(self) -> int:
        return hash((type(self), self._key))

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self._key}"


class Constant(_Hashable):
    """Draw the same value everywhere: for where an initialiser is asked for, as in `Dale(Constant(0.5 * u.nS))`."""

    def __init__(self, value: Any):
        constant = units.Constant.of(value)
        self.value, self.unit = self._key = (constant.magnitude, constant.unit)

    def __call__(self, key: jax.Array, shape: tuple[int, ...], dtype: Any = float) -> Any:
        """Return an array of the value."""
        return with_unit(jnp.full(shape, self.value, dtype), self.unit)


class Uniform(_Hashable):
    """Draw from the uniform distribution on `[low, high)`."""

    def __init__(self, low: Any, high: Any):
        self.low, self.high, self.unit = self._key = _common("Uniform", low=low, high=high)
        if not self.low < self.high:
            raise DomainError(f"Uniform(low, high) needs low < high, got {show(low)} and {show(high)}.")

    def __call__(self, key: jax.Array, shape: tuple[int, ...], dtype: Any = float) -> Any:
        """Draw an array."""
        return with_unit(jax.random.uniform(key, shape, dtype, self.low, self.high), self.unit)


class Normal(_Hashable):
    """Draw from the normal distribution."""

    def __init__(self, mean: Any, std: Any):
        self.mean, self.std, self.unit = self._key = _common("Normal", mean=mean, std=std)
        if self.std < 0:
            raise DomainError(f"Normal(std=...) must not be negative, got {show(std)}.")

    def __call__(self, key: jax.Array, shape: tuple[int, ...], dtype: Any = float) -> Any:
        """Draw an array."""
        return with_unit(self.mean + self.std * jax.random.normal(key, shape, dtype), self.unit)


class TruncatedNormal(_Hashable):
    """Draw from the normal distribution of `mean` and `std`, given that the value lies in `[low, high]`.

    The mean and the standard deviation of what is drawn differ from `mean` and `std`, the more the tighter the bounds.
    """

    def __init__(self, mean: Any, std: Any, *, low: Any, high: Any):
        self._key = _common("TruncatedNormal", mean=mean, std=std, low=low, high=high)
        self.mean, self.std, self.low, self.high, self.unit = self._key
        if not self.std > 0:
            raise DomainError(f"TruncatedNormal(std=...) must be positive, got {show(std)}.")
        if not self.low < self.high:
            raise DomainError(f"TruncatedNormal(low=..., high=...) needs low < high, got {show(low)} and {show(high)}.")
        if not (self.low < self.mean + 4 * self.std and self.high > self.mean - 4 * self.std):
            raise DomainError(
                f"TruncatedNormal(low=..., high=...) must come within four standard deviations of the mean, "
                f"got {show(low)} to {show(high)} around {show(mean)} with std {show(std)}."
            )

    def __call__(self, key: jax.Array, shape: tuple[int, ...], dtype: Any = float) -> Any:
        """Draw an array."""
        bounds = (self.low - self.mean) / self.std, (self.high - self.mean) / self.std
        drawn = self.mean + self.std * jax.random.truncated_normal(key, *bounds, shape, dtype)
        return with_unit(jnp.clip(drawn, self.low, self.high), self.unit)


class LogNormal(_Hashable):
    r"""Draw from the log-normal distribution whose own mean and standard deviation are `mean` and `std`.

    $w = e^{\mu + \sigma z}$ with $\sigma^2 = \ln(1 + std^2 / mean^2)$ and $\mu = \ln mean - \sigma^2 / 2$.
    """

    def __init__(self, mean: Any, std: Any):
        self.mean, self.std, self.unit = self._key = _common("LogNormal", mean=mean, std=std)
        if not self.mean > 0:
            raise DomainError(f"LogNormal(mean=...) must be positive, got {show(mean)}.")
        if self.std < 0:
            raise DomainError(f"LogNormal(std=...) must not be negative, got {show(std)}.")

    def __call__(self, key: jax.Array, shape: tuple[int, ...], dtype: Any = float) -> Any:
        """Draw an array."""
        variance = math.log1p((self.std / self.mean) ** 2)
        log = math.log(self.mean) - variance / 2 + math.sqrt(variance) * jax.random.normal(key, shape, dtype)
        return with_unit(jnp.exp(log), self.unit)


class Sparse(_Hashable):
    """Connect each pair with probability `prob` at strength `weight`; zero elsewhere."""

    def __init__(self, prob: float, weight: Any):
        if not 0 < prob <= 1:
            raise DomainError(f"Sparse(prob=...) must lie in (0, 1], got {show(prob)}.")
        constant = units.Constant.of(weight)
        self.prob, self.weight, self.unit = self._key = (float(prob), constant.magnitude, constant.unit)

    def __call__(self, key: jax.Array, shape: tuple[int, ...], dtype: Any = float) -> Any:
        """Draw a matrix of zeros and `weight`."""
        return with_unit(self.weight * jax.random.bernoulli(key, self.prob, shape).astype(dtype), self.unit)


class Scaled(_Hashable):
    """Multiply what any other unitless initialiser draws by `scale`: `Scaled(nnx.initializers.delta_orthogonal(), 0.5)`.

    Two are equal if they hold the same function, and `delta_orthogonal()` makes a new one each time it is called.
    """

    def __init__(self, initializer: Callable[..., Any], scale: Any):
        constant = units.Constant.of(scale)
        self.initializer, self.scale, self.unit = self._key = (initializer, constant.magnitude, constant.unit)

    def __call__(self, key: jax.Array, shape: tuple[int, ...], dtype: Any = float) -> Any:
        """Draw an array."""
        drawn = self.initializer(key, shape, dtype)
        if unit_of(drawn) != unit_of(1.0):
            raise UnitError(f"Scaled(initializer=...) must draw bare numbers, got {show(drawn)}.")
        return with_unit(self.scale * drawn, self.unit)


class _Named(_Hashable):
    """Multiply what the initialiser `stock` of JAX draws by `scale`, which may have a unit."""

    stock: Callable[..., jax.Array]

    def __init__(self, scale: Any = 1.0):
        constant = units.Constant.of(scale)
        self.scale, self.unit = self._key = (constant.magnitude, constant.unit)

    def __call__(self, key: jax.Array, shape: tuple[int, ...], dtype: Any = float) -> Any:
        """Draw an array."""
        wide = jnp.promote_types(dtype, jnp.float32)  # the decomposition behind Orthogonal knows no half precision
        return with_unit((self.scale * type(self).stock(key, shape, wide)).astype(dtype), self.unit)


class KaimingNormal(_Named):
    r"""Draw from a normal distribution of variance $2 / n_{in}$, times `scale`: `KaimingNormal(0.5 * u.nA)`.

    $n_{in}$ is the number of weights onto a neuron: rows of a matrix `(pre, post)`, places times channels of a kernel.
    What lies beyond two standard deviations is drawn again, as in all of JAX's.

    Reference: He et al. (2015), https://arxiv.org/abs/1502.01852.
    """

    stock = jax.nn.initializers.he_normal()


class KaimingUniform(_Named):
    r"""Draw uniformly with the variance $2 / n_{in}$ of `KaimingNormal`, times `scale`."""

    stock = jax.nn.initializers.he_uniform()


class XavierNormal(_Named):
    r"""Draw from a normal distribution of variance $2 / (n_{in} + n_{out})$, times `scale`.

    Reference: Glorot and Bengio (2010), https://proceedings.mlr.press/v9/glorot10a.html.
    """

    stock = jax.nn.initializers.glorot_normal()


class XavierUniform(_Named):
    r"""Draw uniformly with the variance $2 / (n_{in} + n_{out})$ of `XavierNormal`, times `scale`."""

    stock = jax.nn.initializers.glorot_uniform()


class LecunNormal(_Named):
    r"""Draw from a normal distribution of variance $1 / n_{in}$, times `scale`.

    Reference: LeCun et al. (1998), https://doi.org/10.1007/3-540-49430-8_2.
    """

    stock = jax.nn.initializers.lecun_normal()


class LecunUniform(_Named):
    r"""Draw uniformly with the variance $1 / n_{in}$ of `LecunNormal`, times `scale`."""

    stock = jax.nn.initializers.lecun_uniform()


class Orthogonal(_Named):
    r"""Draw a matrix with orthonormal rows or columns, whichever are fewer, times `scale`.

    Reference: Saxe et al. (2014), https://arxiv.org/abs/1312.6120.
    """

    stock = jax.nn.initializers.orthogonal()


class Dale(_Hashable):
    """Give each presynaptic neuron one sign: `Dale(Sparse(0.1, 0.5 * u.nS), excitatory=0.8, inhibition=4.0)`.

    Of the rows of a matrix `(pre, post)` the first `excitatory` share is positive, the rest is negative and
    `inhibition` times as strong; magnitudes are those that `initializer` draws. Training may change a sign.

    Raises:
        ShapeError: what is drawn is no matrix.
    """

    def __init__(self, initializer: Callable[..., Any], *, excitatory: float = 0.8, inhibition: float = 1.0):
        if not 0 <= excitatory <= 1:
            raise DomainError(f"Dale(excitatory=...) must lie in [0, 1], got {show(excitatory)}.")
        if not inhibition >= 0:
            raise DomainError(f"Dale(inhibition=...) must not be negative, got {show(inhibition)}.")
        self._key = (initializer, float(excitatory), float(inhibition))
        self.initializer, self.excitatory, self.inhibition = self._key

    def __call__(self, key: jax.Array, shape: tuple[int, ...], dtype: Any = float) -> Any:
        """Draw a matrix."""
        if len(shape) != 2:
            raise ShapeError(f"Dale draws a matrix (pre, post), got shape {shape}.")
        drawn = self.initializer(key, shape, dtype)
        first = jnp.arange(shape[0])[:, None] < round(self.excitatory * shape[0])
        size = jnp.abs(magnitude(drawn))
        return with_unit(jnp.where(first, size, -self.inhibition * size), unit_of(drawn))
