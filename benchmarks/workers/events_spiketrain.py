"""Memory of training from files in the layout of the Spiking Heidelberg Digits, each way in a process of its own."""

import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.events import SIDES

CHANNELS, SECONDS, BIN_MS, TEST = 700, 1.0, 10.0, 256


def main(trials, per_trial):
    """Print one JSON object."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SPIKETRAIN_CACHE"] = str(Path(folder) / "kept")
        own(folder, "write", trials, per_trial)
        files = [Path(folder) / f"shd_{part}.h5" for part in ("train", "test")]
        found = {
            "trials": trials,
            "per_trial": per_trial,
            "channels": CHANNELS,
            "file_mb": sum(file.stat().st_size for file in files) / 1e6,
            "sides": {"first": own(folder, "memory", 0)} | {side: own(folder, side, 1) for side in SIDES},
        }
    print(json.dumps(found))


def own(folder, *words):
    """Do one thing in a process of its own; return what it prints."""
    command = [sys.executable, __file__, folder, *map(str, words)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def write(folder, trials, per_trial):
    """Write a training and a test file of random events."""
    import h5py

    rng = np.random.default_rng(0)
    for part, n in (("train", trials), ("test", TEST)):
        with h5py.File(Path(folder) / f"shd_{part}.h5", "w") as file:
            times = file.create_dataset("spikes/times", (n,), h5py.vlen_dtype(np.float16))
            units = file.create_dataset("spikes/units", (n,), h5py.vlen_dtype(np.uint16))
            for i in range(n):
                times[i] = np.sort(rng.uniform(0, SECONDS, per_trial)).astype(np.float16)
                units[i] = rng.integers(0, CHANNELS, per_trial).astype(np.uint16)
            file["labels"] = rng.integers(0, 20, n).astype(np.uint16)
            file["extra/keys"] = [str(k).encode() for k in range(20)]
    return {}


def measured(folder, side, epochs):
    """Read the files and train; return the peaks of memory above what is there before."""
    import brainunit as u
    import jax
    import optax
    from flax import nnx

    import spiketrain as st

    st.environ.set(dt=BIN_MS * u.ms)
    jax.block_until_ready(jax.numpy.zeros(1))
    before = peak_mb()
    data = st.load_shd(folder, bin_ms=BIN_MS, stream=side == "stream")
    if side == "dense":
        data = replace(data, train=data.train.dense(), test=data.test.dense())
    found = {"reading_mb": peak_mb() - before, "time_steps": data.n_steps}
    if epochs:
        model = st.SpikingNet(CHANNELS, data.n_classes, hidden=[128], rngs=nnx.Rngs(0))
        settings = st.TrainerSettings(epochs=epochs, batch_size=128, eval_batch_size=128)
        st.Trainer(model, data, optimizer=optax.adam(1e-3), settings=settings).fit()
        found["training_mb"] = peak_mb() - before
    return found


def peak_mb():
    """Return the largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    if sys.argv[1].isdecimal():
        main(*map(int, sys.argv[1:]))
    elif sys.argv[2] == "write":
        print(json.dumps(write(sys.argv[1], *map(int, sys.argv[3:]))))
    else:
        say, sys.stdout = sys.stdout, sys.stderr
        print(json.dumps(measured(sys.argv[1], sys.argv[2], int(sys.argv[3]))), file=say)
