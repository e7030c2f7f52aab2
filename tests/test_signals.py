"""A run that ends within an epoch, by a crash or by a signal, goes on to the same bits."""

import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from test_resume import same

from spiketrain.training.callbacks import Callback
from spiketrain.training.checkpoint import steps_in
from spiketrain.training.run import make_trainer, train

from runs import environment, small, words

pytestmark = [pytest.mark.usefixtures("one_ms"), pytest.mark.slow]


FEATURES = {
    "plain": {},
    "average": {"trainer__ema_decay": 0.9},
    "parts": {"trainer__batch_size": 4, "trainer__accumulate": 2},
    "roll back": {"trainer__non_finite": "roll_back"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FEATURES)
def test_a_run_stopped_within_an_epoch_ends_with_the_same_bits(tmp_path, data, name):
    """The sums that wait to be recorded go on too: five steps are recorded at a time, three saved."""
    within = {"trainer__batch_size": 3, "trainer__epochs": 2, "trainer__save_every": 10, "trainer__save_every_steps": 3}
    config = small(data, **within | {"trainer__log_every_steps": 5} | FEATURES[name])
    train(config, tmp_path / "whole")
    interrupted_at(config, tmp_path / "run", 4)
    assert steps_in(tmp_path / "run" / "checkpoints")[-1] == 3
    train(config, tmp_path / "run", resume=True)
    same(tmp_path / "run", tmp_path / "whole", config)


def interrupted_at(config, folder, at):
    """Train and crash after the step `at`, with what had been saved by then."""
    t = make_trainer(config, folder)
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    saves = t._is_time_to_save

    def crash():
        if t.step == at:
            raise RuntimeError("crash")
        return saves()

    t._is_time_to_save = crash
    with pytest.raises(RuntimeError, match="crash"):
        t.fit()


class Signalled(Callback):
    """Sends this process a signal, at a step, when it is told of an event."""

    def __init__(self, number, event, at):
        self.number, self.at = number, at
        setattr(self, f"on_{event}", self.send)

    def send(self, trainer, *_):
        if trainer.step == self.at:
            os.kill(os.getpid(), self.number)
            time.sleep(0.2)  # for the thread that listens


@pytest.mark.parametrize("number, raised", [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
@pytest.mark.parametrize("event, at", [("start", 0), ("log", 3), ("evaluation", 4), ("checkpoint", 2)])
def test_a_signal_ends_a_run_after_its_step_and_it_resumes_to_the_same_bits(tmp_path, data, number, raised, event, at):
    config = small(data, trainer__log_every_steps=3, trainer__save_every_steps=1 if event == "checkpoint" else 2)
    train(config, tmp_path / "whole")
    t = make_trainer(config, tmp_path / "run")
    (tmp_path / "run").mkdir()
    t.callbacks.append(Signalled(number, event, at))
    before = signal.getsignal(number)
    with pytest.raises(raised) as error:
        t.fit()
    if raised is SystemExit:
        assert error.value.code == 143
    assert signal.getsignal(number) is before
    assert t.step == max(at, 1) == steps_in(tmp_path / "run" / "checkpoints")[-1]
    train(config, tmp_path / "run", resume=True)
    same(tmp_path / "run", tmp_path / "whole", config)


@pytest.mark.slow
def test_a_second_signal_ends_the_process_at_once(tmp_path, data):
    """While the first step is compiled, which no Python handler could interrupt."""
    process = subprocess.Popen(
        [sys.executable, "-m", "spiketrain.cli.train", *words(data), f"hydra.run.dir={tmp_path / 'run'}"],
        env=environment(JAX_COMPILATION_CACHE_DIR=str(tmp_path / "cache")),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "SIGTERM: ends after this step with a checkpoint; a second one ends now" in out
    assert not (tmp_path / "run" / "result.json").exists()
