"""A slow current w that follows V and rises with every spike."""

from collections.abc import Callable
from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp

from spiketrain.domain import POSITIVE
from spiketrain.environ import decay, get_dtype
from spiketrain.neurons.base import Neuron
from spiketrain.parameter import Parameter
from spiketrain.state import ShortTermState
from spiketrain.units import unit_of, with_unit


class Adapting(Neuron):
    r"""What AdEx and the adaptive quadratic neuron share.

    $$\tau \frac{dV}{dt} = F(V) - R w + R \, I(V) \qquad \tau_w \frac{dw}{dt} = a (V - V_{rest}) - w$$

    with $F$ the other base's `intrinsic`, and $w \leftarrow w + b$ at a spike, at the start of the step after it.
    """

    R: Any
    tau: Any
    a = Parameter(u.nS)
    b = Parameter(u.pA)
    tau_w = Parameter(u.ms, POSITIVE)
    w: ShortTermState
    intrinsic: Callable[[Any], Any]

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create V and the adaptation current w."""
        super().init_state(batch_shape)
        unit = unit_of(self.V_rest) / unit_of(self.R)
        self.w = ShortTermState(with_unit(jnp.zeros((*batch_shape, *self.size)), unit), dtype=get_dtype())

    def update(self, *inputs: Any) -> jax.Array:
        """Advance by one step and return the spikes."""
        V, w = self.V_after_reset, self.w.value + self.b * self.spikes
        w_inf = self.a * (V - self.V_rest)
        V = self.driven(lambda V: self.intrinsic(V) - self.R * w, V, inputs, R=self.R, tau=self.tau)
        V = self.hold(V)
        self.V.value = V
        self.w.value = w_inf + (w - w_inf) * decay(self.tau_w)
        return self.spikes
