"""Weights that are scaled until layers fire at a rate: the rate is met, nothing else changes, what is silent is named."""

from functools import partial
from types import SimpleNamespace

import brainunit as u
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import spiketrain
from spiketrain import environ
from spiketrain.data.dataset import Split
from spiketrain.encoders.direct import Direct
from spiketrain.errors import ConfigError, DomainError
from spiketrain.layers.aim import aim_at_rate
from spiketrain.layers.dropout import Dropout
from spiketrain.layers.linear import linear, recurrent
from spiketrain.layers.norm import BatchNorm
from spiketrain.layers.sew import SEW
from spiketrain.models.sequential import Sequential
from spiketrain.models.spiking_net import SpikingNet
from spiketrain.regularizers import firing_rates, spike_counts
from spiketrain.state import SpikeTrain
from spiketrain.training import state
from spiketrain.training.aim import AimAtRate
from spiketrain.training.run import make_trainer

from runs import small

T, B, N = 40, 8, 10
RNG = np.random.default_rng(0)
MASK = np.arange(T)[:, None] < RNG.integers(10, T + 1, B)
X = jnp.asarray((RNG.random((T, B, N)) < 0.2) * MASK[..., None], jnp.float32)
LIF = partial(spiketrain.LIF, tau=10.0)
LAYERS = {
    "fc1": partial(linear, features=30, scale=0.01),
    "spikes1": LIF,
    "drop": partial(Dropout, rate=0.2),
    "fc2": partial(linear, features=30),
    "norm2": BatchNorm,
    "spikes2": partial(recurrent, neuron=LIF),
    "block": partial(SEW, layers={"fc": partial(linear, features=30), "spikes": LIF}),
}


@pytest.fixture(autouse=True, scope="module")
def dt():
    with environ.context(dt=2.0 * u.ms):
        yield


def rates(model):
    model.eval()
    for _, layer in model.named_layers():  # normalised by this batch, as while it was aimed
        if isinstance(layer, BatchNorm):
            layer.train()
    inputs = (X, MASK) if isinstance(model, Sequential) else (X,)
    _, seen = nnx.capture(type(model).__call__, SpikeTrain)(model, *map(jnp.asarray, inputs))
    trains = {"/".join(map(str, path[:-1])): s.get_value()[0] for path, s in nnx.to_flat_state(seen)}
    return {
        n: float(firing_rates(spike_counts(s, jnp.asarray(MASK)), jnp.asarray(MASK)).mean()) for n, s in trains.items()
    }


def params(model):
    return {
        "/".join(map(str, p)): np.asarray(v.get_raw_value()) for p, v in nnx.to_flat_state(nnx.state(model, nnx.Param))
    }


def test_every_layer_fires_at_the_rate_and_only_what_drives_it_is_scaled():
    model = Sequential(N, 3, layers=LAYERS, rngs=nnx.Rngs(0))
    before = params(model)
    model.drop.eval()
    found = aim_at_rate(model, X, jnp.asarray(MASK), rate_hz=25.0)
    assert {name: aimed.parameter for name, aimed in found.items()} == {
        "spikes1": "fc1/kernel",
        "spikes2": "norm2/scale",
        "block/spikes": "block/fc/kernel",
    }
    after, scaled = params(model), {aimed.parameter: aimed.factor for aimed in found.values()}
    for path, value in before.items():
        np.testing.assert_allclose(after[path], value * scaled.get(path, 1.0), rtol=1e-6, err_msg=path)
    assert found["spikes1"].factor > 10
    assert (model.norm2.mean[...] == 0).all() and int(model.drop.rngs.dropout.count[...]) == 0
    for name, rate in rates(model).items():
        assert rate == pytest.approx(25.0, rel=0.03), name
        assert found[name].rate_hz == pytest.approx(rate, rel=1e-3)


def test_a_spiking_net_is_aimed_too():
    model = SpikingNet(N, 3, hidden=[20], neuron=LIF, recurrent=False, rngs=nnx.Rngs(0))
    found = aim_at_rate(model, X, jnp.asarray(MASK), rate_hz=25.0)
    assert list(found) == ["spiking/0"]
    assert all(rate == pytest.approx(25.0, rel=0.05) for rate in rates(model).values())


def test_a_layer_that_cannot_fire_is_named():
    model = Sequential(N, 3, layers={"fc1": LAYERS["fc1"], "spikes1": LIF}, rngs=nnx.Rngs(0))
    with pytest.raises(DomainError, match=r"layer spikes1 fires at 0 to 0 Hz, however strong fc1 is: .* silent"):
        aim_at_rate(model, jnp.zeros_like(X))
    model.fc1.bias[...] = jnp.full(30, 100.0)
    with pytest.raises(DomainError, match="it fires by itself"):
        aim_at_rate(model, X)
    with pytest.raises(DomainError, match=r"rate_hz=...\) must lie between 0 and 500"):
        aim_at_rate(model, X, rate_hz=500.0)


def test_a_run_starts_at_the_rate_and_a_resumed_one_goes_on(tmp_path, data):
    callbacks = {"aim_at_rate": {"rate_hz": 60.0, "trials": 15}}
    config = small(data, trainer__ema_decay=0.5, callbacks=callbacks)
    trainer = make_trainer(config, tmp_path)
    before, said = trainer.leaves, []
    trainer.log = SimpleNamespace(say=said.append)
    trainer.tell("on_start")
    changed = {
        name: (np.asarray(old), np.asarray(new))
        for name, old, new in zip(trainer.layout.names, before, trainer.leaves, strict=True)
        if new is not old
    }
    assert set(changed) == {"params/linear/0/kernel", "ema/linear/0/kernel"}
    for old, new in changed.values():
        np.testing.assert_allclose(new, old * (new.flat[0] / old.flat[0]), rtol=1e-5)
        assert (new != old).any()
    assert "layer spiking/0 starts at" in said[0] and "linear/0/kernel times" in said[0]
    trainer.step, scaled = 1, trainer.leaves
    trainer.tell("on_start")
    assert trainer.leaves is scaled


def test_a_model_without_a_list_of_layers_is_refused():
    other = nnx.Linear(1, 1, rngs=nnx.Rngs(0))
    layout = SimpleNamespace(state=lambda _: SimpleNamespace(params=0, rest=0), model=lambda *_, **__: other)
    with pytest.raises(ConfigError, match=r"aim_at_rate needs a model that lists its layers, and Linear has no"):
        AimAtRate()._aimed(layout, [], X, MASK)


def test_every_member_of_an_ensemble_gets_a_factor_of_its_own():
    models = [Sequential(N, 3, layers={"fc1": LAYERS["fc1"], "spikes1": LIF}, rngs=nnx.Rngs(seed)) for seed in (0, 1)]
    states = [state.init(model, optax.sgd(0.1)) for model in models]
    leaves, layout = [jnp.stack(pair) for pair in zip(*(leaves for leaves, _ in states), strict=True)], states[0][1]
    split = Split(np.asarray(X).swapaxes(0, 1), MASK.sum(0), np.zeros(B, int))
    trainer = SimpleNamespace(step=0, seed=0, members=2, layout=layout, splits={"train": split}, leaves=leaves)
    trainer.encoder, trainer.log = Direct(), SimpleNamespace(say=lambda _: None)
    AimAtRate(rate_hz=25.0, trials=B).on_start(trainer)
    kernels = layout.names.index("params/fc1/kernel")
    factors = []
    for k, model in enumerate(models):
        aimed = aim_at_rate(model, X, jnp.asarray(MASK), rate_hz=25.0)["spikes1"]
        np.testing.assert_allclose(trainer.leaves[kernels][k], model.fc1.kernel[...], rtol=1e-4)
        factors.append(aimed.factor)
    assert factors[0] != factors[1]
