"""Learned delays in a run: the width that an epoch has, a resumed run, the rounded network; the task made for them."""

import json

import brainunit as u
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import spiketrain as st
from spiketrain.config import build
from spiketrain.config.check import check
from spiketrain.errors import ConfigError, DataError
from spiketrain.training.callbacks import Callback
from spiketrain.training.checkpoint import steps_in
from spiketrain.training.run import make_trainer

from helpers import bare
from runs import record, small

pytestmark = pytest.mark.usefixtures("one_ms")

LAYERS = {
    "delays": {"name": "learned_delays", "features": 6, "longest_ms": 5.0, "scale": 4.0},
    "spikes": {"name": "recurrent_delays", "longest_ms": 2.0, "neuron": {"name": "lif", "tau_ms": 3.0}},
}


def test_the_width_falls_to_its_end_and_then_delays_are_rounded():
    widths = [
        st.AnnealDelays(start_steps=8.0, final_steps=0.5, fraction=0.5, rounded=0.25).width(e / 8) for e in range(9)
    ]
    np.testing.assert_allclose(widths[:6], [8.0, 4.0, 2.0, 1.0, 0.5, 0.5])
    assert widths[6:] == [0.0, 0.0, 0.0]
    assert st.AnnealDelays(fraction=1.0).width(1.0) == 0.5
    for wrong in ({"final_steps": 0.0}, {"final_steps": 13.0}, {"fraction": 0.0}, {"rounded": 0.5}):
        with pytest.raises(ConfigError, match="AnnealDelays"):
            st.AnnealDelays(**wrong)


def widths_of(trainer):
    """Return the widths in a trainer by the path of their layer."""
    model = trainer.layout.evaluation_model(trainer.leaves)
    parts = {"/".join(map(str, path)): module for path, module in nnx.iter_modules(model)}
    return {path: float(m.sigma.get_raw_value()) for path, m in parts.items() if isinstance(m, st.LearnedDelays)}


class Watch(Callback):
    """Keeps the widths and the validation of each epoch."""

    def __init__(self):
        self.seen, self.found = [], []

    def on_evaluation(self, trainer, split, metrics):
        self.found.append(metrics)

    def on_epoch_end(self, trainer, epoch):
        self.seen.append(widths_of(trainer))


def config(data, **more):
    model = {"name": "sequential", "layers": LAYERS}
    callbacks = {"anneal_delays": {"start_steps": 4.0, "final_steps": 1.0, "fraction": 0.5}}
    return small(data, model=model, callbacks=callbacks, **more)


def test_a_run_anneals_all_delays_goes_on_where_it_was_and_is_tested_rounded(data, tmp_path):
    trainer, watch = make_trainer(config(data), tmp_path), Watch()
    trainer.callbacks.append(watch)
    trainer.fit()
    expected = [4.0, 2.0, 1.0, 1.0]  # in each of four epochs
    assert watch.seen == [{"delays": width, "spikes/comm": width} for width in expected]
    assert widths_of(trainer) == {"delays": 0.0, "spikes/comm": 0.0}
    (deployed,) = [r for r in record(tmp_path) if r["split"] == "deployed"]
    assert deployed["accuracy"] == pytest.approx(trainer.evaluate("test")["accuracy"])
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["deployed"] == trainer.evaluate("test") and result["step"] == trainer.step

    again = make_trainer(config(data), tmp_path)
    again.step = trainer.steps_per_epoch
    for callback in again.callbacks:
        callback.on_start(again)
    assert widths_of(again) == watch.seen[1]


def test_what_a_checkpoint_holds_is_what_was_measured_with_it(data, tmp_path):
    trainer, watch = make_trainer(config(data, trainer__keep_best=9), tmp_path), Watch()
    trainer.callbacks.append(watch)
    trainer.fit()
    steps = steps_in(tmp_path / "checkpoints")
    assert len(steps) == len(watch.found) == 4
    for step, widths, found in zip(steps, watch.seen, watch.found, strict=True):
        again = make_trainer(config(data), None)
        again.restore(tmp_path / "checkpoints" / str(step))
        assert widths_of(again) == widths and again.evaluate("validation") == pytest.approx(found)


@pytest.mark.parametrize("every", [None, 1])
def test_a_run_that_is_resumed_ends_as_one_that_was_not(data, tmp_path, every):
    """It stops between two epochs, or within the second."""

    class Stop(Callback):
        def on_checkpoint(self, trainer, folder):
            if trainer.step == trainer.steps_per_epoch + (every or 0):
                raise KeyboardInterrupt

    whole = make_trainer(config(data, trainer__save_every_steps=every), None)
    whole.fit()
    cut = make_trainer(config(data, trainer__save_every_steps=every), tmp_path)
    cut.callbacks.append(Stop())
    with pytest.raises(KeyboardInterrupt):
        cut.fit()
    again = make_trainer(config(data, trainer__save_every_steps=every), tmp_path)
    again.resume()
    assert 0 < again.step < again.total_steps
    again.fit()
    for name, a, b in zip(whole.layout.names, whole.leaves, again.leaves, strict=True):
        assert jnp.array_equal(a, b), name


def test_a_model_without_delays_is_refused(data, tmp_path):
    with pytest.raises(ConfigError, match="no LearnedDelays"):
        make_trainer(small(data, callbacks={"anneal_delays": {}}), None).fit()


# The task


def test_counts_and_times_say_nothing_and_lags_say_everything():
    task = st.load_lags(classes=3, pairs=4, steps=80, rate=0.05, train_trials=600, test_trials=300)
    x, y = task.train.x, task.train.y
    assert set(np.unique(x)) == {0.0, 1.0} and x.shape == (600, 80, 8) and list(np.bincount(y)) == [200] * 3
    rates = np.stack([x[y == c].mean((0, 1)) for c in range(3)])
    assert np.abs(rates - 0.05).max() < 5 * np.sqrt(0.05 / (200 * 80))
    over_time = np.stack([x[y == c].mean((0, 2)) for c in range(3)])
    assert np.abs(over_time - 0.05).max() < 5 * np.sqrt(0.05 / (200 * 8))

    # Spikes that lie a lag apart, for every class, pair and lag: as many as there are first spikes at one lag each.
    first, echo = x[..., :4], x[..., 4:]
    apart = np.stack([(first[:, : 80 - d] * echo[:, d:]).mean(1) for d in range(30)], -1)
    score = np.stack([apart[y == c].mean(0) for c in range(3)])
    assert np.all(score.max(-1) > 0.04) and np.all(np.sort(score, -1)[..., -2] < 0.01)
    lags = score.argmax(-1)
    assert lags.min() >= 5 and lags.max() <= 25 and len(np.unique(lags, axis=0)) == 3
    test = np.stack([(task.test.x[:, : 80 - d, :4] * task.test.x[:, d:, 4:]).mean(1) for d in range(30)], -1)
    votes = np.stack([test[:, range(4), lag].sum(1) for lag in lags], 1)
    assert np.mean(votes.argmax(1) == task.test.y) == 1.0


def test_the_task_is_a_function_of_its_seed():
    a, b, c = (st.load_lags(train_trials=10, test_trials=10, seed=seed).train.x for seed in (1, 1, 2))
    assert np.array_equal(a, b) and not np.array_equal(a, c)
    for wrong in ({"jitter": 6}, {"longest": 4}, {"rate": 1.5}, {"pairs": 0}, {"test_trials": 4}):
        with pytest.raises(DataError, match="load_lags"):
            st.load_lags(**wrong)


# Layers and neurons that a configuration names


def test_every_layer_over_time_is_built_from_its_name():
    layers = {
        "above": {"name": "high_pass", "tau_ms": 8.0, "trainable": ["tau"]},
        "own": {"name": "depthwise_temporal_conv", "steps": 3},
        "conv": {"name": "temporal_conv", "features": 6, "steps": 4},
        "window": {"name": "sliding_psn", "steps": 3, "V_th": 0.3},
        "second": {
            "name": "se_adlif",
            "tau_ms": {"low": 5.0, "high": 25.0},
            "a": {"low": 0.0, "high": 120.0},
            "trainable": ["tau", "a", "R"],
        },
        "turning": {"name": "brf"},
        "complex": {"name": "csilif", "trainable": ["tau", "period", "speed"]},
    }
    section = check({"model": {"name": "sequential", "layers": layers}})["model"]
    net = build.build("model", section, 3, 2, rngs=nnx.Rngs(0))
    assert nnx.eval_shape(net, np.zeros((8, 2, 3))).shape == (8, 2, 2)
    stored = vars(net.second)
    assert (stored["tau"].domain.low, stored["tau"].domain.high) == (5.0, 25.0)
    assert (stored["a"].domain.low, stored["a"].domain.high) == (0.0, 120.0)
    assert stored["R"].domain == st.POSITIVE
    stored["tau"].set_raw_value(stored["tau"].get_raw_value() + 50.0)  # however far an optimizer goes
    assert np.all(bare(net.second.tau, u.ms) <= 25.0)
