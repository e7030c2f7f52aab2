"""Metrics as sums that stay on the device until somebody asks for their mean.

A metric is a pair (sum, count); adding the pairs of many batches gives the exact mean over trials, whatever the
batch size. The sum of a firing rate is one number per neuron.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Sums = dict[str, tuple[jax.Array, jax.Array]]


def classification(logits: jax.Array, labels: jax.Array, per_trial_loss: jax.Array, weight: jax.Array) -> Sums:
    """Return loss and accuracy over the trials of weight one; a padded trial has weight zero.

    Where labels are distributions `(B, C)`, the right class of a trial is its likeliest one.
    """
    labels = labels.argmax(-1) if labels.ndim == 2 else labels
    correct = (logits.argmax(-1) == labels).astype(weight.dtype)
    return {
        "loss": ((per_trial_loss * weight).sum(), weight.sum()),
        "accuracy": ((correct * weight).sum(), weight.sum()),
    }


def activity(rates: dict[str, jax.Array], mask: jax.Array) -> Sums:
    """Return, per hidden layer, the firing rate of every neuron in Hz, weighted by the valid steps of the batch."""
    steps = mask.sum().astype(jnp.float32)
    return {f"rate_hz/{name}": (rate * steps, steps) for name, rate in rates.items()}


def added(batches: list[Sums]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Fetch the sums of some batches at once, and add them in float64, one after the other."""
    host = jax.device_get(batches)
    return {
        name: tuple(sum(np.asarray(sums[name][k], np.float64) for sums in host) for k in range(2))  # type: ignore[misc]
        for name in (host[0] if host else ())
    }


def as_json(sums: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """Return sums as JSON holds them, to the last bit."""
    return {name: [x.tolist() for x in pair] for name, pair in sums.items()}


def from_json(kept: dict[str, Any]) -> Sums:
    """Return the sums that `as_json` was given."""
    return {name: (np.asarray(total, float), np.asarray(count, float)) for name, (total, count) in kept.items()}  # type: ignore[misc]


def means(batches: list[Sums]) -> dict[str, float]:
    """Return the plain means over some batches; NaN where nothing was counted.

    A layer's rate becomes the mean over its neurons, beside the fraction of them that were silent in all batches.
    """
    result = {}
    for name, (total, count) in added(batches).items():
        result[name] = float(np.mean(total / count)) if count else float("nan")
        if name.startswith("rate_hz/"):
            result[name.replace("rate_hz/", "silent/", 1)] = float(np.mean(total == 0))
    return result


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return the number of trials by true class (rows) and predicted class (columns), `(classes, classes)`."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def per_class(confusion: np.ndarray) -> list[dict[str, float | None]]:
    r"""Return, for each class of a confusion matrix, its trials, and precision, recall and F1.

    $$precision = \frac{TP}{TP + FP} \qquad recall = \frac{TP}{TP + FN} \qquad F_1 = \frac{2 TP}{2 TP + FP + FN}$$

    Recall is the accuracy within the class. What would be zero by zero is None: the recall of a class without trials,
    the precision of one that was never predicted.
    """
    right, of_class, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    return [
        {
            "trials": int(n),
            "precision": float(tp / m) if m else None,
            "recall": float(tp / n) if n else None,
            "f1": float(2 * tp / (n + m)) if n + m else None,
        }
        for tp, n, m in zip(right, of_class, predicted, strict=True)
    ]
