"""What training minimises: a distance between an output train and a class, plus penalties on hidden activity."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from spiketrain.environ import decay, dt_in_seconds
from spiketrain.errors import ConfigError
from spiketrain.hidden import Hidden, Watched, is_output
from spiketrain.readouts import READOUTS, first_spike
from spiketrain.regularizers import rate_bounds
from spiketrain.synapses.expon import Expon


@dataclass(frozen=True, kw_only=True)
class Loss:
    r"""What every loss is: class scores of an output train, the loss of a trial, a penalty on hidden activity.

    Labels are classes `(B,)` or distributions over them `(B, C)`, as mixing trials makes them. The target of a trial
    is $q = (1 - \epsilon) \, p + \epsilon / C$, p being its distribution, or one at its class.

    Args:
        label_smoothing: $\epsilon$, in [0, 1).
        rate_weight: the weight of the rate bounds, summed over hidden layers; 0 switches them off.
        rate_lower_hz: the rate below which a neuron is pulled up.
        rate_upper_hz: the rate above which a neuron is pulled down.
        synchrony_weight: the weight of `spiketrain.regularizers.synchrony`, summed over hidden layers; 0 switches it off.
        membrane_weight: the weight of `spiketrain.regularizers.membrane_bounds`, summed over hidden layers; 0 switches it
            off. Potentials are those at the end of a step, after a reset; those of all steps are kept for it.
        membrane_lower: the lowest potential that is free, in the unit of V.
        membrane_upper: the highest potential that is free.
    """

    label_smoothing: float = 0.0
    rate_weight: float = 0.0
    rate_lower_hz: float = 0.0
    rate_upper_hz: float = 1000.0
    synchrony_weight: float = 0.0
    membrane_weight: float = 0.0
    membrane_lower: float = -1.0
    membrane_upper: float = 1.0

    def __post_init__(self) -> None:
        owner = type(self).__name__
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"{owner}(label_smoothing=...) must lie in [0, 1), got {self.label_smoothing}.")
        if self.rate_weight < 0 or self.rate_lower_hz > self.rate_upper_hz:
            raise ConfigError(
                f"{owner} needs rate_weight >= 0 and rate_lower_hz <= rate_upper_hz, got "
                f"{self.rate_weight}, {self.rate_lower_hz} and {self.rate_upper_hz}."
            )
        if self.synchrony_weight < 0 or self.membrane_weight < 0 or self.membrane_lower >= self.membrane_upper:
            raise ConfigError(
                f"{owner} needs synchrony_weight >= 0, membrane_weight >= 0 and membrane_lower < membrane_upper, got "
                f"{self.synchrony_weight}, {self.membrane_weight}, {self.membrane_lower} and {self.membrane_upper}."
            )

    def logits(self, train: jax.Array, mask: jax.Array) -> jax.Array:
        """Return the class scores `(B, C)` of an output train `(T, B, C)`; the largest is that of the predicted class."""
        raise NotImplementedError

    def per_trial(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        """Return the cross-entropy of every trial."""
        return -(self.target(labels, logits) * jax.nn.log_softmax(logits)).sum(-1)

    def target(self, labels: jax.Array, logits: jax.Array) -> jax.Array:
        """Return the distribution over classes that is aimed at."""
        classes, eps = logits.shape[-1], self.label_smoothing
        p = labels if labels.ndim == 2 else jax.nn.one_hot(labels, classes)
        return (1 - eps) * p + eps / classes

    def watched(self) -> Watched:
        """Return what of hidden layers `penalty` needs besides their rates."""
        bounds = (self.membrane_lower, self.membrane_upper) if self.membrane_weight else None
        return Watched(bool(self.synchrony_weight), bounds)

    def penalty(self, layers: Mapping[str, Hidden]) -> jax.Array:
        """Return the weighted penalties of all hidden layers; the neurons of a readout answer to the loss alone."""
        total = jnp.zeros(())
        for layer in (layer for name, layer in layers.items() if not is_output(name)):
            if self.rate_weight:
                bounds = rate_bounds(layer.rates, lower_hz=self.rate_lower_hz, upper_hz=self.rate_upper_hz)
                total += self.rate_weight * bounds
            if layer.synchrony is not None:
                total += self.synchrony_weight * layer.synchrony
            if layer.membrane is not None:
                total += self.membrane_weight * layer.membrane
        return total


@dataclass(frozen=True)
class CrossEntropy(Loss):
    r"""$-\sum_c q_c \log \mathrm{softmax}(z)_c$ with the target q of `Loss`, averaged over trials.

    Args:
        readout: how the output train becomes the logits z: `mean_over_time`, `sum_over_time`, `sum_of_softmax`,
            `last_step` or `max_over_time`.
        label_smoothing: see `Loss`, as all that follow.
    """

    readout: str = "mean_over_time"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.readout not in READOUTS:
            raise ConfigError(f"CrossEntropy(readout=...) must be one of {sorted(READOUTS)}, got {self.readout!r}.")

    def logits(self, train: jax.Array, mask: jax.Array) -> jax.Array:
        """Return the readout of an output train."""
        return READOUTS[self.readout](train, mask)


@dataclass(frozen=True)
class FirstSpike(Loss):
    r"""The cross-entropy of $z_c = -t_c / \tau$: the output neuron that fires first decides.

    $t_c$ is the time of the first spike, and the length of the trial where there is none; see
    `spiketrain.readouts.first_spike` for its gradient. Output neurons must spike: `model.readout=population` with
    `per_class=1` in a configuration.

    Args:
        tau_ms: the time by which a right spike should come before a wrong one; the shorter, the sharper.
        label_smoothing: see `Loss`, as all that follow.

    Reference: Göltz et al. (2021), https://arxiv.org/abs/1912.11443, for spike times that are continuous.
    """

    tau_ms: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_positive(self, "tau_ms")

    def logits(self, train: jax.Array, mask: jax.Array) -> jax.Array:
        """Return the scores of an output train of spikes."""
        return -first_spike(train, mask) * (dt_in_seconds() * 1e3 / self.tau_ms)


@dataclass(frozen=True)
class VanRossum(Loss):
    r"""The distance of an output train to that of its class: one neuron fires regularly, all others are silent.

    $z_c = -\sum_i D^2(s_i, \; \delta_{ic} \, r)$ and the loss is $-\sum_c q_c z_c$, with the target q of `Loss` and the
    distance of `van_rossum`, where r fires every `period_ms`. Output neurons must spike, as for `FirstSpike`.

    Args:
        tau_ms: the time constant of the distance: short compares times, long compares counts.
        period_ms: the time between the spikes of the right neuron, at least one step.
        label_smoothing: see `Loss`, as all that follow.
    """

    tau_ms: float = 10.0
    period_ms: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_positive(self, "tau_ms")
        _require_positive(self, "period_ms")

    def logits(self, train: jax.Array, mask: jax.Array) -> jax.Array:
        """Return how far an output train of spikes is from that of each class, with a minus."""
        period = max(1, round(self.period_ms / (dt_in_seconds() * 1e3)))
        regular = ((jnp.arange(len(train)) + 1) % period == 0).astype(train.dtype)
        fires = jnp.broadcast_to(regular[:, None, None], train.shape)
        if_silent = van_rossum(train, jnp.zeros_like(train), mask, tau=self.tau_ms)
        if_firing = van_rossum(train, fires, mask, tau=self.tau_ms)
        return -(if_silent.sum(-1, keepdims=True) - if_silent + if_firing)

    def per_trial(self, logits: jax.Array, labels: jax.Array) -> jax.Array:
        """Return the distance of every trial to its target."""
        return -(self.target(labels, logits) * logits).sum(-1)


def van_rossum(train: jax.Array, target: jax.Array, mask: jax.Array, *, tau: Any) -> jax.Array:
    r"""Return the distance of every neuron's spikes to those it should emit.

    $$D^2 = \frac{1}{\tau} \int_0^\infty (f - g)^2 \, dt, \quad f(t) = \sum_{t_k \leq t} e^{-(t - t_k) / \tau}$$

    and g the same of the target; a spike too many or too few is 1/2, and a spike displaced by far more than $\tau$
    is 1. The integral is exact, between time steps and beyond the end: with $h_n = a h_{n-1} + s_n - s^*_n$ and
    $a = e^{-dt/\tau}$ it is $\frac{1 - a^2}{2} \sum_{n < T} h_n^2 + \frac{a^2}{2} h_{T-1}^2$.

    Args:
        train: spikes, `(T, B, *size)`.
        target: spikes of the same shape.
        mask: `(T, B)`, true at valid steps; what lies beyond them counts in neither.
        tau: the time constant; a bare number counts in ms.

    Returns:
        `(B, *size)`.

    Reference: van Rossum (2001), https://doi.org/10.1162/089976601300014321.
    """
    valid = mask.reshape(*mask.shape, *[1] * (train.ndim - 2))
    h = Expon(train.shape[2:], tau=tau)(jnp.where(valid, train, 0) - jnp.where(valid, target, 0))
    squared = decay(tau) ** 2
    return (1 - squared) / 2 * (h**2).sum(0) + squared / 2 * h[-1] ** 2


def _require_positive(loss: Loss, name: str) -> None:
    if not (value := getattr(loss, name)) > 0:
        raise ConfigError(f"{type(loss).__name__}({name}=...) must be positive, got {value}.")
