"""Two trials in one, with the labels of both."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from spiketrain.augmentation.base import Batch, window
from spiketrain.errors import DomainError


@dataclass(frozen=True)
class Mixup:
    r"""Add every trial and another one of the batch, $\lambda x_a + (1 - \lambda) x_b$, and their labels equally.

    $\lambda$ is drawn from Beta($\alpha, \alpha$) per trial, the other trial by a permutation of the batch. The mixed
    trial lasts as long as the longer one. Spikes are scaled: for a model whose first layer is linear.

    Args:
        alpha: $\alpha$; the smaller, the rarer are trials in which both are of weight.

    Reference: Zhang et al. (2018), https://arxiv.org/abs/1710.09412.
    """

    alpha: float = 0.2

    def __post_init__(self) -> None:
        _require_positive("Mixup", self.alpha)

    def __call__(self, x: jax.Array, mask: jax.Array, y: jax.Array, key: jax.Array) -> Batch:
        """Return the changed batch."""
        by_share, by_other = jax.random.split(key)
        share = jax.random.beta(by_share, self.alpha, self.alpha, (len(y), 1)).astype(x.dtype)
        other = jax.random.permutation(by_other, len(y))
        mixed = share * x + (1 - share) * x[:, other]
        return mixed, mask | mask[:, other], share * y + (1 - share) * y[other]


@dataclass(frozen=True)
class CutMix:
    r"""Replace a window of time of every trial by the same steps of another one of the batch.

    The window covers a part $1 - \lambda$ of the trial, $\lambda$ drawn from Beta($\alpha, \alpha$) per trial. The label
    of the other trial has the weight of the steps that are its, $n_b / (n_a + n_b)$: of those in the window only as many
    as it lasts.

    Args:
        alpha: $\alpha$; 1 draws windows of any size equally often.

    Reference: Yun et al. (2019), https://arxiv.org/abs/1905.04899.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        _require_positive("CutMix", self.alpha)

    def __call__(self, x: jax.Array, mask: jax.Array, y: jax.Array, key: jax.Array) -> Batch:
        """Return the changed batch."""
        by_share, by_other, by_place = jax.random.split(key, 3)
        length = mask.sum(0)
        share = jax.random.beta(by_share, self.alpha, self.alpha, length.shape)
        width = jnp.round((1 - share) * length).astype(length.dtype)
        other = jax.random.permutation(by_other, len(y))
        inside = window(by_place, width, length, len(x))
        own, others = (mask & ~inside).sum(0), (inside & mask[:, other]).sum(0)
        weight = (others / (own + others)).astype(y.dtype)[:, None]
        mixed = jnp.where(inside[..., None], x[:, other], x)
        return mixed, mask, (1 - weight) * y + weight * y[other]


def _require_positive(owner: str, alpha: float) -> None:
    if not alpha > 0:
        raise DomainError(f"{owner}(alpha=...) must be positive, got {alpha}.")
