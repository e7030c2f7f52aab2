"""What mixes time: one convolution over a trial equals steps, pieces, a sum over connections, and the deployed layer."""

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import spiketrain as st
from spiketrain import causal, environ

from helpers import active, bare, equal, gradient, record

pytestmark = pytest.mark.usefixtures("x64", "dt")

PRE, POST, T, D = 7, 5, 40, 12
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
    comm = st.LearnedDelays(
        PRE,
        PRE,
        longest=6.0,
        weight=st.Trainable(2.0 * nnx.initializers.normal(0.3)(jax.random.key(1), (PRE, PRE))),
        rngs=nnx.Rngs(2),
    )
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


@pytest.mark.parametrize("frames, taps, steps", [(4, 5, 40), (1, 12, 7), (3, 12, 40), (1, 12, 40), (40, 1, 40)])
def test_both_forms_equal_the_sum_over_delays(frames, taps, steps):
    x = np.concatenate([np.zeros((taps - 1, 3, PRE)), X[:steps]])
    expected = convolved(X[:steps], KERNEL[:taps])
    forms = jax.jit(lambda x, k: (causal.by_delays(x, k), causal.by_frequencies(x, k, frames)))(x, KERNEL[:taps])
    for y in forms:
        equal(y, expected, rtol=1e-12)


def test_the_form_follows_the_work():
    """Wide layers with many delays go by frequencies, in more frames where few trials share a kernel."""
    few, many = (causal.best_frames(100, 26, batch, 256, 256) for batch in (64, 256))
    assert few > many == 1
    assert causal.best_frames(100, 3, 64, 64, 64) == 0
    assert causal.best_frames(784, 784, 64, 1, 256) == 0  # one channel: transforms would take more than they save


@layers
def test_update_call_and_pieces_are_the_same(make):
    layer = make()
    call = jax.jit(lambda x: layer(x))
    whole = call(X)
    assert np.ptp(bare(whole)) > 0 and not nnx.to_flat_state(nnx.state(layer, st.ShortTermState))
    equal(call(X[:, 0]), whole[:, 0], rtol=1e-12)

    @jax.jit
    def in_pieces(x):
        pieces, carry = [], None
        for piece in (x[:0], x[:2], x[2:25], x[25:]):  # shorter and longer than the window
            y, carry = st.advance(layer, carry, piece)
            pieces.append(u.get_mantissa(y))
        return jnp.concatenate(pieces)

    equal(in_pieces(X), bare(whole), rtol=1e-12)
    stepped, trains = record(layer, X)  # step by step, in the loop
    equal(trains["past"][-1], X[T - layer.steps + 1 :], rtol=0)
    equal(stepped, whole, rtol=1e-12)


@pytest.mark.parametrize("dt", [1.0, 0.5])
def test_learned_delays_are_gaussians_of_their_width(dt):
    with environ.context(dt=dt * u.ms):
        y = delays(0.9)(X)
    assert u.get_unit(y) == u.nA
    equal(bare(y), convolved(X, gaussian(0.9, dt)), rtol=1e-12)


def test_a_longest_delay_between_two_steps_is_deployed_as_the_later_one():
    layer = delays(0.0, longest=2.7, delay=st.Trainable(np.full((PRE, POST), 2.6)))
    equal(bare(layer.deployed()(X)), bare(layer(X)), rtol=1e-12)


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
    slopes = gradient(layer, lambda layer: bare_sum(layer(X)))
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


def test_a_parallel_neuron_is_a_sum_over_time():
    rng = np.random.default_rng(3)
    weight = rng.normal(size=(T, T))
    drive = 3.0 * X
    for order in (None, 4):
        ago = np.arange(T)[:, None] - np.arange(T)
        used = weight if order is None else np.where((ago >= 0) & (ago < order), weight, 0.0)
        layer = st.PSN(PRE, T, order=order, weight=weight, V_th=1.5)
        s, seen = nnx.capture(layer, st.SpikeTrain)(drive)
        active(s)
        equal(s, np.tensordot(used, drive, 1) >= 1.5, rtol=0)
        equal(seen["spikes"].get_value()[0], s, rtol=0)
    sliding = st.SlidingPSN(PRE, steps=4, weight=np.array([1.0, 0.5, 0.25, 0.125]), V_th=1.5)
    toeplitz = sum(0.5**d * np.eye(T, k=-d) for d in range(4))
    equal(sliding(drive), st.PSN(PRE, T, order=4, weight=toeplitz, V_th=1.5)(drive), rtol=0)
    slopes = gradient(st.PSN(PRE, T, rngs=nnx.Rngs(0), V_th=st.Trainable(1.0)), lambda layer: bare_sum(layer(drive)))
    assert all(np.all(np.isfinite(g)) and np.any(g) for g in jax.tree.leaves(slopes))


def test_a_leaky_neuron_without_reset_is_parallel():
    """Its kernel, cut where it has decayed, is that of a sliding window."""
    left = np.exp(-1.0 / 2.0)
    window = st.SlidingPSN(PRE, steps=40, weight=(1 - left) * left ** np.arange(40))
    s = window(4.0 * X)
    active(s)
    equal(s, st.LIF(PRE, tau=2.0, reset=st.NoReset())(4.0 * X), rtol=0)


PAIRS = {
    "SEAdLIF": (lambda: st.SEAdLIF(PRE, a=0.0, b=0.0, tau=5.0), lambda: st.LIF(PRE, tau=5.0, reset=st.HardReset())),
    "BRF": (
        lambda: st.BRF(PRE, tau=5.0, period=1e12, beta=0.0, kappa=0.0),
        lambda: st.LIF(PRE, tau=5.0, reset=st.NoReset()),
    ),
    "CSiLIF": (lambda: st.CSiLIF(PRE, tau=10.0, period=1e12, speed=2.0), lambda: st.LIF(PRE, tau=5.0)),
}


@pytest.mark.parametrize("make, other", PAIRS.values(), ids=PAIRS)
def test_without_what_is_new_a_neuron_is_a_leaky_one(make, other):
    s = make()(6.0 * X)
    active(s)
    equal(s, other()(6.0 * X), rtol=0)


def test_a_symplectic_neuron_stays_bounded_where_the_docstring_says():
    """Below threshold, a constant input and one kick: stable just below the bound on a, unstable just above."""
    alpha, beta = np.exp(-1.0 / 3.0), np.exp(-1.0 / 9.0)
    bound = (1 + alpha) * (1 + beta) / ((1 - alpha) * (1 - beta))
    kick = np.zeros((400, 1))
    kick[0] = 1.0
    swings = []
    for a in (0.98 * bound, 1.02 * bound):
        neuron = st.SEAdLIF(1, a=a, b=0.0, tau=3.0, tau_w=9.0, V_th=1e12)
        _, trains = record(neuron, kick)
        swings.append(np.abs(trains["V"])[[100, 399], 0])
    assert 0 < swings[0][1] < swings[0][0] and swings[1][1] > swings[1][0]


def test_a_bounded_parameter_stays_within_its_bounds():
    lif = st.LIF(
        PRE,
        tau=st.Trainable(st.Uniform(5.0 * u.ms, 25.0 * u.ms), within=(0.005 * u.second, 25.0 * u.ms)),
        rngs=nnx.Rngs(0),
    )
    tau = vars(lif)["tau"]
    equal(bare(lif.tau, u.ms), st.Uniform(5.0, 25.0)(nnx.Rngs(0).params(), (PRE,)), rtol=1e-6)
    for raw in (-50.0, 50.0):
        tau.set_raw_value(jnp.full(PRE, raw))
        assert np.all((bare(lif.tau, u.ms) >= 5.0) & (bare(lif.tau, u.ms) <= 25.0))
    edge = st.LIF(PRE, tau=st.Trainable(5.0, within=(5.0, 25.0)))
    equal(edge.tau, np.full(PRE, 5.0), rtol=1e-5)
    assert np.all(np.isfinite(vars(edge)["tau"].get_raw_value()))
    for value, within in ((4.0, (5.0, 25.0)), (6.0, (25.0, 5.0)), (1.0, (-1.0, 2.0))):
        with pytest.raises(st.DomainError, match="LIF\\(tau=Trainable"):
            st.LIF(PRE, tau=st.Trainable(value, within=within))
    with pytest.raises(st.UnitError, match="needs bounds like"):
        st.LIF(PRE, tau=st.Trainable(6.0, within=(5.0 * u.ms, 25.0 * u.ms)))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: delays(delay=st.Trainable(13.0)), ["LearnedDelays(delay=...)", "below 12", "13"]),
        (lambda: delays(-1.0), ["LearnedDelays(sigma=...)", "not negative", "-1"]),
        (lambda: delays(longest=3.0 * u.mV), ["LearnedDelays(longest=...)", "ms"]),
        (lambda: delays()(X[..., :2]), ["LearnedDelays", "(T, B, 7)", "(40, 3, 2)"]),
        (lambda: delays()(X * u.nA), ["LearnedDelays(x=...)", "without a unit"]),
        (lambda: delays().update(X[0]), ["LearnedDelays.past", "init_state"]),
        (lambda: st.TemporalConv(PRE, POST, steps=0), ["TemporalConv(steps=...)", "at least 1", "0"]),
        (lambda: st.PSN(PRE, 12, weight=1.0)(X), ["PSN", "(12, B, 7)", "(40, 3, 7)"]),
        (lambda: st.advance(st.PSN(PRE, T, weight=1.0), None, X), ["PSN", "SlidingPSN"]),
        (lambda: st.PSN(PRE, 12, weight=np.ones(3)), ["PSN(weight=...)", "(12, 12)", "(3,)"]),
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
