"""The synapse that does not filter."""

from typing import Any

from spiketrain.state import ShortTermState
from spiketrain.synapses.base import Synapse
from spiketrain.typing import Size


class Instant(Synapse):
    r"""Pass on what arrives, in its step and in no other: $g = \sum_k x_k$ over the arrivals of the step.

    Before `out=Delta()` it makes the delta synapse: each spike moves V by its weight, whatever dt is. Before `CUBA` or
    `COBA` it makes a current or a conductance that lasts one step, so the charge of a spike is proportional to dt:
    for models that live on one dt, as networks for machine learning do.

    Args:
        size: the number of synapses, or their shape.
        unit: the unit of g; that of the weights inside a projection, none by default.

    Input and output: any number of arrays of g's shape in, their sum out.

    Raises:
        ShapeError: what arrives has another shape.
        UnitError: what arrives has another dimension.

    Reference: Brunel (2000), https://doi.org/10.1023/A:1008925309027.
    """

    g: ShortTermState

    def __init__(self, size: Size, *, unit: Any = None):
        super().__init__(size, unit=unit, rngs=None)

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create g."""
        self.g = self.zeros(batch_shape)

    def update(self, *inputs: Any) -> Any:
        """Advance by one step and return g."""
        self.g.value = self.arrivals(inputs, at=self.g)
        return self.g.value
