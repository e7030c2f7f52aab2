"""The exponential integrate-and-fire neuron."""

from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp

from spiketrain.domain import POSITIVE
from spiketrain.integrate import LARGEST_EXPONENT
from spiketrain.neurons.base import Neuron
from spiketrain.parameter import Parameter
from spiketrain.reset import Reset
from spiketrain.typing import Size


class ExpIF(Neuron):
    r"""Exponential integrate-and-fire neuron.

    $$\tau \frac{dV}{dt} = -(V - V_{rest}) + \Delta_T \, e^{(V - V_T) / \Delta_T} + R \, I(V)$$

    One step is exponential Euler, of second order between spikes; the exponent stops at 30. Above $V_T$ the potential
    runs away; a spike is cut off at $V_{th}$ and replaced by $V_{reset}$ (`HardReset`, the default here: subtracting
    would leave V above $V_T$ and the neuron would never come down).

    Args:
        size: the number of neurons, or their shape.
        R: the resistance, which sets the scale of the input.
        tau: the membrane time constant; a bare number counts in ms.
        V_th: the potential at which a spike is cut off.
        V_reset: the potential after a spike; below V_T unless the neuron is to burst.
        V_rest: the resting potential of the leak.
        V_T: the potential at which the exponential takes over.
        delta_T: the sharpness of that threshold.
        reset: what a spike does to V, `HardReset()` by default; one that subtracts or does nothing is refused.
        arguments: `V_initializer`, `surrogate`, `tau_ref` and `rngs` as in `LIF`.

    Raises:
        UnitError: an argument has the wrong dimension, or only some of them have units.
        DomainError: `tau`, `R` or `delta_T` is not positive, `V_reset >= V_th`, or the reset leaves V running away.

    Reference: Fourcaud-Trocme et al. (2003), https://doi.org/10.1523/JNEUROSCI.23-37-11628.2003.
    """

    R = Parameter(u.Mohm, POSITIVE)
    tau = Parameter(u.ms, POSITIVE)
    V_T = Parameter(u.mV)
    delta_T = Parameter(u.mV, POSITIVE)

    def __init__(
        self,
        size: Size,
        *,
        R: Any = 100.0 * u.Mohm,
        tau: Any = 10.0 * u.ms,
        V_th: Any = -30.0 * u.mV,
        V_reset: Any = -68.0 * u.mV,
        V_rest: Any = -65.0 * u.mV,
        V_T: Any = -59.9 * u.mV,
        delta_T: Any = 3.48 * u.mV,
        reset: Reset | None = None,
        **arguments: Any,
    ):
        super().__init__(
            size,
            R=R,
            tau=tau,
            V_th=V_th,
            V_reset=V_reset,
            V_rest=V_rest,
            V_T=V_T,
            delta_T=delta_T,
            reset=self.replacing(reset),
            **arguments,
        )
        self.check_units("V_th", "V_T", "delta_T", "R", "tau")

    def update(self, *inputs: Any) -> jax.Array:
        """Advance by one step and return the spikes."""
        V = self.driven(self.intrinsic, self.V_after_reset, inputs, R=self.R, tau=self.tau)
        self.V.value = self.hold(V)
        return self.spikes

    def intrinsic(self, V: Any) -> Any:
        r"""Return $-(V - V_{rest}) + \Delta_T e^{(V - V_T) / \Delta_T}$."""
        growth = jnp.exp(jnp.minimum((V - self.V_T) / self.delta_T, LARGEST_EXPONENT))
        return self.V_rest - V + self.delta_T * growth
