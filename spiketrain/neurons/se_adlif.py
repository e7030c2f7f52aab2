"""The adaptive leaky integrate-and-fire neuron of second order, stepped by the symplectic Euler method."""

from typing import Any

import brainunit as u
import jax

from spiketrain.environ import decay
from spiketrain.neurons.adapting import Adapting
from spiketrain.neurons.lif import LIF
from spiketrain.reset import HardReset, Reset
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
        reset: `HardReset()` by default.
        arguments: everything else as in `LIF`.

    The reference trains all four constants per neuron within bounds, here
    `tau=Trainable(Uniform(5.0, 25.0), within=(5.0, 25.0))`, `tau_w` within (60, 300), `a` within (0, 120) and `b` within
    (0, 240), which is what the configuration `neuron: se_adlif` does.

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
        tau: Any = 15.0,
        reset: Reset | None = None,
        **arguments: Any,
    ):
        reset = HardReset() if reset is None else reset
        super().__init__(size, a=a, b=b, tau_w=tau_w, tau=tau, reset=reset, **arguments)
        self.check_units("V_th", "a", "b", "tau_w")

    def update(self, *inputs: Any) -> jax.Array:
        """Advance by one step and return the spikes."""
        V = self.V_after_reset
        w_inf = self.a * (V - self.V_rest) + self.b * self.spikes
        w = w_inf + (self.w.value - w_inf) * decay(self.tau_w)
        self.V.value = self.hold(self.leaky(V, (*inputs, -w), R=self.R, tau=self.tau))
        self.w.value = w
        return self.spikes
