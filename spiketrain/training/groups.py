"""Groups of parameters by the pattern of their path: own learning rates, own decay, or frozen."""

from collections.abc import Mapping
from typing import Any

import jax
import optax

from spiketrain.training.optimizers import clipped
from spiketrain.training.patterns import first_matches, names_of


def grouped(
    rest: optax.GradientTransformation,
    groups: Mapping[str, optax.GradientTransformation | None],
    *,
    clip_norm: float | None = None,
) -> optax.GradientTransformation:
    """Update each parameter by the transformation of the first pattern that its path matches.

        grouped(optax.adam(1e-3), {"*/tau*": optax.adam(1e-4), "linear/0/*": None})

    What is frozen does not count in the norm that is clipped: freezing a parameter is leaving it out.

    Args:
        rest: for the parameters that no pattern matches.
        groups: from patterns (see `spiketrain.training.patterns.first_matches`) to transformations; None freezes.
        clip_norm: the largest norm of the gradient of all groups together; None clips nothing.

    Raises:
        ConfigError: in `init`, and so before anything compiles, if a pattern applies to no parameter.
    """
    frozen = optax.set_to_zero()
    by_label = {f"group_{i}": frozen if tx is None else tx for i, tx in enumerate(groups.values())}
    label_of = dict(zip(groups, by_label, strict=True))

    def labels(params: Any) -> Any:
        names = names_of(params)
        found = first_matches(groups, names, "optimizer.groups")
        chosen = [label_of[found[name]] if name in found else "rest" for name in names]
        return jax.tree.unflatten(jax.tree.structure(params), chosen)

    def is_frozen(params: Any) -> Any:
        return jax.tree.map(lambda label: by_label.get(label) is frozen, labels(params))

    trained = clipped(optax.partition({"rest": rest, **by_label}, labels), clip_norm)
    return optax.chain(optax.masked(frozen, is_frozen), trained)
