"""What a spike does to the membrane potential, at the start of the step after it."""

from dataclasses import dataclass
from typing import Any

import jax


@dataclass(frozen=True)
class Reset:
    """Return V after the reset, from the stored V and the spikes it emitted.

    Args:
        detach: whether the gradient stops at the spikes of the reset.
    """

    detach: bool = False

    def __call__(self, V: Any, spikes: jax.Array, V_th: Any, V_reset: Any) -> Any:
        """Apply the reset."""
        return self.apply(V, jax.lax.stop_gradient(spikes) if self.detach else spikes, V_th, V_reset)

    def apply(self, V: Any, spikes: jax.Array, V_th: Any, V_reset: Any) -> Any:
        """Compute the reset for spikes that may or may not carry a gradient."""
        raise NotImplementedError


@dataclass(frozen=True)
class SoftReset(Reset):
    r"""Subtract: $V \leftarrow V - s \, (V_{th} - V_{reset})$, which keeps what exceeded the threshold."""

    def apply(self, V: Any, spikes: jax.Array, V_th: Any, V_reset: Any) -> Any:
        """Subtract the distance from threshold to reset."""
        return V - spikes * (V_th - V_reset)


@dataclass(frozen=True)
class HardReset(Reset):
    r"""Replace: $V \leftarrow (1 - s) \, V + s \, V_{reset}$, exactly the reset potential wherever V had got to."""

    def apply(self, V: Any, spikes: jax.Array, V_th: Any, V_reset: Any) -> Any:
        """Put V to the reset potential where there was a spike."""
        return (1 - spikes) * V + spikes * V_reset


@dataclass(frozen=True)
class NoReset(Reset):
    r"""Leave V as it is: the neuron spikes in every step spent above threshold."""

    def apply(self, V: Any, spikes: jax.Array, V_th: Any, V_reset: Any) -> Any:
        """Return V."""
        return V
