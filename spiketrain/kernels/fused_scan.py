"""`lax.scan` of an elementwise step in one kernel: the carry stays on the chip while time passes."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from spiketrain.kernels import fused_gpu, fused_tpu

Blocks = Sequence[Any]
Body = Callable[[Blocks, Blocks, Blocks], tuple[Blocks, Blocks]]


class Walk(NamedTuple):
    """How a kernel passes through time.

    Attributes:
        body: `body(fixed, carry, x) -> (carry, y)` on lists of blocks of any shape.
        length: T, the number of steps, at least one.
        elements: E, the number of elements.
        reverse: whether the last step comes first.
        equations: about how many the body has, which bounds the size of the program.
        target: "triton", "mosaic" (GPU) or "tpu".
        interpret: whether to evaluate the kernel without compiling it, on any device.
    """

    body: Body
    length: int
    elements: int
    reverse: bool
    equations: int
    target: str
    interpret: bool


def scan(walk: Walk, fixed: Blocks, carry: Blocks, xs: Blocks) -> tuple[list[Any], list[Any]]:
    """Scan `walk.body` over time for every element.

    Args:
        walk: how.
        fixed: `(E,)`, or `(1,)` for one number.
        carry: `(E,)`.
        xs: trains `(T, E)`, or `(T, 1)` for one number per step.

    Returns:
        The last carry `(E,)` and the trains of y `(T, E)`. Under `jax.vmap` the batch becomes more elements.
    """

    @jax.custom_batching.custom_vmap
    def call(fixed: Blocks, carry: Blocks, xs: Blocks) -> Any:
        return _launch(walk, fixed, carry, xs)

    @call.def_vmap
    def _(size: int, batched: Any, fixed: Blocks, carry: Blocks, xs: Blocks) -> Any:
        E = walk.elements

        def folded(x: Any, is_batched: bool) -> Any:
            if not is_batched and x.shape[-1] == 1 and E > 1:
                return x
            x = x if is_batched else jnp.broadcast_to(x, (size, *x.shape))
            x = jnp.broadcast_to(x, (*x.shape[:-1], E))
            return jnp.moveaxis(x, 0, -2).reshape(*x.shape[1:-1], size * E)

        given = [list(map(folded, x, b)) for x, b in zip((fixed, carry, xs), batched, strict=True)]
        carry, ys = scan(walk._replace(elements=size * E), *given)
        carry = [x.reshape(size, E) for x in carry]
        return (carry, [jnp.moveaxis(y.reshape(-1, size, E), 1, 0) for y in ys]), (
            [True] * len(carry),
            [True] * len(ys),
        )

    @jax.custom_jvp
    def once(*given: Any) -> Any:
        return call(*given)

    @once.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        raise NotImplementedError(
            'A fused kernel has no second derivative. Write `with environ.context(loop="scan"):` around the model.'
        )

    return once(list(fixed), list(carry), list(xs))


def _launch(walk: Walk, fixed: Blocks, carry: Blocks, xs: Blocks) -> tuple[list[Any], list[Any]]:
    """Pad the elements to whole blocks, for which lanes of zeros are computed and dropped."""
    device = fused_tpu if walk.target == "tpu" else fused_gpu
    E = walk.elements
    padding = -E % device.width(E)

    def padded(x: Any) -> Any:
        return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, padding)]) if padding and x.shape[-1] == E else x

    fixed, carry, xs = ([padded(x) for x in group] for group in (fixed, carry, xs))
    like = [[jax.ShapeDtypeStruct((1,), x.dtype) for x in group] for group in (fixed, carry, xs)]
    types = [y.dtype for y in jax.eval_shape(walk.body, *like)[1]]
    last, ys = device.launch(walk._replace(elements=E + padding), fixed, carry, xs, types)
    return [x[:E] for x in last], [y[:, :E] for y in ys]
