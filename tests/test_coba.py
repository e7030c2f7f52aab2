"""The balanced networks of experiments/coba: against numpy, spike for spike, and against what is published."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import brainunit as u
import jax
import numpy as np
import pytest
import scipy.sparse
from flax import nnx

import spiketrain as st

FOLDER = Path(__file__).resolve().parents[1] / "experiments" / "coba"
DT, SECOND = 0.1, 1000  # ms


def load(name):
    spec = importlib.util.spec_from_file_location(f"coba_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


net_py = load("net")


@pytest.fixture(scope="module", autouse=True)
def tenth_of_a_millisecond():
    with st.environ.context(dt=DT * u.ms):
        yield


def constant(t):
    return np.full(t.shape, 0.2) * u.nA


def none(t):
    return np.zeros(t.shape) * u.nA


def spikes_of(net, current, milliseconds):
    recording = st.simulate(net, current, duration=milliseconds * u.ms, record={"spikes": "N.spikes"})
    return recording["spikes"]


def in_numpy(net, V, current, *, conductances):
    """Run a network again: capacitor and leak instead of R and tau, sparse matrices, times of last spikes.

    V in mV, current in pA per step; returns the spikes `(T, n)` and the last V.
    """
    n, n_E, C, g_leak = len(V), net.n_E, 200.0, 10.0  # pF, nS
    matrices = []
    for comm in (net.E.comm, net.I.comm):
        pre, post = comm.pairs()
        matrices.append(scipy.sparse.csr_array((np.ones(len(pre)), (post, pre)), shape=(n, comm.in_size[0])))
    from_E, from_I = matrices
    V_rest, weights = (-60.0, (6.0, 67.0)) if conductances else (-49.0, (16.2, -90.0))
    x_E, x_I, last, fired, trains = np.zeros(n), np.zeros(n), np.full(n, -1000), np.zeros(n, bool), []
    for step, I in enumerate(current):
        x_E = x_E * np.exp(-DT / 5.0) + weights[0] * (from_E @ fired[:n_E].astype(float))
        x_I = x_I * np.exp(-DT / 10.0) + weights[1] * (from_I @ fired[n_E:].astype(float))
        if conductances:
            g = g_leak + x_E + x_I
            V_inf = (g_leak * V_rest + 0.0 * x_E - 80.0 * x_I + I) / g
        else:
            g, V_inf = g_leak, V_rest + (x_E + x_I + I) / g_leak
        V = np.where(fired, -60.0, V)
        V = np.where(step - last > 50, V_inf + (V - V_inf) * np.exp(-DT * g / C), -60.0)
        fired = (V >= -50.0) & (step - last > 50)
        last[fired] = step
        trains.append(fired)
    return np.array(trains), V


@pytest.mark.parametrize("name", ["coba", "cuba"])
def test_every_spike_is_that_of_a_network_written_in_numpy(name):
    steps = 300
    with jax.enable_x64(True):
        net = {"coba": net_py.COBANet, "cuba": net_py.CUBANet}[name](seed=3)
        fresh = nnx.clone(net)
        fresh.init_state(())
        V = np.asarray(fresh.N.V.value.to_decimal(u.mV))
        assert V.dtype == np.float64 and np.ptp(V) > 9
        current = constant if name == "coba" else none
        recording = st.simulate(net, current, duration=steps * DT * u.ms, record=("N.spikes", "N.V"))
    drive = 200.0 if name == "coba" else 0.0
    expected, V_end = in_numpy(net, V, np.full(steps, drive), conductances=name == "coba")
    spikes = recording["N.spikes"]
    assert spikes.sum() > 500 and np.unique(np.nonzero(spikes)[0]).size > 200, "activity throughout"
    assert spikes[:, : net.n_E].any() and spikes[:, net.n_E :].any()
    np.testing.assert_array_equal(spikes, expected)
    np.testing.assert_allclose(recording["N.V"].to_decimal(u.mV)[-1], V_end, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "lowest", "highest", "cv"), [("COBANet", 15.0, 22.0, (1.2, 1.8)), ("CUBANet", 4.5, 6.5, (0.4, 0.8))]
)
def test_both_populations_fire_irregularly_and_apart_at_the_published_rate(name, lowest, highest, cv):
    net = getattr(net_py, name)(seed=0)
    spikes = spikes_of(net, net_py.kick if name == "COBANet" else none, SECOND)[1000:]
    times = DT * np.arange(1, len(spikes) + 1) * u.ms
    for population in (spikes[:, : net.n_E], spikes[:, net.n_E :]):
        rates = st.spike_statistics.firing_rate(population, times).to_decimal(u.hertz)
        assert lowest < rates.mean() < highest
        assert rates.max() > 2 * rates.mean(), "neurons differ"
        assert cv[0] < np.nanmean(st.spike_statistics.cv_isi(population)) < cv[1]
    assert abs(st.spike_statistics.mean_correlation(spikes, times, window=10 * u.ms)) < 0.01


def test_without_a_kick_coba_is_silent_and_equal_seeds_give_equal_spikes():
    a, b = (spikes_of(net_py.COBANet(seed=0), net_py.kick, SECOND) for _ in range(2))
    assert a[-1000:].any(), "it goes on without a drive"
    np.testing.assert_array_equal(a, b)
    assert not spikes_of(net_py.COBANet(seed=0), none, SECOND).any()


def test_seeds_differ_in_connections_and_initial_potentials():
    nets = [net_py.CUBANet(seed=seed, n_E=80, n_I=20) for seed in (0, 1)]
    for net in nets:
        net.init_state(())
    assert not np.array_equal(*(net.N.V.value.mantissa for net in nets))
    assert not np.array_equal(nets[0].E.comm.pairs()[0], nets[1].E.comm.pairs()[0])


def test_every_pair_is_connected_with_probability_two_percent():
    net = net_py.COBANet(seed=0)
    for comm, pre in ((net.E.comm, 3200), (net.I.comm, 800)):
        n = pre * 4000
        assert abs(comm.connections - 0.02 * n) < 5 * np.sqrt(n * 0.02 * 0.98)


def test_the_readme_shows_the_results_file():
    path = list(sys.path)
    run = load("run")
    sys.path[:] = path
    readme, results = (FOLDER / "README.md").read_text(), json.loads((FOLDER / "results.json").read_text())
    assert run.table(results) in readme
    published = {name: float(rate.split()[0]) for name, rate in run.PUBLISHED.items()}
    assert set(results) == set(run.NETWORKS)
    for name, rate in published.items():
        ours = [r["first_second_hz"] for r in results[name]["runs"]]
        assert len(ours) >= 3 and min(ours) < rate < max(ours), f"{name}: {rate} Hz lies among {ours}"
    assert {path.name for path in FOLDER.glob("*.png")} >= set(re.findall(r"\]\((\w+\.png)\)", readme))
