"""Several pathways into one synapse."""

from collections.abc import Callable
from typing import Any

from flax import nnx

from spiketrain.dynamics import Dynamics
from spiketrain.errors import ShapeError, UnitError
from spiketrain.projections.comm.base import Comm, one_step
from spiketrain.projections.comm.delayed import Delayed
from spiketrain.units import same_dimension


class Sum(Dynamics):
    r"""Add up what several comms carry, each from its own neurons: $y = \sum_k comm_k(s_k)$.

    This is how projections share a synapse: `AlignPostProj(Sum(from_E, from_thalamus), syn, out)`, and
    `update(spikes_of_E, spikes_of_thalamus)`. Each may have its own delay: `Sum(Delayed(from_E, 1.0 * u.ms), ...)`.

    Args:
        comms: what to add, in the order in which their spikes will be given.

    Input and output: one array `(..., in_size)` per comm in, `(..., out_size)` out, in the unit of the first. Where a
    part has delays, the call takes whole trains, time first, and `update` one step.

    Attributes:
        in_size: the shape of one input where all agree; None otherwise, and then a circuit that is run as a whole is
            told its `batch_shape`.

    Raises:
        ShapeError: the comms end at different numbers of neurons, or inputs and comms differ in number.
        UnitError: the weights have different dimensions.
    """

    def __init__(self, *comms: Comm | Delayed):
        if not comms:
            raise ShapeError("Sum(*comms) needs at least one comm. Write, for example, `Sum(Dense(...), Dense(...))`.")
        self.comms = nnx.List(comms)
        self.out_size, self.unit = comms[0].out_size, comms[0].unit
        sizes = {comm.in_size for comm in comms}
        self.in_size = comms[0].in_size if len(sizes) == 1 else None
        for comm in comms:
            if comm.out_size != self.out_size:
                raise ShapeError(
                    f"Sum(*comms) must end at one population, got {self.out_size} and {comm.out_size} neurons."
                )
            if not same_dimension(comm.unit, self.unit):
                raise UnitError(f"Sum(*comms) must have weights of one kind, got `{self.unit}` and `{comm.unit}`.")

    def update(self, *spikes: Any) -> Any:
        """Advance the parts that have delays by one step and return the sum."""
        return self._total(one_step, spikes)

    def __call__(self, *spikes: Any) -> Any:  # type: ignore[override]  # each part infers its batch
        """Return the sum."""
        return self._total(lambda comm, s: comm(s), spikes)

    def _total(self, carry: Callable[[Any, Any], Any], spikes: tuple[Any, ...]) -> Any:
        if len(spikes) != len(self.comms):
            raise ShapeError(
                f"Sum of {len(self.comms)} comms expects as many arrays of spikes, got {len(spikes)}. "
                "Write `update(spikes_of_a, spikes_of_b)`."
            )
        first, *others = [carry(comm, s) for comm, s in zip(self.comms, spikes, strict=True)]
        return sum(others, first)
