"""Events to trains on the device: a batch is dense only while it is used."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from spiketrain.errors import ShapeError


def binned(
    times: jax.Array,
    units: jax.Array,
    offsets: jax.Array,
    rows: jax.Array,
    *,
    bin_us: int,
    steps: int,
    window: int,
    size: tuple[int, ...],
    dtype: Any = jnp.float32,
) -> jax.Array:
    r"""Count the events of some trials per step and unit, as a train `(T, B, *size)`.

    $$x_{t, b, n} = \left| \{ e : \lfloor t_e / \Delta \rfloor = t,\ n_e = n \} \right|$$

    over the events e of trial `rows[b]`. Counts are exact in float32 up to 2^24 and in bfloat16 up to 256. Nothing is
    lost where $T \Delta$ is longer than the trials; later events are left out. The temporaries are `window` times B
    times, units and places, 12 bytes each.

    Args:
        times: (E,), integers, microseconds; as the arrays that follow, those of `Events`.
        units: (E,), integers.
        offsets: (N + 1,), integers.
        rows: (B,), integers, the trials of the batch; any of them may occur more than once.
        bin_us: $\Delta$, the width of a step in microseconds.
        steps: T.
        window: at least as many events as the longest of these trials has.
        size: how the units are arranged.
        dtype: the type of the counts.

    Raises:
        ShapeError: the batch has more than 2^31 elements.
    """
    shape = (steps, len(rows), math.prod(size))
    if math.prod(shape) >= 2**31:
        raise ShapeError(f"A batch of shape {shape} has more than 2^31 elements. Write a smaller batch, or pool units.")
    times, units, offsets = jnp.asarray(times), jnp.asarray(units), jnp.asarray(offsets)
    event = offsets[rows][:, None] + jnp.arange(window)
    step = times.at[event].get(mode="clip") // bin_us
    counts = (event < offsets[rows + 1][:, None]) & (step < steps)
    place = (step * shape[1] + jnp.arange(shape[1])[:, None]) * shape[2] + units.at[event].get(mode="clip").astype(
        jnp.int32
    )
    place = jnp.where(counts, place, math.prod(shape))  # beyond the end, where a scatter drops it
    train = jnp.zeros(math.prod(shape), dtype).at[place].add(1, mode="drop")
    return train.reshape(*shape[:2], *size)
