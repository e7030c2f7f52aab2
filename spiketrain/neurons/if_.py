"""The perfect integrator."""

from typing import Any

import brainunit as u
import jax

from spiketrain.domain import POSITIVE
from spiketrain.neurons.base import Neuron
from spiketrain.parameter import Parameter
from spiketrain.typing import Size
from spiketrain.units import unit_of, with_unit


class IF(Neuron):
    r"""Integrate-and-fire neuron without a leak.

    $$\tau \frac{dV}{dt} = R \, I(V)$$

    Exact between spikes for inputs that are constant over the step, conductances included.

    Args:
        size: the number of neurons, or their shape.
        R: the resistance, which sets the scale of the input.
        tau: the time in which an input of 1 raises V by R; a bare number counts in ms.
        V_th: the threshold.
        V_rest: the potential at the start of a trial, and after a spike unless V_reset is given.
        arguments: `V_reset`, `V_initializer`, `reset`, `surrogate`, `tau_ref` and `rngs` as in `LIF`.

    Raises:
        UnitError: an argument has the wrong dimension, or only some of them have units.
        DomainError: `tau <= 0`, `R <= 0` or `V_reset >= V_th`.
    """

    R = Parameter(u.Mohm, POSITIVE)
    tau = Parameter(u.ms, POSITIVE)

    def __init__(
        self, size: Size, *, R: Any = 1.0, tau: Any = 20.0, V_th: Any = 1.0, V_rest: Any = 0.0, **arguments: Any
    ):
        super().__init__(size, R=R, tau=tau, V_th=V_th, V_rest=V_rest, **arguments)
        self.check_units("V_th", "R", "tau")

    def update(self, *inputs: Any) -> jax.Array:
        """Advance by one step and return the spikes."""
        nothing = with_unit(0.0, unit_of(self.V_rest))
        V = self.driven(lambda V: nothing, self.V_after_reset, inputs, R=self.R, tau=self.tau)
        self.V.value = self.hold(V)
        return self.spikes
