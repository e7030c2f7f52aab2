"""The exponential synapse."""

from typing import Any

import brainunit as u
from flax import nnx

from spiketrain.domain import POSITIVE
from spiketrain.environ import decay
from spiketrain.parameter import Parameter
from spiketrain.state import ShortTermState
from spiketrain.synapses.base import Synapse
from spiketrain.typing import Size


class Expon(Synapse):
    r"""Exponential synapse: each arrival adds to g, which decays.

    $$\frac{dg}{dt} = -\frac{g}{\tau} + \sum_k x_k \, \delta(t - t_k)$$

    One step is $g \leftarrow g \, e^{-dt/\tau} + x$, exact. What arrives in a step is in full in the output of
    that step.

    Args:
        size: the number of synapses, or their shape.
        tau: the time constant of the decay; a bare number counts in ms.
        unit: the unit of g; that of the weights inside a projection, none by default.
        rngs: needed where `tau` is an initialiser.

    Input and output: any number of arrays of g's shape in, g out.

    Raises:
        DomainError: `tau <= 0`.

    Reference: Sterratt et al. (2011), Principles of Computational Modelling in Neuroscience, chapter 7.
    """

    tau = Parameter(u.ms, POSITIVE)
    g: ShortTermState

    def __init__(self, size: Size, *, tau: Any = 8.0, unit: Any = None, rngs: nnx.Rngs | None = None):
        super().__init__(size, unit=unit, rngs=rngs, tau=tau)

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create g."""
        self.g = self.zeros(batch_shape)

    def update(self, *inputs: Any) -> Any:
        """Advance by one step and return g."""
        self.g.value = self.g.value * decay(self.tau) + self.arrivals(inputs, at=self.g)
        return self.g.value
