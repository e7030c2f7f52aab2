"""The whole training state as one flat list of leaves with names.

Flat and donated, it costs the least per step; named, it is what a checkpoint saves. The step counts optimizer
steps, and everything random in training is a function of (seed, step) or lives in the model.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx


class TrainState(NamedTuple):
    """Everything that training changes."""

    params: Any
    rest: Any
    optimizer: Any
    step: jax.Array


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
        return self.model(state.params, state.rest, training=False)


def init(model: nnx.Module, tx: optax.GradientTransformation) -> tuple[list[jax.Array], Layout]:
    """Return the leaves of a fresh state and their layout. The leaves are copies: a step may donate them."""
    model.eval()
    evaluate = nnx.split(model)[0]
    model.train()
    train, params, rest = nnx.split(model, nnx.Param, ...)
    state = TrainState(params, rest, jax.jit(tx.init)(params), jnp.zeros((), jnp.int32))
    paths, treedef = jax.tree_util.tree_flatten_with_path(state)
    names = [_name(path) for path, _ in paths]
    assert len(set(names)) == len(names), names
    return [jnp.array(leaf, copy=True) for _, leaf in paths], Layout(treedef, names, train, evaluate)


def _name(path: Any) -> str:
    words = [str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))) for key in path]
    return "/".join(word.lstrip(".") for word in words if word not in ("value", ".value", "raw_value"))
