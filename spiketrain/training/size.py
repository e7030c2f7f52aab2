"""What a model will be, before it takes memory: the names, shapes and types of its arrays."""

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax
import jax
from flax import nnx

from spiketrain.errors import ConfigError
from spiketrain.training.patterns import name_of
from spiketrain.training.saved import DamagedCheckpointError, require_same

Shapes = Mapping[str, jax.ShapeDtypeStruct]

OF_A_MODEL = ("params/", "rest/")
"""What the names of a model's arrays begin with in a checkpoint."""


def check_size(make: Callable[[], nnx.Module], like: Path | None = None, *, members: int = 1) -> None:
    """Refuse a model that is not that of a checkpoint, or that this machine cannot hold, before it is made.

    A model that needs the values of its arrays to be made cannot be known before, and is not checked.

    Args:
        make: makes the model.
        like: the folder of a step that holds its arrays.
        members: of an ensemble, whose arrays have a leading axis of as many.

    Raises:
        CheckpointError: the checkpoint belongs to another model.
        ConfigError: the arrays of the model alone take more than the memory of this machine.
    """
    try:
        shapes = shapes_of(make)
    except (jax.errors.JAXTypeError, jax.errors.JAXIndexError, flax.errors.TraceContextError):
        return
    except (OverflowError, MemoryError) as error:
        raise ConfigError(f"model is too large to be made: {error}.") from error
    if members > 1:
        shapes = {name: jax.ShapeDtypeStruct((members, *x.shape), x.dtype) for name, x in shapes.items()}
    if like is not None:
        with contextlib.suppress(DamagedCheckpointError):  # also a step that the run which writes it has just removed
            require_same(like, shapes, OF_A_MODEL)
    wanted, there = sum(x.size * x.dtype.itemsize for x in shapes.values()), memory()
    if wanted > there:
        raise ConfigError(
            f"model: its arrays take {wanted / 1e9:.4g} GB, and this machine has {there / 1e9:.4g} GB of memory. The "
            f"largest is {_largest(shapes)}. Choose smaller layers."
        )


def shapes_of(make: Callable[[], nnx.Module]) -> Shapes:
    """Return the arrays of the model that `make` makes, by their names in a checkpoint, and take no memory for them."""

    def parts() -> dict[str, Any]:
        _, params, rest = nnx.split(make(), nnx.Param, ...)
        return {"params": params, "rest": rest}

    paths, _ = jax.tree_util.tree_flatten_with_path(jax.eval_shape(parts))
    return {name_of(path): x for path, x in paths}


def memory() -> float:
    """Return the bytes of memory of this machine; infinity where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not a system of POSIX
        return float("inf")


def _largest(shapes: Shapes) -> str:
    name, x = max(shapes.items(), key=lambda item: item[1].size * item[1].dtype.itemsize)
    return f"{name.partition('/')[2]} of shape {list(x.shape)}"
