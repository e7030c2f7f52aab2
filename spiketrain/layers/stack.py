"""Layers in a row: each is made for the shape that the one before it puts out."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from spiketrain.errors import ConfigError, ShapeError, SpiketrainError

T, B = 3, 2  # of the abstract train that a new layer is shown; both leave no trace


class Stack(nnx.Module):
    """Named layers in a row, which map trains to trains.

    Every layer is made as `make(in_size, rngs=rngs)`, where `in_size` is the shape of its input at one step of one
    trial, and maps `(T, B, *in_size)` to `(T, B, *out_size)`. The shape of its output is found by an abstract call,
    which computes nothing; so a layer may be a neuron, a module of flax, a function. A layer that averages over time
    or trials sets `takes_mask = True` and is called as `layer(x, mask=mask)`.

    A layer is an attribute of its name: `stack.fc1.kernel`, and `fc1/kernel` in a checkpoint.

    Args:
        in_size: the shape of one input, without time and batch.
        layers: functions that make the layers, by name, in order.
        rngs: random numbers for all of them.

    Input and output: `(T, B, *in_size)` in, `(T, B, *out_size)` out, and optionally `mask`, `(T, B)`, true at the
    steps that belong to a trial.

    Raises:
        ConfigError: a name cannot be that of an attribute.
        ShapeError: a layer changes the number of steps or trials.
        SpiketrainError: whatever a layer refuses, behind its name.
        StateError: the time step dt is not set, which a layer with dynamics needs to be called.
    """

    def __init__(self, in_size: tuple[int, ...], *, layers: Mapping[str, Callable[..., Any]], rngs: nnx.Rngs):
        self.in_size = self.out_size = tuple(in_size)
        self.order: tuple[str, ...] = tuple(layers)
        size = self.in_size
        for name, make in layers.items():
            where = f"{type(self).__name__}(layers={{{name!r}: ...}})"
            if not name.isidentifier() or name.startswith("_") or hasattr(self, name):
                raise ConfigError(f"{where}: this name cannot be that of a layer. Write another, such as `{name}1`.")
            try:
                layer = make(size, rngs=rngs)
                after = size_behind(layer, size)
            except SpiketrainError as error:
                raise type(error)(f"{where}: {error}") from error
            setattr(self, name, layer)
            size = after
        self.out_size = size

    def through(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Return what the last layer puts out."""
        for name in self.order:
            layer = getattr(self, name)
            x = layer(x, mask=mask) if getattr(layer, "takes_mask", False) else layer(x)
        return x

    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Return the train behind the last layer."""
        return self.through(x, mask)

    @property
    def takes_mask(self) -> bool:
        """Whether a layer of it takes a mask."""
        return any(getattr(getattr(self, name), "takes_mask", False) for name in self.order)


def size_behind(layer: Any, in_size: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a layer's output at one step of one trial.

    Raises:
        ShapeError: what comes out has no axes of time and batch in front, of the lengths that went in.
    """
    x = jax.ShapeDtypeStruct((T, B, *in_size), jnp.result_type(float))
    if isinstance(layer, nnx.Module):
        graphdef, state = nnx.split(layer)  # a call may write to the layer, and a tracer must not stay there
        out = jax.eval_shape(lambda state, x: nnx.merge(graphdef, state, copy=True)(x), state, x)
    else:
        out = jax.eval_shape(layer, x)
    if out.shape[:2] != (T, B):
        wanted = ", ".join(map(str, ("T", "B", *in_size)))
        raise ShapeError(
            f"a layer maps trains ({wanted}) to trains with the same T and B; it made {out.shape} of {x.shape}."
        )
    return out.shape[2:]


def flat(owner: str, in_size: tuple[int, ...]) -> int:
    """Return the number of features of an input without axes of space."""
    if len(in_size) != 1:
        raise ShapeError(f"{owner} takes one axis of features, got {in_size}. Put a `flatten` layer before it.")
    return in_size[0]


def normal(scale: float, fan_in: int) -> Callable[..., jax.Array]:
    r"""Return the initialiser of standard deviation $scale / \sqrt{n_{in}}$."""
    return nnx.initializers.normal(scale / fan_in**0.5)
