"""The complex state-space neuron: a spiking neuron with the parametrisation of a diagonal state-space model."""

from typing import Any

import jax
from flax import nnx

from spiketrain.domain import POSITIVE
from spiketrain.neurons.resonating import Resonating
from spiketrain.parameter import Parameter
from spiketrain.reset import Reset
from spiketrain.surrogates.base import Surrogate
from spiketrain.typing import Size
from spiketrain.units import UNITLESS


class CSiLIF(Resonating):
    r"""Leaky integrate-and-fire neuron whose state is complex and whose time runs at a speed of its own.

    $$\frac{dz}{dt} = \Delta \left( \left(-\frac{1}{\tau} + i \, \frac{2 \pi}{T}\right) z + \frac{R \, I}{\tau} \right)
    \qquad V = V_{rest} + \mathrm{Re} \, z$$

    One step is exact for inputs that are constant over it (zero-order hold): $z \leftarrow e^{\lambda} z +
    \frac{e^{\lambda} - 1}{\lambda} \frac{\Delta dt}{\tau} R I$ with $\lambda = \Delta dt (-1/\tau + 2 \pi i / T)$.
    Where they are trained, tau, T and the speed $\Delta$ are stored as logarithms, one per neuron, as a diagonal
    state-space model has it, so that a step of the optimizer changes them by a factor. The speed scales both times
    and is a second handle on them. The reset acts on V alone. With an infinite period and speed one it is `LIF`.

    Args:
        size: the number of neurons, or their shape.
        R: the resistance, as in `LIF`.
        tau: the time constant of the decay; a bare number counts in ms.
        period: T, the time of one turn.
        speed: how fast time runs, without a unit.
        V_th: the threshold.
        V_reset: the potential after a spike; V_rest unless it is given.
        V_rest: the resting potential.
        V_initializer: V at the start of a trial, as in `LIF`.
        reset: `SoftReset()` by default.
        surrogate: the spike function, `ATan()` by default.
        tau_ref: a refractory period, as in `LIF`; it holds V alone.
        rngs: needed where an argument is an initialiser.

    Input and output: as in `LIF`; a conductance counts as the current that it carries where the step begins.

    Raises:
        UnitError: an argument has the wrong dimension, or only some of them have units.
        DomainError: a time, the speed or R is not positive, or `V_reset >= V_th`.

    Reference: Fabre et al. (2025), https://arxiv.org/abs/2506.06374; Gu et al. (2022), https://arxiv.org/abs/2206.11893.
    """

    speed = Parameter(UNITLESS, POSITIVE)

    def __init__(
        self,
        size: Size,
        *,
        R: Any = 1.0,
        tau: Any = 20.0,
        period: Any = 40.0,
        speed: Any = 1.0,
        V_th: Any = 1.0,
        V_reset: Any = None,
        V_rest: Any = 0.0,
        V_initializer: Any = None,
        reset: Reset | None = None,
        surrogate: Surrogate | None = None,
        tau_ref: Any = None,
        rngs: nnx.Rngs | None = None,
    ):
        super().__init__(
            size,
            R=R,
            tau=tau,
            period=period,
            speed=speed,
            V_th=V_th,
            V_reset=V_reset,
            V_rest=V_rest,
            V_initializer=V_initializer,
            reset=reset,
            surrogate=surrogate,
            tau_ref=tau_ref,
            rngs=rngs,
        )
        self.check_units("V_th", "R", "tau", "period")

    def update(self, *inputs: Any) -> jax.Array:
        """Advance by one step and return the spikes."""
        V, self.W.value = self.turned(inputs, speed=self.speed)
        self.V.value = self.hold(V)
        return self.spikes
