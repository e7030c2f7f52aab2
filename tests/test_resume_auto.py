"""`resume=auto`: the command that begins a run is the one that continues it. And what stops a run stays across a resume."""

import json

import pytest
import yaml
from test_resume import interrupted, same

from spiketrain.cli import train as cli
from spiketrain.errors import ConfigError
from spiketrain.training.checkpoint import read_meta, steps_in
from spiketrain.training.run import train

from runs import record, small, words

pytestmark = pytest.mark.usefixtures("one_ms")


def configured(words_):
    """Return the configuration that the command line makes of settings."""
    import argparse

    given = argparse.Namespace(config_path=None, config_dir=None, config_name=None)
    config, _ = cli._composed([cli._forced(word) for word in words_], given, [])
    return config


def test_a_named_folder_is_begun_continued_and_repeated(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    command = [*words(data), "hydra.run.dir=run", "resume=auto"]
    config = configured(words(data))
    train(config, tmp_path / "whole")
    interrupted(config, tmp_path / "run", 4)
    cli._main(command)
    same(tmp_path / "run", tmp_path / "whole", config)
    before = record(tmp_path / "run")
    cli._main(command)  # a finished one
    assert record(tmp_path / "run") == before
    with pytest.raises(ConfigError, match=r"resume=auto: run holds a run with seed=0, not 1. Choose another folder"):
        cli._main([*command, "seed=1"])
    cli._main([*command, "trainer.epochs=5"])
    assert steps_in(tmp_path / "run" / "checkpoints")[-1] == 10


def test_the_newest_run_like_this_that_has_not_ended(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    config = configured(words(data))
    folders = [
        tmp_path / "runs" / "run" / name
        for name in ("2026-01-01_00-00-00", "2026-01-02_00-00-00", "2026-01-03_00-00-00")
    ]
    (tmp_path / "runs" / "run").mkdir(parents=True)
    interrupted(config, folders[0], 2)
    interrupted(config, folders[1], 4)
    interrupted(config | {"seed": 3}, folders[2], 2)
    (tmp_path / "runs" / "run" / "2026-01-04_00-00-00").mkdir()
    (tmp_path / "runs" / "run" / "2026-01-04_00-00-00" / "config.yaml").write_text("of: another version")
    cli._main([*words(data), "resume=auto"])
    assert (folders[1] / "result.json").exists() and not (folders[0] / "result.json").exists()
    cli._main([*words(data), "resume=auto"])
    assert (folders[0] / "result.json").exists() and not (folders[2] / "result.json").exists()
    assert len(list((tmp_path / "runs" / "run").iterdir())) == 4
    cli._main([*words(data), "resume=auto"])  # none is left
    assert len(list((tmp_path / "runs" / "run").iterdir())) == 5


def test_early_stopping_and_plateau_go_on_across_a_resume(tmp_path, data):
    """The metric never improves by as much as is asked: the rate falls at every second measurement, the sixth is the last."""
    callbacks = {
        "early_stopping": {"patience": 5, "min_delta": 100.0},
        "plateau": {"patience": 2, "min_delta": 100.0, "factor": 0.5},
    }
    config = small(data, trainer__epochs=20, callbacks=callbacks)
    train(config, tmp_path / "whole")
    last = steps_in(tmp_path / "whole" / "checkpoints")[-1]
    assert last == 12
    meta = read_meta(tmp_path / "whole" / "checkpoints" / str(last))
    assert "validation/loss has not improved" in meta["stopped"] and meta["callbacks"]["Plateau"]["rate"] == 0.25
    interrupted(config, tmp_path / "run", 6)
    train(config, tmp_path / "run", resume=True)
    same(tmp_path / "run", tmp_path / "whole", config)
    (tmp_path / "run" / "result.json").unlink()
    train(config, tmp_path / "run", resume=True)  # it stays stopped
    same(tmp_path / "run", tmp_path / "whole", config)


def test_a_run_starts_from_the_parameters_of_another(tmp_path, data, capsys):
    train(small(data), tmp_path / "first")
    train(small(data, init_from=str(tmp_path / "first"), trainer__epochs=1), tmp_path / "second")
    out = capsys.readouterr().out
    assert f"parameters are taken from {tmp_path / 'first' / 'checkpoints'}" in out
    assert yaml.safe_load((tmp_path / "second" / "config.yaml").read_text())["init_from"] == str(tmp_path / "first")
    losses = [
        json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[0])["loss"]
        for name in ("first", "second")
    ]
    assert losses[1] < losses[0]
