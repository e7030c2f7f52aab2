"""One time step as a list of equations, with everything that need not be in the loop over time taken out of it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jex
from jax.interpreters import partial_eval

Arrays = Sequence[Any]
INNER = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr"}
FOLDED: dict[str, Callable[..., Any]] = {  # what numbers alone go into is a number, without a program of its own
    "select_n": lambda which, *cases, **_: cases[int(which)],
    "convert_element_type": lambda x, *, new_dtype, **_: np.asarray(x, new_dtype)[()],
}
PRODUCTS = ("dot_general", "conv_general_dilated", "ragged_dot_general")


class Step(NamedTuple):
    """One time step: `jaxpr` maps `[*consts, *carry, *x]` to `[*carry, *y]`, without functions inside functions."""

    jaxpr: Any
    n_consts: int
    n_carry: int

    def split(self, values: Arrays) -> tuple[list[Any], list[Any], list[Any]]:
        """Split something per argument into consts, carry and x."""
        values, start = list(values), self.n_consts + self.n_carry
        return values[: self.n_consts], values[self.n_consts : start], values[start:]

    def __call__(self, consts: Arrays, carry: Arrays, x: Arrays) -> tuple[list[Any], list[Any]]:
        """Return the carry and the outputs of one step."""
        out = jex.jaxpr_as_fun(self.jaxpr)(*consts, *carry, *x)
        return list(out[: self.n_carry]), list(out[self.n_carry :])


class Hoisted(NamedTuple):
    """A step, and what is computed once before the loop.

    Attributes:
        step: what remains inside.
        consts: from the original consts to those of `step`.
        xs: from `(consts, xs)`, the original ones, to the trains that `step` takes.
    """

    step: Step
    consts: Callable[[Arrays], list[Any]]
    xs: Callable[[Arrays, Arrays], list[Any]]


def inline(closed: Any, n_consts: int, n_carry: int) -> tuple[Step, list[Any]]:
    """Return a step without functions inside functions, and the arrays it holds, which come first among its consts."""
    inlined = jax.make_jaxpr(lambda *a: _inlined(closed.jaxpr, closed.consts, a))(*closed.in_avals)
    arrays = list(inlined.consts)
    given = [x.aval for x in inlined.jaxpr.constvars]
    opened = jax.make_jaxpr(lambda *a: _inlined(inlined.jaxpr, a[: len(given)], a[len(given) :]))(
        *given, *closed.in_avals
    )
    return Step(opened, len(arrays) + n_consts, n_carry), arrays


def _inlined(jaxpr: Any, constants: Arrays, arguments: Arrays) -> list[Any]:
    """Evaluate a jaxpr with its inner functions opened up, and a choice between numbers made."""
    env = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *arguments), strict=True))
    for equation in jaxpr.eqns:
        values = [read(env, x) for x in equation.invars]
        inner = equation.params.get(INNER.get(equation.primitive.name, ""))
        if inner is not None:
            inner, constants = (inner.jaxpr, inner.consts) if hasattr(inner, "consts") else (inner, ())
            outputs = _inlined(inner, constants, values)
        elif equation.primitive.name in FOLDED and all(isinstance(x, bool | int | float | np.generic) for x in values):
            outputs = [FOLDED[equation.primitive.name](*values, **equation.params)]
        else:
            outputs = apply(equation, values)
        env.update(zip(equation.outvars, outputs, strict=True))
    return [read(env, x) for x in jaxpr.outvars]


def read(env: dict[Any, Any], x: Any) -> Any:
    """Return what a variable or a literal stands for."""
    return x.val if isinstance(x, jex.Literal) else env[x]


def is_variable(x: Any) -> bool:
    """Whether an operand is no literal."""
    return not isinstance(x, jex.Literal)


def variables(equation: Any) -> list[Any]:
    """Return the operands of an equation that are no literals."""
    return [x for x in equation.invars if is_variable(x)]


def apply(equation: Any, values: Arrays) -> list[Any]:
    """Evaluate one equation, with its own rules for derivatives where it has some."""
    if not equation.primitive.name.startswith("custom_"):
        out = equation.primitive.bind(*values, **equation.params)
        return list(out) if equation.primitive.multiple_results else [out]
    given = {x: v for x, v in zip(equation.invars, values, strict=True) if is_variable(x)}
    outvars = [x for x in equation.outvars if not isinstance(x, jex.DropVar)]
    empty = jax.make_jaxpr(lambda: None)().jaxpr
    alone = empty.replace(
        invars=list(given), outvars=outvars, eqns=[equation], debug_info=empty.debug_info.with_unknown_names()
    )
    out = iter(jex.jaxpr_as_fun(jex.ClosedJaxpr(alone, ()))(*given.values()))
    return [None if isinstance(x, jex.DropVar) else next(out) for x in equation.outvars]


def evaluate(env: dict[Any, Any], equations: Sequence[Any]) -> None:
    """Evaluate equations in order, from and into `env`."""
    for equation in equations:
        outputs = apply(equation, [read(env, x) for x in equation.invars])
        env.update(zip(equation.outvars, outputs, strict=True))


def multiplies(equation: Any) -> bool:
    """Whether an equation is a product of matrices or a convolution, or a function that contains one."""
    if equation.primitive.name in PRODUCTS:
        return True
    inner = equation.params.get("call_jaxpr")
    return inner is not None and any(map(multiplies, getattr(inner, "jaxpr", inner).eqns))


def hoist(step: Step) -> Hoisted:
    """Take out of the loop what depends on consts alone, and products of inputs that no feedback needs.

    What only spreads a const over more elements stays inside, where it costs nothing.
    """
    jaxpr = step.jaxpr.jaxpr
    consts, carry, xs = step.split(jaxpr.invars)
    level = dict.fromkeys(consts, 0) | dict.fromkeys(xs, 1) | dict.fromkeys(carry, 2)  # 2 is feedback
    for equation in jaxpr.eqns:
        reached = max((level[x] for x in variables(equation)), default=0)
        level.update(dict.fromkeys(equation.outvars, reached))

    needed = {x: None for x in jaxpr.outvars if is_variable(x)}
    inside: list[Any] = []
    for equation in reversed(jaxpr.eqns):
        reached = max(level[x] for x in equation.outvars)
        spreads = equation.primitive.name == "broadcast_in_dim"
        outside = not spreads if reached == 0 else reached == 1 and multiplies(equation)
        if not outside and any(x in needed for x in equation.outvars):
            inside.insert(0, equation)
            needed.update((x, None) for x in variables(equation))
    made = {x for equation in inside for x in equation.outvars}
    fixed = [x for x in needed if level[x] == 0 and x not in made]
    trains = [x for x in needed if level[x] == 1 and x not in made]
    once = leading_to(fixed, jaxpr.eqns)
    per_step = leading_to([x for x in trains if x not in xs], [e for e in jaxpr.eqns if level[e.outvars[0]] == 1])

    def new_consts(values: Arrays) -> list[Any]:
        env = dict(zip(consts, values, strict=True))
        evaluate(env, once)
        return [env[x] for x in fixed]

    def new_xs(values: Arrays, inputs: Arrays) -> list[Any]:
        env = dict(zip(consts, values, strict=True))
        evaluate(env, leading_to([x for e in per_step for x in e.invars], [e for e in jaxpr.eqns if e not in per_step]))

        def one(*x: Any) -> list[Any]:
            now = env | dict(zip(xs, x, strict=True))
            evaluate(now, per_step)
            return [now[x] for x in trains]

        if not per_step:
            return [dict(zip(xs, inputs, strict=True))[x] for x in trains]
        return list(jax.vmap(one)(*inputs))

    def inner(*arguments: Any) -> list[Any]:
        env = dict(zip((*fixed, *carry, *trains), arguments, strict=True))
        evaluate(env, inside)
        return [read(env, x) for x in jaxpr.outvars]

    avals = [x.aval for x in (*fixed, *carry, *trains)]
    return Hoisted(Step(jax.make_jaxpr(inner)(*avals), len(fixed), step.n_carry), new_consts, new_xs)


def leading_to(targets: Sequence[Any], equations: Sequence[Any]) -> list[Any]:
    """Return, in order, those equations on which `targets` depend."""
    needed = {x for x in targets if is_variable(x)}
    found: list[Any] = []
    for equation in reversed(equations):
        if any(x in needed for x in equation.outvars):
            found.insert(0, equation)
            needed.update(variables(equation))
    return found


class Pruned(NamedTuple):
    """A function without what none of its results needs.

    Attributes:
        jaxpr: the function of the arguments that remain.
        used: which of the original arguments those are.
    """

    jaxpr: Any
    used: tuple[bool, ...]

    def __call__(self, *values: Any) -> list[Any]:
        """Return the results; an argument that is not used may be None."""
        return list(jex.jaxpr_as_fun(self.jaxpr)(*self._taken(values)))

    def over_time(self, values: Arrays, axes: Sequence[int | None], length: int) -> list[Any]:
        """Return the results at every step, from values that have time first where `axes` says 0."""
        values, axes = self._taken(values), self._taken(axes)
        run = jex.jaxpr_as_fun(self.jaxpr)
        if not any(axis == 0 for axis in axes):
            return [jnp.broadcast_to(y, (length, *jnp.shape(y))) for y in run(*values)]
        return list(jax.vmap(run, axes)(*values))

    def _taken(self, values: Sequence[Any]) -> list[Any]:
        return [value for value, is_used in zip(values, self.used, strict=True) if is_used]


def pruned(f: Callable[..., Any], *avals: Any) -> Pruned:
    """Trace `f`, of arguments of these shapes, and leave out what its results do not need."""
    closed = jax.make_jaxpr(f)(*avals)
    jaxpr, used = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars), instantiate=False)
    return Pruned(jex.ClosedJaxpr(jaxpr, closed.consts), tuple(used))
