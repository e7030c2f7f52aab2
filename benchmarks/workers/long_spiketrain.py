"""The COBA network for a long time, watched, and the memory that takes."""

import json
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments" / "coba"))

import brainunit as u
from net import COBANet, kick

import spiketrain as st


def main() -> None:
    """Print one JSON object."""
    seconds = float(sys.argv[1])
    st.environ.set(dt=0.1 * u.ms)
    record = {"spikes": "N.spikes", "V": lambda net: net.N.V.value[:10], "g": lambda net: net.E.syn.g.value[:10]}
    started, spikes, memory = time.perf_counter(), 0, []
    for piece in st.stream(COBANet(seed=0), kick, duration=seconds * u.second, record=record):
        spikes += int(piece["spikes"].sum())
        if not memory or piece.times[-1] >= (10 * u.second) * len(memory):
            memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
    result = {
        "seconds": seconds,
        "steps": round(seconds / 1e-4),
        "run_s": time.perf_counter() - started,
        "rate_hz": spikes / 4000 / seconds,
        "peak_memory_gb_every_10_s": memory,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
