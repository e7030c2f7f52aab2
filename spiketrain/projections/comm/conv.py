"""Convolution: every place of a feature map sees its neighbourhood through the same weights."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from spiketrain.errors import ShapeError
from spiketrain.mesh import on_own_trials
from spiketrain.parameter import Trainable
from spiketrain.projections.comm.base import Comm, make_weight
from spiketrain.projections.comm.convolution import average_over, convolve
from spiketrain.typing import Size, as_size
from spiketrain.units import magnitude, unit_of, with_unit


class Conv(Comm):
    r"""Convolve feature maps of spikes with kernels, in one, two or three dimensions of space, without a bias.

    $$y_{h, w, o} = \sum_{i, j, c} W_{i, j, c, o} \; s_{S_h h + i - P_h, \, S_w w + j - P_w, \, c}$$

    with strides S, and P zeros put at the lower edge: a cross-correlation, as everywhere in this field. Neurons behind
    it take its size: `conv = Conv((28, 28, 1), 16, (5, 5), rngs=rngs)` and then `LIF(conv.out_size)`, or
    `Expon(conv.out_size)` inside a projection.

    With `pool` the output is averaged over windows, computed as one convolution whose kernel is the average of those
    within a window and whose stride is a window; equal up to rounding to the two layers, at a fraction of the time.
    The weight and its gradient are those of the kernel as it is given.

    Args:
        in_size: the shape of one input, `(H, W, C)`, or `(L, C)` for one dimension and `(D, H, W, C)` for three.
        features: the number of channels of the output.
        kernel_size: the size of the kernel in every dimension, such as `(5, 5)`.
        stride: the distance of neighbouring places of the output, one number or one per dimension.
        padding: "SAME" (each place of the output has one of the input, or one per stride), "VALID" (none), or the
            number of zeros put at both edges of every dimension.
        pool: the window of an average over the output, one number or one per dimension; windows do not overlap, and
            places beyond the last whole one are left out.
        weight: a scalar, an array `(*kernel_size, C, features)` or an initialiser, with or without a unit; wrapped in
            `Trainable` where an optimizer is to change it. Trained and scaled by fan-in unless it is given.
        rngs: needed where `weight` is an initialiser.

    Input and output: `(..., *in_size)` in, `(..., *out_size)` out, in the unit of the weights; any number of leading
    axes, so a whole train is one convolution.

    Raises:
        ShapeError: sizes do not fit together, the kernel or the window does not fit, or the weight or the input has
            the wrong shape.

    Reference: Dumoulin and Visin (2016), https://arxiv.org/abs/1603.07285.
    """

    def __init__(
        self,
        in_size: tuple[int, ...],
        features: int,
        kernel_size: Size,
        *,
        stride: Size = 1,
        padding: str | int = "SAME",
        pool: Size = 1,
        weight: Any = None,
        rngs: nnx.Rngs | None = None,
    ):
        self.in_size, kernel_size = as_size("Conv", in_size), as_size("Conv", kernel_size, "kernel_size")
        dimensions = len(self.in_size) - 1
        if len(kernel_size) != dimensions or not 1 <= dimensions <= 3:
            raise ShapeError(
                f"Conv(in_size, features, kernel_size) needs a kernel of as many dimensions as there are before the "
                f"channels, one to three, got {in_size} and {kernel_size}. Write, for example, `Conv((28, 28, 1), 16, (5, 5))`."
            )
        self.strides = _per_dimension("stride", stride, dimensions)
        self.pool = _per_dimension("pool", pool, dimensions)
        fits = padding.upper() in ("SAME", "VALID") if isinstance(padding, str) else padding >= 0
        if not fits:
            raise ShapeError(f'Conv(padding=...) must be "SAME", "VALID" or a number of zeros, got {padding!r}.')
        if isinstance(padding, str):
            pads = jax.lax.padtype_to_pads(self.in_size[:-1], kernel_size, self.strides, padding.upper())
        else:
            pads = [(padding, padding)] * dimensions
        self.pads = tuple((int(low), int(high)) for low, high in pads)
        (channels,) = as_size("Conv", features)
        shape = (*kernel_size, self.in_size[-1], channels)
        weight = Trainable(nnx.initializers.lecun_normal()) if weight is None else weight
        self.weight = make_weight("Conv", weight, shape, rngs)
        self.weight.set_raw_value(jnp.broadcast_to(self.weight.get_raw_value(), shape))
        sizes = zip(self.in_size, kernel_size, self.strides, self.pads, strict=False)
        places = tuple((n + low + high - k) // s + 1 for n, k, s, (low, high) in sizes)
        if min(places) < 1:
            raise ShapeError(f"Conv(kernel_size=...) {kernel_size} does not fit into an input of {in_size}.")
        self.out_size = (*(n // p for n, p in zip(places, self.pool, strict=True)), channels)
        if 0 in self.out_size:
            raise ShapeError(f"Conv(pool=...) {pool} does not fit into an output of {(*places, channels)}.")

    def __call__(self, spikes: Any) -> Any:
        """Return the weighted sum over each neighbourhood."""
        self.check(spikes)
        x, weight = jnp.asarray(magnitude(spikes)), magnitude(self.weight.value)
        dtype, trains = jnp.result_type(x, weight), x.ndim == len(self.in_size) + 2
        x, weight = x.astype(dtype), average_over(weight.astype(dtype), self.strides, self.pool)
        y = on_own_trials(self._convolve, x, weight) if trains else self._convolve(x, weight)
        return with_unit(y, unit_of(spikes) * self.unit)

    def _convolve(self, x: jax.Array, weight: jax.Array) -> jax.Array:
        strides = tuple(s * p for s, p in zip(self.strides, self.pool, strict=True))
        y = convolve(x.reshape(-1, *self.in_size), weight, strides, self.pads)
        return y.reshape(*x.shape[: -len(self.in_size)], *self.out_size)


def _per_dimension(name: str, size: Size, dimensions: int) -> tuple[int, ...]:
    sizes = as_size("Conv", size, name)
    if len(sizes) not in (1, dimensions):
        raise ShapeError(f"Conv({name}=...) must be one number or {dimensions}, got {size}.")
    return sizes * dimensions if len(sizes) == 1 else sizes
