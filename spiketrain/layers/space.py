"""Axes of space: given to flat trains, pooled over, and taken away again."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from spiketrain.errors import DomainError, ShapeError


@dataclass(frozen=True)
class Flatten:
    """Put all of space into one axis of features: `(T, B, H, W, C)` to `(T, B, H * W * C)`."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the flat train."""
        return x.reshape(*x.shape[:2], math.prod(x.shape[2:]))  # a -1 would fail on an empty piece


@dataclass(frozen=True)
class Reshape:
    """Give a flat train axes of space, `(T, B, N)` to `(T, B, *size)`.

    Args:
        size: the shape of one input with its channels last, such as `(34, 34, 2)`.
        channels_first: whether the flat input lists all of the first channel before the second, as arrays `(C, H, W)`
            do; channels are moved to the end, as everything here has them.
    """

    size: tuple[int, ...]
    channels_first: bool = False

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the train with axes of space."""
        *space, channels = self.size
        if not self.channels_first:
            return x.reshape(*x.shape[:2], *self.size)
        return jnp.moveaxis(x.reshape(*x.shape[:2], channels, *space), 2, -1)


@dataclass(frozen=True)
class Pool:
    """Take the mean or the maximum over windows of space that do not overlap; what is beyond the last whole one is left out.

    The maximum of spikes is whether any neuron of the window fired, and stays a spike.

    Args:
        window: its size in every dimension.
        take: "mean" or "max".
    """

    window: tuple[int, ...]
    take: str = "mean"

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the pooled train."""
        places = [n // w for n, w in zip(x.shape[2:-1], self.window, strict=True)]
        cut = x[(slice(None), slice(None), *(slice(n * w) for n, w in zip(places, self.window, strict=True)))]
        split = [m for n, w in zip(places, self.window, strict=True) for m in (n, w)]
        blocks = cut.reshape(*x.shape[:2], *split, x.shape[-1])
        within = tuple(range(3, 3 + 2 * len(places), 2))
        return blocks.max(within) if self.take == "max" else blocks.mean(within)


def flatten(in_size: tuple[int, ...], *, rngs: nnx.Rngs) -> Flatten:
    """Return a layer that puts all of space into one axis."""
    return Flatten()


def reshape(
    in_size: tuple[int, ...], *, size: list[int] | None = None, channels_first: bool = False, rngs: nnx.Rngs
) -> Reshape:
    """Return a layer that gives a flat train axes of space; see `Reshape`.

    Raises:
        ShapeError: `size` has not as many places as the input.
    """
    n = math.prod(in_size)
    if not size or min(size) < 1 or math.prod(size) != n:
        raise ShapeError(f"reshape(size=...) must have {n} places in all, as its input {in_size} has, got {size}.")
    return Reshape(tuple(size), channels_first)


def pool(in_size: tuple[int, ...], *, window: int | list[int] = 2, take: str = "mean", rngs: nnx.Rngs) -> Pool:
    """Return a layer that pools over space; see `Pool`.

    Raises:
        DomainError: `take` is none of its words.
        ShapeError: the window has another number of dimensions than space, or does not fit into it.
    """
    space = in_size[:-1]
    windows = (window,) * len(space) if isinstance(window, int) else tuple(window)
    if not space:
        raise ShapeError(f"pool needs an input with axes of space, got {in_size}. Put a `reshape` layer before it.")
    if len(windows) != len(space) or min(windows) < 1 or any(w > n for w, n in zip(windows, space, strict=True)):
        raise ShapeError(f"pool(window=...) must fit into the {len(space)} dimensions of {in_size}, got {window}.")
    if take not in ("mean", "max"):
        raise DomainError(f'pool(take=...) must be "mean" or "max", got {take!r}.')
    return Pool(windows, take)
