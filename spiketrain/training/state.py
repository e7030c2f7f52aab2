"""The whole training state as one flat list of leaves with names.

Flat and donated, it costs the least per step; named, it is what a checkpoint saves. Everything random in training is a
function of (seed, step) or lives in the model.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from spiketrain.training.constraints import project
from spiketrain.training.devices import put
from spiketrain.training.patterns import name_of


class TrainState(NamedTuple):
    """Everything that training changes.

    Attributes:
        params: the parameters.
        rest: what else a model keeps: normalisation statistics, counts of random numbers.
        optimizer: the state of the optimizer.
        step: the number of optimizer steps so far.
        rate: what every update is multiplied by.
        bad: the number of the first step whose loss or gradient was not finite, which was not taken; -1 is none.
        ema: the moving average of the parameters, which is evaluated in their place; None where none is wanted.
    """

    params: Any
    rest: Any
    optimizer: Any
    step: jax.Array
    rate: jax.Array
    bad: jax.Array
    ema: Any = None


class Layout(NamedTuple):
    """Everything that training does not change: how leaves become a state, and a state a model."""

    treedef: Any
    names: list[str]
    train: Any
    evaluate: Any

    def state(self, leaves: list[jax.Array]) -> TrainState:
        """Return the state made of `leaves`."""
        return jax.tree.unflatten(self.treedef, leaves)

    def model(self, params: Any, rest: Any, *, training: bool) -> Any:
        """Return a model of its own, with dropout active or not."""
        return nnx.merge(self.train if training else self.evaluate, params, rest, copy=True)

    def evaluation_model(self, leaves: list[jax.Array]) -> Any:
        """Return the model that evaluation sees."""
        state = self.state(leaves)
        params = state.params if state.ema is None else state.ema
        return self.model(params, state.rest, training=False)

    def value(self, leaves: list[jax.Array], name: str) -> jax.Array:
        """Return the leaf of that name."""
        return leaves[self.names.index(name)]

    def replace(self, leaves: list[jax.Array], name: str, value: Any) -> list[jax.Array]:
        """Return leaves of which the one of that name has another value."""
        i = self.names.index(name)
        new = put(jnp.full_like(leaves[i], value), leaves[i].sharding)
        return [*leaves[:i], new, *leaves[i + 1 :]]


def init_ensemble(
    models: Sequence[nnx.Module], tx: optax.GradientTransformation, *, ema: bool = False
) -> tuple[list[jax.Array], Layout]:
    """Return what `init` returns for the members of an ensemble: leaves that have a leading axis of members."""
    states = [init(model, tx, ema=ema) for model in models]
    return [jnp.stack(leaf) for leaf in zip(*(leaves for leaves, _ in states), strict=True)], states[0][1]


def init(model: nnx.Module, tx: optax.GradientTransformation, *, ema: bool = False) -> tuple[list[jax.Array], Layout]:
    """Return the leaves of a fresh state and their layout. The leaves are copies: a step may donate them."""
    model.eval()
    evaluate = nnx.split(model)[0]
    model.train()
    train, params, rest = nnx.split(model, nnx.Param, ...)
    optimizer = jax.jit(tx.init)(params)
    params = project(params, optimizer)  # constraints hold from the start
    state = TrainState(
        params,
        rest,
        optimizer,
        step=jnp.zeros((), jnp.int32),
        rate=jnp.ones((), jnp.float32),
        bad=jnp.full((), -1, jnp.int32),
        ema=params if ema else None,
    )
    paths, treedef = jax.tree_util.tree_flatten_with_path(state)
    names = [name_of(path) for path, _ in paths]
    assert len(set(names)) == len(names), names
    # Of its own type: one that is weak, as that of a bare number, is strong after a step, and all compiles once more.
    leaves = [jnp.array(leaf, leaf.dtype, copy=True) for _, leaf in paths]
    return leaves, Layout(treedef, names, train, evaluate)
