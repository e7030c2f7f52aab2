"""Measures of spike trains: how many spikes, how regular, how synchronous.

All take a train `(T, ...)` of zeros and ones, time first, and the times of its steps, as a `Recording` holds them.
"""

from typing import Any

import brainunit as u
import numpy as np

from spiketrain.errors import DomainError, ShapeError
from spiketrain.units import expect_unit, magnitude, show


def firing_rate(spikes: Any, times: Any) -> u.Quantity:
    r"""Return the firing rate of every neuron: $r_i = n_i / (T \, dt)$ for $n_i$ spikes in $T$ steps.

    Args:
        spikes: `(T, ...)`, zeros and ones.
        times: the times of the steps, `(T,)`, equally far apart.

    Returns:
        `(...)` in hertz.

    Raises:
        ShapeError: `spikes` and `times` differ in length, or there is only one step.
        UnitError: `times` is no time.

    Reference: Gerstner et al. (2014), Neuronal Dynamics, section 7.2, https://neuronaldynamics.epfl.ch/online/Ch7.S2.html.
    """
    spikes, _, dt = _checked("firing_rate", spikes, times)
    return spikes.sum(0) / (len(spikes) * dt) * 1e3 * u.hertz


def population_rate(spikes: Any, times: Any, *, width: Any) -> tuple[u.Quantity, u.Quantity]:
    r"""Return the rate of a population over time: $A(t) = n(t, t + \Delta) / (N \Delta)$.

    $n$ is the number of spikes of $N$ neurons in a bin of width $\Delta$. Bins follow each other from the first step;
    what is left at the end and fills no bin is not counted.

    Args:
        spikes: `(T, *batch, N)`, zeros and ones.
        times: the times of the steps, `(T,)`, equally far apart.
        width: the bins, a time, rounded to whole steps.

    Returns:
        The middles of the bins, `(bins,)`, and the rate `(bins, *batch)` in hertz.

    Raises:
        DomainError: `width` is shorter than a step or longer than the train.
        ShapeError: `spikes` and `times` differ in length, or there is only one step.
        UnitError: `times` or `width` is no time.

    Reference: Gerstner et al. (2014), Neuronal Dynamics, section 7.2, https://neuronaldynamics.epfl.ch/online/Ch7.S2.html.
    """
    spikes, start, dt = _checked("population_rate", spikes, times)
    counts, length = _counts("population_rate", "width", spikes, dt, width)
    middles = start + (np.arange(len(counts)) + 0.5) * length * dt
    return middles * u.ms, counts.mean(-1) / (length * dt) * 1e3 * u.hertz


def interspike_intervals(spikes: Any, times: Any) -> tuple[Any, ...]:
    r"""Return the intervals between successive spikes of a neuron, $I_k = t_{k+1} - t_k$, of all neurons together.

    Args:
        spikes: `(T, ...)`, zeros and ones.
        times: the times of the steps, `(T,)`, equally far apart.

    Returns:
        The intervals in ms, and whose they are: one array of indices per axis, like `Recording.events`.

    Raises:
        ShapeError: `spikes` and `times` differ in length, or there is only one step.
        UnitError: `times` is no time.

    Reference: Gerstner et al. (2014), Neuronal Dynamics, section 7.3, https://neuronaldynamics.epfl.ch/online/Ch7.S3.html.
    """
    spikes, _, dt = _checked("interspike_intervals", spikes, times)
    steps, neurons = _intervals(spikes)
    return steps * dt * u.ms, *np.unravel_index(neurons, spikes.shape[1:])


def cv_isi(spikes: Any) -> np.ndarray:
    r"""Return the coefficient of variation of the interspike intervals: $CV = \sigma_I / \langle I \rangle$.

    0 for a clock, 1 for a Poisson process, $1 / \sqrt{k}$ for a gamma process of order k, above 1 for bursts. Few
    intervals make it too small: long ones do not fit into a short train.

    Args:
        spikes: `(T, ...)`, zeros and ones. The CV does not depend on the time step.

    Returns:
        `(...)`, NaN for a neuron with fewer than three spikes.

    Reference: Softky and Koch (1993), https://doi.org/10.1523/JNEUROSCI.13-01-00334.1993.
    """
    spikes = np.asarray(magnitude(spikes))
    steps, neurons = _intervals(spikes)
    size = int(np.prod(spikes.shape[1:]))
    count = np.bincount(neurons, minlength=size)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(neurons, steps, size) / count
        variance = np.bincount(neurons, (steps - mean[neurons]) ** 2, size) / count
        cv = np.sqrt(variance) / mean
    return np.where(count >= 2, cv, np.nan).reshape(spikes.shape[1:])


def fano_factor(spikes: Any, times: Any, *, window: Any) -> np.ndarray:
    r"""Return the variance of the spike counts in windows over their mean: $F = \sigma_n^2 / \langle n \rangle$.

    1 for a Poisson process, whatever the window; $CV^2$ for a renewal process and a long window.

    Args:
        spikes: `(T, ...)`, zeros and ones.
        times: the times of the steps, `(T,)`, equally far apart.
        window: a time, rounded to whole steps.

    Returns:
        `(...)`, NaN for a neuron without a spike.

    Raises:
        DomainError: `window` is shorter than a step or longer than the train.
        ShapeError: `spikes` and `times` differ in length, or there is only one step.
        UnitError: `times` or `window` is no time.

    Reference: Nawrot et al. (2008), https://doi.org/10.1016/j.jneumeth.2007.10.013.
    """
    spikes, _, dt = _checked("fano_factor", spikes, times)
    counts, _ = _counts("fano_factor", "window", spikes, dt, window)
    with np.errstate(invalid="ignore"):
        return counts.var(0) / counts.mean(0)


def mean_correlation(spikes: Any, times: Any, *, window: Any) -> np.ndarray:
    r"""Return the mean correlation coefficient of the spike counts of all pairs of neurons.

    $$\bar\rho = \frac{1}{N (N - 1)} \sum_{i \ne j} \frac{\mathrm{cov}(n_i, n_j)}{\sigma_i \sigma_j}$$

    0 where neurons fire independently of each other, 1 where all fire together. Its cost grows with N, not with $N^2$:
    the variance of the sum of the normalised counts holds the correlations of all pairs.

    Args:
        spikes: `(T, *batch, N)`, zeros and ones. A neuron whose count never changes is left out.
        times: the times of the steps, `(T,)`, equally far apart.
        window: in which spikes are counted, a time, rounded to whole steps.

    Returns:
        `(*batch)`, NaN where fewer than two neurons are left.

    Raises:
        DomainError: `window` is shorter than a step or longer than the train.
        ShapeError: `spikes` and `times` differ in length, or there is only one step.
        UnitError: `times` or `window` is no time.

    Reference: Renart et al. (2010), https://doi.org/10.1126/science.1179850.
    """
    spikes, _, dt = _checked("mean_correlation", spikes, times)
    counts, _ = _counts("mean_correlation", "window", spikes, dt, window)
    deviation = counts.std(0)
    left = (deviation > 0).sum(-1)
    normalised = (counts - counts.mean(0)) / np.where(deviation > 0, deviation, np.inf)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(left > 1, (normalised.sum(-1) ** 2).mean(0) - left, np.nan) / (left * (left - 1))


def _checked(owner: str, spikes: Any, times: Any) -> tuple[np.ndarray, float, float]:
    """Return the spikes, the beginning of the first step and the length of a step, both in ms."""
    spikes = np.asarray(magnitude(spikes))
    ms = np.asarray(magnitude(expect_unit(owner, "times", times, u.ms), u.ms), np.float64)
    if len(ms) != len(spikes) or len(ms) < 2:
        raise ShapeError(
            f"{owner}(spikes, times) takes one time per step and at least two, got spikes of shape {spikes.shape} and "
            f"times of shape {ms.shape}. Write, for example, `{owner}(recording['E.spikes'], recording.times)`."
        )
    dt = (ms[-1] - ms[0]) / (len(ms) - 1)
    return spikes, ms[0] - dt, dt


def _counts(owner: str, name: str, spikes: np.ndarray, dt: float, width: Any) -> tuple[np.ndarray, int]:
    """Return the number of spikes in each bin, and the steps of a bin."""
    length = round(float(magnitude(expect_unit(owner, name, width, u.ms), u.ms)) / dt)
    if not 1 <= length <= len(spikes):
        raise DomainError(
            f"{owner}({name}=...) must lie between a step of {dt:g} ms and the {len(spikes) * dt:g} ms of the train, "
            f"got {show(width)}."
        )
    bins = len(spikes) // length
    return spikes[: bins * length].reshape(bins, length, *spikes.shape[1:]).sum(1), length


def _intervals(spikes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the intervals in steps, neuron by neuron, and the flat indices of the neurons."""
    neurons, steps = np.nonzero(spikes.reshape(len(spikes), -1).T)
    same = neurons[1:] == neurons[:-1]
    return np.diff(steps)[same], neurons[1:][same]
