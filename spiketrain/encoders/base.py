"""What codes share: a frame becomes some steps, padding stays silent, evaluation can be repeated."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from spiketrain.errors import DomainError

Train = tuple[jax.Array, jax.Array]


def key_or_fixed(key: jax.Array | None) -> jax.Array:
    """Return `key`, or that of evaluation, `jax.random.key(0)`: the same batch gives the same train each time."""
    return jax.random.key(0) if key is None else key


def without_padding(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Return `x` with padded frames zeroed, as floating numbers."""
    x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.result_type(float))
    return jnp.where(mask[..., None], x, 0)


def hold(x: jax.Array, steps: int) -> jax.Array:
    """Repeat every frame for some steps."""
    return jnp.repeat(x, steps, axis=0)


def one_spike(step: jax.Array, fires: jax.Array, steps: int, dtype: Any) -> jax.Array:
    """Return a train in which every channel that `fires` does so once per frame, at `step` of its `steps`."""
    clock = jnp.arange(steps)[:, None, None]
    train = (step[:, None] == clock) & fires[:, None]
    return train.reshape(-1, *step.shape[1:]).astype(dtype)


def channels_of(encoder: Callable[..., Train], channels: int) -> int:
    """Return how many channels a model sees behind `encoder`, from those of the data."""
    x, mask = jax.ShapeDtypeStruct((1, 1, channels), jnp.result_type(float)), jax.ShapeDtypeStruct((1, 1), bool)
    return jax.eval_shape(encoder, x, mask)[0].shape[-1]


def require_steps(owner: str, steps: int) -> None:
    """Refuse a frame of no steps."""
    if steps < 1:
        raise DomainError(f"{owner}(steps=...) must be at least 1, got {steps}.")


def require_positive(owner: str, **values: float) -> None:
    """Refuse an argument that must be positive and is not."""
    for name, value in values.items():
        if not value > 0:
            raise DomainError(f"{owner}({name}=...) must be positive, got {value}.")
