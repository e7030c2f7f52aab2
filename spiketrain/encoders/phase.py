"""Phase coding: the binary digits of a value, the most significant first."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from spiketrain.encoders.base import Train, hold, without_padding
from spiketrain.errors import DomainError


@dataclass(frozen=True)
class Phase:
    r"""Fire at phase $k = 1 \dots n$ of a frame where the k-th binary digit of $x \in [0, 1)$ is one.

    A spike at phase k stands for $2^{-k}$, so that a frame's spikes sum to $x$ rounded down to n = `steps` digits;
    values from one on count as the largest number below one.

    Args:
        steps: the number of steps for a frame, its digits; the train has `T * steps`. At most 24, those of float32.

    Reference: Kim et al. (2018), https://doi.org/10.1016/j.neucom.2018.05.087.
    """

    steps: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= 24:
            raise DomainError(f"Phase(steps=...) must lie in [1, 24], got {self.steps}.")

    def __call__(self, x: jax.Array, mask: jax.Array, key: jax.Array | None = None) -> Train:
        """Return the train and its mask."""
        x = without_padding(x, mask)
        levels = 2**self.steps
        number = jnp.clip(jnp.floor(x.astype(jnp.float32) * levels), 0, levels - 1).astype(jnp.int32)
        shift = jnp.arange(self.steps)[::-1, None, None]
        digits = (number[:, None] >> shift) & 1
        return digits.reshape(-1, *x.shape[1:]).astype(x.dtype), hold(mask, self.steps)
