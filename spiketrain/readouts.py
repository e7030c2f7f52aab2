r"""From the train of a readout layer to class scores: `readout(train, mask)`, `(T, B, C)` to `(B, C)`.

`mask` is `(T, B)`, true at the steps that belong to the trial; what lies beyond a trial's end never counts.
Every trial has at least one step.
"""

import jax
import jax.numpy as jnp


def mean_over_time(train: jax.Array, mask: jax.Array) -> jax.Array:
    r"""Return $\frac{1}{T_b} \sum_{t < T_b} u_t$."""
    return jnp.where(mask[..., None], train, 0).sum(0) / mask.sum(0)[:, None]


def sum_over_time(train: jax.Array, mask: jax.Array) -> jax.Array:
    r"""Return $\sum_{t < T_b} u_t$, of output neurons that spike their number of spikes."""
    return jnp.where(mask[..., None], train, 0).sum(0)


def sum_of_softmax(train: jax.Array, mask: jax.Array) -> jax.Array:
    r"""Return $\sum_{t < T_b} \mathrm{softmax}(u_t)$, taken as logits.

    Reference: Bittar and Garner (2022), https://doi.org/10.3389/fnins.2022.865897.
    """
    valid = mask[..., None]
    # Masked before and after: the gradient of a softmax of a NaN is NaN even where its own gradient is zero.
    return jnp.where(valid, jax.nn.softmax(jnp.where(valid, train, 0)), 0).sum(0)


def last_step(train: jax.Array, mask: jax.Array) -> jax.Array:
    r"""Return $u_{T_b - 1}$, the last step of each trial."""
    last = mask.sum(0) - 1
    return jnp.take_along_axis(train, last[None, :, None], axis=0)[0]


def max_over_time(train: jax.Array, mask: jax.Array) -> jax.Array:
    r"""Return $\max_{t < T_b} u_t$.

    Reference: Cramer et al. (2022), https://doi.org/10.1109/TNNLS.2020.3044364.
    """
    return jnp.where(mask[..., None], train, -jnp.inf).max(0)


READOUTS = {f.__name__: f for f in (mean_over_time, sum_over_time, sum_of_softmax, last_step, max_over_time)}


def first_spike(train: jax.Array, mask: jax.Array) -> jax.Array:
    r"""Return how many steps pass before the first spike, $\sum_{t < T_b} \prod_{k \leq t} (1 - s_k)$; $T_b$ without one.

    It is exact for spikes, and linear in each of them: its derivative with respect to $s_t$ is what one more spike
    at t would change, which is nothing behind the first spike. So the gradient asks the steps before the first spike
    for an earlier one, and passes on through the surrogate slopes of those steps.

    Args:
        train: `(T, B, C)`, spikes of zero or one.
        mask: `(T, B)`, true at valid steps.
    """
    valid = mask[..., None]
    silent = jnp.cumprod(jnp.where(valid, 1 - jnp.where(valid, train, 0), 1), axis=0)
    return jnp.where(valid, silent, 0).sum(0)
