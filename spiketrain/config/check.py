"""Check a configuration against its schemas and fill in every default. Imports no JAX."""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable
from typing import Any

from spiketrain.config import registry
from spiketrain.config.by_pattern import by_pattern
from spiketrain.config.registry import default_of, did_you_mean
from spiketrain.config.schema import UNITS, Config
from spiketrain.errors import ConfigError

OF_SPIKES = ("first_spike", "van_rossum")  # losses of spike times, for which potentials mean nothing


def check(config: Any) -> dict[str, Any]:
    """Return the whole configuration as plain data, every key valid and every default in place.

    Args:
        config: nested mappings, from Hydra or from a checkpoint.

    Raises:
        ConfigError: naming the key, what arrived and what to write.
    """
    checked = _section(config, Config, "")
    _sense(checked)
    return checked


def check_plugins(config: Any, named: Iterable[str], where: Any, write: str) -> None:
    """Refuse a configuration that names packages which the command line does not, for those are never imported.

    Args:
        config: what was read, checked or not.
        named: the packages on the command line.
        where: where the configuration comes from.
        write: what to add to the command line, followed by the packages.
    """
    given = config.get("plugins") if isinstance(config, dict) else None
    plugins = [str(name) for name in given] if isinstance(given, list) else []
    if set(plugins) - set(named):
        raise ConfigError(
            f"{where} needs the packages {', '.join(plugins)}, and only what the command line names is imported. "
            f"If you trust them, add `{write.format(','.join(plugins))}`."
        )


def _section(given: Any, schema: type, where: str, *, named: bool = False) -> dict[str, Any]:
    given = vars(given) if isinstance(given, schema) else given
    if not isinstance(given, dict):
        raise ConfigError(f"{where or 'the configuration'} must be a mapping, got {given!r}.")
    fields = {f.name: f for f in dataclasses.fields(schema)}
    hints = typing.get_type_hints(schema)
    for key in given:
        if key not in fields and not (named and key == "name"):
            raise ConfigError(_unknown(key, where, schema) + (_of_another(key, given["name"], where) if named else ""))
    result = {"name": given["name"]} if named else {}
    for name, f in fields.items():
        path = f"{where}.{name}" if where else name
        value = given[name] if name in given else default_of(f)
        if kind := f.metadata.get("choice"):
            result[name] = _choice(value, kind, path)
        elif kind := f.metadata.get("choices"):
            result[name] = _choices(value, kind, path)
        elif kind := f.metadata.get("named"):
            result[name] = _named(value, kind, path)
        elif what := f.metadata.get("by_pattern"):
            result[name] = by_pattern(what, value, schema, path, _section)
        elif f.metadata.get("physical"):
            result[name] = _physical(value, path, optional=f.default is None)
        elif dataclasses.is_dataclass(hints[name]):
            result[name] = _section(value, hints[name], path)
        else:
            result[name] = _typed(value, hints[name], path)
        if words := f.metadata.get("one_of"):
            _require(result[name] in words, f"{path} = {value!r} is no choice.{did_you_mean(str(value), words)}")
        if f.metadata.get("trainable"):
            _check_trainable(result[name], fields, path)
    return result


def _check_trainable(names: list[str], fields: dict[str, dataclasses.Field], where: str) -> None:
    physical = [_without_unit(name) for name, f in fields.items() if f.metadata.get("physical")]
    for name in names:
        hint = did_you_mean(_without_unit(name), physical)
        _require(name in physical, f"{where}: {name!r} is no physical argument.{hint}")
    _require(len(set(names)) == len(names), f"{where} names an argument twice: {', '.join(names)}.")


def _choice(value: Any, kind: str, where: str) -> dict[str, Any]:
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, dict) or "name" not in value:
        raise ConfigError(
            f"{where} must say which {kind}, got {value!r}. Write, for example, `{where}.name={registry.names(kind)[0]}`."
        )
    return _section(value, registry.lookup(kind, value["name"], where).schema, where, named=True)


def _choices(value: Any, kind: str, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must be a mapping from names to their settings, got {value!r}.")
    checked = {}
    for name, fields in value.items():
        _require(fields is None or isinstance(fields, dict), f"{where}.{name} must be a mapping, got {fields!r}.")
        section = _choice({**(fields or {}), "name": name}, kind, f"{where}.{name}")
        checked[name] = {key: value for key, value in section.items() if key != "name"}
    return checked


def _named(value: Any, kind: str, where: str) -> dict[str, Any]:
    """Check choices under names of the user's own; one that does not say which is of the kind it is called."""
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must be a mapping from names to {kind}s, in order, got {value!r}.")
    checked = {}
    for name, section in value.items():
        path = f"{where}.{name}"
        if not (isinstance(name, str) and name.isidentifier() and not name.startswith("_")):
            raise ConfigError(f"{path}: {name!r} must be a word of letters, digits and underscores, such as `fc1`.")
        if section is None or isinstance(section, dict) and "name" not in section:
            section = {"name": name, **(section or {})}
            if name not in registry.names_of_choice(kind):
                raise ConfigError(
                    f"{path} must say which {kind}, and {name!r} is none. Write, for example, `{path}.name="
                    f"{registry.names(kind)[0]}`.{did_you_mean(name, registry.names_of_choice(kind))}"
                )
        checked[name] = _choice(section, kind, path)
    return checked


def _physical(value: Any, where: str, *, optional: bool) -> Any:
    if value is None and optional:
        return None
    if isinstance(value, dict):
        if set(value) != {"low", "high"}:
            raise ConfigError(f"{where} takes a number or {{low: ..., high: ...}}, got {value!r}.")
        low, high = (_typed(value[k], float, f"{where}.{k}") for k in ("low", "high"))
        if not low < high:
            raise ConfigError(f"{where} needs low < high, got {low} and {high}.")
        return {"low": low, "high": high}
    return _typed(value, float, where)


def _typed(value: Any, hint: Any, where: str) -> Any:
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if hint is Any or (value is None and type(None) in options):
        return value
    for option in options:
        if typing.get_origin(option) is list and isinstance(value, list | tuple):
            return [_typed(v, typing.get_args(option)[0], f"{where}[{i}]") for i, v in enumerate(value)]
        if option is float and isinstance(value, int | float) and not isinstance(value, bool) and _finite(value):
            return float(value)
        if option is int and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
            return value
        if option in (bool, str) and isinstance(value, option):
            return value
    wanted = " or ".join(_describe(option) for option in options)
    raise ConfigError(f"{where} must be {wanted}, got {value!r} ({type(value).__name__}).{_unit_hint(where, value)}")


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the largest float
        return False


def _describe(hint: Any) -> str:
    if typing.get_origin(hint) is list:
        return f"a list of {_describe(typing.get_args(hint)[0]).split(' ', 1)[-1]}s"
    return {
        float: "a finite number",
        int: "a whole number",
        bool: "true or false",
        str: "a word",
        type(None): "null",
    }.get(hint, str(hint))


def _without_unit(name: str) -> str:
    stem, _, suffix = name.rpartition("_")
    return stem if stem and suffix in UNITS else name


def _unit_hint(where: str, value: Any) -> str:
    unit = next((unit for unit in UNITS if where.endswith(f"_{unit}")), None)
    return f" The unit is in the name: write the number of {unit} alone." if unit and isinstance(value, str) else ""


def _unknown(key: Any, where: str, schema: type) -> str:
    valid = [f.name for f in dataclasses.fields(schema)]
    inside = f"{where}." if where else ""
    near = difflib.get_close_matches(str(key), valid, n=1, cutoff=0.6) or [v for v in valid if v.startswith(f"{key}_")]
    here = f"{where} ({schema.__name__})" if where else "the configuration"
    hint = f" Did you mean `{inside}{near[0]}`?" if near else ""
    key = key if str(key).isprintable() else repr(key)
    return f"{inside}{key} is no key of {here}.{hint} Valid: {', '.join(sorted(valid)) or 'none'}."


def _of_another(key: Any, name: str, where: str) -> str:
    """Explain a key that is left over from another choice: `model.neuron.name=lif` under the settings of an ALIF."""
    kind = where.rpartition(".")[2]
    others = registry.names_with_field(kind, key) if kind in registry.KINDS else []
    group = where if kind == where else f"{kind}@{where}"
    if not others:
        return ""
    return f" It belongs to {', '.join(others)}: write `{group}={name}` to replace all settings, or `~{where}.{key}`."


def _sense(config: dict[str, Any]) -> None:
    trainer = config["trainer"]
    at_least_one = ("epochs", "batch_size", "eval_batch_size", "evaluate_every", "save_every", "log_every_steps")
    for name in at_least_one:
        _require(trainer[name] >= 1, f"trainer.{name} must be at least 1, got {trainer[name]}.")
    _require(config["logger"]["pictures_every_minutes"] >= 0, "logger.pictures_every_minutes must not be negative.")
    _require(trainer["keep_best"] >= 0, f"trainer.keep_best must not be negative, got {trainer['keep_best']}.")
    fraction = trainer["validation_fraction"]
    _require(0 <= fraction < 1, f"trainer.validation_fraction must lie in [0, 1), got {fraction}.")
    chooses = fraction > 0 and trainer["keep_best"] > 0 and not trainer["overfit_batch"]
    _require(
        trainer["final"] == "last" or chooses,
        "trainer.final=best needs trainer.validation_fraction > 0 and trainer.keep_best > 0, and no "
        "trainer.overfit_batch: the best is chosen on validation.",
    )
    for name in ("devices", "length_buckets", "piece_steps", "save_every_steps"):
        value = trainer[name]
        _require(value is None or value >= 1, f"trainer.{name} must be at least 1 or null, got {value}.")
    _require(trainer["workers"] >= 0, f"trainer.workers must be at least 0, got {trainer['workers']}.")
    _require(trainer["fsdp"] >= 1, f"trainer.fsdp must be at least 1, got {trainer['fsdp']}.")
    members = config["ensemble"]
    _require(1 <= members <= 10_000, f"ensemble must lie in [1, 10000], got {members}.")
    _require(
        members == 1 or trainer["length_buckets"] is None,
        f"trainer.length_buckets sorts the trials of one seed, and ensemble={members} trains several. Leave out one.",
    )
    budget = trainer["memory_mb"]
    _require(budget is None or budget > 0, f"trainer.memory_mb must be positive or null, got {budget}.")
    _require(trainer["accumulate"] >= 1, f"trainer.accumulate must be at least 1, got {trainer['accumulate']}.")
    decay = trainer["ema_decay"]
    _require(decay is None or 0 <= decay < 1, f"trainer.ema_decay must lie in [0, 1), or be null, got {decay}.")
    _require(
        budget is None or trainer["piece_steps"] is None,
        "trainer.memory_mb chooses the length of pieces: leave out trainer.piece_steps.",
    )
    _require(
        not trainer["truncate"] or trainer["piece_steps"] is not None,
        "trainer.truncate=true needs trainer.piece_steps, the steps between cuts.",
    )
    profile = trainer["profile"]
    _require(
        profile is None or (len(profile) == 2 and 1 <= profile[0] <= profile[1]),
        f"trainer.profile takes the first and the last step to trace, such as [10,15], got {profile}.",
    )
    _require(config["dt_ms"] > 0, f"dt_ms must be positive, got {config['dt_ms']}.")
    for path, seed in (("seed", config["seed"]), ("trainer.validation_seed", trainer["validation_seed"])):
        _require(0 <= seed < 2**31, f"{path} must lie in [0, 2**31), got {seed}.")
    loss, analog = config["loss"]["name"], _analog(config["model"])
    _require(
        loss not in OF_SPIKES or not analog,
        f"loss={loss} is of spikes, one output neuron per class, and {analog} puts out none. Write `model=sequential "
        "model.readout.name=population model.readout.per_class=1`.",
    )


def _analog(model: dict[str, Any]) -> str:
    """Return the setting by which a model of ours puts out numbers that are no spikes; one of the user's own may do so."""
    if model["name"] == "spiking_net":
        return "model.name=spiking_net"
    if model["name"] != "sequential":
        return ""
    readout = model["readout"]
    if readout["name"] in ("leaky_integrator", "linear"):
        return f"model.readout.name={readout['name']}"
    votes = readout["name"] == "population" and readout["per_class"] != 1
    return f"model.readout.per_class={readout['per_class']}" if votes else ""


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ConfigError(message)
