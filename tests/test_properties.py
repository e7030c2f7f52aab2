"""What every row of the table has in common, in single precision and with State in half of it.

Elsewhere, for every row: equality with a reference, single and batched (`test_reference.py`); the compiled loop equals
stepping by hand, which is never compiled (`test_unroll.py`).
"""

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import spiketrain as st
from spiketrain import environ
from spiketrain.neurons.base import Cell
from spiketrain.parameter import Parameter
from spiketrain.projections.comm.base import Comm
from spiketrain.projections.comm.sparse import Wiring
from spiketrain.state import State
from spiketrain.synapses.base import Synapse
from spiketrain.units import Constant
from spiketrain.unroll import _run

from helpers import active, bare, equal, record
from models_table import CASES, PRE, N

pytestmark = pytest.mark.slow

T, B = 40, 3
ORDERS = {size: np.random.default_rng(size).permutation(size) for size in (N, PRE)}
COUNTERS = ("refractory_steps", "left", "above")  # what counts, or marks, stays in the dtype of the parameters
by_row = pytest.mark.parametrize("row", CASES, ids=lambda row: row.name)
QUICKLY = {"xla_backend_optimization_level": 0}  # compiling takes longer than running


@pytest.fixture(autouse=True)
def time_step(request):
    row = request.getfixturevalue("row") if "row" in request.fixturenames else None
    with environ.context(dt=(0.1 if row is None else row.dt) * u.ms):
        yield


def independent(row):
    """Whether no neuron of the row hears of another."""
    return isinstance(row.make(), Cell | Synapse)


def in_order(tree):
    """Put neurons in another order, in every axis that counts them."""

    def take(leaf):
        for axis in range(leaf.ndim):
            if leaf.shape[axis] in ORDERS:
                leaf = jnp.take(leaf, ORDERS[leaf.shape[axis]], axis)
        return leaf

    return jax.tree.map(take, tree)


def at(inputs, steps, row, neuron, value):
    """Replace what one neuron of one row gets as its first input."""
    leaves, treedef = jax.tree.flatten(inputs)
    return treedef.unflatten([leaves[0].at[steps, row, neuron].set(value), *leaves[1:]])


@by_row
def test_shape_dtype_rows_order_and_NaN(row):
    """All of it runs one compiled loop."""
    inputs = row.inputs(T, batch=(B,))
    model = row.make()
    out, trains = record(model, *inputs)
    compiled = _run._cache_size()
    active(row, out)

    # One number per step, row and neuron, in single precision.
    for leaf in (*jax.tree.leaves(out), *trains.values()):
        assert bare(leaf).shape[:2] == (T, B) and bare(leaf).shape[2:] in ((N,), (PRE,))
        assert bare(leaf).dtype == np.float32

    # Other rows of the batch change nothing in this one; what was there first is not seen.
    others = jax.tree.map(lambda x: x.at[:, 1:].set(x[:, 1:][:, ::-1]), inputs)
    again, _ = record(row.make(), *others)
    np.testing.assert_array_equal(bare(again)[:, 0], bare(out)[:, 0])
    assert not np.array_equal(bare(again), bare(out))

    # Neurons in another order do the same in that order.
    if not any(isinstance(leaf, Wiring) for _, leaf in nnx.to_flat_state(nnx.state(model))):
        graphdef, state = nnx.split(row.make())
        moved, _ = record(nnx.merge(graphdef, in_order(state)), *in_order(inputs))
        equal(bare(moved), bare(in_order(out)), rtol=1e-4)
        assert not np.array_equal(bare(moved), bare(out))

    # One NaN is seen for ever in its neuron, or in all that hear of it, and nowhere else.
    start = T // 2
    until = start + (12 if "refractory" in row.name else 1)  # what arrives in a refractory period is lost, NaN too
    hurt, _ = record(row.make(), *at(inputs, slice(start, until), 1, 2, jnp.nan))
    lost = np.isnan(bare(hurt))
    np.testing.assert_array_equal(bare(hurt)[~lost], bare(out)[~lost])
    assert lost[until:, 1].any(-1).all() and not lost[:start].any() and not lost[:, [0, 2]].any()
    if independent(row):
        assert lost[until:, 1, 2].all() and lost.any((0, 1)).sum() == 1

    assert _run._cache_size() == compiled


@by_row
def test_vmap_over_another_axis_equals_a_loop(row):
    one, other = (row.inputs(T, batch=(B,), seed=seed) for seed in (0, 1))
    model = row.make()
    both = jax.vmap(model)(*jax.tree.map(lambda *x: jnp.stack(x), one, other))
    for n, inputs in enumerate((one, other)):
        expected, _ = record(model, *inputs)
        active(row, expected)
        equal(jax.tree.map(lambda y, n=n: y[n], both), expected, rtol=1e-4)


@by_row
def test_a_step_with_State_in_half_precision_is_the_step_rounded(row):
    """Every step of a trial is computed again in single precision from the State before it."""
    inputs = row.inputs(T, batch=(B,))
    with environ.context(dtype=jnp.bfloat16):
        model = row.make()
        out, trains = record(model, *inputs)
        model.init_state((B,))
        kept = nnx.to_flat_state(nnx.state(model, st.ShortTermState))
    assert len(kept) == len(trains)
    for path, state in kept:
        counts = path[-1] in COUNTERS
        assert state.get_raw_value().dtype == (jnp.float32 if counts else jnp.bfloat16), path
    assert any(np.ptp(bare(train)) > 0 for train in trains.values())
    assert {leaf.dtype for leaf in jax.tree.leaves((out, trains))} == {jnp.dtype("float32")}

    single = row.make()  # the steps side by side, as rows of one batch
    single.init_state((T - 1, B))
    graphdef, short, rest = nnx.split(single, st.ShortTermState, ...)
    for path, state in nnx.to_flat_state(short):
        assert state.get_raw_value().dtype == jnp.float32
        state.value = trains["/".join(map(str, path))][:-1]

    def step(short, inputs):
        model = nnx.merge(graphdef, short, rest, copy=True)
        return model.update(*inputs), nnx.state(model, st.ShortTermState)

    stepped, short = jax.jit(step, compiler_options=QUICKLY)(short, jax.tree.map(lambda x: x[1:], inputs))
    expected = {"/".join(map(str, path)): bare(state.value) for path, state in nnx.to_flat_state(short)}
    if not row.spiking:  # the thresholds of what differs by rounding may
        expected["out"], trains["out"] = bare(stepped), out
    for name, train in expected.items():
        kept_train = bare(trains[name])[1:]
        exact = name.endswith(COUNTERS)
        largest = np.max(np.abs(train), initial=0.0)
        rtol, atol = (1e-6, 0.0) if exact else (2**-7, 2**-7 * largest)
        np.testing.assert_allclose(kept_train, train, rtol=rtol, atol=atol, err_msg=name)


def trained(row, monkeypatch):
    """Build the model of a row with every physical argument and every weight a Param."""
    store = Parameter.store

    def store_trained(argument, instance, value):
        whole_steps = argument.name in ("tau_ref", "time")
        given = isinstance(value, st.Trainable | State | Constant)
        return store(argument, instance, value if whole_steps or given else st.Trainable(value))

    monkeypatch.setattr(Parameter, "store", store_trained)
    model = row.make()
    for _, module in nnx.iter_modules(model):
        if isinstance(module, Comm):
            module.weight = st.ParamState(module.weight.value)
    return model


# What has no influence: a neuron that receives jumps alone needs no resistance.
IDLE = {"Instant-Delta-LIF": {"neuron/R"}}


@pytest.mark.slow
@by_row
def test_gradients_reach_every_argument_and_input(row, monkeypatch):
    inputs = row.inputs(T, batch=(B,))
    graphdef, params, rest = nnx.split(trained(row, monkeypatch), nnx.Param, ...)

    def loss(params, inputs):
        out = nnx.merge(graphdef, params, rest, copy=True)(*inputs)
        return jnp.sum(u.get_mantissa(out) * np.random.default_rng(5).normal(size=out.shape)), out

    differentiate = jax.grad(loss, argnums=(0, 1), has_aux=True)
    (by_params, by_inputs), out = jax.jit(differentiate, compiler_options=QUICKLY)(params, inputs)
    active(row, out)
    slopes = {"/".join(map(str, path)): leaf.get_raw_value() for path, leaf in nnx.to_flat_state(by_params)}
    assert slopes
    for name, slope in [*slopes.items(), *(("inputs", leaf) for leaf in jax.tree.leaves(by_inputs))]:
        assert np.all(np.isfinite(slope)), name
        assert np.any(slope) or name in IDLE.get(row.name, ()), name


# Models of more than one axis, and a drive at which something happens.
SHAPED = {
    st.LIF: 9.0,
    st.ALIF: 9.0,
    st.IF: 9.0,
    st.LeakyIntegrator: 1.0,
    st.ExpIF: 2.0 * u.nA,
    st.AdExIF: 8.0 * u.nA,
    st.QuaIF: 3.0 * u.nA,
    st.AdQuaIF: 3.0 * u.nA,
    st.Izhikevich: 60.0 * u.nA,
    st.Gif: 20.0 * u.nA,
    st.SEAdLIF: 9.0,
    st.BRF: 90.0,
    st.CSiLIF: 9.0,
    st.HH: 40.0 * u.uA / u.cm**2,
    st.WangBuzsakiHH: 20.0 * u.uA / u.cm**2,
    st.Expon: 1.0,
    st.Alpha: 1.0,
    st.DualExpon: 1.0,
    st.STP: 1.0,
    st.HighPass: 1.0,
    st.AMPA: 1.0,
    st.GABAa: 1.0,
    st.BioNMDA: 1.0,
}


@pytest.mark.parametrize("kind", SHAPED, ids=lambda kind: kind.__name__)
def test_neurons_in_two_axes_are_neurons_in_a_row(kind):
    on = np.random.default_rng(3).binomial(1, 0.8, (60, 2, 6)).astype(np.float32)
    flat = kind(6)(on * SHAPED[kind])
    shaped = kind((2, 3))(on.reshape(60, 2, 2, 3) * SHAPED[kind])
    assert shaped.shape == (60, 2, 2, 3) and np.ptp(bare(flat)) > 0
    equal(bare(shaped).reshape(flat.shape), bare(flat), rtol=1e-6)


@pytest.mark.parametrize("neuron", [st.LIF, st.ALIF, st.IF])
def test_half_precision_counts_a_long_refractory_period_exactly(neuron):
    """bfloat16 by itself counts to 256."""
    with environ.context(dtype=jnp.bfloat16):
        s = neuron(1, tau=0.1, tau_ref=30.0, reset=st.HardReset())(np.full((1000, 1), 9.0))
    assert set(np.diff(np.flatnonzero(s))) == {301} and s.sum() == 4


def test_half_precision_follows_single_precision_while_nothing_is_near_threshold():
    x = np.random.default_rng(0).normal(0.5, 0.3, (200, 3, N)).astype(np.float32)
    cell = st.LeakyIntegrator(N, tau=1.0)
    single = np.asarray(cell(x))
    with environ.context(dtype=jnp.bfloat16):
        half = np.asarray(cell(x))
    errors = np.abs(half - single)
    bound = 2**-9 / (1 - np.exp(-0.1)) * np.abs(half).max()  # half a unit in the last place, in every step
    assert 0 < errors.max() < bound


def test_gradients_pass_through_State_in_half_precision():
    x = np.random.default_rng(0).normal(2.0, 2.0, (60, 3, N)).astype(np.float32)

    def slope():
        graphdef, params = nnx.split(st.ALIF(N, tau=st.Trainable(1.0), tau_a=4.0, beta=0.3))
        return jax.grad(lambda p: nnx.merge(graphdef, p, copy=True)(x).sum())(params)["tau"].get_raw_value()

    single = slope()
    with environ.context(dtype=jnp.bfloat16):
        half = slope()
    assert half.dtype == jnp.float32 and np.all(np.isfinite(half)) and np.all(half != single)
    assert np.corrcoef(half, single)[0, 1] > 0.95
