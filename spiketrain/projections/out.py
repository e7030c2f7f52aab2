"""What a synaptic variable does to the neuron: a current, a conductance, or a jump."""

from dataclasses import dataclass
from typing import Any

import brainunit as u

from spiketrain.errors import UnitError
from spiketrain.inputs import Conductance, Current, Input, Jump
from spiketrain.units import UNITLESS, Constant, expect_unit, has_unit, show


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
        E = self.E.value
        if has_unit(E) and unit == UNITLESS:
            raise UnitError(
                f"COBA(E=...) is {show(E)}, but the weights have no unit. Write, for example, `weight=0.6 * u.nS`."
            )
        if not has_unit(E) and unit != UNITLESS:
            raise UnitError(
                f"COBA(E=...) is the bare number {show(E)}, but the weights are in `{unit}`. Write, for example, `E={show(E)} * u.mV`."
            )

    def __call__(self, g: Any) -> Conductance:
        """Return the conductance with its reversal potential."""
        return Conductance(g, self.E)


@dataclass(frozen=True)
class Delta(Output):
    r"""Delta output: each arrival moves V by $g$, after integration."""

    def __call__(self, g: Any) -> Jump:
        """Return the jump."""
        return Jump(g)
