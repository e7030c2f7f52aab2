"""Slopes with one peak at threshold, scaled by hand rather than to an integral of one."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from spiketrain.surrogates.base import Surrogate, require_positive


@dataclass(frozen=True)
class SuperSpike(Surrogate):
    r"""$\sigma'(x) = 1 / (1 + \alpha |x|)^2$, with a peak of one.

    Reference: Zenke and Ganguli (2018), https://arxiv.org/abs/1705.11146.
    """

    alpha: float = 10.0

    def slope(self, x: jax.Array) -> jax.Array:
        """Return the slope of the fast sigmoid."""
        return 1 / (1 + self.alpha * jnp.abs(x)) ** 2


@dataclass(frozen=True)
class InvSquareGrad(SuperSpike):
    r"""$\sigma'(x) = 1 / (1 + \alpha |x|)^2$: `SuperSpike`, narrower by default.

    Reference: Zenke and Ganguli (2018), https://arxiv.org/abs/1705.11146.
    """

    alpha: float = 100.0


@dataclass(frozen=True)
class SlayerGrad(Surrogate):
    r"""$\sigma'(x) = e^{-\alpha |x|}$, with a peak of one.

    Reference: Shrestha and Orchard (2018), https://arxiv.org/abs/1810.08646.
    """

    alpha: float = 1.0

    def slope(self, x: jax.Array) -> jax.Array:
        """Return the two-sided exponential."""
        return jnp.exp(-self.alpha * jnp.abs(x))


@dataclass(frozen=True)
class NonzeroSignLog(Surrogate):
    r"""$\sigma'(x) = \alpha / (1 + \alpha |x|)$, whose tail is so long that no integral exists.

    Reference: Fang et al. (2023), https://arxiv.org/abs/2310.16620.
    """

    alpha: float = 1.0

    def slope(self, x: jax.Array) -> jax.Array:
        """Return the slope of the signed logarithm."""
        return self.alpha / (1 + self.alpha * jnp.abs(x))


@dataclass(frozen=True)
class GaussianGrad(Surrogate):
    r"""$\sigma'(x) = \alpha \, \mathcal{N}(x; 0, \sigma^2)$, which integrates to $\alpha$.

    Reference: Yin, Corradi and Bohté (2021), https://arxiv.org/abs/2103.12593.
    """

    sigma: float = 0.5
    alpha: float = 0.5

    def __post_init__(self) -> None:
        require_positive(self, "sigma")

    def slope(self, x: jax.Array) -> jax.Array:
        """Return the scaled Gaussian density."""
        return self.alpha * _normal(x, 0.0, self.sigma)


@dataclass(frozen=True)
class MultiGaussianGrad(Surrogate):
    r"""A Gaussian with two broad negative flanks, which integrates to $c (1 - h)$.

    $$\sigma'(x) = c \, [(1 + h) \, \mathcal{N}(x; 0, \sigma^2) - h \, \mathcal{N}(x; \sigma, (s \sigma)^2)
    - h \, \mathcal{N}(x; -\sigma, (s \sigma)^2)]$$

    with $c$ = `scale`.

    Reference: Yin, Corradi and Bohté (2021), https://arxiv.org/abs/2103.12593.
    """

    h: float = 0.15
    s: float = 6.0
    sigma: float = 0.5
    scale: float = 0.5

    def __post_init__(self) -> None:
        require_positive(self, "s", "sigma")

    def slope(self, x: jax.Array) -> jax.Array:
        """Return the sum of the three Gaussians."""
        peak = (1 + self.h) * _normal(x, 0.0, self.sigma)
        left = self.h * _normal(x, -self.sigma, self.s * self.sigma)
        right = self.h * _normal(x, self.sigma, self.s * self.sigma)
        return self.scale * (peak - left - right)


def _normal(x: jax.Array, mean: float, std: float) -> jax.Array:
    return jnp.exp(-(((x - mean) / std) ** 2) / 2) / (math.sqrt(2 * math.pi) * std)
