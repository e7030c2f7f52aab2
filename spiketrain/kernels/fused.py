"""One kernel for any elementwise dynamics: a neuron, a synapse, or both behind each other.

The State stays in registers over time, and the kernel evaluates the model's own step; the backward kernel evaluates the
transposed derivative of that step in reverse. Nothing is written by hand per neuron.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from spiketrain.kernels import elementwise
from spiketrain.kernels.elementwise import on_blocks
from spiketrain.kernels.fused_kernel import Kernel
from spiketrain.kernels.fused_pullback import pullback, tangent
from spiketrain.kernels.fused_rewrites import formula
from spiketrain.kernels.step import Step


def target(platform: str) -> str | None:
    """Return which compiler of kernels serves a platform: "triton", "mosaic" (GPU) or "tpu"; None on a CPU.

    Triton where this jax still has it, Mosaic GPU after that.
    """
    if platform == "tpu":
        return "tpu"
    if platform not in ("gpu", "cuda", "rocm"):
        return None
    try:
        from jax.experimental.pallas import triton  # noqa: F401
    except ImportError:
        return None if platform == "rocm" else "mosaic"
    return "triton"


def refusal(step: Step, target: str) -> str | None:
    """Return why a step does not fit into the kernel, such as "multiplies matrices (dot_general)"; None if it fits.

    A step fits where every value has one number per element of the State, or one for all: no products of matrices,
    sums, slices, random numbers or loops, neither in the step nor in its derivative; and where the target has each
    primitive, or there is an equal formula for it.

    Args:
        step: one time step.
        target: "triton", "mosaic" or "tpu".
    """
    shape = element_shape(step)
    if not step.n_carry:
        return "has no State"
    if reason := elementwise.refusal(step.jaxpr.jaxpr, None):
        return reason
    if shape is None:
        return f"has values of unrelated shapes ({', '.join(map(str, dict.fromkeys(_shapes(step))))})"
    if not all(shape):
        return "has State without elements"
    if reason := elementwise.refusal(step.jaxpr.jaxpr, shape):
        return reason
    derivative = tangent(step.jaxpr)
    if reason := elementwise.refusal(derivative.jaxpr.jaxpr, shape):
        return f"{reason} in its derivative"
    programs = [on_blocks(step.jaxpr)]
    everything = (set(derivative.arguments), set(derivative.results))
    if all(everything):
        programs.append(pullback(derivative, step.n_consts, step.n_carry, *everything).jaxpr)
    for equation in (equation for program in programs for equation in program.jaxpr.eqns):
        wide = [x.aval.dtype for x in equation.outvars if x.aval.dtype.itemsize > 4]
        if wide:
            return f"computes in {wide[0]}"
        try:
            formula(equation, target)
        except NotImplementedError as error:
            return f"needs {error}, which {target} does not have"
    return None


def run(
    step: Step,
    consts: Sequence[Any],
    carry: Sequence[Any],
    xs: Sequence[Any],
    length: int,
    *,
    target: str,
    residuals: Any = None,
    interpret: bool = False,
) -> tuple[list[Any], list[Any]]:
    r"""Scan a step over time in one kernel: what `lax.scan` of the step returns, equal to rounding.

    Differentiable in reverse with respect to `consts`, `carry` and `xs`. The forward pass saves the State at every step
    and nothing else, and only where a gradient is asked for; the backward pass reads it, the cotangents of the outputs
    and those inputs that the derivative depends on, such as conductances. What no gradient is asked for costs nothing.
    Forward mode, and so a second derivative, is refused by jax.

    Exact but for the order of rounding, and for the errors of `fused_rewrites`. Not yet run on a GPU or TPU: lowering
    for both is tested, values are tested in interpret mode.

    Args:
        step: one time step, for which `refusal` is None.
        consts: what does not change; each broadcasts to the State.
        carry: the State at the start.
        xs: trains `(T, ...)` of inputs.
        length: T.
        target: which compiler makes the kernel; see `target`.
        residuals: the dtype in which the State is saved for the backward pass, `jnp.bfloat16` to halve the memory; its
            own unless it is given. Outputs do not change. State is rounded by up to $2^{-9}$ of itself, which changes
            the gradient about as much: below one percent in the tests, two percent for parameters that multiply the
            State after a reset. State that is compared with a threshold on the way back through time, as in a hard
            reset and a refractory period, is saved as it is, since a spike that tips over is no small error.
        interpret: evaluate the kernel without compiling it, on any device; for tests.

    Returns:
        The last carry, and the trains of outputs.

    Reference: Neftci, Mostafa and Zenke (2019), https://arxiv.org/abs/1901.09948, for surrogate gradients through time.
    """
    shape = element_shape(step)
    if shape is None:
        raise ValueError("fused.run takes a step for which `refusal` is None.")
    avals = step.jaxpr.out_avals
    if length == 0:
        return list(carry), [jnp.zeros((0, *y.shape), y.dtype) for y in avals[step.n_carry :]]
    last, ys = Kernel(step, length, math.prod(shape), target, residuals, interpret)(
        [_flat(x, shape, 0, number=True) for x in consts],
        [_flat(x, shape, 0) for x in carry],
        [_flat(x, shape, 1, number=True) for x in xs],
    )
    last = [_unflat(x, shape, like) for x, like in zip(last, avals, strict=False)]
    return last, [_unflat(y, shape, like) for y, like in zip(ys, avals[step.n_carry :], strict=True)]


def element_shape(step: Step) -> tuple[int, ...] | None:
    """Return the shape to which State, inputs and outputs of one step broadcast; None where they do not."""
    try:
        return np.broadcast_shapes(*_shapes(step))
    except ValueError:
        return None


def _shapes(step: Step) -> list[tuple[int, ...]]:
    return [x.shape for x in (*step.jaxpr.in_avals[step.n_consts :], *step.jaxpr.out_avals)]


def _flat(x: Any, shape: tuple[int, ...], leading: int, *, number: bool = False) -> Any:
    """Return `(*leading, E)`, or `(*leading, 1)` where one number will do; the kernel stores integers for `bool`."""
    x = jnp.asarray(x)
    x = x.astype(jnp.int32) if x.dtype == bool else x
    head, tail = x.shape[:leading], x.shape[leading:]
    if number and all(n == 1 for n in tail):
        return x.reshape(*head, 1)
    x = x.reshape(*head, *[1] * (len(shape) - len(tail)), *tail)
    return jnp.broadcast_to(x, (*head, *shape)).reshape(*head, -1)


def _unflat(x: Any, shape: tuple[int, ...], like: Any) -> Any:
    """Return a flat array, or a flat train, in the shape and dtype of one step's value."""
    head, missing = x.shape[:-1], len(shape) - len(like.shape)
    narrow = (1,) * missing + like.shape
    x = x.reshape(*head, *shape)
    x = x[(..., *(slice(n) for n in narrow))] if narrow else x
    return x.reshape(*head, *like.shape).astype(like.dtype)
