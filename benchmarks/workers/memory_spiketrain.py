"""Training steps of W1 within a part of the memory that a step takes without a budget, beside steps without one."""

import json
import resource
import sys
import time
from functools import partial
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[n]) for n in (1, 2)]

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from train_spiketrain import Net

import spiketrain as st
from benchmarks import workloads
from spiketrain.training.memory import pieces_within

UPDATES = 3  # at the least, before the loss is looked at again
STEPS = 2  # per round


def output(net, x):
    """Return the train of the readout."""
    for product, neurons in zip(net.products, net.neurons, strict=True):
        x = neurons(product(x))
    return net.readout(net.out(x))


class Training:
    """The compiled steps of a network, by the length of the pieces in which a trial comes."""

    def __init__(self, arrays):
        self.x, self.y = jnp.asarray(arrays["x"], jnp.float32), jnp.asarray(arrays["y"])
        self.definition, params, self.rest = nnx.split(Net(arrays, False, "float32"), nnx.Param, ...)
        self.adam = optax.adam(1e-3)
        self.start, self.treedef = jax.tree.flatten((params, self.adam.init(params)))
        self.compiled = {}

    def temporaries(self, piece):
        """Compile a step; return the bytes that it takes besides arguments and results."""
        step = jax.jit(partial(self.update, piece), donate_argnums=0)
        self.compiled[piece] = step.lower(self.start, self.x, self.y).compile()
        return self.compiled[piece].memory_analysis().temp_size_in_bytes

    def update(self, piece, leaves, x, y):
        """Make one update with trials in pieces of so many steps, or at once."""
        params, state = jax.tree.unflatten(self.treedef, leaves)

        def loss_of(params):
            net = nnx.merge(self.definition, params, self.rest, copy=True)
            train = output(net, x) if piece is None else st.unroll_in_pieces(net, x, steps=piece, method=output)
            return optax.softmax_cross_entropy_with_integer_labels(train.mean(0), y).mean()

        loss, gradient = jax.value_and_grad(loss_of)(params)
        changes, state = self.adam.update(gradient, state, params)
        return jax.tree.leaves((optax.apply_updates(params, changes), state)), loss

    def losses(self, piece):
        """Yield the loss before every update, without an end."""
        leaves = [jnp.array(leaf, copy=True) for leaf in self.start]
        while True:
            leaves, loss = jax.block_until_ready(self.compiled[piece](leaves, self.x, self.y))
            yield float(loss)


def main():
    """Print one JSON object."""
    T, B, part, rounds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    st.environ.set(dt=1.0 * u.ms)
    training = Training(workloads.draw(workloads.W1(T=T, B=B)))
    whole = training.temporaries(None) / 1e6
    piece = pieces_within(part * whole, T, training.temporaries)
    needed = training.compiled[piece].memory_analysis().temp_size_in_bytes / 1e6
    found = {
        "pieces": {"temporaries_mb": needed, "piece_steps": piece},
        "whole": {"temporaries_mb": whole, "piece_steps": None},
    }
    sides = {name: training.losses(side["piece_steps"]) for name, side in found.items() if name == "pieces" or rounds}
    for name, losses in sides.items():
        found[name] |= {"losses": [next(losses) for _ in range(1 + UPDATES)], "rounds": []}
    for nth in range(max(rounds, 1)):
        for name in sorted(sides, reverse=bool(nth % 2)):  # no one always comes first
            took, cpu = [], time.process_time()
            for _ in range(STEPS):
                started = time.perf_counter()
                next(sides[name])
                took.append(time.perf_counter() - started)
            cpu_s = (time.process_time() - cpu) / STEPS
            found[name]["rounds"].append({"seconds": float(np.median(took)), "cpu_s": cpu_s})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"T": T, "B": B, "budget_mb": part * whole, "peak_memory_gb": peak, **found}))


if __name__ == "__main__":
    main()
