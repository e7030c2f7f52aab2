"""The derivative of a whole loop over time, forward and transposed."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from spiketrain.kernels.backward import Backward, cut, others, outputs, zero
from spiketrain.kernels.linear import Linear
from spiketrain.kernels.march import march, unpacked
from spiketrain.kernels.march import read as at
from spiketrain.kernels.step import apply, read, variables

Arrays = Sequence[Any]


def tangents_of(
    back: Backward, length: int, primals: Arrays, states: Arrays, tangents: Arrays, outs: Arrays, dtype: Any
) -> list[Any]:
    """Return the tangents of the last State and of the outputs; reverse mode takes the way back.

    Args:
        back: what the gradient of a step needs.
        length: the number of steps.
        primals: the arguments of the loop: consts, the State at its start, trains.
        states: the trains of State that are kept.
        tangents: of what moves.
        outs: what the loop returned, for its shapes.
        dtype: in which State is kept, its own where it is None.
    """
    like = [tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in group) for group in (tangents, outs)]
    trial = Trial(back, length, dtype)
    return Linear(trial.forward, trial.transpose, *like)([*(primals[i] for i in back.reads), *states], tangents)


class Trial(NamedTuple):
    """A loop of so many steps, whose State is kept in `dtype`."""

    back: Backward
    length: int
    dtype: Any

    def forward(self, residuals: list[Any], tangents: list[Any]) -> list[Any]:
        """Run the derivative of the step along the trial."""
        step, steady = self.back.step, self.back.steady
        jaxpr, n, m = step.jaxpr.jaxpr, step.n_consts, step.n_carry
        values, axes = self._values(residuals)
        moved = dict(zip(self.back.moving, tangents, strict=True))
        start = [moved.get(n + i, jnp.zeros(x.aval.shape, x.aval.dtype)) for i, x in enumerate(jaxpr.invars[n : n + m])]
        avals = [x.aval for x in (*jaxpr.invars, *jaxpr.outvars[:m])]

        def one(carry: Any, now: Any) -> Any:
            here, slopes = now
            known = iter(here)
            filled = [
                jnp.zeros(a.shape, a.dtype) if v is None else next(known) if axis == 0 else v
                for v, axis, a in zip(values, axes, avals, strict=True)
            ]
            given, after, _ = cut(filled, len(jaxpr.invars), m)

            def f(moved: Arrays, S: Arrays) -> list[Any]:
                here = [*given[:n], *S, *given[n + m :]]
                for i, x in zip(steady, moved, strict=True):
                    here[i] = x
                return outputs(step, here, after)

            primal = [given[i] for i in steady], given[n : n + m]
            rest = iter(slopes)
            slope = [moved[i] if i < n else next(rest) for i in steady]
            out = jax.jvp(f, primal, (slope, list(carry)))[1]
            return out[:m], out[m:]

        trains = [v for v, axis in zip(values, axes, strict=True) if v is not None and axis == 0]
        last, ys = jax.lax.scan(one, start, (trains, [moved[i] for i in steady if i >= n]), self.length)
        return [*last, *ys]

    def transpose(self, residuals: list[Any], cotangents: list[Any]) -> list[Any]:
        """Run the adjoint from the last step to the first, and what follows from it after the loop."""
        back, step = self.back, self.back.step
        jaxpr, n, m = step.jaxpr.jaxpr, step.n_consts, step.n_carry
        outs = [x.aval for x in jaxpr.outvars]
        to_last, to_y = cotangents[:m], cotangents[m:]
        others = [i for i in range(len(to_y)) if i not in back.emitted]
        arguments, after = self._given(residuals)
        last = self.length - 1
        wanted = [i for i in range(m) if back.later.used[len(jaxpr.invars) + m + i]]
        reread = back.later.used[len(jaxpr.invars) + 2 * m :]
        trains = {i: ct for i, ct in enumerate(to_y) if ct is not None}

        def one(t: Any, ahead: list[Any], x: list[Any]) -> Any:
            here, then = dict(zip(trains, x, strict=True)), jnp.minimum(t + 1, last)
            values = [
                *(arguments.get(i) for i in range(n)),
                *(self._state(after, i, t) for i in range(m)),
                *(at(arguments[i], then) if i in arguments else None for i in range(n + m, len(jaxpr.invars))),
                *(self._state(after, i, then) for i in range(m)),
                *ahead,
                *(jnp.where(t < last, at(trains[i], then), 0) if i in trains else zero(outs[m + i]) for i in others),
                *(here.get(i, zero(outs[m + i])) for i in back.emitted),
            ]
            adjoint = back.adjoint(*values)
            adjoint = [
                a if ct is None else a + jnp.where(t == last, ct, 0) for a, ct in zip(adjoint, to_last, strict=True)
            ]
            blank = [None] * (len(jaxpr.invars) + m - n)
            direct = back.direct(*(arguments.get(i) for i in range(n)), *blank, *adjoint, *[None] * len(to_y))
            return adjoint, [*direct, *(adjoint[i] for i in wanted)]

        spare = [i in back.emitted and not reread[i] for i in trains]
        start = [zero(a) for a in outs[:m]]
        first, written = march(one, start, list(trains.values()), spare, range(last, -1, -1))
        n_direct = len(set(back.directs.values()))
        found = {i: written[place] for i, place in back.directs.items()}
        found |= self._later(residuals, dict(zip(wanted, written[n_direct:], strict=True)), to_y)
        gradients = {place: found[i] for i, place in enumerate(back.steady)}
        for i, place in enumerate(back.products):
            for weight, cotangent in self._to_weights(i, place, residuals, found[len(back.steady) + i]).items():
                gradients[weight] = gradients[weight] + cotangent
        if any(n <= i < n + m for i in back.moving):
            to_start = self._to_start(arguments, after, first, [None if ct is None else ct[0] for ct in to_y])
            gradients |= {n + i: to_start[i] for i in range(m)}
        return [gradients[i] for i in back.moving]

    def _later(self, residuals: list[Any], adjoint: dict[int, Any], to_y: list[Any]) -> dict[int, Any]:
        """Return, by place, the cotangents that need more than the adjoint: all steps at once."""
        back, step = self.back, self.back.step
        outs = [x.aval for x in step.jaxpr.jaxpr.outvars]
        values, axes = self._values(residuals)
        values += [adjoint.get(i) for i in range(step.n_carry)]
        values += [zero(a) if ct is None else ct for a, ct in zip(outs[step.n_carry :], to_y, strict=True)]
        axes += [0] * step.n_carry + [None if ct is None else 0 for ct in to_y]
        if not back.laters:
            return {}
        found = dict(zip(back.laters, back.later.over_time(values, axes, self.length), strict=True))
        is_const = [i < step.n_consts for i in back.steady] + [False] * len(back.products)
        return {i: train.sum(0) if is_const[i] else train for i, train in found.items()}

    def _to_weights(self, which: int, place: int, residuals: list[Any], cotangent: Any) -> dict[int, Any]:
        """Return the cotangents of the weights of one product, each as one product over the whole trial."""
        back, step = self.back, self.back.step
        jaxpr = step.jaxpr.jaxpr
        equation = jaxpr.eqns[place]
        values, axes = self._values(residuals)
        operands = back.sources[which].over_time(values, axes, self.length)
        weights = [i for i in back.steady if i < step.n_consts and jaxpr.invars[i] in variables(equation)]
        names = others(equation, {jaxpr.invars[i] for i in back.steady if i < step.n_consts})

        def product(weights_: Arrays) -> Any:
            fixed = {jaxpr.invars[i]: w for i, w in zip(weights, weights_, strict=True)}

            def one(*others: Any) -> Any:
                here = fixed | dict(zip(names, others, strict=True))
                return apply(equation, [read(here, x) for x in equation.invars])[0]

            return jax.vmap(one)(*operands)

        [cotangents] = jax.vjp(product, [values[i] for i in weights])[1](cotangent)
        return dict(zip(weights, cotangents, strict=True))

    def _to_start(self, arguments: dict[int, Any], after: dict[int, Any], adjoint: list[Any], to_y: list[Any]) -> Any:
        """Return the cotangents of the State at the start."""
        step = self.back.step
        jaxpr, n, m = step.jaxpr.jaxpr, step.n_consts, step.n_carry
        outs = [x.aval for x in jaxpr.outvars]
        given = [
            v if v is None or i < n + m else v[0]
            for i, v in enumerate(arguments.get(i) for i in range(len(jaxpr.invars)))
        ]
        given = [zero(x.aval) if v is None else v for v, x in zip(given, jaxpr.invars, strict=True)]
        first = [self._state(after, i, 0) for i in range(m)]
        first = [zero(a) if v is None else v for v, a in zip(first, outs, strict=False)]
        cotangents = {m + i: ct for i, ct in enumerate(to_y) if ct is not None and i not in self.back.emitted}
        wanted = [*range(m), *cotangents]
        back = jax.vjp(lambda S: outputs(step, [*given[:n], *S, *given[n + m :]], first, wanted), given[n : n + m])
        return back[1]([*adjoint, *cotangents.values()])[0]

    def _given(self, residuals: list[Any]) -> tuple[dict[int, Any], dict[int, Any]]:
        """Return the arguments that are read, by place, and the trains of State that are kept, by place."""
        reads, keeps = self.back.reads, self.back.keeps
        return dict(zip(reads, residuals, strict=False)), dict(zip(keeps, residuals[len(reads) :], strict=True))

    def _values(self, residuals: list[Any]) -> tuple[list[Any], list[int | None]]:
        """Return `[*arguments, *State after]` of all steps, None where nothing reads it, and which of them are trains."""
        step = self.back.step
        arguments, after = self._given(residuals)
        n, m, total = step.n_consts, step.n_carry, len(step.jaxpr.jaxpr.invars)
        trains = [unpacked(after[i], self.dtype, self._like(i)) if i in after else None for i in range(m)]
        starts = [arguments.get(n + i) for i in range(m)]
        before = [
            None if S is None or start is None else jnp.concatenate([start[None], S[:-1]])
            for S, start in zip(trains, starts, strict=True)
        ]
        values = [
            *(arguments.get(i) for i in range(n)),
            *before,
            *(arguments.get(i) for i in range(n + m, total)),
            *trains,
        ]
        return values, [None] * n + [0] * (total - n + m)

    def _like(self, i: int) -> Any:
        return self.back.step.jaxpr.jaxpr.outvars[i].aval

    def _state(self, after: dict[int, Any], i: int, t: Any) -> Any:
        return unpacked(at(after[i], t), self.dtype, self._like(i)) if i in after else None
