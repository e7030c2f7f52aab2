"""Sparse connections that are given one by one, and what every sparse comm shares."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from spiketrain.errors import DomainError, ShapeError
from spiketrain.parameter import Trainable
from spiketrain.projections.comm import event
from spiketrain.projections.comm.base import Comm, make_weight
from spiketrain.units import UNITLESS, magnitude, show, unit_of, with_unit

_LARGEST = np.iinfo(np.int32).max


class Wiring(nnx.Variable):
    """Which neurons are connected: integers that nothing changes and nothing trains."""


class EventDriven(Comm):
    r"""A sparse comm: $y_j = \sum_{i \to j} w_{ij} \, s_i$, with work for presynaptic neurons that are not silent.

    Exact for any number of spikes and for inputs other than zero and one. The gradients with respect to weights and
    input are exact, those of silent neurons included, so the backward pass visits every connection. Derivatives are
    taken backwards, once: there is no jvp.
    """

    def connect(self, counts: np.ndarray, post: np.ndarray, *, weight: Any, rngs: nnx.Rngs | None) -> None:
        """Store `counts[i]` connections of every presynaptic neuron i to `post`, in that order."""
        owner = type(self).__name__
        if not len(post):
            raise DomainError(
                f"{owner} has no connection between {self.in_size[0]} and {self.out_size[0]} neurons. Leave the "
                "projection out, or connect more neurons."
            )
        if len(post) > _LARGEST:
            raise DomainError(f"{owner} has {len(post)} connections, more than {_LARGEST}. Use several projections.")
        self.weight = make_weight(owner, weight, (len(post),), rngs)
        runs, self.layout = event.cut(counts, post, self.out_size[0])
        self.pre, self.start, self.stop, self.post = (Wiring(jnp.asarray(x)) for x in runs)

    @property
    def connections(self) -> int:
        """The number of connections."""
        return len(self.post.get_raw_value())

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the presynaptic and the postsynaptic neuron of every connection, in the order of the weights."""
        pre, start, stop, post = (np.asarray(x) for x in self._runs)
        return np.repeat(pre, stop - start), post

    @property
    def _runs(self) -> event.Runs:
        return event.Runs(*(x.get_raw_value() for x in (self.pre, self.start, self.stop, self.post)))

    def __call__(self, spikes: Any) -> Any:
        """Return the weighted sum over connections."""
        self.check(spikes)
        x, weight = jnp.asarray(magnitude(spikes)), magnitude(self.weight.value)
        dtype, leading = jnp.result_type(x, weight), x.shape[:-1]
        rows = x.reshape(-1, *self.in_size).astype(dtype)
        if len(rows) * self.pre.shape[0] > _LARGEST:
            raise ShapeError(
                f"{type(self).__name__} cannot take {len(rows)} rows of {self.in_size[0]} neurons at once. Call `update` "
                "step by step, or `unroll_in_pieces`."
            )
        if not len(rows):  # a train of no steps, from which `advance` makes the carry of a fresh trial
            y = jnp.zeros((0, *self.out_size), dtype)
        else:
            y = event.multiply(self.layout, weight.astype(dtype), rows, self._runs)
        return with_unit(y.reshape(*leading, *self.out_size), unit_of(spikes) * self.unit)


class SparseComm(EventDriven):
    r"""Connect the pairs of a list: $y_j = \sum_{k: post_k = j} w_k \, s_{pre_k}$, at the cost of the spikes.

    A pair may occur more than once (multapses add up), and a neuron may reach itself. `EventDriven` says what is
    exact.

    Args:
        in_size: the number of presynaptic neurons.
        out_size: the number of postsynaptic neurons.
        pre: the presynaptic neuron of every connection, integers `(connections,)`.
        post: the postsynaptic neuron of every connection, integers `(connections,)`.
        weight: one number for all, an array `(connections,)` in the order of `pre` or an initialiser, with or without
            a unit; wrapped in `Trainable` where an optimizer is to change it, and then a number stays one shared
            weight. `weight` and `pairs()` are kept sorted by presynaptic neuron.
        rngs: needed where `weight` is an initialiser.

    Input and output: `(..., in_size)` in, `(..., out_size)` out, in the unit of the weights.

    Raises:
        DomainError: there is no connection, or a neuron that does not exist.
        ShapeError: `pre`, `post`, the weight or the input has the wrong shape.

    Reference: Morrison et al. (2005), https://doi.org/10.1162/0899766054026648.
    """

    def __init__(self, in_size: int, out_size: int, *, pre: Any, post: Any, weight: Any, rngs: nnx.Rngs | None = None):
        super().__init__(in_size, out_size)
        pre = _neurons("pre", pre, in_size)
        post = _neurons("post", post, out_size)
        if pre.shape != post.shape:
            raise ShapeError(f"SparseComm(pre, post) must be of equal length, got {len(pre)} and {len(post)}.")
        order = np.argsort(pre, kind="stable")
        counts = np.bincount(pre, minlength=in_size)
        self.connect(counts, post[order], weight=_reordered(weight, order), rngs=rngs)

    @classmethod
    def from_scipy(cls, matrix: Any, *, unit: Any = None, trainable: bool = False) -> "SparseComm":
        """Build one from a sparse matrix `(in_size, out_size)` of scipy, with its entries as weights.

        Args:
            matrix: any format of `scipy.sparse`; entries at the same place are summed.
            unit: the unit of the entries, such as `u.nS`.
            trainable: whether an optimizer is to change the entries.
        """
        if not hasattr(matrix, "tocoo"):
            raise ShapeError(
                f"SparseComm.from_scipy expects a sparse matrix of scipy, got {type(matrix).__name__}. Install scipy "
                "(`pip install scipy`) and write, for example, `scipy.sparse.csr_array(matrix)`."
            )
        entries = matrix.tocsr().tocoo()
        weight = with_unit(np.asarray(entries.data, float), UNITLESS if unit is None else unit)
        return cls(*matrix.shape, pre=entries.row, post=entries.col, weight=Trainable(weight) if trainable else weight)


def _neurons(name: str, numbers: Any, size: int) -> np.ndarray:
    numbers = np.asarray(numbers)
    if numbers.ndim != 1 or (numbers.size and not np.issubdtype(numbers.dtype, np.integer)):
        raise ShapeError(
            f"SparseComm({name}=...) expects integers of shape (connections,), got {numbers.dtype} of shape "
            f"{numbers.shape}."
        )
    if numbers.size and not (0 <= numbers.min() and numbers.max() < size):
        raise DomainError(
            f"SparseComm({name}=...) must lie in 0..{size - 1}, got {show(numbers.min())}..{show(numbers.max())}."
        )
    return numbers.astype(np.int64)


def _reordered(weight: Any, order: np.ndarray) -> Any:
    if isinstance(weight, Trainable):
        return Trainable(_reordered(weight.value, order))
    if callable(weight) or np.shape(magnitude(weight)) != order.shape:
        return weight
    return weight[order]
