"""The baseline: logistic regression on spike counts, which knows nothing of time."""

import numpy as np
from scipy.optimize import minimize

from spiketrain.data.dataset import Dataset, Split
from spiketrain.data.event_split import EventSplit


def logistic_regression(dataset: Dataset, l2: float = 1.0) -> float:
    r"""Return the test accuracy of the W that minimises $\sum_n -\log p_{y_n} + \frac{\lambda}{2} |W|^2$.

    $p = \mathrm{softmax}(W z + b)$ of the spike counts z per channel, standardised over the training set.

    Args:
        dataset: the trials.
        l2: $\lambda$.
    """
    counts = _counts(dataset.train)
    mean, std = counts.mean(0), counts.std(0)
    std[std == 0] = 1.0
    z, y = (counts - mean) / std, dataset.train.y
    shape = z.shape[1] + 1, dataset.n_classes
    z = np.column_stack([z, np.ones(len(z))])
    target = np.eye(dataset.n_classes)[y]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        W = flat.reshape(shape)
        scores = z @ W
        scores -= scores.max(1, keepdims=True)
        log_p = scores - np.log(np.exp(scores).sum(1, keepdims=True))
        kept = np.vstack([W[:-1], np.zeros(shape[1])])  # the bias is not pulled to zero
        gradient = z.T @ (np.exp(log_p) - target) + l2 * kept
        return -(log_p * target).sum() + l2 / 2 * (kept**2).sum(), gradient.ravel()

    W = minimize(loss, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x.reshape(shape)
    tested = np.column_stack([(_counts(dataset.test) - mean) / std, np.ones(len(dataset.test))])
    return float(((tested @ W).argmax(1) == dataset.test.y).mean())


def _counts(split: Split | EventSplit) -> np.ndarray:
    dense = split.dense() if isinstance(split, EventSplit) else split
    return dense.x.sum(1, dtype=np.float64)
