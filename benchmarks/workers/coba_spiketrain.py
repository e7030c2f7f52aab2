"""The COBA network in spiketrain."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments" / "coba"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import brainunit as u
import numpy as np
from net import COBANet, kick
from worker import serve

import spiketrain as st


def prepare(seconds):
    """Build the network; a round is a trial of its own."""
    st.environ.set(dt=0.1 * u.ms)
    net = COBANet(seed=0)

    def run():
        recording = st.simulate(net, kick, duration=seconds * u.second, record={"spikes": "N.spikes"})
        return {"rate_hz": np.count_nonzero(recording["spikes"]) / 4000 / seconds}

    return run


if __name__ == "__main__":
    serve(prepare, "jax", "flax", "brainunit", "numpy")
