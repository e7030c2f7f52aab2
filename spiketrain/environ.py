"""The time step `dt`: set once for a simulation, part of the key of every jit.

`dt` lives in a JAX user context, so a function compiled under one `dt` is never reused under another,
whether the jit is ours or the user's.
"""

import math
from contextlib import AbstractContextManager
from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp

from spiketrain.errors import DomainError, StateError
from spiketrain.units import expect_unit, magnitude

_dt_seconds = jax.make_user_context(None)


def _seconds(dt: Any) -> float:
    seconds = float(magnitude(expect_unit("environ", "dt", dt, u.ms), u.second))
    if not (seconds > 0 and math.isfinite(seconds)):
        raise DomainError(f"environ(dt=...) must be a positive time, got {dt}. Write, for example, `dt=0.1 * u.ms`.")
    return seconds


def context(*, dt: Any) -> AbstractContextManager[None]:
    """Set the time step within a `with` block: `with environ.context(dt=0.1 * u.ms): ...`."""
    return _dt_seconds(_seconds(dt))


def set(*, dt: Any) -> None:
    """Set the time step of the whole process, for notebooks and scripts; `context` takes precedence."""
    _dt_seconds.set_global(_seconds(dt))


def dt_in_seconds() -> float:
    """Return the time step as a plain number of seconds."""
    seconds = _dt_seconds.value
    if seconds is None:
        raise StateError(
            "The time step dt is not set. Write `with environ.context(dt=1.0 * u.ms):` around the call, "
            "or `environ.set(dt=1.0 * u.ms)` once at the top of a script."
        )
    return seconds


def get_dt() -> u.Quantity:
    """Return the time step as a `Quantity`."""
    return dt_in_seconds() * u.second


def steps_per(tau: Any) -> Any:
    """Return `dt / tau` as a bare number; a bare `tau` counts in ms."""
    seconds = magnitude(tau, u.second) if isinstance(tau, u.Quantity) else tau * 1e-3
    return dt_in_seconds() / seconds


def decay(tau: Any) -> Any:
    r"""Return $e^{-dt/\tau}$, what is left after one step of an exponential decay.

    A constant `tau` gives a Python float computed in double precision.
    """
    ratio = steps_per(tau)
    return math.exp(-ratio) if isinstance(ratio, float | int) else jnp.exp(-ratio)
