r"""What every spike function is: a Heaviside step forward, a declared slope backward.

A user adds one by writing its slope: subclass `Surrogate` as a frozen dataclass and define `slope(x)`.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from spiketrain.errors import DomainError


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
        return _spike(self, jnp.asarray(x))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _spike(surrogate: Surrogate, x: jax.Array) -> jax.Array:
    return jnp.where(jnp.isnan(x), x, (x >= 0).astype(x.dtype))


@_spike.defjvp
def _spike_jvp(surrogate, primals, tangents):
    (x,), (x_dot,) = primals, tangents
    slope = jnp.where(jnp.isnan(x), x, surrogate.slope(x).astype(x.dtype))  # a slope made of cases would hide a NaN
    return _spike(surrogate, x), slope * x_dot


def require_positive(surrogate: Surrogate, *names: str) -> None:
    """Refuse a constant that must be positive and is not."""
    for name in names:
        if not (value := getattr(surrogate, name)) > 0:
            raise DomainError(f"{type(surrogate).__name__}({name}=...) must be positive, got {value}.")
