"""What a synaptic variable does to the neuron: a current, a conductance, or a jump."""

from dataclasses import dataclass
from typing import Any

import brainunit as u

from spiketrain.domain import POSITIVE
from spiketrain.errors import DomainError, UnitError
from spiketrain.inputs import Blocked, Conductance, Current, Input, Jump
from spiketrain.units import UNITLESS, Constant, expect_unit, has_unit, magnitude, show, with_unit


class Output:
    """Turn a synaptic variable `g` into the input of a neuron."""

    def check(self, unit: Any) -> None:
        """Refuse a `g` whose unit cannot be meant."""

    def __call__(self, g: Any) -> Input:
        """Return the input."""
        raise NotImplementedError


@dataclass(frozen=True)
class CUBA(Output):
    r"""Current-based output: $I = g$, in the unit of the weights, not scaled by anything."""

    def __call__(self, g: Any) -> Current:
        """Return the current."""
        return Current(g)


@dataclass(frozen=True, init=False)
class COBA(Output):
    r"""Conductance-based output: $I = g \, (E - V)$.

    Args:
        E: the reversal potential, one number or `Quantity`.

    Raises:
        UnitError: `E` is no potential, or only one of E and the weights has a unit.
    """

    E: Constant

    def __init__(self, E: Any):
        if has_unit(E):
            expect_unit("COBA", "E", E, u.mV)
        object.__setattr__(self, "E", Constant.of(E))

    def check(self, unit: Any) -> None:
        """Refuse a conductance with a unit at a potential without one, and the other way round."""
        _check_reversal("COBA", self.E, unit)

    def __call__(self, g: Any) -> Conductance:
        """Return the conductance with its reversal potential."""
        return Conductance(g, self.E)


@dataclass(frozen=True)
class Delta(Output):
    r"""Delta output: each step moves V by its $g$, after integration.

    With `Instant`, which does not filter, this is the delta synapse, `AlignPostProj(comm, Instant(100), Delta())`: each
    arrival moves V by its weight, once. Behind a synapse that lasts, V would move in every step, and the more the
    smaller dt is.
    """

    def __call__(self, g: Any) -> Jump:
        """Return the jump."""
        return Jump(g)


@dataclass(frozen=True, init=False)
class MgBlock(Output):
    r"""Conductance that magnesium blocks where the potential is low: $I = g \, (E - V) \, B(V)$ with

    $$B(V) = \frac{1}{1 + \frac{[Mg^{2+}]}{\beta} \, e^{\alpha (V_{offset} - V)}}.$$

    The neuron linearises the current at its V, so the step of V is no longer exact in g alone: of second order where
    the block changes within the step.

    Args:
        E: the reversal potential, one number or `Quantity`.
        cc_Mg: the concentration of magnesium outside; a bare number counts in mM.
        alpha: how steeply the block depends on V; a bare number counts in 1 / mV.
        beta: the concentration of half block at `V_offset`; a bare number counts in mM.
        V_offset: a shift of the block along V; a bare number counts in mV.

    Raises:
        DomainError: a concentration is negative, or `alpha` or `beta` is not positive.
        UnitError: an argument has the wrong dimension, or only one of E and the weights has a unit.

    Reference: Jahr and Stevens (1990), https://doi.org/10.1523/JNEUROSCI.10-09-03178.1990.
    """

    E: Constant
    cc_Mg: float
    alpha: Constant
    beta: float
    V_offset: Constant

    def __init__(self, E: Any, *, cc_Mg: Any = 1.2, alpha: Any = 0.062, beta: Any = 3.57, V_offset: Any = 0.0):
        volts = u.mV if has_unit(E) else UNITLESS
        given = {
            "E": (E, volts),
            "alpha": (alpha, volts**-1),
            "V_offset": (V_offset, volts),
            "cc_Mg": (cc_Mg, u.mM),
            "beta": (beta, u.mM),
        }
        for name, (value, unit) in given.items():
            if has_unit(value):
                expect_unit("MgBlock", name, value, unit)
            number = float(magnitude(value, unit))
            if name != "E" and name != "V_offset" and not (number > 0 or (name == "cc_Mg" and number == 0)):
                raise DomainError(f"MgBlock({name}=...) must be {POSITIVE.describe}, got {show(value)}.")
            constant = number if unit == u.mM else Constant.of(with_unit(number, unit))
            object.__setattr__(self, name, constant)

    def check(self, unit: Any) -> None:
        """Refuse a conductance with a unit at a potential without one, and the other way round."""
        _check_reversal("MgBlock", self.E, unit)

    def __call__(self, g: Any) -> Blocked:
        """Return the conductance with its reversal potential and its block."""
        return Blocked(g, self.E, self.cc_Mg / self.beta, self.alpha, self.V_offset)


def _check_reversal(owner: str, constant: Constant, unit: Any) -> None:
    E = constant.value
    if has_unit(E) and unit == UNITLESS:
        raise UnitError(
            f"{owner}(E=...) is {show(E)}, but the weights have no unit. Write, for example, `weight=0.6 * u.nS`."
        )
    if not has_unit(E) and unit != UNITLESS:
        raise UnitError(
            f"{owner}(E=...) is the bare number {show(E)}, but the weights are in `{unit}`. Write, for example, `E={show(E)} * u.mV`."
        )
