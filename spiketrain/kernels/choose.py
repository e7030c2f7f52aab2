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
        reason = loop.refusal(inlined)
        if reason is None and wanted == "fused" and (target := fused.target(jax.default_backend())):
            run = loop.hoisted(inlined, [*arrays, *consts], xs)
            reason = fused.refusal(run.step, target)
            if reason is None:
                options = {"target": target, "residuals": get_residual_dtype()}
                return fused.run(run.step, run.consts, carry, run.xs, length, **options)
            log.info("%s takes the portable loop over time: its step %s.", name, reason)
            reason = None
        if reason is None:
            return loop.run(inlined, [*arrays, *consts], carry, xs, length, residuals=get_residual_dtype())
        log.info("%s takes the plain loop over time: its step %s.", name, reason)
    return loop.scan(Step(closed, n, m), consts, carry, xs, length)
