"""Names for what arguments may be."""

import math
from numbers import Integral
from typing import Any

from spiketrain.errors import ShapeError

Size = int | tuple[int, ...]


def as_size(owner: str, size: Any) -> tuple[int, ...]:
    """Return `size` as a tuple of positive integers."""
    sizes = tuple(size) if isinstance(size, tuple | list) else (size,)
    if not sizes or not all(isinstance(n, Integral) and not isinstance(n, bool) and n > 0 for n in sizes):
        raise ShapeError(f"{owner}(size) must be a positive integer or a tuple of them, got {size!r}. Write, for example, `{owner}(100)`.")
    return tuple(map(int, sizes))


def count(size: tuple[int, ...]) -> int:
    """Return the number of elements of a shape."""
    return math.prod(size)
