"""Devices that share a batch: what a function of whole trains has to know about them.

A program of a whole batch is divided by the compiler, except where time and trials become one axis: that axis cannot
be divided by trials, so every device would be sent all of it. Such functions run on each device's own trials.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, PartitionSpec

FSDP = "fsdp"  # the axis of a mesh along which parameters are divided
TRIALS = ("data", FSDP)  # the axes along which a batch is divided: all of them


@contextmanager
def shared(mesh: Mesh) -> Iterator[None]:
    """Tell what is traced inside that its batch is divided over `mesh`."""
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        yield


def is_whole() -> bool:
    """Return whether arrays in the program that is being traced are certain to lie on one device."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return jax.device_count() == 1
    return all(
        size == 1 or kind == AxisType.Manual for size, kind in zip(mesh.axis_sizes, mesh.axis_types, strict=True)
    )


def on_own_trials(f: Callable[..., Any], train: Any, *whole: Any) -> Any:
    """Return `f(train, *whole)`, computed by each device from its own trials.

    Args:
        f: a function that treats every step of every trial alike.
        train: `(T, B, ...)`, as is what `f` returns. With other leading axes, or where devices do not divide B equally,
            the compiler decides.
        whole: what every device holds, such as weights.
    """
    mesh = jax.sharding.get_abstract_mesh()
    axes = tuple(axis for axis in TRIALS if axis in mesh.axis_names)
    if is_whole() or not axes or train.shape[1] % math.prod(mesh.shape[axis] for axis in axes):
        return f(train, *whole)
    trains = PartitionSpec(None, axes)
    given = (trains, *(PartitionSpec() for _ in whole))
    return jax.shard_map(f, mesh=mesh, in_specs=given, out_specs=trains, check_vma=False)(train, *whole)
