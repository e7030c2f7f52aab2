"""What sees the last few inputs: a whole trial at once where the past is known, a step where it is kept."""

from typing import Any

import jax
import jax.numpy as jnp

from spiketrain.dynamics import Dynamics
from spiketrain.environ import get_dtype
from spiketrain.errors import DomainError, ShapeError
from spiketrain.state import ShortTermState
from spiketrain.units import UNITLESS, expect_unit
from spiketrain.unroll import at_once


class Windowed(Dynamics):
    """What sees the last `steps` inputs, the present one included; those from before the trial are zero.

    A subclass says what inputs become, in `filtered`. A step and a whole trial are the same function of one input and
    of all, so they are equal up to the rounding of sums.

    Attributes:
        in_size: the shape of one input.
        steps: the length of the window.
    """

    in_size: tuple[int, ...]
    steps: int
    past: ShortTermState

    def filtered(self, seen: jax.Array) -> Any:
        """Return what `(steps - 1 + T, *batch, *in_size)` inputs, the oldest first, become in the last T steps."""
        raise NotImplementedError

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create the inputs of the past, the oldest first."""
        self.past = ShortTermState(jnp.zeros((self.steps - 1, *batch_shape, *self.in_size)), dtype=get_dtype())

    def update(self, x: Any) -> Any:
        """Advance by one step and return its output."""
        return self._over(jnp.asarray(x)[None])[0]

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Run a whole trial: `(T, *batch, *in_size)`."""
        return at_once(self, type(self)._over, *inputs, **options)

    def _over(self, x: Any) -> Any:
        owner, past = type(self).__name__, self.past.value
        expect_unit(owner, "x", x, UNITLESS)
        if jnp.shape(x)[1:] != past.shape[1:]:
            raise ShapeError(f"{owner} expects steps of shape {past.shape[1:]}, got {jnp.shape(x)[1:]}.")
        seen = jnp.concatenate([past.astype(jnp.result_type(x, float)), x])
        self.past.value = seen[len(seen) - len(past) :]
        return self.filtered(seen)


def window(owner: str, steps: Any, name: str = "steps") -> int:
    """Return the argument `steps`, or another of that `name`, checked."""
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise DomainError(f"{owner}({name}=...) must be a whole number of at least 1, got {steps!r}.")
    return steps
