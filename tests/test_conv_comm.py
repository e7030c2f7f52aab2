"""A convolution equals its sum written out, in value and gradient; a delta projection moves V by its weights."""

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.signal import correlate

import spiketrain as st
from spiketrain import environ
from spiketrain.projections.comm import convolution

from helpers import active, bare, by_hand, equal, gradient

pytestmark = [pytest.mark.usefixtures("x64", "dt"), pytest.mark.slow]

T, B = 12, 2
RNG = np.random.default_rng(0)

# Each row: in_size, features, kernel_size, and the options.
CASES = {
    "same": ((6, 7, 2), 3, (3, 3), {}),
    "same, even kernel and stride": ((6, 7, 1), 2, (2, 4), dict(stride=(2, 3))),
    "valid": ((6, 7, 2), 3, (3, 2), dict(padding="VALID")),
    "padded by two": ((5, 4, 2), 3, (3, 3), dict(padding=2, stride=2)),
    "one dimension": ((9, 3), 4, 5, dict(stride=2)),
    "three dimensions": ((4, 3, 5, 2), 2, (2, 3, 2), dict(padding="valid")),
    "stride above kernel": ((7, 8, 1), 3, (2, 2), dict(padding="VALID", stride=3)),
}
every_case = pytest.mark.parametrize("name", CASES)


def make(name, weight=None, **changes):
    in_size, features, kernel_size, options = CASES[name]
    return st.Conv(in_size, features, kernel_size, weight=weight, rngs=nnx.Rngs(0), **(options | changes))


def spikes(*leading, size):
    return RNG.binomial(1, 0.3, (*leading, *size)).astype(float)


def reference(x, W, *, stride=1, padding="SAME"):
    """Correlate one input channel by channel, and keep every stride-th place."""
    space = x.shape[:-1]
    strides = (stride,) * len(space) if isinstance(stride, int) else stride
    pads = []
    for n, k, s in zip(space, W.shape, strides, strict=False):
        if isinstance(padding, int):
            pads.append((padding, padding))
        elif padding.upper() == "VALID":
            pads.append((0, 0))
        else:
            total = max((-(-n // s) - 1) * s + k - n, 0)
            pads.append((total // 2, total - total // 2))
    x = np.pad(x, [*pads, (0, 0)])
    maps = [
        sum(correlate(x[..., c], W[..., c, o], mode="valid", method="direct") for c in range(x.shape[-1]))
        for o in range(W.shape[-1])
    ]
    return np.stack(maps, -1)[tuple(slice(None, None, s) for s in strides)]


@every_case
def test_a_convolution_is_its_sum(name):
    conv = make(name)
    W = np.asarray(conv.weight.value)
    assert isinstance(conv.weight, st.ParamState) and np.ptp(W) > 0
    options = CASES[name][3]
    x = spikes(T, B, size=conv.in_size)
    expected = np.stack([[reference(row, W, **options) for row in step] for step in x])
    assert conv.out_size == expected.shape[2:]

    equal(conv(x), expected, rtol=1e-12)
    equal(conv(x[0]), expected[0], rtol=1e-12)
    equal(conv(x[0, 0]), expected[0, 0], rtol=1e-12)
    equal(conv(np.zeros((0, *conv.in_size))), np.zeros((0, *conv.out_size)), rtol=0)


@pytest.mark.parametrize("name", ["same, even kernel and stride", "padded by two", "one dimension"])
def test_its_gradient_is_that_of_finite_differences(name):
    """The map is linear in both, so a difference of any size is exact."""
    conv = make(name)
    x = spikes(3, size=conv.in_size)
    g = RNG.normal(size=(3, *conv.out_size))
    by_weight = jax.tree.leaves(gradient(conv, lambda conv: jnp.sum(conv(x) * g)))[0]
    by_input = jax.grad(lambda x: jnp.sum(conv(x) * g))(jnp.asarray(x))
    W = conv.weight.value
    dW, dx = RNG.normal(size=W.shape), RNG.normal(size=x.shape)
    before = np.sum(conv(x) * g)
    np.testing.assert_allclose(np.sum(conv(x + dx) * g) - before, np.sum(dx * by_input), rtol=1e-9)
    conv.weight.value = W + dW
    np.testing.assert_allclose(np.sum(conv(x) * g) - before, np.sum(dW * by_weight), rtol=1e-9)


# --- Average pooling, and the forms of a convolution

POOLED = {
    "same": ((7, 8, 2), 3, (3, 3), dict(pool=2)),
    "same with stride": ((9, 11, 1), 2, (2, 4), dict(pool=2, stride=2)),
    "valid": ((9, 8, 2), 3, (3, 2), dict(pool=(2, 3), padding="VALID")),
    "padded by one": ((6, 7, 2), 3, (3, 3), dict(pool=3, padding=1)),
    "one dimension": ((11, 3), 4, 5, dict(pool=3)),
    "three dimensions": ((4, 5, 5, 2), 2, (2, 3, 2), dict(pool=2)),
}


def both_ways(x, g, *models):
    """Return the output of each model and the gradients by its kernel and by its input."""
    for conv, behind in models:
        graphdef, params = nnx.split(conv)

        @jax.jit
        def run(params, x, graphdef=graphdef, behind=behind):
            y, back = jax.vjp(lambda params, x: behind(nnx.merge(graphdef, params)(x)), params, x)
            return y, *back(g)

        y, by_weight, by_input = run(params, jnp.asarray(x))
        yield y, jax.tree.leaves(by_weight)[0], by_input


@pytest.mark.parametrize(
    "name, form", [*((name, "cpu") for name in POOLED), ("same with stride", "accelerator"), ("valid", "pieces")]
)
def test_pooling_is_an_average_of_the_convolution(name, form, monkeypatch):
    monkeypatch.setattr(convolution, "on_cpu", lambda: form != "accelerator")
    if form == "pieces":
        monkeypatch.setattr(convolution, "PIECE_BYTES", 5000)
        monkeypatch.setattr(convolution, "MANY_FEATURES", 1)
    in_size, features, kernel, options = POOLED[name]
    fused = st.Conv(in_size, features, kernel, rngs=nnx.Rngs(0), **options)
    window = fused.pool
    plain = st.Conv(in_size, features, kernel, weight=st.Trainable(fused.weight.value), **(options | dict(pool=1)))
    x = spikes(T, B, size=in_size)
    g = RNG.normal(size=(T, B, *fused.out_size))
    merged = plain.out_size

    def pool(y):
        return nnx.avg_pool(y.reshape(T * B, *merged), window, window).reshape(T, B, *fused.out_size)

    one, two = both_ways(x, g, (fused, lambda y: y), (plain, pool))
    equal(one, two, rtol=1e-12)
    assert all(np.any(part) for part in one) and one[1].shape == fused.weight.shape


def pieces_of(monkeypatch, x, conv):
    """Count the convolutions of a forward pass."""
    monkeypatch.setattr(convolution, "PIECE_BYTES", 20_000)
    monkeypatch.setattr(convolution, "MANY_FEATURES", 1)
    return str(jax.make_jaxpr(conv)(x)).count("conv_general_dilated[")


@pytest.mark.parametrize("images", [0, 1, 5, 16, 50])
def test_a_batch_in_pieces_is_the_whole(images, monkeypatch):
    conv = make("same")
    x = spikes(images, size=conv.in_size)
    whole = conv(x)
    counted = pieces_of(monkeypatch, x, conv)
    assert counted == {0: 1, 1: 1, 5: 2, 16: 5, 50: 16}[images]
    equal(conv(x), whole, rtol=1e-12)


def test_every_mode_of_differentiation_agrees():
    conv = make("same", pool=2)
    x, dx = jnp.asarray(spikes(3, size=conv.in_size)), RNG.normal(size=(3, *conv.in_size))
    y, dy = jax.jvp(conv, (x,), (dx,))
    equal(dy, conv(dx), rtol=1e-12)
    graphdef, params = nnx.split(conv)

    def energy(params, x):
        return jnp.sum(nnx.merge(graphdef, params)(x) ** 2)

    @jax.jit
    def slopes(params, x):
        return jax.grad(energy)(params, x)

    def squared(x):
        return sum(jnp.sum(slope**2) for slope in jax.tree.leaves(slopes(params, x)))

    # quadratic in the kernel: its second derivative along itself is the first
    equal(jax.jvp(lambda p: slopes(p, x), (params,), (params,))[1], slopes(params, x), rtol=1e-12)
    along = np.sum(jax.grad(squared)(x) * dx)
    np.testing.assert_allclose((squared(x + 1e-5 * dx) - squared(x - 1e-5 * dx)) / 2e-5, along, rtol=1e-6)
    rows = jax.vmap(jax.grad(lambda row: jnp.sum(conv(row) ** 2)))(x)
    equal(rows, jax.grad(lambda x: energy(params, x))(x), rtol=1e-12)
    assert np.any(y)


def test_the_gradient_by_the_input_is_computed_only_where_it_is_asked_for():
    conv = make("same", pool=2)
    graphdef, params = nnx.split(conv)
    x = spikes(3, size=conv.in_size)

    def convolutions(argnums):
        run = jax.grad(lambda params, x: jnp.sum(nnx.merge(graphdef, params)(x) ** 2), argnums=argnums)
        return str(jax.make_jaxpr(run)(params, x)).count("conv_general_dilated[")

    assert (convolutions(0), convolutions(1), convolutions((0, 1))) == (2, 2, 3)


def test_weights_are_what_is_given_with_their_unit():
    conv = make("same", weight=st.KaimingNormal(2.0 * u.nS))
    x = spikes(T, size=conv.in_size)
    assert isinstance(conv.weight, st.LongTermState) and conv.unit == u.nS and conv(x).unit == u.nS
    trained = make("same", weight=st.Trainable(st.KaimingNormal(2.0 * u.nS)))
    equal(bare(trained(x)), bare(conv(x)), rtol=0)
    equal((conv(x * u.mV)).to_decimal(u.pA), bare(conv(x)), rtol=1e-12)
    constant = make("valid", weight=0.5 * u.nA)
    assert constant.weight.shape == (3, 2, 2, 3)
    np.testing.assert_allclose(bare(constant(np.ones((6, 7, 2)))), 0.5 * 12)


def test_a_kernel_of_one_place_is_a_dense_product_at_every_place():
    W = RNG.normal(size=(2, 3))
    conv, dense = st.Conv((4, 5, 2), 3, (1, 1), weight=W[None, None]), st.Dense(2, 3, weight=W)
    x = spikes(T, size=(4, 5, 2))
    equal(conv(x), dense(x), rtol=1e-12)


class Behind(st.Dynamics):
    """Neurons behind a projection."""

    def __init__(self, projection, neuron):
        self.projection, self.neuron, self.in_size = projection, neuron, projection.in_size

    def update(self, spikes):
        return self.neuron.update(self.projection.update(spikes))


def test_a_projection_of_feature_maps_runs_whole_and_step_by_step():
    conv = st.Conv((6, 6, 2), 4, (3, 3), stride=2, weight=st.Uniform(0.0 * u.nS, 20.0 * u.nS), rngs=nnx.Rngs(1))
    projection = st.AlignPostProj(conv, st.Expon(conv.out_size, tau=5.0 * u.ms), st.COBA(E=0.0 * u.mV))
    units = dict(R=100.0 * u.Mohm, tau=20.0 * u.ms, V_th=-50.0 * u.mV, V_rest=-60.0 * u.mV)
    neuron = st.LIF(conv.out_size, **units)
    x = spikes(30, B, size=conv.in_size)
    whole = neuron(projection(x))
    active(whole)
    assert whole.shape == (30, B, 3, 3, 4)
    net = Behind(projection, neuron)
    equal(net(x), whole, rtol=0)
    equal(by_hand(net, x[:12], batch=(B,)), whole[:12], rtol=0)
    active(whole[:12])
    plain = net(x[:, 0])
    equal(plain, whole[:, 0], rtol=0)


def test_train_level_layers_of_both_kinds_follow_each_other():
    conv = st.Conv((6, 6, 1), 4, (3, 3), rngs=nnx.Rngs(0))
    stock = nnx.Conv(1, 4, (3, 3), use_bias=False, param_dtype=float, rngs=nnx.Rngs(0))
    conv.weight.value = stock.kernel[...]
    x = spikes(T, B, size=conv.in_size)
    equal(conv(x), stock(x), rtol=1e-12)
    active(st.LIF(conv.out_size, tau=3.0)(4.0 * conv(x)))


WRONG = {
    "flat": (lambda: st.Conv(49, 3, 3), r"Conv\(in_size, features, kernel_size\) needs a kernel of as many dimensions"),
    "kernel of two, input of one": (lambda: st.Conv((9, 3), 4, (3, 3)), r"got \(9, 3\) and \(3, 3\)"),
    "stride": (lambda: make("same", stride=(1, 2, 3)), r"Conv\(stride=...\) must be one number or 2"),
    "padding word": (lambda: make("same", padding="FULL"), r"Conv\(padding=...\) must be .*got 'FULL'"),
    "padding below zero": (lambda: make("same", padding=-1), r"Conv\(padding=...\) must be .*got -1"),
    "too large a kernel": (
        lambda: st.Conv((3, 3, 1), 2, (5, 5), padding="VALID", weight=1.0),
        "does not fit into an input",
    ),
    "pool": (lambda: make("same", pool=(2, 2, 2)), r"Conv\(pool=...\) must be one number or 2"),
    "pool of nothing": (lambda: make("same", pool=0), "must be a positive integer"),
    "too large a pool": (
        lambda: make("valid", pool=5),
        r"Conv\(pool=...\) 5 does not fit into an output of \(4, 6, 3\)",
    ),
    "weight": (
        lambda: make("same", weight=np.ones((3, 3))),
        r"Conv\(weight=...\) must be a scalar or have shape \(3, 3, 2, 3\)",
    ),
    "input": (lambda: make("same")(np.ones((T, 7, 6, 2))), r"Conv expects spikes of shape \(..., 6, 7, 2\), got"),
    "synapse": (
        lambda: st.AlignPostProj(make("same"), st.Expon(126), st.CUBA()),
        r"comm ends at \(6, 7, 3\) neurons, but syn has size \(126,\)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused(name):
    do, says = WRONG[name]
    with pytest.raises(st.ShapeError, match=says):
        do()


# --- The delta synapse


@pytest.mark.parametrize("dt", [0.1, 2.0])
def test_a_delta_synapse_moves_V_by_its_weight_once_at_any_dt(dt):
    W = np.array([[1.0, 2.0], [4.0, -0.5]])
    projection = st.AlignPostProj(st.Dense(2, 2, weight=W * u.mV), st.Instant(2), st.Delta())
    cell = st.LeakyIntegrator(2, V_rest=-60.0 * u.mV, R=1.0 * u.Mohm, tau=20.0 * u.ms)
    x = np.zeros((round(40.0 / dt), B, 2))
    x[0, 0, 0] = x[round(20.0 / dt), :, 1] = 1.0
    with environ.context(dt=dt * u.ms):
        V = bare(cell(projection(x)), u.mV) + 60.0
    np.testing.assert_allclose(V[0], [W[0], [0.0, 0.0]], atol=1e-9)
    late = round(20.0 / dt)
    np.testing.assert_allclose(V[late], [W[1] + W[0] * np.exp(-1.0), W[1]], rtol=1e-9)
    np.testing.assert_allclose(V[-1], V[late] * np.exp(-(len(V) - 1 - late) * dt / 20.0), rtol=1e-9)


def test_an_instant_synapse_passes_on_what_arrives():
    x, y = (RNG.normal(size=(T, B, 5)) for _ in range(2))
    syn = st.Instant(5, unit=u.nS)
    equal(bare(syn(x * u.uS, y * u.nS), u.nS), 1e3 * x + y, rtol=1e-12)
    equal(bare(by_hand(syn, x * u.nS, batch=(B,))), x, rtol=0)
    pre = st.AlignPreProj(st.Instant(5), st.Dense(5, 3, weight=2.0 * u.mV), st.Delta())
    equal(bare(pre(x).dV, u.mV), np.repeat(2.0 * x.sum(-1, keepdims=True), 3, -1), rtol=1e-12)
    with pytest.raises(st.UnitError, match="Instant.update expects quantities in units of `nS`"):
        syn(x)
    with pytest.raises(st.ShapeError, match="Instant"):
        syn(x[..., :4] * u.nS)
