"""Metrics as sums that stay on the device until somebody asks for their mean.

A metric is a pair (sum, count); adding the pairs of many batches gives the exact mean over trials, whatever the
batch size.
"""

import jax
import jax.numpy as jnp
import numpy as np

from spiketrain.regularizers import firing_rates

Sums = dict[str, tuple[jax.Array, jax.Array]]


def classification(logits: jax.Array, labels: jax.Array, per_trial_loss: jax.Array, weight: jax.Array) -> Sums:
    """Return loss and accuracy over the trials of weight one; a padded trial has weight zero."""
    correct = (logits.argmax(-1) == labels).astype(weight.dtype)
    return {
        "loss": ((per_trial_loss * weight).sum(), weight.sum()),
        "accuracy": ((correct * weight).sum(), weight.sum()),
    }


def activity(hidden: dict[str, jax.Array], mask: jax.Array) -> Sums:
    """Return, per hidden layer, the mean firing rate in Hz and the fraction of neurons silent in a whole batch."""
    sums: Sums = {}
    for name, spikes in hidden.items():
        rates = firing_rates(spikes, mask)
        sums[f"rate_hz/{name}"] = (rates.mean() * mask.sum(), mask.sum().astype(rates.dtype))
        sums[f"silent/{name}"] = ((rates == 0).mean(), jnp.ones(()))
    return sums


def means(batches: list[Sums]) -> dict[str, float]:
    """Fetch the sums of some batches at once, add them in float64, and return plain means."""
    host = jax.device_get(batches)
    totals = {name: np.asarray([b[name] for b in host], np.float64).sum(0) for name in host[0]}
    return {name: float(total / count) for name, (total, count) in totals.items()}
