"""Random connections, equally many to every neuron."""

from typing import Any

import numpy as np
from flax import nnx

from spiketrain.projections.comm.fixed_out_degree import partners
from spiketrain.projections.comm.sparse import EventDriven


class FixedInDegree(EventDriven):
    r"""Connect `degree` different neurons to each postsynaptic one, drawn at random: $y_j = \sum_{i \to j} w_{ij} s_i$.

    Every choice of sources is equally likely; no pair is connected twice (no multapses). `EventDriven` says what is
    exact.

    Args:
        in_size: the number of presynaptic neurons.
        out_size: the number of postsynaptic neurons.
        degree: the number of sources of every postsynaptic neuron.
        weight: one number for all, or an initialiser for one per connection, with or without a unit; wrapped in
            `Trainable` where an optimizer is to change it, and then a number stays one shared weight.
        seed: an integer; equal seeds give equal connections.
        allow_autapses: whether neuron i may reach neuron i. False leaves those pairs out, for a population onto
            itself.
        rngs: needed where `weight` is an initialiser.

    Input and output: `(..., in_size)` in, `(..., out_size)` out, in the unit of the weights.

    Raises:
        DomainError: `degree` is no integer from 1 to the number of neurons to choose from.
        ShapeError: the weight or the input has the wrong shape, or autapses are excluded between populations of
            different sizes.
    """

    def __init__(
        self,
        in_size: int,
        out_size: int,
        degree: int,
        weight: Any,
        *,
        seed: int,
        allow_autapses: bool = True,
        rngs: nnx.Rngs | None = None,
    ):
        super().__init__(in_size, out_size)
        pre = partners(
            "FixedInDegree", out_size, in_size, degree, seed, None if allow_autapses else (in_size, out_size)
        )
        pair = pre.astype(np.int64) * out_size + np.arange(out_size)[:, None]
        pair = np.sort(pair, axis=None)
        counts = np.bincount(pre.reshape(-1), minlength=in_size)
        self.connect(counts, (pair % out_size).astype(np.int32), weight=weight, rngs=rngs)
