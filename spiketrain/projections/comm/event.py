"""A sparse matrix product that does work for presynaptic neurons with something to say, and for no others.

Connections lie sorted by presynaptic neuron, cut into *runs*: a neuron's connections are one run, or several where
they are many more than the mean. Non-zero inputs select runs; a loop handles them a chunk at a time, as often as
there are chunks, so the result is exact for any number of spikes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_CHUNK = 1024  # connections per turn of the loop: enough to amortise the turn, few to waste in the last one
_BLOCK = 1 << 18  # numbers held at a time by the gradient with respect to the input


class Runs(NamedTuple):
    """Where connections lie: `post[start[r]:stop[r]]` are targets of neuron `pre[r]`."""

    pre: Any
    start: Any
    stop: Any
    post: Any


@dataclass(frozen=True)
class Layout:
    """What a compiled loop has to know.

    Attributes:
        out_size: the number of targets.
        width: the length of the longest run.
        whole: whether run i is all of neuron i.
    """

    out_size: int
    width: int
    whole: bool

    @property
    def chunk(self) -> int:
        """The number of runs per turn."""
        return max(8, _CHUNK // self.width)


def cut(counts: np.ndarray, post: np.ndarray, out_size: int) -> tuple[Runs, Layout]:
    """Cut the targets of presynaptic neurons, `counts` of each, into runs of comparable length."""
    width = int(min(counts.max(), max(32, 2 * np.ceil(counts.sum() / np.count_nonzero(counts)))))
    pieces = np.maximum(-(-counts // width), 1)
    pre = np.repeat(np.arange(len(counts)), pieces)
    stops = np.cumsum(counts)
    nth = np.arange(len(pre)) - (np.cumsum(pieces) - pieces)[pre]
    start = (stops - counts)[pre] + width * nth
    stop = np.minimum(start + width, stops[pre])
    layout = Layout(out_size, width, whole=len(pre) == len(counts))
    return Runs(*(np.asarray(x, np.int32) for x in (pre, start, stop, post))), layout


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def product(layout: Layout, weight: jax.Array, x: jax.Array, runs: Runs) -> jax.Array:
    """Return `x @ W` for `x` of shape (rows, in), and `weight` one number or one per connection."""

    def scatter(y, row, value, edge, real):
        post = jnp.where(real, runs.post[edge], layout.out_size)
        return y.at[row, post].add(value * _at(weight, edge), mode="drop")

    return _over_active(layout, x, runs, scatter, jnp.zeros((len(x), layout.out_size), x.dtype))


def _forward(layout, weight, x, runs):
    return product(layout, weight, x, runs), (weight, x, runs)


@partial(jax.jit, static_argnums=0)  # compiled once, also where nothing around it is
def _backward(layout, residuals, g):
    """Exact and not event-driven in x: a neuron that is silent has a gradient, too."""
    weight, x, runs = residuals
    if jnp.ndim(weight) == 0:
        reached = _gather(layout, jnp.ones_like(weight), g, runs, x.shape)
        return jnp.sum(x * reached), weight * reached, None

    def scatter(dw, row, value, edge, real):
        return dw.at[jnp.where(real, edge, len(dw))].add(value * g[row, runs.post[edge]], mode="drop")

    dw = _over_active(layout, x, runs, scatter, jnp.zeros_like(weight))
    return dw, _gather(layout, weight, g, runs, x.shape), None


product.defvjp(_forward, _backward)
multiply = jax.jit(product, static_argnums=0)


def _over_active(layout: Layout, x: jax.Array, runs: Runs, body: Callable[..., jax.Array], out: jax.Array) -> jax.Array:
    """Accumulate `body(out, row, x, connection, is real)` over the runs of non-zero inputs."""
    active = x != 0
    count, nth_active = _rank(active if layout.whole else active[:, runs.pre])

    def turn(carry):
        first, out = carry
        nth = first + jnp.arange(layout.chunk)
        row, run = jnp.divmod(nth_active(nth), len(runs.pre))
        edge = runs.start[run][:, None] + jnp.arange(layout.width)
        real = (nth < count)[:, None] & (edge < runs.stop[run][:, None])
        value = x[row, runs.pre[run]]
        return first + layout.chunk, body(out, row[:, None], value[:, None], jnp.where(real, edge, 0), real)

    return jax.lax.while_loop(lambda carry: carry[0] < count, turn, (jnp.int32(0), out))[1]


def _rank(active: jax.Array) -> tuple[jax.Array, Callable[[jax.Array], jax.Array]]:
    """Return how many entries are true, and a function from n to the flat position of the n-th of them.

    Counted in blocks of about the square root of the length: a prefix sum over all of it would cost more than
    everything else of a step. Beyond the last one the position is any.
    """
    length = active.size
    block = 1 << max(0, round(math.log2(length) / 2))
    blocks = jnp.pad(active.reshape(-1), (0, -length % block)).reshape(-1, block)
    upto = jnp.cumsum(blocks.sum(1, dtype=jnp.int32))

    def nth_active(nth):
        at = jnp.minimum((upto <= nth[:, None]).sum(1), len(blocks) - 1)
        within = nth - jnp.where(at > 0, upto[at - 1], 0)
        here = (jnp.cumsum(blocks[at], axis=1, dtype=jnp.int32) <= within[:, None]).sum(1)
        return jnp.minimum(at * block + here, length - 1)

    return upto[-1], nth_active


def _gather(layout: Layout, weight: jax.Array, g: jax.Array, runs: Runs, shape: tuple[int, ...]) -> jax.Array:
    """Return `g @ W.T`, a block of runs at a time."""
    columns = g.T

    def total(run):
        pre, start, stop = run
        edge = start + jnp.arange(layout.width)
        real = edge < stop
        edge = jnp.where(real, edge, 0)
        return pre, jnp.matmul(
            jnp.where(real, _at(weight, edge), 0), columns[runs.post[edge]], precision=jax.lax.Precision.HIGHEST
        )

    block = max(1, min(len(runs.pre), _BLOCK // (layout.width * shape[0])))
    pre, totals = jax.lax.map(total, (runs.pre, runs.start, runs.stop), batch_size=block)
    return jnp.zeros(shape[::-1], g.dtype).at[pre].add(totals).T


def _at(weight: jax.Array, edge: jax.Array) -> jax.Array:
    return weight if jnp.ndim(weight) == 0 else weight[edge]
