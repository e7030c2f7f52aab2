"""Optimizers and schedules from optax, as a configuration names them."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from spiketrain.errors import DomainError


def cosine_schedule(learning_rate: float, steps: int, *, warmup: float = 0.0, final: float = 0.0) -> optax.Schedule:
    """Rise linearly over a fraction `warmup` of all steps, then fall as a half cosine to `final` times the peak."""
    _check_between("cosine", 0, 1, warmup=warmup, final=final)
    rising = round(warmup * steps)
    falling = optax.cosine_decay_schedule(learning_rate, max(steps - rising, 1), alpha=final)
    return (
        optax.join_schedules([optax.linear_schedule(0.0, learning_rate, max(rising, 1)), falling], [rising])
        if rising
        else falling
    )


def constant_schedule(learning_rate: float, steps: int, *, warmup: float = 0.0) -> optax.Schedule:
    """Rise linearly over a fraction `warmup` of all steps, then stay."""
    _check_between("constant", 0, 1, warmup=warmup)
    rising = round(warmup * steps)
    return optax.linear_schedule(0.0, learning_rate, rising) if rising else optax.constant_schedule(learning_rate)


def one_cycle_schedule(
    learning_rate: float, steps: int, *, warmup: float = 0.3, start: float = 0.04, final: float = 4e-6
) -> optax.Schedule:
    r"""Rise as a half cosine from `start` times the peak, then fall as a half cosine to `final` times the peak.

    With $c(x) = (1 - \cos \pi x) / 2$, n the step, N all steps and m = `warmup` N: the learning rate is
    $\eta (start + (1 - start) \, c(n / m))$ up to m, and $\eta (1 + (final - 1) \, c((n - m) / (N - m)))$ after it.
    Momentum stays as it is.

    Reference: Smith and Topin (2017), https://arxiv.org/abs/1708.07120.
    """
    _check_between("one_cycle", 0, 1, warmup=warmup, start=start, final=final)
    rising = round(warmup * steps)
    falling = optax.cosine_decay_schedule(learning_rate, max(steps - rising, 1), alpha=final)

    def rise(step: Any) -> Any:
        return learning_rate * (start + (1 - start) * (1 - jnp.cos(jnp.pi * step / rising)) / 2)

    return optax.join_schedules([rise, falling], [rising]) if rising else falling


def matrices(params: Any) -> Any:
    """Return which parameters are matrices of weights: not biases, nor what neurons and delays have one of each.

    Those are no weights, whatever their shape: decay would pull a time constant towards 1 ms, and a delay to the middle.
    """

    def of_weights(leaf: Any) -> Any:
        weights = not (isinstance(leaf, nnx.Variable) and leaf.get_metadata("physical", False))
        return jax.tree.map(lambda p: weights and p.ndim >= 2, leaf)

    return jax.tree.map(of_weights, params, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))


def adamw(
    learning_rate: optax.Schedule,
    *,
    weight_decay: float = 0.0,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    clip_norm: float | None = 1.0,
    decayed: Callable[[Any], Any] | None = matrices,
) -> optax.GradientTransformation:
    """AdamW after clipping by the global norm; weight decay acts on what is `decayed`: on matrices, None is on all."""
    _check_between("adamw", 0, 1, b1=b1, b2=b2)
    _check_between("adamw", 0, math.inf, weight_decay=weight_decay, eps=eps)
    tx = optax.adamw(learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, mask=decayed)
    return clipped(tx, clip_norm)


def sgd(
    learning_rate: optax.Schedule, *, momentum: float = 0.9, nesterov: bool = False, clip_norm: float | None = 1.0
) -> optax.GradientTransformation:
    """Stochastic gradient descent with momentum after clipping by the global norm."""
    _check_between("sgd", 0, 1, momentum=momentum)
    return clipped(optax.sgd(learning_rate, momentum=momentum, nesterov=nesterov), clip_norm)


def clipped(tx: optax.GradientTransformation, clip_norm: float | None) -> optax.GradientTransformation:
    """Return `tx` after clipping by the global norm, or as it is."""
    if clip_norm is None:
        return tx
    if not clip_norm > 0:
        raise DomainError(f"clip_norm must be positive, or null for no clipping, got {clip_norm}.")
    return optax.chain(optax.clip_by_global_norm(clip_norm), tx)


def _check_between(owner: str, low: float, high: float, **values: float) -> None:
    for name, value in values.items():
        if not low <= value <= high:
            raise DomainError(f"{owner}({name}=...) must lie between {low} and {high}, got {value}.")
