"""Each neuron to its counterpart."""

from typing import Any

from flax import nnx

from spiketrain.projections.comm.base import Comm, make_weight


class OneToOne(Comm):
    r"""Pass each neuron's spikes to the neuron of the same number: $y_j = w_j \, s_j$.

    Args:
        size: the number of neurons on either side.
        weight: one number for all, an array `(size,)` or an initialiser, with or without a unit; wrapped in
            `Trainable` where an optimizer is to change it, and then a number stays one shared weight.
        rngs: needed where `weight` is an initialiser.

    Input and output: `(..., size)`, the output in the unit of the weights.

    Raises:
        ShapeError: the weight or the input has the wrong shape.
    """

    def __init__(self, size: int, *, weight: Any, rngs: nnx.Rngs | None = None):
        super().__init__(size, size)
        self.weight = make_weight("OneToOne", weight, self.in_size, rngs)

    def __call__(self, spikes: Any) -> Any:
        """Return the weighted spikes."""
        self.check(spikes)
        return spikes * self.weight.value
