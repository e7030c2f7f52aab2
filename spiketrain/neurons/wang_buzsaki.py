"""The fast-spiking interneuron of Wang and Buzsaki."""

from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp
from flax import nnx

from spiketrain.domain import POSITIVE
from spiketrain.integrate import phi
from spiketrain.neurons.conductance_based import ConductanceBased
from spiketrain.parameter import Parameter
from spiketrain.state import ShortTermState
from spiketrain.surrogates.base import Surrogate
from spiketrain.typing import Size


class WangBuzsakiHH(ConductanceBased):
    r"""Wang-Buzsaki neuron, a fast-spiking interneuron with instantaneous activation of sodium.

    $$C \frac{dV}{dt} = g_{Na} m_\infty^3 h \, (E_{Na} - V) + g_K n^4 (E_K - V) + g_L (E_L - V) + I(V) \qquad
    \frac{dx}{dt} = \phi \, (\alpha_x (1 - x) - \beta_x x)$$

    for $x = h, n$, with $m_\infty = \alpha_m / (\alpha_m + \beta_m)$ and rates per ms at V in mV:

    $$\begin{aligned}
    \alpha_m &= \frac{0.1 \, (V + 35)}{1 - e^{-(V + 35) / 10}} & \beta_m &= 4 \, e^{-(V + 60) / 18} \\
    \alpha_h &= 0.07 \, e^{-(V + 58) / 20} & \beta_h &= \frac{1}{1 + e^{-(V + 28) / 10}} \\
    \alpha_n &= \frac{0.01 \, (V + 34)}{1 - e^{-(V + 34) / 10}} & \beta_n &= 0.125 \, e^{-(V + 44) / 80}
    \end{aligned}$$

    Integrated as `HH`, with $m_\infty$ frozen like a gate, which makes V of first order too. A spike is the
    step in which V crosses V_th upward; action potentials peak near 20 mV, and lower with a coarse dt.

    Args:
        size: the number of neurons, or their shape.
        ENa: the reversal potential of sodium.
        gNa: the sodium conductance per area.
        EK: the reversal potential of potassium.
        gK: the potassium conductance per area.
        EL: the reversal potential of the leak.
        gL: the leak conductance per area.
        C: the capacitance per area.
        phi: the speed of the gates h and n.
        V_th: the potential whose upward crossing is a spike.
        V_rest: V at the start of a trial, unless V_initializer is given.
        V_initializer: V at the start of a trial.
        surrogate: the spike function, of the distance to V_th in units of V_th - V_rest; `ATan()` by default.
        rngs: needed where an argument is an initialiser.

    Input: currents in uA/cm2, conductances in mS/cm2 and jumps; bare numbers count in mV, ms, and these.

    Raises:
        UnitError: an argument has the wrong dimension, or only some of them have units.
        DomainError: a conductance, C or phi is not positive, or `V_rest >= V_th`.

    Reference: Wang and Buzsaki (1996), https://doi.org/10.1523/JNEUROSCI.16-20-06402.1996.
    """

    phi = Parameter(u.UNITLESS, POSITIVE)
    h: ShortTermState
    n: ShortTermState

    def __init__(
        self,
        size: Size,
        *,
        ENa: Any = 55.0 * u.mV,
        gNa: Any = 35.0 * u.mS / u.cm**2,
        EK: Any = -90.0 * u.mV,
        gK: Any = 9.0 * u.mS / u.cm**2,
        EL: Any = -65.0 * u.mV,
        gL: Any = 0.1 * u.mS / u.cm**2,
        C: Any = 1.0 * u.uF / u.cm**2,
        phi: Any = 5.0,
        V_th: Any = 0.0 * u.mV,
        V_rest: Any = -65.0 * u.mV,
        V_initializer: Any = None,
        surrogate: Surrogate | None = None,
        rngs: nnx.Rngs | None = None,
    ):
        channels = dict(ENa=ENa, gNa=gNa, EK=EK, gK=gK, EL=EL, gL=gL, C=C, phi=phi)
        potentials = dict(V_th=V_th, V_rest=V_rest, V_initializer=V_initializer)
        super().__init__(size, surrogate=surrogate, rngs=rngs, **channels, **potentials)

    def rates(self, V: jax.Array) -> dict[str, tuple[jax.Array, jax.Array]]:
        r"""Return $\phi \alpha$ and $\phi \beta$ of h and n; $x / (1 - e^{-x}) = 1 / \varphi(-x)$ has no 0/0."""
        return {
            "h": (self.phi * 0.07 * jnp.exp(-(V + 58) / 20), self.phi * jax.nn.sigmoid((V + 28) / 10)),
            "n": (self.phi * 0.1 / phi(-(V + 34) / 10), self.phi * 0.125 * jnp.exp(-(V + 44) / 80)),
        }

    def open(self, V: jax.Array) -> tuple[jax.Array, jax.Array]:
        r"""Return $m_\infty^3 h$ and n^4."""
        alpha, beta = 1 / phi(-(V + 35) / 10), 4 * jnp.exp(-(V + 60) / 18)
        return (alpha / (alpha + beta)) ** 3 * self.h.value, self.n.value**4
