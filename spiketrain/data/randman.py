"""Random manifolds: classes that differ in when units fire, never in how often."""

import math

import numpy as np

from spiketrain.data.dataset import Dataset, Split
from spiketrain.errors import DataError

GRID = 2048  # places at which the extremes of a factor are looked for
LARGEST = 2**31  # bytes of an array


def load_randman(
    classes: int = 10,
    units: int = 20,
    steps: int = 50,
    dimension: int = 1,
    alpha: float = 2.0,
    modes: int = 32,
    trials: int = 1000,
    test_trials: int = 200,
    seed: int = 0,
) -> Dataset:
    r"""Draw a smooth random manifold per class, and trials as points on it: every unit fires exactly once.

    A point $z$ of a class, uniform in $[0, 1)^D$, makes unit i fire at the fraction $x_i$ of the trial,

    $$x_i(z) \propto \prod_{d=1}^{D} \sum_{k=1}^{K} \frac{a_{idk}}{k^\alpha} \sin 2 \pi (k \, b_{idk} z_d + c_{idk})$$

    moved and scaled so that its extremes over the manifold are 0 and 1; $a$, $b$ and $c$ are uniform in [0, 1) and
    drawn anew for every class. The spike falls into step $\lfloor x_i \, n \rfloor$ of $n$ = `steps`. The extremes are
    those on a grid of 2048 places per dimension, and times are clipped to them. A count of spikes is one for every unit
    of every trial, and carries no information.

    Args:
        classes: the number of manifolds.
        units: the number of units, the dimension of the space that the manifolds lie in.
        steps: the number of time steps of a trial.
        dimension: D, that of the manifolds.
        alpha: how smooth they are: amplitudes fall as $k^{-\alpha}$.
        modes: K.
        trials: the number of training trials per class.
        test_trials: the number of test trials per class.
        seed: of the manifolds and of the points on them.

    Raises:
        DataError: a number is not positive, or the trains would take more than 2 GiB.

    Reference: Zenke and Vogels (2021), Neural Computation 33, 899-925, https://doi.org/10.1162/neco_a_01367.
    """
    numbers = {"classes": classes, "units": units, "steps": steps, "dimension": dimension, "modes": modes}
    numbers |= {"trials": trials, "test_trials": test_trials}
    for name, number in numbers.items():
        if number < 1:
            raise DataError(f"load_randman({name}=...) must be at least 1, got {number}.")
    if not (math.isfinite(alpha) and alpha >= 0):
        raise DataError(f"load_randman(alpha=...) must not be negative, got {alpha}.")
    if seed < 0:
        raise DataError(f"load_randman(seed=...) must not be negative, got {seed}.")
    trains = 4 * classes * (trials + test_trials) * units * steps
    waves, factors = 24 * classes * units * dimension * modes, 8 * units * dimension * max(GRID, trials, test_trials)
    if max(trains, waves, factors) > LARGEST:
        raise DataError(
            f"load_randman makes {classes * (trials + test_trials)} trials of {units} units and {steps} steps from "
            f"{modes} modes in {dimension} dimensions, which takes more than 2 GiB. Write smaller numbers."
        )
    rng = np.random.default_rng(seed)
    coefficients = rng.uniform(size=(3, classes, units, dimension, modes))
    train, test = (_split(rng, coefficients, alpha, n, steps) for n in (trials, test_trials))
    return Dataset("randman", train, test, tuple(f"manifold {i}" for i in range(classes)))


def _split(rng: np.random.Generator, coefficients: np.ndarray, alpha: float, trials: int, steps: int) -> Split:
    _, classes, units, dimension, _ = coefficients.shape
    x = np.zeros((classes, trials, steps, units), np.float32)
    for of_class, own in zip(x, coefficients.swapaxes(0, 1), strict=True):
        at = (_places(own, rng.uniform(size=(trials, dimension)), alpha) * steps).astype(int)
        of_class[np.arange(trials)[:, None], np.minimum(at, steps - 1), np.arange(units)] = 1
    n = classes * trials
    return Split(x.reshape(n, steps, units), np.full(n, steps), np.repeat(np.arange(classes), trials))


def _places(coefficients: np.ndarray, z: np.ndarray, alpha: float) -> np.ndarray:
    """Return x in [0, 1], `(trials, units)`, of the points `z`, `(trials, D)`."""
    grid = np.broadcast_to(np.linspace(0, 1, GRID)[:, None], (GRID, z.shape[1]))
    factors = _factors(coefficients, grid, alpha)
    low, high = factors.min(0), factors.max(0)  # (units, D)
    # The extremes of a product of independent factors are among the products of their extremes.
    least, most = low[:, 0], high[:, 0]
    for a, b in zip(low[:, 1:].T, high[:, 1:].T, strict=True):
        corners = np.stack([least * a, least * b, most * a, most * b])
        least, most = corners.min(0), corners.max(0)
    return np.clip((_factors(coefficients, z, alpha).prod(-1) - least) / (most - least), 0, 1)


def _factors(coefficients: np.ndarray, z: np.ndarray, alpha: float) -> np.ndarray:
    """Return the sum over modes for every place, unit and dimension, `(places, units, D)`."""
    a, b, c = coefficients
    total = np.zeros((len(z), *a.shape[:2]))
    for i in range(a.shape[-1]):
        total += a[..., i] / (i + 1) ** alpha * np.sin(2 * np.pi * ((i + 1) * b[..., i] * z[:, None, :] + c[..., i]))
    return total
