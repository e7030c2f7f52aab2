"""Metrics as sums that stay on the device until somebody asks for their mean.

A metric is a pair (sum, count); adding the pairs of many batches gives the exact mean over trials, whatever the
batch size. The sum of a firing rate is one number per neuron. Those of an ensemble have a leading axis of members.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spiketrain.errors import TrainingError
from spiketrain.hidden import Hidden

Sums = dict[str, tuple[Any, Any]]


@jax.tree_util.register_pytree_node_class
class Packed:
    """Holds sums as one array: to fetch a hundred small ones takes longer than a small step.

    Args:
        flat: all sums and counts in a row, `(n,)`, or `(members, n)`.
        places: name, and shapes of the sum and the count, in their order.
    """

    def __init__(self, flat: Any, places: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]):
        self.flat, self.places = flat, places

    @classmethod
    def of(cls, sums: Sums) -> "Packed":
        """Pack the sums of one batch."""
        flat = jnp.concatenate([x.reshape(-1).astype(jnp.float32) for pair in sums.values() for x in pair])
        return cls(flat, tuple((name, total.shape, count.shape) for name, (total, count) in sums.items()))

    def unpacked(self) -> Sums:
        """Return the sums by name."""
        shapes = [shape for _, *pair in self.places for shape in pair]
        ends = np.cumsum([math.prod(shape) for shape in shapes])
        parts = (
            self.flat[..., end - math.prod(shape) : end].reshape((*self.flat.shape[:-1], *shape))
            for end, shape in zip(ends, shapes, strict=True)
        )
        return {name: (next(parts), next(parts)) for name, *_ in self.places}

    def tree_flatten(self):
        """Return the array, and what it means."""
        return (self.flat,), self.places

    @classmethod
    def tree_unflatten(cls, places, flat):
        """Return what `tree_flatten` took apart."""
        return cls(flat[0], places)


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


def activity(layers: Mapping[str, Hidden], mask: jax.Array) -> Sums:
    """Return, per hidden layer, the firing rate of every neuron in Hz, and what else is watched.

    All are weighted by the valid steps of the batch.
    """
    steps = mask.sum().astype(jnp.float32)
    sums: Sums = {}
    for name, layer in layers.items():
        measured = {"rate_hz": layer.rates, "synchrony": layer.synchrony, "membrane": layer.membrane}
        for measure, x in measured.items():
            if x is not None:
                sums[f"{measure}/{name}"] = x * steps, steps.reshape((1,) * x.ndim)
    return sums


def added(batches: Sequence[Packed]) -> Packed:
    """Fetch the sums of some batches, one or more, and add them in float64, one after the other.

    Raises:
        TrainingError: they are sums of different metrics; a checkpoint may hold such.
    """
    if len({sums.places for sums in batches}) > 1:
        raise TrainingError(f"The sums of {batches[0].places} and of {batches[-1].places} cannot be added.")
    total = np.zeros(batches[0].flat.shape)
    for sums in batches:
        total += np.asarray(sums.flat)
    return Packed(total, batches[0].places)


def as_json(sums: Packed) -> dict[str, Any]:
    """Return sums as JSON holds them, to the last bit."""
    return {"flat": sums.flat.tolist(), "places": sums.places}


def from_json(kept: dict[str, Any]) -> Packed:
    """Return the sums that `as_json` was given.

    Raises:
        KeyError, TypeError, ValueError: they are not of that kind.
    """
    places = tuple((str(name), tuple(map(int, total)), tuple(map(int, count))) for name, total, count in kept["places"])
    sums = Packed(np.asarray(kept["flat"], float), places)
    if sums.flat.shape[-1] != sum(math.prod(shape) for _, *pair in places for shape in pair):
        raise ValueError("sums do not fill their places")
    return sums


def means(batches: Sequence[Packed]) -> dict[str, float]:
    """Return the plain means over some batches, and over the members of an ensemble; NaN where nothing was counted.

    A layer's rate becomes the mean over its neurons, beside the fraction of them that were silent in all batches.
    """
    return _means(added(batches).unpacked()) if batches else {}


def means_of_members(batches: Sequence[Packed], members: int) -> list[dict[str, float]]:
    """Return what `means` returns, for each member of an ensemble, whose sums have a leading axis of members."""
    sums = added(batches).unpacked()
    return [_means({name: (total[k], count[k]) for name, (total, count) in sums.items()}) for k in range(members)]


def _means(sums: Sums) -> dict[str, float]:
    result = {}
    for name, (total, count) in sums.items():
        result[name] = float((total / count).mean()) if count.all() else float("nan")
        if name.startswith("rate_hz/"):
            result[name.replace("rate_hz/", "silent/", 1)] = float((total == 0).mean())
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
