"""The page for readers who come from brainpy.state: its names exist, and the numbers that it gives for us are ours.

What it says about the other library was measured by running that library, version 2.8.2; the spike steps below too.
"""

import functools
import re
from pathlib import Path

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import spiketrain as st

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "from-brainpy.md").read_text()
PROSE = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
MODULES = {"st": st, "nnx": nnx, "optax": optax, "jax": jax, "jnp": jnp}
MEMBRANE = dict(R=100.0 * u.Mohm, tau=20.0 * u.ms, V_rest=-60.0 * u.mV, V_th=-50.0 * u.mV)
LOWER_RESET = MEMBRANE | dict(V_reset=-62.0 * u.mV, reset=st.HardReset())


@pytest.fixture(autouse=True)
def time_step():
    with st.environ.context(dt=0.1 * u.ms):
        yield


def test_every_name_of_ours_exists():
    names = set(re.findall(r"\b(?:st|nnx|optax|jax|jnp)(?:\.[A-Za-z]\w*)+", PROSE))
    assert len(names) > 100
    missing = []
    for name in names:
        module, *path = name.split(".")
        try:
            functools.reduce(getattr, path, MODULES[module])
        except AttributeError:
            missing.append(name)
    assert not missing


def test_the_listing_of_the_other_library_is_python():
    listings = re.findall(r"```py\n(.*?)```", PAGE, re.DOTALL)
    assert len(listings) == 1 and "AlignPostProj" in listings[0]
    compile(listings[0], "listing", "exec")


@pytest.mark.parametrize(
    ("neuron", "nA", "theirs"),
    [
        (lambda: st.LIF(1, **LOWER_RESET), 0.2, [138, 296, 454]),
        (lambda: st.ALIF(1, **LOWER_RESET, tau_a=50.0 * u.ms, beta=1.0 * u.mV), 0.25, [102, 231, 368, 511]),
        (lambda: st.QuaIF(1), 0.3, [98, 206, 314, 422, 530]),
        (lambda: st.Gif(1, a=0.005 / u.ms, A1=0.2 * u.nA, A2=-0.1 * u.nA), 1.5, [251, 573]),
    ],
    ids=["LIF", "ALIF", "QuaIF", "Gif"],
)
def test_neurons_that_are_the_same_spike_in_the_same_steps(neuron, nA, theirs):
    spikes = neuron()(jnp.full((600, 1), nA) * u.nA)
    assert np.nonzero(spikes)[0].tolist() == theirs


def test_neurons_that_run_away_come_back():
    assert st.ExpIF(1)(jnp.full((600, 1), 0.2) * u.nA).sum() == 7


def test_a_refractory_period_is_a_step_longer_than_theirs():
    spikes = st.LIF(1, **LOWER_RESET, tau_ref=2.0 * u.ms)(jnp.full((600, 1), 0.2) * u.nA)
    assert np.nonzero(spikes)[0].tolist() == [138, 316, 494]  # theirs: 138, 315, 492


def test_refractory_neurons_are_silent_above_threshold():
    kick = jnp.zeros((20, 1)).at[2].set(300.0) * u.nA
    potentials = dict(R=100.0 * u.Mohm, tau=5.0 * u.ms, V_rest=0.0 * u.mV, V_th=10.0 * u.mV)
    spikes = st.LIF(1, **potentials, tau_ref=1.0 * u.ms)(kick)
    assert np.nonzero(spikes)[0].tolist() == [2, 13]  # theirs: every step from 2 on


class OneSpike(st.Dynamics):
    """A projection onto one neuron, which is watched."""

    def __init__(self, projection):
        self.projection, self.neuron = projection, st.LIF(1, **MEMBRANE)

    def update(self, spikes):
        self.neuron.update(self.projection.update(spikes))
        return self.neuron.V.value


@pytest.mark.parametrize(("delay", "later"), [(None, 0), (0.5 * u.ms, 5), (0.25 * u.ms, 3)])
def test_latency(delay, later):
    comm = st.Dense(1, 1, weight=5.0 * u.nS)
    comm = comm if delay is None else st.Delayed(comm, delay)
    V = OneSpike(st.AlignPostProj(comm, st.Expon(1, tau=5.0 * u.ms), st.COBA(E=0.0 * u.mV)))(_spike_in_step_5(25))
    moved = V.to_decimal(u.mV)[:, 0] + 60.0
    assert np.argmax(moved > 1e-3) == 5 + later
    np.testing.assert_allclose(moved[5 + later], 0.149441, atol=2e-5)  # theirs: -59.85055923 mV


def test_latency_of_a_delta_input():
    V = OneSpike(st.AlignPostProj(st.Dense(1, 1, weight=1.0 * u.mV), st.Instant(1), st.Delta()))(_spike_in_step_5(25))
    assert np.argmax(V.to_decimal(u.mV)[:, 0] > -59.9) == 5


def test_synapses():
    x = _spike_in_step_5(400)
    assert np.max(st.Alpha(1, tau=5.0 * u.ms)(x)) == pytest.approx(1.0, abs=1e-5)  # theirs: 0.3716
    same = st.DualExpon(1, tau_rise=1.0 * u.ms, tau_decay=10.0 * u.ms)(x)
    assert np.max(same) == pytest.approx(0.99991494, abs=2e-6) and np.argmax(same) == 5 + 26
    opened = {st.AMPA: 0.20818558, st.GABAa: 0.37947682}
    for receptor, peak in opened.items():
        g = np.asarray(receptor(1)(x))
        assert np.flatnonzero(g)[0] == 6 and g.max() == pytest.approx(peak, abs=1e-6)


def test_short_term_plasticity_and_depression():
    at = [5, 25, 45]
    x = jnp.zeros((60, 1)).at[jnp.array(at), 0].set(1.0)
    assert st.STP(1)(x)[5, 0] == pytest.approx(0.15)  # theirs: 0.277
    depression = st.STP(1, U=0.07, tau_f=1e-3, tau_d=200.0)(x)[np.array(at), 0] / 0.07
    np.testing.assert_allclose(depression, [1.0, 0.93069655, 0.86688805], atol=3e-6)  # their STD


@pytest.mark.parametrize(
    ("reset", "slope"),
    [
        (st.SoftReset(), 0.281632),
        (st.SoftReset(detach=True), 0.995012),
        (st.HardReset(), -0.856057),
        (st.HardReset(detach=True), 0.0),
    ],
)
def test_gradient_through_the_reset(reset, slope):
    def after_one_step(V):
        neuron = st.LIF(1, tau=20.0, reset=reset, surrogate=st.ATan(2.0))
        neuron.init_state()
        neuron.V.value = V
        neuron.update(0.0)
        return neuron.V.value[0]

    assert jax.grad(after_one_step)(jnp.array([1.2]))[0] == pytest.approx(slope, abs=1e-5)


def test_connections():
    comm = st.FixedProb(200, 100, 0.1, 0.5 * u.nS, seed=1)
    pre, post = comm.pairs()
    assert len(set(zip(pre.tolist(), post.tolist(), strict=True))) == len(pre)
    assert len(set(np.bincount(pre).tolist())) > 1
    assert not isinstance(comm.weight, nnx.Param)
    half, whole = comm(jnp.full(200, 0.5)), comm(jnp.ones(200))
    assert whole.mantissa.max() > 0
    np.testing.assert_allclose(half.mantissa, whole.mantissa / 2, rtol=1e-6)


def test_defaults():
    with pytest.raises(st.DomainError, match="V_reset is V_rest unless it is given"):
        st.LIF(1, **MEMBRANE | dict(V_reset=0.0 * u.mV))
    assert st.LIF(1, **MEMBRANE).V_reset == -60.0 * u.mV
    assert st.LIF(1).surrogate == st.ATan(2.0) and st.LIF(1).reset == st.SoftReset()


def _spike_in_step_5(steps):
    return jnp.zeros((steps, 1)).at[5].set(1.0)
