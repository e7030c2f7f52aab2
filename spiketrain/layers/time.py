"""Layers that mix time: connections with learned delays, convolutions over the last steps."""

from collections.abc import Callable
from typing import Any

from flax import nnx

from spiketrain.layers.linear import require_features
from spiketrain.layers.stack import flat, normal
from spiketrain.neurons.alif import ALIF
from spiketrain.neurons.base import Neuron
from spiketrain.neurons.psn import SlidingPSN
from spiketrain.parameter import Trainable
from spiketrain.projections.comm.learned_delays import LearnedDelays
from spiketrain.projections.comm.temporal import DepthwiseTemporalConv, TemporalConv
from spiketrain.projections.recurrent import Recurrent
from spiketrain.surrogates.base import Surrogate
from spiketrain.synapses.high_pass import HighPass


def learned_delays(
    in_size: tuple[int, ...], *, features: int = 128, longest: Any = 25.0, scale: float = 1.0, rngs: nnx.Rngs
) -> LearnedDelays:
    """Return connections with trained weights and delays, without a bias; see `LearnedDelays`.

    Their kernels stay as wide as they begin unless the callback `anneal_delays` makes them narrow.

    Args:
        in_size: the shape of one input, one number.
        features: the number of outputs.
        longest: the longest delay; a bare number counts in ms.
        scale: the standard deviation of the weights times the square root of their fan-in.
        rngs: random numbers for weights and delays.
    """
    n = flat("learned_delays", in_size)
    require_features("learned_delays", features)
    return LearnedDelays(n, features, longest=longest, weight=Trainable(normal(scale, n)), rngs=rngs)


def recurrent_delays(
    in_size: tuple[int, ...],
    *,
    neuron: Callable[..., Neuron] = ALIF,
    longest: Any = 25.0,
    scale: float = 1.0,
    rngs: nnx.Rngs,
) -> Recurrent:
    """Return as many neurons as there are inputs, with trained weights and delays among them.

    Args:
        in_size: the shape of one input, one number.
        neuron: makes the neurons, `neuron(size, rngs=rngs)`.
        longest: the longest delay; a bare number counts in ms. A step costs as many products as it has steps.
        scale: the standard deviation of the weights times the square root of the number of neurons.
        rngs: random numbers for weights, delays and neurons.
    """
    n = flat("recurrent_delays", in_size)
    comm = LearnedDelays(n, n, longest=longest, weight=Trainable(normal(scale, n)), rngs=rngs)
    return Recurrent(neuron(n, rngs=rngs), comm=comm)


def temporal_conv(
    in_size: tuple[int, ...], *, features: int = 128, steps: int = 5, scale: float = 1.0, rngs: nnx.Rngs
) -> TemporalConv:
    """Return a causal convolution over the last `steps` of all channels; see `TemporalConv`.

    Args:
        in_size: the shape of one input, one number.
        features: the number of outputs.
        steps: how many steps an output sees, the present one included.
        scale: the standard deviation of the weights times the square root of their fan-in.
        rngs: random numbers for the weights.
    """
    n = flat("temporal_conv", in_size)
    require_features("temporal_conv", features)
    weight = Trainable(normal(scale, n * max(steps, 1)))
    return TemporalConv(n, features, steps=steps, weight=weight, rngs=rngs)


def depthwise_temporal_conv(in_size: tuple[int, ...], *, steps: int = 5, rngs: nnx.Rngs) -> DepthwiseTemporalConv:
    """Return a causal convolution of each channel over its last `steps`, at first the identity.

    Args:
        in_size: the shape of one input.
        steps: how many steps an output sees, the present one included.
        rngs: not drawn from.
    """
    return DepthwiseTemporalConv(in_size, steps=steps)


def high_pass(in_size: tuple[int, ...], *, tau: Any = 50.0, rngs: nnx.Rngs) -> HighPass:
    """Return what takes the recent mean from every channel; see `HighPass`.

    Args:
        in_size: the shape of one input.
        tau: the time over which the mean is taken; a bare number counts in ms.
        rngs: needed where `tau` is an initialiser.
    """
    return HighPass(in_size, tau=tau, rngs=rngs)


def sliding_psn(
    in_size: tuple[int, ...], *, steps: int = 8, V_th: Any = 1.0, surrogate: Surrogate | None = None, rngs: nnx.Rngs
) -> SlidingPSN:
    """Return parallel spiking neurons with trained weights for the last `steps` inputs; see `SlidingPSN`."""
    return SlidingPSN(in_size, steps=steps, V_th=V_th, surrogate=surrogate, rngs=rngs)
