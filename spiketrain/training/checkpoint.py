"""Checkpoints: the steps of one run that are kept, one folder each.

A step is written beside its place and renamed into it, and renamed before it is removed, so a kill at any moment
leaves steps that are whole. They are ordered by step, never by clock.
"""

import contextlib
import logging
import math
import re
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax

from spiketrain.errors import CheckpointError
from spiketrain.training import arrays, saved
from spiketrain.training.processes import is_first, of_first
from spiketrain.training.recorded import lower_is_better
from spiketrain.training.saved import MANIFEST, META, DamagedCheckpointError, read_meta, restore, verify
from spiketrain.training.state import Layout

log = logging.getLogger("spiketrain")


class Checkpoints:
    """The checkpoints of one run, written in the background: the last and the best few are kept.

    A disk that is full does not end training: the failure is a warning, what was there is kept, and the next save
    tries again. Of several processes the first one writes; all of them call `save`.

    Args:
        folder: where they live; made absolute and created. What a killed process left half-done in it is removed.
        keep_best: how many of the best to keep besides the last.
        monitor: the metric that says which is best: the lowest loss, the highest of anything else.
    """

    def __init__(self, folder: Path, *, keep_best: int = 1, monitor: str = "validation/accuracy"):
        self.folder = folder.absolute()
        self.monitor, self._keep_best = monitor, keep_best
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: tuple[int, Future[None]] | None = None
        self._failed: tuple[int, OSError] | None = None
        self._scores: dict[int, float] = {}
        if is_first():
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_left_overs(self.folder)
            for step in steps_in(self.folder):
                self._scores[step] = score_of(read_meta(self.folder / str(step))["metrics"], monitor)

    def save(self, step: int, leaves: list[jax.Array], layout: Layout, meta: dict[str, Any]) -> None:
        """Copy a step to the host and write it in the background, after the one before.

        Raises:
            CheckpointError: `meta` is larger than a checkpoint may be.
        """
        self.wait()
        text = saved.describe(step, leaves, layout, meta)
        copies = arrays.to_host(dict(zip(layout.names, leaves, strict=True)))
        if is_first() and step not in steps_in(self.folder):
            score = score_of(meta["metrics"], self.monitor)
            self._writing = step, self._thread.submit(self._write, step, copies, text, score)

    def poll(self) -> None:
        """Report a background save that is over: warn if the disk did not take it, raise what else went wrong."""
        if self._writing is not None and self._writing[1].done():
            self.wait()

    def wait(self) -> None:
        """Return when nothing is being written any more, and report as `poll` does."""
        if self._writing is None:
            return
        (step, future), self._writing, self._failed = self._writing, None, None
        try:
            future.result()
        except OSError as error:
            self._failed = step, error
            log.warning(
                "The checkpoint of step %d could not be written: %s. Training goes on, %s, and the next save tries again.",
                step,
                error,
                self._kept(),
            )

    def finish(self) -> None:
        """Wait for the last step of a run.

        Raises:
            CheckpointError: it could not be written.
        """
        self.wait()
        if self._failed is not None:
            step, error = self._failed
            raise CheckpointError(
                f"The last checkpoint, of step {step}, could not be written: {error}; {self._kept()}. Mend it and write "
                f"`resume={self.folder.parent}` to repeat what came after."
            ) from error

    def close(self) -> None:
        """Finish writing and stop the background thread."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()

    def _kept(self) -> str:
        steps = steps_in(self.folder)
        return f"step {steps[-1]} is kept" if steps else "there is no checkpoint so far"

    def _write(self, step: int, copies: arrays.Copies, meta: bytes, score: float) -> None:
        unfinished = self.folder / f"{step}.tmp"
        try:
            remove_left_overs(self.folder)  # of a failed save: files may still have appeared after their removal
            saved.write(unfinished, copies, meta)
            unfinished.rename(self.folder / str(step))
            saved.sync(self.folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        self._scores[step] = score
        self._remove_old()

    def _remove_old(self) -> None:
        """Remove all but the last and the best, each under another name: a kill leaves no step without its files."""
        scores = {step: self._scores[step] for step in steps_in(self.folder) if step in self._scores}
        measured = [step for step, score in scores.items() if score > -math.inf]
        best = sorted(measured, key=lambda step: (scores[step], step), reverse=True)[: self._keep_best]
        for step in sorted(scores.keys() - {max(scores), *best}):
            old = self.folder / f"{step}.old.tmp"
            try:
                (self.folder / str(step)).rename(old)
                shutil.rmtree(old)
            except OSError as error:
                log.warning("The old checkpoint of step %d could not be removed: %s.", step, error)


def score_of(metrics: dict[str, float], monitor: str) -> float:
    """Return how good a step is, the higher the better; minus infinity if the metric was not measured."""
    if monitor not in metrics:
        return -math.inf
    return -float(metrics[monitor]) if lower_is_better(monitor) else float(metrics[monitor])


def steps_in(folder: Path) -> list[int]:
    """Return the steps of a checkpoint folder, ascending, by number and never by clock; some may be damaged."""
    if not folder.is_dir():
        return []
    folders = (path for path in folder.iterdir() if re.fullmatch("0|[1-9][0-9]{0,17}", path.name))
    return sorted(int(path.name) for path in folders if path.is_dir() and not path.is_symlink())


def remove_left_overs(folder: Path) -> None:
    """Remove the steps that a killed process was about to write or to remove."""
    for path in folder.iterdir():
        if re.fullmatch(r"[0-9]+(\.old)?\.tmp", path.name):
            shutil.rmtree(path)


def find(path: Path, which: str = "last", monitor: str = "validation/accuracy") -> Path:
    """Return the folder of one step.

    Args:
        path: a run folder, its `checkpoints` folder, or the folder of one step.
        which: `last`, `best` by the monitored metric, or a step number.
        monitor: the metric that says which is best.

    Raises:
        CheckpointError: there is nothing to be found.
    """
    if (path / META).is_file() or (path / MANIFEST).is_file():
        if which != "last":
            raise CheckpointError(f"{path} is one checkpoint already. Name the run folder to choose {which!r} in it.")
        return path
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    steps = steps_in(folder)
    if not steps:
        raise CheckpointError(f"{path} holds no checkpoint. Name a run folder, or the folder of one step.")
    if which == "last":
        return folder / str(steps[-1])
    if which == "best":
        scores = {step: score_of(read_meta(folder / str(step))["metrics"], monitor) for step in steps}
        best = max(steps, key=lambda step: (scores[step], step))
        if scores[best] == -math.inf:
            raise CheckpointError(f"{folder} has no best step: {monitor} was not measured. Write `last` or a step.")
        return folder / str(best)
    if which.isdecimal() and int(which) in steps:
        return folder / str(int(which))
    raise CheckpointError(
        f"{folder} has no step {which!r}. It has {', '.join(map(str, steps))}; or write `last` or `best`."
    )


def newest_readable(folder: Path) -> Path | None:
    """Return the newest step of a checkpoint folder whose meta data can be read; None where there is no such step."""
    for step in reversed(steps_in(folder)):
        with contextlib.suppress(DamagedCheckpointError):
            read_meta(folder / str(step))
            return folder / str(step)
    return None


def restore_newest(folder: Path, leaves: list[jax.Array], layout: Layout) -> tuple[list[jax.Array], Path]:
    """Restore the newest step that can be read; each that cannot is named in a warning and set aside.

    Of several processes the first one judges, and all take the step that it finds.

    Raises:
        CheckpointError: there is none, or it belongs to another model.
    """
    steps, newest = steps_in(folder), -1
    if is_first():
        for step_folder in [folder / str(step) for step in steps]:
            try:
                verify(step_folder)  # older ones too: one of them may be the best, and is needed in the end
                newest = int(step_folder.name)
            except DamagedCheckpointError as error:
                _set_aside(step_folder, error)
    if (newest := of_first(newest)) < 0:
        raise CheckpointError(f"{folder} holds no checkpoint that can be read; it had {', '.join(map(str, steps))}.")
    return restore(folder / str(newest), leaves, layout), folder / str(newest)


def _set_aside(step_folder: Path, error: Exception) -> None:
    aside = step_folder.with_name(f"{step_folder.name}.damaged")
    if aside.exists():
        shutil.rmtree(aside)
    step_folder.rename(aside)
    log.warning("%s. It is set aside as %s.", str(error).rstrip("."), aside.name)
