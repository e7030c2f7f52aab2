"""Slopes that differ below and above threshold, after rectifiers."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from spiketrain.surrogates.base import Surrogate


@dataclass(frozen=True)
class LeakyRelu(Surrogate):
    r"""$\sigma'(x) = \alpha$ where $x < 0$, and $\beta$ where $x \geq 0$.

    Reference: Fang et al. (2023), https://arxiv.org/abs/2310.16620.
    """

    alpha: float = 0.1
    beta: float = 1.0

    def slope(self, x: jax.Array) -> jax.Array:
        """Return the two constants."""
        return jnp.where(x < 0, self.alpha, self.beta)


@dataclass(frozen=True)
class LogTailedRelu(Surrogate):
    r"""$\sigma'(x) = \alpha$ where $x < 0$, and $1 / \max(1, x)$ where $x \geq 0$.

    Reference: Cai et al. (2017), https://arxiv.org/abs/1702.00953.
    """

    alpha: float = 0.0

    def slope(self, x: jax.Array) -> jax.Array:
        """Return one up to x = 1, then the slope of the logarithm."""
        return jnp.where(x < 0, self.alpha, 1 / jnp.maximum(1.0, x))


@dataclass(frozen=True)
class S2NN(Surrogate):
    r"""$\sigma'(x) = \alpha \, \sigma(\alpha x) (1 - \sigma(\alpha x))$ where $x < 0$, and $\beta / (1 + x)$ elsewhere.

    Reference: Suetake et al. (2022), https://arxiv.org/abs/2201.10879.
    """

    alpha: float = 4.0
    beta: float = 1.0

    def slope(self, x: jax.Array) -> jax.Array:
        """Return the logistic slope below threshold, the logarithm's above."""
        below = self.alpha * jax.nn.sigmoid(self.alpha * x) * jax.nn.sigmoid(-self.alpha * x)
        return jnp.where(x < 0, below, self.beta / (1 + jnp.abs(x)))
