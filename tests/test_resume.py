"""A run that was killed, at any moment, ends with the bits of one that was not; damage is seen and stepped over."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml
from test_trainer import bits, metrics_of

from spiketrain.cli import train as cli
from spiketrain.errors import CheckpointError, ConfigError
from spiketrain.training.checkpoint import restore, steps_in
from spiketrain.training.run import make_trainer, train

from runs import command, environment, record, refused, small, words

pytestmark = pytest.mark.usefixtures("one_ms")


@pytest.fixture(scope="module")
def config(data):
    return small(data)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, config):
    """A run that nothing interrupted, of four epochs of two steps."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(config, folder)
    return folder


def final(folder, config):
    """Return every bit of the last checkpoint: parameters, optimizer, random state, step."""
    t = make_trainer(config, None)
    last = steps_in(folder / "checkpoints")[-1]
    return last, bits(restore(folder / "checkpoints" / str(last), t.leaves, t.layout)), t.layout.names


def same(folder, whole, config):
    """Assert that two runs ended alike: checkpoint, record, result."""
    last, leaves, names = final(folder, config)
    wanted_last, wanted, _ = final(whole, config)
    assert last == wanted_last
    assert [n for n, a, b in zip(names, leaves, wanted, strict=True) if a != b] == []
    assert record(folder) == record(whole)
    results = [json.loads((f / "result.json").read_text()) for f in (folder, whole)]
    assert metrics_of(results[0]) == metrics_of(results[1])


def interrupted(config, folder, after):
    """Train until the checkpoint of step `after` is written, then stop as a crash would."""
    t = make_trainer(config, folder)
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    log_training = t._log_training

    def crash():
        if t.step > after:
            raise SystemExit("crash")
        return log_training()

    t._log_training = crash
    with pytest.raises(SystemExit):
        t.fit()
    assert steps_in(folder / "checkpoints")[-1:] == ([after] if after else [])


def test_the_final_checkpoint_holds_everything(whole, config):
    _, _, names = final(whole, config)
    for part in (
        "params/linear/0/kernel",
        "rest/dropout/0/rngs/default/key",
        "rest/dropout/0/rngs/default/count",
        "step",
    ):
        assert part in names
    assert any(name.startswith("optimizer/") and name.endswith("/mu/linear/0/kernel") for name in names)


@pytest.mark.parametrize("after", [0, 2, 4, 6])
def test_a_run_stopped_after_any_checkpoint_ends_with_the_same_bits(tmp_path, whole, config, after, caplog):
    interrupted(config, tmp_path / "run", after)
    train(config, tmp_path / "run", resume=True)
    same(tmp_path / "run", whole, config)
    assert caplog.messages == ([] if after else [f"{tmp_path / 'run'} holds no checkpoint yet. The run starts from the "
                                                 "beginning."])  # fmt: skip


def test_a_run_with_buckets_resumes_to_the_same_bits(tmp_path, data):
    config = small(data, trainer__length_buckets=2)
    train(config, tmp_path / "whole")
    interrupted(config, tmp_path / "run", 4)
    train(config, tmp_path / "run", resume=True)
    same(tmp_path / "run", tmp_path / "whole", config)


def test_records_that_do_not_fit_the_checkpoints_are_repeated(tmp_path, data):
    """Log, evaluation and save intervals share no divisor, and the record breaks off in the middle of a line."""
    config = small(
        data, trainer__epochs=7, trainer__save_every=3, trainer__log_every_steps=5, trainer__evaluate_every=2
    )
    train(config, tmp_path / "whole")
    interrupted(config, tmp_path / "run", 6)
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "split": "train", "lo')
    train(config, tmp_path / "run", resume=True)
    same(tmp_path / "run", tmp_path / "whole", config)


def test_a_finished_run_is_evaluated_again(tmp_path, whole, config):
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    train(config, tmp_path / "run", resume=True)
    same(tmp_path / "run", whole, config)


def test_more_epochs_continue_a_finished_run(tmp_path, whole, config, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole, tmp_path / "run")
    cli._main(["resume=run", "trainer.epochs=6", "logger.progress=true", "trainer.profile=[10,11]"])
    assert record(tmp_path / "run")[: len(record(whole))] == record(whole)
    assert steps_in(tmp_path / "run" / "checkpoints")[-1] == 12
    assert list((tmp_path / "run" / "profile").rglob("*.xplane.pb"))
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["trainer"]["epochs"] == 6
    with pytest.raises(
        CheckpointError, match=r"is at step 12, beyond the 8 steps of trainer.epochs=4. Raise trainer.ep"
    ):
        cli._main(["resume=run", "trainer.epochs=4", "trainer.profile=null"])


@pytest.mark.parametrize(
    "setting, message",
    [
        ("seed=1", "keeps every setting that a bit of the result depends on; got seed=1. It takes trainer.epochs"),
        ("trainer.batch_size=5", "got trainer.batch_size=5"),
        ("trainer.length_buckets=2", "got trainer.length_buckets=2"),
        ("trainer.validation_fraction=0.5", "got trainer.validation_fraction=0.5"),
        ("model.hidden=[9]", "got model.hidden="),
        ("experiment=vowels", "got experiment=vowels"),
        ("trainer.epochs=x", "trainer.epochs must be a whole number, got 'x'"),
        ("trainer.epochs=[", "'trainer.epochs=[' cannot be read"),
        ("trainer.final=bets", "Did you mean `best`?"),
    ],
)
def test_resume_refuses_other_settings(whole, setting, message):
    with pytest.raises(ConfigError) as error:
        cli._main([f"resume={whole}", setting])
    assert message in str(error.value)


@pytest.mark.parametrize(
    "content, message",
    [
        ("seed: [", "is no valid YAML"),
        ("", "the configuration must be a mapping, got None"),
        ("- 1", "the configuration must be a mapping"),
        ("modle: x", "modle is no key of the configuration. Did you mean `model`?"),
        ("model: {_target_: os.system, name: spiking_net}", "model._target_ is no key"),
        ("!!python/object/apply:os.system [exit 1]", "is no valid YAML"),
        ("plugins: [this]", "needs the packages this"),
    ],
)
def test_a_damaged_or_foreign_config_is_one_error(tmp_path, content, message):
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(ConfigError) as error:
        cli._main([f"resume={tmp_path}"])
    assert message in str(error.value) and "this" not in sys.modules


def test_a_config_that_is_no_text_is_one_error(tmp_path):
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is no valid YAML"):
        cli._main([f"resume={tmp_path}"])


# Damage


def arrays_of(folder):
    return sorted(p for p in (folder / "state").rglob("[0-9]*") if p.is_file())


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "empty folder": lambda step: (shutil.rmtree(step), step.mkdir()),
    "no meta": lambda step: (step / "meta.json").unlink(),
    "truncated meta": lambda step: os.truncate(step / "meta.json", 50),
    "empty meta": lambda step: os.truncate(step / "meta.json", 0),
    "foreign meta": lambda step: (step / "meta.json").write_text("[1, 2]"),
    "meta without a part": lambda step: (step / "meta.json").write_text('{"format": 4, "step": 8}'),
    "no manifest": lambda step: (step / "manifest.json").unlink(),
    "truncated manifest": lambda step: os.truncate(step / "manifest.json", 1),
    "no arrays": lambda step: shutil.rmtree(step / "state"),
    "truncated arrays": lambda step: [os.truncate(p, p.stat().st_size // 2) for p in arrays_of(step)],
    "empty arrays": lambda step: [os.truncate(p, 0) for p in arrays_of(step)],
    "a flipped bit": lambda step: [flip(p) for p in arrays_of(step)],
}


@pytest.fixture(scope="module")
def several(tmp_path_factory, data):
    """A run that kept several checkpoints."""
    config, folder = small(data, trainer__keep_best=3), tmp_path_factory.mktemp("several") / "run"
    train(config, folder)
    assert steps_in(folder / "checkpoints")[-1] == 8 and len(steps_in(folder / "checkpoints")) > 2
    return config, folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_used(tmp_path, several, kind, caplog):
    config, made = several
    folder = shutil.copytree(made, tmp_path / "run")
    DAMAGE[kind](folder / "checkpoints" / "8")
    train(config, folder, resume=True)
    [warning] = caplog.messages
    assert str(folder / "checkpoints" / "8") in warning and "set aside as 8.damaged" in warning
    same(folder, made, config)


def test_a_damaged_older_checkpoint_is_set_aside_too(tmp_path, several, caplog):
    config, made = several
    folder = shutil.copytree(made, tmp_path / "run")
    oldest = steps_in(folder / "checkpoints")[0]
    DAMAGE["truncated manifest"](folder / "checkpoints" / str(oldest))
    train(config, folder, resume=True)
    assert len(caplog.messages) == 1 and f"set aside as {oldest}.damaged" in caplog.text
    same(folder, made, config)


def test_only_damaged_checkpoints_are_an_error(tmp_path, whole, config):
    folder = shutil.copytree(whole, tmp_path / "run")
    steps = steps_in(folder / "checkpoints")
    for step in steps:
        DAMAGE["empty arrays"](folder / "checkpoints" / str(step))
    with pytest.raises(CheckpointError, match=rf"holds no checkpoint that can be read; it had {steps[0]}"):
        train(config, folder, resume=True)


def test_left_overs_of_a_kill_while_saving_are_ignored(tmp_path, whole, config):
    interrupted(config, tmp_path / "run", 4)
    checkpoints = tmp_path / "run" / "checkpoints"
    shutil.copytree(checkpoints / "4", checkpoints / "6.tmp")
    (checkpoints / "6.tmp" / "manifest.json").unlink()
    (tmp_path / "run" / "metrics.jsonl.new").write_text("half a rec")
    train(config, tmp_path / "run", resume=True)
    same(tmp_path / "run", whole, config)


# Real kills


def started(folder, data):
    return subprocess.Popen(
        [sys.executable, "-m", "spiketrain.cli.train", *words(data), f"hydra.run.dir={folder}"],
        env=environment(),
        cwd=folder.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for(condition, process):
    while process.poll() is None and not condition():
        time.sleep(0.001)


def exists(path):
    return lambda folder: (folder / path).exists()


MOMENTS = {
    "while it compiles": exists("metrics.jsonl"),
    "while it saves": lambda folder: any((folder / "checkpoints").glob("*tmp*")),
    "while it trains": lambda folder: exists("metrics.jsonl")(folder) and len(record(folder)) > 3,
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_resumes_to_the_same_bits(tmp_path, whole, config, data, moment):
    folder = tmp_path / "run"
    process = started(folder, data)
    wait_for(lambda: MOMENTS[moment](folder), process)
    time.sleep(random.Random(moment).random() * 0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    print(steps_in(folder / "checkpoints"), list((folder / "checkpoints").glob("*tmp*")))
    done = command("train", f"resume={folder}", cwd=tmp_path, check=True)
    assert "Traceback" not in done.stderr
    same(folder, whole, config)


def test_a_folder_killed_before_its_config_is_no_run_folder(tmp_path):
    (tmp_path / "run").mkdir()
    line = refused(command("train", "resume=run", cwd=tmp_path))
    assert "resume=run is no run folder: run/config.yaml is missing" in line
