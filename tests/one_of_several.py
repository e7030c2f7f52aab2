"""One process of several that train together; `test_processes.py` starts them.

python tests/one_of_several.py train FOLDER DATA        trains the small run, or resumes it
python tests/one_of_several.py losses FILE              writes the losses of 50 steps of real data
"""

import json
import socket
import sys
from pathlib import Path

import brainunit as u

from spiketrain import environ
from spiketrain.cli.common import run
from spiketrain.config.check import check
from spiketrain.training import step
from spiketrain.training.processes import is_first, join
from spiketrain.training.run import make_trainer, train

from runs import small

QUIET = {"tensorboard": False, "pictures": False, "progress": False}
VOWELS = {
    "model": {"name": "spiking_net", "hidden": [32], "input_scale": 3.0, "dropout": 0.25},
    "optimizer": {"name": "adamw", "learning_rate": 0.005},
    "encoder": {"name": "direct", "noise": 0.2},
    "data": {"name": "vowels"},
    "logger": QUIET,
    "trainer": {"validation_fraction": 0.1, "batch_size": 24},
}


def meeting_places(count):
    """Return, for each of several processes of this machine, the variables that say who they are and where they meet."""
    with socket.socket() as s:
        s.bind(("localhost", 0))
        port = s.getsockname()[1]
    shared = {"JAX_COORDINATOR_ADDRESS": f"localhost:{port}", "JAX_NUM_PROCESSES": str(count)}
    return [shared | {"JAX_PROCESS_ID": str(n)} for n in range(count)]


def losses(config, steps=50):
    """Return the loss of every step."""
    t = make_trainer(config, None)
    data, train_step, found = step.on_devices(t.splits["train"], t.mesh), t.functions.train_step(), []
    for n in range(steps):
        if n % t.steps_per_epoch == 0:
            order, _ = t.epochs.order(n // t.steps_per_epoch)
        t.leaves, sums = train_step(t.leaves, data, order)
        total, count = sums.unpacked()["loss"]
        found.append(float(total / count))
    return found, t


def main(task, *words):
    if task == "losses":
        join()
        with environ.context(dt=1.0 * u.ms):
            found, t = losses(check(VOWELS))
        if is_first():
            Path(words[0]).write_text(json.dumps({"losses": found, "devices": t.mesh.size}))
        return
    folder, data = map(Path, words)
    settings = dict(trainer__batch_size=8, trainer__epochs=40, trainer__log_every_steps=1, distributed=True)
    config = small(data, **settings)
    train(config, folder, resume=(folder / "config.yaml").exists())


if __name__ == "__main__":
    sys.exit(run(lambda: main(*sys.argv[1:])))
