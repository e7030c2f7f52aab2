"""What a training run survives: faults injected into real processes, and the end compared with that of a run without.

python tests/faults.py                    everything: half an hour on one core
python tests/faults.py --short            a few of each
python tests/faults.py --only SIGKILL     the rows whose name holds a word

Prints a table of fault, times tried, times survived and what was lost, writes it to `--json`, and exits with 1 if a
fault was not survived. Survived means that the run, resumed if it had ended, has the same record of metrics and the
same arrays, bit for bit, as one that nothing happened to; or that it refused to go on with the one line it should.

Each run is a process of its own, forked from this one, which has imported everything and started nothing.
"""

import argparse
import ctypes
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fault_runs import EPOCHS, PHASES, Child, NotSurvived, Place, at_call, kill_self, wait_for

# What is above settles where packages are found and how JAX starts.
# isort: split

import numpy as np
from rich.console import Console
from rich.table import Table

from spiketrain.cli.common import run
from spiketrain.training import arrays, saved
from spiketrain.training.checkpoint import Checkpoints, find, steps_in
from spiketrain.training.run import train
from spiketrain.training.trainer import Trainer

from runs import record

COMMIT = {
    "before the arrays": (arrays, "write", False),
    "after the arrays": (arrays, "write", True),
    "before the manifest": (saved, "_manifest", False),
    "after the manifest": (saved, "_manifest", True),
    "before the name": (Path, "rename", False),
    "after the name": (Path, "rename", True),
}
CLEAN_UP = {
    "before files go": (shutil, "rmtree", False),
    "among the files": (os, "unlink", True),
    "after files went": (shutil, "rmtree", True),
}
IN_SHORT = [(signal.SIGTERM, "saving")]


# The rows of the table: each tries once, and raises NotSurvived


def random_kill(place: Place, name: str, rng: random.Random) -> None:
    """Kill from outside; no step that had been committed may be lost."""
    child = place.start(name)
    time.sleep(rng.uniform(0.02, 0.98) * place.seconds)
    child.kill(signal.SIGKILL)
    child.wait()
    before = steps_in(place.folder / name / "checkpoints")
    said = place.resumed(name)
    if before and f"after step {before[-1]}" not in said:
        raise NotSurvived(f"step {before[-1]} had been committed and was not gone on from: {said[:300]}")


def kill_within(points: dict) -> Callable[[Place, str, random.Random], None]:
    """Return a row that kills at each of some points of the code in turn."""
    turns = iter([*points] * 1000)

    def row(place: Place, name: str, rng: random.Random) -> None:
        owner, function, after = points[next(turns)]
        fault = at_call(owner, function, rng.randint(1, 4 if owner is shutil else 9), kill_self, after=after)
        place.expect(place.start(name, fault), -signal.SIGKILL)
        place.resumed(name)

    return row


def damage(kind: str) -> Callable[[Place, str, random.Random], None]:
    """Return a row that damages the files of the newest checkpoint, another one at each turn."""
    turn = [0]

    def row(place: Place, name: str, rng: random.Random) -> None:
        folder = shutil.copytree(place.folder / "whole", place.folder / name)
        newest = find(folder)
        names = sorted(path for path in newest.rglob("*") if path.is_file())
        path = names[turn[0] % len(names)]
        turn[0] += 1
        content = path.read_bytes()
        at = rng.randrange(len(content))
        if kind == "flipped by a bit":
            path.write_bytes(content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :])
        elif kind == "truncated":
            path.write_bytes(content[:at])
        elif kind == "emptied":
            path.write_bytes(b"")
        else:
            path.unlink()
        said = place.resumed(name)
        if f"{newest} cannot be read" not in said or path.name not in said:
            raise NotSurvived(f"{path} was damaged, and the run said {said[:300]}")

    return row


def on_small_disk(folder: Path) -> None:
    """Put this process's `folder` on a file system of 4 MB in memory, which ends with it; needs Linux's namespaces."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder.mkdir()
    user, group = os.getuid(), os.getgid()
    if libc.unshare(0x10000000 | 0x00020000):  # CLONE_NEWUSER | CLONE_NEWNS
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    if libc.mount(b"none", os.fsencode(folder), b"tmpfs", 0, b"size=4m"):
        raise OSError(ctypes.get_errno(), "mount")


def fill(folder: Path) -> None:
    """Leave no room on a disk."""
    with (folder / "filler").open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(4096))
            except OSError:
                return


def disk_full(last: bool) -> Callable[[Place, str, random.Random], None]:
    """Return a row with no room on the disk from the third save on, until the sixth or until training is over."""

    def row(place: Place, name: str, rng: random.Random) -> None:
        disk, folder = place.folder / f"{name}.disk", place.folder / name
        code = place.folder / f"{name}.code"

        def trains() -> None:
            on_small_disk(disk)
            at_call(Checkpoints, "save", 3, lambda: fill(disk))()
            if not last:
                at_call(Checkpoints, "save", 6, lambda: (disk / "filler").unlink())()
            code.write_text(str(run(lambda: train(place.config, disk / "run"))))
            shutil.copytree(disk / "run", folder)

        said = place.expect(Child(folder, trains), 0)
        lines = [line for line in said.splitlines() if "could not be written" in line]
        if not lines or any("No space left" not in line and "os error" not in line.lower() for line in lines):
            raise NotSurvived(f"no warning of a full disk: {said[:800]}")
        if int(code.read_text()) != (2 if last else 0):
            raise NotSurvived(f"exit code {code.read_text()}: {said[-800:]}")
        if last and "CheckpointError: The last checkpoint" not in said and "OSError" not in said:
            raise NotSurvived(f"no error of the last checkpoint: {said[-800:]}")
        if last:
            place.resumed(name)
        else:
            place.compare(name)

    return row


def file_too_large(place: Place, name: str, rng: random.Random) -> None:
    """Let the system refuse what a save writes: its files are larger than the limit, the record is smaller."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fault() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        at_call(arrays, "write", 3, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1])))()
        at_call(saved, "write", 4, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits))()

    said = place.expect(place.start(name, fault), 0)
    if "could not be written: [Errno 27] File too large" not in said:
        raise NotSurvived(f"no warning: {said[:800]}")
    place.compare(name)


def signalled(number: int, phase: str) -> Callable[[Place, str, random.Random], None]:
    """Return a row that sends a signal in a phase of training."""

    def row(place: Place, name: str, rng: random.Random) -> None:
        said = place.expect(place.start(name, PHASES[phase](number)), 128 + number)
        if not steps_in(place.folder / name / "checkpoints"):
            raise NotSurvived(f"no checkpoint: {said[-300:]}")
        place.resumed(name)

    return row


def poison(place: Place, name: str) -> dict:
    """Write data one trial of which makes the loss infinite or NaN; return the settings that use them."""
    path = place.folder / f"{name}.npz"
    with np.load(place.folder / "small.npz") as data:
        content = dict(data)
    content["x_train"][5] = np.where(np.arange(3) % 2, 3e38, -3e38)
    np.savez(path, **content)
    return {"data": {"name": "npz", "path": str(path)}, "trainer__validation_fraction": 0.0}


def not_finite(policy: str) -> Callable[[Place, str, random.Random], None]:
    """Return a row with a number that is not finite, under one of the policies."""

    def row(place: Place, name: str, rng: random.Random) -> None:
        changes = {"trainer__non_finite": policy, "trainer__save_every_steps": 1, "trainer__log_every_steps": 3}
        if policy == "roll_back":
            return went_back(place, name, changes | {"trainer__log_every_steps": 1})
        said = place.expect(place.start(name, **changes, **poison(place, name)), 2 if policy == "raise" else 0)
        kept = steps_in(place.folder / name / "checkpoints")
        if policy == "raise" and ("is not finite in step" not in said or not (kept or "step 1," in said)):
            raise NotSurvived(said[-300:])
        if policy == "skip" and kept[-1] != 3 * EPOCHS:  # none is held out, so three steps are an epoch
            raise NotSurvived(f"it ended at step {kept}")
        if policy == "skip" and not any(line.get("skipped", 0) > 0 for line in record(place.folder / name)):
            raise NotSurvived("no step was left out")

    return row


def went_back(place: Place, name: str, changes: dict) -> None:
    """Make a parameter NaN once; the run has to go back and end with finite ones."""

    def fault() -> None:
        saves, done = Trainer._saves_step, []

        def poisoned(self) -> bool:
            if self.step == 4 and not done:
                done.append(True)
                self.save()
                self.leaves[0] = self.leaves[0] * np.float32("nan")
            return saves(self) and self.step != 4

        Trainer._saves_step = poisoned

    place.expect(place.start(name, fault, **changes), 0)
    result = json.loads((place.folder / name / "result.json").read_text())
    if result["step"] != 2 * EPOCHS or not np.isfinite(result["test"]["loss"]):
        raise NotSurvived(str(result))


def second_process(place: Place, name: str, rng: random.Random) -> None:
    """Start a second process in the folder of one that trains."""
    go_on = place.folder / f"{name}.go_on"
    hold = at_call(Checkpoints, "save", 3, lambda: wait_for(go_on.exists))
    first = place.start(name, hold)
    wait_for(lambda: steps_in(place.folder / name / "checkpoints"))
    log = first.log.rename(place.folder / f"{name}.first.log")  # what the second prints goes to a new file
    second = place.start(name, resume=True)
    said = place.expect(second, 2)
    go_on.touch()
    if f"is in use by process {first.pid} on " not in said:
        raise NotSurvived(said)
    first.log = log
    place.expect(first, 0)
    place.compare(name)


def rows() -> list[tuple[str, int, int, Callable[[Place, str, random.Random], None]]]:
    """Return the name of each fault, how often it is tried, and how often in short, and what tries it."""
    files = 14
    return [
        ("SIGKILL at a random moment", 50, 2, random_kill),
        ("SIGKILL during commit", 12, 1, kill_within(COMMIT)),
        ("SIGKILL during clean-up of old steps", 9, 1, kill_within(CLEAN_UP)),
        *(
            (f"a file of the newest step {kind}", files, 0, damage(kind))
            for kind in ("flipped by a bit", "truncated", "emptied", "deleted")
        ),
        ("disk full during some saves (a file system of 4 MB)", 2, 1, disk_full(last=False)),
        ("disk full until the end (a file system of 4 MB)", 2, 0, disk_full(last=True)),
        ("writes refused during a save (RLIMIT_FSIZE)", 2, 0, file_too_large),
        *(
            (f"{signal.Signals(number).name} while {phase}", 2, (number, phase) in IN_SHORT, signalled(number, phase))
            for number in (signal.SIGTERM, signal.SIGINT)
            for phase in PHASES
        ),
        *((f"a number that is not finite, {policy}", 1, 0, not_finite(policy)) for policy in ("raise", "skip", "roll_back")),
        ("a second process in the same folder", 2, 1, second_process),
    ]  # fmt: skip


def can_mount() -> bool:
    """Return whether this system lets a process have a file system of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return Child(Path(folder, "x"), lambda: on_small_disk(Path(folder, "disk"))).wait() == 0


def inject(place: Place, *, short: bool, only: str, seed: int) -> list[dict]:
    """Try all faults; return the rows of the table."""
    found, mounts = [], can_mount()
    for number, (fault, times, few, row) in enumerate(rows()):
        tries, rng = int(few if short else times), random.Random(f"{seed} {fault}")
        if not tries or only.lower() not in fault.lower():
            continue
        begun, lost = time.monotonic(), []
        skipped = "file system" in fault and not mounts
        for turn in range(0 if skipped else tries):
            name = f"{number}_{turn}"
            try:
                row(place, name, rng)
                for path in place.folder.glob(f"{name}*"):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            except NotSurvived as error:
                lost.append(f"try {turn}: {error}")
        entry = {
            "fault": fault,
            "tried": 0 if skipped else tries,
            "survived": 0 if skipped else tries - len(lost),
            "lost": "skipped: this system lets no process mount one" if skipped else "; ".join(lost) or "nothing",
            "seconds": round(time.monotonic() - begun, 1),
        }
        print(f"{fault}: {entry['survived']} of {entry['tried']} in {entry['seconds']} s", flush=True)
        found.append(entry)
    return found


def main() -> int:
    """Inject the faults that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--short", action="store_true", help="a few of each")
    parser.add_argument("--only", default="", help="the faults whose name holds this")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--json", type=Path, default=Path("runs/faults.json"), help="where the results go")
    parser.add_argument("--folder", type=Path, help="where the runs lie, which stay there if a fault was not survived")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="spiketrain-faults-") as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        place = Place(folder)
        print(f"a run takes {place.seconds:.1f} s, and took {place.compiling:.1f} s with compiling", flush=True)
        found = inject(place, short=options.short, only=options.only, seed=options.seed)
    table = Table("fault", "tried", "survived", "lost", "seconds")
    for entry in found:
        table.add_row(*(str(entry[key]) for key in ("fault", "tried", "survived", "lost", "seconds")))
    Console(width=160).print(table)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return int(any(entry["survived"] < entry["tried"] for entry in found))


if __name__ == "__main__":
    sys.exit(main())
