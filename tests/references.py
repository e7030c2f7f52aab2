"""What the models must compute, in float64 numpy, from the closed form of their equations.

Nothing here imports spiketrain, and nothing steps an equation the way spiketrain writes it: a synapse is the sum of
its responses to all past arrivals, a membrane the solution of dy/dt = drive - rate * y, an adaptation the sum over
all past spikes. Plain numbers in ms, mV, nA, Mohm and uS, which fit together without factors.
"""

import numpy as np


def relax(y, *, rate, drive, dt):
    """Return y(dt) where dy/dt = drive - rate * y with constant coefficients, from y(0) = y."""
    return y * np.exp(-rate * dt) - drive / rate * np.expm1(-rate * dt)


def responses(kernel, x, dt):
    """Superpose kernel(t) * x[k], started at every arrival x[k]."""
    out = np.zeros_like(x)
    for k in range(len(x)):
        elapsed = dt * np.arange(len(x) - k)
        out[k:] += kernel(elapsed.reshape(-1, *[1] * (x.ndim - 1))) * x[k]
    return out


def expon(x, *, tau, dt):
    """Respond to every arrival with exp(-t / tau)."""
    return responses(lambda t: np.exp(-t / tau), x, dt)


def alpha(x, *, tau, dt):
    """Respond to every arrival with the alpha function, whose peak of one comes at t = tau."""
    return responses(lambda t: t / tau * np.exp(1 - t / tau), x, dt)


class IntegrateAndFire:
    """Membranes that integrate, and fire where there is a threshold; keeps V, spikes and adaptation of every step."""

    def __init__(
        self,
        shape,
        *,
        dt,
        tau,
        R=1.0,
        V_rest=0.0,
        V_th=np.inf,
        V_reset=None,
        V0=None,
        reset="soft",
        beta=0.0,
        tau_a=1.0,
    ):
        self.dt, self.tau, self.R, self.V_rest, self.V_th = dt, tau, R, V_rest, V_th
        self.V_reset = V_rest if V_reset is None else V_reset
        self.reset, self.beta, self.tau_a = reset, beta, tau_a
        self.V = [np.broadcast_to(V_rest if V0 is None else V0, shape)]
        self.a = [np.zeros(shape)]
        self.spikes = [1.0 * (self.V[0] >= V_th)]

    def step(self, current=0.0, conductances=(), jump=0.0):
        """Advance by dt; `conductances` is a sequence of (g, E)."""
        V, s = self.V[-1], self.spikes[-1]
        if self.reset == "soft":
            V = np.where(s > 0, V - (self.V_th - self.V_reset), V)
        elif self.reset == "hard":
            V = np.where(s > 0, self.V_reset, V)
        rate = (1 + self.R * sum(g for g, _ in conductances)) / self.tau
        drive = (self.V_rest + self.R * (current + sum(g * E for g, E in conductances))) / self.tau
        V = relax(V, rate=rate, drive=drive, dt=self.dt) + jump
        age = self.dt * np.arange(len(self.spikes), 0, -1).reshape(-1, *[1] * V.ndim)
        a = (np.stack(self.spikes) * np.exp(-age / self.tau_a)).sum(0) if np.any(self.beta) else self.a[0]
        self.V.append(V)
        self.a.append(a)
        self.spikes.append(1.0 * (V >= self.V_th + self.beta * a))

    def trains(self):
        """Return the trains of all steps, without the state before the first."""
        return {"spikes": np.stack(self.spikes[1:]), "V": np.stack(self.V[1:]), "a": np.stack(self.a[1:])}


def neuron(current=None, *, conductances=(), jump=None, W=None, **parameters):
    """Run a trial of neurons, with recurrent weights W where they are given."""
    trains = [x for x in (current, jump, *(g for g, _ in conductances)) if x is not None]
    cells = IntegrateAndFire(trains[0].shape[1:], **parameters)
    for n in range(len(trains[0])):
        I = 0.0 if current is None else current[n]
        I = I if W is None else I + cells.spikes[-1] @ W
        cells.step(I, [(g[n], E) for g, E in conductances], 0.0 if jump is None else jump[n])
    return cells.trains()
