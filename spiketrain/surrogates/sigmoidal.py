"""Slopes of smooth functions that rise from zero to one; every one of them integrates to one."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from spiketrain.errors import DomainError
from spiketrain.surrogates.base import Surrogate


@dataclass(frozen=True)
class ATan(Surrogate):
    r"""$\sigma'(x) = \frac{\alpha}{2} / (1 + (\frac{\pi}{2} \alpha x)^2)$, which integrates to one.

    Reference: Fang et al. (2021), https://arxiv.org/abs/2007.05785.
    """

    alpha: float = 2.0

    def slope(self, x: jax.Array) -> jax.Array:
        """Return the slope of the scaled arctangent."""
        return self.alpha / 2 / (1 + (jnp.pi / 2 * self.alpha * x) ** 2)


@dataclass(frozen=True)
class Sigmoid(Surrogate):
    r"""$\sigma'(x) = \alpha \, \sigma(\alpha x) (1 - \sigma(\alpha x))$, which integrates to one.

    Reference: Neftci, Mostafa and Zenke (2019), https://arxiv.org/abs/1901.09948.
    """

    alpha: float = 4.0

    def slope(self, x: jax.Array) -> jax.Array:
        """Return the slope of the logistic function."""
        return self.alpha * jax.nn.sigmoid(self.alpha * x) * jax.nn.sigmoid(-self.alpha * x)


@dataclass(frozen=True)
class ERF(Surrogate):
    r"""$\sigma'(x) = \frac{\alpha}{\sqrt{\pi}} e^{-(\alpha x)^2}$, which integrates to one.

    Reference: Yin, Corradi and Bohté (2020), https://arxiv.org/abs/2005.11633.
    """

    alpha: float = 1.0

    def slope(self, x: jax.Array) -> jax.Array:
        """Return the slope of the error function."""
        return self.alpha / math.sqrt(math.pi) * jnp.exp(-((self.alpha * x) ** 2))


@dataclass(frozen=True)
class SoftSign(Surrogate):
    r"""$\sigma'(x) = \frac{\alpha}{2} / (1 + \alpha |x|)^2$, which integrates to one.

    `SuperSpike` is the same curve with a peak of one.

    Reference: Zenke and Ganguli (2018), https://arxiv.org/abs/1705.11146.
    """

    alpha: float = 1.0

    def slope(self, x: jax.Array) -> jax.Array:
        """Return the slope of the softsign."""
        return self.alpha / 2 / (1 + self.alpha * jnp.abs(x)) ** 2


@dataclass(frozen=True)
class PiecewiseExp(Surrogate):
    r"""$\sigma'(x) = \frac{\alpha}{2} e^{-\alpha |x|}$, which integrates to one.

    `SlayerGrad` is the same curve with a peak of one.

    Reference: Neftci, Mostafa and Zenke (2019), https://arxiv.org/abs/1901.09948.
    """

    alpha: float = 1.0

    def slope(self, x: jax.Array) -> jax.Array:
        """Return the density of the Laplace distribution."""
        return self.alpha / 2 * jnp.exp(-self.alpha * jnp.abs(x))


@dataclass(frozen=True)
class QPseudoSpike(Surrogate):
    r"""$\sigma'(x) = (1 + \frac{2}{\alpha - 1} |x|)^{-\alpha}$, which integrates to one.

    The larger $\alpha > 1$ (the paper's q), the thinner the tail: $e^{-2|x|}$ in the limit.

    Reference: Herranz-Celotti and Rouat (2022), https://arxiv.org/abs/2202.00282.
    """

    alpha: float = 2.0

    def __post_init__(self) -> None:
        if not self.alpha > 1:
            raise DomainError(f"QPseudoSpike(alpha=...) must be greater than one, got {self.alpha}.")

    def slope(self, x: jax.Array) -> jax.Array:
        """Return the q-exponential."""
        return (1 + 2 / (self.alpha - 1) * jnp.abs(x)) ** -self.alpha
