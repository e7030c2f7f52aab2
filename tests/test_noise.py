"""Random numbers inside a model: fresh for every call, step, row and neuron, and repeatable from a seed."""

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import spiketrain as st

from helpers import active, by_hand, equal, record

pytestmark = pytest.mark.usefixtures("dt")

T, B, N = 30, 3, 16
X = 1.5 * np.ones((T, B, N), np.float32)


class Noisy(st.Dynamics):
    """A LIF neuron with white noise added to its current."""

    def __init__(self, rngs, **parameters):
        self.neuron, self.rngs, self.in_size = st.LIF(N, tau=5.0, rngs=rngs, **parameters), rngs.fork(), (N,)

    def update(self, x):
        return self.neuron.update(x + 2.0 * jax.random.normal(self.rngs.noise(), x.shape))


def random_start(seed=0):
    return st.LIF(N, tau=5.0, V_initializer=st.Uniform(0.0, 0.95), rngs=nnx.Rngs(seed))


MODELS = {"noise in update": lambda seed=0: Noisy(nnx.Rngs(seed)), "random start": random_start}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


def V(model, x=X):
    spikes, trains = record(model, x)
    active(spikes)
    (train,) = [train for name, train in trains.items() if name.endswith("V")]
    return np.asarray(train)


@every_model
def test_every_call_draws_anew_and_equal_models_draw_the_same(make):
    a, b, other = make(), make(), make(seed=1)
    first, second = V(a), V(a)
    assert not np.array_equal(first, second)
    equal(V(b), first, rtol=0)
    equal(V(b), second, rtol=0)
    assert not np.array_equal(V(other), first)


@every_model
def test_rows_and_neurons_differ(make):
    first = V(make())[0]
    assert len(np.unique(first)) == first.size


def test_steps_differ():
    passive = Noisy(nnx.Rngs(0), V_th=1e6, R=1e-3)
    _, trains = record(passive, X)
    noise = np.asarray(trains["neuron/V"][1:] - trains["neuron/V"][:-1] * np.exp(-0.2))
    assert len(np.unique(noise.round(9))) > 0.99 * noise.size


def test_noise_equals_that_of_stepping_by_hand():
    hand, unrolled = Noisy(nnx.Rngs(0)), Noisy(nnx.Rngs(0))
    for _ in range(2):
        expected = by_hand(hand, X, batch=(B,))
        active(expected)
        equal(unrolled(X), expected, rtol=0)


@every_model
def test_the_count_of_random_numbers_is_written_back(make):
    def counts(model):
        return [int(v.get_raw_value()) for _, v in nnx.to_flat_state(nnx.state(model, nnx.RngCount))]

    model = make()
    before = sum(counts(model))
    model(X)
    after = sum(counts(model))
    model(X)
    assert after > before and sum(counts(model)) - after == after - before
    assert not nnx.to_flat_state(nnx.state(model, st.ShortTermState))


@every_model
def test_noise_is_fresh_under_nnx_jit_and_with_leaves_in_and_leaves_out(make):
    expected_model = make()
    expected = [expected_model(X) for _ in range(3)]
    assert not np.array_equal(expected[0], expected[1])

    model, run = make(), nnx.jit(lambda model, x: model(x))
    for spikes in expected:
        equal(run(model, X), spikes, rtol=0)

    graphdef, leaves = nnx.split(make())

    @jax.jit
    def step(leaves, x):
        model = nnx.merge(graphdef, leaves, copy=True)
        return model(x), nnx.state(model)

    for spikes in expected:
        actual, leaves = step(leaves, X)
        equal(actual, spikes, rtol=0)


@every_model
def test_a_trial_in_pieces_draws_what_the_whole_draws(make):
    whole, pieces, streamed = make(), make(), make()
    for _ in range(2):
        expected = whole(X)
        active(expected)
        equal(st.unroll_in_pieces(pieces, X, steps=8), expected, rtol=0)
        first, carry = st.advance(streamed, None, X[:11])
        second, _ = st.advance(streamed, carry, X[11:])
        equal(jnp.concatenate([first, second]), expected, rtol=0)


@every_model
def test_noise_goes_on_under_the_gradient(make):
    """A model that is rebuilt from leaves inside hands its counts out."""
    model = make()
    graphdef, rest = nnx.split(model)

    def loss(x, rest):
        model = nnx.merge(graphdef, rest, copy=True)
        spikes = model(x)
        return spikes.sum(), (spikes, nnx.state(model))

    gradient = jax.jit(jax.grad(loss, has_aux=True))
    slope, (first, rest) = gradient(X, rest)
    _, (second, rest) = gradient(X, rest)
    assert not np.array_equal(first, second) and np.all(np.isfinite(slope)) and np.any(slope)


def test_a_random_start_lies_where_it_was_drawn_from():
    start = random_start()
    start.init_state((1000,))
    V0 = np.asarray(start.V.value)
    assert 0 <= V0.min() < 0.01 and 0.94 < V0.max() < 0.95 and abs(V0.mean() - 0.475) < 0.01


@pytest.mark.parametrize(
    "draw",
    [st.Uniform(1.0 * u.nS, 0.002 * u.uS), st.Normal(1.5 * u.nS, 0.1 * u.nS), st.Sparse(0.5, 2.0 * u.nS)],
    ids=repr,
)
def test_initialisers_carry_their_unit_into_the_weights(draw):
    weights = [st.Dense(30, 20, weight=wrap(draw), rngs=nnx.Rngs(0)).weight for wrap in (lambda w: w, st.Trainable)]
    for weight in weights:
        assert weight.value.unit == u.nS
        drawn = np.asarray(weight.value.mantissa)
        assert 0.9 < drawn.mean() < 1.6 and drawn.max() <= 2.1
    equal(weights[0].value, weights[1].value, rtol=0)
    assert hash(draw) == hash(type(draw)(*draw_again(draw))) and draw == type(draw)(*draw_again(draw))


def draw_again(draw):
    """Return the arguments that make an equal initialiser."""
    first, second, unit = draw._key
    return (first, second * unit) if isinstance(draw, st.Sparse) else (first * unit, second * unit)


def test_initialisers_draw_what_they_promise():
    key = jax.random.key(0)
    normal = st.Normal(2.0, 0.5)(key, (200, 200), jnp.float32)
    assert abs(normal.mean() - 2.0) < 0.02 and abs(normal.std() - 0.5) < 0.02
    sparse = st.Sparse(0.2, 0.6)(key, (200, 200), jnp.float32)
    assert set(np.unique(sparse)) == {np.float32(0.0), np.float32(0.6)} and abs((sparse > 0).mean() - 0.2) < 0.02
    for draw in (st.Normal(2.0, 0.5), st.Uniform(0.0, 1.0), st.Sparse(0.5, 1.0)):
        np.testing.assert_array_equal(draw(key, (3,)), draw(key, (3,)))
        assert draw(key, (3,)).dtype == jnp.result_type(float)
