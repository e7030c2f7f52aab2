r"""Spike functions: a Heaviside step forward, a declared slope backward.

A user adds one by writing its slope: subclass `Surrogate` as a frozen dataclass and define `slope(x)`.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Surrogate:
    r"""Emit $s = H(x)$, one where $x \geq 0$, with derivative `slope(x)`.

    `x` is the distance of the membrane potential to threshold in units of $V_{th} - V_{reset}$.
    """

    def slope(self, x: jax.Array) -> jax.Array:
        """Return the derivative used in place of that of the step."""
        raise NotImplementedError

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return zeros and ones in the dtype of `x`."""
        return _spike(self, x)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _spike(surrogate: Surrogate, x: jax.Array) -> jax.Array:
    return jnp.where(jnp.isnan(x), x, (x >= 0).astype(x.dtype))


@_spike.defjvp
def _spike_jvp(surrogate, primals, tangents):
    (x,), (x_dot,) = primals, tangents
    return _spike(surrogate, x), surrogate.slope(x).astype(x.dtype) * x_dot


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
class SuperSpike(Surrogate):
    r"""$\sigma'(x) = 1 / (1 + \alpha |x|)^2$, with a peak of one.

    Reference: Zenke and Ganguli (2018), https://arxiv.org/abs/1705.11146.
    """

    alpha: float = 10.0

    def slope(self, x: jax.Array) -> jax.Array:
        """Return the slope of the fast sigmoid."""
        return 1 / (1 + self.alpha * jnp.abs(x)) ** 2


@dataclass(frozen=True)
class Triangle(Surrogate):
    r"""$\sigma'(x) = \gamma \max(0, 1 - |x|)$, zero outside $(-1, 1)$.

    Reference: Bellec et al. (2018), https://arxiv.org/abs/1803.09574.
    """

    gamma: float = 1.0

    def slope(self, x: jax.Array) -> jax.Array:
        """Return the triangle."""
        return self.gamma * jnp.maximum(0.0, 1 - jnp.abs(x))
