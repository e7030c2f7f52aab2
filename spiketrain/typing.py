"""Names for what arguments may be."""

import operator
from typing import Any

from spiketrain.errors import ShapeError

Size = int | tuple[int, ...]


def as_size(owner: str, size: Any, name: str = "size") -> tuple[int, ...]:
    """Return `size` as a tuple of positive integers."""
    try:
        sizes = tuple(map(operator.index, size if isinstance(size, tuple | list) else (size,)))
    except TypeError:
        sizes = ()
    if not sizes or min(sizes) < 1 or isinstance(size, bool):
        raise ShapeError(
            f"{owner}({name}) must be a positive integer or a tuple of them, got {size!r}. "
            + (f"Write, for example, `{owner}(100)`." if name == "size" else f"Write, for example, `{name}=3`.")
        )
    return sizes
