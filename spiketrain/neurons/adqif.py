"""The adaptive quadratic integrate-and-fire neuron."""

from typing import Any

import brainunit as u

from spiketrain.neurons.adapting import Adapting
from spiketrain.neurons.qif import QuaIF
from spiketrain.typing import Size


class AdQuaIF(Adapting, QuaIF):
    r"""Adaptive quadratic integrate-and-fire neuron.

    $$\tau \frac{dV}{dt} = c \, (V - V_{rest}) (V - V_c) - R w + R \, I(V) \qquad
    \tau_w \frac{dw}{dt} = a (V - V_{rest}) - w$$

    and $w \leftarrow w + b$ at a spike. Each equation takes an exponential Euler step with the other variable
    frozen where the step begins, so the pair is of first order.

    Args:
        size: the number of neurons, or their shape.
        a: the conductance with which w follows V.
        b: the rise of w at a spike.
        tau_w: the time constant of w.
        arguments: everything else as in `QuaIF`.

    Raises:
        UnitError: as in `QuaIF`.
        DomainError: as in `QuaIF`, and for `tau_w <= 0`.

    Reference: Izhikevich (2004), https://doi.org/10.1109/TNN.2004.832719.
    """

    def __init__(
        self, size: Size, *, a: Any = 5.0 * u.nS, b: Any = 20.0 * u.pA, tau_w: Any = 100.0 * u.ms, **arguments: Any
    ):
        super().__init__(size, a=a, b=b, tau_w=tau_w, **arguments)
        self.check_units("V_th", "a", "b", "tau_w")
