"""Events in other channels."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from spiketrain.augmentation.base import Batch, require_whole


@dataclass(frozen=True)
class ChannelRoll:
    r"""Roll the channels of every trial by k, $x'_c = x_{(c - k) \bmod C}$ with k uniform in $\{-n, \dots, n\}$ per trial.

    Along a map of tones it is another pitch. It permutes channels, so every event is kept.

    Args:
        channels: n.
    """

    channels: int = 5

    def __post_init__(self) -> None:
        require_whole("ChannelRoll", channels=self.channels)

    def __call__(self, x: jax.Array, mask: jax.Array, y: jax.Array, key: jax.Array) -> Batch:
        """Return the changed batch."""
        k = jax.random.randint(key, (x.shape[1], 1), -self.channels, self.channels + 1)
        source = (jnp.arange(x.shape[-1]) - k) % x.shape[-1]
        return jnp.take_along_axis(x, source[None], axis=-1), mask, y
