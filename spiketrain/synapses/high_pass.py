"""The causal high-pass filter."""

from typing import Any

import brainunit as u
from flax import nnx

from spiketrain.domain import POSITIVE
from spiketrain.environ import decay
from spiketrain.parameter import Parameter
from spiketrain.state import ShortTermState
from spiketrain.synapses.base import Synapse
from spiketrain.typing import Size


class HighPass(Synapse):
    r"""Subtract the recent mean of a signal: what changes passes, what stays does not.

    $$y = x - m \qquad \tau \frac{dm}{dt} = x - m$$

    One step is $m \leftarrow x + (m - x) \, e^{-dt/\tau}$, exact for a signal that is constant over the step, and y is
    taken at its end. A trial begins at m = 0, so a signal that sets in is passed in full and then forgotten. It is a
    layer for features on their way into a network, one mean per channel.

    Args:
        size: the number of channels, or their shape.
        tau: the time over which the mean is taken; a bare number counts in ms.
        unit: the unit of the signal; none by default.
        rngs: needed where `tau` is an initialiser.

    Input and output: numbers of m's shape in, y out.

    Raises:
        DomainError: `tau <= 0`.
    """

    tau = Parameter(u.ms, POSITIVE)
    m: ShortTermState

    def __init__(self, size: Size, *, tau: Any = 50.0, unit: Any = None, rngs: nnx.Rngs | None = None):
        super().__init__(size, unit=unit, rngs=rngs, tau=tau)

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create the mean m."""
        self.m = self.zeros(batch_shape)

    def update(self, *inputs: Any) -> Any:
        """Advance by one step and return what is above the mean."""
        x = self.arrivals(inputs, at=self.m)
        above = (x - self.m.value) * decay(self.tau)
        self.m.value = x - above
        return above
