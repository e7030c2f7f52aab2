"""Neurons behave as their literature says: orders of convergence, rates, rheobase, adaptation, refractory periods."""

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import spiketrain as st
from spiketrain import environ
from spiketrain.integrate import phi

import neuron_references as ref
from helpers import active, bare, equal, gradient, record

pytestmark = pytest.mark.usefixtures("x64")

PER_AREA = u.uA / u.cm**2
RESETS = [st.SoftReset(), st.HardReset(), st.NoReset()]
MV = dict(V_th=-50.0 * u.mV, V_rest=-65.0 * u.mV, V_reset=-70.0 * u.mV, R=100.0 * u.Mohm, tau=10.0 * u.ms)

# Each row: build the model, the unit of its input, and a drive at which it spikes.
MODELS = {
    "IF": (lambda n, **k: st.IF(n, **{**MV, **k}), u.nA, 0.3),
    "LIF": (lambda n, **k: st.LIF(n, **{**MV, **k}), u.nA, 0.3),
    "ALIF": (lambda n, **k: st.ALIF(n, **{**MV, "beta": 2.0 * u.mV, "tau_a": 100.0 * u.ms, **k}), u.nA, 0.3),
    "ExpIF": (st.ExpIF, u.nA, 0.3),
    "AdExIF": (st.AdExIF, u.nA, 1.5),
    "QuaIF": (st.QuaIF, u.nA, 0.5),
    "AdQuaIF": (st.AdQuaIF, u.nA, 0.5),
    "Izhikevich": (st.Izhikevich, u.nA, 15.0),
    "Gif": (lambda n, **k: st.Gif(n, **{"a": 0.005 / u.ms, "A1": 0.1 * u.nA, "A2": -0.2 * u.nA, **k}), u.nA, 2.5),
    "HH": (st.HH, PER_AREA, 15.0),
    "WangBuzsakiHH": (st.WangBuzsakiHH, PER_AREA, 3.0),
}
WITH_CHANNELS = ("HH", "WangBuzsakiHH")
every_model = pytest.mark.parametrize("name", MODELS)
with_reset = pytest.mark.parametrize("name", [name for name in MODELS if name not in WITH_CHANNELS])


def spikes_of(model, I, unit, *, dt, T):
    """Run a model at constant currents `I`, one per neuron, for T ms."""
    with environ.context(dt=dt * u.ms):
        x = jnp.broadcast_to(jnp.asarray(I, float), (round(T / dt), len(I)))
        return np.asarray(model(x if unit is None else x * unit))


def intervals(train, dt=1.0):
    """Return the intervals between the spikes of one neuron."""
    return np.diff(np.flatnonzero(train)) * dt


# --- Convergence to an independent solution of the equations, below threshold


def _adapting(curve, R, tau, V_rest, a, tau_w, I):
    return lambda t, y: [(curve(y[0])[0] - R * y[1] + R * I) / tau, (a * (y[0] - V_rest) - y[1]) / tau_w]


def _channels(I, *, ENa, gNa, EK, gK, EL, gL, C, rates, instantaneous=False):
    def rhs(t, y):
        V, (m, h, n), r = y[0], y[1:], rates(y[0])
        m = r["m"][0] / sum(r["m"]) if instantaneous else m
        flow = gNa * m**3 * h * (ENa - V) + gK * n**4 * (EK - V) + gL * (EL - V) + I
        return [flow / C, *(r[x][0] * (1 - y) - r[x][1] * y for x, y in zip("mhn", y[1:], strict=True))]

    return rhs


def _steady(rates, V):
    return [alpha / (alpha + beta) for alpha, beta in rates(V).values()]


def _gif(t, y):
    V, I1, I2, theta = y
    return [(-(V + 70) + 20 * (I1 + I2 + 0.3)) / 20, -0.2 * I1, -0.02 * I2, 0.005 * (V + 70) - 0.01 * (theta + 50)]


EXP = ref.exponential(V_rest=-70.6, V_T=-50.4, delta_T=2.0)
QUA = ref.quadratic(V_rest=-65.0, V_c=-50.0, c=0.07)
EXP_IF = ref.exponential(V_rest=-65.0, V_T=-59.9, delta_T=3.48)
# Each row: order, States compared, V at the start, input, right-hand side, its start.
CONVERGENCE = {
    "ExpIF": (2, "V", -67.0, 0.01, lambda t, y: [(EXP_IF(y[0])[0] + 1.0) / 10], [-67.0]),
    "QuaIF": (2, "V", -55.0, 0.01, lambda t, y: [(QUA(y[0])[0] + 1.0) / 10], [-55.0]),
    "AdExIF": (1, "Vw", -60.0, 0.3, _adapting(EXP, 33.3, 9.37, -70.6, 4e-3, 144.0, 0.3), [-60.0, 0.0]),
    "AdQuaIF": (1, "Vw", -55.0, 0.02, _adapting(QUA, 100.0, 10.0, -65.0, 5e-3, 100.0, 0.02), [-55.0, 0.0]),
    "Izhikevich": (
        1,
        "Vu",
        -60.0,
        2.0,
        lambda t, y: [0.04 * y[0] ** 2 + 5 * y[0] + 140 - y[1] + 2.0, 0.02 * (0.2 * y[0] - y[1])],
        [-60.0, -12.0],
    ),
    "Gif": (1, ("V", "I1", "I2", "theta"), -40.0, 0.3, _gif, [-70.0, 0.1, -0.2, -50.0]),  # it starts with a spike
    "HH": (
        (2, 1, 1, 1),
        "Vmhn",
        -62.0,
        1.0,
        _channels(1.0, **ref.HH),
        [-62.0, *_steady(ref.hodgkin_huxley_rates, -62.0)],
    ),
    "WangBuzsakiHH": (
        1,
        "Vhn",
        -70.0,
        0.1,
        _channels(0.1, **ref.WB),
        [-70.0, *_steady(ref.wang_buzsaki_rates, -70.0)],
    ),
}


@pytest.mark.parametrize("name", CONVERGENCE)
def test_the_solution_converges_at_the_order_that_is_claimed(name):
    order, names, V0, I, rhs, start = CONVERGENCE[name]
    make, unit, _ = MODELS[name]
    T = 5.0
    exact = solve_ivp(rhs, (0, T), start, method="DOP853", rtol=1e-12, atol=1e-14).y[:, -1]
    if name == "WangBuzsakiHH":
        exact = np.delete(exact, 1)

    def errors(dt):
        with environ.context(dt=dt * u.ms):
            out, trains = record(make(1, V_initializer=V0 * u.mV), jnp.full((round(T / dt), 1), I) * unit)
        assert not out.any()
        return np.array([bare(trains[x])[-1, 0] for x in names]) - exact

    coarse, fine = errors(0.05), errors(0.025)
    exactly = np.abs(coarse) < 1e-10  # variables that obey a linear equation of their own
    order = np.broadcast_to(order, exact.shape)[~exactly]
    np.testing.assert_allclose(np.log2(np.abs(coarse / np.where(exactly, 1.0, fine)))[~exactly], order, atol=0.1)
    assert not exactly[0] and np.all(np.abs(fine) < 0.1)


# --- The leaky integrator with a refractory period


def test_lif_meets_its_analytic_rate():
    """1 / (tau_ref + tau ln((R I - V_reset) / (R I - V_th)))."""
    I, dt = np.array([1.001, 1.05, 1.3, 2.0, 5.0, 40.0]), 0.01
    model = st.LIF(len(I), tau=10.0, V_reset=-0.3, reset=st.HardReset(), tau_ref=2.0)
    s = spikes_of(model, I, None, dt=dt, T=700.0)
    period = 2.0 + 10.0 * np.log((I + 0.3) / (I - 1.0))
    for n, expected in enumerate(period):
        measured = intervals(s[:, n], dt)
        np.testing.assert_allclose(measured, expected, atol=1.001 * dt)
        assert len(measured) >= 5


@pytest.mark.parametrize("dt", [0.1, 0.3, 0.7])
def test_the_refractory_period_never_drifts(dt):
    """Every interval is that of the first, over 10^5 steps."""
    I = np.array([1.2, 3.0, 1e6])
    model = st.LIF(3, tau=10.0, reset=st.HardReset(), tau_ref=2.0 * u.ms)
    s = spikes_of(model, I, None, dt=dt, T=1e5 * dt)
    rise = np.ceil(10.0 * np.log(I / (I - 1.0)) / dt)
    for n in range(3):
        steps = intervals(s[:, n])
        assert len(steps) > 400 and np.all(steps == np.round(2.0 / dt) + rise[n])


@pytest.mark.parametrize("reset", RESETS, ids=lambda reset: type(reset).__name__)
@pytest.mark.parametrize("name", ["LIF", "Gif"])
def test_a_refractory_neuron_is_silent_and_held_with_every_reset(name, reset):
    make, unit, drive = MODELS[name]
    with environ.context(dt=0.5 * u.ms):
        model = make(2, reset=reset, tau_ref=jnp.array([2.0, 3.5]) * u.ms)
        s, trains = record(model, jnp.full((300, 2), 3 * drive) * unit)
    s, V = np.asarray(s), bare(trains["V"])
    for n, held in enumerate((4, 7)):
        at = np.flatnonzero(s[:, n])
        at = at[at + held < 300]
        assert len(at) > 5 and np.diff(at).min() > held
        for k in at:
            assert np.ptp(V[k + 1 : k + 1 + held, n]) == 0
            assert V[k + 1 + held - 1, n] != V[k + 1 + held, n] if k + 1 + held < 300 else True
        if isinstance(reset, st.NoReset):
            assert np.all(np.diff(at) == held + 1)


@with_reset
@pytest.mark.parametrize("dt", [0.25, 1.0])
def test_the_shortest_interval_is_the_refractory_period_and_one_step(name, dt):
    make, unit, _ = MODELS[name]
    model = make(1, reset=st.HardReset(), tau_ref=3.0 * u.ms, surrogate=st.Triangle())
    with environ.context(dt=dt * u.ms):
        s = np.asarray(model(jnp.full((200, 1), 1e5) * unit))[:, 0]
    active(s)
    assert intervals(s).min() == round(3.0 / dt) + 1


def test_what_arrives_in_a_refractory_period_is_lost():
    model = st.LIF(1, tau=10.0, V_initializer=1.5, tau_ref=4.0, reset=st.HardReset())
    with environ.context(dt=1.0 * u.ms):
        out, trains = record(model, jnp.zeros((8, 1)).at[:4].set(0.5), st.Jump(jnp.zeros((8, 1)).at[1].set(9.0)))
    assert not np.any(out) and not np.any(bare(trains["V"]))


def test_a_refractory_period_shorter_than_half_a_step_is_none():
    def out(**refractory):
        model = st.LIF(1, tau=10.0, **refractory)
        return spikes_of(model, [4.0], None, dt=1.0, T=50.0)

    equal(out(tau_ref=0.4), out(), rtol=0)
    assert out(tau_ref=0.6).sum() < out().sum()


def test_a_refractory_period_may_be_drawn_for_every_neuron():
    model = st.LIF(50, tau_ref=lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, 2.0, 9.0), rngs=_rngs())
    s = spikes_of(model, [1e4] * 50, None, dt=1.0, T=60.0)
    shortest = [intervals(s[:, n]).min() for n in range(50)]
    assert min(shortest) >= 3 and max(shortest) <= 10 and len(set(shortest)) > 3


def _rngs():
    from flax import nnx

    return nnx.Rngs(0)


def test_a_refractory_period_is_checked():
    with pytest.raises(st.DomainError, match=r"LIF\(tau_ref=...\) must be greater than zero"):
        st.LIF(1, tau_ref=0.0)
    with pytest.raises(st.UnitError, match=r"LIF\(tau_ref=...\)"):
        st.LIF(1, tau_ref=2.0 * u.mV)
    with pytest.raises(st.UnitError, match=r"ExpIF\(tau_ref=...\) expects a quantity in units of `ms`"):
        st.ExpIF(1, tau_ref=2.0)


# --- Rates, rheobase, adaptation


def test_exp_if_has_the_rheobase_of_its_equation():
    """R I = V_T - V_rest - delta_T, where the curve touches zero."""
    rheobase = (-59.9 + 65.0 - 3.48) / 100.0
    s = spikes_of(st.ExpIF(2), rheobase * np.array([0.98, 1.02]), u.nA, dt=0.25, T=1000.0)
    assert s[:, 0].sum() == 0 and s[:, 1].sum() > 1


def test_quadratic_if_has_the_rheobase_of_its_equation():
    """R I = c (V_c - V_rest)^2 / 4."""
    rheobase = 0.07 * 15.0**2 / 4 / 100.0
    s = spikes_of(st.QuaIF(2), rheobase * np.array([0.98, 1.02]), u.nA, dt=0.25, T=1000.0)
    assert s[:, 0].sum() == 0 and s[:, 1].sum() > 1


@pytest.mark.parametrize("kind, drive", [(st.AdExIF, 1.0), (st.AdQuaIF, 0.3)])
def test_adaptation_lengthens_the_intervals(kind, drive):
    def measured(**parameters):
        return intervals(spikes_of(kind(1, **parameters), [drive], u.nA, dt=0.1, T=600.0)[:, 0], 0.1)

    adapting, fixed = measured(), measured(a=0.0 * u.nS, b=0.0 * u.pA)
    assert adapting[-1] > 1.5 * adapting[0] and np.all(np.diff(adapting) > -0.5)
    assert np.ptp(fixed[1:]) < 0.11 and fixed[1] < adapting[0]


def test_izhikevich_fires_as_the_paper_shows():
    """Regular spiking adapts, fast spiking is fast and even, chattering comes in bursts."""
    kinds = {"a": [0.02, 0.1, 0.02], "c": [-65.0, -65.0, -50.0], "d": [8.0, 2.0, 2.0]}
    a, c, d = (np.array(kinds[x]) for x in "acd")
    model = st.Izhikevich(3, a=a / u.ms, c=c * u.mV, d=d * u.mV)
    s = spikes_of(model, [10.0] * 3, u.nA, dt=0.1, T=1000.0)
    regular, fast, chattering = (intervals(s[:, n], 0.1) for n in range(3))
    assert 15 <= s[:, 0].sum() <= 30 and regular[-1] > 1.2 * regular[0]
    assert s[:, 1].sum() > 3 * s[:, 0].sum() and np.ptp(fast[3:]) < 1.0
    assert chattering.min() < 6.0 and chattering.max() > 5 * chattering.min()


def test_hodgkin_huxley_starts_to_fire_at_a_finite_rate():
    I = np.array([2.0, 6.0, 6.5, 8.0, 10.0])
    s = spikes_of(st.HH(5), I, PER_AREA, dt=0.025, T=1000.0)
    early, late = s.sum(0), 2 * s[20_000:].sum(0)
    assert early[0] == 0 and late[0] == late[1] == 0
    assert np.all((late[2:] >= 50) & (late[2:] <= 72)) and np.all(np.diff(late[2:]) > 0)


def test_wang_buzsaki_starts_to_fire_at_a_low_rate():
    s = spikes_of(st.WangBuzsakiHH(4), [0.1, 0.2, 1.0, 5.0], PER_AREA, dt=0.025, T=1000.0).sum(0)
    assert s[0] == 0 and 3 <= s[1] <= 15 and 50 <= s[2] <= 70 and 150 <= s[3] <= 250


@pytest.mark.parametrize("name", WITH_CHANNELS)
def test_one_action_potential_is_one_spike(name):
    make, unit, drive = MODELS[name]
    model = make(1)
    with environ.context(dt=0.05 * u.ms):
        s, trains = record(model, jnp.full((2000, 1), drive) * unit)
    above = bare(trains["V"])[:, 0] >= float(model.V_th.to_decimal(u.mV))
    active(s)
    crossings = np.flatnonzero(above[1:] & ~above[:-1]) + 1
    np.testing.assert_array_equal(np.flatnonzero(np.asarray(s)[:, 0]), crossings)
    assert above.sum() > 2 * len(crossings) and len(crossings) > 3
    assert min(bare(trains[x]).min() for x in ("h", "n")) >= 0 and max(bare(trains[x]).max() for x in "hn") <= 1


@pytest.mark.parametrize("name", WITH_CHANNELS)
def test_a_trial_that_starts_above_threshold_starts_without_a_spike(name):
    make, unit, _ = MODELS[name]
    with environ.context(dt=0.01 * u.ms):
        s, trains = record(make(1, V_initializer=40.0 * u.mV), jnp.zeros((3, 1)) * unit)
    assert s.sum() == 0 and bare(trains["above"])[0] == 1


# --- Relations between the models


def test_models_without_their_extras_are_the_simpler_models():
    rng = np.random.default_rng(4)
    none = dict(a=0.0 * u.nS, b=0.0 * u.pA)
    gif = dict(V_rest=-65.0 * u.mV, V_reset=-70.0 * u.mV, R=100.0 * u.Mohm, tau=10.0 * u.ms)
    shape = dict(V_T=-59.9 * u.mV, delta_T=3.48 * u.mV, V_th=-30.0 * u.mV, V_reset=-68.0 * u.mV, V_rest=-65.0 * u.mV)
    shape |= dict(R=100.0 * u.Mohm, tau=10.0 * u.ms, tau_ref=2.0 * u.ms)
    pairs = [
        (st.AdExIF(3, **none, **shape), st.ExpIF(3, **shape)),
        (st.AdQuaIF(3, **none, tau_ref=2.0 * u.ms), st.QuaIF(3, tau_ref=2.0 * u.ms)),
        (st.Gif(3, R2=0.0, V_th_inf=-50.0 * u.mV, **gif), st.LIF(3, reset=st.HardReset(), **MV)),
        (
            st.ALIF(3, beta=0.0 * u.mV, tau_a=9.0 * u.ms, tau_ref=2.0 * u.ms, **MV),
            st.LIF(3, tau_ref=2.0 * u.ms, **MV),
        ),
    ]
    with environ.context(dt=0.5 * u.ms):
        for rich, simple in pairs:
            I = jnp.asarray(rng.normal(0.3, 0.4, (400, 3))) * u.nA
            (s, trains), (expected, simpler) = record(rich, I), record(simple, I)
            active(s)
            equal(s, expected, rtol=0)
            equal(trains["V"].mantissa, simpler["V"].mantissa, rtol=1e-9)


@pytest.mark.parametrize("name", ["Izhikevich", "HH", "Gif", "AdExIF"])
def test_bare_numbers_count_in_the_units_of_the_paper(name):
    make, unit, drive = MODELS[name]
    base = {"mV": u.mV, "per_ms": u.ms**-1, "Mohm": u.Mohm, "nA": u.nA, "ms": u.ms, "uS": u.uS, "per_mV": u.mV**-1}
    base |= {"area": u.mS / u.cm**2, "uF": u.uF / u.cm**2}
    model, bare_arguments = make(2), {}
    for argument in _arguments(type(model)):
        value = getattr(model, argument)
        if isinstance(value, u.Quantity):
            (unit_of,) = [x for x in base.values() if x.has_same_dim(value.unit)]
            value = float(value.to_decimal(unit_of))
        bare_arguments[argument] = value
    I = np.random.default_rng(2).normal(drive, drive, (400, 2))
    with environ.context(dt=0.1 * u.ms):
        expected, trains = record(model, jnp.asarray(I) * unit)
        out, bares = record(type(model)(2, **bare_arguments), jnp.asarray(I))
    active(out)
    equal(out, expected, rtol=0)
    equal(bares["V"], trains["V"].to_decimal(u.mV), rtol=1e-8)


def _arguments(kind):
    from spiketrain.parameter import InitialValue, Parameter

    declared = {name for base in kind.__mro__ for name in vars(base)}
    return sorted(
        name
        for name in declared
        if isinstance(found := getattr(kind, name), Parameter) and not isinstance(found, InitialValue)
    )


# --- Numbers that stay numbers


def _trained(name, **parameters):
    model = MODELS[name][0](4, **parameters)
    argument = "gL" if name in WITH_CHANNELS else "R"
    return MODELS[name][0](4, **{argument: st.Trainable(getattr(model, argument)), **parameters})


@every_model
def test_large_inputs_and_steps_leave_single_precision_and_gradients_finite(name):
    _, unit, drive = MODELS[name]
    rng = np.random.default_rng(1)
    I = drive * np.concatenate([rng.normal(1.0, 2.0, (20, 4)), 1e4 * rng.normal(0.0, 1.0, (20, 4)), np.zeros((10, 4))])
    with jax.enable_x64(False), environ.context(dt=1.0 * u.ms):
        out, trains = record(_trained(name), jnp.asarray(I) * unit)
        slopes = gradient(_trained(name), lambda m: (m(jnp.asarray(I) * unit) * jnp.arange(4.0)).sum())
    active(out)
    for what, train in trains.items():
        assert bare(train).dtype == np.float32 and np.all(np.isfinite(bare(train))), what
    (slope,) = jax.tree.leaves(slopes)
    assert np.all(np.isfinite(slope))


@every_model
def test_the_gradient_of_ordinary_spikes_is_finite_and_not_zero(name):
    _, unit, drive = MODELS[name]
    with environ.context(dt=0.25 * u.ms):
        I = jnp.full((200, 4), drive) * unit
        active(_trained(name)(I))
        (slope,) = jax.tree.leaves(gradient(_trained(name), lambda m: m(I).sum()))
    assert np.all(np.isfinite(slope)) and np.all(slope != 0)


@every_model
@pytest.mark.parametrize("refractory", [False, True])
def test_a_nan_input_gives_nan_not_silence(name, refractory):
    if refractory and name in WITH_CHANNELS:
        pytest.skip("a neuron with channels has no reset to hold it at")
    make, unit, _ = MODELS[name]
    model = make(2, **({"tau_ref": 2.0 * u.ms} if refractory else {}))
    with environ.context(dt=0.5 * u.ms):
        out = model(jnp.zeros((6, 2)).at[2, 0].set(jnp.nan) * unit)
    assert np.all(np.isnan(out[2:, 0])) and not np.any(np.isnan(out[:, 1])) and not np.any(np.isnan(out[:2]))


@pytest.mark.parametrize("name", WITH_CHANNELS)
def test_rates_and_their_slopes_are_smooth_where_their_quotients_are_0_by_0(name):
    """Differences to both sides agree with the slope at the singular points: -55, -40, -35 and -34 mV."""
    model, h = MODELS[name][0](1), 1e-4
    V = jnp.array([-55.0, -40.0, -35.0, -34.0])
    V = jnp.concatenate([V, V + 1e-9, V + 1e-3, jnp.array([-199.0, 0.0, 199.0])])
    rates = jax.jit(lambda V: jnp.stack(jax.tree.leaves(model.rates(V))))
    values, slopes = jax.jit(lambda V: jax.jvp(rates, (V,), (jnp.ones_like(V),)))(V)
    assert np.all(np.isfinite(values)) and np.all(np.isfinite(slopes)) and np.all(values >= 0)
    np.testing.assert_allclose(slopes, (rates(V + h) - rates(V - h)) / (2 * h), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_phi_is_smooth_at_zero(dtype):
    z = jnp.asarray([-3.0, -3e-3, -1.9e-3, -1e-5, 0.0, 1e-9, 1e-6, 1e-4, 1.9e-3, 2.1e-3, 1.0, 1e30], dtype)
    z64 = np.asarray(z, np.float64)[:-1]
    terms = [z64**k / np.prod(np.arange(1.0, k + 2)) for k in range(40)]
    slopes = [k * z64 ** (k - 1) / np.prod(np.arange(1.0, k + 2)) for k in range(1, 40)]
    rtol = 1e-4 if dtype == jnp.float32 else 1e-11
    value, slope = jax.jit(lambda z: jax.jvp(phi, (z,), (jnp.ones_like(z),)))(z)
    np.testing.assert_allclose(value[:-1], sum(terms), rtol=rtol)
    np.testing.assert_allclose(slope[:-1], sum(slopes), rtol=rtol)
    assert np.isfinite(value[-1]) and slope[-1] == 0


# --- What is refused


REFUSED = {
    **{name: dict(V_reset=-10.0 * u.mV) for name in ("IF", "LIF", "ALIF", "ExpIF", "QuaIF", "AdQuaIF")},
    "AdExIF": dict(V_reset=25.0 * u.mV),
    "Izhikevich": dict(c=40.0 * u.mV),
    "Gif": dict(V_th_inf=-80.0 * u.mV),
    "HH": dict(V_th=-70.0 * u.mV),
    "WangBuzsakiHH": dict(V_rest=30.0 * u.mV),
}
NAMES = {
    "Izhikevich": ("c", "V_th"),
    "Gif": ("V_reset", "V_th_inf"),
    **dict.fromkeys(WITH_CHANNELS, ("V_rest", "V_th")),
}


@every_model
def test_a_threshold_below_the_reset_is_refused(name):
    low, high = NAMES.get(name, ("V_reset", "V_th"))
    with pytest.raises(
        st.DomainError, match=rf"{name}\({low}=...\) must lie below {high}, got {low} = .* mV and {high} = "
    ):
        MODELS[name][0](3, **REFUSED[name])


def test_the_lowest_threshold_of_gif_lies_above_its_reset():
    with pytest.raises(st.DomainError, match=r"Gif\(V_reset=...\) must lie below V_th_reset"):
        st.Gif(1, V_th_reset=-75.0 * u.mV)


@every_model
def test_a_bare_number_among_units_is_refused(name):
    argument, value = {"Izhikevich": ("a", 0.02), "Gif": ("k1", 0.2)}.get(name, ("V_th", 30.0))
    with pytest.raises(st.UnitError, match=rf"{name}\({argument}=...\) expects a quantity"):
        MODELS[name][0](1, **{argument: value})


@pytest.mark.parametrize("argument", ["tau_ref", "reset", "V_reset"])
def test_a_neuron_without_reset_has_no_arguments_about_one(argument):
    with pytest.raises(TypeError, match=argument):
        st.HH(1, **{argument: 2.0 * u.ms})
