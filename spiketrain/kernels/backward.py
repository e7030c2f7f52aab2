r"""The way back through a loop over time, derived from the equations of one step.

With the State $S_t$ after step t, $S_t = F(S_{t-1}, x_t)$, and outputs $y_t = E(S_t)$, the adjoint
$\lambda_t = dL / dS_t$ runs backward:

$$\lambda_t = E'(S_t)^T \, \bar y_t + F'_S(S_t, x_{t+1})^T \, \lambda_{t+1}$$

and everything else follows from it step by step: $\bar x_t = F'_x(S_{t-1}, x_t)^T \lambda_t$, and likewise for weights
and parameters. So the loop holds one expression; what is not that simple is computed after it, for all steps at once.
Outputs that are no function of the State after the step enter with the second term.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core as jex

from spiketrain.kernels.step import (
    Pruned,
    Step,
    apply,
    evaluate,
    is_variable,
    leading_to,
    multiplies,
    pruned,
    read,
    variables,
)

Arrays = Sequence[Any]


@jax.custom_jvp
def _known(x: Any, value: Any) -> Any:
    """Return `value`, which is what x would be, with the derivative of x: x itself need not be computed."""
    return value


@_known.defjvp
def _known_jvp(primals: Any, tangents: Any) -> Any:
    return primals[1], tangents[0]


class Backward(NamedTuple):
    """What the gradient of a loop needs. All `Pruned` start from `[*arguments of the step, *State after it]`.

    Attributes:
        step: the step, hoisted.
        moving: the places, among the step's arguments, of those to which a gradient goes.
        steady: those of them that are no State.
        products: the places, among its equations, of products with a weight to which a gradient goes.
        emitted: the places, among the outputs, of functions of the State after the step.
        emits: these functions.
        adjoint: with lambda of the next step, the cotangents of the outputs that are not emitted there, and those of the
            emitted outputs here: lambda of this step. Its arguments are those of the next step.
        direct: with lambda: the cotangents of steady places and of results of products that lambda alone determines.
        later: with lambda and the cotangents of all outputs: the other ones.
        directs: which of all these cotangents are direct, by place; equal ones share a place among the results.
        laters: the places of the other ones.
        sources: for each product, what its weight is multiplied with.
        reads: the places of the arguments that all this reads; of the State, its start is meant.
        keeps: the places, among the State, of what has to be kept at every step.
    """

    step: Step
    moving: tuple[int, ...]
    steady: tuple[int, ...]
    products: tuple[int, ...]
    emitted: tuple[int, ...]
    emits: Pruned
    adjoint: Pruned
    direct: Pruned
    later: Pruned
    directs: dict[int, int]
    laters: tuple[int, ...]
    sources: tuple[Pruned, ...]
    reads: tuple[int, ...]
    keeps: tuple[int, ...]

    @classmethod
    def of(cls, step: Step, moving: tuple[int, ...]) -> "Backward":
        """Derive it from the step's equations."""
        jaxpr, n, m = step.jaxpr.jaxpr, step.n_consts, step.n_carry
        avals, outs = [x.aval for x in jaxpr.invars], [x.aval for x in jaxpr.outvars]
        state, total = outs[:m], len(avals)
        steady = tuple(i for i in moving if not n <= i < n + m)
        weights = {jaxpr.invars[i] for i in steady if i < n}
        products = tuple(
            i for i, e in enumerate(jaxpr.eqns) if multiplies(e) and any(x in weights for x in variables(e))
        )
        emitted, emit = _emission(step)
        others = tuple(i for i in range(len(outs) - m) if i not in emitted)

        def adjoint(*values: Any) -> list[Any]:
            given, after, rest = cut(values, total, m)
            ahead, y_ahead, y_here = rest[:m], rest[m : m + len(others)], rest[m + len(others) :]
            wanted = [*range(m), *(m + i for i in others)]  # a zero for the rest would take the whole way back
            back = jax.vjp(lambda S: outputs(step, [*given[:n], *S, *given[n + m :]], after, wanted), given[n : n + m])
            [through] = back[1]([*ahead, *y_ahead])
            [here] = jax.vjp(lambda S: emit(given[:n], S), given[n : n + m])[1](y_here)
            return [a + b for a, b in zip(here, through, strict=True)]

        def local(*values: Any) -> list[Any]:
            given, after, cotangents = cut(values, total, m)
            taps = [jnp.zeros(x.aval.shape, x.aval.dtype) for i in products for x in jaxpr.eqns[i].outvars]

            def f(moved: Arrays, taps: Arrays) -> list[Any]:
                now = list(given)
                for i, x in zip(steady, moved, strict=True):
                    now[i] = x
                found = outputs(step, now, after, still=(products, weights, given, taps))
                for i, y in zip(emitted, emit(now[:n], after), strict=True):
                    found[m + i] = y  # with the State held: what reaches it through the State is part of lambda
                return found

            to_steady, to_taps = jax.vjp(f, [given[i] for i in steady], taps)[1](cotangents)
            return [*to_steady, *to_taps]

        arguments = [*avals, *state]
        traced = pruned(local, *arguments, *outs)
        directs, laters = _sorted(traced, [i >= n for i in steady] + [True] * len(products), n, total, m)
        places = sorted(set(directs.values()))
        direct = pruned(lambda *v: [traced(*v)[i] for i in places], *arguments, *outs)
        later = pruned(lambda *v: [traced(*v)[i] for i in laters], *arguments, *outs)
        back = pruned(adjoint, *arguments, *state, *(outs[m + i] for i in others), *(outs[m + i] for i in emitted))
        sources = tuple(
            pruned(lambda *v, i=i: _operands(step, v[:total], v[total:], i, weights), *arguments) for i in products
        )
        reads, keeps = _residuals(step, moving, products, back, later, sources)
        emits = pruned(lambda *v: emit(list(v[:n]), list(v[n:])), *avals[:n], *state)
        directs = {i: places.index(place) for i, place in directs.items()}
        return cls(
            step, moving, steady, products, emitted, emits, back, direct, later, directs, laters, sources, reads, keeps
        )


def _emission(step: Step) -> tuple[tuple[int, ...], Any]:
    """Return which outputs are functions of consts and the State after the step alone, and these functions."""
    jaxpr, m = step.jaxpr.jaxpr, step.n_carry
    after = [x for x in jaxpr.outvars[:m] if is_variable(x)]
    equations = [e for e in jaxpr.eqns if not any(x in after for x in e.outvars)]
    given = {*step.split(jaxpr.invars)[0], *after}

    def is_emitted(y: Any) -> bool:
        leading = leading_to([y], equations)
        made = {x for e in leading for x in e.outvars}
        needed = {x for e in leading for x in variables(e)} | ({y} if is_variable(y) else set())
        return needed <= given | made and not any(map(multiplies, leading))

    emitted = tuple(i for i, y in enumerate(jaxpr.outvars[m:]) if is_emitted(y))
    ys = [jaxpr.outvars[m + i] for i in emitted]
    leading = leading_to(ys, equations)

    def emit(consts: Arrays, state: Arrays) -> list[Any]:
        env = dict(zip(step.split(jaxpr.invars)[0], consts, strict=True))
        env |= {x: S for x, S in zip(jaxpr.outvars[:m], state, strict=True) if is_variable(x)}
        evaluate(env, leading)
        return [jnp.asarray(read(env, y)) for y in ys]

    return emitted, emit


def outputs(
    step: Step, values: Arrays, after: Arrays, wanted: Sequence[int] | None = None, still: Any = ((), (), (), ())
) -> list[Any]:
    """Evaluate a step whose State after it is known.

    Args:
        step: the step.
        values: its arguments.
        after: the State after it.
        wanted: the places of the results to return, State first; all unless they are given.
        still: places of products, their weights, the arguments in which these do not move, and what is added to each.
    """
    results = step.jaxpr.jaxpr.outvars
    env = _evaluated(step, values, after, still)
    return [read(env, results[i]) for i in (range(len(results)) if wanted is None else wanted)]


def _evaluated(
    step: Step, values: Arrays, after: Arrays, still: Any = ((), (), (), ()), until: int | None = None
) -> dict[Any, Any]:
    jaxpr = step.jaxpr.jaxpr
    env = dict(zip(jaxpr.invars, values, strict=True))
    known = {x: v for x, v in zip(jaxpr.outvars, after, strict=False) if is_variable(x) and x not in env}
    products, weights, given, taps = still
    fixed, taps = dict(zip(jaxpr.invars, given, strict=False)), iter(taps)
    for i, equation in enumerate(jaxpr.eqns[:until]):
        if i in products:
            operands = [fixed[x] if is_variable(x) and x in weights else read(env, x) for x in equation.invars]
            outputs = [y + next(taps) for y in apply(equation, operands)]
        else:
            outputs = apply(equation, [read(env, x) for x in equation.invars])
        env.update(zip(equation.outvars, outputs, strict=True))
        env.update((x, _known(env[x], known[x])) for x in equation.outvars if x in known)
    return env


def _operands(step: Step, arguments: Arrays, after: Arrays, i: int, weights: Any) -> list[Any]:
    """Return what the weights of a product are multiplied with."""
    env = _evaluated(step, arguments, after, until=i)
    return [env[x] for x in others(step.jaxpr.jaxpr.eqns[i], weights)]


def _residuals(
    step: Step, moving: Arrays, products: Arrays, adjoint: Pruned, later: Pruned, sources: Sequence[Pruned]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the places of the arguments that are read, and of the State that is kept."""
    jaxpr, n, m = step.jaxpr.jaxpr, step.n_consts, step.n_carry
    total = len(jaxpr.invars)
    local = [any(flags) for flags in zip(later.used[: total + m], *(s.used for s in sources), strict=True)]
    reads = {i for i in range(total) if local[i] or (adjoint.used[i] and not n <= i < n + m)}
    reads |= {*range(n), *(i for i in range(n, n + m) if adjoint.used[i])}
    keeps = {i for i in range(m) if local[n + i] or local[total + i] or adjoint.used[n + i] or adjoint.used[total + i]}
    if any(n <= i < n + m for i in moving):
        reads |= {n + i for i in range(m)}
    return tuple(sorted(reads)), tuple(sorted(keeps))


def _sorted(traced: Pruned, is_train: Arrays, n: int, total: int, m: int) -> tuple[dict[int, int], tuple[int, ...]]:
    """Tell the trains that consts and the adjoint alone determine from the rest; equal ones map to the first of them."""
    avals = iter(traced.jaxpr.in_avals)
    arguments = [next(avals) if used else None for used in traced.used]
    first: dict[Any, int] = {}
    directs: dict[int, int] = {}
    for i, y in enumerate(traced.jaxpr.jaxpr.outvars):
        alone = pruned(
            lambda *v, i=i: [jex.jaxpr_as_fun(traced.jaxpr)(*v)[i]], *(a for a in arguments if a is not None)
        )
        used = iter(alone.used)
        read_ = [j for j, is_used in enumerate(traced.used) if is_used and next(used)]
        if is_train[i] and all(j < n or total + m <= j < total + 2 * m for j in read_):
            directs[i] = first.setdefault(y, i) if is_variable(y) else i
    return directs, tuple(i for i in range(len(is_train)) if i not in directs)


def zero(aval: Any) -> Any:
    """Return zeros of a shape and dtype."""
    return jnp.zeros(aval.shape, aval.dtype)


def others(equation: Any, weights: Any) -> list[Any]:
    """Return the operands of an equation that are neither literals nor among `weights`."""
    return [x for x in variables(equation) if x not in weights]


def cut(values: Arrays, n: int, m: int) -> tuple[list[Any], list[Any], list[Any]]:
    """Cut values after the first n, and again after m more."""
    values = list(values)
    return values[:n], values[n : n + m], values[n + m :]
