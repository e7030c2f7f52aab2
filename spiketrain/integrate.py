"""One step of an ordinary differential equation."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from spiketrain.environ import steps_per
from spiketrain.units import magnitude, unit_of, with_unit

LARGEST_EXPONENT = 30.0


def exponential_euler(F: Callable[[Any], Any], x: Any, tau: Any) -> Any:
    r"""Advance $\tau \dot x = F(x)$ by one step, linearised at the value where the step begins.

    $$x \leftarrow x + \frac{dt}{\tau} F(x) \, \varphi\!\left(\frac{dt}{\tau} F'(x)\right), \qquad
    \varphi(z) = \frac{e^z - 1}{z}$$

    Exact where F is linear in x, of second order otherwise, for one elementwise equation by itself. $F'$ is one
    forward derivative. Growth beyond $e^{30}$ in one step, past any threshold, is cut off there ($z \leq 30$), which
    keeps single precision and its gradients finite.

    Args:
        F: elementwise in x; returns the unit of x.
        x: the value, with or without a unit.
        tau: the time that scales the equation; a bare number counts in ms.

    Reference: Hochbruck and Ostermann (2010), https://doi.org/10.1017/S0962492910000048.
    """
    one = with_unit(jnp.ones_like(magnitude(x)), unit_of(x))
    slope, derivative = jax.jvp(F, (x,), (one,))
    ratio = steps_per(tau)
    return x + ratio * slope * phi(ratio * (derivative / with_unit(1.0, unit_of(x))))


def phi(z: jax.Array) -> jax.Array:
    r"""Return $\varphi(z) = (e^z - 1) / z$ with its limit and its slope of one half at zero, constant above 30.

    The quotient has the error of $e^z$, so that a step is exact to the rounding of the value it leads to; below 0.03
    the series takes over.
    """
    z = jnp.minimum(z, LARGEST_EXPONENT)
    small = jnp.abs(z) < 0.03
    safe = jnp.where(small, 1.0, z)
    series = 1 + z / 2 * (1 + z / 3 * (1 + z / 4 * (1 + z / 5 * (1 + z / 6))))
    return jnp.where(small, series, (jnp.exp(safe) - 1) / safe)  # `expm1` takes three times as long as `exp`
