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
from spiketrain.layers.linear import linear
from spiketrain.layers.norm import BatchNorm
from spiketrain.layers.readout import PopulationReadout
from spiketrain.layers.sew import SEW
from spiketrain.models.sequential import Sequential
from spiketrain.models.spiking_net import SpikingNet
from spiketrain.regularizers import firing_rates, spike_counts
from spiketrain.state import SpikeTrain
from spiketrain.training import state
from spiketrain.training.aim import AimAtRate

T, B, N = 40, 8, 10
RNG = np.random.default_rng(0)
MASK = np.arange(T)[:, None] < RNG.integers(10, T + 1, B)
X = jnp.asarray((RNG.random((T, B, N)) < 0.2) * MASK[..., None], jnp.float32)
LIF = partial(spiketrain.LIF, tau=10.0)
LAYERS = {
    "fc1": partial(linear, features=30, scale=0.01),
    "spikes1": LIF,
    "drop": partial(Dropout, rate=0.2),
    "block": partial(SEW, layers={"fc": partial(linear, features=30), "norm": BatchNorm, "spikes": LIF}),
}


@pytest.fixture(autouse=True, scope="module")
def dt():
    with environ.context(dt=2.0 * u.ms):
        yield


def rates(model):
    model.eval()
    model.block.norm.train()  # normalised by this batch, as while it was aimed
    _, seen = nnx.capture(type(model).__call__, SpikeTrain)(model, X, jnp.asarray(MASK))
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
        "block/spikes": "block/norm/scale",
    }
    after, scaled = params(model), {aimed.parameter: aimed.factor for aimed in found.values()}
    for path, value in before.items():
        np.testing.assert_allclose(after[path], value * scaled.get(path, 1.0), rtol=1e-6, err_msg=path)
    assert found["spikes1"].factor > 10
    assert (model.block.norm.mean[...] == 0).all() and int(model.drop.rngs.dropout.count[...]) == 0
    for name, rate in rates(model).items():
        assert rate == pytest.approx(25.0, rel=0.03), name
        assert found[name].rate_hz == pytest.approx(rate, rel=1e-3)


def test_the_neurons_of_a_population_readout_are_the_last_layer():
    readout = partial(PopulationReadout, neuron=LIF, per_class=4, scale=0.01)
    model = Sequential(N, 3, layers=LAYERS, readout=readout, rngs=nnx.Rngs(0))
    model.drop.eval()
    found = aim_at_rate(model, X, jnp.asarray(MASK), rate_hz=25.0)
    assert list(found) == ["spikes1", "block/spikes", "readout/spiking"]
    assert found["readout/spiking"].parameter == "readout/linear/kernel"
    assert rates(model)["readout/spiking"] == pytest.approx(25.0, rel=0.03)


def test_a_layer_that_cannot_fire_is_named():
    model = Sequential(N, 3, layers={"fc1": LAYERS["fc1"], "spikes1": LIF}, rngs=nnx.Rngs(0))
    with pytest.raises(DomainError, match=r"layer spikes1 fires at 0 to 0 Hz, however strong fc1 is: .* silent"):
        aim_at_rate(model, jnp.zeros_like(X))
    model.fc1.bias[...] = jnp.full(30, 100.0)
    with pytest.raises(DomainError, match="it fires by itself"):
        aim_at_rate(model, X)
    with pytest.raises(DomainError, match=r"rate_hz=...\) must lie between 0 and 500"):
        aim_at_rate(model, X, rate_hz=500.0)


def test_a_model_without_a_list_of_layers_is_refused():
    other = nnx.Linear(1, 1, rngs=nnx.Rngs(0))
    layout = SimpleNamespace(state=lambda _: SimpleNamespace(params=0, rest=0), model=lambda *_, **__: other)
    with pytest.raises(ConfigError, match=r"aim_at_rate needs a model that lists its layers, and Linear has no"):
        AimAtRate()._aimed(layout, [], X, MASK)


def test_a_fresh_run_starts_at_the_rate_every_member_by_a_factor_of_its_own():
    def net(seed):
        return SpikingNet(N, 3, hidden=[20], neuron=LIF, recurrent=False, rngs=nnx.Rngs(seed))

    models = [net(0), net(1)]
    states = [state.init(net(seed), optax.sgd(0.1), ema=True) for seed in (0, 1)]
    before, layout = [jnp.stack(pair) for pair in zip(*(leaves for leaves, _ in states), strict=True)], states[0][1]
    split = Split(np.asarray(X).swapaxes(0, 1), MASK.sum(0), np.zeros(B, int))
    trainer = SimpleNamespace(step=0, seed=0, members=2, layout=layout, splits={"train": split}, leaves=before)
    said: list[str] = []
    trainer.encoder, trainer.log = Direct(), SimpleNamespace(say=said.append)
    callback = AimAtRate(rate_hz=25.0, trials=B)
    callback.on_start(trainer)
    changed = {name for name, a, b in zip(layout.names, before, trainer.leaves, strict=True) if a is not b}
    assert changed == {"params/linear/0/kernel", "ema/linear/0/kernel"}
    factors = []
    for k, model in enumerate(models):
        aimed = aim_at_rate(model, X, jnp.asarray(MASK), rate_hz=25.0)["spiking/0"]
        for name in changed:
            np.testing.assert_allclose(
                trainer.leaves[layout.names.index(name)][k], model.linear[0].kernel[...], rtol=1e-4
            )
        assert f"layer spiking/0 starts at {aimed.rate_hz:.3g} Hz" in said[k]
        assert aimed.rate_hz == pytest.approx(25.0, rel=0.03)
        factors.append(aimed.factor)
    assert factors[0] != factors[1]
    trainer.step, scaled = 1, trainer.leaves
    callback.on_start(trainer)  # a resumed run
    assert trainer.leaves is scaled
