"""The time step `dt` and the dtype of State: set once for a simulation, part of the key of every jit.

Both live in JAX user contexts, so a function compiled under one `dt` is never reused under another,
whether the jit is ours or the user's.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp

from spiketrain.errors import DomainError, StateError
from spiketrain.units import expect_unit, in_seconds, magnitude

_dt_seconds = jax.make_user_context(None)
_dtype = jax.make_user_context(None)
_residuals = jax.make_user_context(None)
_loop = jax.make_user_context(None)

LOOPS = ("auto", "scan", "fused")


def _seconds(dt: Any) -> float:
    seconds = float(magnitude(expect_unit("environ", "dt", dt, u.ms), u.second))
    if not (seconds > 0 and math.isfinite(seconds)):
        raise DomainError(f"environ(dt=...) must be a positive time, got {dt}. Write, for example, `dt=0.1 * u.ms`.")
    return seconds


def _floating(dtype: Any, name: str) -> Any:
    try:
        found = jnp.dtype(dtype)
    except TypeError:
        found = None
    if found is None or not jnp.issubdtype(found, jnp.floating):
        raise DomainError(f"environ({name}=...) must be a floating dtype, got {dtype!r}. Write `{name}=jnp.bfloat16`.")
    if jax.dtypes.canonicalize_dtype(found) != found:
        raise DomainError(
            f"environ({name}=...) is {found}, which JAX does not compute in. Enable it: JAX_ENABLE_X64=1."
        )
    return found


def _one_of_loops(loop: Any) -> str:
    if loop not in LOOPS:
        raise DomainError(f"environ(loop=...) must be one of {', '.join(map(repr, LOOPS))}, got {loop!r}.")
    return loop


def _given(dt: Any, dtype: Any, residuals: Any, loop: Any) -> dict[Any, Any]:
    """Return the contexts that are to be set, with what they are to hold."""
    given: dict[Any, Any] = {}
    if dt is not None:
        given[_dt_seconds] = _seconds(dt)
    if dtype is not None:
        given[_dtype] = _floating(dtype, "dtype")
    if residuals is not None:
        given[_residuals] = _floating(residuals, "residuals")
    if loop is not None:
        given[_loop] = _one_of_loops(loop)
    if not given:
        raise TypeError(
            "environ needs a setting: dt, dtype, residuals or loop. Write, for example, `environ.context(dt=1.0 * u.ms)`."
        )
    return given


def context(
    *, dt: Any = None, dtype: Any = None, residuals: Any = None, loop: str | None = None
) -> AbstractContextManager[Any]:
    r"""Set the time step, or how State is kept and time is walked, in a `with` block: `with environ.context(dt=0.1 * u.ms):`.

    Args:
        dt: the time step.
        dtype: the floating dtype in which potentials, conductances and traces are kept from step to step. They are
            read back in single precision at least, so equations, spikes and outputs are in float32 where State is in
            `jnp.bfloat16`. Counters of steps stay in the default dtype.
        residuals: the floating dtype in which State is kept for the backward pass alone; that of the State unless it is
            set. `jnp.bfloat16` halves what a trial takes in memory. Spikes and outputs do not change; gradients get an
            error of about 2^-8, since each surrogate is taken at a rounded potential. The fused kernel keeps in full what
            a hard reset or a refractory period compares with a threshold.
        loop: how a call walks through time: "auto" (the default) keeps only State for the backward pass wherever a step
            allows it; "scan" is the plain loop, the reference that every other equals; "fused" takes one kernel for the
            whole trial on a GPU or TPU where a step is elementwise, and "auto" elsewhere.

    What is kept in bfloat16 by `dtype` is rounded to 8 binary digits in every step, so a change below 1/512 of the value
    is lost: fit for models without units, whose potentials lie around zero, and for $dt / \tau$ above about 1/100. A
    potential near -65 mV is kept to half a millivolt.

    Raises:
        DomainError: `dt` is not positive, a dtype is not floating, or there is no such loop.
        TypeError: nothing is given.
        UnitError: `dt` is no time.
    """
    return _opened(_given(dt, dtype, residuals, loop))


@contextmanager
def _opened(given: dict[Any, Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for variable, value in given.items():
            stack.enter_context(variable(value))
        yield


def set(*, dt: Any = None, dtype: Any = None, residuals: Any = None, loop: str | None = None) -> None:
    """Set them for the whole process, for notebooks and scripts; `context` takes precedence."""
    for variable, value in _given(dt, dtype, residuals, loop).items():
        variable.set_global(value)


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


def get_dtype() -> Any:
    """Return the dtype in which State is kept: float32 unless it is set, float64 where JAX computes in that."""
    return jnp.result_type(float) if _dtype.value is None else _dtype.value


def get_residual_dtype() -> Any:
    """Return the dtype in which State is kept for the backward pass; None is that of the State."""
    return _residuals.value


def get_loop() -> str:
    """Return how a call walks through time."""
    return _loop.value or "auto"


def steps_per(tau: Any) -> Any:
    """Return `dt / tau` as a bare number; a bare `tau` counts in ms."""
    return dt_in_seconds() / in_seconds(tau)


def decay(tau: Any) -> Any:
    r"""Return $e^{-dt/\tau}$, what is left after one step of an exponential decay.

    A constant `tau` gives a Python float computed in double precision.
    """
    ratio = steps_per(tau)
    return math.exp(-ratio) if isinstance(ratio, float | int) else jnp.exp(-ratio)
