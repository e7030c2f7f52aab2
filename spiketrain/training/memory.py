"""The length of the pieces of a trial that fit a stated memory."""

import logging
from collections.abc import Callable

from spiketrain.errors import TrainingError

log = logging.getLogger("spiketrain")


def pieces_within(budget_mb: float, length: int, temporaries: Callable[[int | None], int]) -> int | None:
    """Return the longest pieces whose temporary memory fits the budget, of about a half, a quarter, ... of a trial.

    Args:
        budget_mb: what a training step may take besides its inputs, parameters and results, in megabytes (10^6 bytes).
        length: the number of steps of a trial.
        temporaries: returns the bytes that the compiled step takes with pieces of so many steps, or with none.

    Returns:
        The steps of a piece; None where the whole trial fits.

    Raises:
        TrainingError: even the shortest pieces need more.
    """
    least, shortest = float("inf"), length
    for halvings in range(length.bit_length()):
        steps = _equal_pieces(length, -(-length // 2**halvings)) if halvings else None
        needed = temporaries(steps) / 1e6
        if needed <= budget_mb:
            if steps is not None:
                log.info("trials in pieces of %d steps: %.0f MB of trainer.memory_mb=%g", steps, needed, budget_mb)
            return steps
        if needed < least:  # at some length, shorter pieces keep more State at their starts than they save
            least, shortest = needed, steps or length
    raise TrainingError(
        f"trainer.memory_mb={budget_mb:g} is not enough: a step takes at least {least:.0f} MB, in pieces of "
        f"{shortest} steps. Raise it, or lower trainer.batch_size."
    )


def _equal_pieces(length: int, most: int) -> int:
    """Return the longest pieces that divide the trial, of `most` steps down to half of that; else `most`.

    A shorter last piece is a program of its own, for which XLA may compute the input train a second time.
    """
    return next((steps for steps in range(most, most // 2, -1) if length % steps == 0), most)
