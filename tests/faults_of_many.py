"""Faults of one of two processes that train together, and of a sweep.

Each function here is a row of the table of `faults.py`, or returns one: it tries a fault once, and raises NotSurvived.
"""

import itertools
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from fault_runs import PHASES, Child, NotSurvived, Place, Row, at_call, kill_self, signal_self, wait_for

# What is above settles where packages are found and how JAX starts.
# isort: split

from spiketrain.cli.train import _main
from spiketrain.training import arrays
from spiketrain.training.checkpoint import Checkpoints, steps_in

from runs import ROOT, words

LATEST_S = 60  # after which the process that is left must have ended
ENDED = (
    "another process of the run has ended or cannot be reached",  # said by the trainer
    "another task died",  # said by JAX, where the process that is gone is the one that the others meet at
)
JOBS = 4
HOLDS = """
import time
from pathlib import Path
import spiketrain as st
from spiketrain.training.callbacks import Callback

@st.register("callback", "holds")
class Holds(Callback):
    def __init__(self, *, until: str = ""):
        self.until, self.latest = Path(until), time.monotonic() + 120

    def on_checkpoint(self, trainer, folder):
        while trainer.step == 3 and not self.until.exists() and time.monotonic() < self.latest:
            time.sleep(0.01)
"""


# One of two processes


def one_killed(phase: str) -> Row:
    """Return a row that kills the first process and the second in turn, in a phase of training or at a random moment."""
    turns = itertools.cycle((0, 1))

    def row(place: Place, name: str, rng: random.Random) -> None:
        own, seconds = next(turns), place.seconds_of_two()
        both = place.both(name, None if phase == "random" else of_two(phase, own, signal.SIGKILL), at=own)
        if phase == "random":
            time.sleep(rng.uniform(0.02, 0.98) * seconds)
            both[own].kill(signal.SIGKILL)
        place.expect(both[own], -signal.SIGKILL, *([0] if phase == "random" else []))  # it may have ended before
        other = both[1 - own]
        code = other.wait(within=LATEST_S)
        said = other.said()
        if code and (not any(why in said for why in ENDED) or "Traceback" in said):
            raise NotSurvived(f"exit code {code}, and it said {said[-800:]}")
        place.both_resumed(name)

    return row


def one_signalled(number: int, phase: str) -> Row:
    """Return a row that sends a signal to the first process and to the second in turn: both save one checkpoint."""
    turns = itertools.cycle((0, 1))

    def row(place: Place, name: str, rng: random.Random) -> None:
        own = next(turns)
        for child in place.both(name, of_two(phase, own, number), at=own):
            place.expect(child, 128 + number)
        if not steps_in(place.folder / name / "checkpoints"):
            raise NotSurvived("no checkpoint")
        place.both_resumed(name)

    return row


def of_two(phase: str, own: int, number: int):
    """Return the fault of a phase for one of two processes; the first one alone writes."""
    if phase == "saving" and own:
        return at_call(Checkpoints, "save", 3, signal_self(number))
    return PHASES[phase](number)


# A sweep


def sweep_killed(place: Place, name: str, rng: random.Random) -> None:
    """Kill a sweep whose jobs run one after the other, once one is finished, and give the same command again."""
    whole_sweep(place)
    at = rng.randint(10, 30)  # eight steps are saved in each of four jobs
    place.expect(sweep(place, name, at_call(arrays, "write", at, kill_self)), -signal.SIGKILL)
    before = finished(place, name)
    if not 0 < len(before) < JOBS:
        raise NotSurvived(f"{len(before)} jobs were finished")
    continued(place, name, before, place.expect(sweep(place, name), 0))


def job_killed(place: Place, name: str, rng: random.Random) -> None:
    """Kill a job that joblib has started: the others go on. Then give the same command again."""
    whole_sweep(place)
    number = rng.randrange(2)  # two run at once
    child, folders = sweep(place, name, joblib=True), jobs(place, name)
    wait_for(lambda: all(steps_in(folder / "checkpoints") for folder in folders[:2]), within=120)
    os.kill(holder(folders[number]), signal.SIGKILL)
    go_on(place, name)
    if f"job {number} ended with exit code -9" not in (said := place.expect(child, 2)):
        raise NotSurvived(said)
    if len(before := finished(place, name)) != JOBS - 1:
        raise NotSurvived(f"{len(before)} of the other jobs are finished")
    continued(place, name, before, place.expect(sweep(place, name, joblib=True), 0))


def launcher_killed(place: Place, name: str, rng: random.Random) -> None:
    """Kill the command while its jobs train, which end by themselves, and give it again, at once and once they have."""
    whole_sweep(place)
    child, folders = sweep(place, name, joblib=True), jobs(place, name)
    wait_for(lambda: all(steps_in(folder / "checkpoints") for folder in folders[:2]), within=120)
    child.kill(signal.SIGKILL)
    place.expect(child, -signal.SIGKILL)
    if finished(place, name):
        raise NotSurvived("its jobs were finished")
    go_on(place, name)
    again = sweep(place, name, joblib=True)
    if (code := again.wait()) and "is in use by process" not in again.said():
        raise NotSurvived(f"exit code {code}: {again.said()[-800:]}")
    wait_for(lambda: not any((folder / "run.lock").exists() for folder in folders), within=120)
    before = finished(place, name)
    continued(place, name, before, place.expect(sweep(place, name, joblib=True), 0))


def sweep(place: Place, name: str, fault=None, *, joblib: bool = False) -> Child:
    """Start a sweep of two seeds and two learning rates, or give its command again."""
    given = ["-m", *words(place.folder / "small.npz"), "model=feedforward_lif", "trainer.save_every_steps=1"]
    given += ["trainer.keep_best=2", "seed=0,1", "optimizer.learning_rate=0.01,0.03"]
    given += [f"hydra.sweep.dir={place.folder / name}"]
    if not joblib:
        return Child(place.folder / name, lambda: _main(given), fault)
    (place.folder / "holds.py").write_text(HOLDS)  # the jobs stop at a step until they are told to go on
    given += [
        "launcher=joblib",
        "hydra.launcher.n_jobs=2",
        "plugins=[holds]",
        f"callbacks.holds.until={told(place, name)}",
    ]
    command = [sys.executable, "-m", "spiketrain.cli.train", *given]  # its jobs are started by such a command, too
    found = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(place.folder)])}
    return Child(place.folder / name, lambda: os.execve(sys.executable, command, found), fault)


def told(place: Place, name: str) -> Path:
    """Return the file whose presence tells the jobs to go on."""
    return place.folder / f"{name}.go_on"


def go_on(place: Place, name: str) -> None:
    """Let the jobs go on."""
    told(place, name).touch()


def jobs(place: Place, name: str) -> list[Path]:
    """Return the folders of the jobs of a sweep."""
    return [place.folder / name / str(number) for number in range(JOBS)]


def whole_sweep(place: Place) -> None:
    """Have the sweep that nothing happens to."""
    place.once("whole_sweep", lambda: place.expect(sweep(place, "whole_sweep"), 0))


def holder(folder: Path) -> int:
    """Return the process that trains in a run folder."""
    return json.loads((folder / "run.lock").read_text())["pid"]


def finished(place: Place, name: str) -> dict[Path, int]:
    """Return the results that a sweep has so far, and when they were written."""
    return {path: path.stat().st_mtime_ns for path in (place.folder / name).glob("*/result.json")}


def continued(place: Place, name: str, before: dict[Path, int], said: str) -> None:
    """Compare a sweep with the whole one; what had been finished before must not have been run again."""
    for number in range(JOBS):
        place.compare(f"{name}/{number}", f"whole_sweep/{number}")
    if said.count("is finished already") != len(before) or any(p.stat().st_mtime_ns != at for p, at in before.items()):
        raise NotSurvived(f"{len(before)} jobs were finished before, and the second command said {said[-800:]}")
