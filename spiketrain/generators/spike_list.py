"""Spikes that are given one by one."""

from functools import cached_property
from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np

from spiketrain.environ import dt_in_seconds
from spiketrain.errors import DomainError, ShapeError
from spiketrain.generators.base import Source
from spiketrain.state import ShortTermState
from spiketrain.typing import Size
from spiketrain.units import expect_unit, has_unit, magnitude, show

_LAST = 1 << 24  # up to here single precision counts steps exactly


class SpikeList(Source):
    r"""Emit given spikes: neuron `neurons[k]` at time `times[k]`, counted from the start of the trial.

    A spike at time t is emitted in the step that contains it, $n = \lfloor t / dt \rfloor$: time 0 is the first step, a
    time on the grid is the step that begins there (whatever was lost to rounding), and T steps
    emit every spike before $T \, dt$. Each row of the batch receives the same spikes.

    Args:
        size: the number of neurons, or their shape, in which neurons are numbered row by row.
        times: the time of every spike, `(spikes,)` in any order; bare numbers count in ms.
        neurons: the neuron of every spike, integers `(spikes,)`.

    Input and output: nothing in, spikes out, zeros and ones.

    Raises:
        DomainError: a time is negative or not finite, a neuron does not exist, or, when a trial starts, two spikes of
            one neuron fall into one step, or a spike lies beyond $2^{24}$ steps.
        ShapeError: times and neurons differ in length.
        UnitError: `times` are no times.
    """

    step: ShortTermState

    def __init__(self, size: Size, times: Any, neurons: Any):
        super().__init__(size)
        if has_unit(times):
            expect_unit("SpikeList", "times", times, u.ms)
        seconds = np.asarray(magnitude(times, u.second), float) * (1.0 if has_unit(times) else 1e-3)
        numbers, count = np.asarray(neurons), int(np.prod(self.size))
        if seconds.ndim != 1 or seconds.shape != numbers.shape:
            raise ShapeError(
                f"SpikeList(times=..., neurons=...) must be of equal length, got shapes {seconds.shape} and {numbers.shape}."
            )
        if len(seconds) and not (np.isfinite(seconds).all() and seconds.min() >= 0):
            raise DomainError(f"SpikeList(times=...) must be finite and not negative, got {show(times)}.")
        integers = np.issubdtype(numbers.dtype, np.integer) or not len(numbers)
        if not integers or (len(numbers) and not 0 <= numbers.min() <= numbers.max() < count):
            raise DomainError(f"SpikeList(neurons=...) must be integers in 0..{count - 1}, got {show(numbers)}.")
        given = np.asarray(magnitude(times)).dtype
        rounding = np.finfo(given if np.issubdtype(given, np.floating) else float).eps
        self.events = Events(seconds, numbers.astype(np.int32), float(4 * rounding))

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create what it emitted last, and the number of the step."""
        super().init_state(batch_shape)
        self.events.in_steps(dt_in_seconds())
        self.step = ShortTermState(0.0)

    @property
    def spikes(self) -> jax.Array:
        """What the last step emitted."""
        return self.emitted.value

    def update(self) -> jax.Array:
        """Advance by one step and return the spikes."""
        steps, neurons, width = self.events.in_steps(dt_in_seconds())
        now, spikes = self.step.value.astype(int), jnp.zeros(int(np.prod(self.size)))
        if len(steps):
            kth = jnp.searchsorted(jnp.asarray(steps), now) + jnp.arange(width)
            here = jnp.take(jnp.asarray(steps), kth, mode="fill", fill_value=-1) == now
            at = jnp.where(here, jnp.take(jnp.asarray(neurons), kth, mode="clip"), len(spikes))
            spikes = spikes.at[at].set(1.0, mode="drop")
        self.step.value = jnp.minimum(now + 1, _LAST)
        self.emitted.value = jnp.broadcast_to(spikes.reshape(self.size), self.emitted.shape)
        return self.emitted.value


class Events:
    """Times in seconds and neurons, kept in double precision outside every trace and compared by value."""

    def __init__(self, seconds: np.ndarray, neurons: np.ndarray, rounding: float):
        self.seconds, self.neurons, self.rounding = seconds, neurons, rounding

    @cached_property
    def _key(self) -> tuple[bytes, bytes, float]:
        return self.seconds.tobytes(), self.neurons.tobytes(), self.rounding

    @cached_property
    def _hash(self) -> int:
        return hash(self._key)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Events) and hash(self) == hash(other) and self._key == other._key)

    def in_steps(self, dt: float) -> tuple[np.ndarray, np.ndarray, int]:
        """Return the step and the neuron of every spike, in order of steps, and the most spikes in one step."""
        steps = np.floor(self.seconds / dt * (1 + self.rounding) + 1e-6)  # a time on the grid may lie just below it
        if len(steps) and steps.max() >= _LAST:
            raise DomainError(
                f"SpikeList(times=...) reaches {self.seconds.max():g} s, beyond 2**24 steps of {dt * 1e3:g} ms. "
                "Split the simulation, or take a larger dt."
            )
        order = np.lexsort((self.neurons, steps))
        steps, neurons = steps[order].astype(np.int32), self.neurons[order]
        twice = np.flatnonzero((np.diff(steps) == 0) & (np.diff(neurons) == 0))
        if len(twice):
            raise DomainError(
                f"SpikeList(times=...) has two spikes of neuron {neurons[twice[0]]} in step {steps[twice[0]]} of "
                f"{dt * 1e3:g} ms, which has room for one. Take a smaller dt, or leave one out."
            )
        width = int(np.max(np.unique(steps, return_counts=True)[1], initial=0))
        return steps, neurons, width
