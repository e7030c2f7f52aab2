"""What the remaining neurons must compute, in float64 numpy, from the equations in their docstrings.

Derivatives are written out by hand, linear membranes are solved in closed form, and a refractory period is the age
of the last spike. Plain numbers in ms, mV, nA, Mohm and uS; per area uA, mS and uF, which fit together too.
"""

import numpy as np
from scipy.linalg import expm

from references import expon, relax


def exponential_euler(V, *, F, J, dt):
    """Step dV/dt = F, whose derivative is J, by one exponential Euler step with growth cut at e^30."""
    z = np.minimum(J * dt, 30.0)
    return V + dt * F * np.expm1(z) / z


def trial(I, advance, *, start, V_th, V_reset, dt, reset="hard", tau_ref=0.0, crossing=False):
    """Run `advance(state, spikes, inputs)` through a trial; `V_th(state)` is the threshold, `start` the first state."""
    arrays = I if isinstance(I, tuple) else (I,)
    shape = arrays[0].shape[1:]
    state = {name: np.broadcast_to(value, shape).astype(float) for name, value in start.items()}
    held_for, age = np.round(tau_ref / dt), np.full(shape, np.inf)
    above = state["V"] >= V_th(state)
    s = 0.0 * above if crossing else 1.0 * above
    trains = {name: [] for name in ("spikes", *state)}
    for n in range(len(arrays[0])):
        age = np.where(s > 0, 1.0, age + 1.0)
        V = state["V"]
        if reset == "hard":
            V = np.where(s > 0, V_reset, V)
        elif reset == "soft":
            V = np.where(s > 0, V - V_th(start) + V_reset, V)
        state = advance({**state, "V": V}, s, tuple(x[n] for x in arrays))
        state["V"] = np.where(age <= held_for, V, state["V"])
        was, above = above, state["V"] >= V_th(state)
        s = 1.0 * (above & ~was) if crossing else 1.0 * (above & (age > held_for))
        for name, value in {"spikes": s, **state}.items():
            trains[name].append(value)
    return {name: np.stack(train) for name, train in trains.items()}


def fixed(V_th):
    """Return a threshold that does not move."""
    return lambda state: V_th


def integrate_and_fire(I, *, dt, R, V_th, V_reset, V_rest, tau, leak=1.0, reset="soft", tau_ref=0.0):
    """Run IF (leak=0) and LIF."""

    def advance(x, s, inputs):
        if leak:
            return {"V": relax(x["V"], rate=1 / tau, drive=(V_rest + R * inputs[0]) / tau, dt=dt)}
        return {"V": x["V"] + dt / tau * R * inputs[0]}

    return trial(
        I, advance, start={"V": V_rest}, V_th=fixed(V_th), V_reset=V_reset, dt=dt, reset=reset, tau_ref=tau_ref
    )


def adaptive_threshold(I, *, dt, R, V_th, V_reset, V_rest, tau, beta, tau_a, tau_ref, reset="soft"):
    """Run ALIF with a refractory period."""

    def advance(x, s, inputs):
        V = relax(x["V"], rate=1 / tau, drive=(V_rest + R * inputs[0]) / tau, dt=dt)
        return {"V": V, "a": (x["a"] + s) * np.exp(-dt / tau_a)}

    start = {"V": V_rest, "a": 0.0}
    return trial(
        I,
        advance,
        start=start,
        V_th=lambda x: V_th + beta * x["a"],
        V_reset=V_reset,
        dt=dt,
        reset=reset,
        tau_ref=tau_ref,
    )


def nonlinear(I, *, dt, curve, R, tau, V_th, V_reset, V_rest, a=0.0, b=0.0, tau_w=1.0, g=(), tau_ref=0.0):
    """Run ExpIF, QuaIF and their adapting kin; `curve(V)` returns F(V) and its derivative, `g` reversal potentials.

    The inputs are the current and, where `g` is given, one conductance for each and the jumps.
    """

    def advance(x, s, inputs):
        V, w = x["V"], x["w"] + b * s
        current, conductances, jump = inputs[0], inputs[1 : 1 + len(g)], inputs[-1] if g else 0.0
        F, J = curve(V)
        F = F - R * w + R * current + R * sum(c * (E - V) for c, E in zip(conductances, g, strict=True))
        J = J - R * sum(conductances)
        return {
            "V": exponential_euler(V, F=F / tau, J=J / tau, dt=dt) + jump,
            "w": relax(w, rate=1 / tau_w, drive=a * (V - V_rest) / tau_w, dt=dt),
        }

    start = {"V": V_rest, "w": 0.0}
    return trial(I, advance, start=start, V_th=fixed(V_th), V_reset=V_reset, dt=dt, tau_ref=tau_ref)


def exponential(*, V_rest, V_T, delta_T):
    """Return F and F' of ExpIF."""

    def curve(V):
        rise = np.exp(np.minimum((V - V_T) / delta_T, 30.0))
        return V_rest - V + delta_T * rise, rise - 1

    return curve


def quadratic(*, V_rest, V_c, c):
    """Return F and F' of QuaIF."""
    return lambda V: (c * (V - V_rest) * (V - V_c), c * (2 * V - V_rest - V_c))


def izhikevich(I, *, dt, a, b, c, d, V_th, V_rest, p1=0.04, p2=5.0, p3=140.0, R=1.0):
    """Run Izhikevich."""

    def advance(x, s, inputs):
        V, w = x["V"], x["u"] + d * s
        F = p1 * V**2 + p2 * V + p3 - w + R * inputs[0]
        return {
            "V": exponential_euler(V, F=F, J=2 * p1 * V + p2, dt=dt),
            "u": relax(w, rate=a, drive=a * b * V, dt=dt),
        }

    return trial(I, advance, start={"V": V_rest, "u": b * V_rest}, V_th=fixed(V_th), V_reset=c, dt=dt)


def gif(I, *, dt, R, tau, V_rest, V_reset, V_th_inf, V_th_reset, a, b, k1, k2, R1, R2, A1, A2, tau_ref=0.0):
    """Run Gif."""

    def advance(x, s, inputs):
        V, fired = x["V"], s > 0
        I1, I2 = np.where(fired, R1 * x["I1"] + A1, x["I1"]), np.where(fired, R2 * x["I2"] + A2, x["I2"])
        theta = np.where(fired, np.maximum(x["theta"], V_th_reset), x["theta"])
        return {
            "V": relax(V, rate=1 / tau, drive=(V_rest + R * (I1 + I2 + inputs[0])) / tau, dt=dt),
            "I1": I1 * np.exp(-k1 * dt),
            "I2": I2 * np.exp(-k2 * dt),
            "theta": relax(theta, rate=b, drive=a * (V - V_rest) + b * V_th_inf, dt=dt),
        }

    start = {"V": V_rest, "I1": 0.0, "I2": 0.0, "theta": V_th_inf}
    return trial(I, advance, start=start, V_th=lambda x: x["theta"], V_reset=V_reset, dt=dt, tau_ref=tau_ref)


def _ratio(x):
    return x / (1 - np.exp(-x))


def hodgkin_huxley_rates(V):
    """Return alpha and beta of m, h and n."""
    return {
        "m": (_ratio((V + 40) / 10), 4 * np.exp(-(V + 65) / 18)),
        "h": (0.07 * np.exp(-(V + 65) / 20), 1 / (1 + np.exp(-(V + 35) / 10))),
        "n": (0.1 * _ratio((V + 55) / 10), 0.125 * np.exp(-(V + 65) / 80)),
    }


def wang_buzsaki_rates(V, phi=5.0):
    """Return alpha and beta of m, and phi times those of h and n."""
    return {
        "m": (_ratio((V + 35) / 10), 4 * np.exp(-(V + 60) / 18)),
        "h": (phi * 0.07 * np.exp(-(V + 58) / 20), phi / (1 + np.exp(-(V + 28) / 10))),
        "n": (phi * 0.1 * _ratio((V + 34) / 10), phi * 0.125 * np.exp(-(V + 44) / 80)),
    }


HH = dict(ENa=50.0, gNa=120.0, EK=-77.0, gK=36.0, EL=-54.387, gL=0.3, C=1.0, rates=hodgkin_huxley_rates)
WB = dict(ENa=55.0, gNa=35.0, EK=-90.0, gK=9.0, EL=-65.0, gL=0.1, C=1.0, rates=wang_buzsaki_rates, instantaneous=True)


def channels(I, *, dt, ENa, gNa, EK, gK, EL, gL, C, rates, V_th=20.0, V_rest=-65.0, instantaneous=False):
    """Run HH, and WangBuzsakiHH with m `instantaneous`; the potential is solved in closed form between its gates."""

    def advance(x, s, inputs):
        V, new = x["V"], {}
        for name, (alpha, beta) in rates(V).items():
            steady = instantaneous and name == "m"
            new[name] = alpha / (alpha + beta) if steady else relax(x[name], rate=alpha + beta, drive=alpha, dt=dt)
        Na, K = gNa * new["m"] ** 3 * new["h"], gK * new["n"] ** 4
        drive = Na * ENa + K * EK + gL * EL + inputs[0]
        return {"V": relax(V, rate=(Na + K + gL) / C, drive=drive / C, dt=dt), **new}

    start = {"V": V_rest} | {name: alpha / (alpha + beta) for name, (alpha, beta) in rates(np.asarray(V_rest)).items()}
    return trial(I, advance, start=start, V_th=fixed(V_th), V_reset=None, dt=dt, reset="none", crossing=True)


def synaptic_current(inputs, *, dt, R, tau, tau_syn, V_th, V_reset, V_rest, g=(), reset="soft", tau_ref=0.0):
    """Run LIFCurrExp by the matrix exponential of its linear system (V, I, 1); `g` holds reversal potentials.

    The inputs are what arrives, the current and, where `g` is given, one conductance for each and the jumps.
    """

    def advance(x, s, inputs):
        w, current, conductances, jump = inputs[0], inputs[1], inputs[2 : 2 + len(g)], inputs[-1] if g else 0.0
        drive = V_rest + R * (current + sum(c * E for c, E in zip(conductances, g, strict=True)))
        A = np.zeros((*w.shape, 3, 3))
        A[..., 0, 0], A[..., 0, 1], A[..., 0, 2] = -(1 + R * sum(conductances)) / tau, R / tau, drive / tau
        A[..., 1, 1] = -1 / tau_syn
        V, I, _ = np.moveaxis(expm(A * dt) @ np.stack([x["V"], x["I_syn"], 0 * w + 1], -1)[..., None], -2, 0)[..., 0]
        return {"V": V + jump, "I_syn": I + w}

    start = {"V": V_rest, "I_syn": 0.0}
    return trial(inputs, advance, start=start, V_th=fixed(V_th), V_reset=V_reset, dt=dt, reset=reset, tau_ref=tau_ref)


def synaptic_conductances(
    exc, inh, I, *, dt, R, tau, V_th, V_reset, V_rest, tau_exc, tau_inh, E_exc, E_inh, reset="soft", tau_ref=0.0
):
    """Run LIFCondExp: conductances as sums over all past arrivals, averaged over each step by quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(12)
    trains, means = {}, {}
    for name, w, tau_g in (("g_exc", exc, tau_exc), ("g_inh", inh, tau_inh)):
        trains[name] = expon(w, tau=tau_g, dt=dt)
        before = np.concatenate([0 * w[:1], trains[name][:-1]])
        means[name] = sum(
            p / 2 * before * np.exp(-(x + 1) / 2 * dt / tau_g) for x, p in zip(nodes, weights, strict=True)
        )

    def advance(x, s, inputs):
        current, ge, gi = inputs
        rate, drive = (1 + R * (ge + gi)) / tau, (V_rest + R * (current + ge * E_exc + gi * E_inh)) / tau
        return {"V": relax(x["V"], rate=rate, drive=drive, dt=dt)}

    arrays = (I, means["g_exc"], means["g_inh"])
    return trains | trial(
        arrays,
        advance,
        start={"V": V_rest},
        V_th=fixed(V_th),
        V_reset=V_reset,
        dt=dt,
        reset=reset,
        tau_ref=tau_ref,
    )


def symplectic(I, *, dt, R, V_th, V_reset, V_rest, tau, a, b, tau_w, tau_ref=0.0):
    """Run SEAdLIF."""

    def advance(x, s, inputs):
        w = relax(x["w"], rate=1 / tau_w, drive=(a * (x["V"] - V_rest) + b * s) / tau_w, dt=dt)
        return {"V": relax(x["V"], rate=1 / tau, drive=(V_rest + R * (inputs[0] - w)) / tau, dt=dt), "w": w}

    start = {"V": V_rest, "w": 0.0}
    return trial(I, advance, start=start, V_th=fixed(V_th), V_reset=V_reset, dt=dt, tau_ref=tau_ref)


def resonating(
    I, *, dt, R, V_th, V_reset, V_rest, tau, period, speed=1.0, beta=0.0, kappa=0.0, tau_q=1.0, reset="none", g=()
):
    """Run BRF and CSiLIF as complex numbers; where `g` is given, conductances and jumps follow the current."""
    dt_own = speed * dt

    def advance(x, s, inputs):
        q = x["q"] * np.exp(-dt / tau_q) + s
        z = x["V"] - V_rest + 1j * x["W"]
        rate = -(1 + kappa * q) / tau + 2j * np.pi / period
        drive = inputs[0] + sum(c * (E - x["V"]) for c, E in zip(inputs[1:], g, strict=False))
        z = relax(z, rate=-rate, drive=R * drive / tau, dt=dt_own)
        jump = inputs[-1] if g else 0.0
        return {"V": V_rest + z.real + jump, "W": z.imag, "q": q}

    start = {"V": V_rest, "W": 0.0, "q": 0.0}
    return trial(I, advance, start=start, V_th=lambda x: V_th + beta * x["q"], V_reset=V_reset, dt=dt, reset=reset)
