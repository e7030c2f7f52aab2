"""Checkpoints: the whole training state, the configuration and what produced them, in one folder per step.

A step's folder holds `state` (arrays, by name) and `meta` (JSON) and is enough to evaluate or to resume. It is
written beside its place and renamed into it, so a kill at any moment leaves the steps before it whole.
"""

import json
import logging
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
        options = ocp.CheckpointManagerOptions(preservation_policy=keep, best_fn=self._metric, best_mode="max")
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def save(self, step: int, leaves: list[jax.Array], layout: Layout, meta: dict[str, Any]) -> None:
        """Write a step in the background; errors of the write before surface here."""
        self._manager.check_for_errors()
        if step in self._manager.all_steps():
            return
        state = dict(zip(layout.names, leaves, strict=True))
        described = {"format": FORMAT, "step": step, "leaves": _describe(state), **meta}
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
    """Return the finished steps of a checkpoint folder, ascending, by number and never by clock."""
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit() and (p / "meta" / "metadata").is_file())


def find(path: Path, which: str = "last", monitor: str = "validation/accuracy") -> Path:
    """Return the folder of one step.

    Args:
        path: a run folder, its `checkpoints` folder, or the folder of one step.
        which: `last`, `best` by the monitored metric, or a step number.
        monitor: the metric that says which is best.

    Raises:
        CheckpointError: there is nothing to be found.
    """
    if (path / "meta" / "metadata").is_file():
        return path
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    steps = steps_in(folder)
    if not steps:
        raise CheckpointError(f"{path} holds no checkpoint. Name a run folder, or the folder of one step.")
    if which == "last":
        return folder / str(steps[-1])
    if which == "best":
        scored = [(m.get(monitor, -np.inf), step) for step in steps for m in [read_meta(folder / str(step))["metrics"]]]
        return folder / str(max(scored)[1])
    if which.isdigit() and int(which) in steps:
        return folder / which
    raise CheckpointError(
        f"{folder} has no step {which!r}. It has {', '.join(map(str, steps))}; or write `last` or `best`."
    )


def read_meta(step_folder: Path) -> dict[str, Any]:
    """Return the JSON beside the arrays of a step."""
    try:
        meta = json.loads((step_folder / "meta" / "metadata").read_text())
        if not isinstance(meta, dict):
            raise ValueError("not a mapping")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{step_folder} cannot be read: its meta data is damaged ({error}).") from error
    if meta.get("format") != FORMAT:
        raise CheckpointError(
            f"{step_folder} has checkpoint format {meta.get('format')!r}; this version reads {FORMAT}."
        )
    return meta


def restore(step_folder: Path, leaves: list[jax.Array], layout: Layout) -> list[jax.Array]:
    """Return the saved leaves in the order of `layout`.

    Raises:
        CheckpointError: the step belongs to another model or is damaged.
    """
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
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            state = checkpointer.restore((step_folder / "state").absolute(), target)
    except Exception as error:  # orbax raises whatever its storage layer raises
        raise CheckpointError(
            f"{step_folder} cannot be read: its arrays are damaged ({type(error).__name__})."
        ) from error
    return [state[name] for name in layout.names]


def restore_newest(folder: Path, leaves: list[jax.Array], layout: Layout) -> tuple[list[jax.Array], Path]:
    """Restore the newest step that can be read, with a warning for each that cannot."""
    steps = steps_in(folder)
    for step in reversed(steps):
        try:
            return restore(folder / str(step), leaves, layout), folder / str(step)
        except CheckpointError as error:
            if "belongs to another model" in str(error):
                raise
            log.warning("%s Trying the step before it.", error)
    raise CheckpointError(f"{folder} holds no checkpoint that can be read (steps: {steps or 'none'}).")


def _describe(state: dict[str, Any]) -> dict[str, Any]:
    return {name: [list(x.shape), str(x.dtype)] for name, x in state.items()}
