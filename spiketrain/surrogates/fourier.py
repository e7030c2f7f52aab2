"""Periodic slopes."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from spiketrain.errors import DomainError
from spiketrain.surrogates.base import Surrogate, require_positive


@dataclass(frozen=True)
class SquarewaveFourierSeries(Surrogate):
    r"""$\sigma'(x) = \frac{4}{T} \sum_{i=1}^n \cos((2i - 1) \frac{2 \pi}{T} x)$, with $T$ = `t_period`.

    The slope of the first n terms of a square wave of period T. It is periodic and takes negative values; half a
    period around threshold, $|x| < T/4$, tends to an integral of one as n grows.

    Reference: Fang et al. (2023), https://arxiv.org/abs/2310.16620.
    """

    n: int = 2
    t_period: float = 8.0

    def __post_init__(self) -> None:
        require_positive(self, "t_period")
        if self.n < 1:
            raise DomainError(f"SquarewaveFourierSeries(n=...) must be at least one, got {self.n}.")

    def slope(self, x: jax.Array) -> jax.Array:
        """Return the sum of cosines."""
        turns = x / self.t_period
        turns = turns - jnp.round(turns)  # cos of a large angle is inexact, and in float16 the angle overflows
        terms = [jnp.cos(2 * math.pi * (2 * i - 1) * turns) for i in range(1, self.n + 1)]
        return 4 / self.t_period * sum(terms[1:], terms[0])
