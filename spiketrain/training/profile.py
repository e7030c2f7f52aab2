"""A trace of some steps of a run, for TensorBoard: which operation takes how long, on the host and on the device."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from spiketrain.errors import ConfigError


class Profile:
    """Traces the steps from the first to the last of `steps`, both included, and all that happens between them.

    Args:
        steps: the first and the last optimizer step, counted from 1; None traces nothing.
        total: the number of steps of the run; a trace that reaches further ends with it.

    Raises:
        ConfigError: the run has no such step.
    """

    def __init__(self, steps: Sequence[int] | None, *, total: int):
        self._first, self._last = steps or (1, 0)
        self._folder: Path | None = None
        self._running = False
        if self._first > total:
            raise ConfigError(f"trainer.profile={list(steps or ())} begins after the last step of the run, {total}.")

    def open(self, folder: Path | None) -> None:
        """Write into `profile/` in a run's folder.

        Raises:
            ConfigError: there is a step to trace, but no folder.
        """
        if folder is None and self._first <= self._last:
            raise ConfigError("trainer.profile writes into the run's folder. Write `Trainer(..., folder=...)`.")
        self._folder = None if folder is None else folder / "profile"

    def before(self, step: int) -> None:
        """Start the trace if it includes `step`, which comes next. A resumed run may be past its first."""
        if not self._running and self._first <= step <= self._last:
            jax.profiler.start_trace(str(self._folder))
            self._running = True

    def after(self, step: int, results: Any, say: Callable[[str], None]) -> None:
        """Finish the trace if `step`, whose `results` may still be computed, was its last."""
        if self._running and step >= self._last:
            jax.block_until_ready(results)
            self.close()
            say(f"profile of steps {self._first} to {step}: tensorboard --logdir {self._folder}")

    def close(self) -> None:
        """Write what was traced so far."""
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
