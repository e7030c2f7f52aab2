r"""The loop over time as a training step wants it: it keeps the State of every step, and nothing else.

Forward, the trains of State take the place of the trains of input where no one needs those any more. Backward, a loop
in reverse evaluates the transposed derivative of one step from the State before and after it, and the cotangents of
the inputs take the place of those of the outputs. Of a product with a weight only the cotangent of its result is
kept; that of the weight is one product over the whole trial, after the loop.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from spiketrain.kernels.backward import Backward
from spiketrain.kernels.elementwise import ELEMENTWISE, SAME
from spiketrain.kernels.march import march, packed
from spiketrain.kernels.step import Step, hoist, multiplies
from spiketrain.kernels.trial import tangents_of

Arrays = Sequence[Any]
ALLOWED = ELEMENTWISE | SAME | {"reduce_sum", "reduce_max", "reduce_min", "slice", "concatenate", "transpose", "iota"}


def refusal(step: Step) -> str | None:
    """Return why a loop that keeps its State cannot go back by that alone; None where it can."""
    jaxpr = step.jaxpr.jaxpr
    if jaxpr.effects:
        return "has effects"
    if not step.n_carry:
        return "has no State"
    _, carry, _ = step.split(jaxpr.invars)
    for x in (*carry, *jaxpr.outvars):
        if not jnp.issubdtype(x.aval.dtype, jnp.floating):
            return f"has State or output of dtype {x.aval.dtype}"
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name not in ALLOWED and name != "custom_jvp_call" and not multiplies(equation):
            return f"contains {name}"
    return None


def scan(step: Step, consts: Arrays, carry: Arrays, xs: Arrays, length: int) -> Any:
    """Return the last carry and the trains of output: the reference that every faster loop equals."""
    return jax.lax.scan(lambda carry, x: step(consts, carry, x), list(carry), list(xs), length)


def run(step: Step, consts: Arrays, carry: Arrays, xs: Arrays, length: int, *, residuals: Any = None) -> Any:
    """Return the last carry and the trains of output, as `scan` does, with a backward pass of its own.

    Args:
        step: one for which `refusal` is None.
        consts: what does not change.
        carry: the State at the start.
        xs: trains of input.
        length: the number of steps, at least one.
        residuals: the dtype in which State is kept for the backward pass; its own unless it is given.
    """
    step, consts, xs = hoisted(step, consts, xs)
    if residuals is not None and all(x.dtype.itemsize <= jnp.dtype(residuals).itemsize for x in carry):
        residuals = None

    @jax.custom_jvp
    def loop(*arguments: Any) -> Any:
        return scan(step, *step.split(arguments), length)

    def rule(primals: Any, tangents: Any) -> Any:
        moving = tuple(i for i, t in enumerate(tangents) if not isinstance(t, SymbolicZero))
        back = Backward.of(step, moving)
        last, ys, states = _keeping(step, back, *step.split(primals), length, residuals)
        out = tangents_of(back, length, primals, states, [tangents[i] for i in moving], (*last, *ys), residuals)
        return (last, ys), (out[: len(last)], out[len(last) :])

    loop.defjvp(rule, symbolic_zeros=True)
    return loop(*consts, *carry, *xs)


class Ready(NamedTuple):
    """A step with what was taken out of the loop, and the consts and trains that it takes."""

    step: Step
    consts: list[Any]
    xs: list[Any]


def hoisted(step: Step, consts: Arrays, xs: Arrays) -> Ready:
    """Take out of the loop what need not be in it."""
    found = hoist(step)
    return Ready(found.step, found.consts(consts), found.xs(consts, xs))


def _keeping(
    step: Step, back: Backward, consts: Arrays, carry: Arrays, xs: Arrays, length: int, residuals: Any
) -> tuple[list[Any], list[Any], list[Any]]:
    """Run the loop; return the last carry, the outputs, and the State of every step that the way back reads."""
    first_x = step.n_consts + step.n_carry
    spare = [first_x + i not in back.reads for i in range(len(xs))]
    emit = None if residuals else _emission_after(back, length)

    def one(t: Any, carry: list[Any], x: list[Any]) -> Any:
        carry, y = step(consts, carry, x)
        return carry, [*(packed(carry[i], residuals) for i in back.keeps), *([] if emit else y)]

    last, trains = march(one, list(carry), list(xs), spare, range(length))
    states, ys = trains[: len(back.keeps)], trains[len(back.keeps) :]
    return last, emit(consts, states) if emit else ys, states


def _emission_after(back: Backward, length: int) -> Any:
    """Return the outputs as a function of consts and of the kept State after the step; None where they need more.

    Such outputs are made of whole trains after the loop, on all cores.
    """
    m = back.step.n_carry
    needed = {i for i, is_used in enumerate(back.emits.used[-m:]) if is_used}
    if len(back.emitted) != len(back.step.jaxpr.jaxpr.outvars) - m or not needed <= {*back.keeps}:
        return None

    def emit(consts: Arrays, states: Arrays) -> list[Any]:
        after = dict(zip(back.keeps, states, strict=True))
        axes = [None] * len(consts) + [0] * m
        return back.emits.over_time([*consts, *(after.get(i) for i in range(m))], axes, length)

    return emit
