"""Temporal contrast: spikes where a signal changes."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from spiketrain.dynamics import Dynamics
from spiketrain.encoders.base import Train, require_positive, without_padding
from spiketrain.state import ShortTermState


@dataclass(frozen=True)
class DeltaModulation:
    r"""Fire where a value differs from that of the frame before by at least $\theta$ = `threshold`.

    The train has `2 * C` channels: $x_t - x_{t-1} \geq \theta$ first, then $x_{t-1} - x_t \geq \theta$. The first frame
    is silent. One spike stands for a change of any size.
    """

    threshold: float = 0.1

    def __post_init__(self) -> None:
        require_positive("DeltaModulation", threshold=self.threshold)

    def __call__(self, x: jax.Array, mask: jax.Array, key: jax.Array | None = None) -> Train:
        """Return the train and its mask."""
        x = without_padding(x, mask)
        change = jnp.diff(x, axis=0, prepend=x[:1])
        train = jnp.concatenate([change >= self.threshold, -change >= self.threshold], -1)
        return without_padding(train.astype(x.dtype), mask), mask


@dataclass(frozen=True)
class StepForward:
    r"""Fire where a value has left a baseline by more than $\theta$ = `threshold`, and move the baseline by one $\theta$.

    The train has `2 * C` channels: $x_t > b + \theta$ first, then $x_t < b - \theta$. The baseline b starts at the first
    frame. The signal is $b_0 + \theta$ times the running sum of up minus down, within $\theta$ where it is slow enough.

    Reference: Petro, Kasabov and Kiss (2020), https://doi.org/10.1109/TNNLS.2019.2906158.
    """

    threshold: float = 0.1

    def __post_init__(self) -> None:
        require_positive("StepForward", threshold=self.threshold)

    def __call__(self, x: jax.Array, mask: jax.Array, key: jax.Array | None = None) -> Train:
        """Return the train and its mask."""
        x = without_padding(x, mask)
        return without_padding(_Follower(x.shape[-1], self.threshold, x.dtype)(x - x[:1]), mask), mask


class _Follower(Dynamics):
    """The baseline, measured from the first frame."""

    def __init__(self, channels: int, threshold: float, dtype: jnp.dtype):
        self.channels, self.threshold, self.dtype = channels, threshold, dtype
        self.in_size = (channels,)

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        self.b = ShortTermState(jnp.zeros((*batch_shape, self.channels), self.dtype))

    def update(self, x: jax.Array) -> jax.Array:
        b = self.b.value
        up, down = x > b + self.threshold, x < b - self.threshold
        self.b.value = b + self.threshold * (up.astype(self.dtype) - down)
        return jnp.concatenate([up, down], -1).astype(self.dtype)
