"""The COBA network in brian2 with Cython.

Every `run` of brian2 prepares its code anew, which takes longer than the simulation. Only its loop is timed, by its
own report: that is in its favour. A refractory period of 5.1 ms holds a neuron for 50 steps, as 5 ms do elsewhere.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import brian2 as b
from worker import serve

EQUATIONS = """
dv/dt = (ge*(0*mV - v) + gi*(-80*mV - v) - (v + 60*mV) + I) / (20*ms) : volt (unless refractory)
dge/dt = -ge / (5*ms) : 1
dgi/dt = -gi / (10*ms) : 1
I = 20*mV*int(t < 50*ms) : volt
"""


def prepare(seconds):
    """Build the network; a round is a trial of its own."""
    b.prefs.codegen.target = "cython"
    b.BrianLogger.log_level_error()
    b.seed(0)
    b.defaultclock.dt = 0.1 * b.ms
    neurons = b.NeuronGroup(
        4000,
        EQUATIONS,
        threshold="v > -50*mV",
        reset="v = -60*mV",
        refractory=5.1 * b.ms,
        method=sys.argv[2],
    )
    neurons.v = "-60*mV + rand()*10*mV"
    excitatory = b.Synapses(neurons[:3200], neurons, on_pre="ge += 0.6")
    excitatory.connect(p=0.02)
    inhibitory = b.Synapses(neurons[3200:], neurons, on_pre="gi += 6.7")
    inhibitory.connect(p=0.02)
    spikes = b.SpikeMonitor(neurons)
    network = b.Network(neurons, excitatory, inhibitory, spikes)
    network.store()

    def run():
        network.restore()
        loop = {}

        def report(elapsed, completed, start, duration):
            loop["s"] = float(elapsed / b.second)

        network.run(seconds * b.second, report=report, report_period=1e6 * b.second)
        return {"rate_hz": spikes.num_spikes / 4000 / seconds, "seconds": loop["s"], "cpu_s": loop["s"]}

    return run


if __name__ == "__main__":
    serve(prepare, "brian2", "cython", "numpy")
