"""Dropout with one mask per trial."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from spiketrain.dynamics import Dynamics
from spiketrain.errors import DomainError
from spiketrain.state import ShortTermState


class Dropout(Dynamics):
    r"""Silence each neuron for a whole trial with probability p, and scale the others by $1 / (1 - p)$, in training.

    $$y_t = x_t \, m / (1 - p), \quad m \sim \mathrm{Bernoulli}(1 - p)$$

    drawn per trial and neuron. The mask is State of the trial, so pieces of a trial share it. `model.eval()` switches
    it off.

    Args:
        in_size: the shape of one input.
        rate: p, in [0, 1).
        channels: whether all places of a channel share its fate, for an input with axes of space.
        rngs: random numbers for the masks.

    Input and output: `(T, B, *in_size)`, or `(B, *in_size)` at the step level.

    Raises:
        DomainError: the rate is no probability below one.

    Reference: Srivastava et al. (2014), https://jmlr.org/papers/v15/srivastava14a.html; one mask over time: Gal and
    Ghahramani (2016), https://arxiv.org/abs/1512.05287.
    """

    scale: ShortTermState

    def __init__(self, in_size: tuple[int, ...], *, rate: float = 0.5, channels: bool = False, rngs: nnx.Rngs):
        if not 0 <= rate < 1:
            raise DomainError(f"Dropout(rate=...) must lie in [0, 1), got {rate}.")
        self.in_size, self.rate = tuple(in_size), rate
        self.drawn = (*[1] * (len(in_size) - 1), in_size[-1]) if channels else self.in_size
        self.deterministic = False  # what `model.train()` and `model.eval()` set
        self.rngs = rngs.fork()

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Draw what every neuron is multiplied with in this trial."""
        shape = (*batch_shape, *self.drawn)
        if self.deterministic or not self.rate:
            self.scale = ShortTermState(jnp.ones(shape))
        else:
            kept = jax.random.bernoulli(self.rngs.dropout(), 1 - self.rate, shape)
            self.scale = ShortTermState(kept / (1 - self.rate))

    def update(self, x: Any) -> Any:
        """Return the step, with the silenced neurons at zero."""
        return x * self.scale.value

    def __call__(self, x: Any, **options: Any) -> Any:  # type: ignore[override]
        """Run a whole trial, or a piece of one: one step, whose input is all of the train."""
        batch = x.shape[1 : x.ndim - len(self.drawn)]
        return super().__call__(x[None], batch_shape=batch, **options)[0]
