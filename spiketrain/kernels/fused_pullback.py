"""The backward step of an elementwise step, derived from its own equations.

The derivative is that of the step's forward derivative (which is where a surrogate declares its slope), transposed. The
State after the step is taken from what the forward pass saved, not computed again, so that most steps need no input.
"""

from collections.abc import Sequence, Set
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core as jex
from jax.interpreters import partial_eval

from spiketrain.kernels.elementwise import evaluate, full, on_blocks


class Tangent(NamedTuple):
    """The forward derivative of a step.

    Attributes:
        jaxpr: maps `[*arguments, *tangents of the floating ones]` to `[*results, *tangents of the floating ones]`.
        arguments: the places of the floating arguments.
        results: the places of the floating results.
    """

    jaxpr: Any
    arguments: tuple[int, ...]
    results: tuple[int, ...]


def tangent(jaxpr: Any) -> Tangent:
    """Trace the forward derivative of a step, in the step's own shapes."""
    avals, outs = [v.aval for v in jaxpr.jaxpr.invars], [v.aval for v in jaxpr.jaxpr.outvars]
    arguments, results = floating(avals), floating(outs)
    run = jex.jaxpr_as_fun(jaxpr)

    def derivative(primals: list[Any], tangents: list[Any]) -> list[Any]:
        def of_floating(*values: Any) -> tuple[list[Any], list[Any]]:
            given = list(primals)
            for i, x in zip(arguments, values, strict=True):
                given[i] = x
            out = run(*given)
            return [out[i] for i in results], out

        given = tuple(primals[i] for i in arguments)
        _, slopes, out = jax.jvp(of_floating, given, tuple(tangents), has_aux=True)
        return [*out, *slopes]

    return Tangent(jax.make_jaxpr(derivative)(avals, [avals[i] for i in arguments]), arguments, results)


def floating(avals: Sequence[Any]) -> tuple[int, ...]:
    """Return the places of the floating-point values, the only ones with a derivative."""
    return tuple(i for i, x in enumerate(avals) if jnp.issubdtype(x.dtype, jnp.floating))


class Pullback(NamedTuple):
    """The backward step on blocks, and what it reads.

    It maps `[*consts, *before, *xs, *after, *cotangents of carry, *cotangents of y]` to `[*cotangents of carry,
    *cotangents of consts, *cotangents of xs]`; each group holds the places that the attribute of its name lists.

    Attributes:
        jaxpr: that map.
        consts: what it reads of consts.
        before: what it reads of the State at the start of the step.
        xs: what it reads of inputs.
        after: what it reads of the State at the end of the step.
        carry: the State through which gradient flows.
        y: the outputs from which it comes.
        to_consts: the consts to which it goes.
        to_xs: the inputs to which it goes.
        compared: the State that it compares with anything on the way to cotangents of State and inputs; rounding it
            would tip spikes over, and the error would travel on through time.
    """

    jaxpr: Any
    consts: tuple[int, ...]
    before: tuple[int, ...]
    xs: tuple[int, ...]
    after: tuple[int, ...]
    carry: tuple[int, ...]
    y: tuple[int, ...]
    to_consts: tuple[int, ...]
    to_xs: tuple[int, ...]
    compared: frozenset[int]

    @property
    def state(self) -> tuple[int, ...]:
        """The State that the forward pass has to save."""
        return tuple(sorted({*self.before, *self.after}))


def pullback(derivative: Tangent, n_consts: int, n_carry: int, perturbed: Set[int], cotangents: Set[int]) -> Pullback:
    """Transpose the forward derivative of a step, leaving out what carries no gradient.

    Args:
        derivative: of the step.
        n_consts: how many of its arguments are constant.
        n_carry: how many of them are State.
        perturbed: the places of the arguments of the whole scan with respect to which a gradient is wanted.
        cotangents: the places of the results of the whole scan from which gradient comes.
    """
    flat = on_blocks(derivative.jaxpr)
    n = n_consts + n_carry
    n_arguments, n_results = len(flat.jaxpr.invars) - len(derivative.arguments), len(flat.jaxpr.outvars)
    n_results -= len(derivative.results)
    reads = _reads(flat, n_arguments, n_results)
    depends = {r: {derivative.arguments[i] for i in reads[k]} for k, r in enumerate(derivative.results)}

    moving = set(perturbed)  # the arguments that vary with something perturbed
    while more := {n_consts + r for r in depends if r < n_carry and depends[r] & moving} - moving:
        moving |= more
    heard = set(cotangents)  # the results that reach a cotangent
    while more := {a - n_consts for r in heard & depends.keys() for a in depends[r] if n_consts <= a < n} - heard:
        heard |= more
    carry = tuple(i for i in range(n_carry) if n_consts + i in moving and i in heard)
    y = tuple(r - n_carry for r in sorted(cotangents) if r >= n_carry)
    consts = tuple(i for i in range(n_consts) if i in perturbed)
    inputs = tuple(a - n for a in sorted(perturbed) if a >= n)

    varying = [*(n_consts + i for i in carry), *consts, *(n + i for i in inputs)]
    sources = [*carry, *(n_carry + i for i in y)]
    block, avals = (128,), [v.aval for v in flat.jaxpr.invars[:n_arguments]]
    outs = [v.aval for v in flat.jaxpr.outvars[:n_results]]
    after = {v: i for i, v in enumerate(flat.jaxpr.outvars[:n_carry]) if _computed(v, flat)}

    def backward(arguments: list[Any], ends: list[Any], cotangents: list[Any]) -> list[Any]:
        def forward(*varied: Any) -> list[Any]:
            given = dict(zip(varying, varied, strict=True))
            tangents = [given.get(a, jnp.zeros(block, avals[a].dtype)) for a in derivative.arguments]
            known = {v: ends[i] for v, i in after.items()}
            slopes = evaluate(flat, [*arguments, *tangents], block, known=known)[n_results:]
            return [full(slopes[derivative.results.index(r)], block) for r in sources]

        _, transposed = jax.vjp(forward, *(jnp.zeros(block, avals[a].dtype) for a in varying))
        return list(transposed(cotangents))

    traced = jax.make_jaxpr(backward)(avals, avals[n_consts:n], [outs[r] for r in sources])
    traced = on_blocks(traced)
    jaxpr, used = partial_eval.dce_jaxpr(
        traced.jaxpr, [True] * len(varying), [False] * (n_arguments + n_carry) + [True] * len(sources)
    )
    reads_argument, reads_end = used[:n_arguments], used[n_arguments : n_arguments + n_carry]
    place = [*[-1] * n_consts, *range(n_carry), *[-1] * (n_arguments - n), *range(n_carry), *[-1] * len(sources)]
    read = [i for i, is_used in zip(place, used, strict=True) if is_used]
    travels = [True] * len(carry) + [False] * len(consts) + [True] * len(inputs)
    return Pullback(
        jaxpr=jex.ClosedJaxpr(jaxpr, traced.consts),
        consts=_places(reads_argument[:n_consts]),
        before=_places(reads_argument[n_consts:n]),
        xs=_places(reads_argument[n:]),
        after=_places(reads_end),
        carry=carry,
        y=y,
        to_consts=consts,
        to_xs=inputs,
        compared=_compared(partial_eval.dce_jaxpr(jaxpr, travels, [True] * len(read))[0], read),
    )


def _places(used: Sequence[bool]) -> tuple[int, ...]:
    return tuple(i for i, is_used in enumerate(used) if is_used)


def _computed(v: Any, jaxpr: Any) -> bool:
    return not isinstance(v, jex.Literal) and v not in jaxpr.jaxpr.invars


def _compared(jaxpr: Any, places: Sequence[int]) -> frozenset[int]:
    """Return the places, none of them negative, of those arguments that reach a comparison."""
    reached: dict[Any, set[int]] = {v: {i} for v, i in zip(jaxpr.invars, places, strict=True) if i >= 0}
    compared: set[int] = set()
    for equation in jaxpr.eqns:
        through = _through(equation, reached)
        if equation.primitive.name in ("eq", "ge", "gt", "le", "lt"):  # `ne` is how a NaN is found
            compared |= through
    return frozenset(compared)


def _reads(jaxpr: Any, n_arguments: int, n_results: int) -> list[set[int]]:
    """Return, for every tangent that comes out, the tangents going in on which it depends."""
    reached: dict[Any, set[int]] = {v: {i} for i, v in enumerate(jaxpr.jaxpr.invars[n_arguments:])}
    for equation in jaxpr.jaxpr.eqns:
        _through(equation, reached)
    return [_of(v, reached) for v in jaxpr.jaxpr.outvars[n_results:]]


def _through(equation: Any, reached: dict[Any, set[int]]) -> set[int]:
    through: set[int] = set().union(*(_of(x, reached) for x in equation.invars))
    reached.update(dict.fromkeys(equation.outvars, through))
    return through


def _of(x: Any, reached: dict[Any, set[int]]) -> set[int]:
    return set() if isinstance(x, jex.Literal) else reached.get(x, set())
