"""The quadratic integrate-and-fire neuron."""

from typing import Any

import brainunit as u
import jax

from spiketrain.domain import POSITIVE
from spiketrain.neurons.base import Neuron
from spiketrain.parameter import Parameter
from spiketrain.reset import Reset
from spiketrain.typing import Size


class QuaIF(Neuron):
    r"""Quadratic integrate-and-fire neuron.

    $$\tau \frac{dV}{dt} = c \, (V - V_{rest}) (V - V_c) + R \, I(V)$$

    One step is exponential Euler, of second order between spikes. Above $V_c$ the potential runs away; a spike is
    cut off at $V_{th}$ and replaced by $V_{reset}$ (`HardReset`, the default here).

    Args:
        size: the number of neurons, or their shape.
        R: the resistance, which sets the scale of the input.
        tau: the membrane time constant; a bare number counts in ms.
        V_th: the potential at which a spike is cut off.
        V_reset: the potential after a spike.
        V_rest: the resting potential.
        V_c: the potential above which V runs away.
        c: the curvature, per unit of potential.
        reset: what a spike does to V, `HardReset()` by default; one that subtracts or does nothing is refused.
        arguments: `V_initializer`, `surrogate`, `tau_ref` and `rngs` as in `LIF`.

    Raises:
        UnitError: an argument has the wrong dimension, or only some of them have units.
        DomainError: `tau`, `R` or `c` is not positive, `V_reset >= V_th`, or the reset leaves V running away.

    Reference: Latham et al. (2000), https://doi.org/10.1152/jn.2000.83.2.808.
    """

    R = Parameter(u.Mohm, POSITIVE)
    tau = Parameter(u.ms, POSITIVE)
    V_c = Parameter(u.mV)
    c = Parameter(u.mV**-1, POSITIVE)

    def __init__(
        self,
        size: Size,
        *,
        R: Any = 100.0 * u.Mohm,
        tau: Any = 10.0 * u.ms,
        V_th: Any = -30.0 * u.mV,
        V_reset: Any = -68.0 * u.mV,
        V_rest: Any = -65.0 * u.mV,
        V_c: Any = -50.0 * u.mV,
        c: Any = 0.07 / u.mV,
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
            V_c=V_c,
            c=c,
            reset=self.replacing(reset),
            **arguments,
        )
        self.check_units("V_th", "V_c", "c", "R", "tau")

    def update(self, *inputs: Any) -> jax.Array:
        """Advance by one step and return the spikes."""
        V = self.driven(self.intrinsic, self.V_after_reset, inputs, R=self.R, tau=self.tau)
        self.V.value = self.hold(V)
        return self.spikes

    def intrinsic(self, V: Any) -> Any:
        r"""Return $c (V - V_{rest}) (V - V_c)$."""
        return self.c * (V - self.V_rest) * (V - self.V_c)
