"""What training minimises: a cross-entropy on a readout, plus bounds on firing rates."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from spiketrain.errors import ConfigError
from spiketrain.readouts import READOUTS
from spiketrain.regularizers import rate_bounds


@dataclass(frozen=True)
class CrossEntropy:
    r"""$-\sum_c q_c \log \mathrm{softmax}(z)_c$ with $q = (1 - \epsilon) \, 1_y + \epsilon / C$, averaged over trials.

    Args:
        readout: how the output train becomes the logits z: `mean_over_time`, `sum_of_softmax`, `last_step` or
            `max_over_time`.
        label_smoothing: $\epsilon$, in [0, 1).
        rate_weight: the weight of the rate bounds, summed over hidden layers; 0 switches them off.
        rate_lower_hz: the rate below which a neuron is pulled up.
        rate_upper_hz: the rate above which a neuron is pulled down.
    """

    readout: str = "mean_over_time"
    label_smoothing: float = 0.0
    rate_weight: float = 0.0
    rate_lower_hz: float = 0.0
    rate_upper_hz: float = 1000.0

    def __post_init__(self) -> None:
        if self.readout not in READOUTS:
            raise ConfigError(f"CrossEntropy(readout=...) must be one of {sorted(READOUTS)}, got {self.readout!r}.")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"CrossEntropy(label_smoothing=...) must lie in [0, 1), got {self.label_smoothing}.")
        if self.rate_weight < 0 or self.rate_lower_hz > self.rate_upper_hz:
            raise ConfigError(
                "CrossEntropy needs rate_weight >= 0 and rate_lower_hz <= rate_upper_hz, got "
                f"{self.rate_weight}, {self.rate_lower_hz} and {self.rate_upper_hz}."
            )

    def logits(self, train: jax.Array, mask: jax.Array) -> jax.Array:
        """Return the class scores `(B, C)` of an output train `(T, B, C)`."""
        return READOUTS[self.readout](train, mask)

    def per_trial(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        """Return the cross-entropy of every trial."""
        eps = self.label_smoothing
        target = (1 - eps) * jax.nn.one_hot(labels, logits.shape[-1]) + eps / logits.shape[-1]
        return -(target * jax.nn.log_softmax(logits)).sum(-1)

    def penalty(self, rates: dict[str, jax.Array]) -> jax.Array:
        """Return the weighted rate bounds of all hidden layers, from the rates of their neurons in Hz."""
        if not self.rate_weight:
            return jnp.zeros(())
        bounds = [rate_bounds(r, lower_hz=self.rate_lower_hz, upper_hz=self.rate_upper_hz) for r in rates.values()]
        return self.rate_weight * sum(bounds, jnp.zeros(()))
