"""What a network meets outside the training set: a noisy input, lost spikes, coarse weights, another time step.

Random numbers belong to a trial: they are a function of the seed, of the trial's place in its split, of the layer and
of the time step, so that neither the size of a batch nor the other trials in it matter.
"""

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from spiketrain.environ import dt_in_seconds
from spiketrain.errors import DomainError
from spiketrain.neurons.base import Neuron
from spiketrain.projections.comm.base import Comm
from spiketrain.state import ShortTermState, State


class Given(nnx.Variable):
    """What a module is told for one evaluation, and nothing changes."""


def noise(x: jax.Array, mask: jax.Array, keys: jax.Array, std: jax.Array) -> jax.Array:
    """Add Gaussian noise of standard deviation `std` to every value of an encoded train, at every valid step.

    Args:
        x: the encoded train `(T, B, C)`.
        mask: `(T, B)`, true at valid steps.
        keys: the random key of each trial, `(B,)`.
        std: in the unit of the train: 1 is a spike.
    """
    return jnp.where(mask[..., None], x + std * _of_each_trial(jax.random.normal, keys, x), 0)


def flip(x: jax.Array, mask: jax.Array, keys: jax.Array, p: jax.Array) -> jax.Array:
    """Turn spikes into silence and silence into spikes, each with probability `p`, at every valid step.

    Args:
        x: the encoded train of zeros and ones `(T, B, C)`.
        mask: `(T, B)`, true at valid steps.
        keys: the random key of each trial, `(B,)`.
        p: the probability, for each channel and step by itself.
    """
    flipped = (_of_each_trial(jax.random.uniform, keys, x) < p) & mask[..., None]
    return jnp.where(flipped, 1 - x, x)


def jitter(x: jax.Array, mask: jax.Array, keys: jax.Array, ms: jax.Array) -> jax.Array:
    r"""Move every spike by $\mathrm{round}(\mathcal{N}(0, \sigma) / dt)$ steps.

    A spike that would leave its trial stays at the first or the last step. Of two that meet in a step one is left.

    Args:
        x: the encoded train of zeros and ones `(T, B, C)`.
        mask: `(T, B)`, true at valid steps.
        keys: the random key of each trial, `(B,)`.
        ms: $\sigma$ in ms.
    """
    by = jnp.round(_of_each_trial(jax.random.normal, keys, x) * ms / (dt_in_seconds() * 1e3)).astype(jnp.int32)
    t, b, c = jnp.indices(x.shape, sparse=True)
    moved = jnp.clip(t + by, 0, mask.sum(0)[:, None] - 1)
    return jnp.zeros_like(x).at[moved, b, c].max(x)


ON_TRAIN = {"noise": noise, "flip": flip, "jitter_ms": jitter}

# Each kind: what its values must be, in words and as a test.
KINDS: dict[str, tuple[str, Callable[[float], bool]]] = {
    "noise": ("a standard deviation from 0", lambda x: x >= 0),
    "flip": ("a probability", lambda x: 0 <= x <= 1),
    "jitter_ms": ("a standard deviation in ms, from 0", lambda x: x >= 0),
    "drop": ("a probability", lambda x: 0 <= x <= 1),
    "bits": ("a whole number from 2 to 24", lambda x: x == round(x) and 2 <= x <= 24),
    "dt_ms": ("a positive time in ms", lambda x: x > 0),
}


def check(kind: str, value: float) -> None:
    """Refuse a disturbance that does not exist or a value without sense.

    Raises:
        DomainError: naming the kind and what to write.
    """
    if kind not in KINDS:
        raise DomainError(f"{kind}={value:g} is no disturbance. Valid: {', '.join(KINDS)}.")
    wanted, holds = KINDS[kind]
    if not (math.isfinite(value) and holds(value)):
        raise DomainError(f"{kind}={value:g} must be {wanted}.")


def lose_spikes(model: Any, keys: jax.Array, p: jax.Array) -> None:
    """Let each spike of each neuron in `model` be lost with probability `p` on its way to all of its targets.

    The neuron itself is reset as ever, and adapts. What it sends to its own layer is lost like what it sends
    further, and the rates of the layer are those of the spikes that arrive.

    Args:
        model: changed in place.
        keys: the random key of each trial, `(B,)`.
        p: the probability, for each neuron and step by itself.
    """
    neurons: list[Any] = [module for _, module in _by_path(model) if isinstance(module, Neuron)]
    for i, neuron in enumerate(neurons):
        kind: Any = type(neuron)
        object.__setattr__(neuron, "__class__", _lossy(kind))
        neuron.trial_keys = Given(jax.vmap(lambda key, i=i: jax.random.fold_in(key, i))(keys))
        neuron.p_arrival = Given(jnp.asarray(1 - p, float))


@cache
def _lossy(kind: Any) -> Any:
    """Return a neuron whose spikes are seen by others where they arrive, and by itself always."""

    class Lossy(kind):
        def init_state(self, batch_shape: tuple[int, ...] = ()) -> None:
            super().init_state(batch_shape)
            self.arrived = ShortTermState(jnp.ones((*batch_shape, *self.size)))
            self.clock = ShortTermState(jnp.zeros(()))

        @property
        def spikes(self) -> jax.Array:
            return super().spikes * self.arrived.value

        def update(self, *inputs: Any) -> jax.Array:
            shape = self.arrived.value.shape
            self.arrived.value = jnp.ones(shape)  # what follows resets the neuron by all of its spikes
            super().update(*inputs)
            step, p = self.clock.value.astype(jnp.uint32), self.p_arrival.get_raw_value()
            keys = jax.vmap(lambda key: jax.random.fold_in(key, step))(self.trial_keys.get_raw_value())
            arrived = jax.vmap(lambda key: jax.random.bernoulli(key, p, shape[1:]))(keys)
            self.arrived.value = arrived.astype(float)
            self.clock.value = self.clock.value + 1
            return self.spikes

    Lossy.__name__ = Lossy.__qualname__ = kind.__name__
    return Lossy


def quantized(model: Any, bits: int) -> Any:
    r"""Return a copy of a model whose weights take $2^{bits} - 1$ values each, symmetric around zero, per tensor.

    $$\Delta = \frac{\max |w|}{2^{bits - 1} - 1}, \qquad w \leftarrow \Delta \, \mathrm{round}(w / \Delta)$$

    Weights are the `weight` of every comm, and of stock layers each parameter of two or more axes. Biases, the
    parameters of neurons and all State stay as they are, and so does the arithmetic: this shows what the rounding
    of stored weights costs, not that of integer accumulation.

    Reference: Krishnamoorthi (2018), https://arxiv.org/abs/1806.08342, section 2.2.
    """
    model = nnx.clone(model)
    for weight in _weights(model):
        w = weight.get_raw_value()
        step = jnp.maximum(jnp.abs(w).max() / (2 ** (bits - 1) - 1), jnp.finfo(w.dtype).tiny)
        weight.set_raw_value(step * jnp.round(w / step))
    return model


def _weights(model: Any) -> Iterator[Any]:
    for _, module in nnx.iter_modules(model):
        if isinstance(module, Comm):
            yield module.weight
    for _, variable in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        if not isinstance(variable, State) and variable.get_raw_value().ndim >= 2:
            yield variable


def resampled(x: jax.Array, mask: jax.Array, ratio: float, *, spikes: bool) -> tuple[jax.Array, jax.Array]:
    r"""Put an encoded train on another grid of time steps, $r$ = `ratio` times as long as its own.

    A trial of L steps becomes one of $\lceil L / r \rceil$: as long in ms, up to one step.

    - A spike keeps its time: that of step t falls into step $\lfloor t / r \rfloor$, and spikes that meet add up.
    - Any other value is a current that lasts for its step. A new step takes the mean of it over its duration, so that
      the charge is kept; with $r = 1/n$ each value is held for n steps.

    Args:
        x: the encoded train `(T, B, C)`.
        mask: `(T, B)`, true at valid steps, which come first.
        ratio: the new time step in old ones.
        spikes: whether the train is one of spikes.

    Returns:
        The train and its mask.
    """
    T = len(x)
    near = 1e-9  # what a ratio of two decimal numbers may be off
    lengths = np.ceil(np.arange(T + 1) / ratio - near).astype(int)
    mask = jnp.arange(lengths[-1])[:, None] < jnp.asarray(lengths)[mask.sum(0)]
    if spikes:
        step = np.floor(np.arange(T) / ratio + near).astype(int)
        return jnp.zeros((len(mask), *x.shape[1:]), x.dtype).at[step].add(x), mask
    start = np.arange(len(mask)) * ratio
    total = jnp.zeros((len(mask), *x.shape[1:]), x.dtype)
    for k in range(math.ceil(ratio) + 1):
        old = np.floor(start + near).astype(int) + k
        shared = np.minimum(start + ratio, old + 1) - np.maximum(start, old)
        part = np.where((shared > near) & (old < T), shared / ratio, 0)
        total += jnp.asarray(part, x.dtype)[:, None, None] * x[np.minimum(old, T - 1)]
    return total, mask


def _of_each_trial(draw: Callable[..., jax.Array], keys: jax.Array, x: jax.Array) -> jax.Array:
    T, _, *features = x.shape
    return jax.vmap(lambda key: draw(key, (T, *features), x.dtype), out_axes=1)(keys)


def _by_path(model: Any) -> list[tuple[str, Any]]:
    return sorted(("/".join(map(str, path)), module) for path, module in nnx.iter_modules(model))
