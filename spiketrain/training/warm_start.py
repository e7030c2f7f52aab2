"""A run that starts from the parameters of another, as far as they fit."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from spiketrain.errors import CheckpointError
from spiketrain.training import saved
from spiketrain.training.arrays import PARAMS, describe
from spiketrain.training.checkpoint import find
from spiketrain.training.constraints import project
from spiketrain.training.devices import put
from spiketrain.training.state import Layout


@dataclass(frozen=True)
class WarmStart:
    """What a warm start took, by the paths of parameters.

    Attributes:
        folder: the checkpoint.
        taken: what path, shape and type fit.
        left: what starts as it was drawn, and why.
        unused: what only the checkpoint has.
    """

    folder: Path
    taken: list[str]
    left: dict[str, str]
    unused: list[str]

    def __str__(self) -> str:
        lines = [f"{len(self.taken)} of {len(self.taken) + len(self.left)} parameters are taken from {self.folder}"]
        lines += [f"  left as drawn: {name} ({why})" for name, why in self.left.items()]
        lines += [f"  in the checkpoint only: {name}" for name in self.unused]
        return "\n".join(lines)


def warm_start(
    leaves: list[jax.Array], layout: Layout, tx: optax.GradientTransformation, path: Path
) -> tuple[list[jax.Array], WarmStart]:
    """Return the leaves of a fresh state with the parameters of a checkpoint, where path, shape and type are the same.

    The optimizer starts from them: its memory and the signs that constraints keep are those of the new parameters, and
    so is the moving average. Nothing but parameters is read: no statistics of normalisation, no state of an optimizer.

    Args:
        leaves: of a run that has taken no step.
        layout: what makes a state of them.
        tx: the optimizer of the run.
        path: a run folder, whose last step is meant, or the folder of one step.

    Raises:
        CheckpointError: there is no checkpoint, it is damaged, or no parameter of it fits.
    """
    folder = find(path)
    there = {name: is_ for name, is_ in saved.read_meta(folder)["leaves"].items() if name.startswith(PARAMS)}
    own = {name: x for name, x in zip(layout.names, leaves, strict=True) if name.startswith(PARAMS)}
    left = {name: why for name, x in own.items() if (why := _misfit(x, there.get(name)))}
    taken = [name for name in own if name not in left]
    unused = [name for name in there if name not in own]
    report = WarmStart(folder, _paths(taken), dict(zip(_paths(left), left.values(), strict=True)), _paths(unused))
    if not taken:
        raise CheckpointError(f"init_from={path}: no parameter fits.\n{report}")
    read = saved.read(folder, {name: own[name] for name in taken})
    state = layout.state([read.get(name, x) for name, x in zip(layout.names, leaves, strict=True)])
    optimizer = jax.jit(tx.init)(state.params)
    params = project(state.params, optimizer)
    state = state._replace(params=params, optimizer=optimizer, ema=None if state.ema is None else params)
    # Copies: a step may donate each.
    new = [jnp.array(x, copy=True) for x in jax.tree.leaves(state)]
    return [put(x, old.sharding) for x, old in zip(new, leaves, strict=True)], report


def _misfit(x: jax.Array, saved: Any) -> str:
    own = describe(x)
    if saved is None:
        return "the checkpoint has none of that path"
    return "" if saved == own else f"{_show(own)}, and the checkpoint has {_show(saved)}"


def _show(described: Any) -> str:
    return " of type ".join(map(str, described[:2])) if isinstance(described, list) else repr(described)


def _paths(names: Any) -> list[str]:
    return [name.removeprefix(PARAMS) for name in names]
