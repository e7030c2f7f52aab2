"""What watches one metric from the host and acts when it has not improved for a while."""

import difflib
from typing import Any

from spiketrain.errors import ConfigError
from spiketrain.training.callbacks import Callback

SPLITS = ("train", "validation")
MODES = {"loss": "min", "accuracy": "max"}


class Monitor(Callback):
    """Counts the measurements of a metric since the best, and calls `no_better` where there are too many.

    A measurement is better that is `min_delta` below the best, or above it in mode `max`; one that is no number is not.
    Validation is measured at every evaluation, training at every log point.

    Args:
        monitor: the metric, `validation/loss` for instance; the test set is never chosen on.
        patience: how many measurements in a row may be no better.
        min_delta: by how much a better one differs from the best.
        mode: `min` or `max`; None is `min` for a loss and `max` for an accuracy.

    Raises:
        ConfigError: an argument has no sense; as training starts, there is no such split, and as soon as it is
            measured, no such metric.
    """

    def __init__(
        self, *, monitor: str = "validation/loss", patience: int = 10, min_delta: float = 0.0, mode: str | None = None
    ):
        owner = type(self).__name__
        self.split, _, self.metric = monitor.partition("/")
        if self.split not in SPLITS or not self.metric:
            raise ConfigError(
                f"{owner}(monitor=...) must name a metric of training or validation, got {monitor!r}. Write, for example, "
                "`validation/loss`."
            )
        mode = MODES.get(self.metric) if mode is None else mode
        if mode not in ("min", "max"):
            raise ConfigError(f"{owner}(mode=...) must be `min` or `max` for {monitor!r}, got {mode!r}.")
        if patience < 1:
            raise ConfigError(f"{owner}(patience=...) must be at least 1, got {patience}.")
        if not min_delta >= 0:
            raise ConfigError(f"{owner}(min_delta=...) must not be negative, got {min_delta}.")
        self.monitor, self.patience, self.min_delta, self.mode = monitor, patience, min_delta, mode
        self.best: float | None = None
        self.waited = 0

    def no_better(self, trainer: Any) -> None:
        """Act: the last `patience` measurements were no better than the best."""
        raise NotImplementedError

    def on_start(self, trainer: Any) -> None:
        """Refuse a split that the run does not have."""
        if self.split not in trainer.splits:
            raise ConfigError(
                f"{type(self).__name__}(monitor={self.monitor!r}): this run has no {self.split} trials. Set "
                "trainer.validation_fraction, or write `train/loss`."
            )

    def on_log(self, trainer: Any, means: dict[str, float]) -> None:
        """Take the metrics of training."""
        self._measured(trainer, "train", means)

    def on_evaluation(self, trainer: Any, split: str, metrics: dict[str, float]) -> None:
        """Take the metrics of an evaluation."""
        self._measured(trainer, split, metrics)

    def state(self) -> dict[str, Any]:
        """Return the best so far and the measurements since."""
        return {"best": self.best, "waited": self.waited}

    def load(self, state: dict[str, Any]) -> None:
        """Take what `state` returned."""
        self.best, self.waited = state["best"], state["waited"]

    def _measured(self, trainer: Any, split: str, metrics: dict[str, float]) -> None:
        if split != self.split:
            return
        if self.metric not in metrics:
            near = difflib.get_close_matches(self.metric, metrics, n=1, cutoff=0.5)
            hint = f" Did you mean `{split}/{near[0]}`?" if near else ""
            raise ConfigError(
                f"{type(self).__name__}(monitor={self.monitor!r}): {split} has no such metric.{hint} It has "
                f"{', '.join(sorted(metrics))}."
            )
        value = float(metrics[self.metric])
        if self._is_better(value):
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.no_better(trainer)

    def _is_better(self, value: float) -> bool:
        if self.best is None:
            return value == value  # and not, if it is no number
        return value < self.best - self.min_delta if self.mode == "min" else value > self.best + self.min_delta
