"""Optimizers and schedules from optax, as a configuration names them."""

import jax
import optax


def cosine_schedule(learning_rate: float, steps: int, *, warmup: float = 0.0, final: float = 0.0) -> optax.Schedule:
    """Rise linearly over a fraction `warmup` of all steps, then fall as a half cosine to `final` times the peak."""
    rising = round(warmup * steps)
    falling = optax.cosine_decay_schedule(learning_rate, max(steps - rising, 1), alpha=final)
    return (
        optax.join_schedules([optax.linear_schedule(0.0, learning_rate, max(rising, 1)), falling], [rising])
        if rising
        else falling
    )


def constant_schedule(learning_rate: float, steps: int, *, warmup: float = 0.0) -> optax.Schedule:
    """Rise linearly over a fraction `warmup` of all steps, then stay."""
    rising = round(warmup * steps)
    return optax.linear_schedule(0.0, learning_rate, rising) if rising else optax.constant_schedule(learning_rate)


def adamw(
    learning_rate: optax.Schedule,
    *,
    weight_decay: float = 0.0,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    clip_norm: float | None = 1.0,
) -> optax.GradientTransformation:
    """AdamW after clipping by the global norm; weight decay acts on matrices only."""
    tx = optax.adamw(learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, mask=_matrices)
    return _clipped(tx, clip_norm)


def sgd(
    learning_rate: optax.Schedule, *, momentum: float = 0.9, nesterov: bool = False, clip_norm: float | None = 1.0
) -> optax.GradientTransformation:
    """Stochastic gradient descent with momentum after clipping by the global norm."""
    return _clipped(optax.sgd(learning_rate, momentum=momentum, nesterov=nesterov), clip_norm)


def _matrices(params):
    return jax.tree.map(lambda p: p.ndim >= 2, params)


def _clipped(tx: optax.GradientTransformation, clip_norm: float | None) -> optax.GradientTransformation:
    return tx if clip_norm is None else optax.chain(optax.clip_by_global_norm(clip_norm), tx)
