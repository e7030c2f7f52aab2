"""The training workloads in sparx: flax linen layers, neurons that scan over time, products outside."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from worker import serve_training  # first: it counts the time of the other imports

# isort: split

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import sparx
from jax_training import layer, network

TAU, TAU_A = -1.0 / math.log(0.95), -1.0 / math.log(0.97)


class Net(nn.Module):
    """A product, neurons, a product, neurons, a product, a readout."""

    widths: tuple[int, ...]
    kind: str
    classes: int

    @nn.compact
    def __call__(self, x):
        """Return logits and hidden trains of `(T, B, ...)`."""
        trains = []
        for n, width in enumerate(self.widths):
            if self.kind == "conv":
                x = nn.Conv(width, (5, 5), padding="VALID", use_bias=False, name=f"w{n}")(x)
                x = nn.avg_pool(x, (2, 2), (2, 2))
            else:
                x = nn.Dense(width, use_bias=False, name=f"w{n}")(x)
            if self.kind == "recurrent":
                adaptive = sparx.nn.ALIF(tau=TAU, tau_adapt=TAU_A, beta=0.1)
                x = sparx.nn.Recurrent(adaptive, name=f"r{n}")(x)
            else:
                x = sparx.nn.LIF(tau=TAU)(x)
            trains.append(x)
        x = nn.Dense(self.classes, use_bias=False, name=f"w{len(self.widths)}")(x.reshape(*x.shape[:2], -1))
        return sparx.nn.LI(tau=TAU)(x).mean(0), trains


def prepare(task):
    """Build the workload."""
    arrays, kind = np.load(task["arrays"]), task["workload"]["kind"]
    if kind in ("forward", "backward"):
        neurons = sparx.nn.LIF(tau=TAU)
        return layer(lambda currents: neurons.apply({}, currents), arrays, backward=kind == "backward")
    *hidden, out = (arrays[name] for name in sorted(arrays) if name.startswith("w"))
    net = Net(tuple(w.shape[-1] for w in hidden), kind, out.shape[1])
    params = {name: {"kernel": jnp.asarray(arrays[name])} for name in arrays if name.startswith("w")}
    params |= {name: {"recurrent": jnp.asarray(arrays[name])} for name in arrays if name.startswith("r")}
    made = jax.eval_shape(net.init, jax.random.key(0), jnp.asarray(arrays["x"][:1], jnp.float32))["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, dict(made)), made
    return network(lambda params, x: net.apply({"params": params}, x), params, arrays)


if __name__ == "__main__":
    serve_training(prepare, "sparxml", "jax", "flax", "numpy")
