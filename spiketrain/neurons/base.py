"""What every spiking neuron shares: the potential V, its threshold, its reset and its spikes."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from spiketrain import inputs as synaptic
from spiketrain.domain import POSITIVE
from spiketrain.dynamics import Dynamics
from spiketrain.environ import decay, get_dtype, steps_per
from spiketrain.errors import DomainError
from spiketrain.integrate import exponential_euler
from spiketrain.parameter import InitialValue, Parameter, Trainable, drawn, needs_rngs
from spiketrain.reset import HardReset, NoReset, Reset, SoftReset
from spiketrain.state import ShortTermState
from spiketrain.surrogates.base import Surrogate
from spiketrain.surrogates.sigmoidal import ATan
from spiketrain.typing import Size, as_size
from spiketrain.units import expect_unit, magnitude, show, unit_of, with_unit


class Cell(Dynamics):
    """Anything with a membrane potential V.

    Args:
        size: the shape of one trial's V, an integer or a tuple.
        rngs: random numbers, needed where an argument is an initialiser.
        V_initializer: V at the start of a trial, a value or an initialiser drawn afresh for every trial; V_rest
            unless it is given.
        parameters: the physical arguments that the subclass declares.
    """

    V_rest = Parameter(u.mV)
    V_initializer = InitialValue(u.mV)
    V: ShortTermState

    def __init__(self, size: Size, *, rngs: nnx.Rngs | None = None, V_initializer: Any = None, **parameters: Any):
        self.size = self.in_size = as_size(type(self).__name__, size)
        for name, value in parameters.items():
            if not isinstance(getattr(type(self), name, None), Parameter):
                raise TypeError(f"{type(self).__name__} has no argument {name!r}.")
            setattr(self, name, drawn(value, self.size, rngs, owner=type(self).__name__, name=name))
        if isinstance(V_initializer, Trainable):
            V_initializer = drawn(V_initializer, self.size, rngs, owner=type(self).__name__, name="V_initializer")
        if callable(V_initializer):
            if rngs is None:
                raise needs_rngs(type(self).__name__, "V_initializer")
            self.rngs = rngs.fork()
        self.V_initializer = V_initializer
        self.check_units("V_rest", "V_initializer")

    def initial_V(self, batch_shape: tuple[int, ...]) -> ShortTermState:
        """Return V at the start of a trial, one value per neuron and row of the batch."""
        shape, dtype, V = (*batch_shape, *self.size), jnp.result_type(float), self.V_initializer
        V = self.V_rest if V is None else V(self.rngs.params(), shape, dtype) if callable(V) else V
        expect_unit(type(self).__name__, "V_initializer", V, unit_of(self.V_rest))
        return ShortTermState(with_unit(jnp.broadcast_to(magnitude(V), shape), unit_of(V)), dtype=get_dtype())

    def currents(self, inputs: tuple[Any, ...], *, at: Any, per: Any) -> tuple[Any, Any]:
        """Linearise the summed inputs around the potential `at`; see `spiketrain.inputs.currents`."""
        return synaptic.currents(inputs, at=at, per=per, owner=f"{type(self).__name__}.update")

    def jumps(self, inputs: tuple[Any, ...], *, at: Any) -> Any:
        """Sum the inputs that step V."""
        return synaptic.jumps(inputs, at=at, owner=f"{type(self).__name__}.update")

    def leaky(self, V: Any, inputs: tuple[Any, ...], *, R: Any, tau: Any) -> Any:
        r"""Advance $\tau \dot V = -(V - V_{rest}) + R (I - G V)$ by one step, exactly, and add the jumps."""
        if synaptic.depend_on_V(inputs):
            return self.driven(lambda V: self.V_rest - V, V, inputs, R=R, tau=tau)
        I, _ = self.currents(inputs, at=V, per=R)
        V_inf = self.V_rest + R * I
        V = V_inf + (V - V_inf) * decay(tau)
        return V + self.jumps(inputs, at=V)

    def driven(self, F: Callable[[Any], Any], V: Any, inputs: tuple[Any, ...], *, R: Any, tau: Any) -> Any:
        r"""Advance $\tau \dot V = F(V) + R (I - G V)$ by one exponential Euler step, and add the jumps."""
        I, G = self.currents(inputs, at=V, per=R)
        return exponential_euler(lambda V: F(V) + R * (I - G * V), V, tau) + self.jumps(inputs, at=V)


class Neuron(Cell):
    r"""A cell that emits spikes.

    `spikes` is $H((V - \theta) / (V_{th} - V_{reset}))$ of the stored V, which is the potential *before* the
    reset: zeros and ones in single precision at least, whatever dtype V is kept in. The order of one update, in every
    neuron:

    1. reset: apply the spikes of the stored V to it;
    2. integrate over `dt`;
    3. add delta inputs;
    4. store V and emit its spikes.

    A refractory period holds V where the reset put it for `round(tau_ref / dt)` steps after the step of a spike:
    what arrives then is lost, and nothing is emitted. Steps are counted, so the period never drifts.

    With $V_{th}$ below $V_{reset}$ the formula would spike where V is low. The constructor refuses that; where
    training carries one past the other, the spikes of the neuron are NaN from then on.

    Args:
        reset: what a spike does to V, `SoftReset()` by default.
        surrogate: the slope of a spike, `ATan()` by default.
        V_reset: V_rest unless it is given.
        tau_ref: the refractory period; none by default.
    """

    V_th: Any = Parameter(u.mV)
    V_reset: Any = Parameter(u.mV)
    tau_ref = InitialValue(u.ms, POSITIVE)
    refractory_steps: ShortTermState
    other_names: ClassVar[dict[str, str]] = {}  # of V_th and V_reset, where the literature has its own

    def __init__(
        self,
        size: Size,
        *,
        V_rest: Any,
        reset: Reset | None = None,
        surrogate: Surrogate | None = None,
        rngs: nnx.Rngs | None = None,
        tau_ref: Any = None,
        **parameters: Any,
    ):
        owner = type(self).__name__
        V_th, V_reset = (self.other_names.get(name, name) for name in ("V_th", "V_reset"))
        if V_reset == "V_reset" and parameters.get(V_reset) is None:
            V_rest = drawn(V_rest, as_size(owner, size), rngs, owner=owner, name="V_rest")
            parameters[V_reset] = V_rest.value if isinstance(V_rest, Trainable) else V_rest
        super().__init__(size, V_rest=V_rest, rngs=rngs, **parameters)
        if isinstance(tau_ref, Trainable):
            raise DomainError(
                f"{owner}(tau_ref=...) is rounded to whole steps and has no gradient. Leave out Trainable."
            )
        self.tau_ref = drawn(tau_ref, self.size, rngs, owner=owner, name="tau_ref")
        self.reset = SoftReset() if reset is None else reset
        self.surrogate = ATan() if surrogate is None else surrogate
        self.check_units(V_th, "V_rest", V_reset, "V_initializer", "tau_ref")
        self.check_below(V_reset, V_th, "V_reset is V_rest unless it is given." if V_reset == "V_reset" else "")

    def check_below(self, low: str, high: str, remedy: str = "") -> None:
        """Refuse a model whose argument `low` does not lie below its argument `high`."""
        span = magnitude(getattr(self, high) - getattr(self, low))
        if not isinstance(span, jax.core.Tracer) and not np.all(np.asarray(span) > 0):
            got = " and ".join(f"{name} = {show(getattr(self, name))}" for name in (low, high))
            raise DomainError(f"{type(self).__name__}({low}=...) must lie below {high}, got {got}. {remedy}".rstrip())

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create V, and the steps that are left of a refractory period where there is one, exact in any dtype of V."""
        self.V = self.initial_V(batch_shape)
        if self.tau_ref is not None:
            self.refractory_steps = ShortTermState(jnp.zeros((*batch_shape, *self.size)))

    def threshold(self) -> Any:
        r"""Return the potential $\theta$ at which the neuron spikes now."""
        return self.V_th

    @property
    def spikes(self) -> jax.Array:
        """The spikes of the stored V, zeros and ones."""
        span = self.V_th - self.V_reset
        span = u.math.where(magnitude(span) > 0, span, with_unit(math.nan, unit_of(span)))
        spikes = self.surrogate((self.V.value - self.threshold()) / span)
        return spikes if self.tau_ref is None else spikes * (self.refractory_steps.value == 0)

    @property
    def V_after_reset(self) -> Any:
        """The potential that the next update starts from."""
        return self.reset(self.V.value, self.spikes, self.V_th, self.V_reset)

    def replacing(self, reset: Reset | None) -> Reset:
        """Return `reset`, `HardReset()` by default, for a potential that runs away and must be brought back."""
        if isinstance(reset, SoftReset | NoReset):
            owner, got = type(self).__name__, type(reset).__name__
            raise DomainError(
                f"{owner}(reset={got}()) would leave V where it runs away, and the neuron would never come down. "
                "Write `reset=HardReset()`."
            )
        return HardReset() if reset is None else reset

    def hold(self, V: Any) -> Any:
        """Return `V`, or V after the reset where the neuron is refractory, and count the steps."""
        if self.tau_ref is None:
            return V
        steps = jnp.round(1 / steps_per(self.tau_ref))
        left = jnp.where(self.spikes > 0, steps, jnp.maximum(self.refractory_steps.value - 1, 0))
        V = u.math.where(left > 0, self.V_after_reset, V)
        self.refractory_steps.value = left
        return V
