"""Build objects from a checked configuration."""

import dataclasses
from functools import partial
from typing import Any

import brainunit as u
import optax

from spiketrain.config import registry
from spiketrain.config.schema import UNITS
from spiketrain.init import Uniform
from spiketrain.parameter import Trainable
from spiketrain.units import with_unit

MADE_LATER = ("neuron", "layer", "readout")  # when the shape of what comes before them is known


def build(kind: str, section: dict[str, Any], *args: Any, **context: Any) -> Any:
    """Build what `section` names: its fields as keyword arguments, after `args` and `context`."""
    entry = registry.lookup(kind, section["name"], kind)
    return entry.load()(*args, **_arguments(entry, section), **context)


def neuron(section: dict[str, Any]) -> Any:
    """Return a function `(size, rngs=...)` that makes the neurons that `section` describes."""
    return _maker("neuron", section)


def _maker(kind: str, section: dict[str, Any]) -> Any:
    """Return what `section` names with its fields in place, to be called with what its kind is made for."""
    entry = registry.lookup(kind, section["name"], kind)
    return partial(entry.load(), **_arguments(entry, section))


def optimizer(config: dict[str, Any], steps: int) -> Any:
    """Return the optax transformation of `optimizer` under its `schedule`, for a run of so many steps."""
    section = config["optimizer"]
    tx = _transformation(config, section, steps)
    if section["groups"]:
        unclipped = section | {"clip_norm": None}  # the norm is that of all groups together
        groups = {
            pattern: None if own.get("frozen") else _transformation(config, unclipped | own, steps, own=own)
            for pattern, own in section["groups"].items()
        }
        grouped = registry.load("spiketrain.training.groups:grouped")
        tx = grouped(_transformation(config, unclipped, steps), groups, clip_norm=section.get("clip_norm"))
    if section["constraints"]:
        constrain = registry.load("spiketrain.training.constraints:constrain")
        tx = optax.chain(tx, constrain(section["constraints"]))
    return tx


def _transformation(config: dict[str, Any], settings: dict[str, Any], steps: int, *, own: Any = ()) -> Any:
    """Return the transformation of some settings; the weight decay among a group's `own` acts on all of the group."""
    entry = registry.lookup("optimizer", settings["name"], "optimizer")
    rate = build("schedule", config["schedule"], settings["learning_rate"], steps)
    arguments = _arguments(entry, settings) | {"learning_rate": rate}
    if "weight_decay" in own and "decayed" in registry.parameters_of(entry.load()):
        arguments["decayed"] = None
    return entry.load()(**arguments)


def _arguments(entry: registry.Entry, section: dict[str, Any]) -> dict[str, Any]:
    arguments = {}
    taken_as_they_are = registry.parameters_of(entry.load())
    for f in dataclasses.fields(entry.schema):
        if f.metadata.get("by_pattern"):
            continue
        name, unit = (f.name, 1.0) if f.name in taken_as_they_are else _name_and_unit(f.name)
        value = section[f.name]
        if kind := f.metadata.get("choice"):
            value = _maker(kind, value) if kind in MADE_LATER else build(kind, value)
        elif kind := f.metadata.get("named"):
            value = {name: _maker(kind, section) for name, section in value.items()}
        elif f.metadata.get("physical"):
            value = (
                Uniform(value["low"] * unit, value["high"] * unit) if isinstance(value, dict) else _times(value, unit)
            )
        else:
            value = _times(value, unit)
        arguments[name] = value
    for f in dataclasses.fields(entry.schema):
        if f.metadata.get("trainable"):
            arguments |= {name: _trained(name, arguments[name], entry) for name in arguments.pop(f.name)}
    return arguments


def _trained(name: str, value: Any, entry: registry.Entry) -> Trainable:
    """Mark an argument as trained, within the range that it is drawn from where the schema says so."""
    bounded = {_name_and_unit(f.name)[0] for f in dataclasses.fields(entry.schema) if f.metadata.get("bounded")}
    within = None
    if name in bounded and isinstance(value, Uniform):
        within = with_unit(value.low, value.unit), with_unit(value.high, value.unit)
    return Trainable(value, within=within)


def _times(value: Any, unit: Any) -> Any:
    return value if value is None or unit == 1.0 else value * unit


def _name_and_unit(field: str) -> tuple[str, Any]:
    stem, _, suffix = field.rpartition("_")
    return (stem, getattr(u, suffix)) if stem and suffix in UNITS else (field, 1.0)
