"""Names for what arguments may be."""

import math
from typing import Any

from spiketrain.errors import ShapeError

Size = int | tuple[int, ...]


def as_size(owner: str, size: Any) -> tuple[int, ...]:
    """Return `size` as a tuple of positive integers."""
    sizes = (size,) if isinstance(size, int) else tuple(size) if isinstance(size, tuple | list) else ()
    if not sizes or not all(isinstance(n, int) and n > 0 for n in sizes):
        raise ShapeError(f"{owner}(size) must be a positive integer or a tuple of them, got {size!r}. Write, for example, `{owner}(100)`.")
    return sizes


def count(size: tuple[int, ...]) -> int:
    """Return the number of elements of a shape."""
    return math.prod(size)
