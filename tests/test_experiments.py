"""Every experiment composes, builds, and trains: two steps, on files of its data set's layout with a few trials."""

import importlib.util
import json
import math
import re
import sys

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from event_files import write_digits, write_gesture, write_heidelberg
from flax import nnx
from test_config import EXPERIMENTS, checked
from test_idx import write_family

from spiketrain import environ, metrics
from spiketrain.config import build
from spiketrain.config.check import check
from spiketrain.data.event_split import EventSplit
from spiketrain.encoders.base import channels_of
from spiketrain.training import step
from spiketrain.training.run import make_trainer

from runs import ROOT, record

pytestmark = pytest.mark.usefixtures("one_ms")

# Each compiles one step; the others have the model of one of these, or of an experiment that other tests train.
TRAINED = {
    "fashion_rows": {},
    "fashion_conv": {},
    "randman": {"trials": 2, "test_trials": 1, "steps": 10},
}


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    """A folder with every data set that is read from files, of 16 and 5 trials."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("mnist", "fashion-mnist"):
        write_family(folder / name, n=(16, 5), zipped=False)
    write_digits(folder / "spoken-digits")
    write_heidelberg(folder / "shd", ("shd_train", "shd_test"), classes=20)
    write_heidelberg(folder / "ssc", ("ssc_train", "ssc_valid", "ssc_test"), classes=35)
    write_gesture(folder / "gesture")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPIKETRAIN_DATA", str(folder))
        yield folder


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_builds_its_model(experiment, data_folder):
    config = checked(f"experiment={experiment}")
    data, encoder = build.build("data", config["data"]), build.build("encoder", config["encoder"])
    n_in = channels_of(encoder, data.n_channels)
    assert nnx.state(build.build("model", config["model"], n_in, data.n_classes, rngs=nnx.Rngs(0)), nnx.Param)
    build.optimizer(config, 10)
    build.build("loss", config["loss"])


@pytest.mark.parametrize("experiment", TRAINED)
def test_an_experiment_takes_two_steps_with_active_neurons_and_a_finite_loss(experiment, data_folder):
    config = checked(f"experiment={experiment}")
    config["data"] |= TRAINED[experiment]
    config["trainer"] |= {"batch_size": 8, "eval_batch_size": 16, "epochs": 1, "validation_fraction": 0.0}
    trainer = make_trainer(check(config), None)
    data, train_step = step.on_devices(trainer.splits["train"], trainer.mesh), trainer.functions.train_step()
    leaves, before = trainer.leaves, jax.tree.map(np.array, trainer.layout.state(trainer.leaves).params)
    for _ in range(2):
        leaves, sums = train_step(leaves, data, jnp.arange(16))
    seen = metrics.means([sums])
    rates = [rate for name, rate in seen.items() if name.startswith("rate_hz")]
    assert math.isfinite(seen["loss"]) and rates and min(rates) > 0
    after = trainer.layout.state(leaves).params
    assert all((a != b).any() for a, b in zip(*map(jax.tree.leaves, (before, after)), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["shd", "gesture", "ssc", "shd_adaptive", "ssc_adaptive"])
def test_a_recipe_for_event_files_runs_from_the_files_to_a_result(experiment, data_folder, tmp_path):
    """Unchanged but for sizes: one trial of a class is there, and none for validation unless in a file of its own."""
    config = checked(f"experiment={experiment}", "logger=quiet")
    config["trainer"] |= {"batch_size": 8, "eval_batch_size": 8, "epochs": 1, "log_every_steps": 1}
    config["trainer"]["validation_fraction"] = 0.0
    if experiment == "gesture":
        config["data"]["steps"] = 2
    with environ.context(dt=config["dt_ms"] * u.ms):
        trainer = make_trainer(check(config), tmp_path)
        assert isinstance(trainer.splits["train"], EventSplit)
        result = trainer.fit()
    lines = record(tmp_path)
    rates = [max(line.get(name, 0) for line in lines) for name in result["test"] if name.startswith("rate_hz")]
    assert math.isfinite(result["test"]["loss"]) and len(rates) > 1 and min(rates) > 0
    assert any(line["split"] == "deployed" for line in lines) == (experiment in ("shd", "ssc"))
    assert {"shd": 20, "ssc": 35, "ges": 11}[experiment[:3]] == len(trainer.classes)
    if trainer.splits["train"].events.size == (700,):
        assert trainer.splits["train"].shape[1] == 140


def test_every_seed_of_randman_draws_manifolds_of_its_own():
    assert [checked("experiment=randman", f"seed={seed}")["data"]["seed"] for seed in (0, 3)] == [0, 3]


# What is written about them


@pytest.fixture
def ledger(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    spec = importlib.util.spec_from_file_location("ledger", ROOT / "scripts" / "ledger.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_ledger_is_what_the_results_files_say(ledger):
    assert ledger.LEDGER.read_text() == ledger.page()


def test_a_score_stands_beside_its_aim(ledger):
    assert [ledger.beside_aim(score, 92.5) for score in (92.5, 91.44)] == ["92.5 %, reached", "92.5 %, 1.06 below"]
    assert ledger.beside_aim(91.44, None) == ""


def test_every_results_file_with_a_score_has_its_row_and_every_experiment_its_page(ledger, tmp_path, monkeypatch):
    results = json.loads((ROOT / "experiments" / "vowels" / "results.json").read_text())
    monkeypatch.setattr(ledger, "LEDGER", tmp_path / "README.md")
    model = checked("experiment=fashion_conv")["model"]
    changes = {"a": {}, "b": {"config": results["config"] | {"model": model}, "mean_test_accuracy": 0.5}, "c": None}
    for name, change in changes.items():
        (tmp_path / name).mkdir()
        content = {"runs": []} if change is None else results | {"experiment": name} | change
        (tmp_path / name / "results.json").write_text(json.dumps(content))
    rows = [line for line in ledger.page().splitlines() if line.startswith("| [")]
    assert len(rows) == 2 and "| 50.00 % ± 0.12 |  | 5 |" in rows[1] and "99.24 % ± 0.12" in rows[0]
    assert "| conv 32, batch norm, lif, conv 64, batch norm, lif, dropout, linear 256, batch norm, lif |" in rows[1]
    for experiment in EXPERIMENTS:
        page = ROOT / "experiments" / re.sub("_(without|adaptive|short)$", "", experiment) / "README.md"
        assert experiment == "none" or page.is_file(), experiment
