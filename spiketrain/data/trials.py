"""A split on the device: arrays that go there once, and the batch of any rows as a pure function of them."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from spiketrain.data.binning import binned

Batch = dict[str, jax.Array]


@partial(jax.tree_util.register_dataclass, data_fields=["x", "lengths", "y"], meta_fields=[])
@dataclass(frozen=True)
class DenseTrials:
    """Trials as one dense array: `4 n T C` bytes, and 8 per trial."""

    x: Any
    lengths: Any
    y: Any

    def batch(self, rows: jax.Array, steps: int | None = None) -> Batch:
        """Return `x` (B, steps, C), `lengths` (B,) and `y` (B,) of some trials, all T steps unless `steps` is given."""
        x, lengths, y = jnp.asarray(self.x), jnp.asarray(self.lengths), jnp.asarray(self.y)
        return {"x": x[rows, :steps], "lengths": lengths[rows], "y": y[rows]}


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["times", "units", "offsets", "lengths", "y"],
    meta_fields=["bin_us", "steps", "window", "channels", "clip"],
)
@dataclass(frozen=True)
class EventTrials:
    """Trials as events: 5 to 8 bytes per event, and 12 per trial, however long and wide a trial is."""

    times: Any
    units: Any
    offsets: Any
    lengths: Any
    y: Any
    bin_us: int
    steps: int
    window: int
    channels: int
    clip: bool

    def batch(self, rows: jax.Array, steps: int | None = None) -> Batch:
        """Return `x` (B, steps, C), `lengths` (B,) and `y` (B,) of some trials, all T steps unless `steps` is given."""
        x = binned(
            self.times,
            self.units,
            self.offsets,
            rows,
            bin_us=self.bin_us,
            steps=self.steps if steps is None else min(steps, self.steps),
            window=self.window,
            size=(self.channels,),
        )
        x = jnp.minimum(x, 1) if self.clip else x
        lengths, y = jnp.asarray(self.lengths), jnp.asarray(self.y)
        return {"x": x.swapaxes(0, 1), "lengths": lengths[rows], "y": y[rows]}
