"""The training workloads in Spyx: a Sequential scanned by `run`, or `run` of every layer with products outside."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from worker import serve_training  # first: it counts the time of the other imports

# isort: split

from functools import partial

import jax.numpy as jnp
import numpy as np
import spyx
from flax import nnx
from jax_training import layer, network

pool = partial(nnx.avg_pool, window_shape=(2, 2), strides=(2, 2))


# `spyx.axn.arctan(1)` is 1 / pi of ATan(2).
ATAN = spyx.axn.custom(lambda x: 1 / (1 + (jnp.pi * x) ** 2))


def lif(size, rngs):
    """Return neurons of the workloads."""
    return spyx.nn.LIF(size, beta=0.95, activation=ATAN, rngs=rngs)


def layers_of(arrays, rngs):
    """Return the layers of a network from input to output."""
    *hidden, out = (arrays[name] for name in sorted(arrays) if name.startswith("w"))
    layers, size = [], arrays["x"].shape[2]
    for n, w in enumerate(hidden):
        if w.ndim == 4:
            conv = nnx.Conv(*w.shape[2:], w.shape[:2], padding="VALID", use_bias=False, rngs=rngs)
            conv.kernel[...] = w
            size = (size - 4) // 2
            layers += [conv, pool, lif((size, size, w.shape[3]), rngs)]
        else:
            layers += [linear(w, rngs), lif((w.shape[1],), rngs)]
            if f"r{n}" in arrays:
                neurons = spyx.nn.RLIF((w.shape[1],), beta=0.95, activation=ATAN, rngs=rngs)
                neurons.recurrent_w[...] = arrays[f"r{n}"]
                layers[-1] = neurons
    flatten = [spyx.nn.Flatten()] if hidden[0].ndim == 4 else []
    return [*layers, *flatten, linear(out, rngs), spyx.nn.LI((out.shape[1],), beta=0.95, rngs=rngs)]


def linear(w, rngs):
    """Return a layer without a bias that holds the weights `w`."""
    found = nnx.Linear(*w.shape, use_bias=False, rngs=rngs)
    found.kernel[...] = w
    return found


def by_layer(model, x):
    """Run every layer over the whole trial: neurons by `run`, everything else at once."""
    trains = []
    for part in model.layers:
        if hasattr(part, "initial_state"):
            x, _ = spyx.nn.run(part, x)
            trains.append(x)
        elif isinstance(part, spyx.nn.Flatten):
            x = x.reshape(*x.shape[:2], -1)
        else:
            x = part(x)
    return x, trains[:-1]


def is_weight(path, value):
    """Tell weights from the decay, which is a parameter of every neuron of Spyx and stays fixed here."""
    return isinstance(value, nnx.Param) and "beta" not in path


def prepare(task):
    """Build the workload."""
    arrays, kind = np.load(task["arrays"]), task["workload"]["kind"]
    if kind in ("forward", "backward"):
        neurons = lif(arrays["x"].shape[2:], nnx.Rngs(0))
        return layer(lambda currents: spyx.nn.run(neurons, currents)[0], arrays, backward=kind == "backward")
    model = spyx.nn.Sequential(*layers_of(arrays, nnx.Rngs(0)))
    definition, params, rest = nnx.split(model, is_weight, ...)

    def whole(params, x):
        out, trains = by_layer(nnx.merge(definition, params, rest), x)
        return out.mean(0), trains

    def scanned(params, x):
        out, _ = spyx.nn.run(nnx.merge(definition, params, rest), x)
        return out.mean(0), []

    return network(whole if task["options"].get("by_layer") else scanned, params, arrays, look=whole)


if __name__ == "__main__":
    serve_training(prepare, "spyx", "jax", "flax", "numpy")
