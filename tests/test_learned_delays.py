"""What mixes time: one convolution over a trial equals steps, pieces, a sum over connections, and the deployed layer."""

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as some

import spiketrain as st
from spiketrain import causal, environ

from helpers import active, bare, by_hand, equal, gradient

pytestmark = pytest.mark.usefixtures("x64", "dt")

PRE, POST, T, D = 7, 5, 60, 12
RNG = np.random.default_rng(0)
X = RNG.binomial(1, 0.25, (T, 3, PRE)).astype(float)
W, P = RNG.normal(size=(PRE, POST)), RNG.uniform(0.2, D - 0.2, (PRE, POST))
KERNEL = RNG.normal(size=(D, PRE, POST))


def delays(sigma=1.5, **changed):
    given = dict(longest=float(D), weight=st.Trainable(W * u.nA), delay=st.Trainable(P), sigma=sigma) | changed
    return st.LearnedDelays(PRE, POST, **given)


def convolved(x, kernel):
    """Sum over delays, inputs before the trial being zero."""
    y = np.zeros((*x.shape[:-1], kernel.shape[-1]))
    for d in range(min(len(kernel), len(x))):
        y[d:] += x[: len(x) - d] @ kernel[d]
    return y


def gaussian(sigma, dt=1.0):
    """Return the kernels of all connections, written out."""
    k = np.exp(-((dt * np.arange(round(D / dt) + 1).reshape(-1, 1, 1) - P) ** 2) / (2 * sigma**2))
    return W * k / k.sum(0)


def recurrent(neuron=None):
    """Recurrent connections with delays of their own."""
    comm = st.LearnedDelays(PRE, PRE, longest=6.0, weight=st.Trainable(2.0 * nnx.initializers.normal(0.3)(
        jax.random.key(1), (PRE, PRE))), rngs=nnx.Rngs(2))
    return st.Recurrent(st.LIF(PRE, tau=5.0), comm=comm)


LAYERS = {
    "learned": delays,
    "rounded": lambda: delays(0.0),
    "none": lambda: delays(longest=0.4, delay=0.0),
    "temporal": lambda: st.TemporalConv(PRE, POST, steps=4, rngs=nnx.Rngs(1)),
    "depthwise": lambda: st.DepthwiseTemporalConv(PRE, steps=4, weight=KERNEL[:4, :, 0]),
    "sliding": lambda: st.SlidingPSN(PRE, steps=4, weight=np.array([2.0, 1.0, -0.5, 0.7]), V_th=1.5),
}
layers = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


@settings(max_examples=12)
@given(taps=some.sampled_from([1, 2, 5, 12]), steps=some.sampled_from([1, 7, 60]))
@pytest.mark.parametrize("frame", [16, 128])
def test_both_forms_equal_the_sum_over_delays(taps, steps, frame, monkeypatch_module):
    monkeypatch_module.setattr(causal, "LEAST_FRAME", frame)
    x = np.concatenate([np.zeros((taps - 1, 3, PRE)), X[:steps]])
    expected = convolved(X[:steps], KERNEL[:taps])
    for form in (causal.by_delays, causal.by_frequencies):
        equal(form(jnp.asarray(x), jnp.asarray(KERNEL[:taps])), expected, rtol=1e-12)


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@layers
def test_update_call_and_pieces_are_the_same(make):
    layer = make()
    whole = layer(X)
    assert np.ptp(bare(whole)) > 0 and not nnx.to_flat_state(nnx.state(layer, st.ShortTermState))
    equal(by_hand(make(), X, batch=(3,)), whole, rtol=1e-12)
    equal(layer(X[:, 0]), whole[:, 0], rtol=1e-12)

    pieces, carry = [], None
    for piece in (X[:0], X[:2], X[2:25], X[25:]):  # shorter and longer than the window
        y, carry = st.advance(layer, carry, piece)
        pieces.append(y)
    equal(jnp.concatenate(pieces), whole, rtol=1e-12)
    equal(layer(X), whole, rtol=0)
    equal(jax.jit(lambda x: layer(x))(X), whole, rtol=1e-12)


@pytest.mark.parametrize("dt", [1.0, 0.5])
def test_learned_delays_are_gaussians_of_their_width(dt):
    with environ.context(dt=dt * u.ms):
        y = delays(0.9)(X)
    assert u.get_unit(y) == u.nA
    equal(bare(y), convolved(X, gaussian(0.9, dt)), rtol=1e-12)


def test_at_width_zero_and_deployed_a_delay_is_whole_steps():
    layer, steps = delays(0.0), np.floor(P + 0.5).astype(int)
    kernel = W * (np.arange(D + 1).reshape(-1, 1, 1) == steps)
    equal(bare(layer(X)), convolved(X, kernel), rtol=1e-12)
    deployed = layer.deployed()
    assert u.get_unit(deployed(X)) == u.nA
    equal(bare(deployed(X)), bare(layer(X)), rtol=1e-12)
    narrow = delays(1e-3)
    equal(bare(narrow(X)), bare(layer(X)), rtol=1e-12)
    equal(bare(narrow.deployed()(X)), bare(layer(X)), rtol=1e-12)


def test_gradients_equal_finite_differences():
    layer = delays()
    slopes = gradient(layer, lambda layer: (bare_sum(layer(X))))
    graphdef, params, rest = nnx.split(layer, nnx.Param, ...)

    def loss(leaves):
        return float(bare_sum(nnx.merge(graphdef, jax.tree.unflatten(jax.tree.structure(params), leaves), rest)(X)))

    leaves, rng = jax.tree.leaves(params), np.random.default_rng(1)
    direction = [rng.normal(size=leaf.shape) for leaf in leaves]
    eps = 1e-5
    ahead, behind = (loss([x + s * eps * d for x, d in zip(leaves, direction, strict=True)]) for s in (1, -1))
    expected = sum(float((s * d).sum()) for s, d in zip(jax.tree.leaves(slopes), direction, strict=True))
    assert all(np.all(np.asarray(s)) for s in jax.tree.leaves(slopes)) and len(leaves) == 2
    np.testing.assert_allclose((ahead - behind) / (2 * eps), expected, rtol=1e-7)


def bare_sum(y):
    return jnp.sum(u.get_mantissa(y) * np.random.default_rng(5).normal(size=y.shape))


def test_a_recurrent_delay_is_a_delay_of_the_spikes_before():
    """Stepped by hand from the spikes of the whole trial, which is what each step must have heard."""
    layer = recurrent()
    drive = 4.0 * X
    s = layer(drive)
    active(s)
    equal(by_hand(recurrent(), drive, batch=(3,)), s, rtol=0)
    before = np.concatenate([np.zeros_like(s[:1]), s[:-1]])
    heard = convolved(before, np.asarray(layer.comm.kernel()))
    assert np.abs(heard).max() > 0.1
    equal(st.LIF(PRE, tau=5.0)(drive + heard), s, rtol=0)
    slopes = gradient(layer, lambda layer: bare_sum(layer(drive)))
    assert all(np.all(np.isfinite(g)) and np.any(g) for g in jax.tree.leaves(slopes))
    assert len(jax.tree.leaves(slopes)) == 2


def test_an_untrained_delay_is_not_trained():
    layer = delays(delay=3.0)
    assert len(jax.tree.leaves(nnx.state(layer, nnx.Param))) == 1
    equal(bare(delays(0.0, delay=3.0)(X)), bare(st.Delayed(st.Dense(PRE, POST, weight=W), 3.0)(X)), rtol=1e-12)


def test_a_depthwise_convolution_begins_as_the_present_input():
    equal(st.DepthwiseTemporalConv(PRE)(X), X, rtol=0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: delays(delay=st.Trainable(13.0)), ["LearnedDelays(delay=...)", "below 12", "13"]),
        (lambda: delays(-1.0), ["LearnedDelays(sigma=...)", "not negative", "-1"]),
        (lambda: delays(longest=3.0 * u.mV), ["LearnedDelays(longest=...)", "ms"]),
        (lambda: delays()(X[..., :2]), ["LearnedDelays", "(60, 3, 2)"]),
        (lambda: delays()(X * u.nA), ["LearnedDelays(x=...)", "without a unit"]),
        (lambda: delays().update(X[0]), ["LearnedDelays.past", "init_state"]),
        (lambda: st.TemporalConv(PRE, POST, steps=0), ["TemporalConv(steps=...)", "at least 1", "0"]),
        (lambda: st.Recurrent(st.LIF(PRE), comm=delays()), ["Recurrent(neuron, comm=...)", "(7,)", "(5,)"]),
        (
            lambda: st.Recurrent(st.LIF(PRE), comm=st.Dense(PRE, PRE, weight=1.0), precision="bf16"),
            ["Recurrent(comm=...)", "Leave out"],
        ),
    ],
)  # fmt: skip
def test_errors_say_what_to_write(make, words):
    with pytest.raises((st.SpiketrainError, AttributeError)) as caught:
        make()
    for word in words:
        assert word in str(caught.value)
