"""A sparse matrix product that does work for presynaptic neurons with something to say, and for no others.

Connections lie sorted by presynaptic neuron, cut into *runs*: a neuron's connections are one run, or several where
they are many more than the mean. Non-zero inputs select runs; a loop handles them a chunk at a time, as often as
there are chunks, so the result is exact for any number of spikes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_CHUNK = 4096  # connections per turn of the loop: enough to amortise the turn, few enough for the cache
_BLOCK = 1 << 18  # numbers held at a time by the gradient with respect to the input


class Runs(NamedTuple):
    """Where connections lie: `post[start[r]:stop[r]]` are targets of neuron `pre[r]`."""

    pre: Any
    start: Any
    stop: Any
    post: Any


@dataclass(frozen=True)
class Layout:
    """What a compiled loop has to know: the number of targets and the longest run."""

    out_size: int
    width: int

    @property
    def chunk(self) -> int:
        """The number of runs per turn."""
        return max(16, _CHUNK // self.width)


def cut(counts: np.ndarray, post: np.ndarray, out_size: int) -> tuple[Runs, Layout]:
    """Cut the targets of presynaptic neurons, `counts` of each, into runs of comparable length."""
    width = int(min(counts.max(), max(32, 2 * np.ceil(counts.sum() / np.count_nonzero(counts)))))
    pieces = -(-counts // width)
    pre = np.repeat(np.arange(len(counts)), pieces)
    stops = np.cumsum(counts)
    nth = np.arange(len(pre)) - (np.cumsum(pieces) - pieces)[pre]
    start = (stops - counts)[pre] + width * nth
    stop = np.minimum(start + width, stops[pre])
    return Runs(*(np.asarray(x, np.int32) for x in (pre, start, stop, post))), Layout(out_size, width)


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
    count = jnp.cumsum((x != 0)[:, runs.pre].reshape(-1), dtype=jnp.int32)

    def turn(carry):
        first, out = carry
        nth = first + jnp.arange(layout.chunk)
        row, run = jnp.divmod(jnp.minimum(jnp.searchsorted(count, nth + 1), len(count) - 1), len(runs.pre))
        edge = runs.start[run][:, None] + jnp.arange(layout.width)
        real = (nth < count[-1])[:, None] & (edge < runs.stop[run][:, None])
        value = x[row, runs.pre[run]]
        return first + layout.chunk, body(out, row[:, None], value[:, None], jnp.where(real, edge, 0), real)

    return jax.lax.while_loop(lambda carry: carry[0] < count[-1], turn, (jnp.int32(0), out))[1]


def _gather(layout: Layout, weight: jax.Array, g: jax.Array, runs: Runs, shape: tuple[int, ...]) -> jax.Array:
    """Return `g @ W.T`, a block of runs at a time."""
    columns = g.T

    def total(run):
        pre, start, stop = run
        edge = start + jnp.arange(layout.width)
        real = edge < stop
        edge = jnp.where(real, edge, 0)
        return pre, jnp.where(real, _at(weight, edge), 0) @ columns[runs.post[edge]]

    block = max(1, min(len(runs.pre), _BLOCK // (layout.width * shape[0])))
    pre, totals = jax.lax.map(total, (runs.pre, runs.start, runs.stop), batch_size=block)
    return jnp.zeros(shape[::-1], g.dtype).at[pre].add(totals).T


def _at(weight: jax.Array, edge: jax.Array) -> jax.Array:
    return weight if jnp.ndim(weight) == 0 else weight[edge]
