"""Residual blocks whose two paths meet as spikes."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
from flax import nnx

from spiketrain.errors import DomainError, ShapeError
from spiketrain.layers.stack import Stack

JOINS = {
    "add": lambda a, x: a + x,
    "and": lambda a, x: a * x,
    "iand": lambda a, x: (1 - a) * x,
}


class SEW(Stack):
    r"""Join what layers make of a train with the train itself, spike by spike: $y = g(F(x), \; S(x))$.

    | join | $g(a, x)$ | an identity where F |
    |---|---|---|
    | "add" | $a + x$ | is silent; counts up to the number of blocks |
    | "and" | $a \, x$ | always fires |
    | "iand" | $(1 - a) \, x$ | is silent |

    F ends in spiking neurons. "and" and "iand" make spikes of spikes.

    Args:
        in_size: the shape of one input.
        layers: those of F, as in `Stack`.
        shortcut: those of S, ending in spiking neurons; the identity unless any are given. Needed where F changes the
            shape.
        join: g.
        rngs: random numbers for all of it.

    Input and output: `(T, B, *in_size)` in, `(T, B, *out_size)` out, and optionally `mask`, `(T, B)`.

    Raises:
        DomainError: there is no such join.
        ShapeError: the two paths end in different shapes.

    Reference: Fang et al. (2021), https://arxiv.org/abs/2102.04159.
    """

    shortcut: Any = None  # no layer may have one of these names
    join: str = ""

    def __init__(
        self,
        in_size: tuple[int, ...],
        *,
        layers: Mapping[str, Callable[..., Any]],
        shortcut: Mapping[str, Callable[..., Any]] = MappingProxyType({}),
        join: str = "add",
        rngs: nnx.Rngs,
    ):
        if join not in JOINS:
            raise DomainError(f"SEW(join=...) must be one of {', '.join(JOINS)}, got {join!r}.")
        super().__init__(in_size, layers=layers, rngs=rngs)
        self.join = join
        self.shortcut = Stack(in_size, layers=shortcut, rngs=rngs)
        if self.out_size != self.shortcut.out_size:
            raise ShapeError(
                f"SEW(layers=..., shortcut=...) must end in one shape, got {self.out_size} and {self.shortcut.out_size}. "
                "Write a shortcut such as a `conv` with a kernel of 1 and the same stride, a `batch_norm` and a neuron."
            )

    @property
    def takes_mask(self) -> bool:
        """Whether a layer of it takes a mask."""
        return super().takes_mask or self.shortcut.takes_mask

    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Return the joined train."""
        return JOINS[self.join](self.through(x, mask), self.shortcut(x, mask))
