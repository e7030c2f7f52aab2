r"""Equal formulas for the primitives that a compiler of kernels lacks, in single precision.

A formula is made of primitives which the same compiler has, or of others in this table. Relative errors are those of a
few roundings ($10^{-6}$), but for `pow`, where it is $10^{-7} \, (1 + |y \ln x|)$, and `erf`, where $3 \cdot 10^{-7}$ is
absolute.
"""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax

_TRIGONOMETRIC = {"acos", "acosh", "asin", "asinh", "atan", "atanh", "cbrt", "cosh", "sinh"}
LACKS = {
    "triton": {"erf", "erfc", "is_finite", "reduce_precision", "round"},
    "mosaic": {
        *_TRIGONOMETRIC,
        *(
            "add_any",
            "atan2",
            "ceil",
            "erf",
            "erf_inv",
            "erfc",
            "expm1",
            "floor",
            "is_finite",
            "log1p",
            "nextafter",
            "not",
            "pow",
        ),
        *("reduce_precision", "rem", "sqrt", "tan", "integer_pow", "convert_element_type"),
    },
    "tpu": {*_TRIGONOMETRIC, "erfc", "expm1", "is_finite", "reduce_precision", "sign"},
}


def formula(equation: Any, target: str) -> Callable[..., Any] | None:
    """Return what to evaluate in place of an equation's primitive on a target; None where the target has it.

    Raises:
        NotImplementedError: the target lacks the primitive, and there is no formula for it.
    """
    name = equation.primitive.name
    if name not in LACKS[target]:
        return None
    if name == "integer_pow":  # only negative powers are missing, and only powers to `bool` among the conversions
        return _integer_pow if equation.params["y"] < 0 else None
    if name == "convert_element_type":
        return _is_nonzero if jnp.issubdtype(equation.params["new_dtype"], jnp.bool_) else None
    precision = equation.params.get("exponent_bits"), equation.params.get("mantissa_bits")
    if name not in FORMULAS or (name == "reduce_precision" and precision not in HALF):
        raise NotImplementedError(name)
    return FORMULAS[name]


def _add(x: Any, y: Any, **_: Any) -> Any:
    return x + y


def _integer_pow(x: Any, *, y: int, dtype: Any) -> Any:
    return 1 / lax.integer_pow(x, -y)


def _is_nonzero(x: Any, **_: Any) -> Any:
    return x != 0


def _is_finite(x: Any, **_: Any) -> Any:
    return abs(x) < math.inf


def _not(x: Any, *, dtype: Any) -> Any:
    return lax.bitwise_xor(x, jnp.full_like(x, True if jnp.issubdtype(dtype, jnp.bool_) else -1))


def _sign(x: Any, *, dtype: Any) -> Any:
    return jnp.where(x > 0, jnp.ones_like(x), jnp.where(x < 0, -jnp.ones_like(x), x))


def _floor(x: Any, **_: Any) -> Any:
    near = lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN)
    return near - (near > x).astype(x.dtype)


def _ceil(x: Any, **_: Any) -> Any:
    return -_floor(-x)


def _round(x: Any, *, rounding_method: Any, dtype: Any) -> Any:
    size = abs(x)
    below = jnp.floor(size)
    rest = size - below  # exact
    odd = below - 2 * jnp.floor(below / 2) == 1
    up = (rest > 0.5) | ((rest == 0.5) & odd) if rounding_method == lax.RoundingMethod.TO_NEAREST_EVEN else rest >= 0.5
    near = below + up.astype(x.dtype)
    return jnp.where(x < 0, -near, near)


def _sqrt(x: Any, **_: Any) -> Any:
    return jnp.where((x == 0) | (x == math.inf), x, x * lax.rsqrt(x))


def _expm1(x: Any, **_: Any) -> Any:
    series = jnp.ones_like(x)
    for n in range(9, 1, -1):
        series = 1 + x / n * series
    return jnp.where(abs(x) < 0.35, x * series, jnp.exp(x) - 1)


def _log1p(x: Any, **_: Any) -> Any:
    z = x / (2 + x)  # log(1 + x) = 2 artanh(z)
    series = jnp.full_like(x, 1 / 11)
    for n in range(9, 0, -2):
        series = 1 / n + z * z * series
    return jnp.where(abs(x) < 0.25, 2 * z * series, jnp.log(1 + x))


def _pow(x: Any, y: Any, *, dtype: Any) -> Any:
    y = y.astype(dtype)
    whole, odd = y == jnp.floor(y), y - 2 * jnp.floor(y / 2) == 1
    size = jnp.where(y == 0, 1.0, jnp.exp(y * jnp.log(abs(x))))  # 0 to the power of 0 is one
    signed = jnp.where(odd, -size, size)
    return jnp.where(x < 0, jnp.where(whole, signed, math.nan), size)


def _erf(x: Any, **_: Any) -> Any:
    """Abramowitz and Stegun (1964), 7.1.26, and the series of 7.1.5 for small arguments."""
    size, square = abs(x), x * x
    series = jnp.full_like(x, 1 / 25)
    for n in range(11, -1, -1):
        series = 1 / (2 * n + 1) - square / (n + 1) * series
    t = 1 / (1 + 0.3275911 * size)
    tail = jnp.zeros_like(x)
    for a in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail = t * (a + tail)
    far = 1 - tail * jnp.exp(-square)
    return jnp.where(size < 1, 2 / math.sqrt(math.pi) * x * series, jnp.where(x < 0, -far, far))


def _reduce_precision(x: Any, *, exponent_bits: int, mantissa_bits: int, dtype: Any) -> Any:
    return x.astype(HALF[exponent_bits, mantissa_bits]).astype(dtype)


HALF = {(8, 7): jnp.bfloat16, (5, 10): jnp.float16}
FORMULAS: dict[str, Callable[..., Any]] = {
    "add_any": _add,
    "ceil": _ceil,
    "erf": _erf,
    "expm1": _expm1,
    "floor": _floor,
    "is_finite": _is_finite,
    "log1p": _log1p,
    "not": _not,
    "pow": _pow,
    "reduce_precision": _reduce_precision,
    "round": _round,
    "sign": _sign,
    "sqrt": _sqrt,
}
