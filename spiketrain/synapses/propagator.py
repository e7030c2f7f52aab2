"""What exact propagators are made of."""

from typing import Any

import jax
import jax.numpy as jnp

from spiketrain.environ import dt_in_seconds
from spiketrain.units import magnitude


def mean_decay(z: Any) -> jax.Array:
    r"""Return $(1 - e^{-z}) / z$, the mean of $e^{-s}$ for s from 0 to z, which is 1 at $z = 0$."""
    small = jnp.abs(z) < 1e-6
    safe = jnp.where(small, 1.0, z)
    return jnp.where(small, 1 - z / 2, -jnp.expm1(-safe) / safe)


def log_ratio(x: Any) -> jax.Array:
    r"""Return $\frac{\rho}{\rho - 1} \ln \rho$ at $\rho = 1 + x$, which is 1 at $x = 0$."""
    small = jnp.abs(x) < 1e-6
    safe = jnp.where(small, 1.0, x)
    return jnp.where(small, 1 + x / 2, (1 + safe) * jnp.log1p(safe) / safe)


def per_step(rate: Any, unit: Any) -> Any:
    """Return `rate`, a number or a quantity that counts in `unit` = 1/ms times anything, times dt."""
    return magnitude(rate, unit) * (dt_in_seconds() * 1e3)


def relaxed(x: Any, on: Any, off: Any, *, time: Any) -> Any:
    r"""Return x after $\dot x = on \, (1 - x) - off \, x$ for a `time`, with constant rates; exact."""
    rate = on + off
    end = on / rate
    return end + (x - end) * jnp.exp(-rate * time)
