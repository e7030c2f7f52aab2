"""Short-term plasticity: what a spike releases depends on the spikes before it."""

from dataclasses import dataclass
from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from spiketrain.domain import POSITIVE, Domain
from spiketrain.environ import decay, get_dtype
from spiketrain.parameter import Parameter
from spiketrain.state import ShortTermState
from spiketrain.synapses.base import Synapse
from spiketrain.typing import Size


@dataclass(frozen=True)
class Fraction(Domain):
    r"""$0 < x \le 1$; a trained one is $1 / (1 + e^{-\theta})$."""

    describe = "above 0 and up to 1 (below 1 where it is trained)"

    def contains(self, x: np.ndarray) -> bool:
        """Whether every entry of `x` lies in the domain."""
        return bool(np.all((x > 0) & (x <= 1)))

    def forward(self, raw: Any) -> Any:
        """Return the logistic function."""
        return jax.nn.sigmoid(raw)

    def inverse(self, x: Any) -> Any:
        """Return its inverse."""
        return jnp.log(x) - jnp.log1p(-x)


class STP(Synapse):
    r"""Facilitate and depress: turn each spike into the share of transmitter that it releases.

    $$\frac{du}{dt} = -\frac{u}{\tau_f} + U (1 - u^-) \sum_k \delta(t - t_k) \qquad
    \frac{dx}{dt} = \frac{1 - x}{\tau_d} - u^+ x^- \sum_k \delta(t - t_k)$$

    u is the share of the available transmitter that a spike releases, x what is available. A spike first raises u
    to $u^+$, then releases $u^+ x^-$, which is the output of its step; without a spike the output is zero. At the
    start of a trial $u = 0$ and $x = 1$, so that the first spike releases U. Exact between spikes.

    It belongs in front of a projection, one per presynaptic neuron: `projection.update(stp.update(spikes))`.

    Args:
        size: the number of presynaptic neurons, or their shape.
        U: how far a spike raises u, above 0 and up to 1.
        tau_f: the time constant of facilitation; a bare number counts in ms.
        tau_d: the time constant of recovery from depression; a bare number counts in ms.
        rngs: needed where an argument is an initialiser.

    Input and output: spikes in, what they release out.

    Raises:
        DomainError: a time constant is not positive, or U is no share.

    Reference: Tsodyks, Pawelzik and Markram (1998), https://doi.org/10.1162/089976698300017502.
    """

    linear = False
    U = Parameter(u.UNITLESS, Fraction())
    tau_f = Parameter(u.ms, POSITIVE)
    tau_d = Parameter(u.ms, POSITIVE)
    u: ShortTermState
    x: ShortTermState

    def __init__(
        self, size: Size, *, U: Any = 0.15, tau_f: Any = 1500.0, tau_d: Any = 200.0, rngs: nnx.Rngs | None = None
    ):
        super().__init__(size, unit=None, rngs=rngs, U=U, tau_f=tau_f, tau_d=tau_d)

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create u and x."""
        self.u = self.zeros(batch_shape)
        self.x = ShortTermState(jnp.ones((*batch_shape, *self.size)), dtype=get_dtype())

    def update(self, *inputs: Any) -> Any:
        """Advance by one step and return what the spikes release."""
        s = self.arrivals(inputs, at=self.u)
        u = self.u.value * decay(self.tau_f)
        x = 1 + (self.x.value - 1) * decay(self.tau_d)
        u = u + s * self.U * (1 - u)
        released = s * u * x
        self.u.value, self.x.value = u, x - released
        return released
