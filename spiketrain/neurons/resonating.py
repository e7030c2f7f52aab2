"""A potential that turns: the real part of a complex number that decays and rotates."""

from typing import Any

import brainunit as u
import jax.numpy as jnp

from spiketrain.domain import POSITIVE
from spiketrain.environ import get_dtype, steps_per
from spiketrain.neurons.base import Neuron
from spiketrain.parameter import Parameter
from spiketrain.state import ShortTermState
from spiketrain.units import unit_of, with_unit


class Resonating(Neuron):
    r"""What complex neurons share: $\tau \dot z = (-k + i \, 2 \pi \tau / T) \, z + R I$ with $V = V_{rest} + \mathrm{Re} \, z$.

    W is the imaginary part. The solution is taken exactly for an input that is constant over the step. A conductance
    counts as the current that it carries at V where the step begins.
    """

    R = Parameter(u.Mohm, POSITIVE)
    tau = Parameter(u.ms, POSITIVE)
    period = Parameter(u.ms, POSITIVE)
    W: ShortTermState

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create V, and the imaginary part W."""
        super().init_state(batch_shape)
        zeros = with_unit(jnp.zeros((*batch_shape, *self.size)), unit_of(self.V_rest))
        self.W = ShortTermState(zeros, dtype=get_dtype())

    def turned(self, inputs: tuple[Any, ...], *, k: Any = 1.0, speed: Any = 1.0) -> tuple[Any, Any]:
        r"""Return V and W after a step, in which time runs at `speed` and the decay is k times as fast."""
        V, W = self.V_after_reset, self.W.value
        I, G = self.currents(inputs, at=V, per=self.R)
        step = steps_per(self.tau) * speed
        rate, angle = k * step, 2 * jnp.pi * steps_per(self.period) * speed
        left = jnp.exp(-rate)
        re, im = left * jnp.cos(angle), left * jnp.sin(angle)
        drive = self.R * (I - G * V) * (step / (rate**2 + angle**2))
        x = V - self.V_rest
        # the integral of the exponential over the step is (e^{lambda} - 1) / lambda, lambda = -rate + i angle
        V_new = self.V_rest + x * re - W * im + drive * (rate * (1 - re) + angle * im)
        W_new = x * im + W * re + drive * (angle * (1 - re) - rate * im)
        return V_new + self.jumps(inputs, at=V), W_new
