"""Neurons with sodium and potassium channels, whose own equations end a spike."""

from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp

from spiketrain.domain import POSITIVE
from spiketrain.environ import decay, get_dtype
from spiketrain.neurons.base import Neuron
from spiketrain.parameter import Parameter
from spiketrain.reset import NoReset
from spiketrain.state import ShortTermState
from spiketrain.typing import Size
from spiketrain.units import magnitude

_FARTHEST = 200.0


class ConductanceBased(Neuron):
    r"""What Hodgkin-Huxley and Wang-Buzsaki neurons share.

    $$C \frac{dV}{dt} = -\sum_j g_j \, (V - E_j) + I(V) \qquad \frac{dx}{dt} = \alpha_x(V) (1 - x) - \beta_x(V) \, x$$

    One step first advances the gates x exactly with V frozen, then V by exponential Euler with the gates frozen.
    A spike is the step in which V crosses V_th upward. There is no reset, and a trial that starts above V_th starts
    without a spike. Beyond 200 mV the rates stay what they are there, which keeps
    them and their gradients finite.

    A subclass defines `rates(V)` and `open(V)`.
    """

    ENa = Parameter(u.mV)
    gNa = Parameter(u.mS / u.cm**2, POSITIVE)
    EK = Parameter(u.mV)
    gK = Parameter(u.mS / u.cm**2, POSITIVE)
    EL = Parameter(u.mV)
    gL = Parameter(u.mS / u.cm**2, POSITIVE)
    C = Parameter(u.uF / u.cm**2, POSITIVE)
    above: ShortTermState
    other_names = {"V_reset": "V_rest"}

    def __init__(self, size: Size, **arguments: Any):
        super().__init__(size, reset=NoReset(), **arguments)
        self.check_units("V_th", "ENa", "gNa", "EK", "gK", "EL", "gL", "C")

    @property
    def V_reset(self) -> Any:
        """V_rest: the surrogate measures V in units of V_th - V_rest."""
        return self.V_rest

    def rates(self, V: jax.Array) -> dict[str, tuple[jax.Array, jax.Array]]:
        r"""Return $\alpha$ and $\beta$ of every gate, per ms, at V in mV."""
        raise NotImplementedError

    def open(self, V: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the open fraction of the sodium and of the potassium channels, at V in mV."""
        raise NotImplementedError

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create V, whether it is above V_th, and the gates at their steady state."""
        super().init_state(batch_shape)
        self.above = ShortTermState(_above(self.V.value, self.V_th))
        for gate, (alpha, beta) in self.rates(_in_mV(self.V.value)).items():
            setattr(self, gate, ShortTermState(alpha / (alpha + beta), dtype=get_dtype()))

    @property
    def spikes(self) -> jax.Array:
        """One where V is above V_th and was not one step before."""
        return super().spikes * (1 - self.above.value)

    def update(self, *inputs: Any) -> jax.Array:
        """Advance by one step and return the spikes."""
        V = self.V.value
        for name, (alpha, beta) in self.rates(_in_mV(V)).items():
            gate, x_inf = getattr(self, name), alpha / (alpha + beta)
            gate.value = x_inf + (gate.value - x_inf) * decay(1 / (alpha + beta))
        Na, K = self.open(_in_mV(V))

        def flow(V):
            return self.gNa * Na * (self.ENa - V) + self.gK * K * (self.EK - V) + self.gL * (self.EL - V)

        R = 1 / self.gL
        self.above.value = _above(V, self.V_th)
        self.V.value = self.driven(lambda V: R * flow(V), V, inputs, R=R, tau=R * self.C)
        return self.spikes


def _above(V: Any, V_th: Any) -> jax.Array:
    return 1.0 * (V >= V_th)


def _in_mV(V: Any) -> jax.Array:
    return jnp.clip(magnitude(V, u.mV), -_FARTHEST, _FARTHEST)
