"""A feed-forward stack of named layers with a readout: what `model=sequential` builds."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import nnx

from spiketrain.layers.readout import LeakyReadout
from spiketrain.layers.stack import Stack, flat


class Sequential(Stack):
    """Named layers in a row, from channels to one train per class.

    Args:
        n_in: the number of input channels.
        n_out: the number of classes.
        layers: functions `make(in_size, rngs=rngs)` by name, in order; see `Stack`. Any neuron is one.
        readout: makes the end, `readout(in_size, n_out, rngs=rngs)`.
        rngs: random numbers for all of it.

    Input and output: `(T, B, n_in)` in, `(T, B, n_out)` out, and optionally `mask`, `(T, B)`, true at the steps that
    belong to a trial, for the layers that average over time. `model.train()` and `model.eval()` switch dropout and
    normalisation.

    Raises:
        ConfigError: a name cannot be that of an attribute.
        ShapeError: layers do not fit together.
        StateError: the time step dt is not set.
    """

    readout: Any = None  # no layer may have this name

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        layers: Mapping[str, Callable[..., Any]],
        readout: Callable[..., Any] = LeakyReadout,
        rngs: nnx.Rngs,
    ):
        super().__init__((n_in,), layers=layers, rngs=rngs)
        flat(f"the readout of Sequential(layers={list(layers)})", self.out_size)
        self.readout = readout(self.out_size, n_out, rngs=rngs)

    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Return the output of the readout."""
        return self.readout(self.through(x, mask))
