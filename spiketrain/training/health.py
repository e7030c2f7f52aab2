"""The numerical health of a run: where a number that is not finite came from, and layers that are silent or saturated."""

import logging
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

from spiketrain.environ import dt_in_seconds
from spiketrain.errors import TrainingError
from spiketrain.training.aim import AimAtRate
from spiketrain.training.callbacks import Callback
from spiketrain.training.step import Functions, SplitData

log = logging.getLogger("spiketrain")

SCALES = "a scale of the model, the encoder, or callbacks.aim_at_rate"


def what_is_not_finite(
    functions: Functions, leaves: list[jax.Array], data: SplitData, order: jax.Array, at: int
) -> str:
    """Say what is not finite in the step `at`, the one that `leaves` have not taken: the loss, or which gradients.

    The step is computed once more.
    """

    def gradient(leaves: list[jax.Array], data: SplitData, order: jax.Array) -> Any:
        return functions.gradient_at(leaves, data, order, at)

    found = jax.tree.leaves(jax.jit(gradient)(leaves, data, order))
    wrong = [
        name.removeprefix("params/")
        for name, x in zip(functions.layout.names, found, strict=False)
        if not np.isfinite(np.asarray(x)).all()
    ]
    more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    what = f"the gradient of {', '.join(wrong[:5])}{more}" if wrong else "the loss"
    return f"{what} is not finite in step {at + 1}"


def require_finite(name: str, means: dict[str, float], step: int) -> None:
    """Refuse metrics of a split that are not finite.

    Raises:
        TrainingError: naming the first that is not.
    """
    wrong = [metric for metric, value in means.items() if not math.isfinite(value)]
    if wrong:
        raise TrainingError(
            f"{name} {wrong[0]} is {means[wrong[0]]} at step {step}: training has diverged. Lower the learning rate, or "
            "clip the gradient (optimizer.clip_norm). Checkpoints up to the last finite one are kept."
        )


def save_batch(path: Path, data: SplitData, rows: np.ndarray, trials: np.ndarray, at: int) -> None:
    """Write the trials of a batch, before the encoder: the `rows` of what is on the devices, `trials` of the split."""
    if isinstance(data, dict):
        batch = {name: array[rows] for name, array in data.items() if name != "weight"}
    else:
        batch = data.batch(jax.numpy.asarray(rows))
    arrays: dict[str, Any] = {name: np.asarray(array) for name, array in batch.items()}
    np.savez(path, **arrays, rows=trials, step=at)


class FiringRates(Callback):
    """Warns where a hidden layer is silent or saturated in the first steps: gradients hardly pass through it.

    Args:
        steps: how many optimizer steps to watch; more of them where training is logged less often.
        saturated: the part of all time steps in which a saturated layer fires, on average over its neurons.
    """

    def __init__(self, *, steps: int = 100, saturated: float = 0.5):
        self.steps, self.saturated = steps, saturated
        self._said: set[str] = set()

    def on_log(self, trainer: Any, means: dict[str, float]) -> None:
        """Look at the firing rates."""
        if trainer.step > max(self.steps, trainer.settings.log_every_steps):
            return
        aimed = any(isinstance(callback, AimAtRate) for callback in trainer.callbacks)
        scales = "a scale of the model or the encoder" if aimed else SCALES
        for name in (key.removeprefix("rate_hz/") for key in means if key.startswith("rate_hz/")):
            fired = means[f"rate_hz/{name}"] * dt_in_seconds()
            if name not in self._said and (fired == 0 or fired > self.saturated):
                self._said.add(name)
                log.warning(
                    "%s",
                    _silent(name, trainer.step, scales)
                    if fired == 0
                    else _saturated(name, fired, trainer.step, scales),
                )


def _silent(name: str, step: int, scales: str) -> str:
    return (
        f"layer {name} has not fired by step {step}: surrogate gradients vanish far below the threshold. Make what "
        f"drives it stronger ({scales}), or lower V_th."
    )


def _saturated(name: str, fired: float, step: int, scales: str) -> str:
    return (
        f"layer {name} fires in {100 * fired:.0f} % of the time steps at step {step}: its spikes tell little. Make what "
        f"drives it weaker ({scales}), raise V_th, or bound rates with loss.rate_weight and loss.rate_upper_hz."
    )
