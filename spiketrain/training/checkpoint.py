"""Checkpoints: the whole training state, the configuration and what produced them, in one folder per step.

A step's folder holds `state` (arrays, by name), `meta` (JSON) and a manifest with a checksum of every file, and is
enough to evaluate or to resume. It is written beside its place and renamed into it, so a kill at any moment leaves the
steps before it whole. What is damaged all the same is recognised before a number of it is used.
"""

import json
import logging
import shutil
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy as policy

from spiketrain.errors import CheckpointError
from spiketrain.training.state import Layout

FORMAT = 1
MANIFEST = "manifest.json"
log = logging.getLogger("spiketrain")


class DamagedCheckpointError(CheckpointError):
    """A checkpoint cannot be read."""


class Checkpoints:
    """The checkpoints of one run: the last and the best few are kept.

    Args:
        folder: where they live; made absolute and created.
        keep_best: how many of the best to keep besides the last.
        monitor: the metric that says which is best, the higher the better.
    """

    def __init__(self, folder: Path, *, keep_best: int = 1, monitor: str = "validation/accuracy"):
        for name in ("absl", "orbax", "jax"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self.folder = folder.absolute()
        self.monitor = monitor
        self.folder.mkdir(parents=True, exist_ok=True)
        keep = policy.AnyPreservationPolicy(
            [
                policy.LatestN(1),
                policy.BestN(get_metric_fn=self._metric, n=keep_best, keep_checkpoints_without_metrics=False),
            ]
            if keep_best
            else [policy.LatestN(1)]
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=keep,
            best_fn=self._metric,
            best_mode="max",
            async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
        )
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def save(self, step: int, leaves: list[jax.Array], layout: Layout, meta: dict[str, Any]) -> None:
        """Write a step in the background, after the one before; errors of that one surface here."""
        self.wait()
        if step in self._manager.all_steps():
            return
        state = dict(zip(layout.names, leaves, strict=True))
        described = {"format": FORMAT, "step": step, "leaves": _describe(state), **meta}
        self._saving = step
        self._manager.save(
            step,
            args=ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(described)),
            metrics=meta["metrics"],
        )

    def wait(self) -> None:
        """Return when every step is on disk; raise what went wrong on the way."""
        self._manager.wait_until_finished()
        self._manager.check_for_errors()

    def close(self) -> None:
        """Finish writing and stop the background threads."""
        self.wait()
        self._manager.close()

    def _seal(self) -> None:
        """Write the manifest: all files are there, the renaming is to come."""
        unfinished = list(self.folder.glob(f"{self._saving}.orbax-checkpoint-tmp*"))
        assert unfinished, f"orbax writes step {self._saving} somewhere else"
        for folder in unfinished:
            manifest = {str(path.relative_to(folder)): _size_and_checksum(path) for path in _files(folder)}
            (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")

    def _metric(self, metrics: Any) -> float:
        return float(metrics.get(self.monitor, -np.inf))


def steps_in(folder: Path) -> list[int]:
    """Return the steps of a checkpoint folder, ascending, by number and never by clock; some may be damaged."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal() and path.is_dir())


def find(path: Path, which: str = "last", monitor: str = "validation/accuracy") -> Path:
    """Return the folder of one step.

    Args:
        path: a run folder, its `checkpoints` folder, or the folder of one step.
        which: `last`, `best` by the monitored metric, or a step number.
        monitor: the metric that says which is best.

    Raises:
        CheckpointError: there is nothing to be found.
    """
    if (path / "meta").is_dir():
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
        metrics = {step: read_meta(folder / str(step))["metrics"] for step in steps}
        scores = [(of_step[monitor], step) for step, of_step in metrics.items() if monitor in of_step]
        if not scores:
            raise CheckpointError(f"{folder} has no best step: {monitor} was not measured. Write `last` or a step.")
        return folder / str(max(scores)[1])
    if which.isdecimal() and int(which) in steps:
        return folder / str(int(which))
    raise CheckpointError(
        f"{folder} has no step {which!r}. It has {', '.join(map(str, steps))}; or write `last` or `best`."
    )


def read_meta(step_folder: Path) -> dict[str, Any]:
    """Return the JSON beside the arrays of a step."""
    try:
        meta = json.loads((step_folder / "meta" / "metadata").read_text(encoding="utf-8"))
        if not isinstance(meta, dict) or "format" not in meta:
            raise ValueError("it is no meta data of a checkpoint")
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedCheckpointError(f"{step_folder} cannot be read: its meta data is damaged ({error}).") from error
    if meta["format"] != FORMAT:
        raise CheckpointError(f"{step_folder} has checkpoint format {meta['format']!r}; this version reads {FORMAT}.")
    for key, kind in (("step", int), ("leaves", dict), ("config", dict), ("metrics", dict)):
        if not isinstance(meta.get(key), kind):
            raise DamagedCheckpointError(
                f"{step_folder} cannot be read: its meta data is damaged ({key!r} is missing)."
            )
    return meta


def restore(step_folder: Path, leaves: list[jax.Array], layout: Layout) -> list[jax.Array]:
    """Return the saved leaves in the order of `layout`.

    Raises:
        CheckpointError: the step belongs to another model or is damaged.
    """
    verify(step_folder)
    wanted = dict(zip(layout.names, leaves, strict=True))
    saved, own = read_meta(step_folder)["leaves"], _describe(wanted)
    different = [name for name in sorted(saved.keys() | own.keys()) if saved.get(name) != own.get(name)]
    if different:
        name = different[0]
        raise CheckpointError(
            f"{step_folder} belongs to another model: {len(different)} of {len(own)} arrays differ, first "
            f"`{name}`: saved {saved.get(name)}, needed {own.get(name)}."
        )
    target = {name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding) for name, x in wanted.items()}
    with ocp.StandardCheckpointer() as checkpointer:
        state = checkpointer.restore((step_folder / "state").absolute(), target)
    return [state[name] for name in layout.names]


def verify(step_folder: Path) -> None:
    """Compare every file of a step with its manifest.

    Raises:
        DamagedCheckpointError: naming the file that is missing or differs.
    """
    try:
        manifest = json.loads((step_folder / MANIFEST).read_text(encoding="utf-8"))
        for name, wanted in manifest.items():
            if _size_and_checksum(step_folder / name) != wanted:
                raise ValueError(f"{name} is not what was written")
    except (OSError, ValueError, AttributeError) as error:
        raise DamagedCheckpointError(f"{step_folder} cannot be read: it is damaged ({error}).") from error


def restore_newest(folder: Path, leaves: list[jax.Array], layout: Layout) -> tuple[list[jax.Array], Path]:
    """Restore the newest step that can be read; each that cannot is named in a warning and set aside."""
    steps = steps_in(folder)
    restored = None
    for step_folder in [folder / str(step) for step in reversed(steps)]:
        try:
            verify(step_folder)  # orbax reads the small files of every step, and fails on the first damaged
            restored = restored or (restore(step_folder, leaves, layout), step_folder)
        except DamagedCheckpointError as error:
            _set_aside(step_folder, error)
    if restored is None:
        raise CheckpointError(f"{folder} holds no checkpoint that can be read; it had {', '.join(map(str, steps))}.")
    return restored


def _set_aside(step_folder: Path, error: Exception) -> None:
    aside = step_folder.with_name(f"{step_folder.name}.damaged")
    if aside.exists():
        shutil.rmtree(aside)
    step_folder.rename(aside)
    log.warning("%s. It is set aside as %s.", str(error).rstrip("."), aside.name)


def _files(step_folder: Path) -> list[Path]:
    folders = (step_folder / name for name in ("state", "meta", "metrics"))
    return sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())


def _size_and_checksum(path: Path) -> list[int]:
    checksum, size = 0, 0
    with path.open("rb") as file:
        while block := file.read(1 << 24):
            checksum, size = zlib.crc32(block, checksum), size + len(block)
    return [size, checksum]


def _describe(state: dict[str, Any]) -> dict[str, Any]:
    return {name: [list(x.shape), str(x.dtype)] for name, x in state.items()}
