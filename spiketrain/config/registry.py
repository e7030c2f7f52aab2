"""Names that a configuration may use, and what each stands for.

A name is the only thing a configuration can choose: nothing in it is imported, called or evaluated. `register` adds
a name from a user's own package, which the command line imports when told to (`plugins=[my_package]`).
"""

import copy
import dataclasses
import difflib
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from spiketrain.config import schema
from spiketrain.errors import ConfigError

KINDS = ("model", "neuron", "surrogate", "reset", "data", "encoder", "optimizer", "schedule", "loss")


@dataclass(frozen=True)
class Entry:
    """One name: the schema of its arguments and what it builds, an object or `module:attribute`."""

    schema: type
    target: Any

    def load(self) -> Callable[..., Any]:
        """Return what to call."""
        if not isinstance(self.target, str):
            return self.target
        module, _, attribute = self.target.partition(":")
        return getattr(importlib.import_module(module), attribute)


_ENTRIES: dict[str, dict[str, Entry]] = {
    "model": {"spiking_net": Entry(schema.SpikingNet, "spiketrain.models.spiking_net:SpikingNet")},
    "neuron": {
        "lif": Entry(schema.LIF, "spiketrain.neurons.lif:LIF"),
        "alif": Entry(schema.ALIF, "spiketrain.neurons.alif:ALIF"),
    },
    "surrogate": {
        "atan": Entry(schema.ATan, "spiketrain.surrogate:ATan"),
        "sigmoid": Entry(schema.Sigmoid, "spiketrain.surrogate:Sigmoid"),
        "superspike": Entry(schema.SuperSpike, "spiketrain.surrogate:SuperSpike"),
        "triangle": Entry(schema.Triangle, "spiketrain.surrogate:Triangle"),
    },
    "reset": {
        "soft": Entry(schema.SoftReset, "spiketrain.reset:SoftReset"),
        "hard": Entry(schema.HardReset, "spiketrain.reset:HardReset"),
        "none": Entry(schema.NoReset, "spiketrain.reset:NoReset"),
    },
    "data": {
        "vowels": Entry(schema.Vowels, "spiketrain.data.vowels:load_vowels"),
        "npz": Entry(schema.Npz, "spiketrain.data.npz:load_npz"),
    },
    "encoder": {"direct": Entry(schema.Direct, "spiketrain.encoders:Direct")},
    "optimizer": {
        "adamw": Entry(schema.AdamW, "spiketrain.training.optimizers:adamw"),
        "sgd": Entry(schema.SGD, "spiketrain.training.optimizers:sgd"),
    },
    "schedule": {
        "constant": Entry(schema.ConstantSchedule, "spiketrain.training.optimizers:constant_schedule"),
        "cosine": Entry(schema.CosineSchedule, "spiketrain.training.optimizers:cosine_schedule"),
    },
    "loss": {"cross_entropy": Entry(schema.CrossEntropy, "spiketrain.losses:CrossEntropy")},
}


def lookup(kind: str, name: Any, where: str) -> Entry:
    """Return the entry of `name`, or raise an error with the nearest name."""
    entries = _ENTRIES[kind]
    if isinstance(name, str) and name in entries:
        return entries[name]
    raise ConfigError(f"{where}.name = {name!r} is no {kind}.{did_you_mean(str(name), entries)}")


def names(kind: str) -> list[str]:
    """Return the registered names of a kind."""
    return sorted(_ENTRIES[kind])


def did_you_mean(word: str, valid: Any) -> str:
    """Return ` Did you mean ...?` with the nearest valid word, followed by all of them."""
    near = difflib.get_close_matches(word.lower(), list(valid), n=1, cutoff=0.5)
    return (f" Did you mean `{near[0]}`?" if near else "") + f" Valid: {', '.join(sorted(valid))}."


def register(kind: str, name: str, *, schema: type | None = None) -> Callable[[Any], Any]:
    """Give a class or function of your own a name that a configuration can use.

    A model is called as `f(n_in, n_out, rngs=..., **fields)`, a data set as `f(**fields)` and returns a
    `spiketrain.data.dataset.Dataset`.

    Args:
        kind: one of `model`, `neuron`, `surrogate`, `reset`, `data`, `encoder`, `optimizer`, `schedule`, `loss`.
        name: the name in the configuration; a taken one is refused.
        schema: a dataclass of its fields; read from the keyword arguments and their defaults unless it is given.

    Raises:
        ConfigError: the kind is unknown, the name is taken, or an argument has no default.
    """
    if kind not in KINDS:
        raise ConfigError(f"register(kind=...) got {kind!r}.{did_you_mean(kind, KINDS)}")

    def add(target: Any) -> Any:
        taken = _ENTRIES[kind].get(name)
        if taken is not None and getattr(taken.target, "__qualname__", taken.target) != target.__qualname__:
            raise ConfigError(f"register({kind!r}, {name!r}): the name is taken by {taken.target}. Choose another.")
        _ENTRIES[kind][name] = Entry(schema or _schema_of(target, name), target)
        return target

    return add


def parameters_of(target: Any) -> Any:
    """Return the parameters of a function, or of the constructor of a class, by name."""
    return inspect.signature(target.__init__ if isinstance(target, type) else target, eval_str=True).parameters


def _schema_of(target: Any, name: str) -> type:
    fields = []
    for parameter in parameters_of(target).values():
        if parameter.name in ("self", "n_in", "n_out", "size", "rngs") or parameter.kind is parameter.VAR_KEYWORD:
            continue
        if parameter.default is parameter.empty:
            raise ConfigError(f"register(..., {name!r}): the argument {parameter.name!r} needs a default.")
        kind = Any if parameter.annotation is parameter.empty else parameter.annotation
        default = parameter.default
        if isinstance(default, list | dict):
            default = dataclasses.field(default_factory=partial(copy.copy, default))
        fields.append((parameter.name, kind, default))
    return dataclasses.make_dataclass(name, fields)
