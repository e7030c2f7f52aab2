"""Checkpoints: the whole training state, the configuration and what produced them, in one folder per step.

A step's folder holds `state` (arrays, by name) and `meta` (JSON, with a checksum of every array) and is enough to
evaluate or to resume. It is written beside its place and renamed into it, so a kill at any moment leaves the steps
before it whole. What is damaged all the same is recognised, named in a warning and set aside.
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
        for step in steps_in(self.folder):
            _set_aside_if_damaged(self.folder / str(step))
        keep = policy.AnyPreservationPolicy(
            [
                policy.LatestN(1),
                policy.BestN(get_metric_fn=self._metric, n=keep_best, keep_checkpoints_without_metrics=False),
            ]
            if keep_best
            else [policy.LatestN(1)]
        )
        options = ocp.CheckpointManagerOptions(preservation_policy=keep, best_fn=self._metric, best_mode="max")
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def save(self, step: int, leaves: list[jax.Array], layout: Layout, meta: dict[str, Any]) -> None:
        """Write a step in the background; errors of the write before surface here."""
        self._manager.check_for_errors()
        if step in self._manager.all_steps():
            return
        state = dict(zip(layout.names, leaves, strict=True))
        checksums = {name: _checksum(leaf) for name, leaf in state.items()}
        described = {"format": FORMAT, "step": step, "leaves": _describe(state), "crc32": checksums, **meta}
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
    for key, kind in (("step", int), ("leaves", dict), ("crc32", dict), ("config", dict), ("metrics", dict)):
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
    wanted = dict(zip(layout.names, leaves, strict=True))
    meta, own = read_meta(step_folder), _describe(wanted)
    saved = meta["leaves"]
    different = [name for name in sorted(saved.keys() | own.keys()) if saved.get(name) != own.get(name)]
    if different:
        name = different[0]
        raise CheckpointError(
            f"{step_folder} belongs to another model: {len(different)} of {len(own)} arrays differ, first "
            f"`{name}`: saved {saved.get(name)}, needed {own.get(name)}."
        )
    target = {name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding) for name, x in wanted.items()}
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            state = checkpointer.restore((step_folder / "state").absolute(), target)
    except Exception as error:  # orbax raises whatever its storage layer raises
        raise DamagedCheckpointError(
            f"{step_folder} cannot be read: its arrays are damaged ({type(error).__name__})."
        ) from error
    for name in layout.names:
        if _checksum(state[name]) != meta["crc32"].get(name):
            raise DamagedCheckpointError(
                f"{step_folder} cannot be read: its arrays are damaged (checksum of `{name}`)."
            )
    return [state[name] for name in layout.names]


def restore_newest(folder: Path, leaves: list[jax.Array], layout: Layout) -> tuple[list[jax.Array], Path]:
    """Restore the newest step that can be read; each that cannot is named in a warning and set aside."""
    steps = steps_in(folder)
    for step in reversed(steps):
        try:
            return restore(folder / str(step), leaves, layout), folder / str(step)
        except DamagedCheckpointError as error:
            _set_aside(folder / str(step), error)
    raise CheckpointError(f"{folder} holds no checkpoint that can be read; it had {', '.join(map(str, steps))}.")


def _set_aside_if_damaged(step_folder: Path) -> None:
    """Keep orbax from a step whose small files are damaged: it reads them all, and fails on the first."""
    try:
        read_meta(step_folder)
        json.loads((step_folder / "metrics" / "metrics").read_text(encoding="utf-8"))
    except (DamagedCheckpointError, OSError, ValueError) as error:
        _set_aside(step_folder, error)


def _set_aside(step_folder: Path, error: Exception) -> None:
    aside = step_folder.with_name(f"{step_folder.name}.damaged")
    if aside.exists():
        shutil.rmtree(aside)
    step_folder.rename(aside)
    log.warning("%s. It is set aside as %s.", str(error).rstrip("."), aside.name)


def _checksum(leaf: jax.Array) -> int:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return zlib.crc32(np.asarray(leaf).tobytes())


def _describe(state: dict[str, Any]) -> dict[str, Any]:
    return {name: [list(x.shape), str(x.dtype)] for name, x in state.items()}
