"""Parallel spiking neurons: no reset, so the potentials of a whole trial are one weighted sum over time."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from spiketrain import causal
from spiketrain.domain import POSITIVE
from spiketrain.environ import get_dtype
from spiketrain.errors import ShapeError, StateError
from spiketrain.parameter import Component, Parameter, Trainable, drawn
from spiketrain.products import full_precision
from spiketrain.state import LongTermState, ParamState, ShortTermState, SpikeTrain
from spiketrain.surrogates.base import Surrogate
from spiketrain.surrogates.sigmoidal import ATan
from spiketrain.typing import Size, as_size
from spiketrain.units import UNITLESS, expect_unit
from spiketrain.unroll import in_pieces
from spiketrain.windowed import Windowed, window


class SlidingPSN(Windowed):
    r"""Parallel spiking neuron with a sliding window: no leak and no reset, but weights for the last inputs.

    $$V[n] = \sum_{d=0}^{K-1} w_d \, x[n - d] \qquad s[n] = H(V[n] - V_{th})$$

    Exact in every step. A whole trial is one weighted sum over time, without a loop, on all cores.

    Args:
        size: the number of neurons, or their shape.
        steps: K, how many inputs a neuron sees, the present one included.
        weight: w, one number or `(steps,)`, the present input first, the same for all neurons. Unless it is given it is
            trained and begins at 1, 1/2, 1/4 and so on.
        V_th: the threshold, a number, an array of the model's size, an initialiser, or `Trainable` of one of them.
        surrogate: the spike function, `ATan()` by default.
        rngs: needed where `V_th` is an initialiser.

    Input and output: numbers `(*batch, *size)` without a unit in, spikes of the same shape out.

    Raises:
        DomainError: `V_th <= 0`, or `steps` is no positive whole number.
        ShapeError: an argument or the input has the wrong shape.

    Reference: Fang et al. (2023), https://arxiv.org/abs/2304.12760.
    """

    V_th = Parameter(UNITLESS, POSITIVE)
    V: ShortTermState

    def __init__(
        self,
        size: Size,
        *,
        steps: int = 8,
        weight: Any = None,
        V_th: Any = 1.0,
        surrogate: Surrogate | None = None,
        rngs: nnx.Rngs | None = None,
    ):
        self.size = self.in_size = as_size("SlidingPSN", size)
        self.steps = window("SlidingPSN", steps)
        weight = Trainable(0.5 ** jnp.arange(steps)) if weight is None else weight
        self.weight = _weight("SlidingPSN", weight, (steps,), rngs)
        self.V_th = drawn(V_th, self.size, rngs, owner="SlidingPSN", name="V_th")
        self.surrogate = ATan() if surrogate is None else surrogate

    def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
        """Create the inputs of the past, and V."""
        super().init_state(batch_shape)
        self.V = ShortTermState(jnp.zeros((*batch_shape, *self.size)), dtype=get_dtype())

    @property
    def spikes(self) -> jax.Array:
        """The spikes of the stored V, zeros and ones."""
        return self.surrogate((self.V.value - self.V_th) / self.V_th)

    def filtered(self, seen: jax.Array) -> jax.Array:
        """Return the spikes."""
        V = causal.weighted(seen, self.weight.value)
        if len(V):
            self.V.value = V[-1]
        return self.surrogate((V - self.V_th) / self.V_th)


class PSN(Component):
    r"""Parallel spiking neuron: a trained weight from every step of a trial to every other.

    $$V[n] = \sum_m W_{nm} \, x[m] \qquad s[n] = H(V[n] - V_{th})$$

    One product over the trial, without a loop. With `order` a neuron sees the last inputs only, by weights of its own
    in every step; without, it also sees what is still to come. Trials have one length, and `advance`, which runs pieces
    of them, is refused: `SlidingPSN` can be advanced.

    Args:
        size: the number of neurons, or their shape.
        steps: the length of a trial.
        order: how many inputs a neuron sees, the present one included; all of the trial unless it is given.
        weight: W, one number or `(steps, steps)`, or an initialiser; the same for all neurons. Trained and scaled by
            fan-in unless it is given.
        V_th: as in `SlidingPSN`.
        surrogate: as in `SlidingPSN`.
        rngs: needed where an argument is an initialiser.

    Input and output: numbers `(T, *batch, *size)` without a unit in, spikes of the same shape out.

    Raises:
        DomainError: `V_th <= 0`, or `steps` or `order` is no positive whole number.
        ShapeError: an argument or the input has the wrong shape.
        StateError: called within `advance`.

    Reference: Fang et al. (2023), https://arxiv.org/abs/2304.12760.
    """

    V_th = Parameter(UNITLESS, POSITIVE)

    def __init__(
        self,
        size: Size,
        steps: int,
        *,
        order: int | None = None,
        weight: Any = None,
        V_th: Any = 1.0,
        surrogate: Surrogate | None = None,
        rngs: nnx.Rngs | None = None,
    ):
        self.size, self.steps = as_size("PSN", size), window("PSN", steps)
        self.order = None if order is None else window("PSN", order, "order")
        fan_in = nnx.initializers.variance_scaling(1.0, "fan_in", "normal", in_axis=1, out_axis=0)
        self.weight = _weight("PSN", Trainable(fan_in) if weight is None else weight, (steps, steps), rngs)
        self.V_th = drawn(V_th, self.size, rngs, owner="PSN", name="V_th")
        self.surrogate = ATan() if surrogate is None else surrogate

    def __call__(self, x: Any) -> jax.Array:
        """Return the spikes of a whole trial."""
        expect_unit("PSN", "x", x, UNITLESS)
        if in_pieces():
            raise StateError("PSN needs the whole trial and cannot be advanced. Use `SlidingPSN`, or call the model.")
        shape = jnp.shape(x)
        if shape[:1] != (self.steps,) or shape[-len(self.size) :] != self.size or len(shape) > 2 + len(self.size):
            wanted = ", ".join(map(str, (self.steps, "B", *self.size)))
            raise ShapeError(f"PSN expects trains of shape ({wanted}), or without B, got {shape}.")
        weight = self.weight.value
        if self.order is not None:
            ago = jnp.arange(self.steps)[:, None] - jnp.arange(self.steps)
            weight = jnp.where((ago >= 0) & (ago < self.order), weight, 0.0)
        x = jnp.asarray(x)
        V = jnp.tensordot(weight, x.astype(jnp.result_type(x, weight)), 1, precision=full_precision())
        spikes = self.surrogate((V - self.V_th) / self.V_th)
        if SpikeTrain in {type(kind) for kind in getattr(self, "__captures__", ())}:
            self.sow(SpikeTrain, "spikes", spikes)
        return spikes


def _weight(owner: str, weight: Any, shape: tuple[int, ...], rngs: nnx.Rngs | None) -> LongTermState | ParamState:
    """Return the State of a weight without a unit, of one number or of the given shape."""
    value = drawn(weight, shape, rngs, owner=owner, name="weight")
    kind = ParamState if isinstance(value, Trainable) else LongTermState
    value = expect_unit(owner, "weight", value.value if isinstance(value, Trainable) else value, UNITLESS)
    if jnp.shape(value) not in ((), shape):
        raise ShapeError(f"{owner}(weight=...) must be a scalar or have shape {shape}, got {jnp.shape(value)}.")
    return kind(jnp.broadcast_to(jnp.asarray(value, float), shape))
