"""Poisson sources: spike trains, and the summed input of many."""

import operator
from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from spiketrain.domain import NON_NEGATIVE
from spiketrain.environ import dt_in_seconds
from spiketrain.errors import DomainError, ShapeError, StateError, UnitError
from spiketrain.generators.base import Source
from spiketrain.parameter import InitialValue, Trainable, drawn
from spiketrain.typing import Size
from spiketrain.units import has_unit, magnitude, same_dimension, show, unit_of


class PoissonSource(Source):
    """What both have: a rate, fixed or told in every step, and random numbers of their own."""

    rate = InitialValue(u.Hz, NON_NEGATIVE)

    def __init__(self, size: Size, rate: Any = None, *, rngs: nnx.Rngs):
        super().__init__(size)
        owner = type(self).__name__
        if isinstance(rate, Trainable):
            raise DomainError(f"{owner}(rate=...) has no gradient through the spikes drawn. Leave out Trainable.")
        self.rate = drawn(rate, self.size, rngs, owner=owner, name="rate")
        self.rngs = rngs.fork()

    def per_step(self, rate: Any) -> jax.Array:
        r"""Return $r \, dt$ for every row and neuron; below zero it counts as zero."""
        owner, shape = type(self).__name__, self.emitted.shape
        if rate is None:
            rate = self.rate
            if rate is None:
                raise StateError(
                    f"{owner} has no rate. Give it one, such as `10.0 * u.Hz`, at construction or to every `update(rate)`."
                )
        elif has_unit(rate) and not same_dimension(unit_of(rate), u.Hz):
            raise UnitError(
                f"{owner}.update expects a rate in `Hz`, got {show(rate)}. Write, for example, `10.0 * u.Hz`."
            )
        elif jnp.shape(magnitude(rate)) not in ((), shape):
            raise ShapeError(
                f"{owner}.update got a rate of shape {jnp.shape(magnitude(rate))}, but its state has shape {shape}. A "
                "rate has the shape of the state or is a scalar; nothing else is broadcast."
            )
        hertz = jnp.asarray(magnitude(rate, u.Hz), float)
        return jnp.broadcast_to(jnp.maximum(hertz * dt_in_seconds(), 0), shape)


class PoissonSpikes(PoissonSource):
    r"""Fire at random, in every step with probability $p = r \, dt$, whatever was before.

    This is the Poisson process on the grid of time steps. Its mean rate is exactly r at any dt. Intervals are geometric,
    with mean $1/r$ and coefficient of variation $\sqrt{1 - r \, dt}$, which tend to the exponential law of the Poisson
    process as $r \, dt \to 0$: a step has room for one spike, so use steps with $r \, dt \ll 1$, or `PoissonInput` for
    counts that are exact at any dt. Every neuron and row of the batch draws its own, and every call goes on drawing.

    Args:
        size: the number of neurons, or their shape.
        rate: r, one number, an array of the size or an initialiser; a bare number counts in Hz. Left out where every
            step is told its rate, `source.update(rate)` or `source(rates)`, for an inhomogeneous process.
        rngs: where the random numbers come from.

    Input and output: nothing, or the rate of the step, a scalar or of the shape of the output, with `rate` as default;
    a rate below zero counts as zero and one above $1/dt$ as $1/dt$. Spikes out, zeros and ones.

    Raises:
        DomainError: a rate is negative, or so high that $r \, dt > 1$.
        StateError: there is no rate.
        UnitError: the rate is no rate.

    Reference: Dayan and Abbott (2001), Theoretical Neuroscience, chapter 1.4.
    """

    def __init__(self, size: Size, rate: Any = None, *, rngs: nnx.Rngs):
        super().__init__(size, rate, rngs=rngs)
        hertz = 0.0 if self.rate is None else magnitude(self.rate, u.Hz)
        self.highest_hz = 0.0 if isinstance(hertz, jax.core.Tracer) else float(np.max(hertz))

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create what it emitted last, once the rate is known to fit into the steps."""
        if self.highest_hz * dt_in_seconds() > 1:
            raise DomainError(
                f"PoissonSpikes(rate=...) of {self.highest_hz:g} Hz is more than one spike per step of "
                f"{dt_in_seconds() * 1e3:g} ms. Take a smaller dt, or PoissonInput, which counts."
            )
        super().init_state(batch_shape)

    @property
    def spikes(self) -> jax.Array:
        """What the last step emitted."""
        return self.emitted.value

    def update(self, rate: Any = None) -> jax.Array:
        """Advance by one step and return the spikes."""
        p = self.per_step(rate)
        self.emitted.value = jax.random.bernoulli(self.rngs.noise(), p).astype(p.dtype)
        return self.emitted.value


class PoissonInput(PoissonSource):
    r"""Count the spikes of many independent Poisson sources onto each neuron: in every step $n \sim Pois(K r \, dt)$.

    K independent Poisson processes of rate r are one of rate K r, so the number in a step is exact at any dt and costs
    the same for any K. A projection makes it an input, with `OneToOne(size, weight=...)`; so does a synapse by itself,
    `synapse.update(0.1 * u.nS * source.update())`. Every neuron and row of the batch has sources of its own, and every
    call goes on drawing.

    Args:
        size: the number of neurons that receive, or their shape.
        sources: K, how many sources each has.
        rate: r of one source, one number, an array of the size or an initialiser; a bare number counts in Hz. Left out
            where every step is told its rate, as in `PoissonSpikes`.
        rngs: where the random numbers come from.

    Input and output: nothing, or the rate of the step, a scalar or of the shape of the output; a rate below zero counts
    as zero. The number of spikes out.

    Raises:
        DomainError: a rate is negative, or `sources` is no positive integer.
        StateError: there is no rate.
        UnitError: the rate is no rate.

    Reference: Stimberg et al. (2019), https://doi.org/10.7554/eLife.47314 (`PoissonInput` of Brian 2, which draws from
    the binomial distribution).
    """

    def __init__(self, size: Size, sources: int, rate: Any = None, *, rngs: nnx.Rngs):
        super().__init__(size, rate, rngs=rngs)
        if isinstance(sources, bool) or not hasattr(sources, "__index__") or sources < 1:
            raise DomainError(f"PoissonInput(sources=...) must be a positive integer, got {show(sources)}.")
        self.sources = operator.index(sources)

    @property
    def counts(self) -> jax.Array:
        """What the last step emitted."""
        return self.emitted.value

    def update(self, rate: Any = None) -> jax.Array:
        """Advance by one step and return the number of spikes."""
        mean = self.sources * self.per_step(rate)
        self.emitted.value = jax.random.poisson(self.rngs.noise(), mean).astype(mean.dtype)
        return self.emitted.value
