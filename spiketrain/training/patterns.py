"""Paths of parameters, such as `linear/0/kernel`, and patterns that choose among them, such as `linear/*`."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax

from spiketrain.errors import ConfigError


def name_of(path: Any) -> str:
    """Return the path of a leaf as a checkpoint writes it: the keys of a `jax.tree_util` path, joined by slashes."""
    words = [str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))) for key in path]
    return "/".join(word.lstrip(".") for word in words if word not in ("value", ".value", "raw_value"))


def names_of(params: Any, is_leaf: Any = None) -> list[str]:
    """Return the paths of all leaves, in the order of `jax.tree.leaves`."""
    return [name_of(path) for path, _ in jax.tree_util.tree_flatten_with_path(params, is_leaf=is_leaf)[0]]


def first_matches(patterns: Iterable[str], names: Sequence[str], where: str) -> dict[str, str]:
    """Return the first pattern that matches, for every name that one matches.

    In a pattern `*` stands for any letters, slashes included, `?` for one letter and `[01]` for one of those; the
    whole path has to match.

    Args:
        patterns: in the order in which they are tried.
        names: the paths of all parameters.
        where: what the patterns are for, in errors.

    Raises:
        ConfigError: a pattern applies to no parameter; the paths that there are, are listed.
    """
    patterns = list(patterns)
    matching = {name: [p for p in patterns if fnmatchcase(name, p)] for name in names}
    found = {name: those[0] for name, those in matching.items() if those}
    for pattern in patterns:
        if pattern in found.values():
            continue
        earlier = sorted({those[0] for those in matching.values() if pattern in those})
        if earlier:
            raise ConfigError(
                f"{where}: all parameters that {pattern!r} matches are taken by {', '.join(map(repr, earlier))}, and "
                f"the first match counts. Write {pattern!r} before it."
            )
        raise ConfigError(f"{where}: {pattern!r} matches no parameter. There are {', '.join(names)}.")
    return found
