"""Build objects from a checked configuration."""

import dataclasses
from functools import partial
from typing import Any

import brainunit as u

from spiketrain.config import registry
from spiketrain.config.schema import UNITS
from spiketrain.init import Uniform
from spiketrain.parameter import Trainable


def build(kind: str, section: dict[str, Any], *args: Any, **context: Any) -> Any:
    """Build what `section` names: its fields as keyword arguments, after `args` and `context`."""
    entry = registry.lookup(kind, section["name"], kind)
    return entry.load()(*args, **_arguments(entry, section), **context)


def neuron(section: dict[str, Any]) -> Any:
    """Return a function `(size, rngs=...)` that makes the neurons that `section` describes."""
    entry = registry.lookup("neuron", section["name"], "neuron")
    return partial(entry.load(), **_arguments(entry, section))


def optimizer(config: dict[str, Any], steps: int) -> Any:
    """Return the optax transformation of `optimizer` under its `schedule`, for a run of so many steps."""
    section = dict(config["optimizer"])
    rate = build("schedule", config["schedule"], section["learning_rate"], steps)
    entry = registry.lookup("optimizer", section["name"], "optimizer")
    return entry.load()(**_arguments(entry, section) | {"learning_rate": rate})


def _arguments(entry: registry.Entry, section: dict[str, Any]) -> dict[str, Any]:
    arguments = {}
    taken_as_they_are = registry.parameters_of(entry.load())
    for f in dataclasses.fields(entry.schema):
        name, unit = (f.name, 1.0) if f.name in taken_as_they_are else _name_and_unit(f.name)
        value = section[f.name]
        if kind := f.metadata.get("choice"):
            value = neuron(value) if kind == "neuron" else build(kind, value)
        elif f.metadata.get("physical"):
            value = (
                Uniform(value["low"] * unit, value["high"] * unit) if isinstance(value, dict) else _times(value, unit)
            )
        else:
            value = _times(value, unit)
        arguments[name] = value
    for f in dataclasses.fields(entry.schema):
        if f.metadata.get("trainable"):
            arguments |= {name: Trainable(arguments[name]) for name in arguments.pop(f.name)}
    return arguments


def _times(value: Any, unit: Any) -> Any:
    return value if value is None or unit == 1.0 else value * unit


def _name_and_unit(field: str) -> tuple[str, Any]:
    stem, _, suffix = field.rpartition("_")
    return (stem, getattr(u, suffix)) if stem and suffix in UNITS else (field, 1.0)
