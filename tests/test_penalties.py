"""Penalties on what hidden layers do: the same from whole trials and from their pieces, and in the loss of a run."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from spiketrain import hidden
from spiketrain.errors import ConfigError
from spiketrain.losses import CrossEntropy
from spiketrain.regularizers import firing_rates, membrane_bounds, rate_bounds, spike_counts, synchrony
from spiketrain.state import SpikeTrain, StateTrain
from spiketrain.training import run
from spiketrain.unroll import unroll_in_pieces

from runs import small, write_data

pytestmark = pytest.mark.usefixtures("one_ms")

MODELS = {
    "spiking_net": {"name": "spiking_net", "hidden": [8, 6], "input_scale": 6.0, "dropout": 0.0},
    "sequential": {
        "name": "sequential",
        "layers": {
            "input": {"name": "linear", "features": 8, "scale": 6.0},
            "norm": {"name": "batch_norm"},
            "cells": {"name": "recurrent", "neuron": {"name": "alif"}},
            "last": {"name": "lif", "R": 20.0},
        },
        "readout": {"name": "leaky_integrator"},
    },
}
WATCHED = hidden.Watched(True, (-0.2, 0.4))


@pytest.fixture
def path(tmp_path):
    write_data(tmp_path / "data.npz")
    return tmp_path / "data.npz"


def trainer_of(path, model="spiking_net", **changes):
    return run.make_trainer(small(path, model=MODELS[model], encoder={"name": "direct", "noise": 0.0}, **changes), None)


def model_of(trainer):
    state = trainer.layout.state(trainer.leaves)
    return trainer.layout.model(state.params, state.rest, training=False)


def batch(seed=0):
    """Return an input, and a mask in which one trial has no step at all."""
    rng = np.random.default_rng(seed)
    return jnp.asarray(5 * rng.normal(size=(9, 4, 3)), jnp.float32), jnp.arange(9)[:, None] < jnp.array([9, 4, 0, 7])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("pieces", [None, 2])
def test_what_layers_do_is_that_of_their_trains_in_pieces_or_not(path, name, pieces):
    model, (x, mask) = model_of(trainer_of(path, name)), batch()
    _, spikes, states = nnx.capture(type(model).__call__, SpikeTrain, StateTrain)(model, x)
    potentials = {p[:-1]: t.get_value()[0] for p, t in nnx.to_flat_state(states) if str(p[-1]).endswith("V")}

    def forward(model, x, mask):
        return hidden.forward(model, x, mask, watched=WATCHED)

    if pieces is None:
        out, sums = forward(model, x, mask)
    else:
        out, sums = unroll_in_pieces(model, x, mask, steps=pieces, method=forward)
    layers = hidden.of_batch(sums, mask)
    trains = {path[:-1]: train.get_value()[0] for path, train in nnx.to_flat_state(spikes)}
    assert len(layers) == len(trains) == 2 and out.shape == (9, 4, 2)
    for path_of, train in trains.items():
        layer = layers["/".join(map(str, path_of))]
        np.testing.assert_allclose(layer.rates, firing_rates(spike_counts(train, mask), mask), rtol=1e-6)
        np.testing.assert_allclose(layer.synchrony, synchrony(train, mask), rtol=1e-4)
        low, high = WATCHED.membrane
        wanted = membrane_bounds(potentials[path_of], mask, lower=low, upper=high)
        np.testing.assert_allclose(layer.membrane, wanted, rtol=1e-5)
    assert max(float(layer.synchrony) for layer in layers.values()) > 0
    assert max(float(layer.membrane) for layer in layers.values()) > 0


def test_a_trial_without_a_step_counts_in_no_mean():
    train = jnp.asarray(np.random.default_rng(0).random((9, 4, 5)) < 0.4, jnp.float32)
    _, mask = batch()
    some = np.array([0, 1, 3])
    np.testing.assert_allclose(synchrony(train, mask), synchrony(train[:, some], mask[:, some]), rtol=1e-6)


def test_the_penalty_is_the_weighted_sum_over_layers():
    rates = jnp.array([0.0, 100.0, 300.0])
    layers = {
        "a": hidden.Hidden(rates, jnp.array(0.5), jnp.array(0.25)),
        "b": hidden.Hidden(rates, jnp.array(0.1), jnp.array(2.0)),
    }
    loss = CrossEntropy(rate_weight=3.0, rate_upper_hz=200.0, synchrony_weight=2.0, membrane_weight=4.0)
    wanted = 2 * 3 * float(rate_bounds(rates, lower_hz=0.0, upper_hz=200.0)) + 2 * 0.6 + 4 * 2.25
    np.testing.assert_allclose(loss.penalty(layers), wanted, rtol=1e-6)
    assert loss.watched() == hidden.Watched(True, (-1.0, 1.0))
    assert CrossEntropy(rate_weight=1.0).watched() == hidden.Watched() and float(CrossEntropy().penalty(layers)) == 0


def test_a_run_with_penalties_ends_with_less_of_what_they_measure_and_says_how_much(path):
    ends = []
    for weight in (30.0, 1e-9):
        bounds = {"membrane_weight": weight, "membrane_lower": -0.1, "membrane_upper": 0.3}
        loss = {"name": "cross_entropy", "synchrony_weight": weight, **bounds}
        optimizer = {"name": "adamw", "learning_rate": 0.05}
        trainer = trainer_of(path, loss=loss, optimizer=optimizer, trainer__epochs=40)
        trainer.fit()
        ends.append(trainer.evaluate("train"))
    for measure in ("synchrony", "membrane"):
        names = [name for name in ends[0] if name.startswith(f"{measure}/")]
        assert names == [f"{measure}/spiking/0", f"{measure}/spiking/1"]
        less, more = (sum(end[name] for name in names) for end in ends)
        assert 0 < less < 0.7 * more, (measure, less, more)


def test_what_is_not_watched_is_not_measured(path):
    trainer = trainer_of(path)
    assert not [name for name in trainer.evaluate("train") if name.startswith(("synchrony", "membrane"))]


def test_a_layer_without_a_potential_is_refused_where_potentials_are_bounded(path, monkeypatch):
    model, (x, mask) = model_of(trainer_of(path)), batch()
    monkeypatch.setattr(hidden, "_potentials", lambda states: {})
    with pytest.raises(ConfigError, match=r"loss\.membrane_weight: layer spiking/0 has no membrane potential V"):
        hidden.forward(model, x, mask, watched=WATCHED)
