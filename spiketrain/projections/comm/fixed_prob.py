"""Random connections, each pair by itself."""

from typing import Any

import numpy as np
from flax import nnx

from spiketrain.errors import DomainError
from spiketrain.projections.comm import draw
from spiketrain.projections.comm.all_to_all import no_autapses
from spiketrain.projections.comm.sparse import EventDriven
from spiketrain.units import show


class FixedProb(EventDriven):
    r"""Connect each pair with probability $p$, independently: $y_j = \sum_{i \to j} w_{ij} \, s_i$.

    The number of targets of a neuron is binomial, not fixed; no pair is connected twice (no multapses).
    `EventDriven` says what is exact.

    Args:
        in_size: the number of presynaptic neurons.
        out_size: the number of postsynaptic neurons.
        prob: the probability of a connection, above 0 and up to 1.
        weight: one number for all, or an initialiser for one per connection, with or without a unit; wrapped in
            `Trainable` where an optimizer is to change it, and then a number stays one shared weight.
        seed: an integer; equal seeds give equal connections.
        allow_autapses: whether neuron i may reach neuron i. False leaves those pairs out, for a population onto
            itself.
        rngs: needed where `weight` is an initialiser.

    Input and output: `(..., in_size)` in, `(..., out_size)` out, in the unit of the weights.

    Raises:
        DomainError: `prob` is no probability, or no connection was drawn.
        ShapeError: the weight or the input has the wrong shape, or autapses are excluded between populations of
            different sizes.

    Reference: Brunel (2000), https://doi.org/10.1023/A:1008925309027.
    """

    def __init__(
        self,
        in_size: int,
        out_size: int,
        prob: float,
        weight: Any,
        *,
        seed: int,
        allow_autapses: bool = True,
        rngs: nnx.Rngs | None = None,
    ):
        super().__init__(in_size, out_size)
        if not 0 < prob <= 1:
            raise DomainError(f"FixedProb(prob=...) must lie above 0 and up to 1, got {show(prob)}.")
        if not allow_autapses and in_size != out_size:
            raise no_autapses("FixedProb", in_size, out_size)
        choices = out_size if allow_autapses else out_size - 1
        counts, posts = np.zeros(in_size, np.int64), []
        for pair in draw.successes(np.random.default_rng(seed), in_size * choices, prob):
            pre, post = np.divmod(pair, max(choices, 1))
            counts += np.bincount(pre, minlength=in_size)
            posts.append((post if allow_autapses else draw.skipping(post, pre)).astype(np.int32))
        self.connect(counts, np.concatenate([np.empty(0, np.int32), *posts]), weight=weight, rngs=rngs)
