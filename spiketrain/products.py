"""Products of spikes with weights: in float32, or in bfloat16, in which spikes are exact and weights are split in parts."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint

from spiketrain.errors import DomainError, ShapeError
from spiketrain.mesh import is_whole, on_own_trials

PARTS = {"float32": 0, "bf16x3": 3, "bf16x2": 2, "bf16": 1}


@dataclass(frozen=True)
class SpikeProduct:
    r"""Multiply spikes with a weight matrix, $y = s \, W$, in a stated precision.

    Zeros, ones and other integers up to 256 are exact in bfloat16, so only the weight is split into its leading
    parts, $W \approx W_1 + W_2 + W_3$ of eight bits each, and $s \, W_1 + s \, W_2 + s \, W_3$ is summed in float32.
    For real-valued input every precision but "float32" rounds the input to eight bits, which no check can see: use
    "float32" for products with analog input, normalised spikes, or spikes that dropout has scaled.

    A stock layer takes it as it is: `nnx.Linear(256, 256, dot_general=SpikeProduct("bf16"), rngs=rngs)`.

    Args:
        precision: what errors are allowed, relative to $|s| \, |W|$, besides those of summing in float32.

            - "float32": none.
            - "bf16x3": $2^{-24}$, in three parts.
            - "bf16x2": $2^{-16}$, in two parts.
            - "bf16": $2^{-8}$, in one part.

    The gradient of the weight, $s^T g$, splits the cotangent g in as many parts and has the same errors. That of the
    spikes, $g \, W^T$, splits both sides and has up to four times these errors relative to $|g| \, |W|^T$.
    A CPU has fast products of bfloat16 but not fast enough for several parts: there "bf16x2" and "bf16x3" are
    computed in float32, within their errors. "float32" means the precision of the arrays, so that it keeps float64;
    what runs in parts is of float32.

    What runs in parts can be differentiated in reverse mode any number of times, and not in forward mode; products
    in float32 in both.

    Raises:
        DomainError: the precision is none of these.
        ShapeError: the contraction is not that of the last axis of the spikes with the first one of the weight.

    Reference: Henry, Tang and Heinecke (2019), https://arxiv.org/abs/1904.06376.
    """

    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.precision not in PARTS:
            wanted = ", ".join(f'"{name}"' for name in PARTS)
            raise DomainError(f"`precision` must be one of {wanted}, got {self.precision!r}.")

    def __call__(
        self,
        spikes: Any,
        weight: Any,
        dimension_numbers: Any = None,
        precision: Any = None,
        preferred_element_type: Any = None,
        out_sharding: Any = None,
    ) -> jax.Array:
        """Return the product, with the arguments of `jax.lax.dot_general`.

        Args:
            spikes: `(..., N)`.
            weight: `(N, *out)`.
            dimension_numbers: if given, those of this contraction.
            precision: of products in float32: full unless it or `jax.default_matmul_precision` says otherwise.
            preferred_element_type: the dtype of the result; that of the arrays unless it is given.
            out_sharding: None; how the result is laid over devices follows from how its factors are.
        """
        axes = ((spikes.ndim - 1,), (0,))
        if dimension_numbers is not None:
            asked, batch = (tuple(map(tuple, pair)) for pair in dimension_numbers)
            if asked != axes or batch != ((), ()):
                raise ShapeError(
                    "SpikeProduct contracts the last axis of the spikes with the first one of the weight and has no "
                    f"batch axes, as `nnx.Linear` asks for it, got dimension_numbers={dimension_numbers}."
                )
        if out_sharding is not None:
            raise ShapeError(f"SpikeProduct(out_sharding=...) must be None, got {out_sharding}.")
        dtype = preferred_element_type or jnp.result_type(spikes, weight)

        def product(spikes: Any, weight: Any) -> jax.Array:
            return self._product(spikes, weight, dtype, precision)

        return on_own_trials(product, spikes, weight) if spikes.ndim == 3 else product(spikes, weight)

    def _product(self, spikes: Any, weight: Any, dtype: Any, precision: Any) -> jax.Array:
        axes = ((spikes.ndim - 1,), (0,))
        parts = PARTS[self.precision]
        if parts == 1 or (parts and not on_cpu()):
            y = in_parts(spikes.astype(jnp.float32), weight.astype(jnp.float32), axes, (1, parts))
            return y.astype(dtype)
        precision = full_precision() if precision is None else precision
        spikes, weight = spikes.astype(dtype), weight.astype(dtype)
        if spikes.ndim > 2 and on_cpu() and is_whole():  # the gradient of the weight is faster over one long axis
            long = spikes.reshape(-1, spikes.shape[-1])
            y = lax.dot_general(long, weight, (((1,), (0,)), ((), ())), precision=precision)
            return y.reshape(*spikes.shape[:-1], *weight.shape[1:])
        return lax.dot_general(spikes, weight, (axes, ((), ())), precision=precision)


def full_precision() -> Any:
    """Return that of products of float32: full, since accelerators round weights to ten bits where nothing is said.

    `jax.default_matmul_precision("tensorfloat32")` around a call, or the option of that name, says otherwise.
    """
    config: Any = jax.config
    return None if config.jax_default_matmul_precision else lax.Precision.HIGHEST


def split(x: jax.Array, parts: int) -> list[jax.Array]:
    """Return the leading parts of an array of float32, the largest first, each of bfloat16."""
    x, found = jnp.asarray(x), []
    for _ in range(parts - 1):
        # compilers take out a conversion there and back, which would leave a rest of zero
        part = lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)
        found.append(part)
        x = x - part
    return [part.astype(jnp.bfloat16) for part in (*found, x)]


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def in_parts(a: jax.Array, b: jax.Array, axes: Any, parts: tuple[int, int]) -> jax.Array:
    """Contract two arrays of float32 along `axes`, each split in so many parts; its gradient is made of the same.

    A side of one part is exact, or as coarse as the other one. Products of parts below the error are left out.
    """
    a_parts, b_parts = split(a, parts[0]), split(b, parts[1])
    pairs = [(i, j) for i in range(parts[0]) for j in range(parts[1]) if i + j < max(parts)]
    pairs.sort(key=sum, reverse=True)  # the small ones first
    y = _contract(a_parts[pairs[0][0]], b_parts[pairs[0][1]], axes)
    for i, j in pairs[1:]:
        y = y + _contract(a_parts[i], b_parts[j], axes)
    return y


def _forward(a: jax.Array, b: jax.Array, axes: Any, parts: tuple[int, int]) -> tuple[jax.Array, Any]:
    return in_parts(a, b, axes, parts), (a, b)


def _backward(axes: Any, parts: tuple[int, int], arrays: Any, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    a, b = arrays
    a_free, b_free = _free(a, axes[0]), _free(b, axes[1])
    of_a, of_b = tuple(range(len(a_free))), tuple(range(len(a_free), g.ndim))
    finest = max(parts)
    da = in_parts(g, b, (of_b, b_free), (finest, parts[1]))
    db = in_parts(a, g, (a_free, of_a), (parts[0], finest))
    # the axes that were contracted come in order, last in da and first in db
    places_a = (*a_free, *(axes[0][k] for k in _order(axes[1])))
    places_b = (*(axes[1][k] for k in _order(axes[0])), *b_free)
    return da.transpose(_order(places_a)), db.transpose(_order(places_b))


in_parts.defvjp(_forward, _backward)


def _contract(a: jax.Array, b: jax.Array, axes: Any) -> jax.Array:
    """Contract two arrays of bfloat16 in float32."""
    if not on_cpu():
        return lax.dot_general(a, b, (axes, ((), ())), preferred_element_type=jnp.float32)
    # XLA takes a transposition into the product, which is then slow, or, of the result, has no code for bfloat16
    a_free, b_free = _free(a, axes[0]), _free(b, axes[1])
    length = [a.shape[k] for k in axes[0]]
    rows, columns = [a.shape[k] for k in a_free], [b.shape[k] for k in b_free]
    a = _by_rows(a.transpose(*a_free, *axes[0]).reshape(math.prod(rows), math.prod(length)))
    b = b.transpose(*axes[1], *b_free).reshape(math.prod(length), math.prod(columns))
    return _by_rows(lax.dot(a, b, preferred_element_type=jnp.float32)).reshape(*rows, *columns)


def on_cpu() -> bool:
    """Whether the program that is being traced runs on a CPU, unless it is sent to another device than the default."""
    return jax.default_backend() == "cpu"


def _by_rows(x: jax.Array) -> jax.Array:
    """Have a matrix lie in memory row by row."""
    return with_layout_constraint(x, Layout((0, 1)))


def _free(x: jax.Array, axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(k for k in range(x.ndim) if k not in axes)


def _order(places: tuple[int, ...]) -> list[int]:
    return sorted(range(len(places)), key=places.__getitem__)
