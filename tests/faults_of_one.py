"""Faults that are put into one run: kills, damaged files, full disks, signals.

Each function here is a row of the table of `faults.py`, or returns one: it tries a fault once, and raises NotSurvived.
"""

import ctypes
import itertools
import os
import random
import resource
import shutil
import signal
import time
from pathlib import Path

from fault_runs import PHASES, Child, NotSurvived, Place, Row, at_call, kill_self, wait_for

# What is above settles where packages are found and how JAX starts.
# isort: split

from spiketrain.cli.common import run
from spiketrain.training import arrays, saved
from spiketrain.training.checkpoint import Checkpoints, find, steps_in
from spiketrain.training.run import train

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


def kill_within(points: dict) -> Row:
    """Return a row that kills at each of some points of the code in turn."""
    turns = itertools.cycle(points)

    def row(place: Place, name: str, rng: random.Random) -> None:
        owner, function, after = points[next(turns)]
        fault = at_call(owner, function, rng.randint(1, 4 if owner is shutil else 9), kill_self, after=after)
        place.expect(place.start(name, fault), -signal.SIGKILL)
        place.resumed(name)

    return row


def damage(kind: str) -> Row:
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


def disk_full(last: bool) -> Row:
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


def signalled(number: int, phase: str) -> Row:
    """Return a row that sends a signal in a phase of training."""

    def row(place: Place, name: str, rng: random.Random) -> None:
        said = place.expect(place.start(name, PHASES[phase](number)), 128 + number)
        if not steps_in(place.folder / name / "checkpoints"):
            raise NotSurvived(f"no checkpoint: {said[-300:]}")
        place.resumed(name)

    return row


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
