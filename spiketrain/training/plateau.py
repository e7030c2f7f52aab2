"""A learning rate that falls where a metric no longer improves."""

from typing import Any

from spiketrain.errors import ConfigError
from spiketrain.training.monitor import Monitor


class Plateau(Monitor):
    """Multiplies the learning rate by `factor` when a metric has not improved for `patience` measurements.

    It does so again after as many more. The schedule goes on below it: the rate of a step is that of the schedule
    times all factors so far. The other arguments are those of `Monitor`.

    Args:
        factor: above 0 and below 1.
        least: the product of all factors does not fall below it.
    """

    def __init__(
        self,
        *,
        monitor: str = "validation/loss",
        patience: int = 10,
        factor: float = 0.5,
        least: float = 0.01,
        min_delta: float = 0.0,
        mode: str | None = None,
    ):
        super().__init__(monitor=monitor, patience=patience, min_delta=min_delta, mode=mode)
        if not 0 < factor < 1:
            raise ConfigError(f"Plateau(factor=...) must lie between 0 and 1, got {factor}.")
        if not 0 <= least < 1:
            raise ConfigError(f"Plateau(least=...) must lie in [0, 1), got {least}.")
        self.factor, self.least = factor, least
        self.rate = 1.0

    def no_better(self, trainer: Any) -> None:
        """Lower the rate, and count from here."""
        self.waited = 0
        lower = max(self.rate * self.factor, self.least)
        if lower < self.rate:
            trainer.multiply_rate(lower / self.rate)
            self.rate = lower

    def state(self) -> dict[str, Any]:
        """Return the best so far, the measurements since, and the product of all factors."""
        return super().state() | {"rate": self.rate}

    def load(self, state: dict[str, Any]) -> None:
        """Take what `state` returned."""
        super().load(state)
        self.rate = state["rate"]
