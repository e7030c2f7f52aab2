"""What a run tells others while it trains, and what they may ask of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spiketrain.training.trainer import Trainer


class Callback:
    """Something that watches a run from the host. Override what is of interest; all methods do nothing by default.

    A callback may ask for the end with `trainer.stop(reason)`, or for smaller steps with `trainer.multiply_rate(0.5)`.
    Give your own a name for configurations with `@register("callback", "mine")`, and write `callbacks={mine: {}}`.
    """

    def on_start(self, trainer: "Trainer") -> None:
        """Training starts, or goes on from a checkpoint."""

    def on_epoch_start(self, trainer: "Trainer", epoch: int) -> None:
        """So many epochs are over, and the first step of the next one comes now."""

    def on_log(self, trainer: "Trainer", means: dict[str, float]) -> None:
        """The means of the training metrics since the last call have arrived on the host."""

    def on_evaluation(self, trainer: "Trainer", split: str, metrics: dict[str, float]) -> None:
        """A split was evaluated."""

    def on_epoch_end(self, trainer: "Trainer", epoch: int) -> None:
        """So many epochs are over."""

    def on_checkpoint(self, trainer: "Trainer", folder: Path) -> None:
        """The writing of a checkpoint into `folder` has begun."""

    def on_end(self, trainer: "Trainer", result: dict[str, Any]) -> None:
        """The run is over and this is its result; what is added to it is written, too."""

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs, as JSON; kept in every checkpoint."""
        return {}

    def load(self, state: dict[str, Any]) -> None:
        """Take what `state` returned."""
