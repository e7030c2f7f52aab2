"""A stack of spiking layers with a leaky-integrator readout."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import nnx

from spiketrain.errors import DomainError
from spiketrain.layers.dropout import Dropout
from spiketrain.neurons.alif import ALIF
from spiketrain.neurons.base import Neuron
from spiketrain.neurons.leaky_integrator import LeakyIntegrator
from spiketrain.parameter import Trainable
from spiketrain.products import SpikeProduct
from spiketrain.projections.recurrent import Recurrent


class SpikingNet(nnx.Module):
    """Linear layers and spiking layers in turn, then a linear leaky-integrator readout.

    Every product with the input of a layer is one product over the whole trial; only the recurrent products and the
    neurons themselves run in the loop over time. `model.train()` and `model.eval()` switch dropout.

    Args:
        n_in: the number of input channels.
        n_out: the number of classes.
        hidden: the sizes of the spiking layers.
        neuron: makes the neurons of a layer, `neuron(size, rngs=rngs)`.
        recurrent: whether each spiking layer has recurrent weights.
        input_scale: the standard deviation of the first layer's weights times the square root of its fan-in.
        hidden_scale: the same for the layers after it.
        recurrent_scale: the same for the recurrent weights.
        readout_tau: the initial time constant of the readout, trained; a bare number counts in ms.
        readout_scale: the same as `input_scale`, for the readout.
        dropout: the probability of dropping a hidden neuron for a whole trial, in training.
        precision: that of every product with the spikes of a hidden layer; `SpikeProduct` lists the words and their
            errors. The product with the input, which may be analog, is in float32, and so are potentials and weights.
        rngs: random numbers for weights and dropout.

    Input and output: `(T, B, n_in)` in, potentials `(T, B, n_out)` out.

    Raises:
        DomainError: a layer has no size, the dropout is no probability, the precision has no such name, or dropout,
            which scales spikes, meets a precision in which scaled spikes are not exact.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        hidden: Sequence[int] = (128,),
        neuron: Callable[..., Neuron] = ALIF,
        recurrent: bool = True,
        input_scale: float = 1.0,
        hidden_scale: float = 1.0,
        recurrent_scale: float = 1.0,
        readout_tau: Any = 20.0,
        readout_scale: float = 1.0,
        dropout: float = 0.0,
        precision: str = "float32",
        rngs: nnx.Rngs,
    ):
        if not hidden or min(hidden) < 1:
            raise DomainError(
                f"SpikingNet(hidden=...) needs the positive size of at least one layer, got {list(hidden)}. "
                "Write, for example, `hidden=[128]`."
            )
        if not 0 <= dropout < 1:
            raise DomainError(f"SpikingNet(dropout=...) must lie in [0, 1), got {dropout}.")
        if dropout and precision != "float32":
            raise DomainError(
                f"SpikingNet(precision={precision!r}, dropout={dropout:g}): dropout scales spikes, which are exact in "
                'bfloat16 only as they are. Write `precision="float32"` or `dropout=0.0`.'
            )
        analog, product = SpikeProduct(), SpikeProduct(precision)
        self.linear: Any = nnx.List([])
        self.spiking: Any = nnx.List([])
        self.dropout: Any = nnx.List([])
        for i, (fan_in, size) in enumerate(zip([n_in, *hidden], hidden, strict=False)):
            scale = hidden_scale if i else input_scale
            self.linear.append(_linear(fan_in, size, scale, product if i else analog, rngs))
            cells = neuron(size, rngs=rngs)
            weight = Trainable(_normal(recurrent_scale, size))
            self.spiking.append(Recurrent(cells, weight=weight, precision=precision, rngs=rngs) if recurrent else cells)
            if dropout:
                self.dropout.append(Dropout((size,), rate=dropout, rngs=rngs))
        self.to_readout = _linear(hidden[-1], n_out, readout_scale, product, rngs)
        self.readout = LeakyIntegrator(n_out, tau=Trainable(readout_tau))

    def named_layers(self) -> list[tuple[str, Any]]:
        """Return the hidden layers with their names, in order."""
        rows = [("linear", self.linear), ("spiking", self.spiking), ("dropout", self.dropout)]
        return [(f"{name}/{i}", row[i]) for i in range(len(self.spiking)) for name, row in rows if len(row)]

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the readout potentials of a trial."""
        for _, layer in self.named_layers():
            x = layer(x)
        return self.readout(self.to_readout(x))


def _normal(scale: float, fan_in: int) -> Callable[..., jax.Array]:
    return nnx.initializers.normal(scale / math.sqrt(fan_in))


def _linear(n_in: int, n_out: int, scale: float, product: SpikeProduct, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(n_in, n_out, kernel_init=_normal(scale, n_in), dot_general=product, rngs=rngs)
