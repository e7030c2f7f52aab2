"""Delay lines: what goes in comes out later."""

import math
from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from spiketrain.domain import Between
from spiketrain.environ import dt_in_seconds, get_dtype
from spiketrain.errors import DomainError, ShapeError
from spiketrain.parameter import Parameter, Trainable, drawn
from spiketrain.state import ParamState, ShortTermState, State
from spiketrain.synapses.base import Synapse
from spiketrain.typing import Size
from spiketrain.units import Constant, expect_unit, has_unit, magnitude, show, unit_of, with_unit


class Latency(Parameter):
    """A time from zero to the `longest` of its owner; a trained one stays strictly between."""

    def store(self, instance: Any, value: Any) -> Any:
        """Check `value` and return what the module keeps."""
        if isinstance(value, State | Constant):
            return value
        owner, longest = type(instance).__name__, instance.longest
        trained = isinstance(value, Trainable)
        time = value.value if isinstance(value, Trainable) else value
        traced = isinstance(magnitude(time), jax.core.Tracer)
        if longest is None and (trained or traced):
            raise DomainError(
                f"{owner}({self.name}=...) is {'trained' if trained else 'traced'}, so its upper limit must be given. "
                "Write, for example, `longest=20.0 * u.ms`."
            )
        if trained:
            if has_unit(time):
                expect_unit(owner, self.name, time, self.unit)
            high = in_ms(longest.value)
            bounded = Parameter(
                self.unit, Between(0.0, (high * u.ms).to_decimal(unit_of(time)) if has_unit(time) else high)
            )
            bounded.name = self.name
            return bounded.store(instance, value)
        stored = super().store(instance, value)
        if not traced:
            if np.min(np.asarray(magnitude(time))) < 0:
                raise DomainError(f"{owner}({self.name}=...) must not be negative, got {show(time)}.")
            # single precision may have rounded the time up
            if longest is not None and in_ms(longest_of(time).value) > in_ms(longest.value) * (1 + 1e-6):
                raise DomainError(f"{owner}({self.name}=...) must not exceed longest={longest}, got {show(time)}.")
        return stored


def limit(owner: str, longest: Any, name: str = "longest") -> Constant | None:
    """Return the argument `longest`, or another of that `name`, checked."""
    if longest is None:
        return None
    if np.ndim(magnitude(longest)) != 0:
        raise ShapeError(f"{owner}({name}=...) must be one time for all, got {show(longest)}.")
    if has_unit(longest):
        expect_unit(owner, name, longest, u.ms)
    constant = Constant.of(longest)
    if not (constant.magnitude >= 0 and math.isfinite(constant.magnitude)):
        raise DomainError(f"{owner}({name}=...) must be a time that is not negative, got {show(longest)}.")
    return constant


def longest_of(time: Any) -> Constant:
    """Return the longest of delays."""
    # numpy, because the length of a line must be known where a model is built inside of a jit, too
    return Constant.of(with_unit(np.max(np.asarray(magnitude(time))), unit_of(time)))


def in_ms(time: Any) -> Any:
    """Return `time` as bare numbers of milliseconds."""
    return magnitude(time, u.ms)


def in_steps(time: Any) -> Any:
    """Return `time / dt`; a bare time counts in ms."""
    return in_ms(time) * 1e-3 / dt_in_seconds()


def whole(steps: Any) -> Any:
    """Return the nearest whole number of steps; a half rounds up."""
    later = steps * (1 + 1e-6) + 0.5  # 0.25 ms are two and a half steps of 0.1 ms, however they are rounded in between
    return math.floor(later) if isinstance(later, float) else jnp.floor(later).astype(jnp.int32)


class Delay(Synapse):
    r"""Pass a train on, later: $y[n] = x[n - d]$ with $d = \mathrm{round}(time / dt)$, and zeros before the trial.

    Exact but for the rounding of the delay to whole steps, a half upwards; a delay below half a step is none. A
    trained delay is not rounded, so that it has a gradient; it is interpolated linearly between two steps,
    $$y[n] = (1 - f) \, x[n - k] + f \, x[n - k - 1], \qquad k + f = time / dt, \quad 0 \le f < 1,$$
    which equals the above where the delay is a whole number of steps. It arrives as two events where a spike went in.

    When a spike arrives: in a circuit `update` reads the spikes of the step before. A spike of step n leaves at its end,
    at $(n + 1) \, dt$, and acts in step $n + 1 + d$, which begins at $(n + 1 + d) \, dt$: exactly $d \, dt$ after it
    left. With $d = 0$ that is the next step, as without a delay.

    `projection.update(delay.update(spikes))` delays a whole projection or each of its presynaptic neurons;
    `Delayed(comm, delay)` says the same within it. As the `syn` of a projection it is a delay per postsynaptic neuron.

    Args:
        size: the shape of one trial's input, an integer or a tuple.
        time: how much later, one for all or one per neuron, at least zero; a bare number counts in ms.
        longest: the longest delay that the line has room for, needed where `time` is `Trainable`, which keeps it
            strictly between zero and `longest`; the largest `time` unless it is given.
        unit: the unit of what is delayed, such as `u.nA`; none for spikes.
        rngs: needed where `time` is an initialiser.

    Input and output: numbers of any dtype in `(*batch, *size)`, or a scalar for all; the same later, floating.

    Raises:
        DomainError: `time` is negative or beyond `longest`, or `longest` is missing.
        ShapeError: `time` or the input has the wrong shape.
        UnitError: `time` is no time, or the input has another unit.
    """

    time = Latency(u.ms)
    ring: ShortTermState
    position: ShortTermState

    def __init__(self, size: Size, time: Any, *, longest: Any = None, unit: Any = None, rngs: nnx.Rngs | None = None):
        super().__init__(size, unit=unit, rngs=rngs)
        self.longest: Any = limit("Delay", longest)
        time = drawn(time, self.size, rngs, owner="Delay", name="time")
        self.time = time
        self.longest = self.longest or longest_of(time)

    @property
    def trained(self) -> bool:
        """Whether the delay is trained, and interpolated."""
        return isinstance(vars(self)["time"], ParamState)

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create the ring, which holds the past, and the position in it of the step to come."""
        slots = whole(in_steps(self.longest.value)) + (2 if self.trained else 1)
        shape = (slots, *batch_shape, *self.size)
        self.ring = ShortTermState(with_unit(jnp.zeros(shape), self._unit), dtype=get_dtype())
        self.position = ShortTermState(jnp.zeros(()))

    def update(self, *inputs: Any) -> Any:
        """Advance by one step and return what went in a delay ago."""
        ring, n = self.ring.get_raw_value(), self.position.value.astype(jnp.int32)
        x = magnitude(self.arrivals(inputs, at=ring[0]), self._unit)
        now = jnp.broadcast_to(x, ring.shape[1:]).astype(ring.dtype)
        ring = jax.lax.dynamic_update_index_in_dim(ring, now, n, 0)
        steps = in_steps(self.time)
        if self.trained:
            k = jnp.floor(steps).astype(jnp.int32)
            f = steps - k
            y = (1 - f) * _back(ring, n, k) + f * _back(ring, n, k + 1)
        else:
            # an array may round up here in single precision, and down where the length is computed in double
            y = _back(ring, n, jnp.minimum(whole(steps), len(ring) - 1))
        self.ring.value, self.position.value = with_unit(ring, self._unit), (n + 1) % len(ring)
        return with_unit(y.astype(jnp.result_type(x)), self._unit)


def _back(ring: jax.Array, n: jax.Array, steps: jax.Array) -> jax.Array:
    """Return what went in `steps` before `n`."""
    slot = (n - steps) % len(ring)
    if slot.ndim == 0:
        return jax.lax.dynamic_index_in_dim(ring, slot, 0, keepdims=False)
    slot = slot.reshape(*[1] * (ring.ndim - slot.ndim), *slot.shape)
    return jnp.take_along_axis(ring, slot, axis=0, mode="promise_in_bounds")[0]
