"""Which loop runs a step."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import jax

from spiketrain.environ import get_loop, get_residual_dtype
from spiketrain.kernels import fused, loop
from spiketrain.kernels.step import Step, inline

log = logging.getLogger("spiketrain")
Arrays = Sequence[Any]


def over_time(
    name: str, step: Callable[..., Any], consts: Arrays, carry: Arrays, xs: Arrays, length: int
) -> tuple[list[Any], list[Any]]:
    """Run `step(consts, carry, x) -> (carry, y)`, all flat lists, and return the last carry and the trains of y.

    Args:
        name: whose step it is, for the log.
        step: the function of one step, traced once.
        consts: what does not change.
        carry: what is handed from step to step.
        xs: the trains of x.
        length: the number of steps.
    """
    consts, carry, xs = list(consts), list(carry), list(xs)
    n, m = len(consts), len(carry)

    def flat(*a: Any) -> list[Any]:
        after, y = step(a[:n], a[n : n + m], a[n + m :])
        return [*after, *y]

    closed = jax.make_jaxpr(flat)(*consts, *carry, *[jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in xs])
    wanted = get_loop()
    if wanted != "scan" and length:
        inlined, arrays = inline(closed, n, m)
        given, residuals = [*arrays, *consts], get_residual_dtype()
        reason = loop.refusal(inlined)
        if reason is None and wanted == "fused" and (target := fused.target(jax.default_backend())):
            run = loop.hoisted(inlined, given, xs)
            misfit = fused.refusal(run.step, target)
            if misfit is None:
                return fused.run(run.step, run.consts, carry, run.xs, length, target=target, residuals=residuals)
            log.info("%s takes the portable loop over time: its step %s.", name, misfit)
        if reason is None:
            return loop.run(inlined, given, carry, xs, length, residuals=residuals)
        log.info("%s takes the plain loop over time: its step %s.", name, reason)
    return loop.scan(Step(closed, n, m), consts, carry, xs, length)
