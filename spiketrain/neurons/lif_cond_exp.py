"""The leaky integrate-and-fire neuron with synaptic conductances of its own."""

from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp

from spiketrain.domain import POSITIVE
from spiketrain.environ import decay, get_dtype, steps_per
from spiketrain.inputs import Conductance, Coupling
from spiketrain.integrate import phi
from spiketrain.neurons.lif import LIF
from spiketrain.parameter import Parameter
from spiketrain.state import ShortTermState
from spiketrain.typing import Size
from spiketrain.units import Constant, unit_of, with_unit


class LIFCondExp(LIF):
    r"""Leaky integrate-and-fire neuron with exponential synaptic conductances: `iaf_cond_exp` of NEST.

    $$\tau \frac{dV}{dt} = -(V - V_{rest}) + R \, \big(g_{exc} (E_{exc} - V) + g_{inh} (E_{inh} - V) + I(V)\big)
    \qquad \frac{dg_j}{dt} = -\frac{g_j}{\tau_j} + \sum_k w_k \, \delta(t - t_k)$$

    The conductances are exact. V takes the exact step of `LIF` with each conductance at its mean over the step,
    $\bar g_j = g_j \, (1 - e^{-dt/\tau_j}) \, \tau_j / dt$, which makes V of second order in dt. What arrives in a step
    is added at its end, as jumps of V are, and moves V from the next step on; it is kept while the neuron is
    refractory. Reset and spikes are those of `Neuron`. The defaults are those of Brette et al. (2007), benchmark 1.

    Args:
        size: the number of neurons, or their shape.
        tau_exc: the time constant of the excitatory conductance; a bare number counts in ms.
        tau_inh: that of the inhibitory conductance.
        E_exc: the reversal potential of the excitatory conductance.
        E_inh: that of the inhibitory conductance.
        R: the resistance, which sets the scale of the input: Mohm and mV ask for uS (and convert nS).
        tau: the membrane time constant; a bare number counts in ms.
        V_th: the threshold.
        V_rest: the resting potential.
        arguments: everything else as in `LIF`.

    Input and output: first what arrives at the excitatory and at the inhibitory synapses, weighted spikes as steps of
    the conductances and neither negative (zero where nothing arrives), such as what `Dense` returns; then any number
    of currents, conductances and jumps as in `LIF`. Spikes out.

    Raises:
        UnitError: as in `LIF`, and where a reversal potential and V_th do not share a dimension.
        DomainError: as in `LIF`, and for a time constant that is not positive.

    Reference: Brette et al. (2007), https://doi.org/10.1007/s10827-007-0038-6.
    """

    tau_exc = Parameter(u.ms, POSITIVE)
    tau_inh = Parameter(u.ms, POSITIVE)
    E_exc = Parameter(u.mV)
    E_inh = Parameter(u.mV)
    g_exc: ShortTermState
    g_inh: ShortTermState

    def __init__(
        self,
        size: Size,
        *,
        tau_exc: Any = 5.0 * u.ms,
        tau_inh: Any = 10.0 * u.ms,
        E_exc: Any = 0.0 * u.mV,
        E_inh: Any = -80.0 * u.mV,
        R: Any = 100.0 * u.Mohm,
        tau: Any = 20.0 * u.ms,
        V_th: Any = -50.0 * u.mV,
        V_rest: Any = -60.0 * u.mV,
        **arguments: Any,
    ):
        synapses = dict(tau_exc=tau_exc, tau_inh=tau_inh, E_exc=E_exc, E_inh=E_inh)
        super().__init__(size, R=R, tau=tau, V_th=V_th, V_rest=V_rest, **synapses, **arguments)
        self.check_units("V_th", "tau_exc", "tau_inh", "E_exc", "E_inh")

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create V and the conductances."""
        super().init_state(batch_shape)
        nothing = with_unit(jnp.zeros((*batch_shape, *self.size)), unit_of(self.R) ** -1)
        self.g_exc, self.g_inh = (ShortTermState(nothing, dtype=get_dtype()) for _ in range(2))

    def update(self, exc: Any, inh: Any, *inputs: Any) -> jax.Array:
        """Advance by one step and return the spikes."""
        V, g_exc, g_inh = self.V_after_reset, self.g_exc.value, self.g_inh.value
        exc_mean = g_exc * phi(-jnp.asarray(steps_per(self.tau_exc)))
        inh_mean = g_inh * phi(-jnp.asarray(steps_per(self.tau_inh)))
        synaptic = Coupling(exc_mean, exc_mean * self.E_exc), Coupling(inh_mean, inh_mean * self.E_inh)
        self.g_exc.value = g_exc * decay(self.tau_exc) + self._arriving(exc, V)
        self.g_inh.value = g_inh * decay(self.tau_inh) + self._arriving(inh, V)
        self.V.value = self.hold(self.leaky(V, (*synaptic, *inputs), R=self.R, tau=self.tau))
        return self.spikes

    def _arriving(self, w: Any, V: Any) -> Any:
        """Return `w` once its unit and shape are checked: the slope of its own current."""
        _, g = self.currents((Conductance(w, Constant(0.0, unit_of(V))),), at=V, per=self.R)
        return g
