"""Synaptic inputs: what a projection hands to a neuron, which evaluates it at its own potential.

Each is a small pytree, data as leaves and constants as metadata, so that a train of inputs can leave a loop.
A bare array or `Quantity` counts as a current.
"""

from dataclasses import dataclass, field
from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp

from spiketrain.errors import ShapeError, UnitError
from spiketrain.units import Constant, has_unit, same_dimension, show, unit_of, with_unit


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Current:
    """A current that does not depend on the membrane potential."""

    I: Any

    def at(self, V: Any) -> Any:
        """Return the current into a neuron at potential `V`."""
        return self.I


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Conductance:
    r"""A conductance `g` with reversal potential `E`: the current $g (E - V)$."""

    g: Any
    E: Constant = field(metadata={"static": True})

    def at(self, V: Any) -> Any:
        """Return the current into a neuron at potential `V`."""
        return self.g * (self.E.value - V)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Blocked:
    r"""A conductance that magnesium blocks: the current $g (E - V) / (1 + m \, e^{\alpha (V_{offset} - V)})$."""

    g: Any
    E: Constant = field(metadata={"static": True})
    m: float = field(metadata={"static": True})
    alpha: Constant = field(metadata={"static": True})
    V_offset: Constant = field(metadata={"static": True})

    def at(self, V: Any) -> Any:
        """Return the current into a neuron at potential `V`."""
        blocked = self.m * u.math.exp(self.alpha.value * (self.V_offset.value - V))
        return self.g * (self.E.value - V) / (1 + blocked)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Coupling:
    r"""A conductance `g` towards potentials that change from step to step: the current $gE - g V$."""

    g: Any
    gE: Any

    def at(self, V: Any) -> Any:
        """Return the current into a neuron at potential `V`."""
        return self.gE - self.g * V


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Jump:
    """A step in the membrane potential, added after integration."""

    dV: Any


Input = Current | Conductance | Blocked | Coupling | Jump


def _as_input(x: Any) -> Input:
    return x if isinstance(x, Input) else Current(x)


def _check(owner: str, x: Any, V: Any, unit: Any, what: str) -> None:
    shape = jnp.shape(x.mantissa if isinstance(x, u.Quantity) else x)
    if shape not in ((), jnp.shape(V)):
        raise ShapeError(
            f"{owner} got {what} of shape {shape}, but its state has shape {jnp.shape(V)}. "
            "An input has the shape of the state or is a scalar; nothing else is broadcast."
        )
    if not same_dimension(unit_of(x), unit):
        wants = f"{what} in units of `{unit}`" if unit != u.UNITLESS else f"{what} without a unit"
        example = f" Write, for example, `1.0 * u.{unit}`." if not has_unit(x) else ""
        raise UnitError(f"{owner} expects {wants}, got {show(x)}.{example}")


def currents(inputs: tuple[Any, ...], *, at: Any, per: Any, owner: str) -> tuple[Any, Any]:
    r"""Linearise the summed input current around the potential `at`: $I(V) = I - G V$.

    Exact for currents and for conductances whose `g` is frozen over the step; one forward derivative (jvp) for
    whatever else depends on V.

    Args:
        inputs: what arrived, jumps left aside.
        at: the membrane potential.
        per: the resistance that turns a current into a potential; its unit sets the unit of a current.
        owner: the name of the neuron, for errors.

    Returns:
        `I` and `G`; `G` is the number zero where no input depends on V.
    """
    V, unit = at, unit_of(at) / unit_of(per)
    flowing = [x for x in map(_as_input, inputs) if not isinstance(x, Jump)]
    for x in flowing:
        if isinstance(x, Conductance | Blocked | Coupling):
            _check(owner, x.g, V, unit / unit_of(V), "a conductance")
        if isinstance(x, Coupling):
            _check(owner, x.gE, V, unit, "a current")
        elif isinstance(x, Conductance | Blocked):
            if not same_dimension(unit_of(x.E.value), unit_of(V)):
                raise UnitError(f"{owner} expects a reversal potential E in `{unit_of(V)}`, got {show(x.E.value)}.")
        else:
            _check(owner, x.at(V), V, unit, "a current")

    def total(V):
        return sum((x.at(V) for x in flowing), with_unit(0.0, unit))

    if not depend_on_V(inputs):
        return total(V), with_unit(0.0, unit / unit_of(V))
    one = with_unit(jnp.ones_like(V.mantissa if isinstance(V, u.Quantity) else V), unit_of(V))
    I, slope = jax.jvp(total, (V,), (one,))
    G = -slope / with_unit(1.0, unit_of(V))
    return I + G * V, G


def depend_on_V(inputs: tuple[Any, ...]) -> bool:
    """Whether the current of any input depends on the membrane potential."""
    return not all(isinstance(_as_input(x), Current | Jump) for x in inputs)


def jumps(inputs: tuple[Any, ...], *, at: Any, owner: str) -> Any:
    """Return the summed step in membrane potential."""
    steps = [x.dV for x in inputs if isinstance(x, Jump)]
    for dV in steps:
        _check(owner, dV, at, unit_of(at), "a jump")
    return sum(steps, with_unit(0.0, unit_of(at)))
