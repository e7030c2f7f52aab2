"""The training workloads in spiketrain: stock flax layers, neurons that map trains to trains."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from worker import serve_training  # first: it counts the time of the other imports

# isort: split

import math

import brainunit as u
import numpy as np
from flax import nnx
from jax_training import layer, network, placed

import spiketrain as st
from spiketrain.mesh import shared
from spiketrain.training.devices import mesh_of

# With this resistance the exact step V_inf + (V - V_inf) * 0.95 is 0.95 V + I.
LEAK = dict(tau=-1.0 / math.log(0.95) * u.ms, R=1 / (1 - 0.95))
# a counts a spike at the start of the next step and decays at once: beta / 0.97 is 0.1 of the a that decays first.
ADAPTATION = dict(tau_a=-1.0 / math.log(0.97) * u.ms, beta=0.1 / 0.97)


class Net(nnx.Module):
    """A product, neurons, a product, neurons, a product, a readout."""

    def __init__(self, arrays, conv, precision):
        rngs = nnx.Rngs(0)
        *hidden, out = (arrays[name] for name in sorted(arrays) if name.startswith("w"))
        self.products, self.neurons = nnx.List(), nnx.List()
        size = arrays["x"].shape[2:]
        for n, w in enumerate(hidden):
            if conv:
                if precision != "float32":
                    raise NotImplementedError("convolutions are in float32")
                kernel = dict(padding="VALID", pool=2, weight=st.Trainable(w))
                product = st.Conv(size, w.shape[-1], w.shape[:2], **kernel)
                size = product.out_size
                neurons = st.LIF(size, **LEAK)
            else:
                product = linear(w, rngs, precision)
                neurons = st.LIF(w.shape[1], **LEAK)
                if f"r{n}" in arrays:
                    adaptive = st.ALIF(w.shape[1], **LEAK, **ADAPTATION)
                    neurons = st.Recurrent(adaptive, weight=st.Trainable(arrays[f"r{n}"]), precision=precision)
            self.products.append(product)
            self.neurons.append(neurons)
        self.out, self.readout = linear(out, rngs, precision), st.LeakyIntegrator(out.shape[1], **LEAK)

    def __call__(self, x):
        """Return logits and hidden trains of `(T, B, ...)`."""
        trains = []
        for product, neurons in zip(self.products, self.neurons, strict=True):
            x = neurons(product(x))
            trains.append(x)
        return self.readout(self.out(x.reshape(*x.shape[:2], -1))).mean(0), trains


def linear(w, rngs, precision):
    """Return a layer without a bias that holds the weights `w`."""
    found = nnx.Linear(*w.shape, use_bias=False, dot_general=st.SpikeProduct(precision), rngs=rngs)
    found.kernel[...] = w
    return found


def prepare(task):
    """Build the workload, on as many devices as the commands of spiketrain take."""
    options = task["options"]
    devices = mesh_of(None, task["workload"]["B"]).size
    st.environ.set(dt=1.0 * u.ms, loop=options.get("loop"), residuals=options.get("residuals"))
    arrays, kind = np.load(task["arrays"]), task["workload"]["kind"]
    if kind in ("forward", "backward"):
        return layer(st.LIF(arrays["x"].shape[2], **LEAK), arrays, backward=kind == "backward", devices=devices)
    net = Net(arrays, kind == "conv", options.get("precision", "float32"))
    definition, params, rest = nnx.split(net, nnx.Param, ...)
    everywhere, _ = placed(devices)

    def forward(params, x):
        with shared(everywhere.mesh):
            return nnx.merge(definition, params, rest, copy=True)(x)

    return network(forward, params, arrays, devices=devices)


if __name__ == "__main__":
    serve_training(prepare, "spiketrain", "jax", "flax", "brainunit", "numpy")
