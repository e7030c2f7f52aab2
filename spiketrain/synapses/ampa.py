"""The AMPA receptor."""

from typing import Any

import brainunit as u
from flax import nnx

from spiketrain.domain import POSITIVE
from spiketrain.parameter import Parameter
from spiketrain.synapses.kinetic import Kinetic
from spiketrain.synapses.propagator import per_step, relaxed
from spiketrain.typing import Size
from spiketrain.units import magnitude

PER_MS, PER_MS_MM = u.ms**-1, u.ms**-1 * u.mM**-1


class AMPA(Kinetic):
    r"""AMPA receptors: g, the share of them that is open, rises while there is transmitter and decays.

    $$\frac{dg}{dt} = \alpha \, [T] \, (1 - g) - \beta \, g$$

    $[T]$ is T for a time `T_dur` from each spike on, zero otherwise; `Kinetic` says when a pulse begins and ends.
    Exact for any dt, also where a pulse ends within a step.

    Args:
        size: the number of presynaptic neurons, or their shape.
        alpha: the rate of binding; a bare number counts in 1 / (ms mM).
        beta: the rate of unbinding; a bare number counts in 1 / ms.
        T: the concentration of transmitter in a pulse; a bare number counts in mM.
        T_dur: the duration of a pulse; a bare number counts in ms.
        rngs: needed where an argument is an initialiser.

    Input and output: spikes in, g out, from 0 to 1 and without a unit; the comm behind it has the conductance.

    Raises:
        DomainError: an argument is not positive.

    Reference: Destexhe, Mainen and Sejnowski (1994), https://doi.org/10.1007/BF00961734.
    """

    alpha = Parameter(PER_MS_MM, POSITIVE)
    beta = Parameter(PER_MS, POSITIVE)

    def __init__(
        self,
        size: Size,
        *,
        alpha: Any = 0.98,
        beta: Any = 0.18,
        T: Any = 0.5,
        T_dur: Any = 0.5,
        rngs: nnx.Rngs | None = None,
    ):
        super().__init__(size, rngs=rngs, alpha=alpha, beta=beta, T=T, T_dur=T_dur)

    def update(self, *inputs: Any) -> Any:
        """Advance by one step and return g."""
        exposed = self.exposure(inputs)
        binding = per_step(self.alpha, PER_MS_MM) * magnitude(self.T, u.mM)
        unbinding = per_step(self.beta, PER_MS)
        g = relaxed(self.g.value, binding, unbinding, time=exposed)
        self.g.value = relaxed(g, 0.0, unbinding, time=1 - exposed)
        return self.g.value
