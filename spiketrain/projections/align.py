"""Projections: spikes in, the input of a postsynaptic neuron out."""

from typing import Any

from spiketrain.dynamics import Dynamics
from spiketrain.errors import ShapeError, UnitError
from spiketrain.inputs import Input
from spiketrain.projections.out import Output
from spiketrain.synapses.base import Synapse
from spiketrain.units import UNITLESS


class AlignPostProj(Dynamics):
    """A projection that keeps one synaptic variable per postsynaptic neuron: comm, then syn, then out.

    Args:
        comm: where spikes go and how strongly, such as `Dense(800, 1000, weight=...)`.
        syn: how they last, such as `Expon(1000, tau=5.0 * u.ms)`; it takes the unit of the weights unless it has one.
        out: what they do, such as `COBA(E=0.0 * u.mV)`.

    Input and output: spikes `(..., pre)` in; a `Current`, `Conductance` or `Jump` of shape `(..., post)` out, to be
    passed to the neuron's `update`, or as a whole train to its call. In a whole trial comm is one product, outside
    the loop over time.

    Raises:
        ShapeError: comm and syn disagree on the number of postsynaptic neurons.
        UnitError: the units of comm, syn and out do not fit.
    """

    def __init__(self, comm: Any, syn: Synapse, out: Output):
        if comm.out_size != syn.size:
            raise ShapeError(
                f"AlignPostProj(comm, syn): comm ends at {comm.out_size} neurons, but syn has size {syn.size}. They must agree."
            )
        if syn.unit is None and comm.unit != UNITLESS:
            syn.unit = comm.unit
        if not comm.unit.has_same_dim(syn.unit or UNITLESS):
            raise UnitError(
                f"AlignPostProj(comm, syn): the weights are in `{comm.unit}`, but syn has unit `{syn.unit}`."
            )
        out.check(comm.unit)
        self.comm, self.syn, self.out = comm, syn, out
        self.in_size = comm.in_size

    def update(self, spikes: Any) -> Input:
        """Advance by one step and return the input of the postsynaptic neurons."""
        return self.out(self.syn.update(self.comm(spikes)))

    def __call__(self, *inputs: Any, **options: Any) -> Input:
        """Run a whole trial: spikes `(T, *batch, pre)`."""
        (spikes,) = inputs
        return self.out(self.syn(self.comm(spikes), **options))
