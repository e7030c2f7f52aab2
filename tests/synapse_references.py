"""What synapses must compute, in float64 numpy, from closed forms between the moments at which something happens."""

import numpy as np

from references import IntegrateAndFire, relax, responses


def dual_expon(x, *, tau_rise, tau_decay, dt, A=None):
    """Respond with a difference of exponentials; without A, the peak (found on a fine grid of times) is one."""
    r, d = np.broadcast_arrays(np.asarray(tau_rise, float), np.asarray(tau_decay, float))
    equal = r == d
    with np.errstate(divide="ignore", invalid="ignore"):
        peak_at = np.where(equal, d, np.log(d / r) * r * d / (d - r))

    def kernel(t):
        return np.where(equal, t / d * np.exp(-t / d), np.exp(-t / d) - np.exp(-t / r))

    scale = 1 / kernel(peak_at) if A is None else A
    return responses(lambda t: scale * kernel(t), x, dt)


def stp(s, *, U, tau_f, tau_d, dt):
    """Go from spike to spike, every neuron by itself."""
    out = np.zeros_like(s)
    for index in np.ndindex(s.shape[1:]):
        u, x, last = 0.0, 1.0, 0
        for k in np.flatnonzero(s[(slice(None), *index)]):
            passed, last = (k - last) * dt, k
            before = u * np.exp(-passed / tau_f)
            available = 1 - (1 - x) * np.exp(-passed / tau_d)
            u = before + U * (1 - before)
            x = available * (1 - u)
            out[(k, *index)] = u * available
    return out


def _pieces(spike_steps, steps, T_dur, dt):
    """Cut a trial where a step ends or transmitter comes or goes; yield (step, duration, is there transmitter)."""
    starts = dt * np.asarray(spike_steps, float)
    for n in range(1, steps):
        begin, end = (n - 1) * dt, n * dt
        live = starts[starts <= begin + 1e-9]
        until = live[-1] + T_dur if len(live) else -np.inf
        middle = min(max(until, begin), end)
        yield n, middle - begin, True
        yield n, end - middle, False


def ampa(s, *, alpha, beta, T, T_dur, dt):
    """Relax g from piece to piece."""
    g = np.zeros_like(s)
    for index in np.ndindex(s.shape[1:]):
        value = 0.0
        for n, span, on in _pieces(np.flatnonzero(s[(slice(None), *index)]), len(s), T_dur, dt):
            bound = alpha * T * on
            value = relax(value, rate=bound + beta, drive=bound, dt=span)
            g[(n, *index)] = value
    return g


NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)


def bio_nmda(s, *, alpha1, beta1, alpha2, beta2, T, T_dur, dt):
    """Relax x, then g at the mean of x, which quadrature finds."""
    trains = np.zeros_like(s), np.zeros_like(s)
    for index in np.ndindex(s.shape[1:]):
        g = x = 0.0
        for n, span, on in _pieces(np.flatnonzero(s[(slice(None), *index)]), len(s), T_dur, dt):
            rate, drive = alpha2 * T * on + beta2, alpha2 * T * on
            within = relax(x, rate=rate, drive=drive, dt=span * (NODES + 1) / 2)
            opening = alpha1 * (WEIGHTS @ within) / 2
            g = relax(g, rate=opening + beta1, drive=opening, dt=span)
            x = relax(x, rate=rate, drive=drive, dt=span)
            trains[0][(n, *index)], trains[1][(n, *index)] = g, x
    return trains


def blocked_membrane(g, *, dt, tau, R, V_rest, E, cc_Mg=1.2, alpha=0.062, beta=3.57, V_offset=0.0):
    """A membrane under conductances that magnesium blocks, linearised where each step begins."""
    V, train = np.full(g.shape[1:], V_rest), []
    for conductance in g:
        m = cc_Mg / beta * np.exp(-alpha * (V - V_offset))
        open_ = 1 / (1 + m)
        slope = conductance * (-open_ + (E - V) * alpha * m * open_**2)
        current = conductance * (E - V) * open_ - slope * V
        V = relax(V, rate=(1 - R * slope) / tau, drive=(V_rest + R * current) / tau, dt=dt)
        train.append(V)
    return np.stack(train)


def coupled(I, weight, *, dt, **parameters):
    """Neurons with hard reset and gap junctions `weight[i, j]` from i to j."""
    cells = IntegrateAndFire(I.shape[1:], reset="hard", dt=dt, **parameters)
    for current in I:
        V = np.where(cells.spikes[-1] > 0, parameters["V_reset"], cells.V[-1])
        towards = [(weight[i], V[..., i, None]) for i in range(len(weight))]
        cells.step(current, towards)
    return cells.trains()


def mean_of(x, *, tau, dt):
    """Return the exponentially weighted mean of a train, as the sum that it is."""
    age = dt * (np.arange(len(x))[:, None] - np.arange(len(x)))
    weight = np.where(age >= 0, np.exp(-np.maximum(age, 0) / tau), 0.0) * (1 - np.exp(-dt / tau))
    return np.tensordot(weight, x, 1)
