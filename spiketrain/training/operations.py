r"""Synaptic operations: what a network computes per trial, as a proxy of the energy that it takes.

A product whose input is spikes adds one weight per spike and connection; one whose input is analog multiplies
every value with every weight.
"""

import contextvars
import itertools
import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from spiketrain.projections.comm.base import Comm
from spiketrain.training.disturbances import Given
from spiketrain.units import magnitude

PRODUCTS = (nnx.Linear, nnx.Conv, Comm)

Shapes = dict[str, tuple[int, ...]]
_shapes: contextvars.ContextVar[Shapes | None] = contextvars.ContextVar("shapes", default=None)
_numbers = itertools.count()


class Tally(nnx.Variable):
    """What is counted while a model runs."""


class Counts(NamedTuple):
    """What one product saw at the valid steps of a batch: steps, nonzero inputs by place, and whether one was graded."""

    steps: jax.Array
    events: jax.Array
    graded: jax.Array


class Layer(NamedTuple):
    """The operations of one product, per trial."""

    layer: str
    input: str
    operations: float
    dense: float


class Operations(NamedTuple):
    r"""The operations of a network per trial, averaged over trials.

    For each product with weights, over the valid steps of a trial,

    $$SynOps = \sum_t \sum_i [s_i(t) \neq 0] \, F_i \qquad dense = \sum_t \sum_i F_i$$

    with $F_i$ the number of connections of input i whose weight is not zero: all of them in a dense layer, the places
    of a kernel that lie within the map in a convolution, the targets in a sparse one. Where every input is -1, 0 or 1
    it is a spike, and the product takes SynOps accumulations. Otherwise the input is analog, and it takes `dense`
    multiplications with accumulation. What enters a recurrent product is the spikes of the step before. Biases,
    normalisation and what neurons compute are left out, and so is the transport of data, which weighs more than
    arithmetic on most hardware: the numbers compare networks, they are no joules.

    Args:
        layers: every product that was counted.
        uncounted: the names of those which ran more or less than once per time step. Products of arrays outside
            `nnx.Linear`, `nnx.Conv` and comms are not seen at all.

    Reference: Yik et al. (2025), https://doi.org/10.1038/s41467-025-56739-4 (effective operations), Davies et al. (2018),
    https://doi.org/10.1109/MM.2018.112130359 (synaptic operations), Lemaire et al. (2022),
    https://arxiv.org/abs/2210.13107 (what they leave out).
    """

    layers: list[Layer]
    uncounted: list[str]

    def record(self) -> dict[str, Any]:
        """Return all of it as plain data, with the totals."""
        total = {kind: sum(x.operations for x in self.layers if x.input == kind) for kind in ("spikes", "analog")}
        return {
            "synaptic_operations": total["spikes"],
            "multiply_accumulates": total["analog"],
            "dense": sum(x.dense for x in self.layers),
            "layers": [x._asdict() for x in self.layers],
            "uncounted": self.uncounted,
        }


def input_shapes(model: Any, run: Callable[[Any], Any]) -> Shapes:
    """Return the shape of one input of every product in `model`, found by tracing `run(model)`."""
    model = nnx.clone(model)
    for name, product in products(model):
        _recast(product)
        product.layer_name = name
        product.watched = next(_numbers)  # compiled loops are reused for an equal model, and would not be traced
    graphdef, state = nnx.split(model)
    shapes: Shapes = {}
    token = _shapes.set(shapes)
    try:
        jax.eval_shape(lambda state: run(nnx.merge(graphdef, state, copy=True)), state)
    finally:
        _shapes.reset(token)
    return shapes


def count_in(model: Any, shapes: Shapes, mask: jax.Array) -> None:
    """Let every product of `model`, changed in place, count what it sees at the steps `(T, B)` of `mask`."""
    for name, product in products(model):
        if name in shapes:
            _recast(product)
            product.valid = Given(mask)
            product.clock = Tally(jnp.zeros((), jnp.int32))
            product.events = Tally(jnp.zeros(shapes[name], jnp.int32))
            product.graded = Tally(jnp.zeros((), bool))


def counts(model: Any, shapes: Shapes) -> dict[str, Counts]:
    """Return what the products of `model` have counted."""
    return {
        name: Counts(*(getattr(product, x).get_raw_value() for x in ("clock", "events", "graded")))
        for name, product in products(model)
        if name in shapes
    }


def summed(model: Any, batches: list[dict[str, Counts]], *, steps: int, valid: int, trials: int) -> Operations:
    """Return the operations per trial.

    Args:
        model: the model as it was before anything counted.
        batches: what `counts` returned for each batch.
        steps: the time steps of a batch, padding included.
        valid: the valid steps of all trials.
        trials: the number of trials.
    """
    layers, uncounted = [], []
    for name, product in products(model):
        if name not in batches[0] or any(batch[name].steps != steps for batch in batches):
            uncounted.append(name)
            continue
        events = sum(np.asarray(batch[name].events, np.int64) for batch in batches)
        graded = any(bool(batch[name].graded) for batch in batches)
        connections = fan_out(product, np.shape(events))
        dense = int(connections.sum()) * valid / trials
        operations = dense if graded else int((events * connections).sum()) / trials
        layers.append(Layer(name, "analog" if graded else "spikes", operations, dense))
    return Operations(layers, uncounted)


def fan_out(product: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return how many connections of nonzero weight leave every input: the transpose of the layer applied to ones."""
    layer = nnx.clone(product)
    for path, variable in nnx.to_flat_state(nnx.state(layer)):
        if path[-1] in ("kernel", "weight", "bias"):
            w = variable.get_raw_value()
            variable.set_raw_value(jnp.zeros_like(w) if path[-1] == "bias" else (w != 0).astype(w.dtype))
    ones = jax.grad(lambda x: magnitude(layer(x)).sum())(jnp.zeros((1, *shape)))[0]
    window = math.prod(getattr(product, "pool", ()))  # an average over it divides by its size
    return np.rint(np.asarray(ones, np.float64) * window).astype(np.int64)


def products(model: Any) -> list[tuple[str, Any]]:
    """Return every product with weights in `model`, by name."""
    found = (("/".join(map(str, path)), module) for path, module in nnx.iter_modules(model))
    return sorted((name, module) for name, module in found if isinstance(module, PRODUCTS))


def _recast(product: Any) -> None:
    kind: Any = type(product)
    object.__setattr__(product, "__class__", _counting(kind))


def _input_axes(product: Any) -> int:
    if isinstance(product, Comm):
        return len(product.in_size)
    return len(product.kernel_size) + 1 if isinstance(product, nnx.Conv) else 1


@cache
def _counting(kind: Any) -> Any:
    """Return a product that looks at its input, and computes what it always does."""

    class Counting(kind):
        def __call__(self, x: Any, *args: Any, **options: Any) -> Any:
            if hasattr(self, "events"):
                self._count(jnp.asarray(magnitude(x)))
            elif (shapes := _shapes.get()) is not None:
                shapes[self.layer_name] = jnp.shape(magnitude(x))[-_input_axes(self) :]
            return super().__call__(x, *args, **options)

        def _count(self, x: jax.Array) -> None:
            """Count in a train or a piece of one, `(T, B, ...)`, or in a step of one, `(B, ...)`."""
            events, valid = self.events.get_raw_value(), self.valid.get_raw_value()
            x = x[None] if x.ndim == events.ndim + 1 else x
            if x.ndim != events.ndim + 2 or x.shape[1] != valid.shape[1] or len(x) > len(valid):
                return
            clock = self.clock.get_raw_value()
            now = jax.lax.dynamic_slice_in_dim(valid, clock, len(x))
            x = jnp.where(now.reshape(*now.shape, *[1] * events.ndim), x, 0)
            self.events.set_raw_value(events + (x != 0).sum((0, 1), dtype=jnp.int32))
            self.graded.set_raw_value(self.graded.get_raw_value() | (x * x != jnp.abs(x)).any())
            self.clock.set_raw_value(clock + len(x))

    Counting.__name__ = Counting.__qualname__ = kind.__name__
    return Counting
