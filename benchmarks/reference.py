r"""The first loss of every workload, in float64 and plain numpy: what each library's first loss is held against.

Neurons: $u[t] = 0.95 \, (u[t-1] - s[t-1]) + I[t]$ and $s[t] = H(u[t] - \theta)$ with $\theta = 1$, or
$\theta = 1 + 0.1 \, a[t]$ with $a[t] = 0.97 \, a[t-1] + s[t-1]$ in an adaptive layer. Readout:
$u[t] = 0.95 \, u[t-1] + I[t]$, mean over time, softmax cross-entropy.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

DECAY, DECAY_A, BETA = 0.95, 0.97, 0.1


def lif(I: np.ndarray) -> np.ndarray:
    """Return the spikes of leaky integrate-and-fire neurons for currents `(T, B, ...)`."""
    u, s, train = np.zeros(I.shape[1:]), np.zeros(I.shape[1:]), np.empty(I.shape)
    for t in range(len(I)):
        u = DECAY * (u - s) + I[t]
        s = train[t] = u >= 1.0
    return train


def alif(I: np.ndarray, R: np.ndarray) -> np.ndarray:
    """Return the spikes of recurrent adaptive neurons, `R` `(from, to)`."""
    u, s, a, train = (np.zeros(shape) for shape in (I.shape[1:], I.shape[1:], I.shape[1:], I.shape))
    for t in range(len(I)):
        a = DECAY_A * a + s
        u = DECAY * (u - s) + I[t] + s @ R
        s = train[t] = u >= 1.0 + BETA * a
    return train


def product(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the currents of a layer: `x @ w`, or the convolution and the average over 2 x 2 for a kernel."""
    return x @ w if w.ndim == 2 else np.stack([convolved(step, w) for step in x])


def convolved(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Convolve `(B, H, W, C)` with `(5, 5, C, out)` where the kernel fits, and average over windows of 2 x 2."""
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[:2], axis=(1, 2))
    y = np.tensordot(windows, w, axes=((4, 5, 3), (0, 1, 2)))
    B, H, W, C = y.shape
    return y[:, : H // 2 * 2, : W // 2 * 2].reshape(B, H // 2, 2, W // 2, 2, C).mean((2, 4))


def first(kind: str, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the loss before any update, and the spikes per step and neuron of every hidden layer.

    The loss of a workload without weights is the mean of the squares of the spikes.
    """
    x = arrays["x"].astype(float)
    if kind in ("forward", "backward"):
        train = lif(x)
        return {"loss": float((train**2).mean()), "rates": [float(train.mean())]}
    rates, layers = [], sum(name.startswith("w") for name in arrays) - 1
    for n in range(layers):
        I = product(x, arrays[f"w{n}"].astype(float))
        x = lif(I) if f"r{n}" not in arrays else alif(I, arrays[f"r{n}"].astype(float))
        rates.append(float(x.mean()))
    I = x.reshape(*x.shape[:2], -1) @ arrays[f"w{layers}"].astype(float)
    # The mean over time of a leaky integrator is a weighted sum: what arrives at t lasts for T - t steps.
    lasts = (1 - DECAY ** np.arange(len(I), 0, -1)) / (1 - DECAY)
    logits = np.einsum("t,tbc->bc", lasts, I) / len(I)
    logits -= logits.max(1, keepdims=True)
    chosen = logits[np.arange(len(logits)), arrays["y"]]
    return {"loss": float((np.log(np.exp(logits).sum(1)) - chosen).mean()), "rates": rates}
