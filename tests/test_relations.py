"""Relations between models and between runs: limits, units, batches, order, causality."""

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spiketrain as st
from spiketrain import environ, inputs

from helpers import active, equal, record
from models_table import BARE, PRE, REAL, VARIED, W_IN, Driven, N, W, quantities, rows

pytestmark = pytest.mark.usefixtures("x64", "dt")

T, BATCH = 120, (3,)
SOME = rows(
    "LIF-one-value-per-neuron",
    "LIF-conductances",
    "ALIF-conductances",
    "LeakyIntegrator-conductances",
    "Alpha-units",
    "Expon-COBA-LIF",
    "Recurrent-ALIF",
    "EI-circuit",
    "Layered-LeakyIntegrator",
    "Projected-LIF",
)


def draw(mean, std, *shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(mean, std, shape))


@pytest.mark.parametrize("reset", [st.SoftReset(), st.HardReset(), st.NoReset()], ids=repr)
def test_ALIF_without_adaptation_equals_LIF(reset):
    x = draw(1.0, 2.0, T, 3, N)
    spikes, trains = record(st.LIF(N, reset=reset, **VARIED), x)
    adaptive, adaptive_trains = record(st.ALIF(N, reset=reset, beta=0.0, tau_a=30.0, **VARIED), x)
    active(spikes)
    equal(adaptive, spikes, rtol=0)
    equal(adaptive_trains["V"], trains["V"], rtol=1e-14)


def test_adaptation_lowers_the_rate():
    x = draw(2.0, 1.0, T, 3, N)
    rates = [float(st.ALIF(N, beta=beta, tau_a=100.0, **BARE)(x).mean()) for beta in (0.0, 0.1, 0.5)]
    assert rates[0] > rates[1] > rates[2] > 0


def test_a_conductance_at_clamped_V_is_a_current():
    g, V = draw(2.0, 0.5, 3, N), draw(-60.0, 5.0, 3, N)
    coba, E = st.Conductance(g * u.uS, st.COBA(E=-10.0 * u.mV).E), -10.0
    I, G = inputs.currents(
        (coba, st.Conductance(0.5 * g * u.uS, st.COBA(E=-80.0 * u.mV).E)), at=V * u.mV, per=1.0 * u.Mohm, owner=""
    )
    np.testing.assert_allclose(G.to_decimal(u.uS), 1.5 * g, rtol=1e-12)
    at_V = (I - G * (V * u.mV)).to_decimal(u.nA)
    np.testing.assert_allclose(at_V, g * (E - V) + 0.5 * g * (-80.0 - V), rtol=1e-9, atol=1e-9)


def test_COBA_on_a_clamped_neuron_equals_CUBA():
    """A capacitance without bounds holds V: what COBA adds to it in a step is what CUBA adds with g (E - V)."""
    g, V = draw(2.0, 0.3, 1, N), -60.0
    clamped = dict(tau=1e9 * u.ms, R=1.0 * u.Mohm, V_rest=V * u.mV)
    coba = st.LeakyIntegrator(N, **clamped)(st.Conductance(g * u.uS, st.COBA(E=0.0 * u.mV).E))
    cuba = st.LeakyIntegrator(N, **clamped)(g * (0.0 - V) * u.nA)
    moved = (cuba - V * u.mV).mantissa
    assert np.all(moved > 0)
    np.testing.assert_allclose((coba - V * u.mV).mantissa, moved, rtol=1e-6)


def test_a_conductance_that_reverses_far_away_is_a_current():
    """With E -> infinity at constant g E, the dependence on V vanishes."""
    I = draw(1.0, 2.0, T, 3, N)
    far = 1e9
    spikes = st.LIF(N, **BARE)(I)
    active(spikes)
    equal(st.LIF(N, **BARE)(st.Conductance(I / far, st.COBA(E=far).E)), spikes, rtol=0)


def test_inputs_add_up():
    a, b = draw(1.0, 2.0, T, 3, N), draw(0.5, 1.0, T, 3, N, seed=1)
    model = st.ALIF(N, **BARE)
    active(model(a, b))
    equal(model(a, b), model(a + b), rtol=0)
    equal(model(st.Current(a), b), model(a + b), rtol=0)
    equal(model(a, st.Jump(b), st.Jump(0 * b)), model(a, st.Jump(b)), rtol=0)
    assert model(length=T).shape == (T, N)  # no inputs mean zero


def test_a_delta_input_moves_V_by_itself_after_integration():
    V = st.LeakyIntegrator(1, tau=5.0)(st.Jump(jnp.zeros((4, 1)).at[1].set(0.7)))[:, 0]
    np.testing.assert_allclose(V, [0.0, 0.7, 0.7 * np.exp(-0.2), 0.7 * np.exp(-0.4)], rtol=1e-12)


@pytest.mark.parametrize("row", SOME, ids=lambda row: row.name)
def test_a_row_of_a_batch_equals_the_row_alone(row):
    inputs = row.inputs(T, batch=BATCH)
    model = row.make()
    out = model(*inputs)
    active(row, out)
    for b in (0, 2):
        alone = model(*jax.tree.map(lambda x, b=b: x[:, b], inputs))
        equal(alone, jax.tree.map(lambda y, b=b: y[:, b], out), rtol=1e-12)


@pytest.mark.parametrize("row", SOME, ids=lambda row: row.name)
def test_what_comes_later_never_changes_what_came_before(row):
    """Padding at the end is harmless, even NaN."""
    inputs = row.inputs(T, batch=BATCH)
    padded = jax.tree.map(lambda x: jnp.concatenate([x, jnp.full_like(x[:9], jnp.nan)]), inputs)
    model = row.make()
    out = model(*inputs)
    active(row, out)
    equal(jax.tree.map(lambda y: y[:T], model(*padded)), out, rtol=1e-12)


def test_NaN_is_seen_in_the_output():
    spikes = st.LIF(N, **BARE)(draw(1.0, 2.0, T, N).at[T // 2, 1].set(jnp.nan))
    assert np.all(np.isnan(spikes[T // 2 + 1 :, 1])) and not np.any(np.isnan(spikes[:, [0, 2, 3, 4]]))


SCALES = {
    "mV, nA, Mohm, ms": dict(V=u.mV, I=u.nA, R=u.Mohm, t=u.ms, v=1.0, i=1.0, r=1.0, s=1.0),
    "V, A, ohm, s": dict(V=u.volt, I=u.amp, R=u.ohm, t=u.second, v=1e-3, i=1e-9, r=1e6, s=1e-3),
    "uV, pA, Gohm, us": dict(V=u.uvolt, I=u.pA, R=u.Gohm, t=u.us, v=1e3, i=1e3, r=1e-3, s=1e3),
    "V in mV, threshold in V": dict(V=u.mV, I=u.nA, R=u.Mohm, t=u.ms, v=1.0, i=1.0, r=1.0, s=1.0, V_th=u.volt),
    "dimensionless": dict(V=1.0, I=1.0, R=1.0, t=1.0, v=1.0, i=1.0, r=1.0, s=1.0),
}


@pytest.mark.parametrize("scale", [name for name in SCALES if name != "mV, nA, Mohm, ms"])
@pytest.mark.parametrize("reset", [st.SoftReset(), st.HardReset()], ids=repr)
def test_spikes_do_not_depend_on_the_units(scale, reset):
    x = draw(0.8, 0.8, T, 3, N)

    def run(V, I, R, t, v, i, r, s, V_th=None):
        threshold = REAL["V_th"] * v * V if V_th is None else (REAL["V_th"] * v * V).to(V_th)
        model = st.Recurrent(
            st.ALIF(
                N,
                R=REAL["R"] * r * R,
                tau=REAL["tau"] * s * t,
                V_th=threshold,
                V_rest=REAL["V_rest"] * v * V,
                V_reset=REAL["V_reset"] * v * V,
                beta=2.0 * v * V,
                tau_a=80.0 * s * t,
                reset=reset,
            ),
            weight=W * i * I,
        )
        return model(x * i * I)

    spikes = run(**SCALES["mV, nA, Mohm, ms"])
    active(spikes)
    equal(run(**SCALES[scale]), spikes, rtol=0)


def test_conductances_do_not_depend_on_the_units():
    x = jnp.asarray(np.random.default_rng(0).binomial(1, 0.1, (T, 3, PRE)).astype(float))

    def run(weight, E, tau_syn, **neuron):
        projection = st.AlignPostProj(st.Dense(PRE, N, weight=weight), st.Expon(N, tau=tau_syn), st.COBA(E=E))
        return st.LIF(N, **neuron)(projection(x))

    spikes = run(60 * W_IN * u.nS, 0.0 * u.mV, 5.0 * u.ms, **quantities(REAL))
    active(spikes)
    equal(run(60e-9 * W_IN * u.siemens, 0.0 * u.volt, 5e-3 * u.second, **quantities(REAL)), spikes, rtol=0)
    equal(run(0.06 * W_IN, 0.0, 5.0, **REAL), spikes, rtol=0)


def test_the_time_step_has_any_unit_of_time():
    x = draw(1.0, 2.0, T, 3, N)
    results = []
    for dt in (0.5 * u.ms, 500.0 * u.us, 5e-4 * u.second):
        with environ.context(dt=dt):
            results.append(st.LIF(N, **BARE)(x))
    active(results[0])
    equal(results[1], results[0], rtol=0)
    equal(results[2], results[0], rtol=0)


@pytest.mark.parametrize("kind", [st.LIF, st.ALIF])
def test_neurons_in_another_order_spike_in_that_order(kind):
    order = np.array([3, 0, 4, 1, 2])
    x = draw(1.0, 2.0, T, 3, N)

    def run(order, x):
        varied = {name: value[order] for name, value in VARIED.items()}
        return st.Recurrent(kind(N, **varied), weight=W[np.ix_(order, order)])(x)

    spikes = run(np.arange(N), x)
    active(spikes)
    equal(run(order, x[..., order]), spikes[..., order], rtol=0)


def test_scaling_current_and_conductance_against_resistance_changes_nothing():
    x = draw(1.0, 2.0, T, 3, N)
    spikes = st.LIF(N, **BARE)(x)
    active(spikes)
    equal(st.LIF(N, **dict(BARE, R=4.0))(x / 4), spikes, rtol=0)


@pytest.mark.parametrize("dtype", [np.bool_, np.int32, np.uint8, np.float32])
def test_spikes_arrive_in_any_dtype(dtype):
    x = np.random.default_rng(0).binomial(1, 0.3, (T, 3, PRE))
    model = Driven(
        st.LIF(N, **quantities(REAL)),
        st.AlignPostProj(st.Dense(PRE, N, weight=1.2 * W_IN * u.nA), st.Expon(N, tau=3.0 * u.ms), st.CUBA()),
    )
    expected = model(x.astype(float))
    active(expected)
    for given in (x.astype(dtype), jnp.asarray(x, dtype)):
        equal(model(given), expected, rtol=0)
        train_level = model.neuron(model.projections[0](given))
        equal(train_level, expected, rtol=0)
    direct = st.LIF(PRE, tau=3.0, R=4.0)
    active(direct(x.astype(float)))
    equal(direct(x.astype(dtype)), direct(x.astype(float)), rtol=0)


def test_single_precision_gives_single_precision():
    with jax.enable_x64(False):
        x = jnp.asarray(np.random.default_rng(0).normal(1.0, 2.0, (T, 3, N)))
        spikes, trains = record(st.ALIF(N, **BARE), x)
        active(spikes)
        assert {y.dtype for y in (spikes, *trains.values())} == {jnp.dtype("float32")}


@pytest.mark.parametrize("row", SOME[:-2], ids=lambda row: row.name)
def test_single_precision_follows_double_precision(row):
    """For as long as no rounding tips a spike: here, for the first steps of a trial."""
    exact, exact_trains = record(row.make(), *row.inputs(15, batch=BATCH))
    with jax.enable_x64(False):
        single, trains = record(row.make(), *row.inputs(15, batch=BATCH))
    equal(jax.tree.map(np.float64, trains), exact_trains, rtol=1e-4)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((single, trains)))
