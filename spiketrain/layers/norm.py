"""Normalisation over time and batch, which padding has no part in."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from spiketrain.errors import DomainError


class _OverTime(nnx.BatchNorm):
    """The stock layer, told by a mask which steps count."""

    takes_mask = True

    def __init__(self, in_size: tuple[int, ...], *, momentum: float, epsilon: float, use_bias: bool, rngs: nnx.Rngs):
        owner = type(self).__name__
        if not 0 <= momentum < 1:
            raise DomainError(f"{owner}(momentum=...) must lie in [0, 1), got {momentum}.")
        if not (epsilon > 0 and math.isfinite(epsilon)):
            raise DomainError(f"{owner}(epsilon=...) must be positive, got {epsilon}.")
        settings = {"momentum": momentum, "epsilon": epsilon, "use_bias": use_bias}
        super().__init__(in_size[-1], use_fast_variance=False, rngs=rngs, **settings)

    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Return the normalised train; where the mask is false it is zero."""
        if mask is None:
            return super().__call__(x)
        valid = mask.reshape(*mask.shape, *[1] * (x.ndim - 2))
        # Masked before and after: the gradient of a product with a NaN is NaN even where its own gradient is zero.
        return jnp.where(valid, super().__call__(jnp.where(valid, x, 0), mask=valid), 0)


class BatchNorm(_OverTime):
    r"""Normalise every feature over the valid steps of all trials, and over space.

    $$y = \gamma \frac{x - \mathrm{E}[x]}{\sqrt{\mathrm{Var}[x] + \epsilon}} + \beta$$

    The mean and the variance are those of the batch in training, and the running ones in evaluation. Both count only
    what the mask marks, so zeros behind the end of a trial weigh nothing. It sees the whole trial: in training
    `advance` and `trainer.piece_steps` refuse it.

    Args:
        in_size: the shape of one input; statistics are those of its last axis.
        momentum: the part of a running statistic that a batch leaves as it is.
        epsilon: added to the variance.
        rngs: not drawn from: $\gamma$ starts at one and $\beta$ at zero.

    Input and output: `(T, B, *in_size)`; `mask` is `(T, B)`, true at the steps that count.

    Raises:
        DomainError: the momentum does not lie in [0, 1), or epsilon is not positive.

    Reference: Ioffe and Szegedy (2015), https://arxiv.org/abs/1502.03167.
    """

    def __init__(self, in_size: tuple[int, ...], *, momentum: float = 0.9, epsilon: float = 1e-5, rngs: nnx.Rngs):
        super().__init__(in_size, momentum=momentum, epsilon=epsilon, use_bias=True, rngs=rngs)


class ThresholdBatchNorm(_OverTime):
    r"""Normalise as `BatchNorm` does, to the scale of the threshold of the neurons behind it.

    $$y = \gamma \, \alpha V_{th} \frac{x - \mathrm{E}[x]}{\sqrt{\mathrm{Var}[x] + \epsilon}} + \beta$$

    Args:
        in_size: the shape of one input; statistics are those of its last axis.
        V_th: the threshold of the neurons behind it, a bare number.
        alpha: one, or $1 / \sqrt{n}$ where n paths are added before the neurons.
        momentum: the part of a running statistic that a batch leaves as it is.
        epsilon: added to the variance.
        rngs: not drawn from: $\gamma$ starts at one and $\beta$ at zero.

    Raises:
        DomainError: as `BatchNorm`, or the scale is not positive.

    Reference: Zheng et al. (2021), https://arxiv.org/abs/2011.05280.
    """

    def __init__(
        self,
        in_size: tuple[int, ...],
        *,
        V_th: float = 1.0,
        alpha: float = 1.0,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        rngs: nnx.Rngs,
    ):
        if not (alpha * V_th > 0 and math.isfinite(alpha * V_th)):
            raise DomainError(f"ThresholdBatchNorm needs alpha * V_th > 0, got alpha={alpha} and V_th={V_th}.")
        super().__init__(in_size, momentum=momentum, epsilon=epsilon, use_bias=False, rngs=rngs)
        self.gain = alpha * V_th
        self.shift = nnx.Param(jnp.zeros(in_size[-1]))

    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Return the normalised train; where the mask is false it is zero."""
        y = self.gain * super().__call__(x, mask) + self.shift[...]
        return y if mask is None else jnp.where(mask.reshape(*mask.shape, *[1] * (x.ndim - 2)), y, 0)
