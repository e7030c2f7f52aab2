"""Population coding: several channels with overlapping receptive fields stand for one value."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from spiketrain.encoders.base import Train, without_padding
from spiketrain.encoders.direct import Direct
from spiketrain.errors import DomainError


@dataclass(frozen=True)
class GaussianPopulation:
    r"""Give every channel $n$ Gaussian receptive fields, and code their activations in turn.

    $$a_i = e^{-(x - \mu_i)^2 / 2 \sigma^2}, \quad \mu_i = low + \frac{2 i - 3}{2} \, \frac{high - low}{n - 2},
    \quad \sigma = \frac{1}{\beta} \, \frac{high - low}{n - 2}$$

    The train has `C * n` channels: the fields of the first channel, then those of the second.

    Args:
        n: the number of fields per channel, at least 3.
        low: the smallest value to expect.
        high: the largest value to expect.
        beta: how narrow the fields are.
        then: the encoder of the activations, which lie in (0, 1], such as `Latency(50)`; they are injected as
            currents unless it is given.

    Reference: Bohte, Kok and La Poutré (2002), https://doi.org/10.1016/S0925-2312(01)00658-0.
    """

    n: int = 8
    low: float = 0.0
    high: float = 1.0
    beta: float = 1.5
    then: Any = None

    def __post_init__(self) -> None:
        if self.n < 3:
            raise DomainError(f"GaussianPopulation(n=...) must be at least 3, got {self.n}.")
        if not self.low < self.high:
            raise DomainError(
                f"GaussianPopulation(low=..., high=...) needs low < high, got {self.low} and {self.high}."
            )
        if not self.beta > 0:
            raise DomainError(f"GaussianPopulation(beta=...) must be positive, got {self.beta}.")

    def __call__(self, x: jax.Array, mask: jax.Array, key: jax.Array | None = None) -> Train:
        """Return the train and its mask."""
        spacing = (self.high - self.low) / (self.n - 2)
        x = without_padding(x, mask)
        mu = self.low + (jnp.arange(self.n, dtype=x.dtype) - 0.5) * spacing
        a = jnp.exp(-(((x[..., None] - mu) / (spacing / self.beta)) ** 2) / 2)
        return (self.then or Direct())(a.reshape(*x.shape[:-1], -1), mask, key)
