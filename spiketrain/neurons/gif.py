"""The generalised integrate-and-fire neuron of Mihalas and Niebur."""

from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp

from spiketrain.domain import POSITIVE
from spiketrain.environ import decay, get_dtype
from spiketrain.neurons.base import Neuron
from spiketrain.parameter import Parameter
from spiketrain.reset import HardReset, Reset
from spiketrain.state import ShortTermState
from spiketrain.typing import Size
from spiketrain.units import unit_of, with_unit


class Gif(Neuron):
    r"""Generalised integrate-and-fire neuron: two currents that a spike sets off, and a moving threshold.

    $$\frac{dI_j}{dt} = -k_j I_j \qquad \tau \frac{dV}{dt} = -(V - V_{rest}) + R \, (I_1 + I_2 + I(V)) \qquad
    \frac{d\theta}{dt} = a \, (V - V_{rest}) - b \, (\theta - V_{th,\infty})$$

    and at a spike, at the start of the step after it,

    $$I_j \leftarrow R_j I_j + A_j \qquad V \leftarrow V_{reset} \qquad
    \theta \leftarrow \max(\theta, V_{th,reset}).$$

    The currents are exact; V and $\theta$ take an exponential step with what drives them frozen where the step
    begins, so the whole is of first order. The surrogate measures $V - \theta$ in units of
    $V_{th,\infty} - V_{reset}$.

    Args:
        size: the number of neurons, or their shape.
        V_rest: the resting potential.
        V_reset: the potential after a spike; V_rest unless it is given.
        V_th_inf: the threshold at rest.
        V_th_reset: the lowest threshold after a spike.
        R: the resistance, which sets the scale of the input.
        tau: the membrane time constant; a bare number counts in ms.
        a: the rate at which the threshold follows V; negative where it moves the other way.
        b: the rate at which the threshold comes back.
        k1: the rate at which I1 decays; k2 likewise.
        k2: see k1.
        R1: what a spike leaves of I1; R2 likewise.
        R2: see R1.
        A1: what a spike adds to I1; A2 likewise.
        A2: see A1.
        reset: what a spike does to V, `HardReset()` by default.
        arguments: `V_initializer`, `surrogate`, `tau_ref` and `rngs` as in `LIF`.

    Raises:
        UnitError: an argument has the wrong dimension, or only some of them have units.
        DomainError: `R`, `tau`, `b`, `k1` or `k2` is not positive, `V_reset >= V_th_inf` or
            `V_reset >= V_th_reset`.

    Reference: Mihalas and Niebur (2009), https://doi.org/10.1162/neco.2008.12-07-680.
    """

    V_th_inf = Parameter(u.mV)
    V_th_reset = Parameter(u.mV)
    R = Parameter(u.Mohm, POSITIVE)
    tau = Parameter(u.ms, POSITIVE)
    a = Parameter(u.ms**-1)
    b = Parameter(u.ms**-1, POSITIVE)
    k1 = Parameter(u.ms**-1, POSITIVE)
    k2 = Parameter(u.ms**-1, POSITIVE)
    R1 = Parameter(u.UNITLESS)
    R2 = Parameter(u.UNITLESS)
    A1 = Parameter(u.nA)
    A2 = Parameter(u.nA)
    I1: ShortTermState
    I2: ShortTermState
    theta: ShortTermState
    other_names = {"V_th": "V_th_inf"}

    def __init__(
        self,
        size: Size,
        *,
        V_rest: Any = -70.0 * u.mV,
        V_reset: Any = None,
        V_th_inf: Any = -50.0 * u.mV,
        V_th_reset: Any = -60.0 * u.mV,
        R: Any = 20.0 * u.Mohm,
        tau: Any = 20.0 * u.ms,
        a: Any = 0.0 / u.ms,
        b: Any = 0.01 / u.ms,
        k1: Any = 0.2 / u.ms,
        k2: Any = 0.02 / u.ms,
        R1: Any = 0.0,
        R2: Any = 1.0,
        A1: Any = 0.0 * u.nA,
        A2: Any = 0.0 * u.nA,
        reset: Reset | None = None,
        **arguments: Any,
    ):
        super().__init__(
            size,
            V_rest=V_rest,
            V_reset=V_reset,
            V_th_inf=V_th_inf,
            V_th_reset=V_th_reset,
            R=R,
            tau=tau,
            a=a,
            b=b,
            k1=k1,
            k2=k2,
            R1=R1,
            R2=R2,
            A1=A1,
            A2=A2,
            reset=HardReset() if reset is None else reset,
            **arguments,
        )
        self.check_units("V_th_inf", "V_th_reset", "R", "tau", "a", "b", "k1", "k2", "A1", "A2")
        self.check_below("V_reset", "V_th_reset")

    @property
    def V_th(self) -> Any:
        """The threshold at rest."""
        return self.V_th_inf

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create V, the currents I1 and I2, and the threshold theta at its rest."""
        super().init_state(batch_shape)
        nothing, dtype = jnp.zeros((*batch_shape, *self.size)), get_dtype()
        I_unit = unit_of(self.V_rest) / unit_of(self.R)
        self.I1, self.I2 = (ShortTermState(with_unit(nothing, I_unit), dtype=dtype) for _ in range(2))
        self.theta = ShortTermState(with_unit(nothing, unit_of(self.V_rest)) + self.V_th_inf, dtype=dtype)

    def threshold(self) -> Any:
        r"""Return $\theta$."""
        return self.theta.value

    def update(self, *inputs: Any) -> jax.Array:
        """Advance by one step and return the spikes."""
        s, theta = self.spikes, self.theta.value
        V = self.V_after_reset
        I1 = (1 - s) * self.I1.value + s * (self.R1 * self.I1.value + self.A1)
        I2 = (1 - s) * self.I2.value + s * (self.R2 * self.I2.value + self.A2)
        theta = (1 - s) * theta + s * u.math.maximum(theta, self.V_th_reset)
        theta_inf = self.V_th_inf + self.a / self.b * (V - self.V_rest)
        self.V.value = self.hold(self.leaky(V, (I1, I2, *inputs), R=self.R, tau=self.tau))
        self.I1.value = I1 * decay(1 / self.k1)
        self.I2.value = I2 * decay(1 / self.k2)
        self.theta.value = theta_inf + (theta - theta_inf) * decay(1 / self.b)
        return self.spikes
