"""Metrics as sums that stay on the device until somebody asks for their mean.

A metric is a pair (sum, count); adding the pairs of many batches gives the exact mean over trials, whatever the
batch size. The sum of a firing rate is one number per neuron.
"""

import jax
import jax.numpy as jnp
import numpy as np

Sums = dict[str, tuple[jax.Array, jax.Array]]


def classification(logits: jax.Array, labels: jax.Array, per_trial_loss: jax.Array, weight: jax.Array) -> Sums:
    """Return loss and accuracy over the trials of weight one; a padded trial has weight zero."""
    correct = (logits.argmax(-1) == labels).astype(weight.dtype)
    return {
        "loss": ((per_trial_loss * weight).sum(), weight.sum()),
        "accuracy": ((correct * weight).sum(), weight.sum()),
    }


def activity(rates: dict[str, jax.Array], mask: jax.Array) -> Sums:
    """Return, per hidden layer, the firing rate of every neuron in Hz, weighted by the valid steps of the batch."""
    steps = mask.sum().astype(jnp.float32)
    return {f"rate_hz/{name}": (rate * steps, steps) for name, rate in rates.items()}


def means(batches: list[Sums]) -> dict[str, float]:
    """Fetch the sums of some batches at once, add them in float64, and return plain means.

    A layer's rate becomes the mean over its neurons, beside the fraction of them that were silent in all batches.
    """
    result = {}
    host = jax.device_get(batches)
    for name in host[0]:
        total = sum(np.asarray(sums[name][0], np.float64) for sums in host)
        count = sum(np.asarray(sums[name][1], np.float64) for sums in host)
        result[name] = float(np.mean(total / count))
        if name.startswith("rate_hz/"):
            result[name.replace("rate_hz/", "silent/", 1)] = float(np.mean(total == 0))
    return result
