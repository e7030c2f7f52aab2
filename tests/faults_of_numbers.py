"""Numbers that are not finite in a run: each policy alone, and a kill after it has acted.

Each row of the table is a function that tries a fault once, and raises NotSurvived.
"""

import json
import random
import signal
from collections.abc import Callable

import numpy as np

from fault_runs import EPOCHS, NotSurvived, Place, at_call, kill_self

# What is above settles where packages are found and how JAX starts.
# isort: split

from spiketrain.training import arrays
from spiketrain.training.checkpoint import steps_in
from spiketrain.training.health import FiringRates

from runs import record

NAN_AT = 5  # within an epoch, so that what is saved there has no metrics to wait for
WENT_BACK = f"Training goes back to step {NAN_AT}, with 0.5 of the learning rate"


def raises(place: Place, name: str, rng: random.Random) -> None:
    """End with a message that names the step, once a trial has made the loss infinite."""
    said = place.expect(place.start(name, **settings(place, "raise")), 2)
    if "is not finite in step" not in said or not (steps_in(place.folder / name / "checkpoints") or "step 1," in said):
        raise NotSurvived(said[-300:])


def skips(place: Place, name: str, rng: random.Random) -> None:
    """Leave out the steps with that trial, and no other."""
    place.expect(place.start(name, **settings(place, "skip")), 0)
    if (kept := steps_in(place.folder / name / "checkpoints"))[-1] != 3 * EPOCHS:  # none is held out: three an epoch
        raise NotSurvived(f"it ended at step {kept}")
    left_out = [line["skipped"] for line in record(place.folder / name) if "skipped" in line]
    if not 0 < sum(left_out) < len(left_out):
        raise NotSurvived(f"left out: {left_out}")


def goes_back(place: Place, name: str, rng: random.Random) -> None:
    """Go back once a parameter is NaN, and end with finite ones."""
    said = place.expect(place.start(name, makes_nan, **settings(place, "roll_back")), 0)
    result = json.loads((place.folder / name / "result.json").read_text())
    if result["step"] != 2 * EPOCHS or not np.isfinite(result["test"]["loss"]) or said.count(WENT_BACK) != 1:
        raise NotSurvived(f"{result} {said}")


def killed_after_it_went_back(place: Place, name: str, rng: random.Random) -> None:
    """Kill a run that went back, after it saved the next step; resumed, it ends like one that went back and lived."""
    place.once("whole_roll_back", lambda: goes_back(place, "whole_roll_back", rng))
    second = at_call(arrays, "write", rng.randint(NAN_AT + 3, 2 * EPOCHS + 1), kill_self)  # the first is of step 0

    def both() -> None:
        makes_nan()
        second()

    changes = settings(place, "roll_back")
    if WENT_BACK not in (said := place.expect(place.start(name, both, **changes), -signal.SIGKILL)):
        raise NotSurvived(f"it had not gone back: {said}")
    if "goes back" in (said := place.resumed(name, "whole_roll_back", **changes)):
        raise NotSurvived(f"it went back again: {said}")


def killed_after_it_skipped(place: Place, name: str, rng: random.Random) -> None:
    """Kill a run that left out a step; resumed, it ends like one that left out the same steps and lived."""
    place.once("whole_skip", lambda: skips(place, "whole_skip", rng))
    changes = settings(place, "skip")
    fault = at_call(arrays, "write", rng.randint(5, 3 * EPOCHS), kill_self)  # each trial is in the first three steps
    place.expect(place.start(name, fault, **changes), -signal.SIGKILL)
    place.resumed(name, "whole_skip", **changes)


def settings(place: Place, policy: str) -> dict:
    """Return what to change for a policy; but for roll_back, one trial of the data is infinite."""
    changes = {"trainer__non_finite": policy, "trainer__save_every_steps": 1, "trainer__log_every_steps": 3}
    if policy == "roll_back":
        return changes | {"trainer__log_every_steps": 1}
    path = place.folder / "infinite.npz"
    if not path.exists():
        with np.load(place.folder / "small.npz") as data:
            content = dict(data)
        content["x_train"][5] = np.where(np.arange(3) % 2, 3e38, -3e38)
        np.savez(path, **content)
    return changes | {"data": {"name": "npz", "path": str(path)}, "trainer__validation_fraction": 0.0}


def makes_nan() -> None:
    """Make a parameter of this process NaN, once, after a step was saved."""
    told: Callable = FiringRates.on_log
    done: list[bool] = []

    def on_log(self: FiringRates, trainer, means) -> None:
        told(self, trainer, means)
        if trainer.step == NAN_AT and not done:
            done.append(True)
            trainer.save()
            trainer.leaves = [trainer.leaves[0] * np.float32("nan"), *trainer.leaves[1:]]

    FiringRates.on_log = on_log
