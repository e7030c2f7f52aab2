"""Weights between layers, and within one."""

import math
from collections.abc import Callable
from typing import Any

from flax import nnx

from spiketrain.errors import DomainError
from spiketrain.init import Orthogonal
from spiketrain.layers.stack import flat, normal
from spiketrain.neurons.alif import ALIF
from spiketrain.neurons.base import Neuron
from spiketrain.parameter import Trainable
from spiketrain.products import SpikeProduct
from spiketrain.projections.comm.conv import Conv
from spiketrain.projections.recurrent import Recurrent
from spiketrain.typing import Size


def linear(
    in_size: tuple[int, ...],
    *,
    features: int = 128,
    scale: float = 1.0,
    bias: bool = True,
    precision: str = "float32",
    rngs: nnx.Rngs,
) -> nnx.Linear:
    """Return a product with a weight matrix over the last axis, one for all of space, and a bias that starts at zero.

    Args:
        in_size: the shape of one input.
        features: the length of the last axis behind it.
        scale: the standard deviation of the weights times the square root of their fan-in.
        bias: whether there is one; a normalisation behind it makes it useless.
        precision: see `SpikeProduct`; other than "float32" for an input of spikes alone.
        rngs: random numbers for the weights.
    """
    require_features("linear", features)
    kernel, product = normal(scale, in_size[-1]), SpikeProduct(precision)
    return nnx.Linear(in_size[-1], features, use_bias=bias, kernel_init=kernel, dot_general=product, rngs=rngs)


def conv(
    in_size: tuple[int, ...],
    *,
    features: int = 16,
    kernel: int | list[int] = 3,
    stride: int | list[int] = 1,
    padding: str | int = "SAME",
    pool: int | list[int] = 1,
    scale: float = 1.0,
    rngs: nnx.Rngs,
) -> Conv:
    """Return a convolution over space, in as many dimensions as `in_size` has before its channels; see `Conv`.

    Args:
        in_size: `(H, W, C)`, `(L, C)` or `(D, H, W, C)`.
        features: the number of channels behind it.
        kernel: the size of the kernel, one number or one per dimension.
        stride: the distance of neighbouring places of the output.
        padding: "SAME", "VALID" or the number of zeros at both edges.
        pool: the window of an average over the output, computed with the convolution.
        scale: the standard deviation of the weights times the square root of their fan-in.
        rngs: random numbers for the weights.
    """
    require_features("conv", features)
    kernel_size = (kernel,) * (len(in_size) - 1) if isinstance(kernel, int) else tuple(kernel)
    if not kernel_size:
        raise DomainError(f"conv needs an input with axes of space, got {in_size}. Put a `reshape` layer before it.")
    fan_in = math.prod(kernel_size) * in_size[-1]
    return Conv(
        in_size,
        features,
        kernel_size,
        stride=_size(stride),
        padding=padding,
        pool=_size(pool),
        weight=Trainable(normal(scale, max(fan_in, 1))),
        rngs=rngs,
    )


def recurrent(
    in_size: tuple[int, ...],
    *,
    neuron: Callable[..., Neuron] = ALIF,
    weight: str = "normal",
    scale: float = 1.0,
    precision: str = "float32",
    rngs: nnx.Rngs,
) -> Recurrent:
    """Return as many neurons as there are inputs, with trained weights among them; see `Recurrent`.

    Args:
        in_size: the shape of one input, one number.
        neuron: makes the neurons, `neuron(size, rngs=rngs)`.
        weight: how the weights start: "normal" of standard deviation one over the square root of their number per
            neuron, or "orthogonal", which keeps the length of what it maps (Saxe et al., 2014,
            https://arxiv.org/abs/1312.6120).
        scale: multiplies them.
        precision: of the product with them, see `SpikeProduct`.
        rngs: random numbers for weights and neurons.
    """
    n = flat("recurrent", in_size)
    if weight not in ("normal", "orthogonal"):
        raise DomainError(f'recurrent(weight=...) must be "normal" or "orthogonal", got {weight!r}.')
    start = Orthogonal(scale) if weight == "orthogonal" else normal(scale, n)
    return Recurrent(neuron(n, rngs=rngs), weight=Trainable(start), precision=precision, rngs=rngs)


def require_features(owner: str, features: int) -> None:
    """Refuse a layer of no features."""
    if features < 1:
        raise DomainError(f"{owner}(features=...) must be at least 1, got {features}.")


def _size(size: Any) -> Size:
    return size if isinstance(size, int) else tuple(size)
