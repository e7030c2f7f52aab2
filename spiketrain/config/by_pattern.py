"""Check what an optimizer is told about some parameters, by the pattern of their path. Imports no JAX."""

import dataclasses
import typing
from collections.abc import Callable
from functools import partial
from typing import Any

from spiketrain.config.registry import default_of, did_you_mean
from spiketrain.config.schema import CONSTRAINTS, Optimizer
from spiketrain.errors import ConfigError

NOT_OF_A_GROUP = {"clip_norm"} | {f.name for f in dataclasses.fields(Optimizer)}


def by_pattern(what: str, given: Any, schema: type, where: str, section: Callable[..., dict[str, Any]]) -> Any:
    """Return a checked mapping from patterns to a `group` of an optimizer's `schema`, or to `constraint`s.

    Raises:
        ConfigError: naming the key, what arrived and what to write.
    """
    if not isinstance(given, dict) or not all(isinstance(pattern, str) for pattern in given):
        raise ConfigError(f"{where} must be a mapping from patterns, such as `{{*/tau*: ...}}`, got {given!r}.")
    if what == "constraint":
        return {pattern: _constraints(words, f"{where}[{pattern}]") for pattern, words in given.items()}
    of_group = _schema_of_group(schema)
    return {pattern: _group(own, of_group, f"{where}[{pattern}]", section) for pattern, own in given.items()}


def _schema_of_group(schema: type) -> type:
    hints = typing.get_type_hints(schema)
    fields: list[Any] = [("frozen", bool, False)]
    for f in dataclasses.fields(schema):
        if f.name not in NOT_OF_A_GROUP:
            default = dataclasses.field(default_factory=partial(default_of, f), metadata=f.metadata)
            fields.append((f.name, hints[f.name], default))
    return dataclasses.make_dataclass(schema.__name__, fields)


def _group(given: Any, schema: type, where: str, section: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """Return the settings that are given; in all others a group is like the optimizer."""
    checked = section(given, schema, where)
    if checked["frozen"] and len(given) > 1:
        raise ConfigError(f"{where} is frozen: leave out {', '.join(key for key in given if key != 'frozen')}.")
    return {key: checked[key] for key in given}


def _constraints(given: Any, where: str) -> list[str]:
    words = [given] if isinstance(given, str) else given
    if not isinstance(words, list | tuple) or not words:
        raise ConfigError(
            f"{where} must be a constraint or a list of some, got {given!r}.{did_you_mean('', CONSTRAINTS)}"
        )
    for word in words:
        if word not in CONSTRAINTS:
            raise ConfigError(f"{where} = {word!r} is no constraint.{did_you_mean(str(word), CONSTRAINTS)}")
    if len([word for word in words if word != "keep_zeros"]) > 1:
        raise ConfigError(
            f"{where} names several rules of sign: {', '.join(words)}. Write one of them, and `keep_zeros` beside it "
            "where what starts at zero stays there."
        )
    return list(dict.fromkeys(words))
