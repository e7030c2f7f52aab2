"""What every augmentation is: a pure function of a batch of trains, their masks, their labels, and a key."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from spiketrain.errors import DomainError

Batch = tuple[jax.Array, jax.Array, jax.Array]
Augmentation = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], Batch]


def in_order(augmentations: Sequence[Augmentation]) -> Augmentation:
    """Return one augmentation that applies some, each with a key of its own.

    An augmentation is called as `f(x, mask, y, key)` and returns the same three: trains `(T, B, C)` that are zero
    where `mask`, `(T, B)` and true at the steps of each trial, is false; and the distribution of each trial over
    classes, `(B, classes)`. Equal keys change a batch equally.
    """

    def all_of_them(x: jax.Array, mask: jax.Array, y: jax.Array, key: jax.Array) -> Batch:
        for n, augment in enumerate(augmentations):
            x, mask, y = augment(x, mask, y, jax.random.fold_in(key, n))
        return x, mask, y

    return all_of_them


def at_times(x: jax.Array, t: jax.Array) -> jax.Array:
    """Return what trains hold at the steps `t`, `(T, B)`; those beyond the ends must be masked."""
    return jnp.take_along_axis(x, jnp.clip(t, 0, len(x) - 1)[..., None], axis=0)


def window(key: jax.Array, width: jax.Array, length: jax.Array, steps: int) -> jax.Array:
    """Return where windows of some `width`, one per trial and at a random place within its `length`, lie: `(steps, B)`."""
    start = jax.random.randint(key, width.shape, 0, length - width + 1)
    t = jnp.arange(steps)[:, None]
    return (t >= start) & (t < start + width)


def require_whole(owner: str, **values: int) -> None:
    """Refuse a number of steps, channels or windows below one."""
    for name, value in values.items():
        if value < 1:
            raise DomainError(f"{owner}({name}=...) must be at least 1, got {value}.")


def require_rate(owner: str, rate: float) -> None:
    """Refuse what is no probability below one."""
    if not 0 <= rate < 1:
        raise DomainError(f"{owner}(rate=...) must lie in [0, 1), got {rate}.")
