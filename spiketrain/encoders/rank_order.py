"""Rank-order coding: only the order in which channels fire carries the frame."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from spiketrain.encoders.base import Train, hold, one_spike, require_steps, without_padding


@dataclass(frozen=True)
class RankOrder:
    """Fire one channel per step: that of the largest value first, then the second, and so on.

    Of equal values the lower channel fires first. Values of zero and below never fire, nor do ranks beyond `steps`.

    Args:
        steps: the number of steps for a frame; the train has `T * steps`.

    Reference: Thorpe and Gautrais (1998), https://doi.org/10.1007/978-1-4615-4831-7_19.
    """

    steps: int = 100

    def __post_init__(self) -> None:
        require_steps("RankOrder", self.steps)

    def __call__(self, x: jax.Array, mask: jax.Array, key: jax.Array | None = None) -> Train:
        """Return the train and its mask."""
        x = without_padding(x, mask)
        rank = jnp.argsort(jnp.argsort(-x, axis=-1, stable=True), axis=-1)
        return one_spike(rank, x > 0, self.steps, x.dtype), hold(mask, self.steps)
