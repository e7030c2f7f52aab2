"""Rate coding: a spike is drawn at every step, the more likely the larger the value."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from spiketrain.encoders.base import Train, hold, key_or_fixed, require_positive, require_steps, without_padding
from spiketrain.environ import dt_in_seconds


@dataclass(frozen=True)
class Rate:
    r"""Draw a spike at every step with probability $p = \min(1, x)$, or $p = \min(1, x \, r \, dt)$ given a rate $r$.

    Every step, trial and channel draws its own. With a rate this is the Poisson process on the grid of time steps:
    exact in its mean, and close to Poisson where $p \ll 1$. Values of zero and below never fire. Without a key the
    draws are those of `jax.random.key(0)`, so that evaluation can be repeated.

    Args:
        steps: the number of steps for which a frame is held; the train has `T * steps`.
        rate_hz: the rate of a value of one; None where values are probabilities.
    """

    steps: int = 1
    rate_hz: float | None = None

    def __post_init__(self) -> None:
        require_steps("Rate", self.steps)
        if self.rate_hz is not None:
            require_positive("Rate", rate_hz=self.rate_hz)

    def __call__(self, x: jax.Array, mask: jax.Array, key: jax.Array | None = None) -> Train:
        """Return the train and its mask."""
        per_step = 1.0 if self.rate_hz is None else self.rate_hz * dt_in_seconds()
        x = without_padding(x, mask)
        p = hold(jnp.clip(x * per_step, 0, 1), self.steps)
        return jax.random.bernoulli(key_or_fixed(key), p).astype(x.dtype), hold(mask, self.steps)
