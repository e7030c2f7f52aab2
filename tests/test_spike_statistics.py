"""Measures of spike trains against the theory of point processes, and against loops over neurons."""

import brainunit as u
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as s

from spiketrain import DomainError, ShapeError, UnitError
from spiketrain import spike_statistics as measure

DT = 0.5  # ms


def times_of(spikes, dt=DT, start=0.0):
    return (start + dt * np.arange(1, len(spikes) + 1)) * u.ms


@s.composite
def trains(draw):
    """Random trains `(T, B, N)`, some of them silent."""
    rng = np.random.default_rng(draw(s.integers(0, 2**32 - 1)))
    shape = draw(s.tuples(s.integers(2, 60), s.integers(1, 3), s.integers(1, 4)))
    return rng.random(shape) < rng.choice([0.0, 0.1, 0.5], shape[1:])


def renewal(shape, neurons, length, mean, seed):
    """Return trains whose intervals are gamma distributed, in steps."""
    rng = np.random.default_rng(seed)
    spikes = np.zeros((length, neurons), bool)
    for neuron in range(neurons):
        at = np.cumsum(rng.gamma(shape, mean / shape, int(2 * length / mean))).astype(int)
        spikes[at[at < length], neuron] = True
    return spikes


@pytest.fixture(scope="module")
def bernoulli():
    return np.random.default_rng(0).random((100_000, 40)) < 0.02


@given(trains())
def test_intervals_and_cv_are_those_of_a_loop_over_neurons(spikes):
    intervals, rows, neurons = measure.interspike_intervals(spikes, times_of(spikes))
    cv = measure.cv_isi(spikes)
    assert cv.shape == spikes.shape[1:]
    for row, neuron in np.ndindex(*cv.shape):
        own = np.diff(np.flatnonzero(spikes[:, row, neuron])) * DT
        mine = (rows == row) & (neurons == neuron)
        np.testing.assert_allclose(intervals[mine].to_decimal(u.ms), own)
        expected = np.std(own) / np.mean(own) if len(own) >= 2 else np.nan
        np.testing.assert_allclose(cv[row, neuron], expected, rtol=1e-12, atol=1e-12)


@given(trains(), s.integers(1, 5))
def test_counts_are_those_of_a_loop_over_windows(spikes, length):
    length = min(length, len(spikes))
    window, times = length * DT * u.ms, times_of(spikes, start=7.0)
    bins = range(len(spikes) // length)
    counts = np.array([spikes[k * length : (k + 1) * length].sum(0) for k in bins])
    middles, rate = measure.population_rate(spikes, times, width=window)
    np.testing.assert_allclose(rate.to_decimal(u.hertz), counts.mean(-1) / (length * DT * 1e-3))
    edges = 7.0 + DT * length * np.arange(len(bins) + 1)
    np.testing.assert_allclose(middles.to_decimal(u.ms), (edges[1:] + edges[:-1]) / 2)
    fano = measure.fano_factor(spikes, times, window=window)
    for at in np.ndindex(*spikes.shape[1:]):
        n = counts[:, *at]
        np.testing.assert_allclose(fano[at], n.var() / n.mean() if n.any() else np.nan, rtol=1e-12)


@given(trains(), s.integers(1, 3))
def test_the_mean_correlation_is_that_of_all_pairs(spikes, length):
    length = min(length, len(spikes))
    found = measure.mean_correlation(spikes, times_of(spikes), window=length * DT * u.ms)
    assert found.shape == spikes.shape[1:-1]
    for row in range(spikes.shape[1]):
        counts = np.array([spikes[k * length : (k + 1) * length, row].sum(0) for k in range(len(spikes) // length)])
        counts = counts[:, counts.std(0) > 0]
        expected = np.nan
        if counts.shape[1] > 1:
            matrix = np.corrcoef(counts.T)
            expected = matrix[~np.eye(len(matrix), dtype=bool)].mean()
        np.testing.assert_allclose(found[row], expected, rtol=1e-9, atol=1e-12)


def test_a_bernoulli_process_is_a_poisson_process_on_a_grid(bernoulli):
    p, times = 0.02, times_of(bernoulli)
    assert measure.firing_rate(bernoulli, times).to_decimal(u.hertz).mean() == pytest.approx(p / DT * 1e3, rel=0.01)
    assert measure.cv_isi(bernoulli).mean() == pytest.approx(np.sqrt(1 - p), rel=0.01)
    assert measure.fano_factor(bernoulli, times, window=25 * u.ms).mean() == pytest.approx(1 - p, rel=0.02)
    assert abs(measure.mean_correlation(bernoulli, times, window=25 * u.ms)) < 2e-3


@pytest.mark.parametrize("shape", [1, 4, 16])
def test_a_gamma_process_of_order_k_has_a_cv_of_one_over_root_k(shape):
    spikes = renewal(shape, 20, 200_000, 200.0, seed=shape)
    assert measure.cv_isi(spikes).mean() == pytest.approx(shape**-0.5, rel=0.02)
    fano = measure.fano_factor(spikes, times_of(spikes), window=5000 * DT * u.ms)
    assert fano.mean() == pytest.approx(1 / shape, rel=0.15), "CV^2 for long windows"


def test_a_clock_has_neither_cv_nor_fano_factor():
    spikes = np.zeros((1000, 2), bool)
    spikes[::10, 0] = spikes[3::20, 1] = True
    assert measure.cv_isi(spikes).tolist() == [0.0, 0.0]
    assert measure.fano_factor(spikes, times_of(spikes), window=20 * DT * u.ms).tolist() == [0.0, 0.0]
    assert measure.firing_rate(spikes, times_of(spikes)).to_decimal(u.hertz).tolist() == [200.0, 100.0]


def test_fewer_than_three_spikes_have_no_cv():
    spikes = np.zeros((100, 4), bool)
    spikes[[3], 1] = spikes[[3, 9], 2] = spikes[[3, 9, 30], 3] = True
    assert np.isnan(measure.cv_isi(spikes)).tolist() == [True, True, True, False]


def test_neurons_that_fire_together_are_correlated_completely(bernoulli):
    together = np.repeat(bernoulli[:2000, :1], 5, axis=1)
    assert together.any()
    assert measure.mean_correlation(together, times_of(together), window=5 * u.ms) == pytest.approx(1.0)


@given(trains(), s.floats(0.01, 10.0))
def test_a_longer_step_makes_everything_slower(spikes, dt):
    for function in (measure.firing_rate, lambda *a: measure.population_rate(*a, width=3 * (a[1][1] - a[1][0]))[1]):
        if len(spikes) >= 3:
            slow, fast = (function(spikes, times_of(spikes, d)).to_decimal(u.hertz) for d in (2 * dt, dt))
            np.testing.assert_allclose(2 * slow, fast)
    slow, fast = (measure.interspike_intervals(spikes, times_of(spikes, d))[0].to_decimal(u.ms) for d in (2 * dt, dt))
    np.testing.assert_allclose(slow, 2 * fast)


def test_the_population_rate_is_the_mean_rate_of_its_neurons(bernoulli):
    times = times_of(bernoulli)
    _, rate = measure.population_rate(bernoulli, times, width=5 * u.ms)
    mean = measure.firing_rate(bernoulli, times).to_decimal(u.hertz).mean()
    assert rate.to_decimal(u.hertz).mean() == pytest.approx(mean, rel=1e-12)


def test_errors_say_what_to_write():
    spikes = np.ones((10, 2), bool)
    times = times_of(spikes)
    with pytest.raises(ShapeError, match=r"firing_rate\(spikes, times\) takes one time per step.*recording.times"):
        measure.firing_rate(spikes, times[:5])
    with pytest.raises(UnitError, match=r"times=...\) expects a quantity in units of `ms`"):
        measure.interspike_intervals(spikes, np.arange(10))
    for width in (0.1 * u.ms, 6.0 * u.ms):
        with pytest.raises(
            DomainError, match=r"population_rate\(width=...\) must lie between a step of 0.5 ms and the 5 ms"
        ):
            measure.population_rate(spikes, times, width=width)
    with pytest.raises(UnitError, match=r"fano_factor\(window=...\) expects a quantity in units of `ms`"):
        measure.fano_factor(spikes, times, window=5.0)
