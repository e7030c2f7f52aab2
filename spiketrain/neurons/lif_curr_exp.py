"""The leaky integrate-and-fire neuron with a synaptic current of its own."""

from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp

from spiketrain.domain import POSITIVE
from spiketrain.environ import decay, get_dtype, steps_per
from spiketrain.inputs import Current
from spiketrain.integrate import phi
from spiketrain.neurons.lif import LIF
from spiketrain.parameter import Parameter
from spiketrain.state import ShortTermState
from spiketrain.typing import Size
from spiketrain.units import unit_of, with_unit


class LIFCurrExp(LIF):
    r"""Leaky integrate-and-fire neuron with an exponential synaptic current: `iaf_psc_exp` of NEST.

    $$\tau \frac{dV}{dt} = -(V - V_{rest}) + R \, (I_{syn} + I(V)) \qquad
    \frac{dI_{syn}}{dt} = -\frac{I_{syn}}{\tau_{syn}} + \sum_k w_k \, \delta(t - t_k)$$

    With $I(V) = I - G V$ over the step, $k = 1 + R G$ and $V_\infty = (V_{rest} + R I) / k$, one step solves both
    equations together:

    $$V \leftarrow V_\infty + (V - V_\infty) \, e^{-k \, dt/\tau} + \frac{R \, I_{syn}}{\tau} \,
    \frac{e^{-dt/\tau_{syn}} - e^{-k \, dt/\tau}}{k/\tau - 1/\tau_{syn}} \qquad
    I_{syn} \leftarrow I_{syn} \, e^{-dt/\tau_{syn}} + w,$$

    computed without cancellation for time constants that are close or equal. Exact between spikes for other inputs
    that are constant over the step. What arrives in a step is added at its end, as jumps of V are, and moves V from
    the next step on; it is kept while the neuron is refractory. Reset and spikes are those of `Neuron`.

    Args:
        size: the number of neurons, or their shape.
        tau_syn: the time constant of the synaptic current; a bare number counts in ms.
        arguments: everything else as in `LIF`.

    Input and output: first what arrives, weighted spikes as steps of the synaptic current (zero where nothing does),
    such as what `Dense` returns; then any number of currents, conductances and jumps as in `LIF`. Spikes out.

    Raises:
        UnitError: as in `LIF`.
        DomainError: as in `LIF`, and for `tau_syn <= 0`.

    Reference: Rotter and Diesmann (1999), https://doi.org/10.1007/s004220050570.
    """

    tau_syn = Parameter(u.ms, POSITIVE)
    I_syn: ShortTermState

    def __init__(self, size: Size, *, tau_syn: Any = 5.0, **arguments: Any):
        super().__init__(size, tau_syn=tau_syn, **arguments)
        self.check_units("V_th", "tau_syn")

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create V and the synaptic current."""
        super().init_state(batch_shape)
        unit = unit_of(self.V_rest) / unit_of(self.R)
        self.I_syn = ShortTermState(with_unit(jnp.zeros((*batch_shape, *self.size)), unit), dtype=get_dtype())

    def update(self, arrivals: Any, *inputs: Any) -> jax.Array:
        """Advance by one step and return the spikes."""
        V, I_syn = self.V_after_reset, self.I_syn.value
        w, _ = self.currents((Current(arrivals),), at=V, per=self.R)
        I, G = self.currents(inputs, at=V, per=self.R)
        k = 1 + self.R * G
        a, b = k * steps_per(self.tau), steps_per(self.tau_syn)
        V_inf = (self.V_rest + self.R * I) / k
        V = V_inf + (V - V_inf) * jnp.exp(-a) + self.R * I_syn * steps_per(self.tau) * _difference(a, b)
        self.V.value = self.hold(V + self.jumps(inputs, at=V))
        self.I_syn.value = I_syn * decay(self.tau_syn) + w
        return self.spikes


def _difference(a: Any, b: Any) -> jax.Array:
    r"""Return $(e^{-b} - e^{-a}) / (a - b)$, which is $e^{-a}$ at $a = b$ and never overflows."""
    low, high = jnp.minimum(a, b), jnp.maximum(a, b)  # these break a tie in the same way, as -|a - b| need not
    return jnp.exp(-low) * phi(low - high)
