"""The training workloads in jaxpike: `unroll` of a Sequential, which takes the products out of the loop by itself.

Its neurons scale their input by 1 - 0.95. With a threshold of 0.05 and a surrogate of 20 times the slope their
membrane is 0.05 u, and spikes and gradients are those of the workload.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from worker import serve_training  # first: it counts the time of the other imports

# isort: split

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxpike as jp
import numpy as np
from jax_training import layer, network

LEAK = dict(tau=-1.0 / math.log(0.95))
SPIKE = dict(threshold=0.05, surrogate=jp.ATan(40.0))
KEY = jax.random.key(0)


def with_weight(part, w):
    """Return a layer that holds the weights `w`."""
    return eqx.tree_at(lambda part: part.weight, part, jnp.asarray(w))


def linear(w):
    """Return a layer without a bias that holds the weights `w`, `(in, out)`."""
    return with_weight(jp.Dense(*w.shape, key=KEY, use_bias=False), w.T)


def recurrent(R):
    """Return recurrent adaptive neurons."""
    neurons = jp.ALIF(**LEAK, tau_a=-1.0 / math.log(0.97), beta=0.1 * 0.05, **SPIKE)
    edges = [("input", "neurons"), ("neurons", "back"), ("back", "neurons")]
    return jp.Graph(nodes={"neurons": neurons, "back": linear(R)}, edges=edges, output="neurons")


def prepare(task):
    """Build the workload."""
    arrays, kind = np.load(task["arrays"]), task["workload"]["kind"]
    lif = jp.LIF(**LEAK, **SPIKE)
    if kind in ("forward", "backward"):
        return layer(lambda currents: jp.unroll(lif, currents)[0], arrays, backward=kind == "backward")
    *hidden, out = (arrays[name] for name in sorted(arrays) if name.startswith("w"))
    layers = []
    for n, w in enumerate(hidden):
        if kind == "conv":
            conv = jp.Conv2d(*w.shape[2:], w.shape[:2], key=KEY, padding="VALID", use_bias=False)
            layers.append([with_weight(conv, w), jp.Pool2d(2), lif])
        else:
            layers.append([linear(w), recurrent(arrays[f"r{n}"]) if f"r{n}" in arrays else lif])
    last = [jp.Flatten()] if kind == "conv" else []
    # One Sequential per hidden layer, so that its spikes can be looked at.
    blocks = [jp.Sequential(*block) for block in layers]
    blocks.append(jp.Sequential(*last, linear(out), jp.LeakyIntegrator(**LEAK)))
    # Time constants are leaves that would be trained: weights are the arrays of two dimensions or more.
    params, rest = eqx.partition(blocks, lambda leaf: eqx.is_inexact_array(leaf) and leaf.ndim >= 2)

    def forward(params, x):
        trains = []
        for block in eqx.combine(params, rest):
            x, _ = jp.unroll(block, x)
            trains.append(x)
        return 20.0 * x.mean(0), trains[:-1]

    return network(forward, params, arrays)


if __name__ == "__main__":
    serve_training(prepare, "jaxpike", "jax", "equinox", "numpy")
