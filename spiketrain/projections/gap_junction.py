"""Electrical synapses."""

from typing import Any

import brainunit as u
from flax import nnx

from spiketrain.errors import ShapeError
from spiketrain.inputs import Coupling
from spiketrain.projections.comm.base import Comm


class GapJunction(nnx.Module):
    r"""Couple the potentials of a population: $I_i = \sum_j g_{ij} (V_j - V_i)$.

    The neuron solves for its own $V_i$ within the step; the $V_j$ of the others are those at its beginning. They are
    the potentials after the reset: `self.E.update(current, self.gap(self.E.V_after_reset))`.

    Args:
        comm: the conductances $g_{ij}$ from j to i as weights, from a population onto itself, such as
            `FixedProb(100, 100, 0.1, 0.5 * u.nS, seed=0)`. A junction that conducts both ways has equal weights both
            ways; leave out autapses.

    Input and output: potentials `(..., size)` in, the input of the same neurons out.

    Raises:
        ShapeError: comm ends at another number of neurons than it starts from.

    Reference: Sterratt et al. (2011), Principles of Computational Modelling in Neuroscience, chapter 7.
    """

    def __init__(self, comm: Comm):
        if comm.in_size != comm.out_size:
            raise ShapeError(
                f"GapJunction(comm) couples one population with itself, got {comm.in_size} onto {comm.out_size} neurons."
            )
        self.comm = comm

    def __call__(self, V: Any) -> Coupling:
        """Return the input at the potentials `V`."""
        return Coupling(g=self.comm(u.math.ones_like(u.get_mantissa(V))), gE=self.comm(V))
