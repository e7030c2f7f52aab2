"""Configurations of strangers: read as plain data of bounded size, or refused with one line."""

import json
import os
import re
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as some

from spiketrain.cli import train as cli
from spiketrain.cli.common import run
from spiketrain.config.check import check
from spiketrain.config.files import DEPTH, JSON_BYTES, YAML_BYTES, parse_json, parse_yaml, read_bytes
from spiketrain.errors import ConfigError

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
