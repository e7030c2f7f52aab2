"""States: arrays with units, bare in the leaf; optimizers, splits and copies see plain arrays."""

import copy

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import spiketrain as st
from spiketrain.domain import POSITIVE

from helpers import active, equal
from models_table import BY_NAME, N, rows

pytestmark = pytest.mark.usefixtures("dt")

KINDS = [st.ShortTermState, st.LongTermState, st.ParamState]
every_kind = pytest.mark.parametrize("kind", KINDS)
every_row = pytest.mark.parametrize("row", BY_NAME.values(), ids=lambda row: row.name)


@every_kind
def test_the_leaf_is_bare_and_the_value_has_a_unit(kind):
    state = kind(jnp.arange(3.0) * u.mV)
    (leaf,) = jax.tree.leaves(state)
    assert isinstance(leaf, jax.Array) and isinstance(state.value, u.Quantity) and state.value.unit == u.mV
    assert isinstance(kind(jnp.arange(3.0)).value, jax.Array)


@every_kind
def test_the_setter_converts_and_keeps_the_dtype(kind):
    state = kind(jnp.zeros(3, jnp.bfloat16) * u.mV)
    state.value = np.array([1.0, 2.0, 3.0]) * 1e-3 * u.volt
    assert state.value.unit == u.mV and state.get_raw_value().dtype == jnp.bfloat16
    equal(state.get_raw_value().astype(jnp.float32), [1.0, 2.0, 3.0], rtol=1e-2)
    state.value = np.array([1, 2, 3]) * u.mV
    assert state.get_raw_value().dtype == jnp.bfloat16
    bare = kind(np.zeros(3, np.float32))
    bare.value = jnp.ones(3, jnp.int32)
    assert bare.value.dtype == jnp.float32


SETTER = {
    "another dimension": (1.0 * u.mV, 1.0 * u.nA, st.UnitError, ["`mV`", "1 nA"]),
    "no unit": (1.0 * u.mV, 1.0, st.UnitError, ["`mV`", "got 1", "`1.0 * u.mV`"]),
    "a unit": (1.0, 1.0 * u.mV, st.UnitError, ["1 mV"]),
    "another shape": (np.zeros(3), np.zeros(4), st.ShapeError, ["(3,)", "(4,)", "Broadcast"]),
    "a scalar": (np.zeros(3) * u.mV, 1.0 * u.mV, st.ShapeError, ["(3,)", "()", "Broadcast"]),
}


@every_kind
@pytest.mark.parametrize("what", SETTER)
def test_the_setter_refuses(kind, what):
    old, new, error, says = SETTER[what]
    state = kind(old)
    before = np.asarray(state.get_raw_value())
    with pytest.raises(error) as raised:
        state.value = new
    assert all(part in str(raised.value) for part in [f"{kind.__name__}.value", *says]), raised.value
    np.testing.assert_array_equal(state.get_raw_value(), before)


def test_the_setter_refuses_what_lies_outside_the_domain():
    state = st.ParamState(20.0 * u.ms, domain=POSITIVE)
    state.value = 5.0 * u.ms
    with pytest.raises(st.DomainError, match="ParamState.value must be greater than zero, got -1 ms"):
        state.value = -1.0 * u.ms
    equal(state.value.mantissa, 5.0, rtol=1e-6)


@every_kind
@pytest.mark.parametrize("value", [20 * u.ms, 20, np.arange(3), np.arange(3) * u.ms, True], ids=str)
def test_integers_become_floating(kind, value):
    assert jnp.issubdtype(kind(value).get_raw_value().dtype, jnp.floating)


@pytest.mark.parametrize(
    "value", [20, 20 * u.ms, np.full(N, 20), np.full(N, 20) * u.ms, np.float32(20), jnp.full(N, 20)], ids=repr
)
def test_an_integer_argument_can_be_trained(value):
    synapse = st.Expon(N, tau=st.Trainable(value))
    (leaf,) = jax.tree.leaves(nnx.state(synapse, nnx.Param))
    assert leaf.dtype == jnp.float32 and leaf.shape == (N,)
    slope = nnx.grad(lambda synapse: synapse(jnp.ones((5, N))).sum())(synapse)
    assert np.all(jax.tree.leaves(slope)[0] > 0)


def test_a_parameter_reads_as_it_was_written():
    for value in (20.0 * u.ms, np.full(N, 20.0) * u.ms, st.Trainable(20.0 * u.ms), 0.02 * u.second):
        tau = st.Expon(N, tau=value).tau
        equal(np.broadcast_to(tau.to_decimal(u.ms), N), np.full(N, 20.0), rtol=1e-6)
    kinds = [vars(st.Expon(N, tau=tau))["tau"] for tau in (20.0, np.full(N, 20.0), st.Trainable(20.0))]
    assert [isinstance(kind, nnx.Variable) for kind in kinds] == [False, True, True]
    assert [isinstance(kind, nnx.Param) for kind in kinds] == [False, False, True]


def test_a_parameter_set_later_is_checked_too():
    model = st.LIF(N)
    with pytest.raises(st.UnitError, match=r"LIF\(tau=...\) expects a quantity in units of `ms`, got 3 mV"):
        model.tau = 3.0 * u.mV
    with pytest.raises(st.DomainError, match=r"LIF\(tau=...\)"):
        model.tau = -3.0
    model.tau = 5.0
    assert model.tau == 5.0 and not hasattr(st.LIF.__new__(st.LIF), "tau")


def test_V_reset_is_V_rest_unless_it_is_given():
    for V_rest in (
        0.3,
        np.linspace(0.0, 0.5, N),
        st.Uniform(-0.5, 0.5),
        st.Trainable(st.Uniform(-0.5, 0.5)),
        st.Trainable(0.2),
    ):
        model = st.LIF(N, V_rest=V_rest, rngs=nnx.Rngs(0))
        equal(np.broadcast_to(model.V_reset, N), np.broadcast_to(model.V_rest, N), rtol=1e-7)
        assert len(jax.tree.leaves(nnx.state(model, nnx.Param))) == isinstance(V_rest, st.Trainable)


def test_every_physical_argument_may_be_drawn_and_trained():
    draws = dict(
        R=st.Uniform(0.5, 2.0), tau=st.Uniform(5.0, 20.0), V_th=st.Normal(1.0, 0.01), V_reset=st.Uniform(-1.0, 0.0),
        V_rest=st.Normal(0.0, 0.1), V_initializer=st.Uniform(0.0, 0.5), beta=st.Uniform(0.1, 0.2), tau_a=st.Uniform(50.0, 90.0),
    )  # fmt: skip
    for wrap in (lambda draw: draw, st.Trainable):
        model = st.ALIF(N, rngs=nnx.Rngs(0), **{name: wrap(draw) for name, draw in draws.items()})
        for name in draws:
            if name != "V_initializer" or wrap is st.Trainable:
                assert len(np.unique(getattr(model, name))) == N, name
        active(model(3.0 * jnp.ones((40, N))))
    assert len(jax.tree.leaves(nnx.state(model, nnx.Param))) == len(draws)


@every_row
def test_a_graph_definition_can_be_hashed_and_is_that_of_its_equals(row):
    a, b = nnx.graphdef(row.make()), nnx.graphdef(row.make())
    assert hash(a) == hash(b) and a == b


@every_row
def test_every_leaf_is_an_array(row):
    model = row.make()
    if isinstance(model, st.Dynamics):
        model.init_state()
    leaves = jax.tree.leaves(nnx.state(model))
    assert leaves and all(isinstance(leaf, jax.Array) for leaf in leaves)


@every_row
def test_calling_leaves_no_trial_behind_and_the_next_call_is_a_fresh_one(row):
    model, inputs = row.make(), row.inputs(24, batch=(2,))
    before = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model)))
    first = model(*inputs)
    active(row, first)
    equal(model(*inputs), first, rtol=0)
    assert not nnx.to_flat_state(nnx.state(model, st.ShortTermState))
    after = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model)))
    assert jax.tree.structure(before) == jax.tree.structure(after)
    assert all(map(np.array_equal, jax.tree.leaves(before), jax.tree.leaves(after)))


@pytest.mark.parametrize(
    "row",
    rows("ALIF-conductances", "Expon-COBA-LIF", "EI-circuit", "Layered-LeakyIntegrator"),
    ids=lambda row: row.name,
)
def test_split_merge_clone_and_copy_keep_the_model(row):
    model, inputs = row.make(), row.inputs(30)
    expected = model(*inputs)
    active(row, expected)
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    plain = nnx.to_pure_dict(params)
    for twin in (nnx.merge(graphdef, params, rest), nnx.clone(model), copy.deepcopy(model)):
        equal(twin(*inputs), expected, rtol=0)
        assert nnx.graphdef(twin) == graphdef
    other = row.make()
    nnx.update(other, jax.tree.map(lambda leaf: leaf + 1.0, params))
    nnx.update(other, params)
    equal(other(*inputs), expected, rtol=0)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(plain))
    assert repr(model)


def test_a_call_leaves_the_state_of_a_hand_stepped_model_alone():
    model = st.LIF(3, tau=5.0)
    model.init_state((2,))
    model.update(0.5)
    V = np.asarray(model.V.value)
    active(model(2.0 * jnp.ones((20, 2, 3))))
    equal(model.V.value, V, rtol=0)


# Training: a little regression, small enough to be compiled in no time.


class Trained(nnx.Module):
    def __init__(self):
        weight = st.Trainable(st.Normal(1.0 * u.nA, 0.3 * u.nA))
        self.dense = st.Dense(4, N, weight=weight, rngs=nnx.Rngs(0))
        self.neuron = st.LIF(
            N, tau=st.Trainable(10.0 * u.ms), V_th=10.0 * u.mV, V_rest=0.0 * u.mV, R=st.Trainable(10 * u.Mohm)
        )

    def __call__(self, x):
        return self.neuron(self.dense(x))


X = np.random.default_rng(0).binomial(1, 0.5, (30, 2, 4)).astype(np.float32)


def rate_loss(model, x):
    return jnp.mean((model(x).mean(0) - 0.3) ** 2)


def test_an_optimizer_trains_for_several_steps():
    """A Quantity in a Param would change the type of the optimizer's tree at the second step."""
    model = Trained()
    active(model(X))
    optimizer = nnx.Optimizer(model, optax.adam(0.05), wrt=nnx.Param)
    start = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model, nnx.Param)))

    @nnx.jit
    def step(model, optimizer, x):
        loss, gradient = nnx.value_and_grad(rate_loss)(model, x)
        optimizer.update(model, gradient)
        return loss

    losses = [float(step(model, optimizer, X)) for _ in range(12)]
    assert min(losses[-3:]) < losses[0] and all(np.isfinite(losses))
    end = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    assert jax.tree.structure(start) == jax.tree.structure(end)
    assert all(not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(start), jax.tree.leaves(end), strict=True))
    assert model.neuron.tau.unit == u.ms and model.dense.weight.value.unit == u.nA


def test_leaves_train_under_plain_jit_as_they_do_under_nnx():
    tx = optax.adam(0.05)
    graphdef, params, rest = nnx.split(Trained(), nnx.Param, ...)
    leaves, tree = jax.tree.flatten(params)

    @jax.jit
    def step(leaves, opt, x):
        loss = lambda leaves: rate_loss(nnx.merge(graphdef, jax.tree.unflatten(tree, leaves), rest, copy=True), x)  # noqa: E731
        value, gradient = jax.value_and_grad(loss)(leaves)
        updates, opt = tx.update(gradient, opt)
        return optax.apply_updates(leaves, updates), opt, value

    opt, plain = tx.init(leaves), []
    for _ in range(4):
        leaves, opt, value = step(leaves, opt, X)
        plain.append(value)

    model = Trained()
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    losses = []
    for _ in range(4):
        value, gradient = nnx.value_and_grad(rate_loss)(model, X)
        optimizer.update(model, gradient)
        losses.append(value)
    assert len(set(map(float, plain))) > 1
    equal(plain, losses, rtol=1e-4)


@pytest.mark.parametrize("step", [1.0, 30.0, -1.0, -30.0])
def test_a_trained_time_constant_stays_positive_and_keeps_its_gradient(step):
    """Also after absurd steps of the optimizer: a factor of e to the 30."""
    model = st.LeakyIntegrator(2, tau=st.Trainable(np.array([0.5, 30.0]) * u.ms), V_rest=0.0 * u.mV, R=1.0 * u.Mohm)
    slope = nnx.grad(lambda model: (model.tau / u.ms).sum())(model)
    optimizer = nnx.Optimizer(model, optax.sgd(step), wrt=nnx.Param)
    optimizer.update(model, jax.tree.map(jnp.sign, slope))

    tau = model.tau.to_decimal(u.ms)
    assert np.all(tau > 0) and np.all(np.isfinite(tau))
    V, slope = nnx.value_and_grad(lambda model: (model(jnp.ones((10, 2)) * u.nA)[-1] / u.mV).sum())(model)
    assert np.isfinite(V) and all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slope))
    slope = nnx.grad(lambda model: (model.tau / u.ms).sum())(model)
    assert all(np.all(leaf > 0) and np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slope))


def test_frozen_arguments_are_no_params():
    model = st.ALIF(N, tau=np.full(N, 9.0), tau_a=st.Trainable(50.0))
    names = ["/".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(model, nnx.Param))]
    assert names == ["tau_a"]
    assert [path[-1] for path, _ in nnx.to_flat_state(nnx.state(model, st.LongTermState))] == ["tau"]


def test_learning_by_plasticity_lasts():
    """A LongTermState that update writes is carried, written back, and goes on from there."""

    class Counter(st.Dynamics):
        def __init__(self):
            self.seen = st.LongTermState(jnp.zeros(()) * u.nS)

        def init_state(self, batch_shape=()):
            self.trial = st.ShortTermState(jnp.zeros(()))

        def update(self, x):
            self.trial.value = self.trial.value + x
            self.seen.value = self.seen.value + x * u.nS
            return self.trial.value

    model, x = Counter(), jnp.ones(5)
    equal(model(x), [1.0, 2.0, 3.0, 4.0, 5.0], rtol=0)
    equal(model(x), [1.0, 2.0, 3.0, 4.0, 5.0], rtol=0)
    assert float(model.seen.value / u.nS) == 10.0
    equal(st.unroll_in_pieces(model, x, steps=2), [1.0, 2.0, 3.0, 4.0, 5.0], rtol=0)
    _, carry = st.advance(model, None, x[:2])
    y, _ = st.advance(model, carry, x[2:])
    equal(y, [3.0, 4.0, 5.0], rtol=0)
    assert float(model.seen.value / u.nS) == 20.0


def test_two_modules_share_no_state():
    a = st.LIF(N, tau=st.Trainable(10.0))
    b = st.LIF(N, tau=st.Trainable(10.0))
    vars(a)["tau"].value = jnp.full(N, 5.0)
    assert np.all(np.asarray(b.tau) > 9.9)
