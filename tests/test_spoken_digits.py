"""The spoken_digits experiment, on a small file in the layout of its data: its run, its baseline, its table."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from event_files import write_digits
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import spiketrain as st
from spiketrain.cli.train import config_folder
from spiketrain.config.check import check
from spiketrain.training.run import train

FOLDER = Path(__file__).resolve().parents[1] / "experiments" / "spoken_digits"


@pytest.fixture(scope="module")
def run():
    """The script, which finds what lies beside it by itself."""
    path = list(sys.path)
    spec = importlib.util.spec_from_file_location("spoken_digits_run", FOLDER / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two recordings of every digit by each of six speakers, one of them in the test file, with 300 spikes each."""
    pytest.importorskip("h5py", reason="pip install 'spiketrain[hdf5]'")
    return write_digits(tmp_path_factory.mktemp("digits"))


def test_the_experiment_trains_without_one_speaker(files, tmp_path):
    words = [f"data.path={files}", "data.held_out_speaker=2", "trainer.epochs=1", "trainer.batch_size=50"]
    words += [f"model.layers.norm{i}.momentum=0.0" for i in (1, 2, 3)]  # two steps are too few for a running mean
    words += ["logger.tensorboard=false", "logger.pictures=false", "logger.progress=false"]
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        composed = compose("train", ["experiment=spoken_digits", *words])
    config = check(OmegaConf.to_container(composed, resolve=True))
    assert config["dt_ms"] == config["data"]["bin_ms"]
    folder, result = train(config, tmp_path / "run")
    assert result["step"] == 2
    rates = {name: rate for name, rate in result["test"].items() if name.startswith("rate_hz/")}
    assert len(rates) == 3 and min(rates.values()) > 0, "there must be spikes"
    assert "validation" not in result


def counts_of(n, rng, *, shuffled=False):
    """Return trials whose class is the channel with the most spikes, at random times."""
    y = np.arange(n) % 3
    x = rng.poisson(0.3, (n, 10, 4)) + (rng.uniform(size=(n, 10, 4)) < 0.8) * (np.arange(4) == y[:, None, None])
    return st.Split(x, np.full(n, 10), rng.permutation(y) if shuffled else y)


def test_the_baseline_knows_counts_and_nothing_else(run):
    """Where counts tell the classes apart it does, and where labels are random it stays at chance."""
    rng = np.random.default_rng(1)
    train, test = counts_of(300, rng), counts_of(300, rng)
    assert run.logistic_regression(st.Dataset("counts", train, test, ("a", "b", "c"))) > 0.95
    train, test = counts_of(300, rng, shuffled=True), counts_of(300, rng, shuffled=True)
    assert abs(run.logistic_regression(st.Dataset("chance", train, test, ("a", "b", "c"))) - 1 / 3) < 0.12


def test_the_table_shows_every_fold_beside_its_baseline(run):
    splits = [
        {"held_out_speaker": k, "baseline": 0.5 + (k or 0) / 100, "test_accuracy": [a, a + 0.02], "train_s": [1.0, 2.0]}
        | {"seeds": [0, 1]}
        for k, a in zip(run.SPLITS, [0.96, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95], strict=True)
    ]
    provenance = {"time": "2026-01-31T12:00:00", "python": "3.12", "versions": {"jax": "1", "flax": "2"}}
    text = run.table({"splits": splits, "parameters": 1234, "command": "x", "cpu": "y", "provenance": provenance})
    rows = [line for line in text.splitlines() if line.startswith("| speaker ")]
    assert [row.split(" | ")[0] for row in rows] == [f"| speaker {k}" for k in range(6)]
    assert rows[5].endswith("| 95.0 % | 97.0 % | 96.0 % | 55.0 % |")
    assert "| mean of the six speakers | 82.5 % | 84.5 % | 83.5 % | 52.5 % |" in text
    assert "83.50 % ± 1.41" in text and "97.00 % ± 1.41" in text


def test_the_page_shows_the_results_that_are_there(run):
    file = FOLDER / "results.json"
    if not file.is_file():
        pytest.skip("there are no results yet: python experiments/spoken_digits/run.py")
    assert run.table(json.loads(file.read_text())) in (FOLDER / "README.md").read_text()
