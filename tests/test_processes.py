"""Two processes with four devices each train like one with one."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import brainunit as u
import numpy as np
import pytest
from one_of_several import VOWELS, losses, meeting_places

from spiketrain import environ
from spiketrain.config.check import check
from spiketrain.errors import ConfigError
from spiketrain.training import processes
from spiketrain.training.checkpoint import steps_in
from spiketrain.training.run import train

from runs import environment, record, small

SCRIPT = Path(__file__).with_name("one_of_several.py")


def started(*words, count=2, devices=4):
    return [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), *map(str, words)],
            env=environment(**place, JAX_NUM_CPU_DEVICES=str(devices)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for place in meeting_places(count)
    ]


def ended(processes, timeout=240):
    seen = [process.communicate(timeout=timeout) for process in processes]
    return [(process.returncode, *texts) for process, texts in zip(processes, seen, strict=True)]


def test_losses_are_those_of_one_process(tmp_path):
    for code, _, err in ended(started("losses", tmp_path / "found")):
        assert code == 0, err
    found = json.loads((tmp_path / "found").read_text())
    assert found["devices"] == 8
    with environ.context(dt=1.0 * u.ms):
        one, _ = losses(check(VOWELS))
    assert one[-1] < one[0] - 0.02
    np.testing.assert_allclose(found["losses"], one, rtol=1e-6)


def wait_until(condition, running):
    while not condition():
        assert all(process.poll() is None for process in running), ended(running)
        time.sleep(0.01)


@pytest.mark.slow
def test_a_signal_or_a_kill_of_one_ends_both_and_they_resume(tmp_path, data):
    with environ.context(dt=1.0 * u.ms):
        config = small(data, trainer__batch_size=8, trainer__epochs=40, trainer__log_every_steps=1)
        _, whole = train(config, tmp_path / "whole")
    folder = tmp_path / "run"
    both = started("train", folder, data)
    wait_until(lambda: steps_in(folder / "checkpoints"), both)
    both[1].send_signal(signal.SIGTERM)
    seen = ended(both)
    assert [code for code, _, _ in seen] == [143, 143], seen
    signalled = steps_in(folder / "checkpoints")[-1]
    both = started("train", folder, data)
    wait_until(lambda: steps_in(folder / "checkpoints")[-1] > signalled, both)
    both[1].send_signal(signal.SIGKILL)
    since = time.monotonic()
    (code, _, err), _ = ended(both)
    assert time.monotonic() - since < 60
    assert code != 0 and ("another process of the run has ended" in err or "heartbeat" in err), err
    for code, _, err in ended(started("train", folder, data)):
        assert code == 0, err
    result = json.loads((folder / "result.json").read_text())
    assert result["devices"] == 8 and result["step"] == whole["step"]
    assert [line["step"] for line in record(folder)] == [line["step"] for line in record(tmp_path / "whole")]
    assert result["test"] == pytest.approx(whole["test"], rel=0.2)  # rounding, over 120 steps that learn by heart


def test_who_takes_part_must_be_known(monkeypatch):
    for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
    with pytest.raises(ConfigError, match="distributed=true finds no other process .*JAX_COORDINATOR_ADDRESS"):
        processes.join()


def test_alone_everything_is_agreed(tmp_path):
    assert processes.is_first() and processes.any_of(15) == 15 and processes.agreed(tmp_path) == tmp_path
    processes.wait_for_all("nothing")
