"""A convolution in the forms that XLA runs fast: on a CPU, the batch in pieces and no stride in the gradient."""

import math
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from spiketrain.mesh import is_whole
from spiketrain.products import full_precision, on_cpu

Pads = tuple[tuple[int, int], ...]

# On a CPU a convolution writes every neighbourhood out, its forward pass where there are many features. What is larger
# than this is memory that the allocator fetches from the system anew on every call, which takes longer than the products.
PIECE_BYTES = 2**23
MOST_PIECES = 16
MANY_FEATURES = 32


def convolve(x: jax.Array, weight: jax.Array, strides: tuple[int, ...], pads: Pads) -> jax.Array:
    """Correlate `(N, *space, C)` with `(*kernel, C, features)`, zeros put at both edges of every dimension first."""
    return _on_cpu(x, weight, strides, pads) if on_cpu() else _plain(x, weight, strides, pads)


def average_over(weight: jax.Array, strides: tuple[int, ...], pool: tuple[int, ...]) -> jax.Array:
    """Return the kernel whose convolution is that of `weight` with `strides`, averaged over windows of `pool`.

    Within a window the kernel stands at distances of a stride, so its copies there are averaged.
    """
    reach = [s * (p - 1) for s, p in zip(strides, pool, strict=True)]
    copies = []
    for place in product(*map(range, pool)):
        shift = [s * k for s, k in zip(strides, place, strict=True)]
        edges = [(low, far - low) for low, far in zip(shift, reach, strict=True)]
        copies.append(jnp.pad(weight, [*edges, (0, 0), (0, 0)]))
    return sum(copies[1:], copies[0]) / math.prod(pool)


def _plain(x: jax.Array, weight: jax.Array, strides: tuple[int, ...], pads: Pads) -> jax.Array:
    space = "DHW"[-len(strides) :]
    layout = (f"N{space}C", f"{space}IO", f"N{space}C")
    return lax.conv_general_dilated(x, weight, strides, pads, dimension_numbers=layout, precision=full_precision())


@partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _on_cpu(x: jax.Array, weight: jax.Array, strides: tuple[int, ...], pads: Pads) -> jax.Array:
    form = _in_pieces if weight.shape[-1] >= MANY_FEATURES else _plain
    return form(x, weight, strides, pads)


@partial(_on_cpu.defjvp, symbolic_zeros=True)
def _jvp(strides: tuple[int, ...], pads: Pads, primals: Any, tangents: Any) -> tuple[jax.Array, Any]:
    # Linear in both, so the gradient transposes this: that of the input by blocks, that of the weight as it is.
    # The input of a first layer has no tangent, and its gradient is never computed.
    (x, weight), (dx, dweight) = primals, tangents
    y = _on_cpu(x, weight, strides, pads)
    by_input = None if isinstance(dx, SymbolicZero) else _by_blocks(dx, weight, strides, pads)
    by_weight = None if isinstance(dweight, SymbolicZero) else _in_pieces(x, dweight, strides, pads)
    parts = [part for part in (by_input, by_weight) if part is not None]
    return y, sum(parts[1:], parts[0]) if parts else jnp.zeros_like(y)


def _in_pieces(x: jax.Array, weight: jax.Array, strides: tuple[int, ...], pads: Pads) -> jax.Array:
    """Convolve one piece of the batch after the other."""
    out = jax.eval_shape(lambda x, weight: _plain(x, weight, strides, pads), x, weight)
    written = math.prod(out.shape[:-1]) * math.prod(weight.shape[:-1]) * out.dtype.itemsize
    pieces = min(-(-written // PIECE_BYTES), MOST_PIECES, len(x))
    if pieces <= 1 or not is_whole():  # a batch that is divided over devices is in pieces as it is
        return _plain(x, weight, strides, pads)
    return jnp.concatenate([_plain(piece, weight, strides, pads) for piece in jnp.array_split(x, pieces)])


def _by_blocks(x: jax.Array, weight: jax.Array, strides: tuple[int, ...], pads: Pads) -> jax.Array:
    """Convolve without a stride: what lies within one becomes channels, of the input and of the kernel.

    The transpose of a convolution with stride has holes in its input, for which XLA has no fast code.
    """
    space, kernel = x.shape[1:-1], weight.shape[: len(strides)]
    edges_x, edges_w = [], []
    for n, k, s, (low, high) in zip(space, kernel, strides, pads, strict=True):
        blocks = -(-k // s)
        places = (n + low + high - k) // s + 1
        # up to a whole number of blocks; what no place of the output sees is cut off
        edges_x.append((low, s * (places + blocks - 1) - n - low, 0))
        edges_w.append((0, s * blocks - k, 0))
    still, zero = (0, 0, 0), jnp.zeros((), x.dtype)
    x = lax.pad(x, zero, [still, *edges_x, still])
    weight = lax.pad(weight, zero, [*edges_w, still, still])
    x, weight = _blocks(x, strides, 1), _blocks(weight, strides, 0)
    return _plain(x, weight, (1,) * len(strides), ((0, 0),) * len(strides))


def _blocks(x: jax.Array, strides: tuple[int, ...], first: int) -> jax.Array:
    """Cut the dimensions of space, the first of which is `first`, into blocks, and put each block into the channels."""
    dimensions = len(strides)
    space = x.shape[first : first + dimensions]
    cut = [m for n, s in zip(space, strides, strict=True) for m in (n // s, s)]
    x = x.reshape(*x.shape[:first], *cut, *x.shape[first + dimensions :])
    outer = [first + 2 * k for k in range(dimensions)]
    inner = [k + 1 for k in outer]
    x = x.transpose(*range(first), *outer, *inner, *range(first + 2 * dimensions, x.ndim))
    kept = x.shape[: first + dimensions]
    channels = math.prod(x.shape[first + dimensions : first + 2 * dimensions + 1])
    return x.reshape(*kept, channels, *x.shape[first + 2 * dimensions + 1 :])
