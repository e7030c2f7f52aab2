"""Connections whose spikes take time to arrive."""

import dataclasses
from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from spiketrain.dynamics import Dynamics
from spiketrain.environ import get_dtype
from spiketrain.errors import ShapeError
from spiketrain.parameter import Trainable, drawn
from spiketrain.projections.comm import event
from spiketrain.projections.comm.base import Comm, one_step
from spiketrain.projections.comm.dense import Dense
from spiketrain.projections.comm.one_to_one import OneToOne
from spiketrain.projections.comm.sparse import EventDriven
from spiketrain.projections.delay import Delay, Latency, in_steps, limit, longest_of, whole
from spiketrain.state import ShortTermState
from spiketrain.units import UNITLESS, expect_unit, magnitude, show, with_unit

_DELAY = Latency(u.ms)
_DELAY.name = "delay"


class Delayed(Dynamics):
    r"""Let spikes arrive later: $y_j[n] = \sum_{i \to j} w_{ij} \, s_i[n - d_{ij}]$ with $d = \mathrm{round}(delay / dt)$.

    It takes the place of a comm: `AlignPostProj(Delayed(FixedProb(...), 1.5 * u.ms), syn, out)`, and within a `Sum`
    each pathway has its own delay. The shape of `delay` says what it belongs to:

    - one number: the projection;
    - `(pre,)`: each presynaptic neuron, for all its connections. Here and above the delay stands in front of the
      comm, so that in a whole trial the product stays outside the loop over time;
    - the shape of the connections, `(pre, post)` for `Dense` and `(connections,)` in the order of `comm.pairs()` for a
      sparse comm, or an initialiser such as `Uniform(0.5 * u.ms, 3.0 * u.ms)`: each connection. What is on its way is
      kept per postsynaptic neuron and step of arrival. The product does work for neurons that spike and for no others,
      `Dense` included; each step also moves `(longest / dt) * post` numbers along.

    Exact but for the rounding of delays to whole steps; a trained delay is interpolated instead. `Delay` describes
    both, and when a spike arrives in a circuit. The gradients with respect to weights and input are exact.

    Args:
        comm: where spikes go and how strongly.
        delay: how long they take, at least zero; a bare number counts in ms. `Trainable` makes it one per presynaptic
            neuron.
        longest: the longest delay that there is room for, needed where `delay` is `Trainable`; the largest `delay`
            unless it is given.
        rngs: needed where `delay` is an initialiser.

    Input and output: spikes `(*batch, pre)` in, `(*batch, post)` out, in the unit of the weights.

    Raises:
        DomainError: a delay is negative or beyond `longest`, or `longest` is missing.
        ShapeError: `delay` or the input has the wrong shape, or could mean neurons as well as connections.
        UnitError: `delay` is no time, or the input has a unit.

    Reference: Morrison et al. (2005), https://doi.org/10.1162/0899766054026648.
    """

    in_size: tuple[int, ...]
    out_size: tuple[int, ...]
    waiting: ShortTermState

    def __init__(self, comm: "Comm | Delayed", delay: Any, *, longest: Any = None, rngs: nnx.Rngs | None = None):
        if not isinstance(comm, Comm | Delayed):
            raise ShapeError(
                f"Delayed(comm) takes a comm with one input, got {type(comm).__name__}. Delay what it is made of, as in "
                "`Sum(Delayed(a, 1.5 * u.ms), b)`, or what it receives, as in `update(delay.update(spikes), ...)`."
            )
        self.comm, self.in_size, self.out_size = comm, comm.in_size, comm.out_size
        self.longest: Any = limit("Delayed", longest)
        connections = _connections(comm, delay)
        self.size = self.in_size if connections is None else connections
        delay = drawn(delay, self.size, rngs, owner="Delayed", name="delay")
        stored = _DELAY.store(self, delay)
        self.line = Delay(self.in_size, delay, longest=longest) if connections is None else None
        if connections is not None:
            self.times = stored
            self.longest = self.longest or longest_of(delay)

    @property
    def unit(self) -> Any:
        """The unit of the weights."""
        return self.comm.unit

    @property
    def delay(self) -> Any:
        """The delays: one, one per presynaptic neuron, or one per connection."""
        return self.times.value if self.line is None else self.line.time

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create what is on its way: entry k arrives k steps after the step that is over."""
        super().init_state(batch_shape)
        if self.line is None:
            slots = whole(in_steps(self.longest.value)) + 1
            zeros = with_unit(jnp.zeros((*batch_shape, slots, *self.out_size)), self.unit)
            self.waiting = ShortTermState(zeros, dtype=get_dtype())

    def update(self, spikes: Any) -> Any:
        """Advance by one step and return what arrives."""
        if self.line is not None:
            return one_step(self.comm, self.line.update(spikes))
        waiting = magnitude(self.waiting.value)
        sent = self._sent(spikes, waiting.shape)
        waiting = jnp.concatenate([waiting[..., 1:, :], jnp.zeros_like(waiting[..., :1, :])], axis=-2) + sent
        self.waiting.value = with_unit(waiting, self.unit)
        return with_unit(waiting[..., 0, :], self.unit)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Run a whole trial: spikes `(T, *batch, pre)`."""
        if self.line is None:
            return super().__call__(*inputs, **options)
        return self.comm(self.line(*inputs, **options))

    def _sent(self, spikes: Any, shape: tuple[int, ...]) -> jax.Array:
        """Return what the spikes of one step send, by step of arrival: a product onto `slots * post` targets."""
        expect_unit("Delayed.update", "spikes", spikes, UNITLESS)
        *batch, slots, post = shape
        if jnp.shape(spikes) != (*batch, *self.in_size):
            raise ShapeError(
                f"Delayed.update expects spikes of shape {(*batch, *self.in_size)}, got {jnp.shape(spikes)}."
            )
        comm = self.comm
        if isinstance(comm, EventDriven):
            runs = event.Runs(*(x.get_raw_value() for x in (comm.pre, comm.start, comm.stop, comm.post)))
            layout = comm.layout
        else:
            counts = np.full(self.in_size, post)
            runs, layout = event.cut(counts, np.arange(post), post)
        steps = jnp.minimum(whole(in_steps(self.times.value)), slots - 1)
        targets = (jnp.broadcast_to(steps, self.size) * post + runs.post).reshape(-1)
        x, weight = jnp.asarray(spikes), magnitude(comm.weight.value)
        weight = weight if jnp.ndim(weight) == 0 else weight.reshape(-1)
        dtype = jnp.result_type(x, weight)
        sent = event.multiply(
            dataclasses.replace(layout, out_size=slots * post),
            weight.astype(dtype),
            x.reshape(-1, *self.in_size).astype(dtype),
            runs._replace(post=targets),
        )
        return sent.reshape(shape)


def _connections(comm: Any, delay: Any) -> tuple[int, ...] | None:
    """Return the shape of the connections where `delay` is one per connection, and None where it is one per neuron."""
    connections = None
    if isinstance(comm, Dense):
        connections = comm.in_size + comm.out_size
    elif isinstance(comm, EventDriven):
        connections = (comm.connections,)
    value = delay.value if isinstance(delay, Trainable) else delay
    if isinstance(delay, Trainable) or (isinstance(comm, OneToOne) and callable(value)):
        connections = None
    elif callable(value) and connections is None:
        raise ShapeError(
            f"Delayed(delay=...) draws one delay per connection, and {type(comm).__name__} does not number its "
            "connections. Use `Dense` or a sparse comm, or give one delay per presynaptic neuron."
        )
    if callable(value):
        return connections
    shape = np.shape(magnitude(value))
    if shape not in ((), comm.in_size, connections):
        per_connection = "" if connections is None else f", or {connections} for one per connection"
        raise ShapeError(
            f"Delayed(delay=...) must be a scalar, or have shape {comm.in_size} for one per presynaptic "
            f"neuron{per_connection}; got {show(value)}."
        )
    if shape == connections == comm.in_size and np.any(comm.pairs()[0] != np.arange(*shape)):
        raise ShapeError(
            f"Delayed(delay=...) has shape {shape}, and there are as many connections as presynaptic neurons. For one "
            "per neuron write `update(delay.update(spikes))` with a `Delay`; for one per connection give an initialiser, "
            "`lambda key, shape, dtype: delays`, and `rngs`."
        )
    return connections if shape == connections != comm.in_size else None
