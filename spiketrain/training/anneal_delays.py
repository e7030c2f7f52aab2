"""Kernels of learned delays that become narrow while a network trains."""

from typing import Any

from flax import nnx

from spiketrain.environ import dt_in_seconds
from spiketrain.errors import ConfigError
from spiketrain.projections.comm.learned_delays import LearnedDelays
from spiketrain.training.callbacks import Callback


class AnnealDelays(Callback):
    r"""Sets the width of all `LearnedDelays` in a model, once per epoch, and tests them rounded at the end.

    $$\sigma = \sigma_{start} (\sigma_{final} / \sigma_{start})^{\min(1, e / (f E))}$$

    after e of E epochs, and zero in the last `rounded` part of them: there delays are whole steps and stay where they
    are, and the weights adapt. It is a function of the epoch alone, so that a resumed run goes on as it was. At the
    end the test set is evaluated once more with delays of whole steps, as they are deployed; the metrics are recorded
    as the split `deployed`, also in the result, and nothing is chosen by them.

    Args:
        start_steps: the width at the start, in time steps.
        final_steps: the width that it falls to, in time steps.
        fraction: f, the part of all epochs that this takes.
        rounded: the part of all epochs, the last, in which delays are rounded.

    Raises:
        ConfigError: a width is not positive, they rise, or the parts do not fit into one.
    """

    def __init__(
        self, *, start_steps: float = 12.0, final_steps: float = 0.5, fraction: float = 0.75, rounded: float = 0.0
    ):
        if not 0 < final_steps <= start_steps:
            raise ConfigError(
                "AnnealDelays(start_steps=..., final_steps=...) must be positive and fall, got "
                f"{start_steps} and {final_steps}."
            )
        if not (fraction > 0 and rounded >= 0 and fraction + rounded <= 1):
            raise ConfigError(
                f"AnnealDelays(fraction=..., rounded=...) must be parts of one, got {fraction} and {rounded}."
            )
        self.start_steps, self.final_steps = start_steps, final_steps
        self.fraction, self.rounded = fraction, rounded

    def width(self, progress: float) -> float:
        """Return the width in time steps after a part of all epochs."""
        if self.rounded and progress >= 1 - self.rounded:
            return 0.0
        return self.start_steps * (self.final_steps / self.start_steps) ** min(1.0, progress / self.fraction)

    def on_start(self, trainer: Any) -> None:
        """Set the width of the epoch in which training starts or goes on."""
        if not _sigmas(trainer):
            raise ConfigError("callbacks.anneal_delays: the model has no LearnedDelays. Leave the callback out.")
        self.on_epoch_start(trainer, trainer.step // trainer.steps_per_epoch)

    def on_epoch_start(self, trainer: Any, epoch: int) -> None:
        """Set the width of the epoch; what is saved at its end has it, as what was measured there."""
        _set(trainer, self.width(epoch / trainer.settings.epochs))

    def on_end(self, trainer: Any, result: dict[str, Any]) -> None:
        """Test the network with rounded delays."""
        _set(trainer, 0.0)
        metrics = result["deployed"] = trainer.evaluate("test")
        trainer.log.scalars(trainer.step, "deployed", metrics)
        trainer.log.say(
            f"test accuracy {100 * metrics['accuracy']:.2f} % with delays rounded to steps, "
            f"{100 * result['test']['accuracy']:.2f} % before"
        )


def _sigmas(trainer: Any) -> list[str]:
    """Return the names of the leaves that hold a width, in ms."""
    model = trainer.layout.evaluation_model(trainer.leaves)
    paths = [path for path, module in nnx.iter_modules(model) if isinstance(module, LearnedDelays)]
    return ["/".join(map(str, ("rest", *path, "sigma"))) for path in paths]


def _set(trainer: Any, steps: float) -> None:
    for name in _sigmas(trainer):
        trainer.leaves = trainer.layout.replace(trainer.leaves, name, steps * dt_in_seconds() * 1e3)
