"""Mistakes that spiking simulators make in silence, and what happens here instead.

Elsewhere: a threshold at or below the reset is refused by every constructor (`test_neurons.py`); NaN is never silence
(`test_properties.py`, for every model, and `test_neurons.py`); a (10, 1) input into a whole trial, weights without a
unit at a reversal potential with one, and the other way round (`test_errors.py`); a batch through delays in every
combination (`test_delays.py`).
"""

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as some

import spiketrain as st

from helpers import active, bare, by_hand, equal
from models_table import REAL, N, quantities

pytestmark = pytest.mark.usefixtures("dt")

T, B = 60, 3


def normal(mean, std, *shape):
    return jnp.asarray(np.random.default_rng(0).normal(mean, std, shape))


# --- Neurons


@pytest.mark.parametrize("argument", ["V_th", "V_reset"])
def test_training_a_threshold_past_the_reset_is_seen_in_the_output(argument):
    """The formula would turn such a neuron upside down: spikes at rest, silence when driven."""
    trained = {"V_th": st.Trainable(0.1), "V_reset": 0.0} if argument == "V_th" else {"V_reset": st.Trainable(0.9)}
    model = st.LIF(2, tau=5.0, **trained)
    x = normal(1.0, 2.0, T, B, 2)
    active(model(x))
    past = model.V_reset - 0.2 if argument == "V_th" else model.V_th + 0.2
    state = nnx.state(model, nnx.Param)[argument]
    state.value = state.value.at[0].set(jnp.broadcast_to(past, (2,))[0])  # as an optimizer would, without a check
    nnx.update(model, {argument: state})

    out = model(x)
    assert np.all(np.isnan(out[..., 0]))
    active(out[..., 1])


@pytest.mark.parametrize("reset", [st.SoftReset(), st.NoReset(), st.SoftReset(detach=True)], ids=repr)
@pytest.mark.parametrize("kind", [st.ExpIF, st.AdExIF, st.QuaIF, st.AdQuaIF, st.Izhikevich])
def test_a_reset_that_leaves_a_runaway_potential_running_is_refused(kind, reset):
    with pytest.raises(st.DomainError, match=rf"{kind.__name__}\(reset={type(reset).__name__}.* `reset=HardReset\(\)`"):
        kind(3, reset=reset)
    assert kind(3).reset == st.HardReset() and kind(3, reset=st.HardReset(detach=True)).reset.detach


@pytest.mark.parametrize("kind", [st.ExpIF, st.QuaIF, st.Izhikevich])
def test_a_runaway_potential_comes_down_after_every_spike(kind):
    """With the strongest step up that single precision holds."""
    model = kind(1)
    out = model(jnp.zeros((T, 1)).at[::10].set(1e6) * u.nA)
    assert out.sum() == T // 10


def test_a_column_of_inputs_is_no_batch():
    """In `update`, too, where (10, 1) against V of shape (10,) would make (10, 10)."""
    neuron = st.LIF(10)
    neuron.init_state()
    for wrong in (jnp.ones((10, 1)), jnp.ones((1, 10)), jnp.ones(1)):
        with pytest.raises(st.ShapeError, match=r"LIF.update got a current of shape .* nothing else is broadcast"):
            neuron.update(wrong)
    assert neuron.update(jnp.ones(10)).shape == neuron.update(1.0).shape == (10,)


# --- Synapses and projections


@given(tau=some.floats(1.0, 100.0), nearly=some.floats(1e-7, 1e-5))
def test_two_time_constants_that_print_alike_stay_two(tau, nearly):
    """Each projection keeps its own synapse, and no compiled loop is shared by the look of a constant."""
    with jax.enable_x64(True):
        other = tau * (1 + nearly)
        both = Pair(
            *(st.AlignPostProj(st.Dense(1, 1, weight=1.0), st.Expon(1, tau=t), st.CUBA()) for t in (tau, other))
        )
        both.init_state()
        for x in (1.0, 0.0, 0.0):
            a, b = both.update(jnp.full(1, x))
        np.testing.assert_allclose(a.I, np.exp(-2 / tau), rtol=1e-12)
        np.testing.assert_allclose(b.I, np.exp(-2 / other), rtol=1e-12)
        assert a.I < b.I


def test_two_time_constants_that_print_alike_are_compiled_apart():
    x = jnp.zeros((T, 1)).at[0].set(1.0)
    with jax.enable_x64(True):
        for tau in (5.0, 5.0 + 1e-7, 5.0 + 2e-7):
            assert str(st.Expon(1, tau=tau).tau)[:3] == "5.0"
            np.testing.assert_allclose(st.Expon(1, tau=tau)(x)[-1, 0], np.exp(-(T - 1) / tau), rtol=1e-12)


class Pair(st.Dynamics):
    """Two projections side by side."""

    def __init__(self, a, b):
        self.a, self.b, self.in_size = a, b, a.in_size

    def update(self, x):
        return self.a.update(x), self.b.update(x)


def test_a_current_is_the_weight_and_nothing_besides():
    """CUBA scales by no hidden volt: 1 nA is 1 nA, and a weight in mS is no current."""
    weight = 0.25 * u.nA
    projection = st.AlignPostProj(st.Dense(1, 1, weight=weight), st.Expon(1, tau=1e9 * u.ms), st.CUBA())
    cell = st.LeakyIntegrator(1, R=40.0 * u.Mohm, tau=1.0 * u.ms, V_rest=-65.0 * u.mV)
    V = cell(projection(jnp.zeros((T, 1)).at[0].set(1.0)))
    np.testing.assert_allclose(V[-1, 0].to_decimal(u.mV), -65.0 + 40.0 * 0.25, rtol=1e-5)

    wrong = st.AlignPostProj(st.Dense(1, 1, weight=1.0 * u.mS), st.Expon(1, tau=5.0 * u.ms), st.CUBA())
    with pytest.raises(st.UnitError, match=r"LeakyIntegrator.update expects a current in units of `nA`"):
        cell(wrong(jnp.ones((T, 1))))


@pytest.mark.parametrize("level", ["train", "step"])
def test_weights_without_a_unit_are_refused_before_anything_is_compiled(level):
    """CUBA cannot know the neuron it will meet, so the neuron says so, and says what to write."""
    projection = st.AlignPostProj(st.Dense(3, N, weight=1.0), st.Expon(N, tau=5.0), st.CUBA())
    neuron = st.LIF(N, **quantities(REAL))

    class Net(st.Dynamics):
        def __init__(self):
            self.projection, self.neuron, self.in_size = projection, neuron, (3,)

        def update(self, x):
            return self.neuron.update(self.projection.update(x))

    x = jnp.ones((T, B, 3))
    with pytest.raises(st.UnitError, match=r"LIF.update expects a current in units of `nA`, got .* `1.0 \* u.nA`"):
        Net()(x) if level == "step" else neuron(projection(x))


def test_a_projection_without_its_neuron_leaks_nothing():
    projection = st.AlignPostProj(st.Dense(3, N, weight=0.5 * u.nS), st.Expon(N, tau=5.0 * u.ms), st.COBA(E=0.0 * u.mV))
    x = jnp.asarray(np.random.default_rng(0).binomial(1, 0.3, (T, B, 3)).astype(float))
    leaves = len(jax.tree.leaves(nnx.state(projection)))
    with jax.checking_leaks():
        g = jax.jit(lambda x: projection(x).g.mantissa)(x)
        slope = jax.jit(jax.grad(lambda x: projection(x).g.mantissa.sum()))(x)
    assert len(jax.tree.leaves(nnx.state(projection))) == leaves
    assert np.ptp(g) > 0 and np.all(slope > 0)
    equal(projection(x).g.mantissa, g, rtol=1e-6)
    equal(by_hand(projection, x, batch=(B,)).g.mantissa, g, rtol=1e-5)


def test_delays_take_a_batch():
    line = st.Delay(3, np.array([0.0, 2.0, 5.0]) * u.ms)
    x = normal(0.0, 1.0, T, B, 3)
    late = line(x)
    for n, steps in enumerate((0, 2, 5)):
        np.testing.assert_array_equal(late[steps:, :, n], x[: T - steps, :, n])
        assert not np.any(late[:steps, :, n])
    equal(late, jnp.stack([line(x[:, b]) for b in range(B)], 1), rtol=0)


# --- Random numbers


def poisson(rate_hz, shape):
    """Draw trains of all kinds at one rate."""
    values = jnp.full(shape, rate_hz / 1000.0)
    encoded, _ = st.Rate(rate_hz=1000.0)(values, jnp.ones(shape[:2], bool), jax.random.key(0))
    drawn = st.PoissonSpikes(shape[2], rate_hz * u.Hz, rngs=nnx.Rngs(0))(length=shape[0], batch_shape=shape[1:2])
    return {"Rate": np.asarray(encoded), "PoissonSpikes": np.asarray(drawn)}


def test_every_row_of_a_batch_draws_its_own_spikes():
    p = 0.3
    for name, s in poisson(300.0, (1000, 4, 5)).items():
        trains = s.reshape(1000, 20).T
        active(s)
        together = np.corrcoef(trains) - np.eye(20)
        assert np.abs(together).max() < 5 / np.sqrt(1000), name
        assert abs(s.mean() - p) < 5 * np.sqrt(p * (1 - p) / s.size), name


def test_a_rate_of_zero_never_fires_and_the_highest_always_does():
    for name, s in poisson(0.0, (1000, 10, 100)).items():
        assert s.sum() == 0, name
    for name, s in poisson(1000.0, (1000, 10, 10)).items():
        assert s.all(), name


@pytest.mark.parametrize("in_size, out_size, prob", [(4000, 3, 0.1), (400, 400, 0.02), (2000, 1, 0.05)])
def test_a_fixed_probability_is_no_fixed_degree(in_size, out_size, prob):
    """Numbers of targets are binomial, and populations too small for one target each are connected all the same."""
    comm = st.FixedProb(in_size, out_size, prob, 1.0, seed=0)
    pre, _ = comm.pairs()
    degrees = np.bincount(pre, minlength=in_size)
    spread = out_size * prob * (1 - prob)
    assert abs(degrees.mean() - out_size * prob) < 5 * np.sqrt(spread / in_size)
    kurtosis = (1 - 6 * prob * (1 - prob)) / spread + 2  # of the squared deviation, for its standard error
    assert abs(degrees.var() / spread - 1) < 5 * np.sqrt(kurtosis / in_size)
    fixed = st.FixedOutDegree(in_size, out_size, 1, 1.0, seed=0).pairs()[0]
    assert np.all(np.bincount(fixed) == 1)


def test_no_connection_at_all_is_an_error_and_not_silence():
    with pytest.raises(st.DomainError, match="FixedProb has no connection between 2 and 2 neurons"):
        st.FixedProb(2, 2, 1e-6, 1.0, seed=0)


def test_a_conductance_is_the_same_in_every_unit():
    """A quantity that lost its unit on the way would be off by a thousand and look right."""
    spikes = jnp.asarray(np.random.default_rng(0).binomial(1, 0.3, (T, 3)).astype(float))
    potentials = []
    for scale, unit in ((1.0, u.nS), (1e-3, u.uS), (1e-9, u.siemens)):
        comm = st.Dense(3, N, weight=60.0 * scale * unit)
        conductance = st.AlignPostProj(comm, st.Expon(N, tau=5.0 * u.ms), st.COBA(E=0.0 * u.mV))(spikes)
        V = st.LeakyIntegrator(N, R=40.0 * u.Mohm, tau=14.0 * u.ms, V_rest=-65.0 * u.mV)(conductance)
        potentials.append(bare(V, u.mV))
    assert np.ptp(potentials[0]) > 1.0 and -65.0 <= potentials[0].min() and potentials[0].max() < 0.0
    equal(potentials[1], potentials[0], rtol=1e-5)
    equal(potentials[2], potentials[0], rtol=1e-5)
