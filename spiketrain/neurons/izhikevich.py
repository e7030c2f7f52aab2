"""Izhikevich's simple model."""

from typing import Any

import brainunit as u
import jax

from spiketrain.domain import POSITIVE
from spiketrain.environ import decay, get_dtype
from spiketrain.neurons.base import Neuron
from spiketrain.parameter import Parameter
from spiketrain.reset import Reset
from spiketrain.state import ShortTermState
from spiketrain.typing import Size


class Izhikevich(Neuron):
    r"""Izhikevich neuron: a quadratic potential V and a recovery variable u.

    $$(1 \, \mathrm{ms}) \frac{dV}{dt} = p_1 V^2 + p_2 V + p_3 - u + R \, I(V) \qquad
    \frac{du}{dt} = a \, (b V - u)$$

    and $V \leftarrow c$, $u \leftarrow u + d$ at a spike, at the start of the step after it. Each equation takes an
    exponential Euler step with the other variable frozen where the step begins, so the pair is of first order.
    A trial starts at $u = b V$. The defaults are those of regular spiking, without units in mV and ms.

    Args:
        size: the number of neurons, or their shape.
        a: the rate of the recovery u.
        b: how strongly u follows V.
        c: the potential after a spike.
        d: the rise of u at a spike.
        p1: the curvature, per unit of potential.
        p2: the slope.
        p3: the offset.
        R: the resistance: with 1 Mohm, the paper's input of 10 is 10 nA.
        V_th: the potential at which a spike is cut off.
        V_rest: V at the start of a trial, unless V_initializer is given.
        reset: what a spike does to V, `HardReset()` by default; one that subtracts or does nothing is refused.
        arguments: `V_initializer`, `surrogate`, `tau_ref` and `rngs` as in `LIF`.

    Raises:
        UnitError: an argument has the wrong dimension, or only some of them have units.
        DomainError: `a`, `p1` or `R` is not positive, `c >= V_th`, or the reset leaves V running away.

    Reference: Izhikevich (2003), https://doi.org/10.1109/TNN.2003.820440.
    """

    a = Parameter(u.ms**-1, POSITIVE)
    b = Parameter(u.UNITLESS)
    c = Parameter(u.mV)
    d = Parameter(u.mV)
    p1 = Parameter(u.mV**-1, POSITIVE)
    p2 = Parameter(u.UNITLESS)
    p3 = Parameter(u.mV)
    R = Parameter(u.Mohm, POSITIVE)
    u: ShortTermState
    other_names = {"V_reset": "c"}

    def __init__(
        self,
        size: Size,
        *,
        a: Any = 0.02 / u.ms,
        b: Any = 0.2,
        c: Any = -65.0 * u.mV,
        d: Any = 8.0 * u.mV,
        p1: Any = 0.04 / u.mV,
        p2: Any = 5.0,
        p3: Any = 140.0 * u.mV,
        R: Any = 1.0 * u.Mohm,
        V_th: Any = 30.0 * u.mV,
        V_rest: Any = -70.0 * u.mV,
        reset: Reset | None = None,
        **arguments: Any,
    ):
        parameters = dict(a=a, b=b, c=c, d=d, p1=p1, p2=p2, p3=p3, R=R, V_th=V_th, V_rest=V_rest)
        super().__init__(size, reset=self.replacing(reset), **parameters, **arguments)
        self.check_units("V_th", "a", "d", "p1", "p3", "R")

    @property
    def V_reset(self) -> Any:
        """The potential after a spike, c."""
        return self.c

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create V and the recovery variable u."""
        super().init_state(batch_shape)
        self.u = ShortTermState(self.b * self.V.value, dtype=get_dtype())

    def update(self, *inputs: Any) -> jax.Array:
        """Advance by one step and return the spikes."""
        V, w = self.V_after_reset, self.u.value + self.d * self.spikes
        u_inf = self.b * V
        self.V.value = self.hold(self.driven(lambda V: self.intrinsic(V) - w, V, inputs, R=self.R, tau=1.0))
        self.u.value = u_inf + (w - u_inf) * decay(1 / self.a)
        return self.spikes

    def intrinsic(self, V: Any) -> Any:
        r"""Return $p_1 V^2 + p_2 V + p_3$."""
        return (self.p1 * V + self.p2) * V + self.p3
