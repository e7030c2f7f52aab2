"""LIFCurrExp and LIFCondExp: what they share with LIF behind projections, and how close to the equations they are."""

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.integrate import solve_ivp

import spiketrain as st
from spiketrain import environ

from helpers import active, bare, equal, record

pytestmark = pytest.mark.usefixtures("x64")

T, N = 400, 4
QUIET = dict(R=100.0 * u.Mohm, tau=20.0 * u.ms, V_th=1e6 * u.mV, V_rest=-60.0 * u.mV)
REAL = dict(R=100.0 * u.Mohm, tau=20.0 * u.ms, V_th=-50.0 * u.mV, V_rest=-60.0 * u.mV)


def curr(size, **changes):
    """Return a LIFCurrExp in units."""
    return st.LIFCurrExp(size, **{"tau_syn": 5.0 * u.ms, **REAL, **changes})


def weighted(seed, scale, shape=(T, N)):
    rng = np.random.default_rng(seed)
    return rng.binomial(1, 0.1, shape) * rng.uniform(0.0, scale, shape)


def one_arrival(size, steps):
    return jnp.zeros((steps, 1)).at[0].set(size)


@settings(max_examples=15)
@given(
    tau_syn=some.one_of(some.sampled_from([20.0, 20.0 * (1 + 1e-9), 19.99]), some.floats(0.01, 1000.0)),
    tau=some.sampled_from([20.0, 0.05]),
    parts=some.sampled_from([2, 5]),
    I_syn=some.floats(-2.0, 2.0),
    V=some.floats(-5.0, 5.0),
    I=some.floats(-1.0, 1.0),
    g=some.floats(0.0, 3.0),
)
def test_a_current_is_exact_at_any_step(tau_syn, tau, parts, I_syn, V, I, g):
    """One step of dt equals several of dt / parts, and the solution of the equations."""
    neuron = st.LIFCurrExp(1, tau_syn=tau_syn, tau=tau, V_th=1e6, R=1.5)
    inputs = (0.0, jnp.full(1, I), st.Conductance(jnp.full(1, g), st.COBA(E=2.0).E))

    def after(steps):
        with environ.context(dt=4.0 / steps * u.ms):
            neuron.init_state()
            neuron.V.value, neuron.I_syn.value = jnp.full(1, V), jnp.full(1, I_syn)
            for _ in range(steps):
                neuron.update(*inputs)
        return np.array([neuron.V.value[0], neuron.I_syn.value[0]])

    def rhs(t, y):
        return [(-y[0] + 1.5 * (y[1] + I + g * (2.0 - y[0]))) / tau, -y[1] / tau_syn]

    whole = after(1)
    np.testing.assert_allclose(after(parts), whole, rtol=1e-11, atol=1e-11)
    exact = solve_ivp(
        rhs, (0, 4.0), [V, I_syn], method="Radau" if min(tau, tau_syn) < 0.1 else "DOP853", rtol=1e-10, atol=1e-12
    )
    np.testing.assert_allclose(whole, exact.y[:, -1], rtol=1e-6, atol=1e-7)


def test_the_gradient_is_right_where_the_time_constants_meet():
    """At, next to and away from tau_syn = tau."""

    def value(tau_syn, tau):
        graphdef, params, rest = nnx.split(
            st.LIFCurrExp(1, tau_syn=st.Trainable(tau_syn), tau=st.Trainable(tau), V_th=1e6, reset=st.NoReset()),
            nnx.Param,
            ...,
        )

        def end(params):
            return record(nnx.merge(graphdef, params, rest, copy=True), one_arrival(1.0, 9))[1]["V"][-1, 0]

        slope = jax.grad(end)(params)
        return end(params), [slope[name].get_raw_value()[0] for name in ("tau_syn", "tau")]

    with environ.context(dt=1.0 * u.ms):
        for tau_syn in (20.0, 20.0 + 1e-6, 20.01, 5.0):
            V, slopes = value(tau_syn, 20.0)
            assert V > 0
            h = 1e-5  # time constants are stored as logarithms
            finite = [
                (value(tau_syn * np.exp(h), 20.0)[0] - value(tau_syn * np.exp(-h), 20.0)[0]) / (2 * h),
                (value(tau_syn, 20.0 * np.exp(h))[0] - value(tau_syn, 20.0 * np.exp(-h))[0]) / (2 * h),
            ]
            np.testing.assert_allclose(slopes, finite, rtol=1e-6)


def test_conductances_are_of_second_order():
    tau_exc, tau_inh, duration = 3.0, 7.0, 8.0
    start, g0, h0, I = -58.0, 0.03, 0.02, 0.05

    def rhs(t, y):
        g, h = g0 * np.exp(-t / tau_exc), h0 * np.exp(-t / tau_inh)
        return [(-(y[0] + 60.0) + 100.0 * (g * (0.0 - y[0]) + h * (-80.0 - y[0]) + I)) / 20.0]

    exact = solve_ivp(rhs, (0, duration), [start], method="DOP853", rtol=1e-12, atol=1e-13).y[0, -1]

    def error(dt):
        neuron = st.LIFCondExp(
            1, tau_exc=tau_exc * u.ms, tau_inh=tau_inh * u.ms, V_initializer=start * u.mV, V_reset=-60.0 * u.mV, **QUIET
        )
        with environ.context(dt=dt * u.ms):
            neuron.init_state()
            neuron.g_exc.value, neuron.g_inh.value = jnp.full(1, g0) * u.uS, jnp.full(1, h0) * u.uS
            step = nnx.jit(lambda neuron: neuron.update(0.0 * u.nS, 0.0 * u.nS, I * u.nA))
            for _ in range(round(duration / dt)):
                step(neuron)
        return bare(neuron.V.value, u.mV)[0] - exact

    coarse, fine = error(0.5), error(0.25)
    assert 1e-6 < abs(coarse) < 0.1
    np.testing.assert_allclose(np.log2(abs(coarse / fine)), 2.0, atol=0.1)


def test_in_the_limit_of_small_steps_they_are_LIF_behind_projections():
    """The synaptic variable is that of Expon to the last digit; V differs by how the step sees it."""
    rng = np.random.default_rng(0)

    def difference(dt):
        steps = round(40.0 / dt)
        spikes = jnp.zeros((steps, N)).at[(rng.integers(1, 30, 60) / dt).astype(int), rng.integers(0, N, 60)].set(1.0)
        with environ.context(dt=dt * u.ms):
            I = st.Expon(N, tau=5.0 * u.ms, unit=u.nA)(spikes * 0.3 * u.nA)
            _, one = record(st.LIFCurrExp(N, tau_syn=5.0 * u.ms, **QUIET), spikes * 0.3 * u.nA)
            _, two = record(st.LIF(N, **QUIET), I)
            equal(bare(one["I_syn"], u.nA), bare(I, u.nA), rtol=1e-12)
            errors = [np.abs(bare(one["V"]) - bare(two["V"])).max() / np.ptp(bare(one["V"]))]

            g = st.Expon(N, tau=5.0 * u.ms, unit=u.nS)(spikes * 6.0 * u.nS)
            _, one = record(st.LIFCondExp(N, **QUIET), spikes * 6.0 * u.nS, jnp.zeros_like(spikes) * u.nS)
            _, two = record(st.LIF(N, **QUIET), st.Conductance(g, st.COBA(E=0.0 * u.mV).E))
            equal(bare(one["g_exc"], u.nS), bare(g, u.nS), rtol=1e-12)
            return [*errors, np.abs(bare(one["V"]) - bare(two["V"])).max() / np.ptp(bare(one["V"]))]

    coarse, fine = np.array(difference(0.5)), np.array(difference(0.05))
    assert np.all(coarse < 0.2) and np.all(fine < coarse / 5)


@pytest.mark.parametrize("kind", [curr, st.LIFCondExp])
def test_arrivals_move_V_from_the_next_step_on_and_outlast_a_refractory_period(kind):
    unit, zero = (u.nA, ()) if kind is curr else (u.uS, (jnp.zeros((60, 1)) * u.uS,))
    with environ.context(dt=1.0 * u.ms):
        s, trains = record(kind(1, tau_ref=4.0 * u.ms), one_arrival(4.0, 60) * unit, *zero)
    V = bare(trains["V"])[:, 0]
    assert V[0] == -60.0 and V[1] > -60.0
    first, second = np.flatnonzero(s)[:2]
    assert second == first + 5  # nothing but what arrived in step 0 makes it spike again


def test_without_arrivals_they_are_LIF():
    I = np.random.default_rng(1).normal(0.15, 0.3, (T, N))
    nothing = jnp.zeros((T, N))
    with environ.context(dt=1.0 * u.ms):
        expected = st.LIF(N, **REAL)(I * u.nA)
        active(expected)
        equal(curr(N)(nothing * u.nA, I * u.nA), expected, rtol=0)
        equal(st.LIFCondExp(N, **REAL)(nothing * u.nS, nothing * u.nS, I * u.nA), expected, rtol=0)


def test_they_stand_behind_a_comm_and_take_projections_too():
    comm = st.FixedProb(30, N, 0.3, 2.0 * u.nS, seed=1)
    spikes = np.random.default_rng(2).binomial(1, 0.1, (T, 30)).astype(float)
    extra = st.AlignPostProj(st.Dense(30, N, weight=-20.0 * u.pA), st.Instant(N), st.CUBA())
    with environ.context(dt=1.0 * u.ms):
        neuron = st.LIFCondExp(N)
        s = neuron(comm(spikes), jnp.zeros((T, N)) * u.nS, extra(spikes))
        alone = neuron(comm(spikes), jnp.zeros((T, N)) * u.nS)
    active(s)
    assert 0 < np.sum(s) < np.sum(alone)


def test_bare_models_and_defaults():
    with environ.context(dt=1.0 * u.ms):
        active(st.LIFCurrExp(N)(weighted(3, 2.0)))
        bare_cond = st.LIFCondExp(
            N, R=1.0, tau=20.0, tau_exc=5.0, tau_inh=5.0, V_th=1.0, V_rest=0.0, E_exc=3.0, E_inh=-1.0
        )
        active(bare_cond(weighted(4, 2.0), weighted(5, 0.5)))
        active(st.LIFCondExp(N)(weighted(4, 100.0) * u.nS, weighted(5, 10.0) * u.nS))


WRONG = {
    "arrivals of a conductance": (
        lambda: curr(N)(jnp.ones((3, N)) * u.nS),
        st.UnitError,
        r"LIFCurrExp.update expects a current in units of `nA`",
    ),
    "arrivals of a current": (
        lambda: st.LIFCondExp(N)(jnp.ones((3, N)) * u.nA, jnp.ones((3, N)) * u.nS),
        st.UnitError,
        r"LIFCondExp.update expects a conductance in units of `uS`",
    ),
    "bare arrivals": (
        lambda: st.LIFCondExp(N)(jnp.ones((3, N)) * u.nS, jnp.ones((3, N))),
        st.UnitError,
        r"LIFCondExp.update expects a conductance in units of `uS`",
    ),
    "shape": (
        lambda: curr(N)(jnp.ones((3, 2, N)) * u.nA, jnp.ones((3, N)) * u.nA),
        st.ShapeError,
        "nothing else is broadcast|shape",
    ),
    "bare tau_syn": (
        lambda: st.LIFCurrExp(N, tau_syn=5.0, **REAL),
        st.UnitError,
        r"LIFCurrExp\(tau_syn=...\) expects a quantity in units of `ms`",
    ),
    "bare E": (lambda: st.LIFCondExp(N, E_exc=0.0), st.UnitError, r"LIFCondExp\(E_exc=...\)"),
    "tau_inh": (lambda: st.LIFCondExp(N, tau_inh=-1.0 * u.ms), st.DomainError, r"LIFCondExp\(tau_inh=...\)"),
    "unknown": (lambda: st.LIFCondExp(N, tau_e=1.0 * u.ms), TypeError, "tau_e"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused(name):
    do, error, says = WRONG[name]
    with environ.context(dt=1.0 * u.ms), pytest.raises(error, match=says):
        do()
