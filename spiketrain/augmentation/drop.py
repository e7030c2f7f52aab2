"""Fewer events: dropped one by one, by windows of time, by channels."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from spiketrain.augmentation.base import Batch, require_rate, require_whole, window


@dataclass(frozen=True)
class EventDrop:
    """Remove each event with probability `rate`; events of one channel that share a step are removed together.

    Reference: Gu et al. (2021), https://arxiv.org/abs/2106.05836.
    """

    rate: float = 0.1

    def __post_init__(self) -> None:
        require_rate("EventDrop", self.rate)

    def __call__(self, x: jax.Array, mask: jax.Array, y: jax.Array, key: jax.Array) -> Batch:
        """Return the changed batch."""
        return jnp.where(jax.random.bernoulli(key, 1 - self.rate, x.shape), x, 0), mask, y


@dataclass(frozen=True)
class NeuronMask:
    """Silence each channel with probability `rate` for the whole trial; others stay as they are."""

    rate: float = 0.1

    def __post_init__(self) -> None:
        require_rate("NeuronMask", self.rate)

    def __call__(self, x: jax.Array, mask: jax.Array, y: jax.Array, key: jax.Array) -> Batch:
        """Return the changed batch."""
        return jnp.where(jax.random.bernoulli(key, 1 - self.rate, x.shape[1:]), x, 0), mask, y


@dataclass(frozen=True)
class TimeMask:
    """Silence windows of time: `count` per trial, each of 0 to `steps` steps, at random places within the trial.

    Reference: Park et al. (2019), https://arxiv.org/abs/1904.08779.
    """

    steps: int = 10
    count: int = 1

    def __post_init__(self) -> None:
        require_whole("TimeMask", steps=self.steps, count=self.count)

    def __call__(self, x: jax.Array, mask: jax.Array, y: jax.Array, key: jax.Array) -> Batch:
        """Return the changed batch."""
        length = mask.sum(0)
        for n in range(self.count):
            by_width, by_place = jax.random.split(jax.random.fold_in(key, n))
            width = jnp.minimum(jax.random.randint(by_width, length.shape, 0, self.steps + 1), length)
            x = jnp.where(window(by_place, width, length, len(x))[..., None], 0, x)
        return x, mask, y


@dataclass(frozen=True)
class ChannelMask:
    """Silence bands of neighbouring channels: `count` per trial, each of 0 to `channels`, for the whole trial.

    Reference: Park et al. (2019), https://arxiv.org/abs/1904.08779.
    """

    channels: int = 10
    count: int = 1

    def __post_init__(self) -> None:
        require_whole("ChannelMask", channels=self.channels, count=self.count)

    def __call__(self, x: jax.Array, mask: jax.Array, y: jax.Array, key: jax.Array) -> Batch:
        """Return the changed batch."""
        total, trials = x.shape[-1], x.shape[1]
        for n in range(self.count):
            by_width, by_place = jax.random.split(jax.random.fold_in(key, n))
            width = jax.random.randint(by_width, (trials,), 0, min(self.channels, total) + 1)
            x = jnp.where(window(by_place, width, jnp.full_like(width, total), total).T, 0, x)
        return x, mask, y
