"""A run that fails leaves why in `error.txt`, and the error goes on to whoever called."""

import json

import pytest

from spiketrain.cli import train as cli
from spiketrain.cli.common import run
from spiketrain.errors import CheckpointError, ConfigError
from spiketrain.training.folder import failure_recorded
from spiketrain.training.recorded import FAILURE, read_run
from spiketrain.training.run import train
from spiketrain.training.trainer import Trainer

from runs import small


def test_a_failed_run_says_why_until_it_is_continued(tmp_path, data, monkeypatch, capsys):
    config, folder = small(data, model__neuron={"name": "lif"}), tmp_path / "run"

    def fails(_):
        raise CheckpointError("of step 7.\nNo space")

    monkeypatch.setattr(Trainer, "fit", fails)
    assert run(lambda: cli._run(config, folder)) == 2
    assert capsys.readouterr().err == "CheckpointError: of step 7.\nNo space\n"
    what, ran, where = (folder / FAILURE).read_text().split("\n\n", 2)
    assert what == "CheckpointError: of step 7.\nNo space" and json.loads(ran)["versions"]["jax"]
    assert where.startswith("Traceback") and "in fails" in where
    found = read_run(folder)
    assert found.state == "failed" and found.why == "CheckpointError: of step 7. No space"

    def continues(trainer):
        assert not (folder / FAILURE).exists()
        return {}

    monkeypatch.setattr(Trainer, "fit", continues)
    train(config, folder, resume=True)
    assert read_run(folder).state == "unfinished"


def test_a_run_that_is_refused_leaves_the_folder_of_another_alone(tmp_path, data):
    (tmp_path / "config.yaml").touch()
    with pytest.raises(ConfigError, match="already holds a run"):
        train(small(data), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_run_that_is_stopped_has_not_failed(tmp_path, error):
    with pytest.raises(error), failure_recorded(tmp_path):
        raise error
    assert not (tmp_path / FAILURE).exists()


def test_a_failure_that_cannot_be_written_hides_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), failure_recorded(tmp_path / "gone"):
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), failure_recorded(tmp_path):
        raise ZeroDivisionError("\udc80" + "x" * 10**6)
    assert (tmp_path / FAILURE).stat().st_size < 1 << 16 and read_run(tmp_path).why
