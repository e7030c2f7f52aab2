"""A scan over time on a GPU: one program walks all of time for one block of elements, its carry in registers.

The trains of several steps are loaded at once, so that their loads wait for memory together. The same program is
compiled by Triton or by Mosaic GPU.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl

AHEAD = 8  # steps whose trains are loaded at once
LARGEST_BODY = 1024  # equations in the body of the loop
THREADS = 128  # four warps


def width(elements: int) -> int:
    """Return how many elements a program holds: one per thread, or four where there are very many."""
    return THREADS if elements < 2**18 else 4 * THREADS


def launch(walk: Any, fixed: Any, carry: Any, xs: Any, types: Any) -> tuple[list[Any], list[Any]]:
    """Scan over arrays whose elements fill whole blocks; see `fused_scan.scan`."""
    E, out = walk.elements, [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in carry]
    out += [jax.ShapeDtypeStruct((walk.length, E), dtype) for dtype in types]
    program = partial(_program, walk, width(E), np.cumsum([len(fixed), len(carry), len(xs), len(carry)]))
    results = _call(walk, program, out, E // width(E))(*fixed, *carry, *xs)
    return results[: len(carry)], results[len(carry) :]


def _program(walk: Any, size: int, counts: Any, index: Any, *refs: Any) -> None:
    fixed_refs, carry_refs, x_refs, last_refs, y_refs = (
        refs[i:j] for i, j in zip([0, *counts], [*counts, len(refs)], strict=True)
    )
    here = pl.ds(index * size, size)

    def load(ref: Any, *at: Any) -> Any:
        return ref[(*at, here)] if ref.shape[-1] == walk.elements else jnp.broadcast_to(ref[(*at, 0)], (size,))

    constants = list(map(load, fixed_refs))

    def steps(number: int, first: int, block: Any, state: Any) -> Any:
        times = [first + block * number + n for n in range(number)]
        times = [walk.length - 1 - t for t in times] if walk.reverse else times
        loaded = [[load(ref, t) for ref in x_refs] for t in times]
        for t, x in zip(times, loaded, strict=True):
            before = state
            state, ys = walk.body(constants, state, x)
            for ref, y in zip(y_refs, ys, strict=True):
                ref[t, here] = y
            if walk.target == "mosaic":
                state = list(map(_laid_out, state, before))
        return list(state)

    ahead = int(np.clip(LARGEST_BODY // max(walk.equations, 1), 1, min(AHEAD, walk.length)))
    whole, rest = divmod(walk.length, ahead)
    state = [ref[here] for ref in carry_refs]
    state = lax.fori_loop(np.int32(0), np.int32(whole), partial(steps, ahead, 0), state)
    if rest:
        state = lax.fori_loop(np.int32(0), np.int32(rest), partial(steps, 1, whole * ahead), state)
    for ref, x in zip(last_refs, state, strict=True):
        ref[here] = x


def _laid_out(new: Any, old: Any) -> Any:
    """Return `new`, spread over the threads as `old` is even where it is constant, as Mosaic asks of a loop."""
    return jnp.where((old == old) | (old != old), new, old)


def _call(walk: Any, program: Any, out: Any, programs: int) -> Any:
    if walk.target == "mosaic" and not walk.interpret:
        from jax.experimental.pallas import mosaic_gpu

        def body(*refs: Any) -> None:
            program(lax.axis_index("block"), *refs)

        return mosaic_gpu.kernel(body, out_type=out, grid=(programs,), grid_names=("block",))
    params = None
    if not walk.interpret:
        from jax.experimental.pallas import triton

        params = triton.CompilerParams(num_warps=THREADS // 32, num_stages=1)
    return pl.pallas_call(
        lambda *refs: program(pl.program_id(0), *refs),
        out,
        grid=(programs,),
        compiler_params=params,
        interpret=walk.interpret,
    )
