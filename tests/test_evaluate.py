"""`spiketrain-eval`: the same digits from a checkpoint alone, and one line for whatever is wrong with it."""

import json
import os
import shutil
import sys

import brainunit as u
import pytest

from spiketrain import environ
from spiketrain.cli import evaluate as cli
from spiketrain.errors import CheckpointError, ConfigError
from spiketrain.training.checkpoint import _files, _size_and_checksum, steps_in
from spiketrain.training.run import evaluate, train

from runs import command, compiled_once, record, small, write_data


@pytest.fixture(scope="module", autouse=True)
def one_ms():
    with environ.context(dt=1.0 * u.ms), compiled_once():
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that kept several checkpoints."""
    folder = tmp_path_factory.mktemp("folder")
    write_data(folder / "small.npz")
    config = small(folder / "small.npz", trainer__keep_best=2, optimizer={"name": "adamw", "learning_rate": 0.1})
    train(config, folder / "run")
    assert len(steps_in(folder / "run" / "checkpoints")) > 1
    return folder / "run"


def result(run):
    return json.loads((run / "result.json").read_text())


def test_the_command_repeats_the_metrics_of_the_run_to_the_last_digit(run, tmp_path):
    done = command("evaluate", run, "--split", "validation", "--json", "metrics.json", cwd=tmp_path, check=True)
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["metrics"] == result(run)["validation"]
    assert written["step"] == 8 and written["split"] == "validation"
    assert f"validation loss: {written['metrics']['loss']!r}" in done.stdout.splitlines() and done.stderr == ""
    assert evaluate(run)[1] == result(run)["test"]


def test_a_checkpoint_alone_is_enough(run, tmp_path):
    alone = shutil.copytree(run / "checkpoints" / "8", tmp_path / "copied elsewhere, ünder another name")
    assert evaluate(alone)[1] == result(run)["test"]


def test_the_best_and_any_step_can_be_chosen(run):
    steps = steps_in(run / "checkpoints")
    measured = {entry["step"]: entry for entry in record(run) if entry["split"] == "validation"}
    meta, metrics = evaluate(run, which="best", split="validation")
    assert metrics["accuracy"] == max(entry["accuracy"] for entry in measured.values())
    for step in steps:
        meta, metrics = evaluate(run / "checkpoints", which=str(step), split="validation")
        assert meta["step"] == step and metrics == {name: measured[step][name] for name in metrics}


def test_without_validation_there_is_no_best(run, tmp_path):
    config = small(run.parent / "small.npz", trainer__validation_fraction=0.0, trainer__epochs=1)
    train(config, tmp_path / "run")
    with pytest.raises(CheckpointError, match="has no best step: validation/accuracy was not measured"):
        evaluate(tmp_path / "run", which="best")
    with pytest.raises(ConfigError, match=r"--split 'validation' is no split of this run. Valid: train, test"):
        evaluate(tmp_path / "run", split="validation")


@pytest.mark.parametrize(
    "words, message",
    [
        (["nowhere"], "CheckpointError: nowhere holds no checkpoint. Name a run folder"),
        (["."], "CheckpointError: . holds no checkpoint"),
        (["{run}", "--checkpoint", "99"], "has no step '99'. It has "),
        (["{run}", "--checkpoint", "bset"], "or write `last` or `best`"),
        (["{run}/checkpoints/8", "--checkpoint", "best"], "is one checkpoint already. Name the run folder"),
        (["{run}", "--split", "tset"], "ConfigError: --split 'tset' is no split of this run. Valid: train, valid"),
        (["{run}", "--plugins", "no_such_package"], "ConfigError: plugins=[no_such_package]: No module named"),
        (["{run}", "--json", "nowhere/metrics.json"], "FileNotFoundError: [Errno 2] No such file or directory: 'nowh"),
    ],
)
def test_a_mistake_is_one_line(run, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["spiketrain-eval", *(word.format(run=run) for word in words)])
    with pytest.raises(SystemExit) as exit:
        cli.main()
    assert exit.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line


# Damage and forgery


def tampered(run, folder, change, *, sealed=True):
    """Return a copy of the last checkpoint with another configuration, forged so well that its checksums fit."""
    step = shutil.copytree(run / "checkpoints" / "8", folder / "8")
    path = step / "meta" / "metadata"
    meta = json.loads(path.read_text())
    change(meta)
    path.write_text(json.dumps(meta))
    if sealed:
        manifest = {str(p.relative_to(step)): _size_and_checksum(p) for p in _files(step)}
        (step / "manifest.json").write_text(json.dumps(manifest))
    return step


def setting(path, value):
    def change(meta):
        *sections, key = path.split(".")
        section = meta
        for name in sections:
            section = section[name]
        section[key] = value

    return change


@pytest.mark.parametrize(
    "path, value, message",
    [
        ("config._target_", "os.system", "_target_ is no key of the configuration"),
        ("config.model", {"_target_": "os.system", "command": "exit"}, "model must say which model"),
        ("config.model._target_", "os.system", "model._target_ is no key of model"),
        ("config.model.name", "os.system", "model.name = 'os.system' is no model"),
        ("config.model.name", "this:s", "model.name = 'this:s' is no model"),
        ("config.data.name", "this", "data.name = 'this' is no data"),
        ("config.loss.readout", "__class__", "loss.readout = '__class__' is no choice"),
        ("config.trainer.epoch", 3, "trainer.epoch is no key of trainer"),
        ("config.plugins", ["this"], "needs the packages this, and only what the command line names is imported. If you "
                                     "trust them, add `--plugins this`"),
        ("config.plugins", [["this"]], "--plugins"),
        ("config.plugins", "this", "plugins must be a list of words"),
        ("config.dt_ms", "1e", "dt_ms must be a finite number"),
        ("config.model.hidden", [9], "belongs to another model: "),
        ("config.model.recurrent", False, "belongs to another model: "),
        ("config.optimizer", {"name": "sgd"}, "belongs to another model: "),
        ("config.data.path", "nowhere.npz", "nowhere.npz does not exist"),
        ("config", {}, "was saved without a configuration"),
        ("config", [], "its meta data is damaged ('config' is missing)"),
        ("format", 2, "has checkpoint format 2; this version reads 1"),
        ("leaves", {}, "belongs to another model: "),
        ("leaves", None, "its meta data is damaged ('leaves' is missing)"),
    ],
)  # fmt: skip
def test_a_forged_checkpoint_is_one_error_and_imports_nothing(run, tmp_path, capsys, path, value, message):
    step = tampered(run, tmp_path, setting(path, value))
    before = set(sys.modules)
    with pytest.raises((CheckpointError, ConfigError, Exception)) as error:
        evaluate(step)
    assert type(error.value).__module__ in ("spiketrain.errors", "spiketrain.training.checkpoint"), repr(error.value)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert "this" not in set(sys.modules) - before


def test_a_changed_file_is_named(run, tmp_path):
    step = tampered(run, tmp_path, setting("config.encoder.hold", 2), sealed=False)
    with pytest.raises(
        CheckpointError, match=r"8 cannot be read: it is damaged \(meta/metadata is not what was written"
    ):
        evaluate(step)


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff\xff", b"null", b'{"format": 1}', b"[" * 100_000])
def test_damaged_meta_data_are_one_error(run, tmp_path, content):
    step = shutil.copytree(run / "checkpoints" / "8", tmp_path / "8")
    (step / "meta" / "metadata").write_bytes(content)
    with pytest.raises(CheckpointError, match="8 cannot be read: its meta data is damaged"):
        evaluate(step)


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b'{"state/../../secret": [1, 2]}', b'{"nothing": 1}'])
def test_a_damaged_manifest_is_one_error(run, tmp_path, content):
    step = shutil.copytree(run / "checkpoints" / "8", tmp_path / "8")
    (step / "manifest.json").write_bytes(content)
    with pytest.raises(CheckpointError, match="8 cannot be read: it is damaged"):
        evaluate(step)


def test_an_evaluation_writes_nothing(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted((str(p), p.stat().st_mtime_ns) for p in run.rglob("*"))
    evaluate(run)
    assert sorted((str(p), p.stat().st_mtime_ns) for p in run.rglob("*")) == before and not os.listdir(tmp_path)
