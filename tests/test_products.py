"""Products of spikes keep the errors they state, in value and gradient, in the form for a CPU and in that for others."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as some

import spiketrain as st
from spiketrain import products

from helpers import active, bare, equal, gradient

pytestmark = pytest.mark.usefixtures("dt")

T, B, N, M = 4, 3, 40, 24
FORMS = ["cpu", "accelerator"]
ERROR = {"bf16x3": 2.0**-24, "bf16x2": 2.0**-16, "bf16": 2.0**-8}
every_form = pytest.mark.parametrize("form", FORMS)


@pytest.fixture
def accelerator(monkeypatch):
    """Take the form of the program that is for devices other than a CPU; a CPU runs it too."""
    monkeypatch.setattr(products, "on_cpu", lambda: False)


def spikes(*shape, seed=0, rate=0.3):
    return np.random.default_rng(seed).binomial(1, rate, shape).astype(np.float32)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@functools.cache
def compiled(precision, form):
    """Return the product and both its gradients, traced once."""

    def run(s, W, g):
        y, back = jax.vjp(lambda s, W: products.in_parts(s, W, ((2,), (0,)), (1, products.PARTS[precision])), s, W)
        return y, *back(g)

    def traced(*arrays):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(products, "on_cpu", lambda: form == "cpu")
            return run(*arrays)

    return jax.jit(traced)


def errors(got, a, b, multiply):
    """Return the largest error relative to the product of the absolute values, in double precision."""
    a, b = np.float64(a), np.float64(b)
    return np.max(np.abs(np.float64(got) - multiply(a, b)) / (multiply(np.abs(a), np.abs(b)) + 1e-300))


@pytest.mark.parametrize("precision", ERROR)
@every_form
@given(seed=some.integers(0, 1000), scale=some.integers(-60, 60), largest=some.sampled_from([1, 2, 256]))
def test_errors_are_what_the_docstring_says(precision, form, seed, scale, largest):
    rng = np.random.default_rng(seed)
    s = (rng.integers(0, largest + 1, (T, B, N)) * spikes(T, B, N, seed=seed)).astype(np.float32)
    W = (normal(N, M, seed=seed) * 2.0**scale).astype(np.float32)
    g = normal(T, B, M, seed=seed + 1)
    assert s.any()
    y, ds, dW = compiled(precision, form)(s, W, g)
    summing = N * 2.0**-24
    allowed = ERROR[precision]
    assert errors(y, s, W, np.matmul) <= allowed + summing
    assert errors(dW, s, g, lambda s, g: np.einsum("tbi,tbj->ij", s, g)) <= allowed + T * B * 2.0**-24
    assert errors(ds, g, W, lambda g, W: g @ W.T) <= 4 * allowed + M * 2.0**-24
    if precision != "bf16x3":  # a precision that were finer than it says would be slower than it needs to be
        assert errors(y, s, W, np.matmul) > allowed / 64


@given(some.floats(2.0**-60, 2.0**60, width=32), some.booleans())
def test_three_parts_are_a_whole_number(x, negative):
    x = np.float32(-x if negative else x)
    parts = products.split(jnp.asarray(x), 3)
    assert all(part.dtype == jnp.bfloat16 for part in parts)
    assert sum(np.float64(part) for part in parts) == np.float64(x)
    for k in (1, 2):
        assert abs(sum(np.float64(part) for part in parts[:k]) - np.float64(x)) <= 2.0 ** (-8 * k) * abs(x)


@every_form
@pytest.mark.parametrize(
    "axes", [((0,), (0,)), ((1,), (1,)), ((0, 2), (1, 0)), ((2, 0, 1), (0, 1, 2)), ((), ())], ids=str
)
def test_any_contraction_has_the_gradient_of_a_plain_one(axes, form, monkeypatch):
    monkeypatch.setattr(products, "on_cpu", lambda: form == "cpu")
    sizes = [5, 3, 4]
    a = spikes(*sizes, rate=0.6)
    left, right = axes
    shape = [2, 6, 7]
    for i, j in zip(left, right, strict=True):
        shape[j] = sizes[i]
    b = normal(*shape)

    def both(multiply):
        y, back = jax.vjp(multiply, a, b)
        return y, *back(jnp.asarray(normal(*y.shape, seed=2)))

    plain = both(lambda a, b: jax.lax.dot_general(a, b, (axes, ((), ())), precision="highest"))
    equal(both(lambda a, b: products.in_parts(a, b, axes, (1, 3))), plain, rtol=1e-6)
    assert all(np.any(x) for x in plain)


def test_the_second_derivative_is_as_exact_as_the_first(accelerator):
    s, W, g = spikes(B, N), normal(N, M) / 4, normal(B, M)

    def twice(multiply):
        def slope(W, s):
            return jax.grad(lambda W, s: jnp.sum(jnp.sin(multiply(s, W)) * g), argnums=(0, 1))(W, s)

        return jax.jit(jax.grad(lambda W, s: sum(jnp.sum(x**2) for x in slope(W, s)), argnums=(0, 1)))(W, s)

    exact = twice(lambda s, W: jnp.matmul(s, W, precision="highest"))
    equal(twice(st.SpikeProduct("bf16x3")), exact, rtol=2e-5)
    with pytest.raises(AssertionError):
        equal(twice(st.SpikeProduct("bf16")), exact, rtol=2e-5)


@pytest.mark.parametrize("precision", ["float32", *ERROR])
@pytest.mark.parametrize("leading", [(), (B,), (T, B), (0, B)], ids=str)
def test_every_layer_makes_the_same_product(precision, leading):
    """On a CPU that of several parts is in float32, so only one part is seen to differ."""
    W, s = normal(N, M), spikes(*leading, N)
    product = st.SpikeProduct(precision)
    dense = st.Dense(N, M, weight=st.Trainable(W), precision=precision)
    linear = nnx.Linear(N, M, use_bias=False, dot_general=product, rngs=nnx.Rngs(0))
    linear.kernel[...] = jnp.asarray(W)
    one = product(jnp.asarray(s), jnp.asarray(W))
    assert one.dtype == jnp.float32 and one.shape == (*leading, M)
    equal(dense(s), one, rtol=0)
    equal(linear(s), one, rtol=0)
    for dtype in (bool, np.uint8, jnp.bfloat16):
        equal(dense(s.astype(dtype)), one, rtol=0)
    if leading:
        equal(one, s @ W, rtol=1e-2 if precision == "bf16" else 1e-6)
        equal(jax.vmap(dense)(s), one, rtol=1e-6)
        of_dense, of_linear = (jax.tree.leaves(gradient(m, lambda m: jnp.sum(m(s) ** 2))) for m in (dense, linear))
        equal(of_dense, of_linear, rtol=0)
    if leading == (T, B):
        exact = st.Dense(N, M, weight=W)(s)
        assert (np.max(np.abs(one - exact)) > 1e-4) == (precision == "bf16")
        assert np.any(one)


@pytest.mark.parametrize("precision", ERROR)
def test_a_product_in_parts_may_be_transposed_and_batched(precision, accelerator, monkeypatch):
    """XLA for CPU has no code for a product of bfloat16 that it writes transposed."""
    s, W = spikes(64, 256), normal(256, 20)
    product = st.SpikeProduct(precision)
    there = jax.jit(lambda s, W: product(s, W))(s, W)
    batched = jax.vmap(product, in_axes=(0, None))(s.reshape(2, 32, 256), W)
    equal(batched.reshape(64, 20), there, rtol=1e-6)
    monkeypatch.setattr(products, "on_cpu", lambda: True)
    here = products.in_parts, products.PARTS[precision]
    equal(jax.jit(lambda s, W: here[0](s, W, ((1,), (0,)), (1, here[1])).T)(s, W), there.T, rtol=1e-6)
    slopes = jax.vmap(jax.grad(lambda s: jnp.sum(products.in_parts(s, W, ((1,), (0,)), (1, 1)) ** 2)))
    assert slopes(s.reshape(2, 32, 256)).shape == (2, 32, 256)
    assert np.any(there)


@pytest.mark.parametrize("precision, forward, backward", [("bf16x3", 3, 3 + 6), ("bf16x2", 2, 2 + 3), ("bf16", 1, 2)])
def test_as_few_products_as_the_precision_needs(precision, forward, backward, accelerator):
    s, W = jnp.asarray(spikes(T, B, N)), jnp.asarray(normal(N, M))
    y, back = jax.vjp(st.SpikeProduct(precision), s, W)
    assert str(jax.make_jaxpr(st.SpikeProduct(precision))(s, W)).count("dot_general[") == forward
    assert str(jax.make_jaxpr(back)(y)).count("dot_general[") == backward
    maps = nnx.LinearGeneral(N, (4, 6), dot_general=st.SpikeProduct(precision), rngs=nnx.Rngs(0))
    assert np.any(y) and maps(s).shape == (T, B, 4, 6)


def test_forward_mode_is_for_float32():
    s, W = jnp.asarray(spikes(B, N)), jnp.asarray(normal(N, M))
    y, dy = jax.jvp(st.SpikeProduct(), (s, W), (s, W))
    equal(dy, 2 * y, rtol=1e-6)
    assert np.any(y) and st.SpikeProduct()(s[None], W.reshape(N, 4, 6)).shape == (1, B, 4, 6)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(st.SpikeProduct("bf16"), (s, W), (s, W))


def test_equal_precisions_are_equal_products():
    """So that a layer that holds one does not compile again."""
    assert st.SpikeProduct("bf16") == st.SpikeProduct("bf16") != st.SpikeProduct("bf16x2")
    assert hash(st.SpikeProduct("bf16")) == hash(st.SpikeProduct("bf16"))
    assert st.SpikeProduct() == st.SpikeProduct("float32")


def test_a_recurrent_layer_and_a_network_pass_it_on(accelerator):
    layer = st.Recurrent(st.LIF(M, tau=3.0), precision="bf16x2", rngs=nnx.Rngs(0))
    assert layer.comm.product == st.SpikeProduct("bf16x2")
    plain = st.Recurrent(st.LIF(M, tau=3.0), weight=layer.comm.weight.value)
    x = 3.0 * normal(12, B, M)
    active(layer(x))
    equal(layer(x), plain(x), rtol=0)  # no V lies that near the threshold

    analog, kinds = np.abs(normal(10, B, 7)), {}
    for precision in ("float32", "bf16"):
        net = st.SpikingNet(
            7, 5, hidden=(20, 16), input_scale=40.0, hidden_scale=40.0, precision=precision, rngs=nnx.Rngs(0)
        )
        assert [linear.dot_general.precision for linear in net.linear] == ["float32", precision]
        assert net.to_readout.dot_general.precision == net.spiking[1].comm.product.precision == precision
        V = jax.jit(net)(analog)
        assert np.any(V)
        slope = gradient(net, lambda net: jnp.sum(net(analog) ** 2)) if precision == "bf16" else None
        kinds[precision] = net.linear[0](analog), V, slope
    for leaf in jax.tree.leaves(kinds["bf16"]):
        assert np.all(np.isfinite(bare(leaf))) and np.any(leaf) and leaf.dtype == jnp.float32
    equal(kinds["bf16"][0], kinds["float32"][0], rtol=0)
    assert np.any(bare(kinds["bf16"][1]) != bare(kinds["float32"][1]))


WRONG = {
    "name": (
        lambda: st.SpikeProduct("bfloat16"),
        st.DomainError,
        "`precision` must be one of .*\"bf16\", got 'bfloat16'",
    ),
    "Dense": (lambda: st.Dense(2, 3, precision="half"), st.DomainError, "got 'half'"),
    "Recurrent": (lambda: st.Recurrent(st.LIF(3), weight=1.0, precision="f32"), st.DomainError, "got 'f32'"),
    "axes": (
        lambda: st.SpikeProduct()(jnp.ones((3, 4)), jnp.ones((3, 4)), (((0,), (0,)), ((), ()))),
        st.ShapeError,
        "contracts the last axis of the spikes",
    ),
    "batch": (
        lambda: st.SpikeProduct("bf16")(jnp.ones((3, 4)), jnp.ones((4, 3)), (((1,), (0,)), ((0,), (1,)))),
        st.ShapeError,
        "no batch axes",
    ),
    "sharding": (
        lambda: st.SpikeProduct()(jnp.ones((3, 4)), jnp.ones((4, 3)), out_sharding="data"),
        st.ShapeError,
        "out_sharding=...",
    ),
    "dropout": (
        lambda: st.SpikingNet(3, 2, precision="bf16x2", dropout=0.1, rngs=nnx.Rngs(0)),
        st.DomainError,
        r"SpikingNet\(precision='bf16x2', dropout=0.1\): dropout scales spikes.*Write `precision=\"float32\"`",
    ),
    "network": (lambda: st.SpikingNet(3, 2, precision="tf32", rngs=nnx.Rngs(0)), st.DomainError, "got 'tf32'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused(name):
    do, error, says = WRONG[name]
    with pytest.raises(error, match=says):
        do()
