"""The NMDA receptor."""

from typing import Any

import brainunit as u
from flax import nnx

from spiketrain.domain import POSITIVE
from spiketrain.parameter import Parameter
from spiketrain.state import ShortTermState
from spiketrain.synapses.ampa import PER_MS, PER_MS_MM
from spiketrain.synapses.kinetic import Kinetic
from spiketrain.synapses.propagator import mean_decay, per_step, relaxed
from spiketrain.typing import Size
from spiketrain.units import magnitude


class BioNMDA(Kinetic):
    r"""NMDA receptors: transmitter raises x, and x opens receptors; g is the share of open ones.

    $$\frac{dg}{dt} = \alpha_1 x \, (1 - g) - \beta_1 g \qquad
    \frac{dx}{dt} = \alpha_2 \, [T] \, (1 - x) - \beta_2 x$$

    $[T]$ is T for a time `T_dur` from each spike on, zero otherwise; `Kinetic` says when a pulse begins and ends. x is
    exact for any dt. g is solved with the mean of x over the step, or over its part with transmitter and its part
    without: of second order in dt. The block by magnesium is `out=MgBlock(E=0.0 * u.mV)`.

    Args:
        size: the number of presynaptic neurons, or their shape.
        alpha1: the rate at which x opens receptors; a bare number counts in 1 / ms.
        beta1: the rate at which they close; a bare number counts in 1 / ms.
        alpha2: the rate at which transmitter raises x; a bare number counts in 1 / (ms mM).
        beta2: the rate at which x decays; a bare number counts in 1 / ms.
        T: the concentration of transmitter in a pulse; a bare number counts in mM.
        T_dur: the duration of a pulse; a bare number counts in ms.
        rngs: needed where an argument is an initialiser.

    Input and output: spikes in, g out, from 0 to 1 and without a unit; the comm behind it has the conductance.

    Raises:
        DomainError: an argument is not positive.

    Reference: Destexhe, Mainen and Sejnowski (1994), https://doi.org/10.1007/BF00961734.
    """

    alpha1 = Parameter(PER_MS, POSITIVE)
    beta1 = Parameter(PER_MS, POSITIVE)
    alpha2 = Parameter(PER_MS_MM, POSITIVE)
    beta2 = Parameter(PER_MS, POSITIVE)
    x: ShortTermState

    def __init__(
        self,
        size: Size,
        *,
        alpha1: Any = 2.0,
        beta1: Any = 0.01,
        alpha2: Any = 1.0,
        beta2: Any = 0.5,
        T: Any = 1.0,
        T_dur: Any = 0.5,
        rngs: nnx.Rngs | None = None,
    ):
        rates = dict(alpha1=alpha1, beta1=beta1, alpha2=alpha2, beta2=beta2)
        super().__init__(size, rngs=rngs, T=T, T_dur=T_dur, **rates)

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create g, x and the share of a pulse that is left."""
        super().init_state(batch_shape)
        self.x = self.zeros(batch_shape)

    def update(self, *inputs: Any) -> Any:
        """Advance by one step and return g."""
        exposed = self.exposure(inputs)
        rising = per_step(self.alpha2, PER_MS_MM) * magnitude(self.T, u.mM)
        g, x = self._advance(self.g.value, self.x.value, rising, exposed)
        self.g.value, self.x.value = self._advance(g, x, 0.0, 1 - exposed)
        return self.g.value

    def _advance(self, g: Any, x: Any, rising: Any, share: Any) -> tuple[Any, Any]:
        """Advance g and x by a share of the step, with constant transmitter."""
        falling = per_step(self.beta2, PER_MS)
        rate = rising + falling
        mean = rising / rate + (x - rising / rate) * mean_decay(rate * share)
        opening, closing = per_step(self.alpha1, PER_MS) * mean, per_step(self.beta1, PER_MS)
        return relaxed(g, opening, closing, time=share), relaxed(x, rising, falling, time=share)
