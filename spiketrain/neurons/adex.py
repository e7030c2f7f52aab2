"""The adaptive exponential integrate-and-fire neuron."""

from typing import Any

import brainunit as u

from spiketrain.neurons.adapting import Adapting
from spiketrain.neurons.exp_if import ExpIF
from spiketrain.typing import Size


class AdExIF(Adapting, ExpIF):
    r"""Adaptive exponential integrate-and-fire neuron.

    $$\tau \frac{dV}{dt} = -(V - V_{rest}) + \Delta_T \, e^{(V - V_T) / \Delta_T} - R w + R \, I(V) \qquad
    \tau_w \frac{dw}{dt} = a (V - V_{rest}) - w$$

    and $w \leftarrow w + b$ at a spike. Each equation takes an exponential Euler step with the other variable
    frozen where the step begins, so the pair is of first order. The defaults are those of the reference.

    Args:
        size: the number of neurons, or their shape.
        a: the conductance with which w follows V.
        b: the rise of w at a spike.
        tau_w: the time constant of w.
        arguments: everything else as in `ExpIF`.

    Raises:
        UnitError: as in `ExpIF`.
        DomainError: as in `ExpIF`, and for `tau_w <= 0`.

    Reference: Brette and Gerstner (2005), https://doi.org/10.1152/jn.00686.2005.
    """

    def __init__(
        self,
        size: Size,
        *,
        R: Any = 33.3 * u.Mohm,
        tau: Any = 9.37 * u.ms,
        V_th: Any = 20.0 * u.mV,
        V_reset: Any = -70.6 * u.mV,
        V_rest: Any = -70.6 * u.mV,
        V_T: Any = -50.4 * u.mV,
        delta_T: Any = 2.0 * u.mV,
        a: Any = 4.0 * u.nS,
        b: Any = 80.5 * u.pA,
        tau_w: Any = 144.0 * u.ms,
        **arguments: Any,
    ):
        super().__init__(
            size,
            R=R,
            tau=tau,
            V_th=V_th,
            V_reset=V_reset,
            V_rest=V_rest,
            V_T=V_T,
            delta_T=delta_T,
            a=a,
            b=b,
            tau_w=tau_w,
            **arguments,
        )
        self.check_units("V_th", "a", "b", "tau_w")
