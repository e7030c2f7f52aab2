"""Stock flax layers map trains to trains as they are: weights, normalisation, dropout, convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import spiketrain as st

from helpers import active, equal

pytestmark = pytest.mark.usefixtures("dt")

T, B, N = 25, 4, 6
X = np.random.default_rng(0).normal(1.0, 2.0, (T, B, N)).astype(np.float32)


class Net(nnx.Module):
    def __init__(self, seed=0):
        rngs = nnx.Rngs(seed)
        self.fc1 = nnx.Linear(N, 16, rngs=rngs)
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        self.hidden = st.LIF(16, tau=5.0)
        self.dropout = nnx.Dropout(0.5, broadcast_dims=(0,), rngs=rngs)
        self.fc2 = nnx.Linear(16, 3, rngs=rngs)
        self.readout = st.LeakyIntegrator(3, tau=10.0)

    def spikes(self, x):
        return self.hidden(3.0 * self.norm(self.fc1(x)))

    def __call__(self, x):
        return self.readout(self.fc2(self.dropout(self.spikes(x))))


def test_a_linear_layer_over_a_train_is_that_layer_at_every_step():
    linear = nnx.Linear(N, 3, rngs=nnx.Rngs(0))
    equal(linear(X), jnp.stack([linear(x) for x in X]), rtol=1e-6)


def test_batch_norm_normalises_over_time_and_batch_and_keeps_its_statistics():
    model = Net()
    y = model.fc1(X)
    normed = model.norm(y)
    np.testing.assert_allclose(np.mean(normed, (0, 1)), np.zeros(16), atol=1e-5)
    np.testing.assert_allclose(np.std(normed, (0, 1)), np.ones(16), atol=1e-3)
    equal(model.norm.mean[...], 0.01 * np.mean(y, (0, 1)), rtol=1e-4)  # a momentum of 0.99, from zero


def test_statistics_are_updated_once_per_call_and_only_in_training():
    model = Net()
    run = nnx.jit(lambda model, x: model(x))
    active(model.spikes(X))
    seen = []
    for _ in range(3):
        run(model, X)
        seen.append(np.asarray(model.norm.mean[...]))
    assert not np.array_equal(seen[0], seen[1]) and not np.array_equal(seen[1], seen[2])
    model.eval()
    first = run(model, X)
    equal(run(model, X), first, rtol=0)
    equal(model.norm.mean[...], seen[2], rtol=0)


def test_dropout_drops_a_unit_for_the_whole_trial_and_draws_anew_for_the_next():
    model = Net()
    spikes = model.spikes(X)
    active(spikes)
    masks = []
    for _ in range(2):
        kept = np.asarray(model.dropout(jnp.ones_like(spikes)))
        assert set(np.unique(kept)) == {0.0, 2.0} and np.array_equal(kept, np.broadcast_to(kept[:1], kept.shape))
        masks.append(kept[0])
    assert not np.array_equal(masks[0], masks[1]) and not np.array_equal(masks[0][0], masks[0][1])


def test_the_whole_net_trains_and_leaves_only_what_outlives_a_trial():
    model = Net()
    kinds = {type(v) for _, v in nnx.to_flat_state(nnx.state(model))}

    @nnx.jit
    def step(model, x):
        graphdef, params, rest = nnx.split(model, nnx.Param, ...)

        def loss(params):
            model = nnx.merge(graphdef, params, rest, copy=True)
            return jnp.mean(model(x)[-1] ** 2), nnx.state(model, nnx.Not(nnx.Param))

        (value, rest), slope = jax.value_and_grad(loss, has_aux=True)(params)
        nnx.update(model, rest)
        return value, slope

    (first, slope), (second, _) = step(model, X), step(model, X)
    assert float(first) != float(second)  # another dropout mask
    for path, leaf in nnx.to_flat_state(slope):
        assert np.all(np.isfinite(leaf[...])), path
    assert all(np.any(layer["kernel"]) for name, layer in nnx.to_pure_dict(slope).items() if name in ("fc1", "fc2"))
    assert {type(v) for _, v in nnx.to_flat_state(nnx.state(model))} == kinds


def test_an_evaluated_net_runs_in_pieces():
    model = Net()
    model(X)
    model.eval()
    whole = model(X)
    assert np.ptp(whole) > 0
    equal(st.unroll_in_pieces(model, X, steps=10), whole, rtol=1e-5)


def test_a_convolution_over_images_takes_trains():
    images = np.random.default_rng(0).uniform(0.0, 1.0, (T, 2, 6, 6, 1)).astype(np.float32)
    conv = nnx.Conv(1, 4, (3, 3), rngs=nnx.Rngs(0))
    spikes = st.LIF((6, 6, 4), tau=3.0)(6.0 * conv(images))
    active(spikes)
    assert spikes.shape == (T, 2, 6, 6, 4)
    equal(conv(images), jnp.stack([conv(image) for image in images]), rtol=1e-5)


def test_a_sequential_of_stock_layers_and_neurons_is_a_model():
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(
        nnx.Linear(N, 16, rngs=rngs),
        st.LIF(16, tau=4.0, V_th=0.5),
        nnx.LayerNorm(16, rngs=rngs),
        st.ALIF(16, tau=4.0),
        jax.nn.relu,
    )
    active(model(X))
    first, carry = st.advance(model, None, X[:11])
    second, _ = st.advance(model, carry, X[11:])
    equal(jnp.concatenate([first, second]), model(X), rtol=0)
