"""Runs of an experiment as a user has them, beside the optimizer steps of such a run alone."""

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from spiketrain.cli.startup import start

RUNS: list = []
"""What has watched the runs of this process, each from its first log point to its last checkpoint."""


def clock():
    """Return the time and the CPU time of this process, all of its threads."""
    return {"seconds": time.perf_counter(), "cpu_s": time.process_time()}


def since(before):
    """Return how long it took."""
    now = clock()
    return {name: now[name] - before[name] for name in now}


def watching():
    """Make the callback that watches a run, and give it its name."""
    import jax

    import spiketrain as st
    from spiketrain.training.callbacks import Callback

    @st.register("callback", "watch")
    class Watch(Callback):
        """Times a run; with `parts` also what the trainer does besides steps, before each of which it waits for them."""

        def __init__(self, *, parts: bool = False):
            self.parts, self._divided = {}, parts
            self.began = self.took = None
            RUNS.append(self)

        def on_start(self, trainer):
            """Put clocks around the parts."""
            self.trainer = trainer
            if not self._divided:
                return
            trainer.evaluate = self._timed("evaluation", trainer.evaluate)
            trainer.save = self._timed("checkpoints", trainer.save)
            trainer.log.scalars = self._timed("logging", trainer.log.scalars)
            for callback in trainer.callbacks:
                if callback is not self:
                    for event in ("on_log", "on_evaluation", "on_epoch_end"):
                        setattr(callback, event, self._timed("callbacks", getattr(callback, event)))

        def on_log(self, trainer, means):
            """Begin: the host has what the steps so far have come to, and everything of the step is compiled."""
            if self.began is None:
                self.first, self.began = trainer.step, clock()

        def on_checkpoint(self, trainer, folder):
            """End, where the last checkpoint is on its way."""
            if trainer.step == trainer.total_steps:
                self.took, self.trained = since(self.began), clock()

        def _timed(self, name, does):
            def timed(*given, **options):
                jax.block_until_ready(self.trainer.leaves)
                before, compiled = clock(), self.trainer.log.compiled.seconds
                result = does(*given, **options)
                if self.began is not None:
                    part = self.parts.setdefault(name, {"seconds": 0.0, "cpu_s": 0.0, "compile_s": 0.0})
                    compiled = {"compile_s": self.trainer.log.compiled.seconds - compiled}
                    for key, value in (since(before) | compiled).items():
                        part[key] += value
                return result

            return timed


def whole(experiment, scratch, *words, parts=False):
    """Run the command; return what watched it."""
    from spiketrain.cli.train import _main

    folder = Path(tempfile.mkdtemp(dir=scratch)) / "run"
    _main(
        [f"experiment={experiment}", f"callbacks.watch.parts={str(parts).lower()}", f"hydra.run.dir={folder}", *words]
    )
    RUNS[-1].end = since(RUNS[-1].trained)
    shutil.rmtree(folder)
    return RUNS.pop()


def alone(trainer, watched):
    """Take as many optimizer steps as were watched, of the same program on the same batches, and wait at the end."""
    import jax

    from spiketrain.training import devices, step

    data, train_step = step.on_devices(trainer.splits["train"], trainer.mesh), trainer.functions.train_step()
    per_epoch, first, last = trainer.steps_per_epoch, watched.first, trainer.total_steps
    orders = [trainer.epochs.order(epoch) for epoch in range(-(-last // per_epoch))]
    leaves = trainer.leaves

    def take(leaves, n):
        order, lengths = orders[n // per_epoch]
        return train_step(leaves, data, order, steps=lengths[n % per_epoch])

    for n in range(first):
        leaves, sums = take(leaves, n)
    jax.block_until_ready((leaves, sums))
    before = clock()
    dispatched = []
    for n in range(first, last):
        leaves, sums = take(leaves, n)
        dispatched.append(sums)
        devices.keep_up(dispatched)
    jax.block_until_ready((leaves, sums))
    return since(before) | {"steps": last - first}


def main():
    """Print one JSON object."""
    say, experiment, rounds = sys.stdout, sys.argv[1], int(sys.argv[2])
    sys.stdout = sys.stderr
    watching()
    import brainunit as u

    from spiketrain import environ
    from spiketrain.training.run import make_trainer

    with tempfile.TemporaryDirectory() as scratch:
        seen = whole(experiment, scratch)  # imports matplotlib, and compiles what the cache does not have yet
        config = seen.trainer.config

        def steps():
            with environ.context(dt=config["dt_ms"] * u.ms):
                return alone(make_trainer(config, None), seen)

        def parts():
            watched = whole(experiment, scratch, parts=True)
            return {"took": watched.took, "parts": watched.parts}

        def run():
            watched = whole(experiment, scratch)
            return {"run": watched.took, "end": watched.end}

        sides = [lambda: {"steps": steps()}, run, lambda: {"parts": parts()}]
        found = []
        for nth in range(rounds):
            found.append({})
            for side in sides[nth % 3 :] + sides[: nth % 3]:  # no one always comes first
                found[-1] |= side()
    trainer = seen.trainer
    report = {"experiment": experiment, "first": seen.first, "last": trainer.total_steps, "devices": trainer.mesh.size}
    print(json.dumps(report | {"cold": seen.took, "rounds": found}), file=say)


if __name__ == "__main__":
    os.environ |= {"TTY_COMPATIBLE": "1", "TTY_INTERACTIVE": "1"}  # rich draws its bar as in a terminal
    start(main)
