"""What every source shares: it needs no input, and remembers what it emitted last."""

import jax.numpy as jnp

from spiketrain.dynamics import Dynamics
from spiketrain.state import ShortTermState
from spiketrain.typing import Size, as_size


class Source(Dynamics):
    """Emits spikes of its own: `source(length=1000, batch_shape=(8,))` is a train, `source.update()` one step.

    In a circuit it is a part like any other.

    Args:
        size: the number of neurons, or their shape.
    """

    emitted: ShortTermState

    def __init__(self, size: Size):
        self.size = self.in_size = as_size(type(self).__name__, size)

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create what it emitted last, nothing before the first step."""
        self.emitted = ShortTermState(jnp.zeros((*batch_shape, *self.size)))
