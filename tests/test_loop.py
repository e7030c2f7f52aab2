"""The loop that keeps State and nothing else equals the plain one: values, gradients, and every transformation of them."""

import logging
from functools import partial

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as some

import spiketrain as st
from spiketrain import environ
from spiketrain.kernels import loop
from spiketrain.kernels.step import hoist, inline
from spiketrain.unroll import advance, unroll_in_pieces

from helpers import active, equal
from models_table import BY_NAME, CASES, NETS, rows

pytestmark = [pytest.mark.usefixtures("x64", "dt"), pytest.mark.slow]
named = partial(pytest.mark.parametrize, "row", ids=lambda row: row.name)
T, BATCH = 12, (3,)


def weighted(tree):
    """Reduce anything to one number whose gradient reaches every entry."""
    rng = np.random.default_rng(7)
    return sum(jnp.sum(leaf * rng.normal(size=leaf.shape)) for leaf in jax.tree.leaves(tree))


def floating(tree):
    leaves, treedef = jax.tree.flatten(tree)
    moves = [jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating) for leaf in leaves]

    def back(values):
        values = iter(values)
        return jax.tree.unflatten(treedef, [next(values) if m else leaf for m, leaf in zip(moves, leaves, strict=True)])

    return [leaf for leaf, m in zip(leaves, moves, strict=True) if m], back


def whole(model, inputs, kind, **settings):
    """Return a function of (parameters, State at the start, inputs), and where to evaluate it."""
    _, start = advance(model, None, *jax.tree.map(lambda x: x[:1], inputs))
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    arguments, back = floating((params, start, inputs))

    def f(arguments):
        params, carry, inputs = back(arguments)
        with environ.context(loop=kind, **settings):
            return advance(nnx.merge(graphdef, params, rest, copy=True), carry, *inputs)

    return f, arguments


def value_and_gradient(model, inputs, kind, **settings):
    """Return output and gradient of `whole`, compiled."""
    f, arguments = whole(model, inputs, kind, **settings)

    def loss(arguments):
        out = f(arguments)
        return weighted(out), out

    (_, out), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(arguments)
    return out, gradient


def transformed(model, inputs, kind):
    """Return a forward derivative, a mapped gradient and a second derivative of `whole`."""
    f, at = whole(model, inputs, kind)
    moved = [jnp.asarray(np.random.default_rng(3).normal(size=a.shape)) for a in at]

    def scalar(arguments):
        return weighted(f(arguments))

    def squared(arguments):
        return sum(jnp.sum(g**2) for g in jax.grad(scalar)(arguments))

    slope = jax.jit(lambda at, moved: jax.jvp(scalar, (at,), (moved,)))(at, moved)
    mapped = jax.jit(jax.vmap(jax.grad(scalar)))([jnp.stack([a, 1.5 * a]) for a in at])
    return slope, mapped, jax.jit(jax.grad(squared))(at)


@pytest.mark.slow
@named([*CASES, *NETS])
def test_values_and_gradients_equal_those_of_the_plain_loop(row):
    inputs = row.inputs(T, batch=BATCH)
    expected, expected_gradient = value_and_gradient(row.make(), inputs, "scan")
    out, gradient = value_and_gradient(row.make(), inputs, "auto")
    active(row, out[0])
    equal(out, expected, rtol=1e-12)
    assert max(float(jnp.abs(g).max()) for g in gradient if g.size) > 0
    for a, b in zip(gradient, expected_gradient, strict=True):
        equal([a], [b], rtol=1e-9)


@pytest.mark.slow
@named(rows("LIF-soft", "LIF-hard-units", "ALIF", "LIF-conductances", "Recurrent-ALIF", "Expon-COBA-LIF"))
def test_forward_mode_vmap_and_second_derivatives_equal_those_of_the_plain_loop(row):
    inputs = row.inputs(6, batch=(2,))
    expected, found = (transformed(row.make(), inputs, kind) for kind in ("scan", "auto"))
    assert float(jnp.abs(expected[0][1])) > 0 and max(float(jnp.abs(x).max()) for x in expected[2]) > 0
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        equal([a], [b], rtol=1e-8)


@settings(max_examples=5, deadline=None)
@given(
    name=some.sampled_from(["LIF-soft", "ALIF-hard-units", "Recurrent-ALIF", "Expon-COBA-LIF", "EI-circuit"]),
    length=some.integers(1, 9),
    batch=some.sampled_from([(), (1,), (4,)]),
    steps=some.integers(1, 9),
    seed=some.integers(0, 99),
)
def test_any_length_batch_mask_and_piece_give_the_gradient_of_the_plain_loop(name, length, batch, steps, seed):
    row = BY_NAME[name]
    inputs = row.inputs(length, batch=batch, seed=seed)
    mask = jnp.arange(length) < max(1, length - 2)  # what comes after the end of a trial counts for nothing
    gradients = []
    for kind in ("scan", "auto"):
        model = row.make()
        graphdef, state = nnx.split(model)

        def loss(inputs, kind=kind, graphdef=graphdef, state=state):
            with environ.context(loop=kind):
                out = unroll_in_pieces(nnx.merge(graphdef, state, copy=True), *inputs, steps=steps)
            return weighted(jax.tree.map(lambda y: y * mask.reshape(-1, *[1] * (y.ndim - 1)), out))

        leaves, back = floating(inputs)
        gradients.append(jax.grad(lambda x, loss=loss, back=back: loss(back(x)))(leaves))
    equal(gradients[1], gradients[0], rtol=1e-9)


@named(rows("LIF-soft", "ALIF", "Recurrent-ALIF", "LIF-conductances"))
def test_half_precision_residuals_change_no_output_and_little_of_the_gradient(row):
    inputs = row.inputs(T, batch=BATCH)
    expected, exact = value_and_gradient(row.make(), inputs, "auto")
    out, coarse = value_and_gradient(row.make(), inputs, "auto", residuals=jnp.bfloat16)
    active(row, out[0])
    equal(out, expected, rtol=1e-12)
    error = sum(float(jnp.sum((a - b) ** 2)) for a, b in zip(exact, coarse, strict=True))
    size = sum(float(jnp.sum(a**2)) for a in exact)
    assert 0 < error**0.5 < 0.03 * size**0.5


def step_of(model, *inputs, batch=()):
    """Trace one step of a model; return it with its consts and its State."""
    model.init_state(batch)
    graphdef, fixed, short = nnx.split(model, nnx.Not(st.ShortTermState), st.ShortTermState)
    (consts, tree), (carry, carry_tree) = jax.tree.flatten(fixed), jax.tree.flatten(short)

    def f(*a):
        fixed, short = tree.unflatten(a[: len(consts)]), carry_tree.unflatten(a[len(consts) : len(consts) + len(carry)])
        model = nnx.merge(graphdef, fixed, short, copy=True)
        y = model.update(*a[len(consts) + len(carry) :])
        return [*jax.tree.leaves(nnx.state(model, st.ShortTermState)), *jax.tree.leaves(y)]

    closed = jax.make_jaxpr(f)(*consts, *carry, *inputs)
    step, arrays = inline(closed, len(consts), len(carry))
    return step, [*arrays, *consts], carry


class Behind(st.Dynamics):
    """A neuron behind a product that needs no feedback, with weights back to itself that do."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.comm, self.neuron, self.in_size = st.Dense(6, 4, rngs=rngs), st.Recurrent(st.LIF(4), rngs=rngs), (6,)

    def update(self, spikes):
        return self.neuron.update(20 * self.comm(spikes))


def test_products_that_need_no_feedback_and_what_is_constant_leave_the_loop():
    step, consts, carry = step_of(Behind(), jnp.ones((3, 6)), batch=(3,))
    inside = [e.primitive.name for e in hoist(step).step.jaxpr.jaxpr.eqns]
    assert [e.primitive.name for e in step.jaxpr.jaxpr.eqns].count("dot_general") == 2
    assert inside.count("dot_general") == 1

    xs = [jnp.asarray(np.random.default_rng(0).random((T, 3, 6)) < 0.5, float)]
    scan = jax.jit(partial(loop.scan, step), static_argnums=3)(consts, carry, xs, T)
    fast = jax.jit(partial(loop.run, step), static_argnums=3)(consts, carry, xs, T)
    active(scan[1][0])
    equal(fast, scan, rtol=1e-12)

    trained = st.LIF(4, tau=st.Trainable(20.0))
    step, *_ = step_of(trained, jnp.ones(4))
    assert "exp" in [e.primitive.name for e in step.jaxpr.jaxpr.eqns]
    assert "exp" not in [e.primitive.name for e in hoist(step).step.jaxpr.jaxpr.eqns]


def test_the_gradient_of_recurrent_weights_is_one_product_after_the_loop():
    step, consts, carry = step_of(st.Recurrent(st.ALIF(8), rngs=nnx.Rngs(0)), jnp.ones((2, 8)), batch=(2,))
    xs = [jnp.ones((T, 2, 8))]
    grad = jax.grad(lambda consts: weighted(loop.run(step, consts, carry, xs, T)[1]))
    text = jax.jit(grad).lower(consts).compile().as_text()
    whole_trial = [line for line in text.splitlines() if "= f64[8,8]" in line and " dot(" in line]
    assert len(whole_trial) == 1, text


@pytest.mark.parametrize("model", [st.LIF(16), st.ALIF(16), st.Recurrent(st.LIF(16), rngs=nnx.Rngs(0))], ids=str)
def test_no_step_copies_a_whole_train(model):
    graphdef, state = nnx.split(model)
    x = jnp.ones((50, 2, 16))

    def loss(state, x):
        return jnp.sum(nnx.merge(graphdef, state, copy=True)(x * 1.5) ** 2)

    text = jax.jit(jax.grad(loss, argnums=1)).lower(state, x).compile().as_text()
    bodies = text.split("ENTRY")[0]
    assert "while(" in text
    assert not [line for line in bodies.splitlines() if "= f64[50,2,16]" in line and " copy(" in line]


@pytest.mark.parametrize(
    ("model", "inputs"),
    [(st.PoissonSpikes(4, 50.0 * u.Hz, rngs=nnx.Rngs(0)), ()), (st.Delay((4,), 3.0 * u.ms), (jnp.ones((T, 4)),))],
    ids=["random numbers", "delay line"],
)
def test_a_step_that_does_not_fit_takes_the_plain_loop_and_the_log_says_why(model, inputs, caplog):
    with caplog.at_level(logging.INFO, logger="spiketrain"):
        model(*inputs, length=T)
    assert f"{type(model).__name__} takes the plain loop over time: its step " in caplog.text


def test_memory_of_the_backward_pass_is_one_train_per_state():
    graphdef, state = nnx.split(st.LIF(64))
    x = jnp.ones((400, 8, 64))

    def temporaries(kind):
        def loss(x):
            with environ.context(loop=kind):
                return jnp.sum(nnx.merge(graphdef, state, copy=True)(x * 1.5) ** 2)

        return jax.jit(jax.grad(loss)).lower(x).compile().memory_analysis().temp_size_in_bytes

    train = x.size * x.dtype.itemsize
    assert temporaries("auto") < 2.2 * train < temporaries("scan")
