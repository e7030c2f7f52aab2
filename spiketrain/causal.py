"""Causal convolution over time: an output sees the present input and so many before it.

As a product for every delay the arithmetic grows with their number. By way of frequencies it does not: trains and
kernels are transformed by products with a matrix of cosines and sines, which are fast where a general FFT of many short
rows is not, and each frequency is one product.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from spiketrain.mesh import on_own_trials
from spiketrain.products import full_precision


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    r"""Return $y[n]_o = \sum_{d, i} k[d]_{io} \, x[n + D - d]_i$, each time step at once.

    Both forms that it takes, by their arithmetic, equal the sum up to rounding; by way of frequencies the error is
    relative to the largest output of the trial, not to each.

    Args:
        x: `(D + T, *batch, in)`, of which the first D steps are the past.
        kernel: `(D + 1, in, out)`, from no delay to the longest.

    Returns:
        `(T, *batch, out)`.
    """
    taps, T = len(kernel), len(x) - len(kernel) + 1
    dtype = jnp.result_type(x, kernel)
    x, kernel = jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)
    if x.ndim == 2:
        return convolve(x[:, None], kernel)[:, 0]
    if T == 1:
        return by_delays(x, kernel)
    frames = best_frames(T, taps, x.shape[1], *kernel.shape[1:]) if T else 0
    return on_own_trials(partial(by_frequencies, frames=frames) if frames else by_delays, x, kernel)


def by_delays(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolve with one product of all delays side by side."""
    taps, T = len(kernel), len(x) - len(kernel) + 1
    seen = jnp.concatenate([x[taps - 1 - d : taps - 1 - d + T] for d in range(taps)], -1)
    weight = kernel.reshape(-1, kernel.shape[-1])
    rows = seen.reshape(T * x.shape[1], len(weight))
    return jnp.dot(rows, weight, precision=full_precision()).reshape(T, x.shape[1], kernel.shape[-1])


def by_frequencies(x: jax.Array, kernel: jax.Array, frames: int = 1) -> jax.Array:
    """Convolve in so many frames of equal length, each with the past that it needs, one product per frequency."""
    past, T = len(kernel) - 1, len(x) - len(kernel) + 1
    length = frame_length(T, past + 1, frames)
    new = length - past
    x = jnp.pad(x, ((0, past + frames * new - len(x)), (0, 0), (0, 0)))
    x = jnp.stack([x[n * new : n * new + length] for n in range(frames)], 1) if frames > 1 else x[:, None]
    x, batch = x.reshape(length, frames * x.shape[2], -1), x.shape[2]

    cos, sin, cos_back, sin_back = (m.astype(x.dtype) for m in _transforms(length))
    along = partial(jnp.tensordot, axes=1, precision=full_precision())
    rows, of_x = x.shape[1], jnp.concatenate([along(cos, x), along(sin, x)], 1)  # real rows, then imaginary ones
    k_re, k_im = along(cos[:, : past + 1], kernel), along(sin[:, : past + 1], kernel)
    # Four real products in two calls: with three there are fewer operations, and sums of kernels to be moved.
    times = partial(lax.dot_general, dimension_numbers=(((2,), (1,)), ((0,), (0,))), precision=full_precision())
    by_re, by_im = times(of_x, k_re), times(of_x, k_im)
    y_re, y_im = by_re[:, :rows] - by_im[:, rows:], by_re[:, rows:] + by_im[:, :rows]
    y = along(cos_back[past:], y_re) + along(sin_back[past:], y_im)  # the first ones are wrapped around
    return y.reshape(new, frames, batch, -1).swapaxes(0, 1).reshape(frames * new, batch, -1)[:T]


def frame_length(T: int, taps: int, frames: int) -> int:
    """Return the length of a frame, new steps and the past that it repeats."""
    return -(-T // frames) + taps - 1


def _transforms(length: int) -> tuple[np.ndarray, ...]:
    """Return the matrices of a real Fourier transform and of its inverse, computed in double precision."""
    frequency, time = np.arange(length // 2 + 1)[:, None], np.arange(length)
    angle = 2 * np.pi * (frequency * time % length) / length
    weight = np.where((frequency == 0) | (2 * frequency == length), 1, 2) / length
    cos, sin = np.cos(angle), -np.sin(angle)
    return cos, sin, (weight * cos).T, (weight * sin).T


def best_frames(T: int, taps: int, batch: int, n_in: int, n_out: int) -> int:
    """Return the number of frames with the least work, 0 where one product of all delays is less.

    Work counts multiply-adds of a product per frequency; what transforms and copies take beside one was fitted to the
    times of forward and backward passes on a CPU. Short frames have fewer frequencies, so kernels are
    transformed to less, and repeat more of the past.
    """
    weights, channels = n_in * n_out, n_in + n_out

    def work(frames: int) -> float:
        length = frame_length(T, taps, frames)
        kernels = length * weights * (23 + 0.31 * taps)
        return kernels + frames * length * batch * (weights + channels * (15 + 0.23 * length))

    frames = min(range(1, -(-T // taps) + 1), key=work)
    return frames if work(frames) < T * batch * taps * n_in * (0.29 * n_out + 20) else 0


def weighted(x: jax.Array, weight: jax.Array) -> jax.Array:
    r"""Return $y[n] = \sum_d w[d] \, x[n + D - d]$ of `(D + T, *batch, *size)`, each number by itself.

    `weight` is `(D + 1,)` or `(D + 1, *size)`. One pass over the train, for windows that are short.
    """
    taps, T = len(weight), len(x) - len(weight) + 1
    terms = [weight[d] * x[taps - 1 - d : taps - 1 - d + T] for d in range(taps)]
    return sum(terms[1:], terms[0])
