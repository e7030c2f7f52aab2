"""Draw random connections, in numpy and for large networks: vectorised, and a block at a time."""

from collections.abc import Iterator

import numpy as np

_BLOCK = 10_000_000


def successes(rng: np.random.Generator, trials: int, prob: float) -> Iterator[np.ndarray]:
    """Yield the numbers of the trials that succeed, each by itself with probability `prob`, in rising order.

    The gaps between successes are geometric, so the work grows with the successes and not with the trials.
    """
    last = -1
    while last < trials - 1:
        n = min(_BLOCK, int(1.01 * prob * (trials - last)) + 100)
        at = last + np.cumsum(np.minimum(rng.geometric(prob, n), trials + 1))
        yield at[at < trials]
        last = int(at[-1])


def subsets(rng: np.random.Generator, rows: int, n: int, k: int) -> np.ndarray:
    """Return `(rows, k)`: for each row k different numbers below n, every subset equally likely, sorted."""
    out = np.empty((rows, k), np.int32)
    step = max(1, _BLOCK // n if 2 * k > n else _BLOCK // k)
    for first in range(0, rows, step):
        block = out[first : first + step]
        if 2 * k > n:
            member = np.ones((len(block), n), bool)
            np.put_along_axis(member, _different(rng, len(block), n, n - k), False, axis=1)
            block[:] = np.nonzero(member)[1].reshape(block.shape)
        else:
            block[:] = _different(rng, len(block), n, k)
    return out


def _different(rng: np.random.Generator, rows: int, n: int, k: int) -> np.ndarray:
    """Draw with replacement, and draw again whatever a row already holds."""
    numbers = np.sort(rng.integers(n, size=(rows, k), dtype=np.int32), axis=1)
    open_rows = np.arange(rows)
    while len(open_rows):
        some = numbers[open_rows]
        again = np.zeros(some.shape, bool)
        again[:, 1:] = some[:, 1:] == some[:, :-1]
        some[again] = rng.integers(n, size=np.count_nonzero(again), dtype=np.int32)
        open_rows, some = open_rows[again.any(axis=1)], some[again.any(axis=1)]
        some.sort(axis=1)
        numbers[open_rows] = some
    return numbers


def skipping(numbers: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Turn numbers below n - 1 into numbers below n that leave out `own`."""
    return numbers + (numbers >= own)
