"""Constraints on weights by the pattern of their path: signs, Dale's law, and zeros that stay.

Each allows a weight to be positive, negative, both or neither besides zero, as it starts. What an update carries
beyond that is cut off at zero: the nearest allowed value.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from spiketrain.config.registry import did_you_mean
from spiketrain.domain import REAL
from spiketrain.errors import ConfigError
from spiketrain.training.patterns import first_matches, name_of, names_of

Signs = tuple[jax.Array, jax.Array]


class Allowed(NamedTuple):
    """Whether each weight of a parameter may be positive, and whether negative, by the path of the parameter."""

    positive: dict[str, jax.Array]
    negative: dict[str, jax.Array]


def constrain(constraints: Mapping[str, str | Sequence[str]]) -> optax.GradientTransformation:
    """Keep weights within constraints; the last link of a chain.

        optax.chain(optax.adam(1e-3), constrain({"*/comm/weight": ["dale", "keep_zeros"]}))

    - `non_negative`, `non_positive`: that sign or zero.
    - `keep_sign`: the sign that each weight starts with, or zero; what starts at zero is free.
    - `dale`: all weights of a presynaptic neuron, a row of `(..., pre, post)`, keep the sign of the sum of those it
      starts with, or zero (Dale's law). `spiketrain.init.Dale` draws such a start.
    - `keep_zeros`: what starts at zero stays there (a sparsity mask).

    Parameters hold their constraints exactly after every step whose updates are multiplied by a factor in [0, 1], and
    where no constraint binds, the update is the one that arrives. Weights that start on the wrong side of a
    constraint are set to zero by `project` or by the first step. The signs are part of the optimizer's state.

    Args:
        constraints: from patterns (see `spiketrain.training.patterns.first_matches`; the first match counts) to a
            constraint or several that hold together.

    Raises:
        ConfigError: a constraint has no such name; in `init`, and so before anything compiles, a pattern applies to
            no parameter, `dale` is asked of a parameter without rows, or a constraint of one that is stored in
            another form, as a time constant is by its logarithm.
    """
    rules = {pattern: [_rule(word, pattern) for word in _words(given)] for pattern, given in constraints.items()}

    def init(params: Any) -> Allowed:
        variables = jax.tree.leaves(params, is_leaf=_is_variable)
        names = names_of(params, is_leaf=_is_variable)
        found = first_matches(rules, names, "optimizer.constraints")
        signs = {
            name: _signs(rules[found[name]], variable, name)
            for name, variable in zip(names, variables, strict=True)
            if name in found
        }
        return Allowed({name: s[0] for name, s in signs.items()}, {name: s[1] for name, s in signs.items()})

    def update(updates: Any, allowed: Allowed, params: Any = None) -> tuple[Any, Allowed]:
        if params is None:
            raise ValueError("A constraint needs the parameters: write `tx.update(gradient, state, params)`.")

        def within(path: Any, update: jax.Array, param: jax.Array) -> jax.Array:
            # `param - param` is zero to the bit, and of an update that stays within, any part does.
            return jnp.where(_outside(path, param + update, allowed), -param, update)

        return jax.tree_util.tree_map_with_path(within, updates, params), allowed

    return optax.GradientTransformation(init, update)


def project(params: Any, optimizer: Any) -> Any:
    """Set to zero every weight that the constraints in the state of an optimizer do not allow."""
    for allowed in filter(_is_allowed, jax.tree.leaves(optimizer, is_leaf=_is_allowed)):
        outside = jax.tree_util.tree_map_with_path(partial(_outside, allowed=allowed), params)
        params = jax.tree.map(lambda out, w: jnp.where(out, 0, w), outside, params)
    return params


def _outside(path: Any, w: jax.Array, allowed: Allowed) -> jax.Array:
    if (name := name_of(path)) not in allowed.positive:
        return jnp.array(False)
    return (w > 0) & ~allowed.positive[name] | (w < 0) & ~allowed.negative[name]


def _signs(rules: list[Callable[[jax.Array], Signs]], variable: Any, name: str) -> Signs:
    """Return the signs that all rules allow a parameter, as it starts."""
    if (domain := getattr(variable, "domain", REAL)) != REAL:
        raise ConfigError(
            f"optimizer.constraints: {name} is {domain.describe} by the way it is stored, and takes no constraint. "
            "Write a pattern that leaves it out."
        )
    [w] = jax.tree.leaves(variable)
    if dale in rules and w.ndim < 2:
        raise ConfigError(
            f"optimizer.constraints: dale is about weights (pre, post), and {name} has shape {w.shape}. Write a pattern "
            "that leaves it out, or `keep_sign` for weights of single connections."
        )
    positive, negative = zip(*(rule(w) for rule in rules), strict=True)
    return reduce(jnp.logical_and, positive), reduce(jnp.logical_and, negative)


def non_negative(w: jax.Array) -> Signs:
    """Allow positive weights."""
    return jnp.array(True), jnp.array(False)


def non_positive(w: jax.Array) -> Signs:
    """Allow negative weights."""
    return jnp.array(False), jnp.array(True)


def keep_sign(w: jax.Array) -> Signs:
    """Allow the sign that each weight starts with."""
    return w >= 0, w <= 0


def dale(w: jax.Array) -> Signs:
    """Allow each presynaptic neuron the sign of the sum of its weights; without any it counts as excitatory."""
    others = tuple(axis for axis in range(w.ndim) if axis != w.ndim - 2)
    excitatory = w.sum(others, keepdims=True) >= 0
    return excitatory, ~excitatory


def keep_zeros(w: jax.Array) -> Signs:
    """Allow what is not zero."""
    return w != 0, w != 0


RULES = {rule.__name__: rule for rule in (non_negative, non_positive, keep_sign, dale, keep_zeros)}


def _rule(word: str, pattern: str) -> Callable[[jax.Array], Signs]:
    if word not in RULES:
        raise ConfigError(f"optimizer.constraints[{pattern}] = {word!r} is no constraint.{did_you_mean(word, RULES)}")
    return RULES[word]


def _words(given: str | Sequence[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _is_variable(x: Any) -> bool:
    return isinstance(x, nnx.Variable)


def _is_allowed(x: Any) -> bool:
    return isinstance(x, Allowed)
