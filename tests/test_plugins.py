"""A user's own package brings a model and a data set, from an empty folder and without a change to ours."""

import json

import pytest
import yaml

from runs import ROOT, command, refused

PACKAGE = """
import numpy as np
import spiketrain as st
from flax import nnx


@st.register("model", "mynet")
class MyNet(nnx.Module):
    def __init__(self, n_in, n_out, *, width: int = 6, tau_ms: float = 10.0, rngs):
        self.fc1 = nnx.Linear(n_in, width, rngs=rngs)
        self.hidden = st.LIF(width, tau=tau_ms)
        self.fc2 = nnx.Linear(width, n_out, rngs=rngs)
        self.readout = st.LeakyIntegrator(n_out)

    def __call__(self, x):
        return self.readout(self.fc2(self.hidden(4.0 * self.fc1(x))))


@st.register("data", "mydata")
def mydata(*, trials: int = 12, seed: int = 0):
    rng = np.random.default_rng(seed)
    y = np.arange(trials) % 3
    split = st.Split(rng.normal(size=(trials, 5, 2)) + y[:, None, None], np.full(trials, 5), y)
    return st.Dataset("mine", split, split, ("a", "b", "c"))
"""
EXPERIMENT = """
# @package _global_
defaults:
  - override /model: mynet
  - override /data: mydata
  - override /logger: quiet
name: mine
model: {tau_ms: 12.0}
data: {trials: 30}
trainer: {epochs: 2, batch_size: 5, validation_fraction: 0.25}
"""
RUN = [
    "plugins=[mypkg]",
    "model=mynet",
    "data=mydata",
    "trainer.batch_size=5",
    "trainer.epochs=2",
    "trainer.validation_fraction=0.25",
    "logger=quiet",
]


@pytest.fixture
def folder(tmp_path):
    """An empty folder with a package in it."""
    (tmp_path / "mypkg").mkdir()
    (tmp_path / "mypkg" / "__init__.py").write_text(PACKAGE)
    return tmp_path


def test_an_own_model_data_set_and_experiment_train_resume_and_evaluate(folder):
    experiment = folder / "conf" / "experiment"
    experiment.mkdir(parents=True)
    (experiment / "mine.yaml").write_text(EXPERIMENT)
    words = ["--config-dir", "conf", "experiment=mine", "plugins=[mypkg]", "model.width=4", "hydra.run.dir=run"]
    command("train", *words, cwd=folder, check=True)
    config = yaml.safe_load((folder / "run" / "config.yaml").read_text())
    assert config["model"] == {"name": "mynet", "width": 4, "tau_ms": 12.0} and config["name"] == "mine"
    assert config["data"] == {"name": "mydata", "trials": 30, "seed": 0} and config["plugins"] == ["mypkg"]
    wanted = json.loads((folder / "run" / "result.json").read_text())["test"]

    assert "add `--plugins mypkg`" in refused(command("evaluate", "run", cwd=folder))
    command("evaluate", "run", "--plugins", "mypkg", "--json", "m.json", cwd=folder, check=True)
    assert json.loads((folder / "m.json").read_text())["metrics"] == wanted

    assert "add `plugins=[mypkg]`" in refused(command("train", "resume=run", cwd=folder))
    command("train", "resume=run", "plugins=[mypkg]", "trainer.epochs=3", cwd=folder, check=True)
    assert json.loads((folder / "run" / "result.json").read_text())["step"] == 12


@pytest.mark.parametrize(
    "words, message",
    [
        (["model.widht=4"], "model.widht is no key of model (mynet). Did you mean `model.width`?"),
        (["model.width=x"], "model.width must be a whole number, got 'x'"),
        (["data=mydat"], "data=mydat: there is no such option. Did you mean `mydata`?"),
        (["experiment=vowels"], "data.differences is no key of data (mydata)"),
    ],
)
def test_its_mistakes_are_answered_like_ours(folder, words, message):
    assert message in refused(command("train", *RUN, *words, cwd=folder))
    assert not (folder / "runs").exists()


def test_its_names_are_seen_in_the_composed_configuration(folder):
    job = yaml.safe_load(command("train", *RUN, "--cfg", "job", cwd=folder, check=True).stdout)
    assert job["model"] == {"name": "mynet", "width": 6, "tau_ms": 10.0}


def test_without_the_plugin_its_names_are_unknown(folder):
    assert "model=mynet: there is no such option" in refused(command("train", "model=mynet", cwd=folder))


def test_ours_is_untouched():
    assert not any("mynet" in path.read_text() for path in (ROOT / "conf").rglob("*.yaml"))
