"""The devices of a run: each takes an equal part of the trials of a batch, and keeps all of the parameters or a part.

A training step is one program of the whole batch, which the compiler divides by trials. Losses, gradients, averages
over the batch and random numbers are those of the whole batch, so one device or many differ by rounding alone.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from spiketrain.errors import TrainingError
from spiketrain.mesh import FSDP, TRIALS

# XLA lets 32 programs wait for each device of a CPU, and then holds up one device while another waits for it.
AHEAD = 12
FEWEST_ON_CPU = 16  # trials per device: with fewer, products on a processor lose more than a second core gains


def mesh_of(devices: int | None, batch_size: int, fsdp: int = 1) -> Mesh:
    """Return the mesh of a run, with the axes `data` and `fsdp`.

    Args:
        devices: how many devices share a batch; None takes as many as there are and divide the batch equally, on a CPU
            with `FEWEST_ON_CPU` trials or more on each, and all of several processes.
        batch_size: the trials of a batch.
        fsdp: over how many of them the parameters are divided.

    Raises:
        TrainingError: there are not so many devices, or they do not divide the batch equally.
    """
    there = jax.devices()
    if devices is None and jax.process_count() > 1:
        devices = len(there)
    if devices is None:
        least = FEWEST_ON_CPU if there[0].platform == "cpu" else 1
        fit = (n for n in range(1, len(there) + 1) if not batch_size % n and not n % fsdp and batch_size // n >= least)
        devices = max(fit, default=fsdp)
    if not 1 <= devices <= len(there):
        how = f" JAX_NUM_CPU_DEVICES={devices} divides a CPU into so many." if there[0].platform == "cpu" else ""
        raise TrainingError(f"trainer.devices={devices}: there are {len(there)}, of platform {there[0].platform}.{how}")
    if jax.process_count() > 1 and devices < len(there):
        raise TrainingError(f"trainer.devices={devices}: several processes use all of their {len(there)} devices.")
    if batch_size % devices:
        raise TrainingError(
            f"trainer.devices={devices} does not divide trainer.batch_size={batch_size}. Write, for example, "
            f"`trainer.batch_size={-(-batch_size // devices) * devices}`."
        )
    if fsdp < 1 or devices % fsdp:
        raise TrainingError(
            f"trainer.fsdp={fsdp} does not divide trainer.devices={devices}. Write 1, or a part of them."
        )
    return Mesh(np.array(there[:devices]).reshape(-1, fsdp), TRIALS)


def part_of(batch_size: int, accumulate: int) -> int:
    """Return the trials of a part of a batch.

    Raises:
        TrainingError: the batch cannot be cut into so many equal parts.
    """
    if batch_size % accumulate:
        raise TrainingError(
            f"trainer.accumulate={accumulate} does not divide trainer.batch_size={batch_size}. Write, for example, "
            f"`trainer.batch_size={-(-batch_size // accumulate) * accumulate}`."
        )
    return batch_size // accumulate


def whole(mesh: Mesh) -> NamedSharding:
    """Return the sharding of what every device holds."""
    return NamedSharding(mesh, PartitionSpec())


def in_parts(x: Any, mesh: Mesh) -> NamedSharding:
    """Return the sharding of an array that training changes: along the last of its longest axes that `fsdp` divides."""
    parts = mesh.shape[FSDP]
    fit = [axis for axis, n in enumerate(x.shape) if n and n % parts == 0]
    if parts == 1 or not fit:
        return whole(mesh)
    longest = max(fit, key=lambda axis: (x.shape[axis], axis))
    return NamedSharding(mesh, PartitionSpec(*(FSDP if axis == longest else None for axis in range(x.ndim))))


def by_trial(mesh: Mesh) -> NamedSharding:
    """Return the sharding of arrays whose first axis is that of trials."""
    return NamedSharding(mesh, PartitionSpec(TRIALS))


def divided(batch: Any, mesh: Mesh) -> Any:
    """Divide the arrays of a batch, trials first, within a compiled function."""
    return jax.lax.with_sharding_constraint(batch, by_trial(mesh))


def data_is_divided() -> bool:
    """Return whether each device holds a part of the training trials, as those of several processes do, or all."""
    return jax.process_count() > 1


def taken(array: jax.Array, rows: jax.Array, steps: int | None, mesh: Mesh) -> jax.Array:
    """Return some trials of an array of a split, divided among the devices, within a compiled function.

    Where each device holds a part of the split, it gives its trials to those whose part of the batch they belong to.

    Args:
        array: `(trials, ...)`.
        rows: the trials.
        steps: how many entries of the second axis to take; None is all, or there is no second axis.
        mesh: the devices.
    """
    if not data_is_divided():
        rows = divided(rows, mesh)
        return divided(array[rows] if steps is None else array[rows, :steps], mesh)

    def exchanged(part: jax.Array, rows: jax.Array) -> jax.Array:
        own = rows - jax.lax.axis_index(TRIALS) * len(part)
        is_own = (own >= 0) & (own < len(part))
        own = jnp.where(is_own, own, 0)
        picked = part[own] if steps is None else part[own, :steps]
        is_own = is_own.reshape(-1, *(1 for _ in part.shape[1:]))
        return jax.lax.psum_scatter(jnp.where(is_own, picked, 0), TRIALS, tiled=True)  # all but one are zero

    by_part = PartitionSpec(TRIALS)
    exchange = jax.shard_map(exchanged, mesh=mesh, in_specs=(by_part, PartitionSpec()), out_specs=by_part)
    return exchange(array, rows)


def keep_up(dispatched: list[Any]) -> None:
    """Wait until the devices have computed all but the last `AHEAD` of what was dispatched one by one, and fetch that."""
    if len(dispatched) > AHEAD:
        dispatched[-1 - AHEAD] = jax.tree.map(np.array, dispatched[-1 - AHEAD])


def put(tree: Any, sharding: Sharding) -> Any:
    """Return arrays on the devices of a mesh; of several processes, each has the whole arrays and puts its own part."""
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda x: _put_own_part(x, sharding), tree)


def _put_own_part(x: Any, sharding: Sharding) -> jax.Array:
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
        return jax.jit(lambda x: x, out_shardings=sharding)(x)
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_put_own_part(jax.random.key_data(x), sharding), impl=jax.random.key_impl(x))
    host = np.asarray(x)
    return jax.make_array_from_callback(host.shape, sharding, lambda part: host[part])


def gathered(tree: Any, mesh: Mesh) -> Any:
    """Return arrays that are kept in parts as a whole on every device, within a compiled function."""
    return tree if mesh.shape[FSDP] == 1 else jax.lax.with_sharding_constraint(tree, whole(mesh))


def on_one(leaves: list[jax.Array], mesh: Mesh) -> list[jax.Array]:
    """Return whole arrays on one device of this process. All processes must ask."""
    if not all(x.is_fully_replicated for x in leaves):
        leaves = jax.jit(lambda leaves: leaves, out_shardings=whole(mesh))(leaves)
    return [x.addressable_data(0) for x in leaves]
