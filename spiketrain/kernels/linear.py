"""A linear function whose transpose is written by hand, at home in every transformation of jax."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core as jex
from jax.interpreters import ad, batching, mlir

Function = Callable[[list[Any], list[Any]], list[Any]]


class Linear(NamedTuple):
    """A function `apply(residuals, tangents)`, linear in the tangents, and `transpose(residuals, cotangents)`.

    A cotangent that is known to be zero arrives as None. Second derivatives follow `apply`.

    Attributes:
        apply: the function.
        transpose: its transpose.
        tangents: shape and dtype of every tangent.
        outs: the same of every result of `apply`.
    """

    apply: Function
    transpose: Function
    tangents: tuple[Any, ...]
    outs: tuple[Any, ...]

    def __call__(self, residuals: Sequence[Any], tangents: Sequence[Any]) -> list[Any]:
        """Return `apply(residuals, tangents)`; reverse mode runs `transpose`."""
        return _linear.bind(*residuals, *tangents, functions=self, n=len(residuals), known=None)


def _run(*operands: Any, functions: Linear, n: int, known: tuple[bool, ...] | None) -> list[Any]:
    residuals, given = list(operands[:n]), list(operands[n:])
    if known is None:
        return list(functions.apply(residuals, given))
    rest = iter(given)
    return list(functions.transpose(residuals, [next(rest) if k else None for k in known]))


def _plain(*operands: Any, functions: Linear, n: int, known: tuple[bool, ...] | None) -> list[Any]:
    """Do what `_run` does through `apply` alone, which jax differentiates."""
    if known is None:
        return _run(*operands, functions=functions, n=n, known=known)
    residuals, rest = list(operands[:n]), iter(operands[n:])
    zeros = [jnp.zeros(x.shape, x.dtype) for x in functions.tangents]
    outs, pull = jax.vjp(lambda t: list(functions.apply(residuals, t)), zeros)
    return pull([next(rest) if k else jnp.zeros_like(y) for k, y in zip(known, outs, strict=True)])[0]


def _abstract(*operands: Any, functions: Linear, n: int, known: Any) -> list[Any]:
    return [jax.core.ShapedArray(x.shape, x.dtype) for x in (functions.outs if known is None else functions.tangents)]


def _jvp(primals: Any, tangents: Any, **params: Any) -> Any:
    n, out = params["n"], _linear.bind(*primals, **params)
    moving = [i for i, t in enumerate(tangents) if not isinstance(t, ad.Zero)]
    if all(i >= n for i in moving):
        return out, _linear.bind(*primals[:n], *map(ad.instantiate_zeros, tangents[n:]), **params)

    def of_moving(*x: Any) -> Any:
        given = list(primals)
        for i, value in zip(moving, x, strict=True):
            given[i] = value
        return _plain(*given, **params)

    return out, jax.jvp(of_moving, [primals[i] for i in moving], [tangents[i] for i in moving])[1]


def _transpose(cotangents: Any, *operands: Any, functions: Linear, n: int, known: tuple[bool, ...] | None) -> Any:
    if known is None:
        known = tuple(not isinstance(ct, ad.Zero) for ct in cotangents)
        given = [ct for ct in cotangents if not isinstance(ct, ad.Zero)]
        pulled = _linear.bind(*operands[:n], *given, functions=functions, n=n, known=known)
    else:
        out = functions(operands[:n], list(map(ad.instantiate_zeros, cotangents)))
        pulled = [x for x, k in zip(out, known, strict=True) if k]
    return [None] * n + list(pulled)


def _batch(operands: Any, axes: Any, *, functions: Linear, n: int, known: tuple[bool, ...] | None) -> Any:
    [size] = {x.shape[axis] for x, axis in zip(operands, axes, strict=True) if axis is not None}
    moved = [
        jnp.broadcast_to(x, (size, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)
        for x, axis in zip(operands, axes, strict=True)
    ]
    wide = [
        tuple(jax.ShapeDtypeStruct((size, *x.shape), x.dtype) for x in group)
        for group in (functions.tangents, functions.outs)
    ]
    batched = Linear(jax.vmap(functions.apply), jax.vmap(functions.transpose), *wide)
    outs = _linear.bind(*moved, functions=batched, n=n, known=known)
    return outs, [0] * len(outs)


_linear = jex.Primitive("loop_over_time")
_linear.multiple_results = True
_linear.def_impl(lambda *operands, **params: jax.jit(lambda *x: _run(*x, **params))(*operands))
_linear.def_abstract_eval(_abstract)
ad.primitive_jvps[_linear] = _jvp
ad.primitive_transposes[_linear] = _transpose
batching.primitive_batchers[_linear] = _batch
mlir.register_lowering(_linear, mlir.lower_fun(_run, multiple_results=True))
