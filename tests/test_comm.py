"""Every comm equals a product with a dense matrix, in value and gradient, for any number of spikes."""

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as some

import spiketrain as st
from spiketrain.projections.comm import draw, event

from helpers import bare, equal, gradient
from models_table import matrix

pytestmark = [pytest.mark.usefixtures("x64", "dt"), pytest.mark.slow]


def per_connection(key, shape, dtype):
    return jax.random.normal(key, shape, dtype)


def explicit(n_in, n_out, weight, seed, rngs):
    """Draw pairs with repetition, many of them from one neuron, in no order."""
    rng = np.random.default_rng(seed)
    many = 40 + 3 * n_out
    pre = np.where(rng.random(many) < 0.8, rng.integers(n_in), rng.integers(n_in, size=many))
    return st.SparseComm(n_in, n_out, pre=pre, post=rng.integers(n_out, size=many), weight=weight, rngs=rngs)


SPARSE = {
    "FixedProb": lambda n_in, n_out, weight, seed, rngs: st.FixedProb(n_in, n_out, 0.5, weight, seed=seed, rngs=rngs),
    "FixedInDegree": lambda n_in, n_out, weight, seed, rngs: st.FixedInDegree(
        n_in, n_out, 1 + n_in // 3, weight, seed=seed, rngs=rngs
    ),
    "FixedOutDegree": lambda n_in, n_out, weight, seed, rngs: st.FixedOutDegree(
        n_in, n_out, 1 + n_out // 2, weight, seed=seed, rngs=rngs
    ),
    "SparseComm": explicit,
}


def inputs(rng, leading, n, active, graded):
    """Draw an input with a given number of non-zero entries in all."""
    x = np.zeros(int(np.prod((*leading, n))))
    where = rng.permutation(x.size)[: int(round(active * x.size))]
    x[where] = rng.normal(size=len(where)) if graded else 1.0
    return x.reshape(*leading, n)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SPARSE)
@settings(max_examples=5)  # every combination of shapes compiles afresh
@given(
    sizes=some.sampled_from([(1, 1), (7, 5), (40, 90)]),
    leading=some.sampled_from([(), (3,), (4, 2)]),
    active=some.sampled_from([0.0, 0.02, 0.3, 1.0]),
    graded=some.booleans(),
    shared=some.booleans(),
    seed=some.integers(0, 3),
)
def test_a_sparse_comm_equals_a_dense_product(kind, sizes, leading, active, graded, shared, seed):
    try:
        comm = SPARSE[kind](*sizes, 0.7 if shared else per_connection, seed, nnx.Rngs(seed))
    except st.DomainError:
        assert kind == "FixedProb" and sizes == (1, 1)  # where an empty network is likely
        return
    comm = trained(comm)
    dense = matrix(comm)
    rng = np.random.default_rng(seed)
    x, g = inputs(rng, leading, sizes[0], active, graded), rng.normal(size=(*leading, sizes[1]))

    equal(comm(x), x @ dense, rtol=1e-12)

    graphdef, params, rest = nnx.split(comm, nnx.Param, ...)
    run = jax.grad(lambda p, x: jnp.sum(nnx.merge(graphdef, p, rest, copy=True)(x) * g), argnums=(0, 1))
    (dw,), dx = (jax.tree.leaves(part) for part in run(params, jnp.asarray(x)))
    equal(dx, [g @ dense.T], rtol=1e-12)
    outer = (x.reshape(-1, sizes[0]).T @ g.reshape(-1, sizes[1]))[comm.pairs()]
    np.testing.assert_allclose(dw, np.sum(outer) if shared else outer, rtol=1e-11, atol=1e-11)


def trained(comm):
    """Have the weights trained."""
    comm.weight = st.ParamState(comm.weight.value)
    return comm


def test_the_cases_above_cut_hubs_into_runs_and_fill_several_turns():
    hub = explicit(40, 90, 1.0, 0, None)
    assert len(hub.pre) > len(np.unique(bare(hub.pre.get_raw_value()))) + 2
    comm = st.FixedOutDegree(5000, 40, 20, 1.0, seed=0)
    assert comm.layout.chunk * 4 < 5000
    x = jnp.ones((2, 5000))
    equal(comm(x), x @ matrix(comm), rtol=1e-12)


CASES = {
    "OneToOne": (lambda weight: st.OneToOne(6, weight=weight), np.diag(np.ones(6))),
    "AllToAll": (lambda weight: st.AllToAll(6, 4, weight=weight), np.ones((6, 4))),
    "AllToAll-no-autapses": (
        lambda weight: st.AllToAll(6, 6, weight=weight, allow_autapses=False),
        1 - np.eye(6),
    ),
    "FixedProb": (lambda weight: st.FixedProb(6, 4, 0.5, weight, seed=1), None),
    "Dense": (lambda weight: st.Dense(6, 4, weight=weight), np.ones((6, 4))),
}


@pytest.mark.parametrize("leading", [(), (3,), (5, 3)], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_weights_carry_units_and_are_trained_where_asked(name, leading):
    make, ones = CASES[name]
    comm = make(st.Trainable(0.6 * u.nS))
    ones = matrix(make(1.0)) if ones is None else ones
    x = np.random.default_rng(0).binomial(1, 0.5, (*leading, 6))

    out = comm(x)
    assert comm.unit == u.nS and out.unit == u.nS
    equal(bare(out), 0.6 * x @ ones, rtol=1e-12)
    equal(bare(comm(x * 2.0 * u.mV), u.pA), 1.2 * x @ ones, rtol=1e-12)
    for dtype in (bool, np.int32, np.uint8, np.float32):
        equal(bare(comm(x.astype(dtype))), 0.6 * x @ ones, rtol=1e-6)
    (slope,) = jax.tree.leaves(gradient(comm, lambda comm: jnp.sum(bare_of(comm(x)))))
    np.testing.assert_allclose(np.sum(slope), np.sum(x @ ones), rtol=1e-12)
    assert not jax.tree.leaves(nnx.state(make(0.6 * u.nS), nnx.Param))


def bare_of(x):
    return x.mantissa


def test_one_to_one_takes_one_weight_per_neuron():
    weight = np.arange(1.0, 7.0)
    equal(st.OneToOne(6, weight=weight)(jnp.ones((2, 6))), np.tile(weight, (2, 1)), rtol=0)


def test_a_sparse_comm_runs_in_a_circuit_and_under_vmap():
    comm = st.FixedProb(30, 20, 0.3, per_connection, seed=0, rngs=nnx.Rngs(0))
    x = np.random.default_rng(0).binomial(1, 0.2, (4, 30)).astype(float)
    equal(jax.vmap(comm)(x), x @ matrix(comm), rtol=1e-12)
    g = jax.vmap(jax.grad(lambda x: jnp.sum(comm(x) ** 2)))(x)
    equal(g, 2 * x @ matrix(comm) @ matrix(comm).T, rtol=1e-12)


@pytest.mark.parametrize(
    "comm", [st.Dense(12, 4, weight=0.3), st.Conv((4, 3), 2, (2,), weight=0.3)], ids=lambda c: type(c).__name__
)
def test_a_product_is_in_full_precision_unless_another_is_asked_for(comm):
    """An accelerator would make 0.30004883 of 0.3."""
    x = jnp.ones(comm.in_size, jnp.float32)
    assert "HIGHEST" in str(jax.make_jaxpr(comm)(x))
    with jax.default_matmul_precision("tensorfloat32"):
        assert "HIGHEST" not in str(jax.make_jaxpr(lambda x: comm(x))(x))


def test_a_train_of_no_steps_is_none():
    """`advance` begins a trial with one."""
    comm = st.FixedProb(30, 20, 0.2, 0.5 * u.nS, seed=0)
    empty = comm(jnp.zeros((0, 4, 30)))
    assert empty.shape == (0, 4, 20) and u.get_unit(empty) == u.nS
    spikes = jnp.asarray(np.random.default_rng(0).binomial(1, 0.2, (20, 4, 30)).astype(float))
    projection = st.AlignPostProj(comm, st.Expon(20, tau=3.0 * u.ms), st.CUBA())
    whole = projection(spikes)
    assert np.any(whole.I.mantissa)
    np.testing.assert_allclose(st.unroll_in_pieces(projection, spikes, steps=7).I.mantissa, whole.I.mantissa, rtol=1e-6)


def test_gradients_through_time_equal_those_of_the_dense_product():
    rng = np.random.default_rng(0)
    sparse = st.FixedProb(12, 12, 0.4, st.Trainable(per_connection), seed=1, rngs=nnx.Rngs(0))
    dense = st.Dense(12, 12, weight=st.Trainable(matrix(sparse)))
    x, loss = jnp.asarray(rng.normal(1.0, 2.0, (25, 3, 12))), rng.normal(size=(25, 3, 12))

    class Net(st.Dynamics):
        in_size = (12,)

        def __init__(self, comm):
            self.comm, self.lif = comm, st.LIF(12, tau=5.0)

        def update(self, current):
            return self.lif.update(current, self.comm(self.lif.spikes))

    a, b = Net(sparse), Net(dense)
    assert jnp.any(a(x)) and not jnp.all(a(x))
    equal(a(x), b(x), rtol=0)
    (da,), (db,) = (jax.tree.leaves(gradient(net, lambda net: jnp.sum(net(x) * loss))) for net in (a, b))
    np.testing.assert_allclose(da, db[sparse.pairs()], rtol=1e-9, atol=1e-12)
    slope_a, slope_b = (jax.grad(lambda x, net=net: jnp.sum(net(x) * loss))(x) for net in (a, b))
    equal(slope_a, slope_b, rtol=1e-10)


def test_NaN_reaches_the_targets_and_no_others():
    comm = st.SparseComm(3, 4, pre=[0, 1, 1], post=[0, 1, 3], weight=2.0)
    np.testing.assert_array_equal(np.isnan(comm(jnp.array([1.0, jnp.nan, 0.0]))), [False, True, False, True])


def test_degrees_are_what_they_are_called():
    out = matrix(st.FixedOutDegree(30, 50, 40, 1.0, seed=0))
    into = matrix(st.FixedInDegree(30, 50, 7, 1.0, seed=0))
    assert set(out.sum(1)) == {40.0} and set(np.unique(out)) == {0.0, 1.0} and len(set(out.sum(0))) > 1
    assert set(into.sum(0)) == {7.0} and set(np.unique(into)) == {0.0, 1.0} and len(set(into.sum(1))) > 1
    for comm in (st.FixedOutDegree(9, 9, 9, 1.0, seed=0), st.FixedInDegree(9, 9, 9, 1.0, seed=0)):
        assert np.all(matrix(comm) == 1)


@pytest.mark.parametrize("kind", [st.FixedInDegree, st.FixedOutDegree])
@pytest.mark.parametrize("degree", [3, 8])
def test_autapses_can_be_left_out(kind, degree):
    with_, without = (matrix(kind(9, 9, degree, 1.0, seed=0, allow_autapses=allow)) for allow in (True, False))
    assert np.trace(with_) > 0 and np.trace(without) == 0
    assert without.sum() == 9 * degree
    assert np.trace(matrix(st.FixedProb(40, 40, 0.5, 1.0, seed=0, allow_autapses=False))) == 0
    assert np.all(matrix(st.FixedProb(9, 9, 1.0, 1.0, seed=0, allow_autapses=False)) == 1 - np.eye(9))


def test_every_pair_is_connected_with_the_given_probability():
    """The number of connections of a pair over seeds is binomial, wherever the pair lies."""
    seeds, prob = 400, 0.3
    total = sum(matrix(st.FixedProb(8, 5, prob, 1.0, seed=seed)) for seed in range(seeds))
    sigma = np.sqrt(seeds * prob * (1 - prob))
    assert np.all(np.abs(total - seeds * prob) < 4.5 * sigma)
    degrees = matrix(st.FixedProb(2000, 100, prob, 1.0, seed=0)).sum(1)
    np.testing.assert_allclose(degrees.var(), 100 * prob * (1 - prob), rtol=0.15)  # binomial, not fixed


@pytest.mark.parametrize("k", [2, 4])
def test_every_subset_is_equally_likely(k):
    rows = 30_000
    drawn = draw.subsets(np.random.default_rng(0), rows, 6, k)
    assert np.all(np.diff(drawn, axis=1) > 0)
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(counts) == 15
    assert np.all(np.abs(counts - rows / 15) < 4.5 * np.sqrt(rows / 15))


def test_equal_seeds_give_equal_connections():
    for make in (
        lambda seed: st.FixedProb(20, 30, 0.2, 1.0, seed=seed),
        lambda seed: st.FixedInDegree(20, 30, 4, 1.0, seed=seed),
        lambda seed: st.FixedOutDegree(20, 30, 4, 1.0, seed=seed),
    ):
        np.testing.assert_array_equal(matrix(make(3)), matrix(make(3)))
        assert np.any(matrix(make(3)) != matrix(make(4)))


def test_a_scipy_matrix_is_taken_in_any_format():
    sparse = pytest.importorskip("scipy.sparse")
    dense = np.random.default_rng(0).normal(size=(7, 5)) * (np.random.default_rng(1).random((7, 5)) < 0.4)
    x = np.random.default_rng(2).normal(size=(3, 7))
    for kind in (sparse.csr_array, sparse.csc_array, sparse.coo_matrix, sparse.lil_array):
        equal(st.SparseComm.from_scipy(kind(dense))(x), x @ dense, rtol=1e-12)
    comm = st.SparseComm.from_scipy(sparse.coo_array(dense), unit=u.nS, trainable=True)
    assert comm.unit == u.nS and len(jax.tree.leaves(nnx.state(comm, nnx.Param))) == 1
    with pytest.raises(st.ShapeError, match="pip install scipy"):
        st.SparseComm.from_scipy(dense)


def test_connections_are_integers_that_nothing_trains_or_writes():
    comm = st.FixedProb(30, 20, 0.3, st.Trainable(0.5), seed=0)
    assert [leaf.shape for leaf in jax.tree.leaves(nnx.state(comm, nnx.Param))] == [()]
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(comm, nnx.Not(nnx.Param)))} == {jnp.dtype("int32")}
    projection = st.AlignPostProj(comm, st.Expon(20), st.CUBA())
    before = jax.tree.leaves(nnx.state(projection))
    projection(jnp.ones((5, 30)))
    assert all(a is b for a, b in zip(before, jax.tree.leaves(nnx.state(projection)), strict=True))


ERRORS = [
    (lambda: st.FixedProb(5, 5, 0.0, 1.0, seed=0), st.DomainError, "prob"),
    (lambda: st.FixedProb(2, 2, 1e-9, 1.0, seed=0), st.DomainError, "has no connection"),
    (lambda: st.FixedProb(1, 1, 1.0, 1.0, seed=0, allow_autapses=False), st.DomainError, "has no connection"),
    (lambda: st.FixedProb(5, 6, 0.5, 1.0, seed=0, allow_autapses=False), st.ShapeError, "one population"),
    (lambda: st.FixedInDegree(5, 6, 6, 1.0, seed=0), st.DomainError, "from 1 to 5, got 6"),
    (lambda: st.FixedOutDegree(5, 6, 0, 1.0, seed=0), st.DomainError, "from 1 to 6, got 0"),
    (lambda: st.FixedOutDegree(5, 6, 2.0, 1.0, seed=0), st.DomainError, "integer"),
    (lambda: st.FixedOutDegree(5, 5, 5, 1.0, seed=0, allow_autapses=False), st.DomainError, "from 1 to 4"),
    (lambda: st.FixedOutDegree(5, 6, 2, 1.0, seed=0, allow_autapses=False), st.ShapeError, "one population"),
    (lambda: st.FixedOutDegree(5, 6, 2, np.ones(3), seed=0), st.ShapeError, r"\(10,\)"),
    (lambda: st.AllToAll(5, 6, weight=np.ones((5, 6))), st.ShapeError, "must be a scalar"),
    (lambda: st.AllToAll(5, 6, weight=1.0, allow_autapses=False), st.ShapeError, "one population"),
    (lambda: st.OneToOne(5, weight=np.ones(6)), st.ShapeError, r"\(5,\)"),
    (lambda: st.OneToOne(5, weight="strong"), st.UnitError, "expects a number"),
    (lambda: st.OneToOne((5, 2), weight=1.0), st.ShapeError, "one number each"),
    (lambda: st.SparseComm(3, 3, pre=[0, 3], post=[0, 1], weight=1.0), st.DomainError, r"pre=.*0\.\.2"),
    (lambda: st.SparseComm(3, 3, pre=[0, 1], post=[0], weight=1.0), st.ShapeError, "equal length"),
    (lambda: st.SparseComm(3, 3, pre=[0.5], post=[0], weight=1.0), st.ShapeError, "integers"),
    (lambda: st.SparseComm(3, 3, pre=[], post=[], weight=1.0), st.DomainError, "has no connection"),
    (lambda: st.OneToOne(5, weight=1.0)(jnp.ones((5, 6))), st.ShapeError, r"\(\.\.\., 5\)"),
    (lambda: st.Sum(), st.ShapeError, "at least one"),
    (lambda: st.Sum(st.OneToOne(5, weight=1.0), st.OneToOne(6, weight=1.0)), st.ShapeError, "one population"),
    (lambda: st.Sum(st.OneToOne(5, weight=1.0), st.OneToOne(5, weight=1 * u.nS)), st.UnitError, "one kind"),
    (lambda: st.Sum(st.OneToOne(5, weight=1.0))(jnp.ones(5), jnp.ones(5)), st.ShapeError, "got 2"),
]


@pytest.mark.parametrize("call, error, words", ERRORS, ids=[words for *_, words in ERRORS])
def test_errors_name_the_argument(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_sum_adds_pathways_of_different_sizes_and_units():
    a, b = st.Dense(4, 3, weight=2.0 * u.nS), st.FixedProb(6, 3, 0.5, 1e-3 * u.uS, seed=0)
    both = st.Sum(a, b)
    x, y = np.random.default_rng(0).normal(size=(2, 4)), np.random.default_rng(1).normal(size=(2, 6))
    equal(bare(both(x, y), u.nS), 2.0 * x @ np.ones((4, 3)) + y @ (matrix(b) * 1e3), rtol=1e-12)
    assert both.in_size is None and st.Sum(a, a).in_size == (4,)


@pytest.mark.slow
def test_a_large_network_is_built_and_run():
    comm = st.FixedInDegree(20_000, 20_000, 100, 0.5 * u.nS, seed=0)
    assert comm.connections == 2_000_000
    pre, post = comm.pairs()
    assert np.all(np.bincount(post) == 100) and np.all(np.diff(pre) >= 0)
    x = jnp.zeros((2, 20_000)).at[:, ::500].set(1.0)
    expected = np.bincount(post[pre % 500 == 0], minlength=20_000) * 0.5
    equal(bare(comm(x)), np.stack([expected] * 2), rtol=1e-12)


def test_runs_lie_where_the_connections_lie():
    counts = np.array([0, 3, 200, 0, 1])
    runs, layout = event.cut(counts, np.arange(204), 300)
    covered = np.concatenate([np.arange(a, b) for a, b in zip(runs.start, runs.stop, strict=True)])
    np.testing.assert_array_equal(covered, np.arange(204))
    assert np.all(runs.stop - runs.start <= layout.width)
    np.testing.assert_array_equal(np.repeat(runs.pre, runs.stop - runs.start), np.repeat(np.arange(5), counts))
