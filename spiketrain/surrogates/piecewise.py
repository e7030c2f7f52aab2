"""Slopes made of straight pieces around threshold."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from spiketrain.surrogates.base import Surrogate, require_positive


@dataclass(frozen=True)
class Triangle(Surrogate):
    r"""$\sigma'(x) = \gamma \max(0, 1 - |x|)$, zero outside $(-1, 1)$.

    Reference: Bellec et al. (2018), https://arxiv.org/abs/1803.09574.
    """

    gamma: float = 1.0

    def slope(self, x: jax.Array) -> jax.Array:
        """Return the triangle."""
        return self.gamma * jnp.maximum(0.0, 1 - jnp.abs(x))


@dataclass(frozen=True)
class ReluGrad(Surrogate):
    r"""$\sigma'(x) = \alpha \max(0, w - |x|)$, which integrates to $\alpha w^2$, with $w$ = `width`.

    Reference: Neftci, Mostafa and Zenke (2019), https://arxiv.org/abs/1901.09948.
    """

    alpha: float = 0.3
    width: float = 1.0

    def __post_init__(self) -> None:
        require_positive(self, "width")

    def slope(self, x: jax.Array) -> jax.Array:
        """Return the triangle of half-width `width`."""
        return self.alpha * jnp.maximum(0.0, self.width - jnp.abs(x))


@dataclass(frozen=True)
class PiecewiseQuadratic(Surrogate):
    r"""$\sigma'(x) = \alpha \max(0, 1 - \alpha |x|)$, which integrates to one.

    Reference: Esser et al. (2016), https://arxiv.org/abs/1603.08270.
    """

    alpha: float = 1.0

    def slope(self, x: jax.Array) -> jax.Array:
        """Return the triangle of unit area."""
        return self.alpha * jnp.maximum(0.0, 1 - self.alpha * jnp.abs(x))


@dataclass(frozen=True)
class PiecewiseLeakyRelu(Surrogate):
    r"""$\sigma'(x) = 1/w$ where $|x| \leq w$, and $c$ elsewhere.

    Reference: Wu et al. (2019), https://arxiv.org/abs/1809.05793.
    """

    c: float = 0.01
    w: float = 1.0

    def __post_init__(self) -> None:
        require_positive(self, "w")

    def slope(self, x: jax.Array) -> jax.Array:
        """Return the box on its leak."""
        return jnp.where(jnp.abs(x) <= self.w, 1 / self.w, self.c)
