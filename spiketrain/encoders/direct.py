"""Direct coding: the values themselves as currents."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from spiketrain.errors import DomainError


@dataclass(frozen=True)
class Direct:
    """Inject the values themselves as currents, each frame held for some steps.

    Args:
        hold: the number of steps for which a frame is held.
        noise: the standard deviation of Gaussian noise on every value of every frame, in training.
        offset: the standard deviation of a Gaussian offset that each trial adds to a channel, in training.
        offset_channels: how many channels, from the first, get the offset; all unless it is given.
    """

    hold: int = 1
    noise: float = 0.0
    offset: float = 0.0
    offset_channels: int | None = None

    def __post_init__(self) -> None:
        if self.hold < 1:
            raise DomainError(f"Direct(hold=...) must be at least 1, got {self.hold}.")
        if self.offset_channels is not None and self.offset_channels < 0:
            raise DomainError(f"Direct(offset_channels=...) must not be negative, got {self.offset_channels}.")
        for name in ("noise", "offset"):
            if getattr(self, name) < 0:
                raise DomainError(f"Direct({name}=...) must not be negative, got {getattr(self, name)}.")

    def __call__(self, x: jax.Array, mask: jax.Array, key: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """Return the train and its mask; padded steps are zero."""
        if key is not None:
            noise, offset = jax.random.split(key)
            if self.noise:
                x = x + self.noise * jax.random.normal(noise, x.shape, x.dtype)
            if self.offset:
                chosen = jnp.arange(x.shape[-1]) < (
                    x.shape[-1] if self.offset_channels is None else self.offset_channels
                )
                x = x + self.offset * jax.random.normal(offset, x.shape[1:], x.dtype) * chosen
        x = jnp.where(mask[..., None], x, 0)
        return jnp.repeat(x, self.hold, axis=0), jnp.repeat(mask, self.hold, axis=0)
