"""Simulating circuits: monitors, pieces, continuing, functions of time, vmap, and loops of one's own."""

import importlib
import resource

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import spiketrain as st
from spiketrain import environ

from helpers import active, bare, by_hand, equal
from models_table import REAL, N, quantities

pytestmark = pytest.mark.usefixtures("x64", "dt")

T = 120


class Pair(st.Dynamics):
    """Excitatory neurons that receive a current and their own spikes."""

    def __init__(self, *, weight=0.3, reset=None):
        self.E = st.LIF(N, reset=st.HardReset(), tau_ref=2.0 * u.ms, **quantities(REAL))
        W = np.random.default_rng(0).uniform(0, 1, (N, N))
        self.E2E = st.AlignPostProj(st.Dense(N, N, weight=weight * W * u.nA), st.Expon(N, tau=3.0 * u.ms), st.CUBA())
        self.in_size = (N,)

    def update(self, current):
        self.E.update(current, self.E2E.update(self.E.spikes))
        return self.E.V.value


def currents(T, *batch, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(0.6, 0.5, (T, *batch, N))) * u.nA


@pytest.fixture
def small_pieces(monkeypatch):
    """Cut every simulation into pieces of seven steps."""
    monkeypatch.setattr(importlib.import_module("spiketrain.simulate"), "_STEPS", 7)


@pytest.mark.parametrize("batch", [(), (3,)], ids=["single", "batched"])
def test_monitors_show_what_stepping_by_hand_shows(batch, small_pieces):
    x, net = currents(T, *batch), Pair()
    run = st.simulate(net, x, record=["output", "E.V", "E.spikes", "E2E.syn.g", "E2E.comm.weight"])
    hand = Pair()
    hand.init_state(batch)
    V, g, spikes = [], [], []
    for n in range(T):
        hand.update(x[n])
        V.append(bare(hand.E.V.value))
        g.append(bare(hand.E2E.syn.g.value))
        spikes.append(bare(hand.E.spikes))
    active(np.stack(spikes))
    assert run["E.spikes"].dtype == bool
    equal(run["E.spikes"].astype(float), np.stack(spikes), rtol=0)
    equal(bare(run["E.V"]), np.stack(V), rtol=1e-12)
    equal(bare(run["output"]), np.stack(V), rtol=1e-12)
    equal(bare(run["E2E.syn.g"]), np.stack(g), rtol=1e-12)
    assert (u.get_unit(run["E.V"]), u.get_unit(run["E2E.syn.g"])) == (u.mV, u.nA)
    assert run["E2E.comm.weight"].shape == (T, N, N)
    np.testing.assert_allclose(run.times.to_decimal(u.ms), np.arange(1, T + 1), rtol=1e-14)
    assert not nnx.to_flat_state(nnx.state(net, st.ShortTermState)), "nothing of the trial stays in the net"


@pytest.mark.parametrize("length, count", [(120, 20), (113, 17)], ids=["equal pieces", "a shorter last piece"])
def test_pieces_change_nothing(length, count, small_pieces, monkeypatch):
    x = currents(length)
    pieces = list(st.stream(Pair(), x, record=["E.V"]))
    monkeypatch.setattr(importlib.import_module("spiketrain.simulate"), "_STEPS", 10_000)
    whole = st.simulate(Pair(), x, record=["E.V"])
    assert len(pieces) == count and np.ptp(bare(whole["E.V"])) > 0
    equal(np.concatenate([bare(p["E.V"]) for p in pieces]), bare(whole["E.V"]), rtol=0)
    equal(np.concatenate([bare(p.times) for p in pieces]), bare(whole.times), rtol=1e-14)


def test_a_simulation_goes_on_after_a_recording():
    x, net = currents(T), Pair()
    whole = st.simulate(net, x, record=["E.spikes"])
    first = st.simulate(net, x[:50], record=["E.spikes"])
    second = st.simulate(net, x[50:], record=["E.spikes"], after=first)
    again = st.simulate(net, x[50:], record=["E.spikes"], after=first)
    active(whole["E.spikes"].astype(float))
    joined = np.concatenate([first["E.spikes"], second["E.spikes"]])
    assert np.array_equal(joined, whole["E.spikes"]) and np.array_equal(second["E.spikes"], again["E.spikes"])
    equal(np.concatenate([bare(first.times), bare(second.times)]), bare(whole.times), rtol=1e-12)


def test_an_input_may_be_a_function_of_time(small_pieces):
    """It sees the beginning of every step, in pieces or not, and after a recording."""
    seen = []

    def current(t):
        seen.append(t.to_decimal(u.ms))
        return (0.5 + 0.4 * np.sin(t.to_decimal(u.ms) / 9)) * u.nA

    t = np.arange(T, dtype=float)
    train = jnp.asarray(0.5 + 0.4 * np.sin(t / 9)) * u.nA
    expected = st.simulate(Pair(), train, record=["E.V"])
    first = st.simulate(Pair(), current, duration=50 * u.ms, record=["E.V"])
    assert max(map(len, seen)) <= 7
    second = st.simulate(Pair(), current, duration=70 * u.ms, record=["E.V"], after=first)
    equal(np.concatenate([bare(first["E.V"]), bare(second["E.V"])]), bare(expected["E.V"]), rtol=1e-10)


def test_monitors_have_names_of_ones_own_and_may_be_functions():
    record = {"rate": lambda net: net.E.spikes.mean(), "first": lambda net: net.E.V.value[0], "all": "E.spikes"}
    run = st.simulate(Pair(), currents(T), record=record)
    active(run["all"].astype(float))
    equal(run["rate"], run["all"].mean(1), rtol=1e-12)
    assert run["first"].shape == (T,)
    times, neurons = run.events("all")
    steps, expected = np.nonzero(run["all"])
    np.testing.assert_allclose(times.to_decimal(u.ms), steps + 1.0)
    assert np.array_equal(neurons, expected)
    with pytest.raises(KeyError, match="was not recorded, only 'all', 'first', 'rate'"):
        run["V"]


def test_nothing_recorded_still_runs():
    net = Pair()
    run = st.simulate(net, currents(T), record=[])
    assert run.data == {} and len(run.times) == T
    equal(bare(run.state["E"]["V"].value), bare(by_hand(Pair(), currents(T))[-1]), rtol=1e-12)


class Noisy(st.Dynamics):
    """An integrator of noise that it keeps a sum of, over trials."""

    def __init__(self, *, rngs):
        self.rngs = rngs.fork()
        self.total = st.LongTermState(0.0)

    def init_state(self, batch_shape=()):
        self.V = st.ShortTermState(jnp.zeros((*batch_shape, N)))

    def update(self):
        noise = jax.random.normal(self.rngs.noise(), self.V.shape)
        self.V.value = 0.9 * self.V.value + noise
        self.total.value = self.total.value + 1.0
        return noise


def test_noise_is_fresh_and_what_lasts_is_written_back(small_pieces):
    net = Noisy(rngs=nnx.Rngs(0))
    first, second = (st.simulate(net, duration=40 * u.ms, batch_shape=(2,)) for _ in range(2))
    assert first["output"].shape == (40, 2, N)
    assert len(np.unique(np.concatenate([first["output"], second["output"]]))) == 2 * 40 * 2 * N
    assert float(net.total.value) == 80
    again = Noisy(rngs=nnx.Rngs(0))
    equal(st.simulate(again, duration=40 * u.ms, batch_shape=(2,))["output"], first["output"], rtol=0)


def test_vmap_over_parameters_and_seeds():
    x = currents(T)

    def spikes(weight):
        return st.simulate(Pair(weight=weight), x, record=["E.spikes"])["E.spikes"]

    weights = jnp.array([0.0, 0.3, 2.0])
    together = jax.jit(jax.vmap(spikes))(weights)
    alone = [st.simulate(Pair(weight=w), x, record=["E.spikes"])["E.spikes"] for w in (0.0, 0.3, 2.0)]
    counts = [int(s.sum()) for s in alone]
    assert counts[0] < counts[1] < counts[2]
    assert np.array_equal(together, np.stack(alone))

    def noise(key):
        return st.simulate(Noisy(rngs=nnx.Rngs(key)), duration=9 * u.ms)["output"]

    keys = jax.random.split(jax.random.key(0), 3)
    rows = jax.vmap(noise)(keys)
    equal(rows[1], noise(keys[1]), rtol=1e-12)
    assert len(np.unique(rows)) == rows.size


def test_a_gradient_runs_through_a_simulation():
    x = currents(40)

    def mean_V(weight):
        return st.simulate(Pair(weight=weight), x)["output"].mean().mantissa

    gradient = jax.grad(mean_V)(0.3)
    assert np.isfinite(gradient) and gradient != 0


def test_a_progress_bar_is_shown(capsys):
    st.simulate(Pair(), currents(T), progress=True)
    assert "0.12 of 0.12 s" in capsys.readouterr().out


def test_errors():
    net = Pair()
    with pytest.raises(st.ShapeError, match=r"duration=\.\.\.\) is needed"):
        st.simulate(net, lambda t: 0 * t / u.ms * u.nA)
    with pytest.raises(st.UnitError, match=r"duration=\.\.\.\) expects a quantity in units of `ms`"):
        st.simulate(net, duration=5.0)
    with pytest.raises(st.DomainError, match="at least one time step"):
        st.simulate(net, currents(3), duration=0.1 * u.ms)
    with pytest.raises(st.ShapeError, match=r"one number of time steps, got lengths \[3, 5\]"):
        st.simulate(net, currents(3), duration=5 * u.ms)
    with pytest.raises(
        st.StateError, match=r"record='E\.v' is not in Pair\. There is E\.spikes, .*E\.V.* and 'output'"
    ):
        st.simulate(net, currents(3), record=["E.v"])
    with pytest.raises(st.StateError, match=r"record='F\.spikes' is not in Pair"):
        st.simulate(net, currents(3), record=["E.V", "F.spikes"])
    with pytest.raises(st.SimulationError, match=r"E\.V.* became NaN or infinite between 1 and 5 ms"):
        st.simulate(net, currents(5).at[2, 1].set(jnp.nan * u.nA))
    assert not nnx.to_flat_state(nnx.state(net, st.ShortTermState))
    with environ.context(dt=0.1 * u.ms):  # the net is as good as new
        assert len(st.simulate(net, lambda t: 0 * t / u.ms * u.nA, duration=1 * u.ms).times) == 10


def test_a_string_is_not_taken_for_a_list_of_monitors():
    with pytest.raises(st.StateError, match=r'record=\["E.V"\]'):
        st.simulate(Pair(), currents(3), record="E.V")


def test_for_loop_goes_on_from_the_state_and_leaves_it():
    x, net = currents(T), Pair()

    def step(net, current):
        V = net.update(current)
        return V, net.E.spikes

    net.init_state()
    V1, s1 = st.for_loop(step, net, x[:50])
    V2, s2 = st.for_loop(step, net, x[50:])
    hand = Pair()
    V = by_hand(hand, x)
    active(jnp.concatenate([s1, s2]))
    equal(bare(u.math.concatenate([V1, V2])), bare(V), rtol=1e-12)
    equal(bare(net.E.V.value), bare(hand.E.V.value), rtol=1e-12)


def test_for_loop_without_inputs_over_several_parts():
    net = Noisy(rngs=nnx.Rngs(0))
    net.init_state((2,))
    noise = st.for_loop(lambda net: net.update(), net, length=9)
    assert noise.shape == (9, 2, N) and len(np.unique(noise)) == noise.size
    assert float(net.total.value) == 9
    more = st.for_loop(lambda net: net.update(), net, length=9)
    assert not np.isin(more, noise).any()


def test_for_loop_can_be_differentiated():
    x = currents(30)

    def mean_V(weight):
        net = Pair(weight=weight)
        net.init_state()
        return st.for_loop(lambda net, I: net.update(I), net, x).mean().mantissa

    gradient = jax.jit(jax.grad(mean_V))(0.3)
    assert np.isfinite(gradient) and gradient != 0


@pytest.mark.slow
def test_memory_does_not_grow_with_the_duration():
    """A minute of biological time in pieces, watched, in the memory of a second."""

    def run(seconds):
        spikes = 0
        with environ.context(dt=0.1 * u.ms):
            for piece in st.stream(Pair(), lambda t: 0.9 * u.nA * np.ones(t.shape), duration=seconds * u.second,
                                   record=["E.spikes", "E.V"]):  # fmt: skip
                spikes += int(piece["E.spikes"].sum())
        assert spikes > 0
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = run(2)
    after = run(60)
    assert after - before < 30_000, "kilobytes; 600,000 steps of V alone are 24 megabytes, times a list of pieces"
