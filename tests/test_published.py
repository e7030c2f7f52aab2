"""Rates, patterns and orders of convergence, against closed forms, quadrature and `scipy.integrate.solve_ivp`.

`test_neurons.py` holds more of it: the orders of all neurons whose equations are not linear, rheobases, and the rate
of `LIF` over the whole range of currents.
"""

import brainunit as u
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp
from scipy.optimize import brentq

import spiketrain as st
from spiketrain import environ

import neuron_references as ref
from helpers import bare, record

pytestmark = pytest.mark.usefixtures("x64")

PER_AREA = u.uA / u.cm**2


# --- Rates at constant currents


def run(model, I, unit=None, *, dt, T):
    """Return the spikes `(T / dt, neurons)` at constant currents, of a trial by itself and in a batch."""
    x = jnp.asarray(I, float)
    with environ.context(dt=dt * u.ms):
        x = jnp.broadcast_to(x, (round(T / dt), *x.shape))
        x = x if unit is None else x * unit
        return np.asarray(model(x))


def intervals(train, dt):
    return np.diff(np.flatnonzero(train)) * dt


def crossing_time(F, low, high):
    """Return the time from `low` to `high` where dV/dt = F(V), by quadrature."""
    return quad(lambda V: 1 / F(V), low, high, epsabs=1e-12, epsrel=1e-12, limit=500)[0]


SHAPE = dict(tau=10.0, R=100.0, V_th=-50.0, V_rest=-65.0, V_reset=-68.0)
EXPONENTIAL = dict(SHAPE, V_th=-30.0, V_T=-59.9, delta_T=3.48)
QUADRATIC = dict(SHAPE, V_th=-30.0, V_c=-50.0, c=0.07)
UNITS = dict(
    tau=u.ms, R=u.Mohm, V_th=u.mV, V_rest=u.mV, V_reset=u.mV, V_T=u.mV, delta_T=u.mV, V_c=u.mV, c=1 / u.mV, tau_ref=u.ms
)


def leak(V, I, p):
    return (p["V_rest"] - V + p["R"] * I) / p["tau"]


def no_leak(V, I, p):
    return p["R"] * I / p["tau"]


def exponential(V, I, p):
    return leak(V, I, p) + p["delta_T"] * np.exp((V - p["V_T"]) / p["delta_T"]) / p["tau"]


def quadratic(V, I, p):
    return (p["c"] * (V - p["V_rest"]) * (V - p["V_c"]) + p["R"] * I) / p["tau"]


CURVES = {
    "IF": (st.IF, no_leak, SHAPE, [0.05, 0.3, 2.0]),
    "LIF": (st.LIF, leak, SHAPE, [0.16, 0.3, 2.0]),
    "ExpIF": (st.ExpIF, exponential, EXPONENTIAL, [0.02, 0.3, 2.0]),
    "QuaIF": (st.QuaIF, quadratic, QUADRATIC, [0.05, 0.3, 2.0]),
}


@pytest.mark.parametrize("tau_ref", [None, 2.0])
@pytest.mark.parametrize("name", CURVES)
def test_the_rate_is_the_integral_of_the_equation(name, tau_ref):
    r"""$1 / f = \tau_{ref} + \int dV / F(V)$ from reset to threshold, with and without units, single and batched."""
    kind, F, shape, currents = CURVES[name]
    parameters = shape if tau_ref is None else dict(shape, tau_ref=tau_ref)
    with_units = {n: value * UNITS[n] for n, value in parameters.items()}
    dt, T, I = 0.01, 250.0, np.array(currents)
    s = run(kind(3, reset=st.HardReset(), **parameters), I, dt=dt, T=T)
    for n, current in enumerate(I):
        expected = (tau_ref or 0.0) + crossing_time(
            lambda V, current=current: F(V, current, shape), shape["V_reset"], shape["V_th"]
        )
        measured = intervals(s[:, n], dt)
        # A step late at most, because a spike waits for the end of its step; less than a step early where V runs away.
        assert len(measured) and np.all(np.abs(measured - expected) < 1.5 * dt), (expected, measured[:3])
        if name == "LIF":
            closed = 10.0 * np.log((100.0 * current + 3.0) / (100.0 * current - 15.0))
            assert expected == pytest.approx((tau_ref or 0.0) + closed, rel=1e-9)
        if name == "IF":
            assert expected == pytest.approx((tau_ref or 0.0) + 10.0 * 18.0 / (100.0 * current), rel=1e-9)
    batch = run(kind(3, reset=st.HardReset(), **with_units), np.stack([I, I[::-1]]), u.nA, dt=dt, T=T)
    np.testing.assert_array_equal(batch[:, 0], s)
    np.testing.assert_array_equal(batch[:, 1], batch[:, 0, ::-1])


def test_the_rate_of_a_perfect_integrator_is_linear_at_any_step():
    """A soft reset keeps what exceeds the threshold, so no part of the charge is lost, however coarse the step."""
    I, dt, T = np.linspace(0.05, 0.95, 7), 0.9, 1800.0
    model = st.IF(7, tau=2.0, V_reset=-0.3, reset=st.SoftReset(), V_initializer=-0.3)
    charge = T * I / 2.0 / 1.3
    counts = run(model, I, dt=dt, T=T).sum(0)
    np.testing.assert_array_equal(counts, np.floor(charge + 1e-9))
    lossy = run(st.IF(7, tau=2.0, V_reset=-0.3, reset=st.HardReset()), I, dt=dt, T=T).sum(0)
    assert np.all(lossy <= counts) and lossy.sum() < 0.95 * counts.sum()


def test_a_soft_reset_halves_the_rate_error_of_a_hard_one():
    """Both converge to the closed form; what exceeds the threshold is worth most of a step."""
    I, dt = np.linspace(1.5, 6.0, 40), 0.2
    period = 10.0 * np.log(I / (I - 1.0))
    lateness = {}
    for reset in (st.SoftReset(), st.HardReset()):
        s = run(st.LIF(40, tau=10.0, reset=reset), I, dt=dt, T=1000.0)
        lateness[type(reset).__name__] = np.array([intervals(s[:, n], dt).mean() - period[n] for n in range(40)])
    soft, hard = (np.abs(lateness[name]) for name in ("SoftReset", "HardReset"))
    assert hard.mean() > 0.3 * dt and np.all(hard < 1.01 * dt)
    assert soft.mean() < hard.mean() / 2 and np.all(soft < 0.6 * dt)


def test_a_quadratic_neuron_obeys_the_square_root_law():
    r"""$f = \frac{c k}{\tau} / (\arctan - \arctan)$, which is $\frac{c k}{\pi \tau}$ from far below to far above."""
    c, tau, rheobase = 0.07, 10.0, 0.07 * 15.0**2 / 4 / 100.0
    above, dt = np.array([1e-3, 2e-3, 4e-3, 8e-3, 16e-3]), 0.02
    k = np.sqrt(100.0 * above / c)
    model = st.QuaIF(5, V_th=2000.0 * u.mV, V_reset=-2000.0 * u.mV)
    s = run(model, rheobase + above, u.nA, dt=dt, T=1500.0)
    measured = np.array([intervals(s[:, n], dt).mean() for n in range(5)])
    closed = tau / (c * k) * (np.arctan((2000.0 + 57.5) / k) - np.arctan((-2000.0 + 57.5) / k))
    np.testing.assert_allclose(measured, closed, atol=2 * dt)
    np.testing.assert_allclose(measured, np.pi * tau / (c * k), rtol=2e-3)
    np.testing.assert_allclose(np.diff(np.log(1 / measured)) / np.diff(np.log(above)), 0.5, atol=1e-3)


@pytest.mark.parametrize("reset", [st.SoftReset(), st.HardReset()], ids=lambda reset: type(reset).__name__)
def test_alif_adapts_to_its_fixed_point(reset):
    r"""With period P, $a = 1 / (e^{P/\tau_a} - 1)$ at a spike, and P is the time from reset to $V_{th} + \beta a$."""
    tau, tau_a, beta, dt = 10.0, 80.0, 0.08, 0.01
    I = np.array([1.8, 3.0, 6.0])

    def late(P, current):
        a = 1 / np.expm1(P / tau_a)
        start = beta * a if isinstance(reset, st.SoftReset) else 0.0
        return tau * np.log((current - start) / max(current - 1.0 - beta * a, 1e-12)) - P

    s = run(st.ALIF(3, tau=tau, tau_a=tau_a, beta=beta, reset=reset), I, dt=dt, T=800.0)
    for n, current in enumerate(I):
        measured, first = intervals(s[:, n], dt), tau * np.log(current / (current - 1.0))
        steady = brentq(late, first, 40 * first, args=(current,))
        assert measured[-1] == pytest.approx(steady, abs=3 * dt)
        at = (np.flatnonzero(s[:, n])[0] + 1) * dt
        assert at == pytest.approx(first, abs=1.01 * dt)
        assert steady > 1.2 * first and np.all(np.diff(measured) > -1.5 * dt)


# --- Patterns, against the equations solved with resets at events


def solve(rhs, start, T, *, level, jump=None, rtol=1e-9):
    """Return the times at which `level(y)` rises through zero; `jump(y)` is what then happens to y."""

    def event(t, y):
        return level(y)

    event.direction, event.terminal = 1, jump is not None
    t, y, times = 0.0, np.array(start, float), []
    while t < T:
        solution = solve_ivp(rhs, (t, T), y, method="LSODA", rtol=rtol, atol=1e-9, events=event)
        times.extend(solution.t_events[0])
        if jump is None or not len(solution.t_events[0]):
            return np.array(times)
        t, y = solution.t[-1], np.array(jump(solution.y[:, -1]), float)
    return np.array(times)


def follow(train, dt, expected, *, atol, rtol):
    """Compare spike times: each spike comes at the end of its step."""
    times = (np.flatnonzero(train) + 1) * dt
    assert len(times) == len(expected) > 0, (len(times), len(expected))
    np.testing.assert_allclose(times, expected, atol=atol, rtol=rtol)


# Izhikevich (2003), figure 2; the parameters are those of BIOMD0000000127 in the BioModels database.
KINDS = {
    "regular spiking": dict(a=0.02, c=-65.0, d=8.0),
    "intrinsically bursting": dict(a=0.02, c=-55.0, d=4.0),
    "chattering": dict(a=0.02, c=-50.0, d=2.0),
    "fast spiking": dict(a=0.1, c=-65.0, d=2.0),
}


def test_izhikevich_fires_as_its_equations_do():
    a, c, d = (np.array([kind[x] for kind in KINDS.values()]) for x in "acd")
    dt, T = 0.005, 300.0
    s = run(st.Izhikevich(4, a=a / u.ms, c=c * u.mV, d=d * u.mV), [10.0] * 4, u.nA, dt=dt, T=T)
    for n, (name, p) in enumerate(KINDS.items()):
        expected = solve(
            lambda t, y, p=p: [0.04 * y[0] ** 2 + 5 * y[0] + 140 - y[1] + 10, p["a"] * (0.2 * y[0] - y[1])],
            [-70.0, -14.0],
            T,
            level=lambda y: y[0] - 30.0,
            jump=lambda y, p=p: [p["c"], y[1] + p["d"]],
        )
        follow(s[:, n], dt, expected, atol=0.1, rtol=2e-3)
        gaps = np.diff(expected)
        if name == "regular spiking":
            assert gaps[-1] > 1.2 * gaps[0] and np.ptp(gaps[-3:]) < 0.1
        elif name == "fast spiking":
            assert np.ptp(gaps[4:]) < 0.1 and len(gaps) > 30
        elif name == "chattering":
            assert np.sum(gaps > 15.0) >= 3 and np.sum(gaps < 6.0) >= 6
        else:
            assert np.all(gaps[:2] < 6.0) and np.all(gaps[-3:] > 15.0)


# Mihalas and Niebur (2009), figure 1: a per second, A1 / C, A2 / C and I / C in V/s. The values are those of table 1,
# as given in the replication by Detorakis (2017), https://github.com/ReScience/ReScience-submission. The others are
# the defaults: G / C = 50 / s, b = 10 / s, k1 = 200 / s, k2 = 20 / s, R1 = 0, R2 = 1.
PATTERNS = {
    "A tonic spiking": (0.0, 0.0, 0.0, 1.5),
    "B class 1": (0.0, 0.0, 0.0, 1.0 + 1e-6),
    "C spike frequency adaptation": (5.0, 0.0, 0.0, 2.0),
    "D phasic spiking": (5.0, 0.0, 0.0, 1.5),
    "K hyperpolarization induced spiking": (30.0, 0.0, 0.0, -1.0),
    "L hyperpolarization induced bursting": (30.0, 10.0, -0.6, -1.0),
    "M tonic bursting": (5.0, 10.0, -0.6, 2.0),
    "N phasic bursting": (5.0, 10.0, -0.6, 1.5),
    "P mixed mode": (5.0, 5.0, -0.3, 2.0),
}


def test_mihalas_niebur_neurons_fire_the_patterns_of_their_figure():
    a, A1, A2, I = (np.array(column) for column in zip(*PATTERNS.values(), strict=True))
    dt, T = 0.005, 500.0
    model = st.Gif(len(I), a=a * 1e-3 / u.ms, A1=A1 * u.nA, A2=A2 * u.nA)  # R / tau makes 1 nA into 1 V/s
    s = run(model, I, u.nA, dt=dt, T=T)
    gaps = {}
    for n, (name, p) in enumerate(PATTERNS.items()):

        def rhs(t, y, p=p):
            V, theta, I1, I2 = y
            return [
                p[3] + I1 + I2 - 0.05 * (V + 70),
                p[0] * 1e-3 * (V + 70) - 0.01 * (theta + 50),
                -0.2 * I1,
                -0.02 * I2,
            ]

        expected = solve(
            rhs,
            [-70.0, -50.0, 0.0, 0.0],
            T,
            level=lambda y: y[0] - y[1],
            jump=lambda y, p=p: [-70.0, max(-60.0, y[1]), p[1], y[3] + p[2]],
        )
        # V only just reaches the threshold at the start of some bursts, and then comes a little early or late.
        follow(s[:, n], dt, expected, atol=1.2 if "burst" in name or "mixed" in name else 0.1, rtol=2e-3)
        gaps[name[0]] = np.diff(expected)

    assert np.ptp(gaps["A"]) < 0.01 and gaps["A"][0] == pytest.approx(20.0 * np.log(3.0), abs=1e-3)
    assert len(gaps["B"]) == 0 and s[:, 1].sum() == 1  # in the time of the figure
    at = 20.0 * np.log((1 + 1e-6) / 1e-6)
    assert (np.flatnonzero(s[:, 1])[0] + 1) * dt == pytest.approx(at, abs=1.01 * dt)
    assert gaps["C"][-1] > 1.5 * gaps["C"][0] and np.all(np.diff(gaps["C"]) > -1e-3)
    assert gaps["D"].sum() < 200.0 and np.all(np.diff(gaps["D"]) > 0)  # at the onset, and then never again
    assert len(gaps["K"]) >= 1
    for bursting in "LMNP":
        assert gaps[bursting].min() < 6.0, bursting
    assert np.sum(gaps["M"] > 4 * gaps["M"].min()) >= 3 and gaps["N"].sum() < 50.0
    assert gaps["P"][-5:].min() > 5 * gaps["P"].min() and np.argmin(gaps["P"]) == 0  # a burst, then single spikes


def test_adex_adapts_as_its_equations_do():
    """The neuron of Brette and Gerstner (2005) at a step of current."""
    dt, T, I = 0.005, 400.0, [0.8, 1.0, 1.5]
    s = run(st.AdExIF(3), I, u.nA, dt=dt, T=T)
    for n, current in enumerate(I):

        def rhs(t, y, current=current):
            V, w = y
            growth = 2.0 * np.exp(min((V + 50.4) / 2.0, 30.0))
            return [(-70.6 - V + growth + 33.3 * (current - w)) / 9.37, (4e-3 * (V + 70.6) - w) / 144.0]

        expected = solve(rhs, [-70.6, 0.0], T, level=lambda y: y[0] - 20.0, jump=lambda y: [-70.6, y[1] + 0.0805])
        follow(s[:, n], dt, expected, atol=10 * dt, rtol=2e-3)
        gaps = np.diff(expected)
        assert len(gaps) >= 4 and np.all(np.diff(gaps) > -1e-3) and gaps[-1] > 1.5 * gaps[0]


def channels(I, *, ENa, gNa, EK, gK, EL, gL, C, rates, instantaneous=False):
    """Return the right-hand side and the start of a neuron with channels."""
    gates = "hn" if instantaneous else "mhn"

    def rhs(t, y):
        r, x = rates(y[0]), dict(zip(gates, y[1:], strict=True))
        m = r["m"][0] / sum(r["m"]) if instantaneous else x["m"]
        flow = gNa * m**3 * x["h"] * (ENa - y[0]) + gK * x["n"] ** 4 * (EK - y[0]) + gL * (EL - y[0]) + I
        return [flow / C, *(r[g][0] * (1 - x[g]) - r[g][1] * x[g] for g in gates)]

    return rhs, [-65.0, *(rates(-65.0)[g][0] / sum(rates(-65.0)[g]) for g in gates)]


def test_hodgkin_huxley_fires_at_the_rates_of_its_equations():
    """Class 2: nothing lasts at 6.2 uA/cm2, more than 50 Hz at 6.3, and 68 Hz at 10."""
    I, dt, T = [6.2, 6.3, 7.0, 10.0], 0.005, 300.0
    s = run(st.HH(4), I, PER_AREA, dt=dt, T=T)
    for n, current in enumerate(I):
        rhs, start = channels(current, **ref.HH)
        expected = solve(rhs, start, T, level=lambda y: y[0] - 20.0, rtol=1e-8)
        if n == 0:
            assert s[:, 0].sum() <= 4 and len(expected) <= 4 and not s[round(100.0 / dt) :, 0].any()
            continue
        measured, gaps = intervals(s[:, n], dt), np.diff(expected)
        assert len(gaps) > 10
        np.testing.assert_allclose(1000 / measured[-5:].mean(), 1000 / gaps[-5:].mean(), rtol=5e-3)
        if n in (1, 3):
            assert 1000 / gaps[-5:].mean() == pytest.approx({1: 52.4, 3: 68.3}[n], abs=0.3)


def test_wang_buzsaki_fires_at_the_rates_of_its_equations():
    """Class 1: from a few hertz up, continuously."""
    I, dt, T = [0.16, 0.18, 0.25, 1.0, 5.0], 0.005, 400.0
    s = run(st.WangBuzsakiHH(5), I, PER_AREA, dt=dt, T=T)
    for n, current in enumerate(I):
        rhs, start = channels(current, **ref.WB)
        expected = solve(rhs, start, T, level=lambda y: y[0], rtol=1e-8)
        if n == 0:
            assert not s[:, 0].any() and not len(expected)
            continue
        measured, gaps = intervals(s[:, n], dt), np.diff(expected)
        assert len(gaps) >= 1
        np.testing.assert_allclose(measured[-1], gaps[-1], rtol=1e-2)
    assert 1000 / intervals(s[:, 1], dt)[-1] < 10 < 50 < 1000 / intervals(s[:, 3], dt)[-1] < 70


# --- Exact: any step gives the solution, at inputs that are constant over the steps


LEVELS = np.array([0.7, -1.2, 0.0, 2.4, 0.3, -0.5])  # each held for 4 ms
G = np.array([0.0, 0.5, 2.0, 0.0, 1.0, 3.0])


def held(values, dt):
    return np.repeat(values, round(4.0 / dt))[:, None]


def exactly(rhs, start):
    """Solve from piece to piece; `rhs(I, g)` is the right-hand side in one."""
    y = np.array(start, float)
    for I, g in zip(LEVELS, G, strict=True):
        y = solve_ivp(rhs(I, g), (0.0, 4.0), y, method="DOP853", rtol=1e-12, atol=1e-14).y[:, -1]
    return y


def leaky(I, g):
    return lambda t, y: (0.2 - y + 1.4 * (I + g * (1.5 - y))) / 7.0


EXACT = {
    "LIF": (lambda: st.LIF(1, R=1.4, tau=7.0, V_rest=0.2, V_th=50.0), leaky, [0.2], "V"),
    "ALIF": (lambda: st.ALIF(1, R=1.4, tau=7.0, V_rest=0.2, V_th=50.0, beta=1.0), leaky, [0.2], "V"),
    "LeakyIntegrator": (lambda: st.LeakyIntegrator(1, R=1.4, tau=7.0, V_rest=0.2), leaky, [0.2], "V"),
    "IF": (
        lambda: st.IF(1, R=1.4, tau=7.0, V_rest=0.2, V_th=50.0),
        lambda I, g: lambda t, y: 1.4 * (I + g * (1.5 - y)) / 7.0,
        [0.2],
        "V",
    ),
}


@pytest.mark.parametrize("dt", [4.0, 0.5])
@pytest.mark.parametrize("name", EXACT)
def test_a_membrane_at_constant_currents_and_conductances_is_exact(name, dt):
    make, rhs, start, state = EXACT[name]
    with environ.context(dt=dt * u.ms):
        g = st.Conductance(jnp.asarray(held(G, dt)), st.COBA(E=1.5).E)
        out, trains = record(make(), jnp.asarray(held(LEVELS, dt)), g)
    assert name == "LeakyIntegrator" or not out.any()
    np.testing.assert_allclose(bare(trains[state])[-1], exactly(rhs, start), rtol=1e-10)
    assert np.ptp(bare(trains[state])) > 0.3


SYNAPSES = {
    "Expon": (lambda: st.Expon(1, tau=6.0), lambda t, y: [-y[0] / 6.0], lambda y: [y[0] + 1.7]),
    "Alpha": (
        lambda: st.Alpha(1, tau=6.0),
        lambda t, y: [(-y[0] + np.e * y[1]) / 6.0, -y[1] / 6.0],
        lambda y: [y[0], y[1] + 1.7],
    ),
    "DualExpon": (
        lambda: st.DualExpon(1, tau_rise=2.0, tau_decay=6.0, A=1.3),
        lambda t, y: [-y[0] / 6.0 + 1.3 * (1 / 2.0 - 1 / 6.0) * y[1], -y[1] / 2.0],
        lambda y: [y[0], y[1] + 1.7],
    ),
}


@pytest.mark.parametrize("dt", [4.0, 0.5])
@pytest.mark.parametrize("name", SYNAPSES)
def test_a_linear_synapse_is_exact(name, dt):
    make, rhs, arrive = SYNAPSES[name]
    x = np.zeros((round(24.0 / dt) + 1, 1))
    x[[0, round(12.0 / dt)]] = 1.7
    with environ.context(dt=dt * u.ms):
        g = np.asarray(make()(x))[:, 0]
    y = np.array(arrive([0.0, 0.0][: 1 if name == "Expon" else 2]), float)
    for arrives, at in ((True, 12.0), (False, 24.0)):
        y = solve_ivp(rhs, (0.0, 12.0), y, method="DOP853", rtol=1e-12, atol=1e-14).y[:, -1]
        y = np.array(arrive(y), float) if arrives else y
        np.testing.assert_allclose(g[round(at / dt)], y[0], rtol=1e-9)
    assert g.max() > 0.5


@pytest.mark.parametrize("rise, decay", [(1.0, 10.0), (0.3, 40.0), (5.0, 5.5), (5.0, 5.0 + 1e-9), (9.0, 4.0)])
def test_a_dual_exponential_peaks_at_exactly_the_size_of_the_arrival(rise, decay):
    near = abs(rise - decay) < 1e-6
    peak = decay if near else rise * decay / (decay - rise) * np.log(decay / rise)
    with environ.context(dt=peak / 16 * u.ms):
        g = np.asarray(st.DualExpon(1, tau_rise=rise, tau_decay=decay)(jnp.zeros((60, 1)).at[0].set(2.5)))[:, 0]
    assert np.argmax(g) == 16
    np.testing.assert_allclose(g[16], 2.5, rtol=1e-8 if near else 1e-12)


@pytest.mark.parametrize("kind", [st.AMPA, st.GABAa])
@pytest.mark.parametrize("dt", [2.0, 0.25])
def test_receptors_are_exact_also_where_a_pulse_ends_within_a_step(kind, dt):
    synapse = kind(1, T_dur=1.3)
    alpha, beta, T = (float(bare(getattr(synapse, name))) for name in ("alpha", "beta", "T"))
    x = np.zeros((round(20.0 / dt) + 1, 1))
    x[[0, round(8.0 / dt)]] = 1.0
    with environ.context(dt=dt * u.ms):
        g = np.asarray(synapse(x))[:, 0]
    for at, expected in receptor(lambda on: lambda t, y: [alpha * T * on * (1 - y[0]) - beta * y[0]], [0.0], 1.3):
        np.testing.assert_allclose(g[round(at / dt)], expected[0], rtol=1e-9)
    assert 0.2 < g.max() < 1.0


def receptor(rhs, start, T_dur, spikes=(0.0, 8.0), end=20.0):
    """Yield times and solutions of an equation with transmitter in pulses, at every multiple of 2 ms."""
    edges = sorted({*spikes, *(s + T_dur for s in spikes), *np.arange(0.0, end + 1, 2.0)})
    y = np.array(start, float)
    for t0, t1 in zip(edges[:-1], edges[1:], strict=True):
        on = any(s <= t0 < s + T_dur - 1e-9 for s in spikes)
        y = solve_ivp(rhs(on), (t0, t1), y, method="DOP853", rtol=1e-12, atol=1e-14).y[:, -1]
        if t1 % 2.0 == 0.0:
            yield t1, y


@pytest.mark.parametrize("rate_hz", [2.0, 10.0, 40.0, 100.0])
def test_short_term_plasticity_settles_where_its_paper_says(rate_hz):
    r"""At intervals $P$: $u = U / (1 - (1 - U) e^{-P/\tau_f})$, $x = (1 - e^{-P/\tau_d}) / (1 - (1 - u) e^{-P/\tau_d})$.

    Tsodyks, Pawelzik and Markram (1998), section 2.1: a spike releases u x.
    """
    P, U, tau_f, tau_d = 1000.0 / rate_hz, 0.25, 400.0, 150.0
    facilitated = U / (1 - (1 - U) * np.exp(-P / tau_f))
    available = (1 - np.exp(-P / tau_d)) / (1 - (1 - facilitated) * np.exp(-P / tau_d))
    with environ.context(dt=P / 4 * u.ms):
        released = np.asarray(st.STP(1, U=U, tau_f=tau_f, tau_d=tau_d)(np.tile([[1.0], [0], [0], [0]], (400, 1))))
    np.testing.assert_allclose(released[-4, 0], facilitated * available, rtol=1e-9)
    assert released[0, 0] == pytest.approx(U) and not released[-3:].any()


# --- Orders of convergence


def orders(error, steps=(0.5, 0.25, 0.125)):
    """Return the slope of the error between steps, of which each is half of the one before."""
    errors = np.array([error(dt) for dt in steps])
    assert np.all(errors > 1e-12), "there must be an error to measure"
    return np.log2(errors[:-1] / errors[1:])


@pytest.mark.parametrize("T_dur", [2.0, 1.3])
def test_nmda_is_of_second_order(T_dur):
    """At every 2 ms of two pulses, and also where a pulse ends within a step."""
    rates = dict(alpha1=2.0, beta1=0.01, alpha2=1.0, beta2=0.5)

    def rhs(on):
        return lambda t, y: [
            rates["alpha1"] * y[1] * (1 - y[0]) - rates["beta1"] * y[0],
            rates["alpha2"] * on * (1 - y[1]) - rates["beta2"] * y[1],
        ]

    expected = list(receptor(rhs, [0.0, 0.0], T_dur))

    def error(dt):
        x = np.zeros((round(20.0 / dt) + 1, 1))
        x[[0, round(8.0 / dt)]] = 1.0
        with environ.context(dt=dt * u.ms):
            g, trains = record(st.BioNMDA(1, T_dur=T_dur, **rates), x)
        at = [round(t / dt) for t, _ in expected]
        np.testing.assert_allclose(bare(trains["x"])[at, 0], [y[1] for _, y in expected], rtol=1e-9)
        assert 0.5 < np.max(g) < 1.0
        return np.abs(np.asarray(g)[at, 0] - [y[0] for _, y in expected])

    if T_dur == 2.0:
        np.testing.assert_allclose(orders(error), 2.0, atol=0.2)
    else:  # the error of one time depends on where in its step the pulse ends
        np.testing.assert_allclose(orders(lambda dt: np.linalg.norm(error(dt))).mean(), 2.0, atol=0.2)


def test_a_membrane_behind_a_magnesium_block_is_of_second_order():
    def rhs(t, V):
        block = 1 / (1 + 1.2 / 3.57 * np.exp(-0.062 * V))
        return (-66.0 - V + 40.0 * (0.3 + 0.02 * (0.0 - V) * block)) / 14.0

    exact = solve_ivp(rhs, (0.0, 12.0), [-66.0], method="DOP853", rtol=1e-12, atol=1e-12).y[0, -1]

    def error(dt):
        cell = st.LeakyIntegrator(1, R=40.0 * u.Mohm, tau=14.0 * u.ms, V_rest=-66.0 * u.mV)
        steps = round(12.0 / dt)
        with environ.context(dt=dt * u.ms):
            blocked = st.MgBlock(E=0.0 * u.mV)(jnp.full((steps, 1), 20.0) * u.nS)
            V = cell(blocked, jnp.full((steps, 1), 0.3) * u.nA)
        return abs(float(V[-1, 0].to_decimal(u.mV)) - exact)

    np.testing.assert_allclose(orders(error), 2.0, atol=0.2)


@pytest.mark.parametrize("name", ["LIF", "ALIF", "LeakyIntegrator", "IF", "ExpIF", "QuaIF"])
def test_a_smooth_input_sampled_in_the_middle_of_steps_is_of_second_order(name):
    def wave(t):
        return 0.05 * np.sin(0.7 * t) + 0.02 * np.cos(0.2 * t)

    kind, F, p, _ = CURVES.get(name, (getattr(st, name), leak, SHAPE, None))
    p = {n: value for n, value in p.items() if not (name == "LeakyIntegrator" and n in ("V_th", "V_reset"))}
    exact = solve_ivp(lambda t, V: F(V, wave(t), p), (0.0, 12.0), [-65.0], method="DOP853", rtol=1e-12, atol=1e-12)

    def error(dt):
        middle = dt * (np.arange(round(12.0 / dt)) + 0.5)
        with environ.context(dt=dt * u.ms):
            out, trains = record(kind(1, **p), jnp.asarray(wave(middle)[:, None]))
        assert name == "LeakyIntegrator" or not out.any()
        return abs(bare(trains["V"])[-1, 0] - exact.y[0, -1])

    np.testing.assert_allclose(orders(error), 2.0, atol=0.2)


def test_a_conductance_that_decays_makes_the_membrane_one_of_first_order():
    """COBA holds g over a step at its value of the end, after arrivals; the membrane itself is exact."""

    def rhs(t, V):
        return (-66.0 - V + 40.0 * 0.01 * np.exp(-t / 5.0) * (0.0 - V)) / 14.0

    exact = solve_ivp(rhs, (0.0, 12.0), [-66.0], method="DOP853", rtol=1e-12, atol=1e-12).y[0, -1]
    neuron = st.LIF(1, R=40.0 * u.Mohm, tau=14.0 * u.ms, V_th=-30.0 * u.mV, V_rest=-66.0 * u.mV)
    projection = st.AlignPostProj(st.OneToOne(1, weight=10.0 * u.nS), st.Expon(1, tau=5.0 * u.ms), st.COBA(0.0 * u.mV))

    def error(dt):
        steps = round(12.0 / dt)
        with environ.context(dt=dt * u.ms):
            g = projection(jnp.zeros((steps + 1, 1)).at[0].set(1.0)).g[1:]
            out, trains = record(neuron, st.Conductance(g, st.COBA(0.0 * u.mV).E))
        assert not out.any() and np.ptp(bare(trains["V"])) > 1.0
        return abs(bare(trains["V"])[-1, 0] - exact)

    np.testing.assert_allclose(orders(error), 1.0, atol=0.2)
