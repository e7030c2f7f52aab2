"""The adaptive leaky integrate-and-fire neuron."""

from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp

from spiketrain.domain import POSITIVE
from spiketrain.environ import decay, get_dtype
from spiketrain.neurons.lif import LIF
from spiketrain.parameter import Parameter
from spiketrain.state import ShortTermState
from spiketrain.typing import Size
from spiketrain.units import has_unit


class ALIF(LIF):
    r"""Leaky integrate-and-fire neuron whose threshold rises with its own spikes.

    $$\tau \frac{dV}{dt} = -(V - V_{rest}) + R \, I(V) \qquad \tau_a \frac{da}{dt} = -a \qquad
    \theta = V_{th} + \beta a$$

    and $a \leftarrow a + s$ at a spike. Both equations are integrated exactly. Spikes are counted at the start of
    the step after them, together with the reset: $a \leftarrow (a + s) \, e^{-dt/\tau_a}$. The reset moves V by
    $V_{th} - V_{reset}$, without the adaptation. With `beta = 0` this is `LIF`.

    Args:
        size: the number of neurons, or their shape.
        tau_a: the time constant of the adaptation; a bare number counts in ms.
        beta: the rise of the threshold at a spike, in the dimension of V_th.
        arguments: everything else as in `LIF`.

    Raises:
        UnitError: as in `LIF`, and where beta and V_th do not share a dimension.
        DomainError: as in `LIF`, and for `tau_a <= 0`.

    Reference: Bellec et al. (2018), https://arxiv.org/abs/1803.09574.
    """

    tau_a = Parameter(u.ms, POSITIVE)
    beta = Parameter(u.mV)
    a: ShortTermState

    def __init__(self, size: Size, *, tau_a: Any = 200.0, beta: Any = 0.1, **arguments: Any):
        super().__init__(size, tau_a=tau_a, beta=beta, **arguments)
        self.check_units("V_th", "beta")
        if has_unit(self.V_th):
            self.check_units("V_th", "tau_a")

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create V and the adaptation a."""
        super().init_state(batch_shape)
        self.a = ShortTermState(jnp.zeros((*batch_shape, *self.size)), dtype=get_dtype())

    def threshold(self) -> Any:
        r"""Return $\theta = V_{th} + \beta a$."""
        return self.V_th + self.beta * self.a.value

    def update(self, *inputs: Any) -> jax.Array:
        """Advance by one step and return the spikes."""
        a = (self.a.value + self.spikes) * decay(self.tau_a)
        self.V.value = self.hold(self.leaky(self.V_after_reset, inputs, R=self.R, tau=self.tau))
        self.a.value = a
        return self.spikes
