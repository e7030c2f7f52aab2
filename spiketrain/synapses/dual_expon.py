"""The dual exponential synapse."""

from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from spiketrain.domain import POSITIVE
from spiketrain.environ import decay, steps_per
from spiketrain.errors import DomainError
from spiketrain.parameter import InitialValue, Parameter, drawn
from spiketrain.state import ShortTermState
from spiketrain.synapses.base import Synapse
from spiketrain.synapses.propagator import log_ratio, mean_decay
from spiketrain.typing import Size
from spiketrain.units import magnitude


class DualExpon(Synapse):
    r"""Dual exponential synapse: each arrival raises g with one time constant, and g decays with another.

    $$\frac{dh}{dt} = -\frac{h}{\tau_r} + \sum_k x_k \, \delta(t - t_k) \qquad
    \frac{dg}{dt} = -\frac{g}{\tau_d} + c \, h$$

    so that one arrival gives $g(t) = A \, x \, (e^{-t/\tau_d} - e^{-t/\tau_r})$ with
    $A = c / (1/\tau_r - 1/\tau_d)$. Unless A is given, it makes the peak as large as the arrival; with
    $\rho = \tau_d/\tau_r$ that is $c = \rho^{\rho/(\rho-1)} / \tau_d$, and with $\tau_r = \tau_d$ the synapse is
    `Alpha`. One step is the exact propagator

    $$g \leftarrow g \, e^{-dt/\tau_d} + c \, h \, \frac{e^{-dt/\tau_d} - e^{-dt/\tau_r}}{1/\tau_r - 1/\tau_d} \qquad
    h \leftarrow h \, e^{-dt/\tau_r} + x,$$

    computed without cancellation for time constants that are close or equal.

    Args:
        size: the number of synapses, or their shape.
        tau_rise: $\tau_r$; a bare number counts in ms.
        tau_decay: $\tau_d$; a bare number counts in ms.
        A: the amplitude of the difference of exponentials, a number without a unit; None for a peak as large as the
            arrival.
        unit: the unit of g; that of the weights inside a projection, none by default.
        rngs: needed where an argument is an initialiser.

    Input and output: any number of arrays of g's shape in, g out.

    Raises:
        DomainError: a time constant is not positive, or `A` is given and `tau_rise` is not below `tau_decay`.

    Reference: Roth and van Rossum (2009), https://doi.org/10.7551/mitpress/9780262013277.003.0007.
    """

    tau_rise = Parameter(u.ms, POSITIVE)
    tau_decay = Parameter(u.ms, POSITIVE)
    A = InitialValue(u.UNITLESS)
    g: ShortTermState
    h: ShortTermState

    def __init__(
        self,
        size: Size,
        *,
        tau_rise: Any = 1.0,
        tau_decay: Any = 10.0,
        A: Any = None,
        unit: Any = None,
        rngs: nnx.Rngs | None = None,
    ):
        super().__init__(size, unit=unit, rngs=rngs, tau_rise=tau_rise, tau_decay=tau_decay)
        self.A = drawn(A, self.size, rngs, owner="DualExpon", name="A")
        late = magnitude(self.tau_rise, u.ms) >= magnitude(self.tau_decay, u.ms)
        if A is not None and not isinstance(late, jax.core.Tracer) and np.any(late):
            raise DomainError(
                "DualExpon(tau_rise=...) must lie below tau_decay where A is given. Leave A out for a peak as large as "
                "the arrival."
            )

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create g and the rising part h."""
        self.g, self.h = self.zeros(batch_shape), self.zeros(batch_shape)

    def update(self, *inputs: Any) -> Any:
        """Advance by one step and return g."""
        g, h = self.g.value, self.h.value
        r, d = steps_per(self.tau_rise), steps_per(self.tau_decay)
        c = d * jnp.exp(log_ratio(r / d - 1)) if self.A is None else self.A * (r - d)
        self.g.value = (g + c * mean_decay(r - d) * h) * decay(self.tau_decay)
        self.h.value = h * decay(self.tau_rise) + self.arrivals(inputs, at=self.h)
        return self.g.value
