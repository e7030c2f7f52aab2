"""What every spiking neuron shares: the potential V, its threshold, its reset and its spikes."""

from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from spiketrain import inputs as synaptic
from spiketrain.dynamics import Dynamics
from spiketrain.environ import decay
from spiketrain.errors import DomainError
from spiketrain.parameter import InitialValue, Parameter, Trainable, drawn, needs_rngs
from spiketrain.reset import Reset, SoftReset
from spiketrain.state import ShortTermState
from spiketrain.surrogate import ATan, Surrogate
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

    def __init__(self, size: Size, *, rngs: nnx.Rngs | None, V_initializer: Any, **parameters: Any):
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
        return ShortTermState(with_unit(jnp.broadcast_to(magnitude(V), shape).astype(dtype), unit_of(V)))

    def currents(self, inputs: tuple[Any, ...], *, at: Any, per: Any) -> tuple[Any, Any]:
        """Linearise the summed inputs around the potential `at`; see `spiketrain.inputs.currents`."""
        return synaptic.currents(inputs, at=at, per=per, owner=f"{type(self).__name__}.update")

    def jumps(self, inputs: tuple[Any, ...], *, at: Any) -> Any:
        """Sum the inputs that step V."""
        return synaptic.jumps(inputs, at=at, owner=f"{type(self).__name__}.update")

    def leaky(self, V: Any, inputs: tuple[Any, ...], *, R: Any, tau: Any) -> Any:
        r"""Advance $\tau \dot V = -(V - V_{rest}) + R (I - G V)$ by one step, exactly, and add the jumps."""
        I, G = self.currents(inputs, at=V, per=R)
        k = 1 + R * G
        V_inf = (self.V_rest + R * I) / k
        V = V_inf + (V - V_inf) * decay(tau / k)
        return V + self.jumps(inputs, at=V)


class Neuron(Cell):
    r"""A cell that emits spikes.

    `spikes` is $H((V - \theta) / (V_{th} - V_{reset}))$ of the stored V, which is the potential *before* the
    reset. The order of one update, in every neuron:

    1. reset: apply the spikes of the stored V to it;
    2. integrate over `dt`;
    3. add delta inputs;
    4. store V and emit its spikes.

    Args:
        reset: what a spike does to V, `SoftReset()` by default.
        surrogate: the slope of a spike, `ATan()` by default.
        V_reset: V_rest unless it is given.
    """

    V_th = Parameter(u.mV)
    V_reset = Parameter(u.mV)

    def __init__(
        self,
        size: Size,
        *,
        reset: Reset | None,
        surrogate: Surrogate | None,
        V_th: Any,
        V_reset: Any,
        V_rest: Any,
        rngs: nnx.Rngs | None,
        **parameters: Any,
    ):
        if V_reset is None:
            owner = type(self).__name__
            V_rest = drawn(V_rest, as_size(owner, size), rngs, owner=owner, name="V_rest")
            V_reset = V_rest.value if isinstance(V_rest, Trainable) else V_rest
        super().__init__(size, V_th=V_th, V_rest=V_rest, V_reset=V_reset, rngs=rngs, **parameters)
        self.reset = SoftReset() if reset is None else reset
        self.surrogate = ATan() if surrogate is None else surrogate
        self.check_units("V_th", "V_rest", "V_reset", "V_initializer")
        span = magnitude(self.V_th - self.V_reset)
        if not isinstance(span, jax.core.Tracer) and not np.all(np.asarray(span) > 0):
            raise DomainError(
                f"{type(self).__name__}(V_reset=...) must lie below V_th, got V_reset = {show(self.V_reset)} and "
                f"V_th = {show(self.V_th)}. V_reset is V_rest unless it is given."
            )

    def threshold(self) -> Any:
        r"""Return the potential $\theta$ at which the neuron spikes now."""
        return self.V_th

    @property
    def spikes(self) -> jax.Array:
        """The spikes of the stored V, zeros and ones."""
        return self.surrogate((self.V.value - self.threshold()) / (self.V_th - self.V_reset))

    @property
    def V_after_reset(self) -> Any:
        """The potential that the next update starts from."""
        return self.reset(self.V.value, self.spikes, self.V_th, self.V_reset)
