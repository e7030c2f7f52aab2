"""The scan of one elementwise step over flat arrays, and its derivative in reverse."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from spiketrain.kernels.elementwise import evaluate, full, on_blocks
from spiketrain.kernels.fused_pullback import Pullback, pullback, tangent
from spiketrain.kernels.fused_rewrites import formula
from spiketrain.kernels.fused_scan import Walk, scan
from spiketrain.kernels.step import Step

Arrays = Sequence[Any]


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Asked:
    """What the forward pass hands to the backward pass apart from arrays."""

    perturbed: frozenset[int]
    numbers: frozenset[int]  # the arguments that are one number, and whose cotangents are summed


class Kernel:
    """A scan of `step`, called with lists of flat arrays.

    Consts are `(E,)` or `(1,)`, the carry `(E,)`, trains `(T, E)` or `(T, 1)`. The call returns the last carry `(E,)`
    and the outputs `(T, E)`. Integers stand for `bool`.
    """

    def __init__(self, step: Step, length: int, elements: int, target: str, residuals: Any, interpret: bool):
        self.step, self.length, self.elements, self.residuals = step, length, elements, residuals
        self.target, self.interpret = target, interpret
        self.forward = on_blocks(step.jaxpr)
        self.tangent = cache(lambda: tangent(step.jaxpr))
        self.call = jax.custom_vjp(lambda consts, carry, xs: self.run(consts, carry, xs, None)[0])
        self.call.defvjp(self._forward, self._backward, symbolic_zeros=True)

    def __call__(self, consts: Arrays, carry: Arrays, xs: Arrays) -> tuple[Arrays, Arrays]:
        """Return the last carry and the outputs."""
        return self.call(list(consts), list(carry), list(xs))

    def pullback(self, perturbed: frozenset[int], cotangents: frozenset[int]) -> Pullback:
        """Return the backward step from some results to some arguments."""
        return pullback(self.tangent(), self.step.n_consts, self.step.n_carry, perturbed, cotangents)

    def run(self, consts: Arrays, carry: Arrays, xs: Arrays, back: Pullback | None) -> Any:
        """Return the last carry and the outputs, and what `back` reads: the State at the start of every step."""
        n, save = self.step.n_carry, back.state if back else ()
        rounded = {
            i for i in save if back and i in back.carry and i not in back.compared and self.residuals is not None
        }

        def body(consts: Arrays, carry: Arrays, x: Arrays) -> Any:
            out = self._evaluate(self.forward, [*consts, *carry, *x])
            return out[:n], [*out[n:], *(_rounded(carry[i], self.residuals if i in rounded else None) for i in save)]

        last, ys = self._scan(body, self.forward, consts, carry, xs)
        outputs, saved = _split(ys, len(ys) - len(save))
        return (last, outputs), saved

    def _forward(self, consts: Arrays, carry: Arrays, xs: Arrays) -> Any:
        given = [*consts, *carry, *xs]
        perturbed = frozenset(i for i in self.tangent().arguments if given[i].perturbed)
        numbers = frozenset(i for i in perturbed if given[i].value.shape[-1] == 1)
        consts, carry, xs = ([x.value for x in group] for group in (consts, carry, xs))
        back = self.pullback(perturbed, frozenset(self.tangent().results))
        (last, ys), saved = self.run(consts, carry, xs, back)
        read = (
            _pick(consts, back.consts),
            _pick(last, back.after),
            _pick(xs, back.xs),
            dict(zip(back.state, saved, strict=True)),
        )
        return (last, ys), (_Asked(perturbed, numbers), read)

    def _backward(self, residual: Any, cotangents: Any) -> Any:
        asked, (consts, ends, xs, saved) = residual
        results, n_consts, n = self.tangent().results, self.step.n_consts, self.step.n_consts + self.step.n_carry
        arriving = [*cotangents[0], *cotangents[1]]
        given = frozenset(i for i in results if not isinstance(arriving[i], SymbolicZero))
        if not given:
            return None, None, None
        back = self.pullback(asked.perturbed, given)
        zeros = [jnp.zeros(self.elements, v.aval.dtype) for v in back.jaxpr.jaxpr.outvars]
        slopes = [arriving[i] if i in given else zeros[k] for k, i in enumerate(back.carry)]
        sums = zeros[len(slopes) :][: len(back.to_consts)]
        last, dxs = self._scan(
            lambda *blocks: self._step_back(back, *blocks),
            back.jaxpr,
            [consts[i] for i in back.consts],
            [*slopes, *sums, *(ends[i] for i in back.after)],
            [
                *(saved[i] for i in back.state),
                *(xs[i] for i in back.xs),
                *(arriving[self.step.n_carry + i] for i in back.y),
            ],
            reverse=True,
        )
        slopes, sums, _ = _split(last, len(slopes), len(sums))
        gradients = dict(zip((n_consts + i for i in back.carry), slopes, strict=True))
        gradients |= zip(back.to_consts, sums, strict=True)
        gradients |= zip((n + i for i in back.to_xs), dxs, strict=True)
        for i in asked.numbers & gradients.keys():
            gradients[i] = gradients[i].sum(-1, keepdims=True)
        wanted = [gradients.get(i) if i in asked.perturbed else None for i in range(len(self.step.jaxpr.in_avals))]
        return tuple(map(list, _split(wanted, n_consts, self.step.n_carry)))

    def _step_back(self, back: Pullback, consts: Arrays, carry: Arrays, x: Arrays) -> tuple[Arrays, Arrays]:
        """Carry cotangents of State, sums of cotangents of consts, and the State after the step."""
        slopes, sums, after = _split(carry, len(back.carry), len(back.to_consts))
        states, x, heard = _split(x, len(back.state), len(back.xs))
        avals = self.step.jaxpr.in_avals[self.step.n_consts :]
        start = {
            i: v.astype(avals[i].dtype) if v.dtype != jnp.int32 else v for i, v in zip(back.state, states, strict=True)
        }
        arguments = [*consts, *(start[i] for i in back.before), *x, *after, *slopes, *heard]
        slopes, more, dx = _split(self._evaluate(back.jaxpr, arguments), len(slopes), len(sums))
        return [*slopes, *(a + b for a, b in zip(sums, more, strict=True)), *(start[i] for i in back.after)], dx

    def _evaluate(self, program: Any, arguments: Arrays) -> list[Any]:
        avals = [v.aval for v in program.jaxpr.invars]
        given = [x if x.dtype == v.dtype else x.astype(v.dtype) for x, v in zip(arguments, avals, strict=True)]
        block = given[0].shape
        out = evaluate(program, given, block, rewrite=lambda e: None if self.interpret else formula(e, self.target))
        return [x.astype(jnp.int32) if x.dtype == bool else x for x in (full(x, block) for x in out)]

    def _scan(self, body: Any, program: Any, consts: Arrays, carry: Arrays, xs: Arrays, reverse: bool = False) -> Any:
        size = len(program.jaxpr.eqns)
        return scan(
            Walk(body, self.length, self.elements, reverse, size, self.target, self.interpret), consts, carry, xs
        )


def _split(x: Arrays, *lengths: int) -> list[list[Any]]:
    """Cut a list into pieces of the given lengths and the rest."""
    pieces, x = [], list(x)
    for n in lengths:
        pieces.append(x[:n])
        x = x[n:]
    return [*pieces, x]


def _pick(x: Arrays, places: Sequence[int]) -> dict[int, Any]:
    return {i: x[i] for i in places}


def _rounded(x: Any, dtype: Any) -> Any:
    return x if dtype is None or jnp.finfo(dtype).bits >= jnp.finfo(x.dtype).bits else x.astype(dtype)
