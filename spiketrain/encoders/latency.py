"""Latency coding: every channel fires once per frame, the earlier the larger its value."""

from dataclasses import dataclass
from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp

from spiketrain.encoders.base import Train, hold, one_spike, require_positive, require_steps, without_padding
from spiketrain.environ import steps_per
from spiketrain.errors import DomainError
from spiketrain.units import expect_unit, has_unit, magnitude


@dataclass(frozen=True)
class Latency:
    r"""Fire once, at step $\mathrm{round}((1 - x) (n - 1))$ of the frame's $n$ = `steps`.

    One fires at the first step, a value just above `threshold` near the last; what lies above one counts as one.

    Args:
        steps: the number of steps for a frame; the train has `T * steps`.
        threshold: values up to this one never fire.
    """

    steps: int = 100
    threshold: float = 0.0

    def __post_init__(self) -> None:
        require_steps("Latency", self.steps)
        if not 0 <= self.threshold < 1:
            raise DomainError(f"Latency(threshold=...) must lie in [0, 1), got {self.threshold}.")

    def __call__(self, x: jax.Array, mask: jax.Array, key: jax.Array | None = None) -> Train:
        """Return the train and its mask."""
        x = without_padding(x, mask)
        step = jnp.round((1 - jnp.clip(x, 0, 1)) * (self.steps - 1))
        return one_spike(step, x > self.threshold, self.steps, x.dtype), hold(mask, self.steps)


@dataclass(frozen=True)
class LogLatency:
    r"""Fire once, when a leaky membrane that $x$ charges from zero passes a threshold.

    $$t = \tau \ln \frac{x}{x - \theta}$$

    The spike falls into the step that contains t; a value that would fire after the last step of its frame is silent,
    as are those up to $\theta$.

    Args:
        steps: the number of steps for a frame; the train has `T * steps`.
        tau: the time constant; a bare number counts in ms.
        threshold: $\theta$.

    Raises:
        UnitError: `tau` is no time.
        DomainError: `steps < 1`, `tau <= 0` or `threshold <= 0`.

    Reference: Eshraghian et al. (2023), https://arxiv.org/abs/2109.12894.
    """

    steps: int = 100
    tau: Any = 20.0
    threshold: float = 0.01

    def __post_init__(self) -> None:
        tau = magnitude(expect_unit("LogLatency", "tau", self.tau, u.ms), u.ms) if has_unit(self.tau) else self.tau
        object.__setattr__(self, "tau", float(tau))
        require_steps("LogLatency", self.steps)
        require_positive("LogLatency", tau=self.tau, threshold=self.threshold)

    def __call__(self, x: jax.Array, mask: jax.Array, key: jax.Array | None = None) -> Train:
        """Return the train and its mask."""
        x = without_padding(x, mask)
        fires = x > self.threshold
        above = jnp.where(fires, x - self.threshold, 1)
        step = jnp.floor(jnp.log1p(self.threshold / above) / steps_per(self.tau))
        return one_spike(step, fires, self.steps, x.dtype), hold(mask, self.steps)
