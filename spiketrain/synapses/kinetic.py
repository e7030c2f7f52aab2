"""What synapses with receptors that open and close share: transmitter in pulses."""

from typing import Any

import brainunit as u
import jax.numpy as jnp
from flax import nnx

from spiketrain.domain import POSITIVE
from spiketrain.environ import steps_per
from spiketrain.parameter import Parameter
from spiketrain.state import ShortTermState
from spiketrain.synapses.base import Synapse
from spiketrain.typing import Size


class Kinetic(Synapse):
    """A synapse whose receptors bind transmitter, present at concentration T for `T_dur` after a spike.

    A spike during a pulse starts the pulse again. The pulse begins at the end of the step of its spike, so g moves in
    the next step; it ends after `T_dur` and not at a multiple of dt. The response saturates, so the synapse keeps its
    state per presynaptic neuron (`AlignPreProj`) and takes spikes, zeros and ones.
    """

    linear = False
    T = Parameter(u.mM, POSITIVE)
    T_dur = Parameter(u.ms, POSITIVE)
    g: ShortTermState
    left: ShortTermState

    def __init__(self, size: Size, *, rngs: nnx.Rngs | None, **parameters: Any):
        super().__init__(size, unit=None, rngs=rngs, **parameters)

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create g, the share of open receptors, and the share of a pulse that is left."""
        self.g = self.zeros(batch_shape)
        self.left = ShortTermState(jnp.zeros((*batch_shape, *self.size)))  # it counts down: half precision would stall

    def exposure(self, inputs: tuple[Any, ...]) -> Any:
        """Advance the pulse, and return the share of this step during which there is transmitter."""
        spikes = self.arrivals(inputs, at=self.left)
        left, step = self.left.value, steps_per(self.T_dur)
        self.left.value = (1 - spikes) * jnp.maximum(left - step, 0) + spikes
        return jnp.minimum(left / step, 1)
