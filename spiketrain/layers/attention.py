"""Self-attention between the places of one time step, with spikes for queries, keys and values."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from spiketrain.errors import DomainError, ShapeError
from spiketrain.layers.linear import linear
from spiketrain.layers.norm import BatchNorm
from spiketrain.layers.stack import Stack
from spiketrain.neurons.base import Neuron
from spiketrain.neurons.lif import LIF
from spiketrain.products import full_precision


class SpikingSelfAttention(nnx.Module):
    r"""Let every place attend to all places of its time step, without a softmax.

    $$Q, K, V = \mathrm{SN}(\mathrm{BN}(x \, W_{Q, K, V})), \quad
    y = \mathrm{SN}(\mathrm{BN}(\mathrm{SN}(scale \cdot Q K^T V) \, W))$$

    in every head, SN being spiking neurons. Of spikes, $Q K^T V$ is a count of coincidences and exact in float32; it
    is multiplied in the order that takes fewer operations. Nothing mixes time steps but neurons and normalisation.

    Args:
        in_size: `(places, features)`; from images by a `reshape` layer.
        heads: how many parts the features are divided in.
        scale: of the counts, so that the neurons that receive them are within their range.
        neuron: makes all neurons, `neuron(size, rngs=rngs)`.
        rngs: random numbers for weights and neurons.

    Input and output: `(T, B, places, features)`, and optionally `mask`, `(T, B)`.

    Raises:
        DomainError: the heads do not divide the features.
        ShapeError: the input has other axes than places and features.

    Reference: Zhou et al. (2023), https://arxiv.org/abs/2209.15425.
    """

    takes_mask = True

    def __init__(
        self,
        in_size: tuple[int, ...],
        *,
        heads: int = 8,
        scale: float = 0.125,
        neuron: Callable[..., Neuron] = LIF,
        rngs: nnx.Rngs,
    ):
        if len(in_size) != 2:
            raise ShapeError(
                f"SpikingSelfAttention takes places and features, got {in_size}. Put a `reshape` layer before it."
            )
        if heads < 1 or in_size[1] % heads:
            raise DomainError(
                f"SpikingSelfAttention(heads=...) must divide the {in_size[1]} features of its input, got {heads}."
            )
        self.in_size, self.heads, self.scale = tuple(in_size), heads, scale
        parts: dict[str, Any] = {
            "linear": partial(linear, features=in_size[1], bias=False),
            "norm": BatchNorm,
            "spikes": neuron,
        }
        self.query, self.key, self.value, self.out = (Stack(in_size, layers=parts, rngs=rngs) for _ in range(4))
        self.attended = neuron(self.in_size, rngs=rngs)

    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Return the train of spikes."""
        queries, keys, values = (self._heads(part(x, mask)) for part in (self.query, self.key, self.value))
        attended = self.scale * attend(queries, keys, values)
        return self.out(self.attended(attended.reshape(x.shape)), mask)

    def _heads(self, x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:-1], self.heads, x.shape[-1] // self.heads)


def attend(queries: jax.Array, keys: jax.Array, values: jax.Array) -> jax.Array:
    """Return $Q K^T V$ of arrays `(..., places, heads, features)`."""
    places, features = queries.shape[-3], queries.shape[-1]
    product = partial(jnp.einsum, precision=full_precision())
    if places > features:
        return product("...nhd,...hde->...nhe", queries, product("...nhd,...nhe->...hde", keys, values))
    return product("...hnm,...mhe->...nhe", product("...nhd,...mhd->...hnm", queries, keys), values)
