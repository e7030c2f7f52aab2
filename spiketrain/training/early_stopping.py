"""The end of a run whose metric no longer improves."""

from typing import Any

from spiketrain.training.monitor import Monitor


class EarlyStopping(Monitor):
    """Stops training when a metric has not improved for `patience` measurements: `EarlyStopping(patience=5)`.

    The arguments are those of `Monitor`. The run ends as if its epochs were over; `trainer.final=best` evaluates its
    best checkpoint.
    """

    def no_better(self, trainer: Any) -> None:
        """Stop."""
        trainer.stop(f"{self.monitor} has not improved on {self.best} for {self.waited} measurements")
