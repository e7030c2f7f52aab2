"""The adaptive leaky integrate-and-fire neuron of second order, stepped by the symplectic Euler method."""

from typing import Any

import jax
from flax import nnx

from spiketrain.environ import decay
from spiketrain.neurons.adapting import Adapting
from spiketrain.neurons.lif import LIF
from spiketrain.reset import HardReset, Reset
from spiketrain.surrogates.base import Surrogate
from spiketrain.typing import Size


class SEAdLIF(Adapting, LIF):
    r"""Leaky integrate-and-fire neuron with a slow current w that follows V and spikes, and so lets V oscillate.

    $$\tau \frac{dV}{dt} = -(V - V_{rest}) - R w + R \, I(V) \qquad \tau_w \frac{dw}{dt} = a (V - V_{rest}) + b s - w$$

    Each equation is stepped exactly with the other variable frozen, w with V at the end of the step after its reset,
    and V with the w of the step before:

    $$w \leftarrow w \, e^{-dt/\tau_w} + (1 - e^{-dt/\tau_w}) \, (a (V - V_{rest}) + b s)$$

    at the start of an update, with V after the reset, then V as in `LIF` with the input $I - w$. This is the symplectic
    Euler method, of first order. Below threshold it is stable as long as
    $R a < \frac{(1 + \alpha)(1 + \beta)}{(1 - \alpha)(1 - \beta)}$ with the two decays $\alpha, \beta$ of a step, about
    $4 \tau \tau_w / dt^2$, where the plain Euler method needs a far smaller one. Unlike in `AdExIF`, w does not step at
    a spike: it moves towards b for one dt. With `a = b = 0` this is `LIF`.

    Args:
        size: the number of neurons, or their shape.
        a: the conductance with which w follows V.
        b: the current towards which w moves while there is a spike.
        tau_w: the time constant of w; a bare number counts in ms.
        R: as in `LIF`, as is every argument that follows.
        tau: the time constant of V.
        V_th: the threshold.
        V_reset: the potential after a spike.
        V_rest: the resting potential.
        V_initializer: V at the start of a trial.
        reset: `HardReset()` by default.
        surrogate: the spike function, `ATan()` by default.
        tau_ref: the refractory period; none by default.
        rngs: needed where an argument is an initialiser.

    The reference trains the four constants per neuron, each within a range from which it is also drawn, such as
    `tau=Trainable(Uniform(5.0, 25.0), within=(5.0, 25.0))`, `tau_w` within (60, 300) and `a` within (0, 120). In a
    configuration: `tau_ms: {low: 5.0, high: 25.0}` and `trainable: [tau]`.

    Raises:
        UnitError: as in `LIF`, and where only some of a, b and tau_w have units.
        DomainError: as in `LIF`, and for `tau_w <= 0`.

    Reference: Baronig et al. (2024), https://arxiv.org/abs/2408.07517.
    """

    def __init__(
        self,
        size: Size,
        *,
        a: Any = 60.0,
        b: Any = 60.0,
        tau_w: Any = 180.0,
        R: Any = 1.0,
        tau: Any = 15.0,
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
            a=a,
            b=b,
            tau_w=tau_w,
            R=R,
            tau=tau,
            V_th=V_th,
            V_reset=V_reset,
            V_rest=V_rest,
            V_initializer=V_initializer,
            reset=HardReset() if reset is None else reset,
            surrogate=surrogate,
            tau_ref=tau_ref,
            rngs=rngs,
        )
        self.check_units("V_th", "a", "b", "tau_w")

    def update(self, *inputs: Any) -> jax.Array:
        """Advance by one step and return the spikes."""
        V = self.V_after_reset
        w_inf = self.a * (V - self.V_rest) + self.b * self.spikes
        w = w_inf + (self.w.value - w_inf) * decay(self.tau_w)
        self.V.value = self.hold(self.leaky(V, (*inputs, -w), R=self.R, tau=self.tau))
        self.w.value = w
        return self.spikes
