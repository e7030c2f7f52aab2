"""The COBA network in brainpy.state: event-driven products in numba, the whole loop compiled.

Its initial State is not drawn anew for a second trial (the time of the last spike stays), so rounds go on from each
other. The activity sustains itself; the kick comes in the first round only.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import brainpy.state as bp
import brainstate
import braintools
import brainunit as u
import jax.numpy as jnp
import numpy as np
from worker import serve


class COBANet(brainstate.nn.Module):
    """3200 excitatory and 800 inhibitory neurons in one population."""

    def __init__(self):
        super().__init__()
        potentials = dict(V_rest=-60.0 * u.mV, V_th=-50.0 * u.mV, V_reset=-60.0 * u.mV, spk_reset="hard")
        V = braintools.init.Uniform(-60.0, -50.0, unit=u.mV)
        times = dict(tau=20.0 * u.ms, tau_ref=5.0 * u.ms)
        self.N = bp.LIFRef(4000, R=100.0 * u.Mohm, V_initializer=V, **times, **potentials)
        self.E = bp.AlignPostProj(
            comm=brainstate.nn.EventFixedProb(3200, 4000, 0.02, 6.0 * u.nS),
            syn=bp.Expon.desc(4000, tau=5.0 * u.ms),
            out=bp.COBA.desc(E=0.0 * u.mV),
            post=self.N,
        )
        self.I = bp.AlignPostProj(
            comm=brainstate.nn.EventFixedProb(800, 4000, 0.02, 67.0 * u.nS),
            syn=bp.Expon.desc(4000, tau=10.0 * u.ms),
            out=bp.COBA.desc(E=-80.0 * u.mV),
            post=self.N,
        )

    def update(self, i, current):
        """Advance by one step."""
        with brainstate.environ.context(i=i, t=i * brainstate.environ.get_dt()):
            spikes = self.N.get_spike() != 0.0
            self.E(spikes[:3200])
            self.I(spikes[3200:])
            self.N(current)
            return self.N.get_spike() != 0.0


def prepare(seconds):
    """Build and initialise the network; a round goes on where the last one ended."""
    brainstate.random.seed(0)
    brainstate.environ.set(dt=0.1 * u.ms)
    net = COBANet()
    brainstate.nn.init_all_states(net)
    steps = round(seconds / 1e-4)
    done = 0

    @brainstate.transform.jit
    def simulate(i, current):
        return brainstate.transform.for_loop(net.update, i, current)

    def run():
        nonlocal done
        i = done + jnp.arange(steps)
        done += steps
        spikes = np.asarray(simulate(i, jnp.where(i < 500, 0.2, 0.0) * u.nA))
        return {"rate_hz": np.count_nonzero(spikes) / 4000 / seconds}

    return run


if __name__ == "__main__":
    serve(prepare, "brainpy", "brainstate", "brainevent", "jax", "numba")
