"""Events at other times: shifted or stretched together, jittered one by one."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from spiketrain.augmentation.base import Batch, at_times, require_whole
from spiketrain.errors import DomainError


@dataclass(frozen=True)
class TimeShift:
    r"""Move every trial by k steps, $x'_t = x_{t - k}$ with k drawn uniformly from $\{-s, \dots, s\}$ per trial.

    A trial keeps its length: what is moved beyond its ends is lost, and zeros move in.

    Args:
        steps: s.
    """

    steps: int = 5

    def __post_init__(self) -> None:
        require_whole("TimeShift", steps=self.steps)

    def __call__(self, x: jax.Array, mask: jax.Array, y: jax.Array, key: jax.Array) -> Batch:
        """Return the changed batch."""
        k = jax.random.randint(key, mask.shape[1:], -self.steps, self.steps + 1)
        source = jnp.arange(len(x))[:, None] - k
        stays = mask & (source >= 0) & (source < mask.sum(0))
        return jnp.where(stays[..., None], at_times(x, source), 0), mask, y


@dataclass(frozen=True)
class TimeStretch:
    r"""Play every trial slower or faster: an event at step t moves to $\lfloor f t \rfloor$, with $\log f$ drawn
    uniformly from $[-\log F, \log F]$ per trial.

    Events that meet in a step are added. A trial of L steps has $\lceil f L \rceil$ then, and all its events as long as
    those fit into T; what does not is lost. For events: analog frames would get holes.

    Args:
        factor: F, above 1.
    """

    factor: float = 1.2

    def __post_init__(self) -> None:
        if not 1 < self.factor < 100:
            raise DomainError(f"TimeStretch(factor=...) must lie between 1 and 100, got {self.factor}.")

    def __call__(self, x: jax.Array, mask: jax.Array, y: jax.Array, key: jax.Array) -> Batch:
        """Return the changed batch."""
        steps, trials = mask.shape
        f = self.factor ** jax.random.uniform(key, (trials,), minval=-1.0, maxval=1.0)
        t = jnp.arange(steps)[:, None]
        target = jnp.where(mask, jnp.floor(t * f).astype(int), steps)  # what is beyond T is dropped
        moved = jnp.zeros_like(x).at[target, jnp.arange(trials)].add(x, mode="drop")
        return moved, t < jnp.ceil(mask.sum(0) * f), y


@dataclass(frozen=True)
class Jitter:
    r"""Move each event by a number of steps drawn uniformly from $\{-s, \dots, s\}$.

    Events are conserved: one that would leave its trial stays where it is, and events that meet in a step are added.
    Those of one channel that share a step move together.

    Args:
        steps: s; the work is proportional to it.
    """

    steps: int = 1

    def __post_init__(self) -> None:
        require_whole("Jitter", steps=self.steps)

    def __call__(self, x: jax.Array, mask: jax.Array, y: jax.Array, key: jax.Array) -> Batch:
        """Return the changed batch."""
        k = jax.random.randint(key, x.shape, -self.steps, self.steps + 1)
        target = jnp.arange(len(x))[:, None, None] + k
        k = jnp.where(mask[..., None] & (target >= 0) & (target < mask.sum(0)[:, None]), k, 0)
        moved = jnp.zeros_like(x)
        for shift in range(-self.steps, self.steps + 1):  # nothing comes round: what would leave has stayed
            moved += jnp.roll(jnp.where(k == shift, x, 0), shift, axis=0)
        return moved, mask, y
