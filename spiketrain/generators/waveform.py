"""Values that are known functions of time: frozen callables `f(t)`, which add up."""

from dataclasses import dataclass
from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np

from spiketrain.environ import dt_in_seconds
from spiketrain.errors import DomainError, UnitError
from spiketrain.units import expect_unit, has_unit, in_seconds, same_dimension, show, with_unit


class Waveform:
    """A value for every time t: `waveform(t)` has the shape of t, and `a + b` is the sum of two.

    t is a `Quantity` (a bare number counts in ms); that of step n is n dt, where the step begins:

        t = np.arange(1000) * 0.1 * u.ms
        spikes = neuron(waveform(t))

    Times from numpy are computed with in double precision, so that a long simulation loses no digits of t.
    """

    unit: Any

    def __call__(self, t: Any) -> Any:
        """Return the values at the times `t`."""
        raise NotImplementedError

    def __add__(self, other: Any) -> "Waveform":
        return Total(self, other) if isinstance(other, Waveform) else NotImplemented


@dataclass(frozen=True)
class Total(Waveform):
    """The sum of two waveforms, in the unit of the first."""

    first: Waveform
    second: Waveform

    def __post_init__(self) -> None:
        if not same_dimension(self.first.unit, self.second.unit):
            raise UnitError(
                f"Waveforms that are added must share a unit, got `{self.first.unit}` and `{self.second.unit}`."
            )

    @property
    def unit(self) -> Any:
        """The unit of the first."""
        return self.first.unit

    def __call__(self, t: Any) -> Any:
        """Return the sum at the times `t`."""
        return self.first(t) + self.second(t)


@dataclass(frozen=True, init=False)
class Windowed(Waveform):
    """A waveform that is zero before `start` and from `stop` on.

    Times are compared in whole steps: start and stop are rounded to the nearest beginning of a step, so no rounding of
    n dt moves an edge, and a window lasts `round(stop / dt) - round(start / dt)` steps.
    """

    unit: Any
    start_s: float
    stop_s: float

    def __init__(self, unit: Any, start: Any, stop: Any):
        start_s, stop_s = _seconds(self, "start", start), np.inf if stop is None else _seconds(self, "stop", stop)
        if not start_s < stop_s:
            raise DomainError(
                f"{type(self).__name__}(start=..., stop=...) needs start < stop, got {show(start)} and {show(stop)}."
            )
        for name, value in {"unit": unit, "start_s": start_s, "stop_s": stop_s}.items():
            object.__setattr__(self, name, value)

    def inside(self, s: Any, xp: Any) -> Any:
        """Return the value, in its unit, `s` seconds after the start; `xp` is numpy or `jax.numpy`."""
        raise NotImplementedError

    def __call__(self, t: Any) -> Any:
        """Return the values at the times `t`."""
        if has_unit(t):
            expect_unit(type(self).__name__, "t", t, u.ms)
        seconds, dt = in_seconds(t), dt_in_seconds()
        xp = jnp if isinstance(seconds, jax.Array) else np
        step = xp.round(seconds / dt)
        on = (np.round(self.start_s / dt) <= step) & (step < np.round(self.stop_s / dt))
        value = xp.where(on, self.inside(seconds - self.start_s, xp), 0.0)
        return with_unit(jnp.asarray(value, float), self.unit)


def _seconds(waveform: Waveform, name: str, time: Any) -> float:
    if has_unit(time):
        expect_unit(type(waveform).__name__, name, time, u.ms)
    seconds = float(in_seconds(time))
    if not np.isfinite(seconds):
        raise DomainError(f"{type(waveform).__name__}({name}=...) must be a finite time, got {show(time)}.")
    return seconds
