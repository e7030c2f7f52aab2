"""Coloured noise: the Ornstein-Uhlenbeck process."""

import copy
from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp
from flax import nnx

from spiketrain.domain import NON_NEGATIVE, POSITIVE
from spiketrain.dynamics import Dynamics
from spiketrain.environ import get_dtype, steps_per
from spiketrain.errors import UnitError
from spiketrain.parameter import Parameter, Trainable, drawn
from spiketrain.state import ShortTermState
from spiketrain.typing import Size, as_size
from spiketrain.units import magnitude, same_dimension, show, unit_of, with_unit


class AnyUnit(Parameter):
    """A physical argument whose unit is the user's choice."""

    def store(self, instance: Any, value: Any) -> Any:
        """Check the value, and keep it with the unit that it has."""
        own = copy.copy(self)
        own.unit = unit_of(value.value if isinstance(value, Trainable) else value)
        return Parameter.store(own, instance, value)


class OrnsteinUhlenbeck(Dynamics):
    r"""Fluctuate around a mean with a correlation time: the noise current of a neuron that many others drive.

    $$dx = -\frac{x - \mu}{\tau} \, dt + \sigma \sqrt{\frac{2}{\tau}} \, dW$$

    One step is exact, in law, at any dt:

    $$x \leftarrow \mu + (x - \mu) \, e^{-dt/\tau} + \sigma \sqrt{1 - e^{-2 dt/\tau}} \, \xi, \qquad \xi \sim N(0, 1).$$

    A trial starts from the stationary distribution $N(\mu, \sigma^2)$, so x has mean $\mu$, standard deviation $\sigma$
    and autocovariance $\sigma^2 e^{-|\Delta t|/\tau}$ from the first step on. Every neuron and row of the batch draws
    its own, and every call goes on drawing. The gradient with respect to trained arguments is that of the path, with
    $\xi$ held fixed.

    Args:
        size: the number of neurons, or their shape.
        mean: $\mu$, in any unit, such as `0.2 * u.nA` or `12.0 * u.nS`.
        std: $\sigma$, in the dimension of the mean; zero for no noise.
        tau: the correlation time; a bare number counts in ms.
        rngs: where the random numbers come from.

    Each is a number or `Quantity`, an array of the size, an initialiser, or `Trainable(...)` of one of them. As a
    conductance, `Conductance(noise.update(), E)`, x may come out negative where the mean is a few $\sigma$ above zero.

    Input and output: nothing in, x out.

    Raises:
        DomainError: `std` is negative, or `tau` is not positive.
        UnitError: `mean` and `std` do not share a dimension, or `tau` is no time.

    Reference: Gillespie (1996), https://doi.org/10.1103/PhysRevE.54.2084.
    """

    mean = AnyUnit(None)
    std = AnyUnit(None, NON_NEGATIVE)
    tau = Parameter(u.ms, POSITIVE)
    x: ShortTermState

    def __init__(self, size: Size, mean: Any, std: Any, tau: Any, *, rngs: nnx.Rngs):
        self.size = self.in_size = as_size("OrnsteinUhlenbeck", size)
        for name, value in {"mean": mean, "std": std, "tau": tau}.items():
            setattr(self, name, drawn(value, self.size, rngs, owner="OrnsteinUhlenbeck", name=name))
        if not same_dimension(unit_of(self.mean), unit_of(self.std)):
            raise UnitError(
                f"OrnsteinUhlenbeck(mean=..., std=...) must share a unit, got {show(self.mean)} and {show(self.std)}."
            )
        self.rngs = rngs.fork()

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create x, drawn from the stationary distribution."""
        unit = unit_of(self.mean)
        xi = jax.random.normal(self.rngs.noise(), (*batch_shape, *self.size))
        mean, std = magnitude(self.mean), magnitude(self.std, unit)
        self.x = ShortTermState(with_unit(mean + std * xi, unit), dtype=get_dtype())

    def update(self) -> Any:
        """Advance by one step and return x."""
        ratio = jnp.asarray(steps_per(self.tau))
        xi = jax.random.normal(self.rngs.noise(), self.x.shape)
        x = self.mean + (self.x.value - self.mean) * jnp.exp(-ratio)
        self.x.value = x + self.std * jnp.sqrt(-jnp.expm1(-2 * ratio)) * xi
        return self.x.value
