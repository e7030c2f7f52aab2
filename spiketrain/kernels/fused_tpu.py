"""A scan over time on a TPU: the grid walks blocks of elements and, in order, blocks of time.

The compiler copies the trains of a block of time to VMEM while the block before is computed. The carry rests between
blocks of time in the block of its last value, and in registers within one.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl

LANES = 128
ROWS = 32  # of lanes in a block, four registers
BYTES = 8 * 2**20  # of VMEM for the blocks of all trains, each twice


def width(elements: int) -> int:
    """Return the number of elements in a row of lanes."""
    return LANES


def launch(walk: Any, fixed: Any, carry: Any, xs: Any, types: Any) -> tuple[list[Any], list[Any]]:
    """Scan over arrays whose elements fill whole rows of lanes; see `fused_scan.scan`."""
    total, length = walk.elements // LANES, walk.length
    rows = min(ROWS, total)
    step = rows * LANES * sum(np.dtype(dtype).itemsize for dtype in (*(x.dtype for x in xs), *types))
    depth = int(np.clip(BYTES // max(2 * step, 1), 1, length))

    def lanes(x: Any) -> Any:  # one number fills a row
        return (
            jnp.broadcast_to(x[..., None], (*x.shape, LANES))
            if x.shape[-1] == 1
            else x.reshape(*x.shape[:-1], -1, LANES)
        )

    def spec(x: Any) -> Any:
        return _spec(
            x.shape, (depth, rows) if x.shape[-2] == total else (depth, 1), pl.cdiv(length, depth), walk.reverse
        )

    given = [lanes(x) for x in (*fixed, *carry, *xs)]
    out = [jax.ShapeDtypeStruct((total, LANES), x.dtype) for x in carry]
    out += [jax.ShapeDtypeStruct((length, total, LANES), dtype) for dtype in types]
    counts = np.cumsum([len(fixed), len(carry), len(xs), len(carry)])
    results = pl.pallas_call(
        partial(_program, walk, rows, depth, counts),
        out,
        grid=(pl.cdiv(total, rows), pl.cdiv(length, depth)),
        in_specs=list(map(spec, given)),
        out_specs=list(map(spec, out)),
        compiler_params=_parameters(walk),
        interpret=walk.interpret,
    )(*given)
    results = [x.reshape(*x.shape[:-2], -1) for x in results]
    return results[: len(carry)], results[len(carry) :]


def _spec(shape: Any, block: tuple[int, int], times: int, reverse: bool) -> Any:
    depth, rows = block
    moves = rows != 1 or shape[-2] == 1

    def at(i: Any, t: Any) -> tuple[Any, ...]:
        row = i if moves else 0
        return (row, 0) if len(shape) == 2 else (times - 1 - t if reverse else t, row, 0)

    return pl.BlockSpec((rows, LANES) if len(shape) == 2 else (depth, rows, LANES), at)


def _program(walk: Any, rows: int, depth: int, counts: Any, *refs: Any) -> None:
    fixed_refs, carry_refs, x_refs, last_refs, y_refs = (
        refs[i:j] for i, j in zip([0, *counts], [*counts, len(refs)], strict=True)
    )
    time = pl.program_id(1)

    @pl.when(time == 0)
    def _() -> None:
        for last, first in zip(last_refs, carry_refs, strict=True):
            last[...] = first[...]

    constants = [jnp.broadcast_to(ref[...], (rows, LANES)) for ref in fixed_refs]
    blocks = pl.cdiv(walk.length, depth)
    first = (blocks - 1 - time if walk.reverse else time) * depth
    steps = jnp.minimum(depth, walk.length - first)  # the last block of time may be shorter

    def step(n: Any, state: Any) -> Any:
        t = steps - 1 - n if walk.reverse else n
        x = [jnp.broadcast_to(ref[t], (rows, LANES)) for ref in x_refs]
        state, ys = walk.body(constants, state, x)
        for ref, y in zip(y_refs, ys, strict=True):
            ref[t] = y
        return list(state)

    state = lax.fori_loop(np.int32(0), steps, step, [ref[...] for ref in last_refs])
    for ref, x in zip(last_refs, state, strict=True):
        ref[...] = x


def _parameters(walk: Any) -> Any:
    if walk.interpret:
        return None
    from jax.experimental.pallas import tpu

    return tpu.CompilerParams(dimension_semantics=("parallel", "arbitrary"))
