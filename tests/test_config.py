"""Schemas equal signatures, YAML equals schemas, everything composes, and what is wrong is named before JAX starts."""

import dataclasses
import importlib
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

import spiketrain
from spiketrain.cli import sweep
from spiketrain.cli.train import _forced, config_folder
from spiketrain.config import build, registry, schema
from spiketrain.config.check import check
from spiketrain.errors import ConfigError

from runs import environment

CONF = config_folder()
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir())
OPTIONS = [(path.parent.name, path.stem) for path in sorted(CONF.glob("*/*.yaml"))]
EXPERIMENTS = [option for group, option in OPTIONS if group == "experiment"]
NAMES = [(kind, name) for kind in registry.KINDS for name in registry.names(kind)]


def composed(*words):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return OmegaConf.to_container(compose("train", list(words)), resolve=True)


def checked(*words):
    return check(composed(*map(_forced, words)))


# Schemas and signatures


def stem(field):
    name, _, unit = field.rpartition("_")
    return name if name and unit in schema.UNITS else field


@pytest.mark.parametrize("kind, name", NAMES)
def test_a_schema_is_the_signature_of_what_it_builds(kind, name):
    entry = registry.lookup(kind, name, kind)
    target = entry.load()
    own = dict(registry.parameters_of(target))
    while "arguments" in own:  # `**arguments`: everything else as in the base class
        target = target.__mro__[1]
        own = dict(registry.parameters_of(target)) | {n: p for n, p in own.items() if n != "arguments"}
    context = ("self", "parameters", *registry.CONTEXT.get(kind, ()))
    without_effect = ("detach",) if name == "none" else ()
    own = {n: p for n, p in own.items() if n not in context + without_effect}
    fields = {(f.name if f.name in own else stem(f.name)): f for f in dataclasses.fields(entry.schema)}
    by_pattern = {name for name, field in fields.items() if field.metadata.get("by_pattern")}  # taken by `build`
    assert set(fields) - {"trainable"} - by_pattern == set(own)
    for argument, parameter in own.items():
        field = fields[argument]
        if parameter.default is not parameter.empty:
            wanted = registry.default_of(field)
            assert plain(parameter.default, field) == plain(wanted, field), argument


def plain(value, field):
    """Write a default of a signature, an object perhaps, as the configuration would."""
    if field.metadata.get("choice"):
        kind = field.metadata["choice"]
        if value is None:
            return registry.default_of(field)["name"]
        return value["name"] if isinstance(value, dict) else {v: k for k, v in loaded(kind).items()}[value]
    return list(value) if isinstance(value, tuple) else value


def loaded(kind):
    return {name: registry.lookup(kind, name, kind).load() for name in registry.names(kind)}


def test_every_choice_has_a_default_that_is_registered():
    for kind, name in NAMES:
        for field in dataclasses.fields(registry.lookup(kind, name, kind).schema):
            if inner := field.metadata.get("choice"):
                registry.lookup(inner, registry.default_of(field)["name"], field.name)


# YAML


def test_no_yaml_holds_a_target():
    assert not [path for path in CONF.rglob("*.yaml") if "_target_" in path.read_text()]


@pytest.mark.parametrize("group, option", OPTIONS)
def test_every_option_composes_passes_and_survives_a_round_trip(group, option):
    if (f"hydra/{group}", option) in sweep.PACKAGES:
        package = sweep.PACKAGES[f"hydra/{group}", option].replace("-", "_")
        pytest.importorskip(f"hydra_plugins.{package}", reason="pip install 'spiketrain[sweeps]'")
    key = {"neuron": "neuron@model.neuron"}.get(group, group)
    words = [f"{key}={option}"] + ["data.path=mine.npz"] * (option == "npz")
    config = checked(*words)
    assert check(config) == config
    assert check(yaml.safe_load(yaml.safe_dump(config))) == config
    assert check(json.loads(json.dumps(config))) == config


@pytest.mark.parametrize("group, option", [o for o in OPTIONS if o[0] in (*registry.KINDS, "trainer")])
def test_the_defaults_in_yaml_are_those_of_the_schema(group, option):
    given = yaml.safe_load((CONF / group / f"{option}.yaml").read_text())
    given.pop("defaults", None)
    if group == "trainer":
        assert given == dataclasses.asdict(schema.TrainerSettings())
        return
    if any(option.endswith(f"_{experiment}") for experiment in EXPERIMENTS):
        return  # part of it
    fields = registry.lookup(group, given.pop("name"), group).defaults()
    about_the_model = {"recurrent", "neuron"} & set(fields) if group == "model" else set()
    assert set(given) | about_the_model == set(fields)
    for key in set(given) - about_the_model:
        assert given[key] == fields[key] or given[key] == "???", key


def test_logger_and_top_level_yaml_are_the_schema():
    assert yaml.safe_load((CONF / "logger" / "default.yaml").read_text()) == dataclasses.asdict(schema.LoggerSettings())
    config, defaults = checked("model=recurrent_alif"), check({})
    assert config == defaults


def test_another_neuron_replaces_that_of_an_experiment_as_a_whole():
    assert checked("experiment=vowels")["model"]["neuron"]["trainable"] == ["tau", "tau_a"]
    lif = check({"model": {"name": "spiking_net", "neuron": "lif"}})["model"]["neuron"]
    assert checked("experiment=vowels", "neuron@model.neuron=lif")["model"]["neuron"] == lif


@pytest.mark.parametrize("words", [["model=recurrent_lif"], ["encoder=direct"], ["debug=overfit_batch"]])
def test_a_part_of_an_experiment_can_be_replaced(words):
    [(group, option)] = [word.split("=") for word in words]
    config, alone = checked("experiment=vowels", *words), checked(*words)
    if group != "debug":
        assert config[group] == alone[group] and config["trainer"]["epochs"] == 120


def test_another_surrogate_starts_from_its_own_defaults():
    config = checked("++model.neuron.surrogate.name=superspike")
    assert config["model"]["neuron"]["surrogate"] == {"name": "superspike", "alpha": 10.0}


# The check


@pytest.mark.parametrize(
    "config, message",
    [
        ({"trainer": {"epoch": 3}}, r"^trainer.epoch is no key of trainer .* Did you mean `trainer.epochs`\?"),
        (
            {"model": {"name": "spiking_net", "neuron": {"name": "lif", "tau": 20}}},
            r"Did you mean `model.neuron.tau_ms`",
        ),
        (
            {"model": {"name": "spiking_net", "neuron": {"name": "lif", "beta": 2}}},
            r"belongs to alif, brf: write `neuron@mod",
        ),
        (
            {"optimizer": {"name": "sgd", "b1": 0.9}},
            r"It belongs to adamw: write `optimizer=sgd` to .*, or `~optimizer.b1`",
        ),
        ({"sed": 3}, r"^sed is no key of the configuration. Did you mean `seed`\?"),
        ({3: 3}, r"^3 is no key of the configuration"),
        ({"_target_": "os.system"}, r"^_target_ is no key"),
        ({"model": {"name": "spiking_net", "_target_": "os.system"}}, r"^model._target_ is no key of model"),
        (
            {"model": {"name": "spiking_net", "neuron": {"name": "lif", "_target_": "x"}}},
            r"^model.neuron._target_ is no",
        ),
        ({"model": {"name": "os.system"}}, r"^model.name = 'os.system' is no model. Valid: .*spiking_net"),
        ({"model": {"name": ["spiking_net"]}}, r"^model.name = \['spiking_net'\] is no model"),
        ({"model": {"neuron": "aliff"}}, r"^model must say which model"),
        (
            {"model": {"name": "spiking_net", "neuron": "aliff"}},
            r"^model.neuron.name = 'aliff'.* Did you mean `alif`\?",
        ),
        ({"model": None}, r"^model must say which model, got None. Write, for example, `model.name="),
        ({"trainer": [1]}, r"^trainer must be a mapping, got \[1\]"),
        ([], r"^the configuration must be a mapping, got \[\]"),
        ({"seed": "1"}, r"^seed must be a whole number, got '1' \(str\)"),
        ({"seed": True}, r"^seed must be a whole number, got True \(bool\)"),
        ({"seed": 2**31}, r"^seed must lie in \[0, 2\*\*31\), got 2147483648"),
        ({"trainer": {"validation_seed": -1}}, r"^trainer.validation_seed must lie in"),
        ({"trainer": {"epochs": 3.0}}, r"^trainer.epochs must be a whole number, got 3.0"),
        ({"dt_ms": "1ms"}, r"^dt_ms must be a finite number, got '1ms' .* write the number of ms alone"),
        ({"dt_ms": 10**400}, r"^dt_ms must be a finite number"),
        ({"dt_ms": math.nan}, r"^dt_ms must be a finite number, got nan"),
        ({"dt_ms": 0}, r"^dt_ms must be positive, got 0.0"),
        ({"model": {"name": "spiking_net", "hidden": 3}}, r"^model.hidden must be a list of whole numbers, got 3"),
        ({"model": {"name": "spiking_net", "hidden": [3, "4"]}}, r"^model.hidden\[1\] must be a whole number, got '4'"),
        (
            {"model": {"name": "spiking_net", "neuron": {"name": "lif", "tau_ms": {"low": 2}}}},
            r"\{low: ..., high: ...\}",
        ),
        (
            {"model": {"name": "spiking_net", "neuron": {"name": "lif", "tau_ms": {"low": 2, "high": 1}}}},
            r"^model.neuron.tau_ms needs low < high, got 2.0 and 1.0",
        ),
        ({"model": {"name": "spiking_net", "neuron": {"name": "lif", "R": None}}}, r"^model.neuron.R must be a finite"),
        (
            {"model": {"name": "spiking_net", "neuron": {"name": "lif", "trainable": ["tau_ms"]}}},
            r"^model.neuron.trainable: 'tau_ms' is no physical argument. Did you mean `tau`\?",
        ),
        (
            {"model": {"name": "spiking_net", "neuron": {"name": "lif", "trainable": ["R", "R"]}}},
            r"names an argument twice",
        ),
        ({"loss": {"name": "cross_entropy", "readout": "mean"}}, r"^loss.readout = 'mean' is no choice"),
        ({"trainer": {"final": "first"}}, r"^trainer.final = 'first' is no choice. Valid: best, last"),
        (
            {"trainer": {"final": "best", "validation_fraction": 0.0}},
            r"^trainer.final=best needs trainer.validation_fr",
        ),
        ({"trainer": {"final": "best", "keep_best": 0}}, r"^trainer.final=best needs"),
        ({"trainer": {"final": "best", "overfit_batch": True}}, r"^trainer.final=best needs"),
        ({"trainer": {"validation_fraction": 1.0}}, r"^trainer.validation_fraction must lie in \[0, 1\), got 1.0"),
        ({"trainer": {"validation_fraction": -0.1}}, r"^trainer.validation_fraction must lie in"),
        ({"trainer": {"epochs": 0}}, r"^trainer.epochs must be at least 1, got 0"),
        ({"trainer": {"piece_steps": 0}}, r"^trainer.piece_steps must be at least 1 or null, got 0"),
        ({"trainer": {"length_buckets": 0}}, r"^trainer.length_buckets must be at least 1 or null, got 0"),
        ({"trainer": {"profile": [3]}}, r"^trainer.profile takes the first and the last step .*\[10,15\], got \[3\]"),
        ({"trainer": {"profile": [5, 4]}}, r"^trainer.profile takes the first and the last step"),
        ({"trainer": {"profile": [0, 4]}}, r"^trainer.profile takes the first and the last step"),
        ({"trainer": {"profile": 3}}, r"^trainer.profile must be a list of whole numbers or null, got 3"),
        ({"trainer": {"truncate": True}}, r"^trainer.truncate=true needs trainer.piece_steps"),
        *[
            (
                {"loss": loss, "model": model},
                rf"^loss={loss} is of spikes, .* {arrived} puts out none. Write .*per_class=1",
            )
            for loss in ("first_spike", "van_rossum")
            for model, arrived in (
                ("spiking_net", "model.name=spiking_net"),
                ("sequential", "model.readout.name=leaky_integrator"),
                ({"name": "sequential", "readout": "linear"}, "model.readout.name=linear"),
                ({"name": "sequential", "readout": "population"}, "model.readout.per_class=10"),
            )
        ],
        ({"plugins": "mine"}, r"^plugins must be a list of words, got 'mine'"),
    ],
)
def test_the_check_refuses(config, message):
    with pytest.raises(ConfigError, match=message):
        check(config)


def nested(depth=3):
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
    keys = st.sampled_from(["name", "model", "neuron", "tau_ms", "trainer", "hidden", "low", "high", "x"])
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=3))


@given(config=nested())
def test_the_check_passes_or_raises_one_kind_of_error_whatever_arrives(config):
    try:
        assert check(config) == check(check(config))
    except ConfigError as error:
        assert "\n" not in str(error).replace(repr(config), "")


@given(st.data())
def test_any_value_anywhere_passes_or_raises_one_kind_of_error(data):
    config = check({})
    section = data.draw(st.sampled_from([config, config["model"], config["model"]["neuron"], config["trainer"]]))
    section[data.draw(st.sampled_from(sorted(section)))] = data.draw(nested())
    try:
        check(config)
    except ConfigError as error:
        assert str(error)


def test_losses_of_spikes_take_one_output_neuron_per_class():
    written = ("model=sequential", "model.readout.name=population", "model.readout.per_class=1")
    assert checked("experiment=vowels", "loss=cross_entropy", *written)["model"]["readout"]["per_class"] == 1
    for loss in ("first_spike", "van_rossum"):
        model = {"name": "sequential", "readout": {"name": "population", "per_class": 1}}
        assert check({"loss": loss, "model": model})["loss"]["name"] == loss


# Registering


@pytest.fixture
def entries(monkeypatch):
    monkeypatch.setattr(registry, "_ENTRIES", {kind: dict(names) for kind, names in registry._ENTRIES.items()})


def test_register_reads_the_schema_from_a_signature(entries):
    @spiketrain.register("encoder", "mine")
    def mine(a: int = 1, b: float = 2, *rest, c: str | None = None, d=(1, 2), e: "list[int] | None" = None, **more):
        return a, b, c, d, e

    config = check({"encoder": {"name": "mine", "b": 3, "e": [4]}})["encoder"]
    assert config == {"name": "mine", "a": 1, "b": 3.0, "c": None, "d": [1, 2], "e": [4]}
    assert build.build("encoder", config) == (1, 3.0, None, [1, 2], [4])
    with pytest.raises(ConfigError, match=r"^encoder.a must be a whole number, got 'x'"):
        check({"encoder": {"name": "mine", "a": "x"}})
    with pytest.raises(ConfigError, match=r"^encoder.f is no key of encoder \(mine\)"):
        check({"encoder": {"name": "mine", "f": 1}})


def test_models_and_readouts_of_ones_own_may_have_any_loss(entries):
    @spiketrain.register("model", "own")
    def own(n_in, n_out, *, width: int = 3, rngs): ...

    @spiketrain.register("readout", "first")
    def first(in_size, n_out, *, rngs): ...

    for model in ("own", {"name": "sequential", "readout": "first"}):
        assert check({"loss": "first_spike", "model": model})["loss"]["name"] == "first_spike"


def test_a_unit_in_the_name_of_an_own_argument_stays_there(entries):
    @spiketrain.register("encoder", "delayed")
    def delayed(delay_ms: float = 1.0):
        return delay_ms

    assert build.build("encoder", check({"encoder": "delayed"})["encoder"]) == 1.0


def test_register_replaces_only_its_own(entries):
    def reloaded():
        @spiketrain.register("data", "mine")
        def mine(n: int = 1): ...

    reloaded()
    reloaded()
    with pytest.raises(ConfigError, match=r"register\('data', 'mine'\): the name is taken by .*Choose another"):

        @spiketrain.register("data", "mine")
        def other(n: int = 1): ...

    with pytest.raises(ConfigError, match=r"register\('model', 'spiking_net'\): the name is taken"):
        spiketrain.register("model", "spiking_net")(spiketrain.SpikingNet.__mro__[0])


CUSTOM = object()


@pytest.mark.parametrize(
    "kind, target, message",
    [
        ("modle", lambda: None, r"register\(kind=...\) got 'modle'. Did you mean `model`\?"),
        ("data", lambda n: None, r"the argument 'n' needs a default"),
        ("data", lambda n=CUSTOM: None, r"the argument 'n' has the default .*, which YAML cannot hold"),
        ("data", lambda n=(CUSTOM,): None, r"which YAML cannot hold"),
        ("optimizer", lambda b=1.0: None, r"needs an argument `learning_rate: float = ...`"),
    ],
)
def test_register_refuses(entries, kind, target, message):
    with pytest.raises(ConfigError, match=message):
        spiketrain.register(kind, "mine")(target)


def test_register_refuses_an_annotation_that_cannot_be_checked(entries):
    def mine(path: Path = None): ...

    with pytest.raises(ConfigError, match="Annotate it with bool, int, float, str or a list"):
        spiketrain.register("data", "mine")(mine)


def test_a_schema_of_ones_own_brings_units_draws_and_training(entries):
    @dataclasses.dataclass
    class Slow:
        tau_ms: object = schema.physical(100.0)
        trainable: list[str] = schema.trainable()

    spiketrain.register("neuron", "slow", schema=Slow)(spiketrain.LIF)
    section = check({"model": {"name": "spiking_net", "neuron": {"name": "slow", "trainable": ["tau"]}}})
    cells = build.neuron(section["model"]["neuron"])(3)
    assert isinstance(vars(cells)["tau"], spiketrain.ParamState)


# Imports


def fresh(code):
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_importing_spiketrain_and_checking_a_configuration_start_no_jax():
    fresh(
        "import sys, spiketrain, spiketrain.config.check as c, spiketrain.cli.train, spiketrain.cli.evaluate\n"
        "c.check({}); spiketrain.register('data', 'mine')(lambda n=1: n); c.check({'data': 'mine'})\n"
        "assert not {'jax', 'flax', 'numpy', 'orbax'} & set(sys.modules), set(sys.modules)\n"
        "spiketrain.LIF; assert 'jax' in sys.modules"
    )


def test_every_public_name_resolves():
    assert len(spiketrain.__all__) > 40
    for name in spiketrain.__all__:
        getattr(spiketrain, name)
    assert set(spiketrain.__all__) <= set(dir(spiketrain))


def test_every_registered_name_is_found_where_it_is_said_to_be():
    for kind, name in NAMES:
        target = registry.lookup(kind, name, kind).target
        module, _, attribute = target.partition(":")
        assert callable(getattr(importlib.import_module(module), attribute))
