"""The devices of a run: each takes an equal part of the trials of a batch, and all of the parameters.

A training step is one program of the whole batch, which the compiler divides by trials. Losses, gradients, averages
over the batch and random numbers are those of the whole batch, so one device or many differ by rounding alone.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from spiketrain.errors import TrainingError
from spiketrain.mesh import TRIALS

FEWEST_ON_CPU = 16  # trials per device: with fewer, products on a processor lose more than a second core gains


def mesh_of(devices: int | None, batch_size: int) -> Mesh:
    """Return the mesh of a run.

    Args:
        devices: how many devices share a batch; None takes as many as there are and divide the batch equally, on a CPU
            with `FEWEST_ON_CPU` trials or more on each, and all of several processes.
        batch_size: the trials of a batch.

    Raises:
        TrainingError: there are not so many devices, or they do not divide the batch equally.
    """
    there = jax.devices()
    if devices is None and jax.process_count() > 1:
        devices = len(there)
    if devices is None:
        least = FEWEST_ON_CPU if there[0].platform == "cpu" else 1
        devices = max(n for n in range(1, len(there) + 1) if n == 1 or not batch_size % n and batch_size // n >= least)
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
    return Mesh(np.array(there[:devices]), (TRIALS,))


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
    """Return the sharding of what every device holds: parameters, results, data."""
    return NamedSharding(mesh, PartitionSpec())


def by_trial(mesh: Mesh) -> NamedSharding:
    """Return the sharding of arrays whose first axis is that of trials."""
    return NamedSharding(mesh, PartitionSpec(TRIALS))


def divided(batch: Any, mesh: Mesh) -> Any:
    """Divide the arrays of a batch, trials first, within a compiled function."""
    return jax.lax.with_sharding_constraint(batch, by_trial(mesh))


def put(tree: Any, sharding: Sharding) -> Any:
    """Return arrays on the devices of a mesh; of several processes, each has the whole arrays and puts its own part."""
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda x: _put_own_part(x, sharding), tree)


def _put_own_part(x: Any, sharding: Sharding) -> jax.Array:
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_put_own_part(jax.random.key_data(x), sharding), impl=jax.random.key_impl(x))
    if isinstance(x, jax.Array) and x.is_fully_replicated:
        x = x.addressable_data(0)
    host = np.asarray(x)
    return jax.make_array_from_callback(host.shape, sharding, lambda part: host[part])
