"""Benchmarks 1 and 2 of Brette et al. (2007): the balanced networks of Vogels and Abbott (2005).

4000 leaky integrate-and-fire neurons, 3200 excitatory and 800 inhibitory, connected at random with probability 0.02.
COBA couples them by conductances, CUBA by currents.
"""

import brainunit as u
from flax import nnx

import spiketrain as st

R = 100 * u.Mohm  # of a membrane of 20,000 um2 and 200 pF, hence tau = 20 ms


class _BalancedNet(st.Dynamics):
    """One population `N`; neurons 0 to n_E - 1 are excitatory and project through `E`, the others through `I`."""

    def __init__(self, *, V_rest, weight_E, weight_I, out_E, out_I, seed, n_E, n_I, prob):
        n = n_E + n_I
        self.n_E = n_E
        self.N = st.LIF(
            n,
            R=R,
            tau=20 * u.ms,
            V_rest=V_rest,
            V_th=-50 * u.mV,
            V_reset=-60 * u.mV,
            V_initializer=st.Uniform(-60 * u.mV, -50 * u.mV),
            reset=st.HardReset(),
            tau_ref=5 * u.ms,
            rngs=nnx.Rngs(seed),
        )
        to_all_E = st.FixedProb(n_E, n, prob, weight_E, seed=2 * seed)
        to_all_I = st.FixedProb(n_I, n, prob, weight_I, seed=2 * seed + 1)
        self.E = st.AlignPostProj(to_all_E, st.Expon(n, tau=5 * u.ms), out_E)
        self.I = st.AlignPostProj(to_all_I, st.Expon(n, tau=10 * u.ms), out_I)

    def update(self, current=0 * u.nA):
        """Advance by one step; spikes arrive one step after they are emitted."""
        spikes = self.N.spikes
        return self.N.update(current, self.E.update(spikes[..., : self.n_E]), self.I.update(spikes[..., self.n_E :]))


class COBANet(_BalancedNet):
    r"""Benchmark 1, conductances: $\tau \dot V = V_{rest} - V + R (g_E (0 - V) + g_I (-80\,mV - V) + I)$.

    $g_E$ jumps by 6 nS per spike and decays within 5 ms, $g_I$ by 67 nS within 10 ms. Silent at rest (-60 mV); once
    `kick` has started it, the activity sustains itself. The weights are those of 80 synapses per neuron; with more,
    each is weaker by as much.
    """

    def __init__(self, *, seed=0, n_E=3200, n_I=800, prob=0.02):
        scale = 80 / (prob * (n_E + n_I))
        out = dict(out_E=st.COBA(E=0 * u.mV), out_I=st.COBA(E=-80 * u.mV))
        weight = dict(weight_E=scale * 6 * u.nS, weight_I=scale * 67 * u.nS)
        super().__init__(V_rest=-60 * u.mV, **weight, **out, seed=seed, n_E=n_E, n_I=n_I, prob=prob)


class CUBANet(_BalancedNet):
    r"""Benchmark 2, currents: $\tau \dot V = V_{rest} - V + R (I_E + I_I + I)$.

    $R I_E$ jumps by 1.62 mV per spike and decays within 5 ms, $R I_I$ by -9 mV within 10 ms. $V_{rest}$ = -49 mV lies
    above threshold, so it starts by itself.
    """

    def __init__(self, *, seed=0, n_E=3200, n_I=800):
        weight = dict(weight_E=16.2 * u.pA, weight_I=-90 * u.pA)
        out = dict(out_E=st.CUBA(), out_I=st.CUBA())
        super().__init__(V_rest=-49 * u.mV, **weight, **out, seed=seed, n_E=n_E, n_I=n_I, prob=0.02)


kick = st.Step(0.2 * u.nA, stop=50.0 * u.ms)
"""The current into every neuron that starts COBA."""
