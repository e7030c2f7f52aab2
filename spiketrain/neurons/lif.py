"""The leaky integrate-and-fire neuron."""

from typing import Any

import brainunit as u
import jax
from flax import nnx

from spiketrain.domain import POSITIVE
from spiketrain.neurons.base import Neuron
from spiketrain.parameter import Parameter
from spiketrain.reset import Reset
from spiketrain.surrogates.base import Surrogate
from spiketrain.typing import Size


class LIF(Neuron):
    r"""Leaky integrate-and-fire neuron.

    $$\tau \frac{dV}{dt} = -(V - V_{rest}) + R \, I(V)$$

    With $I(V) = I - G V$ over the step (currents $I$, conductances $G$), $k = 1 + R G$ and
    $V_\infty = (V_{rest} + R I) / k$, one step is

    $$V \leftarrow V_\infty + (V - V_\infty) \, e^{-k \, dt / \tau}.$$

    Exact between spikes for inputs that are constant over the step, conductances included. A spike is emitted at
    the end of the step in which V reaches threshold. The order of an update is that of `Neuron`: reset, integrate,
    add jumps, emit; the gradient passes the reset unless the reset is detached.

    Args:
        size: the number of neurons, or their shape.
        R: the resistance. In a model with units its unit sets the scale of the input: mV and Mohm ask for nA and
            uS (and convert pA and nS).
        tau: the membrane time constant; a bare number counts in ms.
        V_th: the threshold.
        V_reset: the potential after a spike; V_rest unless it is given. Must lie below V_th.
        V_rest: the resting potential.
        V_initializer: V at the start of a trial; V_rest unless it is given.
        reset: `SoftReset()` (default), `HardReset()` or `NoReset()`.
        surrogate: the spike function, `ATan()` by default.
        tau_ref: the refractory period, rounded to steps; none by default.
        rngs: needed where an argument is an initialiser.

    Every physical argument is a number or `Quantity`, an array of the model's size, an initialiser, or
    `Trainable(...)` of one of them.

    Input and output: any number of currents, conductances and jumps of V's shape in, spikes of V's shape out.

    Raises:
        UnitError: an argument has the wrong dimension, or only some of V_th, V_reset, V_rest, R have units.
        DomainError: `tau <= 0`, `R <= 0` or `V_reset >= V_th`.

    Reference: Gerstner et al. (2014), Neuronal Dynamics, chapter 1, https://neuronaldynamics.epfl.ch.
    """

    R = Parameter(u.Mohm, POSITIVE)
    tau = Parameter(u.ms, POSITIVE)

    def __init__(
        self,
        size: Size,
        *,
        R: Any = 1.0,
        tau: Any = 20.0,
        V_th: Any = 1.0,
        V_reset: Any = None,
        V_rest: Any = 0.0,
        V_initializer: Any = None,
        reset: Reset | None = None,
        surrogate: Surrogate | None = None,
        tau_ref: Any = None,
        rngs: nnx.Rngs | None = None,
        **parameters: Any,
    ):
        super().__init__(
            size,
            R=R,
            tau=tau,
            V_th=V_th,
            V_reset=V_reset,
            V_rest=V_rest,
            V_initializer=V_initializer,
            reset=reset,
            surrogate=surrogate,
            tau_ref=tau_ref,
            rngs=rngs,
            **parameters,
        )
        self.check_units("V_th", "R", "tau")

    def update(self, *inputs: Any) -> jax.Array:
        """Advance by one step and return the spikes."""
        self.V.value = self.hold(self.leaky(self.V_after_reset, inputs, R=self.R, tau=self.tau))
        return self.spikes
