"""Configurations of strangers: read as plain data of bounded size, or refused with one line."""

import contextlib
import copy
import json
import os
import re
import resource
import shutil
import sys

import brainunit as u
import jax
import pytest
import yaml
from flax import nnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from spiketrain import environ
from spiketrain.cli import train as cli
from spiketrain.cli.common import run
from spiketrain.config import build, registry
from spiketrain.config.check import check
from spiketrain.config.files import DEPTH, JSON_BYTES, YAML_BYTES, parse_json, parse_yaml, read_bytes
from spiketrain.errors import CheckpointError, ConfigError, SpiketrainError
from spiketrain.training import arrays, size
from spiketrain.training.checkpoint import Checkpoints
from spiketrain.training.patterns import name_of
from spiketrain.training.run import make_trainer, restored, train

from runs import seal, small

LAUGHS = "a0: &a0 [ha, ha]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))

CONFIGS = {
    "billion laughs": (LAUGHS, r"it has an alias, \*a0: write the value itself"),
    "merge": ("a: &a {x: 1}\nmodel: {<<: *a}", "it has an alias"),
    "alias of itself": ("model: &a [*a]", "it has an alias"),
    "deep list": ("model: " + "[" * 50_000, "nested more than 32 levels deep"),
    "deep mapping": ("model: " + "{a: " * 30_000, "nested more than 32 levels deep"),
    "deep blocks": ("\n".join(" " * n + "a:" for n in range(300)), "nested more than 32 levels deep"),
    "large": ("name: " + "x" * YAML_BYTES, "config.yaml is larger than"),
    "a number of many digits": ("seed: " + "9" * 10_000, "is no valid YAML|seed"),
    "a number of many bits": (
        f"trainer: {{epochs: {10**30}}}\nmodel: {{name: spiking_net}}\ndata: {{name: vowels}}",
        "trainer.epochs must be a whole number",
    ),
    "python name": ("model: !!python/name:os.system", "is no valid YAML"),
    "python call": ("model: !!python/object/apply:os.system ['touch hit']", "is no valid YAML"),
    "python object": ("model: !!python/object/new:type [x, [], {}]", "is no valid YAML"),
    "python module": ("model: !!python/module:this", "is no valid YAML"),
    "own tag": ("model: !run x", "is no valid YAML"),
    "two documents": ("name: a\n---\nname: b", "is no valid YAML"),
    "not text": ("name: \x00", "is no valid YAML"),
    "list as key": ("? [a, b]\n: c", "is no valid YAML"),
    "number as key": ("3: c", "3 is no key of the configuration"),
    "target": ("_target_: os.system", "_target_ is no key"),
    "target of a model": ("model: {name: spiking_net, _target_: os.system}", "_target_ is no key"),
    "call of logging": ("logger: {(): os.system}", r"logger.\(\) is no key"),
    "resolver": ("seed: ${oc.env:HOME}", r"seed must be a whole number, got '\$\{oc.env:HOME\}'"),
    "resolver of a name": ("model: {name: '${oc.env:HOME}'}", r"model.name = '\$\{oc.env:HOME\}' is no model"),
    "module as name": ("model: {name: 'os:system'}", "model.name = 'os:system' is no model"),
    "dunder as name": ("model: {name: __class__}", "model.name = '__class__' is no model"),
    "list as name": ("model: {name: [spiking_net]}", "model.name"),
    "plugins": ("plugins: [this]", "needs the packages this"),
    "wrong types": ("model: [1]\ntrainer: 7", "model must say which model"),
    "terminal": ('"\\e[2Jsu\\nper": 1', "per.* is no key"),
}


@pytest.fixture(scope="module", autouse=True)
def hydra_is_imported():
    with pytest.raises(ConfigError):
        cli._main(["resume=nowhere"])


@pytest.mark.parametrize("name", CONFIGS)
def test_a_hostile_configuration_is_one_line(tmp_path, monkeypatch, capsys, name):
    content, message = CONFIGS[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(content)
    assert run(lambda: cli._main(["resume=run"])) == 2
    printed = capsys.readouterr()
    [line] = printed.err.splitlines()
    assert line.startswith("ConfigError: ") and len(line) < 5000 and line.isprintable()
    assert re.search(message, line), line
    assert os.listdir(tmp_path) == ["run"] and os.listdir("run") == ["config.yaml"] and "this" not in sys.modules


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda path: path.symlink_to("/dev/zero"), "config.yaml is missing|is a link"),
        (
            lambda path: (path.with_name("real").write_text("seed: 0"), path.symlink_to("real")),
            "is no valid YAML: config.yaml is a link",
        ),
        (os.mkfifo, "config.yaml is missing|no regular file"),
        (lambda path: path.mkdir(), "config.yaml is missing"),
        (lambda path: (path.touch(), os.truncate(path, 10 * 2**30)), "config.yaml is larger than"),
    ],
)
def test_a_configuration_that_is_no_plain_file_is_one_line(tmp_path, capsys, make, message):
    make(tmp_path / "config.yaml")
    assert run(lambda: cli._main([f"resume={tmp_path}"])) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert re.search(message, line), line


def test_no_pickle_of_hydra_is_read(tmp_path, capsys):
    assert run(lambda: cli._main(["--experimental-rerun", str(tmp_path / "config.pickle")])) == 2
    assert "reads a pickle, which may hold code" in capsys.readouterr().err


def test_what_a_run_writes_is_read_again():
    config = check({"model": {"name": "spiking_net"}, "data": {"name": "npz", "path": "ä b: c"}})
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    assert parse_yaml(text.encode()) == config and len(text) < YAML_BYTES / 20


def nested(depth):
    return "[" * depth + "]" * depth


def test_the_limits_are_where_they_are_said_to_be(tmp_path):
    for parse in (parse_json, parse_yaml):
        assert parse(nested(DEPTH).encode()) is not None
        for depth in (DEPTH + 1, 5000):
            with pytest.raises(ValueError, match="32 levels deep"):
                parse(nested(depth).encode())
    (tmp_path / "a").write_bytes(bytes(1000))
    assert len(read_bytes(tmp_path / "a", 1000)) == 1000
    with pytest.raises(ValueError, match="a is larger than 999 bytes"):
        read_bytes(tmp_path / "a", 999)
    with pytest.raises(ValueError, match="32 levels deep"):
        parse_json(b"[" * JSON_BYTES)


@given(some.binary(max_size=60))
def test_any_bytes_are_data_or_a_value_error(content):
    for parse in (parse_json, parse_yaml):
        try:
            json.dumps(parse(content), default=str)
        except ValueError:
            pass
        except TypeError as error:  # a key of a mapping that JSON does not have
            assert "keys must be" in str(error)


@given(some.text("[]{}:,-&*!|>'\"%@`? \n#ab1.~", max_size=40))
def test_any_yaml_is_what_pyyaml_reads_or_a_value_error(text):
    try:
        found = parse_yaml(text.encode())
    except ValueError:
        return
    assert repr(found) == repr(yaml.safe_load(text))


def test_a_message_shows_what_a_file_says_and_does_not_do_it(capsys):
    def refuse():
        raise ConfigError("\x1b[2J is no key" + "x" * 100_000)

    assert run(refuse) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(r"ConfigError: \x1b[2J is no key") and len(line) < 5000


# A checkpoint whose configuration asks for everything


@pytest.fixture(scope="module")
def made(tmp_path_factory, data):
    """A run folder as a run leaves it, of a network that was not trained."""
    folder, config = tmp_path_factory.mktemp("made"), small(data, model__neuron={"name": "lif"})
    with environ.context(dt=1.0 * u.ms):
        trainer = make_trainer(config, None)
    checkpoints = Checkpoints(folder / "checkpoints")
    more = {"waiting": [], "callbacks": {}, "stopped": "", "provenance": {}}
    checkpoints.save(0, trainer.leaves, trainer.layout, {"config": config, "metrics": {}, **more})
    checkpoints.close()
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


def change_meta(folder, change):
    path = folder / "checkpoints" / "0" / "meta.json"
    meta = json.loads(path.read_text())
    change(meta)
    path.write_text(json.dumps(meta))
    seal(path.parent)


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


HUGE = [10**6, 10**6]


def test_a_model_that_is_not_that_of_the_checkpoint_is_refused_unbuilt(folder, made):
    change_meta(folder, lambda meta: meta["config"]["model"].update(hidden=HUGE))
    config, before = yaml.safe_load((folder / "config.yaml").read_text()), peak()
    config["model"]["hidden"] = HUGE
    for look in (lambda: restored(folder).__enter__(), lambda: train(check(config), folder, resume=True)):
        with pytest.raises(
            CheckpointError, match="belongs to another model: [0-9]+ of [0-9]+ arrays differ, first `params"
        ):
            look()
    assert peak() < before + 200 and not (folder / "result.json").exists()
    with restored(made) as (_, trainer):
        assert trainer.step == 0


def test_a_model_beyond_the_memory_is_refused_unbuilt(folder, data):
    """Configuration and meta data agree on terabytes."""

    def agree(meta):
        meta["config"]["model"].update(hidden=HUGE)

        def make():
            return build.build("model", meta["config"]["model"], 3, 2, rngs=nnx.Rngs(0))

        with environ.context(dt=1.0 * u.ms):
            meta["leaves"] = {name: arrays.describe(x) for name, x in size.shapes_of(make).items()}

    before = peak()
    change_meta(folder, agree)
    with pytest.raises(ConfigError, match=r"model: its arrays take 1\.2e\+04 GB, and this machine has"):
        restored(folder).__enter__()
    for hidden in ([10**7], [2**62], [2**31, 4]):
        with pytest.raises(ConfigError, match="model: its arrays take .* The largest is .* Choose smaller layers"):
            train(small(data, model__hidden=hidden), folder.with_name("new"))
    assert peak() < before + 200 and not folder.with_name("new").exists()


@pytest.mark.parametrize("name", registry.names("model"))
@pytest.mark.parametrize(
    "neuron", [{"name": "lif"}, {"name": "alif", "tau_ms": {"low": 5.0, "high": 20.0}, "trainable": ["tau"]}]
)
def test_the_shapes_of_a_model_are_known_before_it_is_made(name, neuron):
    def make():
        return build.build("model", config["model"], 3, 2, rngs=nnx.Rngs(0))

    own = {"layers": {"fc": {"name": "linear", "features": 8}, "cells": {"name": "recurrent", "neuron": neuron}}}
    given = own if name == "sequential" else {"dropout": 0.1, "neuron": neuron}
    config = check({"data": "vowels", "model": {"name": name, **given}})
    with environ.context(dt=1.0 * u.ms):
        known = size.shapes_of(make)
        _, params, rest = nnx.split(make(), nnx.Param, ...)
        assert len(known) > 5
        leaves = {"params": params, "rest": rest}
        there = {name_of(path): x for path, x in jax.tree_util.tree_flatten_with_path(leaves)[0]}
        assert {k: (x.shape, x.dtype) for k, x in known.items()} == {k: (x.shape, x.dtype) for k, x in there.items()}
        size.check_size(make)


def test_a_model_that_needs_values_is_not_known_before():
    class Counts(nnx.Module):
        def __init__(self):
            self.w = nnx.Param(jax.numpy.ones(3))
            assert float(self.w.sum()) == 3

    size.check_size(Counts)


# Any mutation


VALUES = [
    None, True, -1, 0, 3, 2**31, 2**62, 2**63, 10**400, 1e308, float("nan"), float("inf"), "", "../../x", "${oc.env:HOME}",
    "\x00", "\u202e\x1b[2J\n", "a" * 5000, [], [1], ["x"], {}, {"name": "x"}, {"_target_": "os.system"}, [[[[1]]]], HUGE,
    [0], 1e-300, "lif", {1: 2}, {"low": 1, "high": 2},
]  # fmt: skip


def places(data, path=()):
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield (*path, key)
        yield from places(value, (*path, key))


def mutated(data, at, value, kind):
    """Return data of which one place is another value, is missing, or has a neighbour."""
    data, every = copy.deepcopy(data), list(places(data))
    *path, last = every[int(at * len(every))]
    holder = data
    for key in path:
        holder = holder[key]
    if kind == "missing":
        del holder[last]
    else:
        holder[last if kind == "other" or isinstance(holder, list) else f"{last}_"] = copy.deepcopy(value)
    return data


A_MUTATION = {
    "at": some.floats(0, 0.9999),
    "value": some.sampled_from(VALUES),
    "kind": some.sampled_from(["other", "other", "missing", "more"]),
}


@settings(max_examples=100)
@given(**A_MUTATION)
def test_a_mutated_config_passes_or_is_one_error(data, at, value, kind):
    with contextlib.suppress(ConfigError):
        check(mutated(small(data), at, value, kind))


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # 1e308 as float32
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**A_MUTATION)
def test_mutated_meta_data_are_restored_or_one_error(made, tmp_path, at, value, kind):
    step = shutil.copytree(made / "checkpoints" / "0", tmp_path / "0", dirs_exist_ok=True)
    meta = mutated(json.loads((step / "meta.json").read_text()), at, value, kind)
    (step / "meta.json").write_text(json.dumps(meta))
    seal(step)
    try:
        with restored(step) as (_, trainer):
            assert trainer.step == 0
    except SpiketrainError as error:
        assert str(error)
