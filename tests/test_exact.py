"""Where a docstring says exact, two steps of dt/2 equal one step of dt while the input is constant."""

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as some

import spiketrain as st
from spiketrain import environ

from helpers import equal

pytestmark = pytest.mark.usefixtures("x64")

V_TH = 1000.0  # out of reach of every input below, and V_TH + something resets to within reach
E_EXC, E_INH = st.COBA(E=3.0).E, st.COBA(E=-2.0).E

steps = some.sampled_from([0.5, 1.0, 2.0])  # every jit is keyed on dt, so a free choice would compile for ever
times = some.floats(0.01, 100.0)
potentials = some.floats(-5.0, 5.0)
inputs_ = some.floats(-20.0, 20.0)
conductances = some.floats(0.0, 30.0)


def passive(I, g, h):
    """Return inputs of every kind that stays constant over a step."""
    return jnp.full(2, I), st.Conductance(jnp.full(2, g), E_EXC), st.Conductance(jnp.full(2, h), E_INH)


def passive_units(I, g, h):
    E_mV = st.COBA(E=-70.0 * u.mV).E
    return jnp.full(2, I) * u.nA, st.Conductance(jnp.full(2, g) * u.uS, E_mV)


def nothing(*_):
    return ()


def units(start):
    return dict(R=2.0 * u.Mohm, V_rest=-1.0 * u.mV, V_initializer=start * u.mV)


# Each row: the model of (time constant, another one, V at the start), the inputs, and States to set before the step.
MODELS = {
    "LIF": (lambda tau, _, V: st.LIF(2, tau=tau, R=1.3, V_th=V_TH, V_rest=0.4, V_initializer=V), passive, {}),
    "LIF after a spike": (lambda tau, _, V: st.LIF(2, tau=tau, V_th=V_TH, V_initializer=V_TH + abs(V)), passive, {}),
    "LIF after a hard reset": (
        lambda tau, _, V: st.LIF(2, tau=tau, V_th=V_TH, V_reset=V, V_initializer=2 * V_TH, reset=st.HardReset()),
        passive,
        {},
    ),
    "LIF with units": (
        lambda tau, _, V: st.LIF(2, tau=tau * u.ms, V_th=V_TH * u.mV, **units(V)),
        passive_units,
        {},
    ),
    "ALIF": (lambda tau, tau_a, V: st.ALIF(2, tau=tau, tau_a=tau_a, V_th=V_TH, V_initializer=V), passive, {"a": 0.7}),
    "ALIF after a spike": (
        lambda tau, tau_a, V: st.ALIF(2, tau=tau, tau_a=tau_a, V_th=V_TH, V_initializer=V_TH + abs(V)),
        passive,
        {},
    ),
    "LeakyIntegrator": (lambda tau, _, V: st.LeakyIntegrator(2, tau=tau, R=0.7, V_initializer=V), passive, {}),
    "LeakyIntegrator with units": (
        lambda tau, _, V: st.LeakyIntegrator(2, tau=tau * u.ms, **units(V)),
        passive_units,
        {},
    ),
    "Expon": (lambda tau, *_: st.Expon(2, tau=tau * u.ms), nothing, {"g": 1.3}),
    "Alpha": (lambda tau, *_: st.Alpha(2, tau=tau * u.ms), nothing, {"g": 1.3, "h": 0.6}),
}


def state_after(model, states, dts, inputs):
    model.init_state()
    for name, value in states.items():
        getattr(model, name).value = jnp.full(2, value)
    for dt in dts:
        with environ.context(dt=dt * u.ms):
            model.update(*inputs)
    return nnx.to_pure_dict(nnx.state(model, st.ShortTermState))


@pytest.mark.parametrize("name", MODELS)
@given(dt=steps, tau=times, tau_a=times, V=potentials, I=inputs_, g=conductances, h=conductances)
def test_two_half_steps_equal_one_step(name, dt, tau, tau_a, V, I, g, h):
    make, inputs, states = MODELS[name]
    model, inputs = make(tau, tau_a, V), inputs(I, g, h)

    whole = state_after(model, states, [dt], inputs)
    halves = state_after(model, states, [dt / 2, dt / 2], inputs)

    for state in whole:
        np.testing.assert_allclose(halves[state], whole[state], rtol=1e-11, atol=1e-11, err_msg=state)


@pytest.mark.parametrize("kind", [st.Expon, st.Alpha])
def test_a_synapse_without_arrivals_depends_only_on_the_time_passed(kind):
    def g(steps):
        synapse = kind(3, tau=np.array([2.0, 5.0, 9.0]))
        with environ.context(dt=12.0 / steps * u.ms):
            arrival = jnp.zeros((steps + 1, 3)).at[0].set(1.0)
            return synapse(arrival)[-1]

    equal(g(3), g(96), rtol=1e-12)
    assert jnp.all(g(3) > 0)


def test_alpha_peaks_at_tau_with_the_size_of_the_arrival():
    synapse = st.Alpha(1, tau=8.0 * u.ms)
    with environ.context(dt=0.5 * u.ms):
        g = synapse(jnp.zeros((60, 1)).at[0].set(2.5))[:, 0]
    assert int(jnp.argmax(g)) == 16
    np.testing.assert_allclose(g[16], 2.5, rtol=1e-12)


def test_a_conductance_shortens_the_membrane_time_constant():
    """At k = 1 + R g, V relaxes to (V_rest + R g E) / k with tau / k."""
    model = st.LeakyIntegrator(1, R=2.0, tau=10.0, V_rest=1.0)
    g, T = 1.5, 40
    with environ.context(dt=0.25 * u.ms):
        V = model(st.Conductance(jnp.full((T, 1), g), E_EXC))[:, 0]
    t = 0.25 * np.arange(1, T + 1)
    end = (1.0 + 2.0 * g * 3.0) / 4.0
    np.testing.assert_allclose(V, end + (1.0 - end) * np.exp(-4.0 * t / 10.0), rtol=1e-12)


def test_an_input_that_is_not_constant_over_the_step_is_not_claimed_to_be_exact():
    """The half-step test has teeth: it fails for a spike in between."""
    model = st.LIF(2, V_th=1.0, V_initializer=0.9)
    inputs = (jnp.full(2, 40.0),)
    whole, halves = (state_after(model, {}, steps, inputs)["V"] for steps in ([8.0], [4.0, 4.0]))
    assert not np.allclose(jax.device_get(whole), jax.device_get(halves))
