"""A COBA network of any size: build it, run it, and say what that took."""

import json
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments" / "coba"))

import brainunit as u
from net import COBANet

import spiketrain as st


def main() -> None:
    """Print one JSON object."""
    neurons, synapses, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    st.environ.set(dt=0.1 * u.ms)
    started = time.perf_counter()
    n_E = neurons * 4 // 5
    net = COBANet(seed=0, n_E=n_E, n_I=neurons - n_E, prob=synapses / neurons)
    built = time.perf_counter()

    drive = st.Step(0.2 * u.nA)  # lasts: with so many weak synapses the activity need not sustain itself
    record = {"rate": lambda net: net.N.spikes.mean()}
    warm = st.simulate(net, drive, duration=seconds * u.second, record=record)
    warmed = time.perf_counter()
    recording = st.simulate(net, drive, duration=seconds * u.second, record=record, after=warm)
    ended = time.perf_counter()
    result = {
        "neurons": neurons,
        "connections": net.E.comm.connections + net.I.comm.connections,
        "seconds": seconds,
        "build_s": built - started,
        "compile_s": (warmed - built) - (ended - warmed),
        "run_s": ended - warmed,
        "rate_hz": float(recording["rate"].mean() / 1e-4),
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
