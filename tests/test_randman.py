"""Random manifolds: one spike per unit, counts that say nothing, times that are smooth along a manifold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as hy

from spiketrain.data.randman import _factors, _places, load_randman
from spiketrain.errors import DataError

SMALL = {"classes": 3, "units": 5, "steps": 20, "trials": 6, "test_trials": 4}


@given(
    classes=hy.integers(1, 4),
    units=hy.integers(1, 6),
    steps=hy.integers(1, 30),
    dimension=hy.integers(1, 3),
    alpha=hy.floats(0, 4),
    seed=hy.integers(0, 2**32),
)
def test_every_unit_fires_exactly_once_so_that_counts_are_equal(classes, units, steps, dimension, alpha, seed):
    data = load_randman(classes, units, steps, dimension, alpha, modes=3, trials=4, test_trials=2, seed=seed)
    for split, n in ((data.train, 4), (data.test, 2)):
        assert split.x.shape == (classes * n, steps, units) and set(np.unique(split.x)) <= {0.0, 1.0}
        assert (split.x.sum(1) == 1).all()
        np.testing.assert_array_equal(split.y, np.repeat(np.arange(classes), n))


def test_it_is_a_function_of_its_seed():
    once, again, other = (load_randman(**SMALL, seed=seed) for seed in (1, 1, 2))
    for side in ("train", "test"):
        assert (getattr(once, side).x == getattr(again, side).x).all()
        assert (getattr(once, side).x != getattr(other, side).x).any()


@pytest.mark.parametrize("dimension", [1, 2])
def test_places_are_the_sum_over_modes_scaled_to_its_extremes(dimension):
    rng = np.random.default_rng(0)
    coefficients, z, alpha = rng.uniform(size=(3, 4, dimension, 5)), rng.uniform(size=(7, dimension)), 1.3
    a, b, c = coefficients
    side = np.linspace(0, 1, 301)
    grid = np.stack(np.meshgrid(*[side] * dimension), -1).reshape(-1, dimension)

    def raw(points):
        x = np.ones((len(points), 4))
        for p, i, d in np.ndindex(len(points), 4, dimension):
            modes = ((k + 1) ** -alpha * a[i, d, k] * np.sin(2 * np.pi * ((k + 1) * b[i, d, k] * points[p, d] + c[i, d, k]))
                     for k in range(5))  # fmt: skip
            x[p, i] *= sum(modes)
        return x

    whole = _factors(coefficients, grid, alpha).prod(-1)
    np.testing.assert_allclose(_factors(coefficients, z, alpha).prod(-1), raw(z), rtol=1e-9, atol=1e-12)
    expected = (raw(z) - whole.min(0)) / (whole.max(0) - whole.min(0))
    np.testing.assert_allclose(_places(coefficients, z, alpha), expected.clip(0, 1), atol=2e-3)  # the grids differ


def test_times_are_smooth_along_a_manifold_and_differ_between_manifolds():
    rng = np.random.default_rng(3)
    line = np.linspace(0, 1, 500)[:, None]
    one, other = (_places(rng.uniform(size=(3, 8, 1, 16)), line, 2.0) for _ in range(2))
    assert np.abs(np.diff(one, axis=0)).max() < 0.05 < np.abs(one - other).mean()
    assert one.min() >= 0 and one.max() <= 1


@pytest.mark.parametrize(
    "given, message",
    [
        ({"units": 0}, r"units=\.\.\.\) must be at least 1, got 0"),
        ({"alpha": -1.0}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"seed": -1}, "seed"),
        ({"trials": 10**9}, "more than 2 GiB"),
        ({"modes": 10**9}, "more than 2 GiB"),
        ({"dimension": 10**6, "modes": 1, "classes": 1, "units": 1}, "more than 2 GiB"),
    ],
)
def test_what_makes_no_sense_or_takes_too_much_is_refused_before_it_is_drawn(given, message):
    with pytest.raises(DataError, match=message):
        load_randman(**SMALL | given)
