"""A start at a firing rate: what a callback does before the first step."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from spiketrain.errors import ConfigError
from spiketrain.layers.aim import aim_at_rate
from spiketrain.training.callbacks import Callback


class AimAtRate(Callback):
    """Scales the weights of a fresh model until each of its layers fires at a rate, on trials of the training split.

    See `spiketrain.layers.aim.aim_at_rate`. A run that is resumed is left as it is; one that starts from the parameters
    of another is scaled, too.

    Args:
        rate_hz: the mean rate of every spiking layer, and of the neurons of a population readout.
        trials: how many trials it is measured on, drawn by the seed of the run.

    Raises:
        ConfigError: the model does not list its layers.
        DomainError: a layer cannot be brought to that rate; the error says which, and why.
    """

    def __init__(self, *, rate_hz: float = 10.0, trials: int = 128):
        if trials < 1:
            raise ConfigError(f"callbacks.aim_at_rate.trials must be at least 1, got {trials}.")
        self.rate_hz, self.trials = rate_hz, trials

    def on_start(self, trainer: Any) -> None:
        """Scale the parameters, and their moving averages where there are any."""
        if trainer.step:
            return
        layout, split = trainer.layout, trainer.splits["train"]
        members = trainer.members  # of an ensemble, whose leaves have an axis of them in front
        some = split.take(np.random.default_rng(trainer.seed).permutation(len(split))[: self.trials])
        frames = jnp.asarray(some.dense().x).swapaxes(0, 1)
        x, mask = trainer.encoder(frames, jnp.arange(len(frames))[:, None] < jnp.asarray(some.lengths))
        # On one device of this process alone, where every one has the whole.
        own = [leaf.addressable_data(0) if leaf.is_fully_replicated else leaf for leaf in trainer.leaves]
        factors: dict[str, list[float]] = {}
        for k in range(members or 1):
            for name, (parameter, factor, rate) in self._aimed(
                layout, [leaf[k] for leaf in own] if members else own, x, mask
            ):
                trainer.log.say(f"layer {name} starts at {rate:.3g} Hz: {parameter} times {factor:.3g}")
                factors.setdefault(parameter, []).append(factor)
        for parameter, by_member in factors.items():
            for leaf in {f"params/{parameter}", f"ema/{parameter}"} & set(layout.names):
                value = trainer.leaves[layout.names.index(leaf)]
                factor = np.reshape(by_member, (-1, *[1] * (value.ndim - 1))) if members else by_member[0]
                trainer.leaves = layout.replace(trainer.leaves, leaf, value * factor)

    def _aimed(self, layout: Any, leaves: list[Any], x: Any, mask: Any) -> Any:
        state = layout.state(leaves)
        model = layout.model(state.params, state.rest, training=True)
        if not hasattr(model, "named_layers"):
            raise ConfigError(
                f"callbacks.aim_at_rate needs a model that lists its layers, and {type(model).__name__} has no "
                "`named_layers()`. Write `~callbacks.aim_at_rate`, or give it that method, as `SpikingNet` has it."
            )
        return aim_at_rate(model, x, mask, rate_hz=self.rate_hz).items()
