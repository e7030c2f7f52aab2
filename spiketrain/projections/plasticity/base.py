"""What every plastic comm shares: one weight per connection, kept within bounds, and the pairing of both sides."""

from typing import Any

import jax
import jax.numpy as jnp

from spiketrain.dynamics import Dynamics
from spiketrain.errors import DomainError, ShapeError, UnitError
from spiketrain.projections.comm.base import Comm
from spiketrain.projections.comm.dense import Dense
from spiketrain.projections.comm.one_to_one import OneToOne
from spiketrain.projections.comm.sparse import EventDriven, Wiring
from spiketrain.projections.plasticity.bounds import WeightBounds
from spiketrain.state import LongTermState, ParamState, ShortTermState
from spiketrain.units import has_unit, magnitude, show, with_unit


class Plastic(Dynamics):
    r"""A comm whose weights the spikes on both sides change, in the place of a comm in `AlignPostProj`.

    In a circuit, `self.E.update(current, self.E2E.update(e, e))` with the spikes of the step before, first those of
    the presynaptic and then those of the postsynaptic neurons. The order of one update:

    1. the spikes are transmitted with the weights as the steps before left them;
    2. all traces decay by dt, exactly;
    3. the weights change, by the traces of earlier spikes. Spikes of the same step do not pair, and all changes of a
       step are taken at the same weight;
    4. the spikes are added to the traces.

    The weights are a `LongTermState`: a trial changes them, the next one goes on from there, and a checkpoint keeps
    them. The traces are those of a trial. The rows of a batch share the weights, and each step changes them by the
    mean over rows. A step visits every connection once, whether there are spikes or not.

    A `Delay` stands in front, `update(delay.update(pre), post)`: spikes pair when they reach the synapse. One on the
    other side, `update(pre, delay.update(post))`, is the way of the postsynaptic spike back into the dendrite. To run
    with the weights held, put the inner `comm` into a projection of its own.

    Args:
        comm: `Dense`, `OneToOne` or a sparse comm, whose weights are not trained. A shared weight becomes one per
            connection.
        bounds: where the weights may lie.
        parameters: the physical arguments that the subclass declares; each is one number for the projection.
    """

    size = ()  # of a physical argument

    def __init__(self, comm: Comm, *, bounds: WeightBounds, **parameters: Any):
        owner = type(self).__name__
        if not isinstance(comm, Dense | OneToOne | EventDriven):
            raise ShapeError(
                f"{owner}(comm) needs one weight per connection, as `Dense`, `OneToOne` and the sparse comms have, got "
                f"{type(comm).__name__}. For a delay write `update(delay.update(pre), post)`."
            )
        if isinstance(comm.weight, ParamState):
            raise DomainError(
                f"{owner}(comm) changes the weights itself, so an optimizer cannot train them. Write "
                f"`{type(comm).__name__}(..., weight=...)` without `Trainable`."
            )
        if not isinstance(bounds, WeightBounds):
            raise DomainError(
                f"{owner}(bounds=...) expects bounds, got {show(bounds)}. Write, for example, "
                "`WeightBounds(0.0 * u.nS, 1.0 * u.nS)`."
            )
        shape = comm.weight.shape
        if isinstance(comm, EventDriven):
            pre, start, stop = (x.get_raw_value() for x in (comm.pre, comm.start, comm.stop))
            shape = (comm.connections,)
            self.sources = Wiring(jnp.repeat(pre, stop - start, total_repeat_length=comm.connections))
        elif isinstance(comm, OneToOne):
            shape = comm.in_size
        weight = bounds.checked(owner, comm.weight.value)
        comm.weight = LongTermState(with_unit(jnp.broadcast_to(magnitude(weight), shape), comm.unit))
        self.comm, self.bounds = comm, bounds
        self.unit, self.out_size = comm.unit, comm.out_size
        self.in_size = comm.in_size if comm.in_size == comm.out_size else None
        for name, value in parameters.items():
            setattr(self, name, value)

    @property
    def weight(self) -> LongTermState:
        """The weights, in the order of the inner comm."""
        return self.comm.weight

    def __call__(self, *inputs: Any, batch_shape: tuple[int, ...] | None = None, length: int | None = None) -> Any:
        """Run a fresh trial: spikes `(T, *batch, pre)` and `(T, *batch, post)`, and what else `update` takes."""
        if batch_shape is None and inputs:
            batch_shape = jnp.shape(inputs[0])[1:-1]
        return super().__call__(*inputs, batch_shape=batch_shape, length=length)

    def zeros(self, *shape: int) -> ShortTermState:
        """Return a trace at zero; never in half precision, in which one that decays slowly would not decay at all."""
        return ShortTermState(jnp.zeros(shape))

    def checked(self, *, pre: Any, post: Any, at: tuple[ShortTermState, ShortTermState]) -> tuple[jax.Array, jax.Array]:
        """Return the spikes of both sides as numbers, checked against the traces that they will be added to."""
        owner = type(self).__name__
        for name, s, trace in (("pre", pre, at[0]), ("post", post, at[1])):
            if has_unit(s):
                raise UnitError(f"{owner}.update({name}=...) expects spikes without a unit, got {show(s)}.")
            if jnp.shape(s) != trace.shape:
                raise ShapeError(
                    f"{owner}.update(pre, post) expects {name} of shape {trace.shape}, got {jnp.shape(s)}. Give the "
                    "spikes of the presynaptic neurons first, then those of the postsynaptic ones."
                )
        return jnp.asarray(pre, at[0].dtype), jnp.asarray(post, at[1].dtype)

    def pairs(self, pre: jax.Array, post: jax.Array) -> jax.Array:
        r"""Return $pre_i \, post_j$ for every connection, `(*batch, *weight)`."""
        if isinstance(self.comm, EventDriven):
            return pre[..., self.sources.get_raw_value()] * post[..., self.comm.post.get_raw_value()]
        return pre[..., :, None] * post[..., None, :] if isinstance(self.comm, Dense) else pre * post

    def mean_pairs(self, pre: jax.Array, post: jax.Array) -> jax.Array:
        """Return the mean of `pairs` over the rows of a batch."""
        if isinstance(self.comm, Dense) and pre.ndim > 1:  # one product, without an array of (*batch, pre, post)
            pre, post = pre.reshape(-1, pre.shape[-1]), post.reshape(-1, post.shape[-1])
            return jnp.matmul(pre.T, post, precision=jax.lax.Precision.HIGHEST) / len(pre)
        return self.mean(self.pairs(pre, post))

    def mean(self, change: jax.Array) -> jax.Array:
        """Return the mean over the rows of a batch of something `(*batch, *weight)`."""
        return jnp.mean(change, axis=tuple(range(change.ndim - self.weight.ndim)))

    def change(self, *fractions: jax.Array) -> None:
        """Change the weights by fractions of their range."""
        self.weight.value = self.bounds.change(self.weight.value, *fractions)
