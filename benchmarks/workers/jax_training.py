"""The training step that every JAX library is given: one jit, donated, flat, Adam."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def placed(devices=1):
    """Return where a library puts its parameters, and where trains `(T, B, ...)`, a part of B on each device."""
    mesh = Mesh(np.array(jax.devices()[:devices]), ("data",))
    return NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(None, "data"))


def network(forward, params, arrays, look=None, devices=1):
    """Return `measure` and `step` of `forward(params, x)`, which returns the logits and the trains of hidden layers.

    `look` takes its place in `measure` where the trains would cost the step something.
    """
    look = look or forward
    everywhere, by_trial = placed(devices)
    x = jax.device_put(np.asarray(arrays["x"], np.float32), by_trial)
    y = jax.device_put(arrays["y"], everywhere)
    adam = optax.adam(1e-3)
    leaves, treedef = jax.tree.flatten((params, adam.init(params)))
    leaves = [jax.device_put(jnp.array(leaf, copy=True), everywhere) for leaf in leaves]

    def cross_entropy(logits, y):
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def loss_of(params, x, y):
        return cross_entropy(forward(params, x)[0], y)

    @partial(jax.jit, donate_argnums=0, out_shardings=everywhere)
    def update(leaves, x, y):
        params, state = jax.tree.unflatten(treedef, leaves)
        loss, gradient = jax.value_and_grad(loss_of)(params, x, y)
        changes, state = adam.update(gradient, state, params)
        return jax.tree.leaves((optax.apply_updates(params, changes), state)), loss

    @jax.jit
    def first(leaves, x, y):
        logits, trains = look(jax.tree.unflatten(treedef, leaves)[0], x)
        return cross_entropy(logits, y), [train.mean() for train in trains]

    def measure():
        loss, rates = first(leaves, x, y)
        return float(loss), [float(rate) for rate in rates]

    def step():
        nonlocal leaves
        leaves, loss = jax.block_until_ready(update(leaves, x, y))
        return float(loss)

    return measure, step


def layer(run, arrays, *, backward, devices=1):
    """Return `measure` and `step` of `run(currents)`, the spikes of one layer of neurons."""
    currents = jax.device_put(arrays["x"], placed(devices)[1])
    gradient = jax.jit(jax.value_and_grad(lambda currents: (run(currents) ** 2).mean()))
    return in_turn(jax.jit(run), gradient if backward else None, currents)


def in_turn(forward, gradient, currents):
    """Return `measure` and `step` of compiled functions of `currents`; a step is a gradient where there is one."""

    def measure():
        spikes = forward(currents)
        return float((spikes**2).mean()), [float(spikes.mean())]

    def step():
        jax.block_until_ready((gradient or forward)(currents))
        return None

    return measure, step
