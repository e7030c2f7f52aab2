"""Which steps are elementwise, and how one is evaluated on a block of elements of any shape.

Every value of such a step has one number per element of the State, or one for all. On a block both are arrays of the
block's shape, and what only arranges axes (`broadcast_in_dim`, `reshape`) does nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jex

CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "custom_jvp_call": "call_jaxpr"}
SAME = frozenset({"broadcast_in_dim", "reshape", "squeeze", "expand_dims", "copy", "copy_p", "stop_gradient"})
ELEMENTWISE = frozenset(
    """abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp convert_element_type cos cosh div eq
    erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow is_finite le log log1p logistic lt max min mul ne neg
    nextafter not or pow reduce_precision rem round rsqrt select_n shift_left shift_right_arithmetic
    shift_right_logical sign sin sinh sqrt square sub tan tanh xor""".split()
)
WHAT = {
    "multiplies matrices": ("dot_general", "conv_general_dilated", "ragged_dot_general"),
    "combines neurons": ("reduce", "cum", "arg", "sort", "top_k", "custom_lin"),
    "moves values between neurons": (
        *("slice", "dynamic", "gather", "scatter", "concatenate", "pad", "rev", "transpose", "roll", "iota", "split"),
        *("broadcast_in_dim", "reshape", "squeeze", "expand_dims"),
    ),
    "draws random numbers": ("random", "threefry", "rng"),
    "loops or branches": ("while", "cond", "scan"),
    "has a derivative in reverse only": ("custom_vjp",),
}

Rewrite = Callable[[Any], Callable[..., Any] | None]


def refusal(jaxpr: Any, shape: tuple[int, ...] | None) -> str | None:
    """Return why an equation of `jaxpr` is not elementwise, as in "multiplies matrices (dot_general)"; None if all are.

    Args:
        jaxpr: the equations of a step.
        shape: that of the elements, to which every value must broadcast; None to look at the operations alone.
    """
    if jaxpr.effects:
        return f"has effects ({', '.join(map(str, jaxpr.effects))})"
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        shapes = [x.aval.shape for x in (*equation.invars, *equation.outvars) if hasattr(x.aval, "shape")]
        if name in CALLS:
            inner = equation.params[CALLS[name]]
            if any(np.size(x) > 1 for x in inner.consts):
                return f"holds an array inside a function ({name})"
            if reason := refusal(inner.jaxpr, shape):
                return reason
        elif name not in ELEMENTWISE | SAME or (name in SAME and not keeps_places(equation)):
            what = next((what for what, names in WHAT.items() if name.startswith(names)), "is no elementwise operation")
            return f"{what} ({name})"
        elif shape is not None and (odd := next((s for s in shapes if not broadcasts(s, shape)), None)):
            return f"has a value of shape {odd} next to State of shape {shape}"
    return None


def broadcasts(shape: Sequence[int], to: Sequence[int]) -> bool:
    """Whether an array of `shape` broadcasts to another."""
    try:
        return np.broadcast_shapes(tuple(shape), tuple(to)) == tuple(to)
    except ValueError:
        return False


def keeps_places(equation: Any) -> bool:
    """Whether every axis longer than one stays where it is, counted from the last."""
    (before, *_), (after,) = (x.aval.shape for x in equation.invars), (x.aval.shape for x in equation.outvars)
    if equation.primitive.name == "broadcast_in_dim":
        axes = equation.params["broadcast_dimensions"]
        return all(n == 1 or len(before) - i == len(after) - axes[i] for i, n in enumerate(before))
    return _long_axes(before) == _long_axes(after)


def _long_axes(shape: Sequence[int]) -> dict[int, int]:
    return {len(shape) - i: n for i, n in enumerate(shape) if n != 1}


def evaluate(
    jaxpr: Any,
    arguments: Sequence[Any],
    block: tuple[int, ...],
    *,
    rewrite: Rewrite = lambda equation: None,
    known: dict[Any, Any] | None = None,
) -> list[Any]:
    """Evaluate an elementwise jaxpr on blocks.

    Args:
        jaxpr: what `refusal` accepts; a closed one.
        arguments: one array of shape `block` per argument, or a number.
        block: the shape; any, as no value leaves its place.
        rewrite: returns the function to use in place of an equation's primitive, or None.
        known: values of variables that need not be computed.
    """
    env: dict[Any, Any] = dict(zip(jaxpr.jaxpr.constvars, map(_number, jaxpr.consts), strict=True))
    env.update(zip(jaxpr.jaxpr.invars, arguments, strict=True))

    def read(x: Any) -> Any:
        if not isinstance(x, jex.Literal):
            return env[x]
        aval: Any = x.aval
        return _number(x.val, aval.dtype)

    for equation in jaxpr.jaxpr.eqns:
        inputs, name = [read(x) for x in equation.invars], equation.primitive.name
        if name in CALLS:
            outputs = evaluate(equation.params[CALLS[name]], inputs, block, rewrite=rewrite)
        elif name in SAME:
            outputs = [inputs[0]]
        else:
            outputs = [_apply(equation, inputs, block, rewrite)]
        env.update(zip(equation.outvars, outputs, strict=True))
        for x in equation.outvars:
            if known and x in known:
                env[x] = known[x]
    return [read(x) for x in jaxpr.jaxpr.outvars]


def _apply(equation: Any, inputs: Sequence[Any], block: tuple[int, ...], rewrite: Rewrite) -> Any:
    inputs = [full(x, block) for x in inputs]
    formula = rewrite(equation)
    if formula is None:
        return equation.primitive.bind(*inputs, **equation.params)
    (like,) = equation.outvars
    traced = jax.make_jaxpr(lambda *x: formula(*x, dtype=like.aval.dtype, **equation.params))(*inputs)
    return evaluate(traced, inputs, block, rewrite=rewrite)[0]


def _number(x: Any, dtype: Any = None) -> Any:
    return np.dtype(dtype or x.dtype).type(np.asarray(x).reshape(()))


def full(x: Any, block: tuple[int, ...]) -> Any:
    """Return a number as a block, and a block as it is."""
    return jnp.broadcast_to(x, block) if jnp.ndim(x) == 0 and block else x


def on_blocks(jaxpr: Any, **options: Any) -> Any:
    """Return an elementwise jaxpr without inner functions, on blocks of an arbitrary shape."""
    block = (128,)
    avals: Sequence[Any] = jaxpr.in_avals
    arguments = [jax.ShapeDtypeStruct(block, x.dtype) for x in avals]
    return jax.make_jaxpr(
        lambda *x: [full(y, block) for y in evaluate(jaxpr, x, block, **options)],
    )(*arguments)
