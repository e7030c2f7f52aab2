"""The balanced resonate-and-fire neuron."""

from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp
from flax import nnx

from spiketrain.domain import NON_NEGATIVE, POSITIVE
from spiketrain.environ import decay, get_dtype
from spiketrain.neurons.resonating import Resonating
from spiketrain.parameter import Parameter
from spiketrain.reset import NoReset, Reset
from spiketrain.state import ShortTermState
from spiketrain.surrogates.base import Surrogate
from spiketrain.typing import Size
from spiketrain.units import has_unit


class BRF(Resonating):
    r"""Balanced resonate-and-fire neuron: it answers to inputs at its own period, and a spike damps it for a while.

    $$\tau \frac{dz}{dt} = -(1 + \kappa q) \, z + i \, \frac{2 \pi \tau}{T} \, z + R \, I \qquad V = V_{rest} + \mathrm{Re} \, z
    \qquad \theta = V_{th} + \beta q$$

    with the refractory variable $q \leftarrow q \, e^{-dt/\tau_q} + s$ at the start of the step after a spike: the
    threshold rises and the oscillation decays faster, in place of a reset. Each step is exact for inputs and q that are
    constant over it. The reference steps by the Euler method, which turns outward, and lowers the damping by a
    divergence boundary p to balance that; an exact step does not turn outward, so p is zero here. With an infinite
    period, `beta = kappa = 0` and no reset it is `LIF`.

    Args:
        size: the number of neurons, or their shape.
        R: the resistance, as in `LIF`.
        tau: the time constant of the decay, per neuron where it is trained; a bare number counts in ms.
        period: T, the time of one turn.
        beta: the rise of the threshold at a spike, in the dimension of V_th.
        kappa: how much faster z decays for each unit of q, not negative.
        tau_q: the time constant of q.
        V_th: the threshold.
        V_reset: the potential after a spike, where a reset is given.
        V_rest: the resting potential.
        V_initializer: V at the start of a trial, as in `LIF`.
        reset: `NoReset()` by default.
        surrogate: the spike function, `ATan()` by default.
        tau_ref: a refractory period, as in `LIF`; it holds V alone.
        rngs: needed where an argument is an initialiser.

    Input and output: as in `LIF`; a conductance counts as the current that it carries where the step begins.

    Raises:
        UnitError: an argument has the wrong dimension, or only some of them have units.
        DomainError: a time or R is not positive, kappa is negative, or `V_reset >= V_th`.

    Reference: Higuchi et al. (2024), https://arxiv.org/abs/2402.14603.
    """

    beta = Parameter(u.mV)
    kappa = Parameter(u.UNITLESS, NON_NEGATIVE)
    tau_q = Parameter(u.ms, POSITIVE)
    q: ShortTermState

    def __init__(
        self,
        size: Size,
        *,
        R: Any = 1.0,
        tau: Any = 50.0,
        period: Any = 80.0,
        beta: Any = 1.0,
        kappa: Any = 0.5,
        tau_q: Any = 10.0,
        V_th: Any = 1.0,
        V_reset: Any = None,
        V_rest: Any = 0.0,
        V_initializer: Any = None,
        reset: Reset | None = None,
        surrogate: Surrogate | None = None,
        tau_ref: Any = None,
        rngs: nnx.Rngs | None = None,
    ):
        super().__init__(
            size,
            R=R,
            tau=tau,
            period=period,
            beta=beta,
            kappa=kappa,
            tau_q=tau_q,
            V_th=V_th,
            V_reset=V_reset,
            V_rest=V_rest,
            V_initializer=V_initializer,
            reset=NoReset() if reset is None else reset,
            surrogate=surrogate,
            tau_ref=tau_ref,
            rngs=rngs,
        )
        self.check_units("V_th", "R", "beta", *(("tau", "period", "tau_q") if has_unit(self.V_th) else ()))

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create V, W and the refractory variable q."""
        super().init_state(batch_shape)
        self.q = ShortTermState(jnp.zeros((*batch_shape, *self.size)), dtype=get_dtype())

    def threshold(self) -> Any:
        r"""Return $\theta = V_{th} + \beta q$."""
        return self.V_th + self.beta * self.q.value

    def update(self, *inputs: Any) -> jax.Array:
        """Advance by one step and return the spikes."""
        q = self.q.value * decay(self.tau_q) + self.spikes
        V, W = self.turned(inputs, k=1 + self.kappa * q)
        self.V.value, self.W.value = self.hold(V), W
        self.q.value = q
        return self.spikes
