"""What every source shares: it needs no input, and remembers what it emitted last."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from spiketrain.domain import Domain
from spiketrain.dynamics import Dynamics
from spiketrain.state import ShortTermState
from spiketrain.typing import Size, as_size


@dataclass(frozen=True)
class NonNegative(Domain):
    r"""$x \ge 0$; a trained one is $|\theta|$."""

    describe = "a finite number and not negative"

    def contains(self, x: np.ndarray) -> bool:
        """Whether every entry of `x` is finite and not negative."""
        return super().contains(x) and bool(np.all(x >= 0))

    def forward(self, raw: Any) -> Any:
        """Return the absolute value."""
        return jnp.abs(raw)


NON_NEGATIVE = NonNegative()


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
