"""The Hodgkin-Huxley neuron."""

from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp
from flax import nnx

from spiketrain.integrate import phi
from spiketrain.neurons.conductance_based import ConductanceBased
from spiketrain.state import ShortTermState
from spiketrain.surrogates.base import Surrogate
from spiketrain.typing import Size


class HH(ConductanceBased):
    r"""Hodgkin-Huxley neuron.

    $$C \frac{dV}{dt} = g_{Na} m^3 h \, (E_{Na} - V) + g_K n^4 (E_K - V) + g_L (E_L - V) + I(V) \qquad
    \frac{dx}{dt} = \alpha_x (1 - x) - \beta_x x$$

    for $x = m, h, n$, with rates per ms at V in mV:

    $$\begin{aligned}
    \alpha_m &= \frac{0.1 \, (V + 40)}{1 - e^{-(V + 40) / 10}} & \beta_m &= 4 \, e^{-(V + 65) / 18} \\
    \alpha_h &= 0.07 \, e^{-(V + 65) / 20} & \beta_h &= \frac{1}{1 + e^{-(V + 35) / 10}} \\
    \alpha_n &= \frac{0.01 \, (V + 55)}{1 - e^{-(V + 55) / 10}} & \beta_n &= 0.125 \, e^{-(V + 65) / 80}
    \end{aligned}$$

    One step advances the gates exactly with V frozen, then V by exponential Euler with the gates frozen: stable at any
    dt, accurate from about 0.05 ms down. V is of second order for constant input; the gates, which run half a step
    ahead of it, are of first order. A spike is the step in which V crosses V_th upward;
    there is no reset. Gates start at their steady state.

    Args:
        size: the number of neurons, or their shape.
        ENa: the reversal potential of sodium.
        gNa: the sodium conductance per area.
        EK: the reversal potential of potassium.
        gK: the potassium conductance per area.
        EL: the reversal potential of the leak.
        gL: the leak conductance per area.
        C: the capacitance per area.
        V_th: the potential whose upward crossing is a spike.
        V_rest: V at the start of a trial, unless V_initializer is given.
        V_initializer: V at the start of a trial.
        surrogate: the spike function, of the distance to V_th in units of V_th - V_rest; `ATan()` by default.
        rngs: needed where an argument is an initialiser.

    Input: currents in uA/cm2, conductances in mS/cm2 and jumps; bare numbers count in mV, ms, and these.

    Raises:
        UnitError: an argument has the wrong dimension, or only some of them have units.
        DomainError: a conductance or C is not positive, or `V_rest >= V_th`.

    Reference: Hodgkin and Huxley (1952), https://doi.org/10.1113/jphysiol.1952.sp004764, with rest at -65 mV.
    """

    m: ShortTermState
    h: ShortTermState
    n: ShortTermState

    def __init__(
        self,
        size: Size,
        *,
        ENa: Any = 50.0 * u.mV,
        gNa: Any = 120.0 * u.mS / u.cm**2,
        EK: Any = -77.0 * u.mV,
        gK: Any = 36.0 * u.mS / u.cm**2,
        EL: Any = -54.387 * u.mV,
        gL: Any = 0.3 * u.mS / u.cm**2,
        C: Any = 1.0 * u.uF / u.cm**2,
        V_th: Any = 20.0 * u.mV,
        V_rest: Any = -65.0 * u.mV,
        V_initializer: Any = None,
        surrogate: Surrogate | None = None,
        rngs: nnx.Rngs | None = None,
    ):
        channels = dict(ENa=ENa, gNa=gNa, EK=EK, gK=gK, EL=EL, gL=gL, C=C)
        potentials = dict(V_th=V_th, V_rest=V_rest, V_initializer=V_initializer)
        super().__init__(size, surrogate=surrogate, rngs=rngs, **channels, **potentials)

    def rates(self, V: jax.Array) -> dict[str, tuple[jax.Array, jax.Array]]:
        r"""Return $\alpha$ and $\beta$ of m, h and n; $x / (1 - e^{-x}) = 1 / \varphi(-x)$ has no 0/0."""
        return {
            "m": (1 / phi(-(V + 40) / 10), 4 * jnp.exp(-(V + 65) / 18)),
            "h": (0.07 * jnp.exp(-(V + 65) / 20), jax.nn.sigmoid((V + 35) / 10)),
            "n": (0.1 / phi(-(V + 55) / 10), 0.125 * jnp.exp(-(V + 65) / 80)),
        }

    def open(self, V: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return m^3 h and n^4."""
        return self.m.value**3 * self.h.value, self.n.value**4
