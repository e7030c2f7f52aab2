"""Connections whose delays are learned: a kernel over time for each, of which the place is trained."""

from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp
from flax import nnx

from spiketrain import causal
from spiketrain.environ import dt_in_seconds
from spiketrain.errors import DomainError, ShapeError
from spiketrain.init import Uniform
from spiketrain.parameter import Trainable, drawn
from spiketrain.projections.comm.base import make_weight
from spiketrain.projections.comm.delayed import Delayed
from spiketrain.projections.comm.dense import Dense
from spiketrain.projections.delay import Latency, in_ms, in_steps, limit, whole
from spiketrain.state import LongTermState
from spiketrain.typing import as_size
from spiketrain.units import magnitude, with_unit
from spiketrain.windowed import Windowed


class LearnedDelays(Windowed):
    r"""Connect all to all, each connection with a weight and a delay that are both learned.

    $$y_j[n] = \sum_{i} \sum_{d=0}^{D} w_{ij} \, k_{ij}[d] \; x_i[n - d], \qquad
    k_{ij}[d] \propto \exp\left(-\frac{(d \, dt - p_{ij})^2}{2 \sigma^2}\right), \qquad \sum_d k_{ij}[d] = 1$$

    with the trained delays p between zero and D dt = `longest`. A wide kernel sees spikes far from its delay and can
    move towards them; while training, `AnnealDelays` makes it narrow. At $\sigma = 0$ a delay is rounded to whole
    steps as in `Delay`, the kernel is one at it, and the delay has no gradient: that is what `deployed` returns as a
    `Delayed`.

    A whole trial is one causal convolution over time (`causal.convolve`). A step sums over the last D + 1 inputs, which
    costs D + 1 times the product of a `Dense`; so does a recurrent layer, `Recurrent(neuron, comm=LearnedDelays(...))`,
    which keeps these inputs of every step for the backward pass. When a spike arrives in a circuit: see `Delay`.

    Args:
        in_size: the number of presynaptic neurons.
        out_size: the number of postsynaptic neurons.
        longest: the longest delay that there is room for; a bare number counts in ms.
        weight: as in `Dense`.
        delay: p, one number or `(in_size, out_size)` or an initialiser; trained and uniform over the whole range
            unless it is given. A trained one stays strictly between zero and `longest`, by a logistic function.
        sigma: the width of the kernels, a time; half of `longest` unless it is given. A State that no optimizer
            changes: `delays.sigma.value = 0.0 * u.ms` rounds.
        rngs: needed where `weight` or `delay` is an initialiser.

    Input and output: any numbers `(*batch, in_size)` in, without a unit, `(*batch, out_size)` out in the unit of the weights.

    Raises:
        DomainError: a delay is not between zero and `longest`, or sigma is negative.
        ShapeError: the weight, the delays or the input have the wrong shape.
        UnitError: an argument has the wrong dimension.

    Reference: Hammouamri et al. (2024), https://arxiv.org/abs/2306.17670; Khalfaoui-Hassani et al. (2023),
        https://arxiv.org/abs/2112.03740.
    """

    delay = Latency(u.ms)

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        longest: Any,
        weight: Any = None,
        delay: Any = None,
        sigma: Any = None,
        rngs: nnx.Rngs | None = None,
    ):
        self.in_size, self.out_size = as_size("LearnedDelays", in_size), as_size("LearnedDelays", out_size)
        if len(self.in_size) != 1 or len(self.out_size) != 1:
            raise ShapeError(f"LearnedDelays(in_size, out_size) takes one number each, got {in_size} and {out_size}.")
        self.size = (*self.in_size, *self.out_size)  # of the connections
        self.longest: Any = limit("LearnedDelays", longest)
        if self.longest is None:
            raise DomainError("LearnedDelays(longest=...) must be given. Write, for example, `longest=25.0 * u.ms`.")
        weight = Trainable(nnx.initializers.lecun_normal()) if weight is None else weight
        self.weight = make_weight("LearnedDelays", weight, self.size, rngs)
        self.weight.set_raw_value(jnp.broadcast_to(self.weight.get_raw_value(), self.size))
        top = self.longest.value
        delay = Trainable(Uniform(0.01 * top, 0.99 * top)) if delay is None else delay
        self.delay = drawn(delay, self.size, rngs, owner="LearnedDelays", name="delay")
        width: Any = limit("LearnedDelays", top / 2 if sigma is None else sigma, "sigma")
        self.sigma = LongTermState(in_ms(width.value) * u.ms)

    @property
    def unit(self) -> Any:
        """The unit of the weights."""
        return self.weight.unit

    @property
    def steps(self) -> int:  # type: ignore[override]
        """The number of inputs that an output sees, D + 1."""
        return whole(in_steps(self.longest.value)) + 1

    def kernel(self) -> jax.Array:
        """Return what each connection passes on of the input so many steps ago: weight times kernel, `(D + 1, in, out)`."""
        w, p, sigma = magnitude(self.weight.value), jnp.asarray(in_steps(self.delay)), in_steps(self.sigma.value)
        lag = jnp.arange(self.steps).reshape(-1, 1, 1)
        nearest = jnp.clip(whole(p), 0, self.steps - 1)

        def smooth() -> jax.Array:
            width = jnp.where(sigma > 0, sigma, 1.0)  # of both branches a vectorised program computes both
            largest = jax.lax.stop_gradient(((nearest - p) / width) ** 2)
            e = jnp.exp((largest - ((lag - p) / width) ** 2) / 2)
            return e * (w / e.sum(0))

        return jax.lax.cond(sigma > 0, smooth, lambda: jnp.where(lag == nearest, w, 0))

    def deployed(self) -> Delayed:
        """Return the same connections with delays of whole steps of the present dt, for steps and events.

        It equals this layer at sigma 0. Weights and delays are constants there.
        """
        step, most = dt_in_seconds() * 1e3 * u.ms, self.steps - 1  # `longest` need not be whole steps
        delay = jnp.minimum(whole(in_steps(self.delay)), most) * step
        return Delayed(Dense(*self.size, weight=self.weight.value), delay, longest=most * step)

    def filtered(self, seen: jax.Array) -> Any:
        """Return what arrives."""
        return with_unit(causal.convolve(seen, self.kernel()), self.unit)
