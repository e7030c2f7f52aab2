"""Projections: spikes in, the input of a postsynaptic neuron out."""

from typing import Any

from spiketrain.dynamics import Dynamics
from spiketrain.errors import DomainError, ShapeError, UnitError
from spiketrain.inputs import Input
from spiketrain.projections.comm.base import one_step
from spiketrain.projections.out import Output
from spiketrain.synapses.base import Synapse
from spiketrain.units import UNITLESS


class AlignPostProj(Dynamics):
    """A projection that keeps one synaptic variable per postsynaptic neuron: comm, then syn, then out.

    Args:
        comm: where spikes go and how strongly, such as `Dense(800, 1000, weight=...)`; `Sum(a, b)` for several
            pathways into one synapse, and then `update` and the call take one array of spikes for each.
        syn: how they last, such as `Expon(1000, tau=5.0 * u.ms)`; it takes the unit of the weights unless it has one.
        out: what they do, such as `COBA(E=0.0 * u.mV)`.

    Input and output: spikes `(..., pre)` in; a `Current`, `Conductance` or `Jump` of shape `(..., post)` out, to be
    passed to the neuron's `update`, or as a whole train to its call. In a whole trial comm is one product, outside
    the loop over time.

    Raises:
        DomainError: syn is not linear, so it cannot be shared by presynaptic neurons.
        ShapeError: comm and syn disagree on the number of postsynaptic neurons.
        UnitError: the units of comm, syn and out do not fit.
    """

    def __init__(self, comm: Any, syn: Synapse, out: Output):
        if not syn.linear:
            name = type(syn).__name__
            raise DomainError(
                f"AlignPostProj(comm, syn): {name} is not linear, so each presynaptic neuron needs its own. "
                f"Write `AlignPreProj({name}({comm.in_size[0] if comm.in_size else '...'}), comm, out)`."
            )
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

    def update(self, *spikes: Any) -> Input:
        """Advance by one step and return the input of the postsynaptic neurons."""
        return self.out(self.syn.update(one_step(self.comm, *spikes)))

    def __call__(self, *inputs: Any, **options: Any) -> Input:
        """Run a whole trial: spikes `(T, *batch, pre)`."""
        return self.out(self.syn(self.comm(*inputs), **options))


class AlignPreProj(Dynamics):
    """A projection that keeps one synaptic variable per presynaptic neuron: syn, then comm, then out.

    For a linear synapse with the same parameters everywhere it computes what `AlignPostProj` does. It is the one for
    synapses that saturate, such as `AMPA`, and cheaper where there are fewer neurons before than after. A sparse comm
    saves nothing here: a synaptic variable is hardly ever zero.

    Args:
        syn: how spikes last, such as `AMPA(800)`; it has no unit.
        comm: where they go and how strongly, such as `Dense(800, 1000, weight=...)`.
        out: what they do, such as `COBA(E=0.0 * u.mV)`.

    Input and output: spikes `(..., pre)` in; the input of `(..., post)` neurons out, as of `AlignPostProj`.

    Raises:
        ShapeError: syn and comm disagree on the number of presynaptic neurons.
        UnitError: syn has a unit, or the units of comm and out do not fit.
    """

    def __init__(self, syn: Synapse, comm: Any, out: Output):
        if comm.in_size != syn.size:
            raise ShapeError(
                f"AlignPreProj(syn, comm): syn has size {syn.size}, but comm starts from {comm.in_size} neurons. They must agree."
            )
        if syn.unit is not None and syn.unit != UNITLESS:
            raise UnitError(
                f"AlignPreProj(syn, comm): syn filters spikes, which have no unit, but it has unit `{syn.unit}`. "
                "Leave it out and give the weights of comm that unit."
            )
        out.check(comm.unit)
        self.syn, self.comm, self.out = syn, comm, out
        self.in_size = comm.in_size

    def update(self, *spikes: Any) -> Input:
        """Advance by one step and return the input of the postsynaptic neurons."""
        return self.out(one_step(self.comm, self.syn.update(*spikes)))

    def __call__(self, *inputs: Any, **options: Any) -> Input:
        """Run a whole trial: spikes `(T, *batch, pre)`."""
        return self.out(self.comm(self.syn(*inputs, **options)))
