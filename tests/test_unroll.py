"""One loop over time: it equals stepping by hand, and a trial in pieces equals the whole."""

from functools import partial

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import spiketrain as st

from helpers import active, bare, by_hand, equal, gradient, record
from models_table import CASES, NETS, rows

pytestmark = pytest.mark.usefixtures("x64", "dt")

T, BATCH = 20, (3,)
SOME = rows(
    "LIF-soft",
    "ALIF-hard-units",
    "LIF-conductances",
    "LeakyIntegrator-conductances",
    "Expon",
    "Alpha-units",
    "Expon-COBA-LIF",
    "Recurrent-ALIF",
    "EI-circuit",
)
PIECEWISE = [*rows("LIF-conductances", "ALIF", "Alpha-units", "Recurrent-LIF-units", "EI-circuit"), *NETS]
named = partial(pytest.mark.parametrize, "row", ids=lambda row: row.name)


def weighted(out, seed=5):
    """Reduce any output to one number whose gradient reaches every entry."""
    total = 0.0
    for i, leaf in enumerate(jax.tree.leaves(out)):
        total += jnp.sum(leaf * np.random.default_rng(seed + i).normal(size=leaf.shape))
    return total


@named(CASES)
def test_unroll_equals_stepping_by_hand(row):
    inputs = row.inputs(T, batch=BATCH)
    hand = row.make()
    expected = by_hand(hand, *inputs, batch=BATCH)

    model = row.make()
    out, trains = record(model, *inputs)

    active(row, out)
    equal(out, expected, rtol=1e-12)
    last = nnx.to_flat_state(nnx.state(hand, st.ShortTermState))
    assert len(last) == len(trains) > 0
    for path, state in last:
        equal(trains["/".join(map(str, path))][-1], state.value, rtol=1e-12, what=str(path))


@named(rows("LIF-conductances", "Recurrent-ALIF", "EI-circuit", "Expon-COBA-LIF"))
def test_unroll_works_under_jit(row):
    inputs = row.inputs(T, batch=BATCH)
    model = row.make()
    expected = model(*inputs)
    active(row, expected)
    equal(jax.jit(lambda *inputs: model(*inputs))(*inputs), expected, rtol=1e-12)
    equal(nnx.jit(lambda model, *inputs: model(*inputs))(model, *inputs), expected, rtol=1e-12)
    graphdef, leaves = nnx.split(model)
    equal(jax.jit(lambda leaves, *inputs: nnx.merge(graphdef, leaves)(*inputs))(leaves, *inputs), expected, rtol=1e-12)


@named([*SOME, *NETS])
def test_two_pieces_through_advance_equal_the_whole(row):
    inputs = row.inputs(T, batch=BATCH)
    model = row.make()
    whole = model(*inputs)
    active(row, whole)

    first, carry = st.advance(model, None, *jax.tree.map(lambda x: x[:9], inputs))
    second, carry = st.advance(model, carry, *jax.tree.map(lambda x: x[9:], inputs))

    equal(jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, second), whole, rtol=1e-12)
    equal(model(*inputs), whole, rtol=0)  # a call between pieces starts a fresh trial


def test_a_projection_hands_on_its_carry():
    """Its output is a Conductance; its update, its call and its pieces say the same."""
    row = rows("Expon-COBA-LIF")[0]
    (spikes,) = row.inputs(T, batch=BATCH)
    projection = row.make().projections[0]

    whole = projection(spikes)
    first, carry = st.advance(projection, None, spikes[:10])
    second, _ = st.advance(projection, carry, spikes[10:])
    stepped = by_hand(projection, spikes, batch=BATCH)

    assert isinstance(whole, st.Conductance) and u.get_unit(whole.g) == u.nS and bare(whole.g).max() > 0
    equal(jnp.concatenate([first.g.mantissa, second.g.mantissa]), whole.g.mantissa, rtol=1e-12)
    equal(stepped.g, whole.g, rtol=1e-12)


def test_streaming_one_step_at_a_time_equals_the_whole():
    row = rows("Recurrent-ALIF")[0]
    (x,) = row.inputs(T, batch=BATCH)
    model, carry, out = row.make(), None, []
    for n in range(T):
        y, carry = st.advance(model, carry, x[n : n + 1])
        out.append(y)
    active(row, jnp.concatenate(out))
    equal(jnp.concatenate(out), model(x), rtol=1e-12)


def test_zero_steps_make_the_carry_of_a_fresh_trial():
    row = rows("Layered-LeakyIntegrator")[0]
    (x,) = row.inputs(T, batch=BATCH)
    model = row.make()
    empty, carry = st.advance(model, None, x[:0])
    assert empty.shape == (0, *BATCH, 3)
    equal(st.advance(model, carry, x)[0], model(x), rtol=0)


def test_a_carry_can_be_used_again():
    """Advancing leaves the carry that it was given as it was, even where the model is stepped by hand."""
    model = st.LIF(3, tau=5.0)
    _, carry = st.advance(model, None, 2.0 * jnp.ones((4, 3)))
    before = jax.tree.map(np.asarray, carry)

    def one_step(model, x):
        return model.update(x)

    a = st.advance(model, carry, 2.0 * jnp.ones(3), method=one_step)
    b = st.advance(model, carry, 2.0 * jnp.ones(3), method=one_step)
    equal(carry, before, rtol=0)
    equal(a, b, rtol=0)


def test_advance_runs_under_jit_with_the_carry_as_argument_and_result():
    row = rows("Layered-LeakyIntegrator")[0]
    (x,) = row.inputs(T, batch=BATCH)
    graphdef, leaves = nnx.split(row.make())

    @jax.jit
    def piece(leaves, carry, x):
        return st.advance(nnx.merge(graphdef, leaves), carry, x)

    first, carry = piece(leaves, None, x[:8])
    second, carry = piece(leaves, carry, x[8:16])
    third, carry = piece(leaves, carry, x[16:])
    equal(jnp.concatenate([first, second, third]), row.make()(x), rtol=1e-12)


def test_advance_reaches_states_inside_lists_and_mappings():
    class Net(nnx.Module):
        def __init__(self):
            self.layers = nnx.Dict(
                first=st.LIF(4, tau=4.0), rest=nnx.List([st.ALIF(4, tau=3.0), st.LeakyIntegrator(4)])
            )

        def __call__(self, x):
            return self.layers.rest[1](self.layers.rest[0](3.0 * self.layers["first"](x)))

    x = jax.random.uniform(jax.random.key(0), (T, 2, 4), maxval=6.0)
    for model in (Net(), nnx.Sequential(st.LIF(4, tau=4.0), st.LeakyIntegrator(4))):
        whole = model(x)
        assert jnp.ptp(whole) > 0
        first, carry = st.advance(model, None, x[:10])
        second, _ = st.advance(model, carry, x[10:])
        equal(jnp.concatenate([first, second]), whole, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    "row, steps", [*((row, 8) for row in PIECEWISE), (NETS[0], 10)], ids=lambda x: getattr(x, "name", x)
)
def test_a_trial_in_pieces_equals_the_whole_in_values_and_gradients(row, steps):
    inputs = row.inputs(T, batch=BATCH)
    graphdef, params, rest = nnx.split(row.make(), nnx.Param, ...)

    def loss(params, inputs, in_pieces):
        model = nnx.merge(graphdef, params, rest, copy=True)
        out = st.unroll_in_pieces(model, *inputs, steps=steps) if in_pieces else model(*inputs)
        return weighted(out), out

    gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True), static_argnums=2)
    (_, whole), expected = gradient(params, inputs, False)
    (_, pieces), actual = gradient(params, inputs, True)

    active(row, whole)
    equal(pieces, whole, rtol=1e-12)
    equal(actual, expected, rtol=1e-9)
    assert all(np.any(leaf) for leaf in map(np.asarray, jax.tree.leaves(expected)))


@pytest.mark.parametrize("steps", [T, T + 7])
def test_truncated_gradients_over_the_whole_trial_are_those_of_the_whole(steps):
    row = rows("Layered-LeakyIntegrator")[0]
    (x,) = row.inputs(T, batch=BATCH)
    full = gradient(row.make(), lambda model: weighted(model(x)))
    truncated = gradient(row.make(), lambda model: weighted(st.unroll_in_pieces(model, x, steps=steps, truncate=True)))
    active(row, row.make()(x))
    equal(truncated, full, rtol=1e-9)


def test_truncated_gradients_are_those_of_pieces_whose_carry_is_held_constant():
    row = rows("Layered-LeakyIntegrator")[0]
    (x,) = row.inputs(T, batch=BATCH)

    def by_pieces(model):
        carry, out = None, []
        for start in range(0, T, 8):
            y, carry = st.advance(model, carry, x[start : start + 8])
            carry = jax.lax.stop_gradient(carry)
            out.append(y)
        return weighted(jnp.concatenate(out))

    def truncated(model):
        return weighted(st.unroll_in_pieces(model, x, steps=8, truncate=True))

    full = gradient(row.make(), lambda model: weighted(model(x)))
    actual, expected = gradient(row.make(), truncated), gradient(row.make(), by_pieces)
    equal(actual, expected, rtol=1e-9)
    different = [
        not np.allclose(a, b, rtol=1e-3) for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(full), strict=True)
    ]
    assert sum(different) > len(different) / 2


def test_a_method_may_return_any_tree_with_time_first():
    row = rows("Layered-LeakyIntegrator")[0]
    (x,) = row.inputs(T, batch=BATCH)

    def both(model, x):
        spikes = model.lif(4.0 * model.fc1(x))
        return {"spikes": spikes, "inputs": (x,)}

    out = st.unroll_in_pieces(row.make(), x, steps=10, method=both)
    active(out["spikes"])
    equal(out, both(row.make(), x), rtol=1e-12)


def test_a_circuit_without_inputs_runs_for_a_length():
    class Pacemaker(st.Dynamics):
        def __init__(self):
            self.neuron = st.LIF(3, tau=np.array([4.0, 8.0, 16.0]))

        def update(self):
            return self.neuron.update(2.0)

    single = Pacemaker()(length=T)
    batched = Pacemaker()(length=T, batch_shape=(2,))
    active(single)
    assert single.shape == (T, 3) and batched.shape == (T, 2, 3)
    equal(batched, jnp.stack([single, single], 1), rtol=0)


def test_a_scalar_train_drives_every_neuron():
    x = jnp.asarray(np.random.default_rng(0).uniform(0.0, 4.0, T))
    model = st.LIF(4, tau=6.0)
    active(model(x))
    equal(model(x), model(jnp.broadcast_to(x[:, None], (T, 4))), rtol=0)


def test_a_model_of_any_shape_runs():
    x = jnp.asarray(np.random.default_rng(0).uniform(0.0, 4.0, (T, 2, 3, 4)))
    spikes = st.ALIF((3, 4), tau=6.0)(x)
    active(spikes)
    equal(spikes.reshape(T, 2, 12), st.ALIF(12, tau=6.0)(x.reshape(T, 2, 12)), rtol=0)


def test_the_update_is_traced_once_for_every_equal_model_and_shape():
    traces = []

    class Counted(st.LIF):
        def update(self, *inputs):
            traces.append(1)
            return super().update(*inputs)

    x = 2.0 * jnp.ones((T, 2, 3))
    for _ in range(3):
        Counted(3, tau=5.0)(x)
    once = len(traces)
    assert once > 0
    Counted(3, tau=6.0)(x)
    assert len(traces) > once


def test_a_model_is_mapped_over_further_axes_by_vmap():
    x = jnp.asarray(np.random.default_rng(0).uniform(0.0, 4.0, (2, T, 3, 4)))
    model = st.LIF(4, tau=6.0)
    spikes = jax.vmap(model)(x)
    active(spikes)
    equal(spikes, jnp.stack([model(x[0]), model(x[1])]), rtol=0)


def test_a_plain_quantity_as_attribute_works_without_a_cached_loop():
    """A Quantity has no hash, so such a model is traced anew on every call, and is right."""

    class Shifted(st.Dynamics):
        def __init__(self, shift):
            self.shift, self.cell, self.in_size = (
                shift,
                st.LeakyIntegrator(3, tau=5.0 * u.ms, V_rest=0.0 * u.mV, R=1.0 * u.Mohm),
                (3,),
            )

        def update(self, x):
            return self.cell.update(x + self.shift)

    x = jnp.asarray(np.random.default_rng(0).normal(size=(T, 2, 3))) * u.nA
    for shift in (1.0, 2.0):
        model = Shifted(shift * u.nA)
        equal(model(x), model.cell(x + shift * u.nA), rtol=1e-12)


def test_the_backward_pass_of_pieces_needs_the_memory_of_a_piece():
    x = jnp.ones((1000, 4, 50))
    cell = st.LIF(50, tau=5.0)

    def temporaries(run):
        compiled = jax.jit(jax.grad(lambda x: run(x).sum())).lower(x).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    whole, pieces = temporaries(cell), temporaries(lambda x: st.unroll_in_pieces(cell, 1.0 * x, steps=50))
    assert pieces < whole / 2


def test_pieces_do_not_copy_the_input_train():
    x = jnp.ones((1000, 4, 200))
    graphdef, params, rest = nnx.split(nnx.Sequential(nnx.Linear(200, 5, rngs=nnx.Rngs(0)), st.LIF(5)), nnx.Param, ...)

    def loss(params, x):
        return st.unroll_in_pieces(nnx.merge(graphdef, params, rest, copy=True), x, steps=30).sum()

    compiled = jax.jit(jax.grad(loss)).lower(params, x).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < x.nbytes / 4


def test_sums_over_pieces_are_joined_and_a_trial_of_no_steps_stays_empty():
    x = jax.random.uniform(jax.random.key(0), (T, 2, 3), maxval=6.0)
    cell = st.LIF(3, tau=4.0)
    spikes = cell(x)

    def both(cell, x):
        y = cell(x)
        return y, y.sum(0, keepdims=True)

    train, counts = st.unroll_in_pieces(cell, x, steps=9, method=both)
    active(spikes)
    equal(train, spikes, rtol=1e-12)
    assert T % 9 and counts.shape == (-(-T // 9), 2, 3)
    equal(counts, [spikes[i : i + 9].sum(0) for i in range(0, T, 9)], rtol=1e-12)
    assert st.unroll_in_pieces(cell, x[:0], steps=9).shape == (0, 2, 3)
