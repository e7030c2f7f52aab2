"""The leaky integrator: a membrane without spikes, the usual readout."""

from typing import Any

import brainunit as u
from flax import nnx

from spiketrain.domain import POSITIVE
from spiketrain.neurons.base import Cell
from spiketrain.parameter import Parameter
from spiketrain.typing import Size


class LeakyIntegrator(Cell):
    r"""A membrane that never spikes and returns its potential.

    $$\tau \frac{dV}{dt} = -(V - V_{rest}) + R \, I(V)$$

    integrated exactly for inputs that are constant over the step, as in `LIF`.

    Args:
        size: the number of cells, or their shape.
        R: the resistance.
        tau: the membrane time constant; a bare number counts in ms.
        V_rest: the resting potential.
        V_initializer: V at the start of a trial; V_rest unless it is given.
        rngs: needed where an argument is an initialiser.

    Input and output: currents, conductances and jumps of V's shape in, V out.

    Raises:
        UnitError: an argument has the wrong dimension, or only some of them have units.
        DomainError: `tau <= 0` or `R <= 0`.
    """

    R = Parameter(u.Mohm, POSITIVE)
    tau = Parameter(u.ms, POSITIVE)

    def __init__(
        self,
        size: Size,
        *,
        R: Any = 1.0,
        tau: Any = 20.0,
        V_rest: Any = 0.0,
        V_initializer: Any = None,
        rngs: nnx.Rngs | None = None,
    ):
        super().__init__(size, R=R, tau=tau, V_rest=V_rest, V_initializer=V_initializer, rngs=rngs)
        self.check_units("V_rest", "R", "tau")

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create V."""
        self.V = self.initial_V(batch_shape)

    def update(self, *inputs: Any) -> Any:
        """Advance by one step and return V."""
        self.V.value = self.leaky(self.V.value, inputs, R=self.R, tau=self.tau)
        return self.V.value
