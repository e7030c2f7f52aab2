"""The contract: anything with State that evolves in time, one step at a time."""

from collections.abc import Iterator
from typing import Any

from flax import nnx

from spiketrain.parameter import Component
from spiketrain.unroll import unroll


def parts(module: nnx.Pytree) -> Iterator["Dynamics"]:
    """Yield the nearest `Dynamics` below `module`, looking through lists and plain modules."""
    for _, child in nnx.iter_children(module):
        if isinstance(child, Dynamics):
            yield child
        elif isinstance(child, nnx.Pytree):
            yield from parts(child)


class Dynamics(Component):
    """Neurons, synapses, recurrent layers, circuits: a map from trains to trains.

    A subclass writes two methods. `init_state` creates every `ShortTermState` and nothing else. `update` takes
    one time step of input, reads and writes State, and returns one time step of output; it creates and removes
    no State. The call, over a whole trial, comes for free.

    Attributes:
        in_size: the shape of one input without batch, from which a call infers the batch; None for a circuit,
            which is told its `batch_shape` where it has a batch.
    """

    in_size: tuple[int, ...] | None = None

    def __getattr__(self, name: str) -> Any:
        declared = any(name in vars(kind).get("__annotations__", ()) for kind in type(self).__mro__)
        if declared or isinstance(getattr(type(self), name, None), property):
            owner = type(self).__name__
            raise AttributeError(
                f"{owner}.{name} lives for one trial, and there is none yet. Call the model on a whole train, or "
                f"{owner}.init_state(batch_shape) before {owner}.update."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create the State of a fresh trial, here and in every part that is a `Dynamics`."""
        for part in parts(self):
            part.init_state(batch_shape)

    def update(self, *inputs: Any) -> Any:
        """Advance the State by one step of `environ.get_dt()` and return this step's output."""
        raise NotImplementedError(f"{type(self).__name__} does not define update(...)")

    def __call__(self, *inputs: Any, batch_shape: tuple[int, ...] | None = None, length: int | None = None) -> Any:
        """Run a fresh trial: inputs and outputs have time first, `(T, *batch, ...)`. See `unroll`."""
        return unroll(self, *inputs, batch_shape=batch_shape, length=length)
