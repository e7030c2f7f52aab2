"""Random connections, equally many from every neuron."""

from typing import Any

import numpy as np
from flax import nnx

from spiketrain.errors import DomainError
from spiketrain.projections.comm import draw
from spiketrain.projections.comm.all_to_all import no_autapses
from spiketrain.projections.comm.sparse import EventDriven


class FixedOutDegree(EventDriven):
    r"""Connect each presynaptic neuron to `degree` different ones, drawn at random: $y_j = \sum_{i \to j} w_{ij} s_i$.

    Every choice of targets is equally likely; no pair is connected twice (no multapses). `EventDriven` says what is
    exact.

    Args:
        in_size: the number of presynaptic neurons.
        out_size: the number of postsynaptic neurons.
        degree: the number of targets of every presynaptic neuron.
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
        post = partners(
            "FixedOutDegree", in_size, out_size, degree, seed, None if allow_autapses else (in_size, out_size)
        )
        self.connect(np.full(in_size, degree), post.reshape(-1), weight=weight, rngs=rngs)


def partners(
    owner: str, rows: int, choices: int, degree: int, seed: int, population: tuple[int, int] | None
) -> np.ndarray:
    """Draw `degree` different partners for every row; a `population` does without autapses."""
    if population is not None:
        if population[0] != population[1]:
            raise no_autapses(owner, *population)
        choices -= 1
    if isinstance(degree, bool) or not isinstance(degree, int | np.integer) or not 1 <= degree <= choices:
        raise DomainError(f"{owner}(degree=...) must be an integer from 1 to {choices}, got {degree!r}.")
    drawn = draw.subsets(np.random.default_rng(seed), rows, choices, int(degree))
    return drawn if population is None else draw.skipping(drawn, np.arange(rows)[:, None])
