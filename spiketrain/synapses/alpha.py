"""The alpha synapse."""

import math
from typing import Any

import brainunit as u
from flax import nnx

from spiketrain.domain import POSITIVE
from spiketrain.environ import decay, steps_per
from spiketrain.parameter import Parameter
from spiketrain.state import ShortTermState
from spiketrain.synapses.base import Synapse
from spiketrain.typing import Size


class Alpha(Synapse):
    r"""Alpha synapse: each arrival raises g smoothly to a peak of its own size, `tau` later.

    $$\frac{dh}{dt} = -\frac{h}{\tau} + \sum_k x_k \, \delta(t - t_k) \qquad
    \frac{dg}{dt} = -\frac{g}{\tau} + \frac{e}{\tau} h$$

    so that one arrival gives $g(t) = x \, (t/\tau) \, e^{1 - t/\tau}$. One step is the exact propagator

    $$g \leftarrow (g + e \tfrac{dt}{\tau} h) \, e^{-dt/\tau} \qquad h \leftarrow h \, e^{-dt/\tau} + x.$$

    Args:
        size: the number of synapses, or their shape.
        tau: the time from arrival to peak; a bare number counts in ms.
        unit: the unit of g; that of the weights inside a projection, none by default.
        rngs: needed where `tau` is an initialiser.

    Input and output: any number of arrays of g's shape in, g out.

    Raises:
        DomainError: `tau <= 0`.

    Reference: Rall (1967), https://doi.org/10.1152/jn.1967.30.5.1138.
    """

    tau = Parameter(u.ms, POSITIVE)
    g: ShortTermState
    h: ShortTermState

    def __init__(self, size: Size, *, tau: Any = 8.0, unit: Any = None, rngs: nnx.Rngs | None = None):
        super().__init__(size, unit=unit, rngs=rngs, tau=tau)

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create g and the rising part h."""
        self.g, self.h = self.zeros(batch_shape), self.zeros(batch_shape)

    def update(self, *inputs: Any) -> Any:
        """Advance by one step and return g."""
        g, h = self.g.value, self.h.value
        self.g.value = (g + math.e * steps_per(self.tau) * h) * decay(self.tau)
        self.h.value = h * decay(self.tau) + self.arrivals(inputs, at=self.h)
        return self.g.value
