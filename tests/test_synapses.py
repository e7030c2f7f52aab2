"""Relations between synapses: limits, exactness, and where their state is kept."""

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import spiketrain as st
from spiketrain import environ

from helpers import by_hand, equal
from models_table import PRE, W_IN, N

pytestmark = pytest.mark.usefixtures("x64", "dt")

SPIKES = np.random.default_rng(0).binomial(1, 0.2, (60, 2, PRE)).astype(float)
LINEAR = {
    "Expon": lambda n: st.Expon(n, tau=4.0),
    "Alpha": lambda n: st.Alpha(n, tau=4.0),
    "DualExpon": lambda n: st.DualExpon(n, tau_rise=2.0, tau_decay=7.0),
}
EVERY = LINEAR | {"STP": lambda n: st.STP(n), "AMPA": lambda n: st.AMPA(n, T_dur=1.3), "GABAa": lambda n: st.GABAa(n)}


@pytest.mark.parametrize("name", LINEAR)
def test_state_before_and_after_the_comm_is_the_same_for_a_linear_synapse(name):
    make, E = LINEAR[name], st.COBA(E=0.0 * u.mV)

    def comm():
        return st.Dense(PRE, N, weight=W_IN * u.nS)

    post, pre = st.AlignPostProj(comm(), make(N), E), st.AlignPreProj(make(PRE), comm(), E)
    assert np.ptp(post(SPIKES).g.mantissa) > 0
    equal(pre(SPIKES).g.mantissa, post(SPIKES).g.mantissa, rtol=1e-12)
    for projection in (post, pre):
        equal(by_hand(projection, SPIKES, batch=(2,)).g.mantissa, projection(SPIKES).g.mantissa, rtol=1e-12)


@pytest.mark.parametrize("name", EVERY)
def test_two_half_steps_equal_one_step_between_spikes(name):
    def after(dts):
        synapse = EVERY[name](3)
        synapse.init_state()
        with environ.context(dt=1.0 * u.ms):
            synapse.update(jnp.array([1.0, 0.0, 1.0]))
        for dt in dts:
            with environ.context(dt=dt * u.ms):
                synapse.update(jnp.zeros(3))
        return jax.tree.leaves(nnx.state(synapse, st.ShortTermState))

    equal(after([2.0]), after([1.0, 1.0]), rtol=1e-12)


def test_a_dual_exponential_passes_smoothly_through_equal_time_constants():
    x = jnp.zeros((40, 1)).at[0].set(1.5)
    alpha = st.Alpha(1, tau=5.0)(x)
    for apart in (0.0, 1e-12, 1e-9, 1e-7):
        equal(
            st.DualExpon(1, tau_rise=5.0, tau_decay=5.0 + apart)(x),
            alpha,
            rtol=1e-6 * apart + 3e-8 * (apart > 0) + 1e-12,
        )


def test_a_saturating_synapse_keeps_its_state_before_the_comm():
    with pytest.raises(st.DomainError, match="AlignPreProj"):
        st.AlignPostProj(st.Dense(PRE, N, weight=W_IN), st.AMPA(N), st.CUBA())
    with pytest.raises(st.UnitError, match="has unit"):
        st.AlignPreProj(st.Expon(PRE, unit=u.nS), st.Dense(PRE, N, weight=W_IN), st.CUBA())
    with pytest.raises(st.ShapeError, match="must agree"):
        st.AlignPreProj(st.Expon(N), st.Dense(PRE, N, weight=W_IN), st.CUBA())


def test_two_projections_share_nothing():
    a, b = (st.AlignPostProj(st.FixedProb(PRE, N, 0.5, 1.0, seed=0), st.DualExpon(N), st.CUBA()) for _ in range(2))
    for projection in (a, b):
        projection.init_state()
    variables = [[id(v) for _, v in nnx.to_flat_state(nnx.state(p))] for p in (a, b)]
    assert len(variables[0]) == 7 and not set(variables[0]) & set(variables[1])


def test_no_magnesium_is_a_plain_conductance():
    g, V = jnp.array([1.0, 2.0]) * u.nS, jnp.array([-70.0, -40.0]) * u.mV
    E = 3.0 * u.mV
    equal(st.MgBlock(E, cc_Mg=0.0)(g).at(V).mantissa, st.COBA(E)(g).at(V).mantissa, rtol=0)
    half = st.MgBlock(E, cc_Mg=3.57, V_offset=-40.0 * u.mV)(g).at(V)[1]
    np.testing.assert_allclose(half / st.COBA(E)(g).at(V)[1], 0.5, rtol=1e-12)


ERRORS = [
    (lambda: st.STP(3, U=1.2), st.DomainError, "U="),
    (lambda: st.AMPA(3, beta=0.2 * u.mV), st.UnitError, "beta"),
    (lambda: st.AMPA(3, T_dur=0.0), st.DomainError, "T_dur"),
    (lambda: st.DualExpon(3, tau_rise=5.0, tau_decay=5.0, A=1.0), st.DomainError, "tau_rise"),
    (lambda: st.MgBlock(E=0.0 * u.mV, alpha=0.1 * u.mV), st.UnitError, "alpha"),
    (lambda: st.MgBlock(E=0.0 * u.mV, beta=0.0), st.DomainError, "beta"),
    (lambda: st.GapJunction(st.Dense(3, 4, weight=1.0)), st.ShapeError, "one population"),
]


@pytest.mark.parametrize("call, error, words", ERRORS, ids=[words for *_, words in ERRORS])
def test_errors_name_the_argument(call, error, words):
    with pytest.raises(error, match=words):
        call()
