"""A layer whose spikes come back to it one step later, or more."""

from typing import Any

import jax
from flax import nnx

from spiketrain.dynamics import Dynamics
from spiketrain.errors import DomainError, ShapeError
from spiketrain.neurons.base import Neuron
from spiketrain.parameter import Trainable
from spiketrain.projections.comm.base import one_step
from spiketrain.projections.comm.dense import Dense


class Recurrent(Dynamics):
    r"""Any neuron with recurrent weights: its input is $I[t] + s[t-1] \, W$.

    The product that makes $I$ from the layer below is no part of it, so it is one product over the whole trial,
    outside the loop over time.

    Args:
        neuron: the neurons, of one-dimensional size N.
        weight: W, `(N, N)`, as in `Dense`; trained and orthogonal unless it is given.
        precision: that of the product with W, as in `Dense`.
        comm: the recurrent connections in place of W: `Delayed(...)`, `LearnedDelays(N, N, ...)` or any other comm from N
            neurons to N. A spike that takes no time arrives in the step after it.
        rngs: needed where `weight` is an initialiser.

    Input and output: any number of inputs of the neuron's shape in, its spikes out.

    Raises:
        DomainError: the precision has no such name, or a comm is given and a weight or a precision besides.
        ShapeError: the neuron's size, the weight or the comm has the wrong shape.
    """

    def __init__(
        self,
        neuron: Neuron,
        *,
        weight: Any = None,
        precision: str = "float32",
        comm: Any = None,
        rngs: nnx.Rngs | None = None,
    ):
        if len(neuron.size) != 1:
            raise ShapeError(
                f"Recurrent(neuron) must have a one-dimensional size, got {neuron.size}. Write, for example, `LIF(100)`."
            )
        self.neuron = neuron
        self.size = self.in_size = neuron.size
        if comm is None:
            weight = Trainable(nnx.initializers.orthogonal()) if weight is None else weight
            comm = Dense(neuron.size[0], neuron.size[0], weight=weight, precision=precision, rngs=rngs)
        elif weight is not None or precision != "float32":
            raise DomainError("Recurrent(comm=...) has weights and a precision of its own. Leave out the others.")
        if (comm.in_size, comm.out_size) != (neuron.size, neuron.size):
            raise ShapeError(
                f"Recurrent(neuron, comm=...): the neuron has size {neuron.size}, but comm goes from {comm.in_size} to "
                f"{comm.out_size}."
            )
        self.comm = comm

    @property
    def spikes(self) -> jax.Array:
        """The spikes of the stored V."""
        return self.neuron.spikes

    def update(self, *inputs: Any) -> jax.Array:
        """Advance by one step and return the spikes."""
        return self.neuron.update(*inputs, one_step(self.comm, self.neuron.spikes))
