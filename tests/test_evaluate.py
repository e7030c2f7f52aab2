"""`spiketrain-eval`: the same digits from a checkpoint alone, and one line for whatever is wrong with it."""

import json
import os
import shutil
import sys

import numpy as np
import pytest

from spiketrain.cli import evaluate as cli
from spiketrain.errors import CheckpointError, ConfigError
from spiketrain.training.checkpoint import steps_in
from spiketrain.training.run import evaluate, train

from runs import arrays, command, record, seal, small, write_data

pytestmark = pytest.mark.usefixtures("one_ms")


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
    meta = json.loads((step / "meta.json").read_text())
    change(meta)
    (step / "meta.json").write_text(json.dumps(meta))
    if sealed:
        seal(step)
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
        ("config", [], "it is damaged ('config' in meta.json is wrong)"),
        ("format", 4, "has checkpoint format 4; this version reads 5"),
        ("leaves", {}, "belongs to another model: "),
        ("leaves", None, "it is damaged ('leaves' in meta.json is wrong)"),
    ],
)  # fmt: skip
def test_a_forged_checkpoint_is_one_error_and_imports_nothing(run, tmp_path, capsys, path, value, message):
    step = tampered(run, tmp_path, setting(path, value))
    before = set(sys.modules)
    with pytest.raises((CheckpointError, ConfigError, Exception)) as error:
        evaluate(step)
    assert type(error.value).__module__ in ("spiketrain.errors", "spiketrain.training.saved"), repr(error.value)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert "this" not in set(sys.modules) - before


def test_a_changed_file_is_named(run, tmp_path):
    step = tampered(run, tmp_path, setting("config.encoder.hold", 2), sealed=False)
    with pytest.raises(CheckpointError, match=r"8 cannot be read: it is damaged \(meta.json is not what was written"):
        evaluate(step)


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff\xff", b"null", b'{"format": 1}', b"[" * 100_000])
def test_damaged_meta_data_are_one_error(run, tmp_path, content):
    step = shutil.copytree(run / "checkpoints" / "8", tmp_path / "8")
    (step / "meta.json").write_bytes(content)
    seal(step)
    with pytest.raises(
        CheckpointError, match="8 cannot be read: it is damaged|8 has checkpoint format 1; this version"
    ):
        evaluate(step)


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b'{"state/../../secret": [1, 2]}', b'{"nothing": 1}'])
def test_a_damaged_manifest_is_one_error(run, tmp_path, content):
    step = shutil.copytree(run / "checkpoints" / "8", tmp_path / "8")
    (step / "manifest.json").write_bytes(content)
    with pytest.raises(CheckpointError, match="8 cannot be read: it is damaged"):
        evaluate(step)


# Several runs, other data, sweeps and files


def answered(monkeypatch, *words):
    """Run the command in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["spiketrain-eval", *map(str, words)])
    with pytest.raises(SystemExit) as exit:
        cli.main()
    return exit.value.code


KEYS = {
    "checkpoint", "data", "step", "split", "trials", "metrics", "classes", "per_class", "confusion", "operations",
    "seed", "sweeps",
}  # fmt: skip


def test_everything_about_a_run_is_printed_and_written(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("matplotlib")
    words = ["--sweep", "noise=0,0.5", "--sweep", "bits=8,2", "--json", "a.json", "--predictions", "a.npz"]
    assert answered(monkeypatch, run, *words, "--picture", "a.png") == 0
    printed = capsys.readouterr().out.splitlines()
    found = json.loads((tmp_path / "a.json").read_text())
    assert set(found) == KEYS
    assert found["metrics"] == result(run)["test"] and found["trials"] == 10
    matrix = np.array(found["confusion"])
    assert matrix.sum() == 10 and matrix.trace() / 10 == pytest.approx(found["metrics"]["accuracy"])
    assert [row["trials"] for row in found["per_class"]] == [5, 5]
    assert [row["value"] for row in found["sweeps"]["noise"]] == [0, 0.5]
    assert found["sweeps"]["noise"][0]["loss"] == pytest.approx(found["metrics"]["loss"], rel=1e-5)
    assert found["sweeps"]["bits"][1]["loss"] != pytest.approx(found["metrics"]["loss"], rel=1e-3)
    assert found["operations"]["synaptic_operations"] > 0
    rates = sum(value for name, value in found["metrics"].items() if name.startswith("rate_hz/"))
    to_readout = [layer for layer in found["operations"]["layers"] if layer["layer"] == "to_readout"][0]
    lengths = np.load(run.parent / "small.npz")["lengths_test"]
    spikes = rates * 1e-3 * 8 * lengths.sum() / 10
    assert to_readout["operations"] == pytest.approx(spikes * 2, rel=1e-5) and spikes > 1
    with np.load(tmp_path / "a.npz") as arrays:
        assert np.mean(arrays["prediction"] == arrays["label"]) == pytest.approx(found["metrics"]["accuracy"])
    assert "noise  accuracy    loss" in printed and any(line.startswith("class") for line in printed)
    assert sorted(os.listdir(tmp_path)) == ["a.json", "a.npz", "a.png"]


def test_several_runs_are_a_table_and_one_that_fails_is_a_line_of_it(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    broken = tampered(run, tmp_path, setting("config.trainer.epoch", 3))
    paths = [run, broken, "nowhere", run / "checkpoints" / "8"]
    assert answered(monkeypatch, *paths, "--split", "validation", "--json", "a.json") == 2
    printed = capsys.readouterr()
    head, *lines = printed.out.splitlines()
    assert head.split()[:4] == ["run", "step", "accuracy", "loss"] and len(lines) == 4
    wanted = result(run)["validation"]
    for path, line in zip(paths, lines, strict=True):
        assert line.startswith(str(path))
        good = f"{100 * wanted['accuracy']:.1f} %  {wanted['loss']:8.4f}" in line
        assert good == (path not in (broken, "nowhere")), line
    assert "trainer.epoch is no key of trainer" in lines[1] and "nowhere holds no checkpoint" in lines[2]
    assert printed.err == "SpiketrainError: 2 of 4 could not be evaluated.\n"
    records = json.loads((tmp_path / "a.json").read_text())
    assert [set(found) for found in records] == [KEYS, {"checkpoint", "error"}, {"checkpoint", "error"}, KEYS]
    assert records[0]["metrics"] == wanted


def test_another_data_set_is_named_as_in_training(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    parts = {f"{k}_{side}": a for side, seed in (("train", 5), ("test", 6)) for k, a in arrays(6, seed).items()}
    np.savez("other.npz", **parts)
    assert answered(monkeypatch, run, "data=npz", "data.path=other.npz", "--json", "a.json") == 0
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["data"] == {"name": "npz", "path": "other.npz", "stream": False} and found["trials"] == 6
    assert found["metrics"]["loss"] != result(run)["test"]["loss"]
    assert evaluate(run, data={"path": "other.npz"})[1] == found["metrics"]
    assert evaluate(run, split="train", data={"path": str(run.parent / "small.npz")})[1]["loss"] == pytest.approx(
        evaluate(run, split="train")[1]["loss"], rel=1e-6
    )


@pytest.mark.parametrize(
    "words, message",
    [
        (["{run}", "data=npz", "data.path=wide.npz"],
         "ConfigError: data.name=npz has 4 channels and 2 classes, and the model has others: "),
        (["{run}", "data=npzz"], "ConfigError: data.name = 'npzz' is no data"),
        (["{run}", "data.paht=a.npz"], "data.paht is no key of data (Npz). Did you mean `data.path`?"),
        (["{run}", "data.path=nowhere.npz"], "nowhere.npz does not exist"),
        (["{run}", "data.path"], "'data.path' is no setting. Write data=npz data.path=mine.npz"),
        (["data=npz"], "spiketrain-eval needs a run folder"),
        (["{run}", "--sweep", "nois=1"], "nois=1 is no disturbance"),
        (["{run}", "--sweep", "noise"], "--sweep noise cannot be read"),
        (["{run}", "--sweep", "noise=0,a"], "--sweep noise=0,a cannot be read"),
        (["{run}", "--sweep", "flip=0.1"], "DomainError: flip=0.1 disturbs spikes, and the encoded train is analog"),
        (["{run}", "--predictions", "a.txt"], "--predictions a.txt must end in .npz or .csv"),
        (["{run}", "{run}", "--predictions", "a.npz"], "--predictions and --picture take one model, got 2"),
    ],
)  # fmt: skip
def test_a_mistake_in_what_is_asked_is_one_line(run, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    sides = {"train": arrays(6, 5), "test": arrays(6, 6)}
    wide = {f"{k}_{side}": np.pad(a, ((0, 0), (0, 0), (0, 1))) if k == "x" else a
            for side, parts in sides.items() for k, a in parts.items()}  # fmt: skip
    np.savez("wide.npz", **wide)
    assert answered(monkeypatch, *(word.format(run=run) for word in words)) == 2
    printed = capsys.readouterr()
    [line] = printed.err.splitlines()
    assert message in line and os.listdir(tmp_path) == ["wide.npz"] and not printed.out


def test_settings_of_data_are_read_as_they_are_meant():
    words = ["data=vowels", "data.differences=true", "data.path=my #1: [x.npz", "data.n=3", "data.none=null"]
    assert cli.data_settings(words) == {
        "name": "vowels", "differences": True, "path": "my #1: [x.npz", "n": 3, "none": None
    }  # fmt: skip
    assert cli.parsed_sweep("dt_ms=0.5,2") == ("dt_ms", [0.5, 2.0])


def test_an_evaluation_writes_nothing(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted((str(p), p.stat().st_mtime_ns) for p in run.rglob("*"))
    evaluate(run)
    assert sorted((str(p), p.stat().st_mtime_ns) for p in run.rglob("*")) == before and not os.listdir(tmp_path)
