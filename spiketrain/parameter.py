"""Physical arguments of a model: checked where they are set, equations where they are read.

`tau = Parameter(u.ms, POSITIVE)` in a class body makes `self.tau = value` check unit and domain and name the
argument in its error, and makes `self.tau` a number or `Quantity`, whether it is a constant, an array or trained.
"""

from dataclasses import dataclass
from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from spiketrain.domain import REAL, Between, Domain
from spiketrain.errors import DomainError, ShapeError, StateError, UnitError
from spiketrain.state import LongTermState, ParamState, State
from spiketrain.units import Constant, expect_unit, has_unit, magnitude, same_dimension, show, unit_of, with_unit


@dataclass(frozen=True)
class Trainable:
    """Mark a physical argument as trained: `LIF(100, tau=Trainable(20.0 * u.ms))`.

    Every neuron gets its own copy of `value`, kept in the argument's domain by its parametrisation: a time
    constant is stored as its logarithm and stays positive whatever the optimizer does.

    Args:
        value: the initial value: a number, a `Quantity`, an array of the model's size, or an initialiser
            `f(key, shape, dtype)`.
        within: two bounds between which a physical argument of a model stays, by a logistic function; its whole domain
            unless they are given. An initial value at a bound is moved inside by a millionth of the range.
    """

    value: Any
    within: tuple[Any, Any] | None = None


class Parameter:
    """A physical argument, declared in the class body with a unit of its dimension and its domain.

    A bare number is accepted wherever the model is dimensionless as a whole (`Component.check_units` sees to it).
    """

    def __init__(self, unit: Any, domain: Domain = REAL):
        self.unit, self.domain = unit, domain

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        if self.name not in vars(instance):
            raise AttributeError(f"{type(instance).__name__} has no {self.name} yet.")
        stored = vars(instance)[self.name]
        return stored.value if isinstance(stored, State | Constant) else stored

    def __set__(self, instance: Any, stored: Any) -> None:
        vars(instance)[self.name] = stored

    def store(self, instance: Any, value: Any) -> Any:
        """Check `value` and return what the module keeps: a `Constant`, a `LongTermState` or a `ParamState`."""
        if isinstance(value, State | Constant):
            return value
        owner = type(instance).__name__
        trainable = isinstance(value, Trainable)
        within = value.within if isinstance(value, Trainable) else None
        value = value.value if isinstance(value, Trainable) else value
        number = magnitude(value)
        if isinstance(number, bool | str) or not isinstance(number, int | float | np.ndarray | np.number | jax.Array):
            raise UnitError(
                f"{owner}({self.name}=...) expects a number, an array or a quantity in `{self.unit}`, got {show(value)}."
            )
        if has_unit(value):
            expect_unit(owner, self.name, value, self.unit)
        traced = isinstance(number, jax.core.Tracer)
        if not traced and not self.domain.contains(np.asarray(number, float)):
            raise DomainError(f"{owner}({self.name}=...) must be {self.domain.describe}, got {show(value)}.")
        if np.ndim(number) == 0 and not trainable and not traced:
            return Constant.of(value)
        shape = np.shape(number)
        if shape not in ((), instance.size):
            raise ShapeError(
                f"{owner}({self.name}=...) must be a scalar or have the model's size {instance.size}, got shape {shape}."
            )
        array = jnp.broadcast_to(jnp.asarray(number, float), instance.size)
        if within is not None:
            domain = self._between(owner, within, value)
            edge = 1e-6 * (domain.high - domain.low)
            array = jnp.clip(array, domain.low + edge, domain.high - edge)
            return ParamState(with_unit(array, unit_of(value)), domain=domain, physical=True)
        array = with_unit(array, unit_of(value))
        return ParamState(array, domain=self.domain, physical=True) if trainable else LongTermState(array)

    def _between(self, owner: str, within: tuple[Any, Any], value: Any) -> Between:
        """Return the bounds of a trained `value` in its unit, checked."""
        for bound in within:
            if not same_dimension(unit_of(bound), unit_of(value)):
                raise UnitError(
                    f"{owner}({self.name}=Trainable(..., within=...)) needs bounds like {show(value)}, got {show(bound)}."
                )
        low, high = (float(magnitude(bound, unit_of(value))) for bound in within)
        inside = isinstance(magnitude(value), jax.core.Tracer) or np.all(
            (low <= magnitude(value)) & (magnitude(value) <= high)
        )
        if not (low < high and inside and self.domain.contains(np.array([low + 1e-6 * (high - low), high]))):
            raise DomainError(
                f"{owner}({self.name}=Trainable(..., within=({show(within[0])}, {show(within[1])}))) must name two bounds "
                f"in order, around the value and {self.domain.describe}, got the value {show(value)}."
            )
        return Between(low, high)


class InitialValue(Parameter):
    """What a State holds at the start of a trial: a value, an initialiser drawn afresh each trial, or None."""

    def store(self, instance: Any, value: Any) -> Any:
        """Keep an initialiser or None as it is; check anything else like a parameter."""
        return value if value is None or callable(value) else super().store(instance, value)


class Component(nnx.Module):
    """A module with physical arguments."""

    def __setattr__(self, name: str, value: Any) -> None:
        declared = getattr(type(self), name, None)
        if isinstance(declared, Parameter):
            value = declared.store(self, value)
        super().__setattr__(name, value)

    def check_units(self, *names: str) -> None:
        """Refuse a model of which some arguments carry units and others do not; a time may, in a bare model."""
        values = {name: value for name in names if (value := getattr(self, name)) is not None and not callable(value)}
        is_time = {name: same_dimension(getattr(type(self), name).unit, u.ms) for name in values}
        with_units = [name for name, value in values.items() if has_unit(value) and not is_time[name]]
        if not with_units:
            return
        for name, value in values.items():
            if not has_unit(value):
                owner, unit = type(self).__name__, getattr(type(self), name).unit
                raise UnitError(
                    f"{owner}({name}=...) expects a quantity in units of `{unit}`, because {with_units[0]} has a unit; "
                    f"got the bare number {show(value)}. Write, for example, `{show(value)} * u.{unit}`."
                )


def drawn(value: Any, shape: tuple[int, ...], rngs: nnx.Rngs | None, *, owner: str, name: str) -> Any:
    """Return `value` with an initialiser `f(key, shape, dtype)` replaced by what it draws."""
    if isinstance(value, Trainable):
        return Trainable(drawn(value.value, shape, rngs, owner=owner, name=name), value.within)
    if not callable(value):
        return value
    if rngs is None:
        raise needs_rngs(owner, name)
    return value(rngs.params(), shape, jnp.result_type(float))


def needs_rngs(owner: str, name: str) -> StateError:
    """Return the error of an initialiser without random numbers."""
    return StateError(f"{owner}({name}=...) is an initialiser and needs random numbers. Write `rngs=nnx.Rngs(0)`.")
