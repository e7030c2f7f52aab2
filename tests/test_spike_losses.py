"""First spikes, the van Rossum distance, synchrony and membrane bounds against float64 numpy; padding counts nowhere."""

from functools import partial

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from spiketrain import LIF, environ, hidden, metrics
from spiketrain.errors import ConfigError, DomainError, UnitError
from spiketrain.layers.linear import linear
from spiketrain.layers.readout import PopulationReadout
from spiketrain.losses import CrossEntropy, FirstSpike, VanRossum, van_rossum
from spiketrain.models.sequential import Sequential
from spiketrain.readouts import first_spike
from spiketrain.regularizers import membrane_bounds, synchrony

T, B, C = 9, 4, 3
DT = 2.0

seeds = st.integers(0, 2**32 - 1)
garbage = st.sampled_from([1.0, 7.0, np.inf, np.nan])
few = settings(max_examples=15)


@pytest.fixture(autouse=True, scope="module")
def dt():
    with environ.context(dt=DT * u.ms):
        yield


def batch(seed, filler=0.0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, T + 1, B)
    mask = np.arange(T)[:, None] < lengths
    spikes, target = ((rng.random((T, B, C)) < p).astype(np.float32) for p in (0.25, 0.3))
    spikes[0, 0, 0] = 1.0  # silence equals silence
    spikes[~mask] = filler
    return spikes, target, mask, lengths, rng.integers(0, C, B)


# First spikes


@jax.jit
def first_and_slope(spikes, mask):
    return first_spike(spikes, mask), jax.grad(lambda s: first_spike(s, mask).sum())(spikes)


def first_by_hand(spikes, lengths):
    found = [[np.flatnonzero(spikes[:n, b, c]) for c in range(C)] for b, n in enumerate(lengths)]
    return np.array([[f[0] if len(f) else n for f in row] for row, n in zip(found, lengths, strict=True)])


@few
@given(seed=seeds, filler=garbage)
def test_the_first_spike_is_exact_and_its_slope_is_what_one_spike_more_or_less_changes(seed, filler):
    spikes, _, mask, lengths, _ = batch(seed, filler)
    time, slope = first_and_slope(spikes, mask)
    np.testing.assert_array_equal(time, first_by_hand(spikes, lengths))
    for t, b, c in np.ndindex(T, B, C):
        with_it, without = spikes.copy(), spikes.copy()
        with_it[t, b, c], without[t, b, c] = 1.0, 0.0
        change = (first_by_hand(with_it, lengths) - first_by_hand(without, lengths))[b, c]
        assert slope[t, b, c] == (change if mask[t, b] else 0)


def test_the_class_that_fires_first_has_the_largest_score():
    spikes = np.zeros((T, 1, C), np.float32)
    spikes[4, 0, 0] = spikes[2, 0, 1] = spikes[5:, 0, 1] = 1.0
    loss = FirstSpike(tau_ms=4.0)

    @jax.jit
    @partial(jax.grad, has_aux=True)
    def slope_and_scores(spikes):
        z = loss.logits(spikes, jnp.ones((T, 1), bool))
        return loss.per_trial(z, jnp.array([0])).sum(), z

    slope, z = slope_and_scores(spikes)
    np.testing.assert_allclose(z, [[-4 * DT / 4.0, -2 * DT / 4.0, -T * DT / 4.0]])
    assert (slope[:5, 0, 0] < 0).all() and (slope[:3, 0, 1] > 0).all()  # the right one earlier, the wrong one later


# The van Rossum distance


def kernel_distance(spikes, target, tau):
    """Return the distance from the times of spikes alone: a sum of exponentials of the time between each two."""
    times = np.concatenate([np.flatnonzero(spikes), np.flatnonzero(target)]) * DT
    sign = np.concatenate([np.ones(int(spikes.sum())), -np.ones(int(target.sum()))])
    return (sign[:, None] * sign * np.exp(-np.abs(times[:, None] - times) / tau)).sum() / 2


@jax.jit
def distances(spikes, target, mask):
    def both(spikes):
        return [van_rossum(spikes, target, mask, tau=tau * u.ms) for tau in (3.0, 40.0)]

    return both(spikes), jax.grad(lambda s: sum(d.sum() for d in both(s)))(spikes)


@few
@given(seed=seeds, filler=garbage)
def test_the_van_rossum_distance_is_the_integral_whatever_the_padding_holds(seed, filler):
    spikes, target, mask, lengths, _ = batch(seed, filler)
    found, slope = distances(spikes, target, mask)
    for tau, distance in zip((3.0, 40.0), found, strict=True):
        for b, c in np.ndindex(B, C):
            n = lengths[b]
            wanted = kernel_distance(spikes[:n, b, c].astype(np.float64), target[:n, b, c], tau)
            np.testing.assert_allclose(distance[b, c], wanted, rtol=1e-4, atol=1e-5)
    assert np.isfinite(slope).all() and (np.asarray(slope)[~mask] == 0).all()
    same, _ = distances(target, target, mask)
    assert all((d == 0).all() for d in same)


def test_a_spike_too_many_is_one_half():
    one = np.zeros((T, B, C), np.float32)
    one[3] = 1.0
    found, _ = distances(one, np.zeros_like(one), np.ones((T, B), bool))
    np.testing.assert_allclose(found, 0.5, rtol=1e-6)


@few
@given(seed=seeds)
def test_the_van_rossum_loss_is_the_distance_to_the_train_of_the_class(seed):
    spikes, _, mask, lengths, y = batch(seed)
    loss = VanRossum(tau_ms=5.0, period_ms=6.0)
    z, per_trial = van_rossum_loss(loss, spikes, mask, y)
    regular = ((np.arange(T) + 1) % 3 == 0).astype(np.float64)
    for b, c in np.ndindex(B, C):
        n = lengths[b]
        wanted = sum(kernel_distance(spikes[:n, b, i], regular[:n] * (i == c), 5.0) for i in range(C))
        np.testing.assert_allclose(z[b, c], -wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(per_trial, -np.asarray(z)[np.arange(B), y], rtol=1e-6)


@jax.jit
def _van_rossum_loss(spikes, mask, y):
    loss = VanRossum(tau_ms=5.0, period_ms=6.0)
    z = loss.logits(spikes, mask)
    return z, loss.per_trial(z, y)


def van_rossum_loss(loss, *arrays):
    assert loss == VanRossum(tau_ms=5.0, period_ms=6.0)
    return _van_rossum_loss(*arrays)


# Labels that are distributions


@pytest.mark.parametrize("loss", [CrossEntropy(label_smoothing=0.1), FirstSpike(), VanRossum(label_smoothing=0.2)])
def test_a_label_is_the_distribution_that_is_certain_of_it_and_losses_are_linear_in_it(loss):
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(B, C)).astype(np.float32), np.array([0, 2, 1, 1])
    certain = np.eye(C, dtype=np.float32)
    np.testing.assert_array_equal(loss.per_trial(z, y), loss.per_trial(z, jnp.asarray(certain[y])))
    mixed = 0.25 * certain[y] + 0.75 * certain[(y + 1) % C]
    wanted = 0.25 * loss.per_trial(z, y) + 0.75 * loss.per_trial(z, (y + 1) % C)
    np.testing.assert_allclose(loss.per_trial(z, jnp.asarray(mixed)), wanted, rtol=1e-5)


def test_the_accuracy_of_a_mixed_trial_is_that_of_its_likeliest_class():
    z, y = jnp.asarray(np.eye(3, dtype=np.float32)), jnp.asarray([[0.6, 0.4, 0], [0.6, 0.4, 0], [0.0, 0.1, 0.9]])
    sums = metrics.classification(z, y, jnp.zeros(3), jnp.ones(3))
    assert [float(x) for x in sums["accuracy"]] == [2.0, 3.0]


# Regularisers


@pytest.mark.parametrize("per_class", [1, 2])
def test_the_neurons_of_a_readout_are_logged_and_free_of_penalties(per_class):
    readout = partial(PopulationReadout, per_class=per_class, scale=30.0)
    layers = {"fc": partial(linear, features=5, scale=30.0), "cells": LIF}
    model = Sequential(C, C, layers=layers, readout=readout, rngs=nnx.Rngs(0))
    spikes, _, mask, _, _ = batch(0)
    loss = FirstSpike(rate_weight=1.0, rate_upper_hz=0.1, synchrony_weight=1.0, membrane_weight=1.0, membrane_upper=0.1)
    _, sums = hidden.forward(model, jnp.asarray(spikes), jnp.asarray(mask), watched=loss.watched())
    found = hidden.of_batch(sums, jnp.asarray(mask))
    assert set(found) == {"cells", "readout/spiking"} and found["readout/spiking"].rates.max() > 0.1
    assert loss.penalty(found) == loss.penalty({"cells": found["cells"]}) > 0
    measured = set(metrics.activity(found, jnp.asarray(mask)))
    assert "rate_hz/readout/spiking" in measured and "membrane/cells" in measured
    assert not {"synchrony/readout/spiking", "membrane/readout/spiking"} & measured


def synchrony_by_hand(spikes, lengths):
    found = []
    for b, n in enumerate(lengths):
        s = spikes[:n, b].astype(np.float64)
        alone = s.var(0).mean()
        found.append(s.mean(1).var() / alone if alone else 0.0)
    return np.mean(found)


@jax.jit
def synchrony_and_slope(spikes, mask):
    return jax.value_and_grad(synchrony)(spikes, mask)


@few
@given(seed=seeds, filler=garbage)
def test_synchrony_equals_its_reference_whatever_the_padding_holds(seed, filler):
    spikes, _, mask, lengths, _ = batch(seed, filler)
    value, slope = synchrony_and_slope(spikes, mask)
    np.testing.assert_allclose(value, synchrony_by_hand(spikes, lengths), rtol=1e-4, atol=1e-6)
    clean = synchrony_and_slope(np.where(mask[..., None], spikes, 0), mask)
    np.testing.assert_array_equal(value, clean[0])
    np.testing.assert_array_equal(slope, clean[1])
    assert np.isfinite(slope).all() and (np.asarray(slope)[~mask] == 0).all()


def test_synchrony_is_one_in_unison():
    mask = np.ones((T, B), bool)
    together = np.broadcast_to(np.random.default_rng(1).random((T, B, 1)) < 0.5, (T, B, C)).astype(np.float32)
    assert float(synchrony_and_slope(together, mask)[0]) == pytest.approx(1.0, rel=1e-5)


@few
@given(seed=seeds, filler=garbage)
def test_membrane_bounds_are_zero_within_and_quadratic_outside(seed, filler):
    _, _, mask, _, _ = batch(seed)
    V = np.random.default_rng(seed).normal(-60.0, 10.0, (T, B, C)).astype(np.float32)
    inside = V.astype(np.float64)[mask]
    wanted = np.mean((np.maximum(0, -70.0 - inside) ** 2 + np.maximum(0, inside + 50.0) ** 2) / 20.0**2)
    V[~mask] = filler
    value, slope = bounds_and_slope(V, mask)
    np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-7)
    free = (V > -70) & (V < -50)
    assert (np.asarray(slope)[~mask] == 0).all() and (np.asarray(slope)[mask[..., None] & free] == 0).all()
    assert (np.asarray(slope)[mask[..., None] & (V > -49)] > 0).all()


@jax.jit
def bounds_and_slope(V, mask):
    def value(V):
        return membrane_bounds(V * u.mV, mask, lower=-70.0 * u.mV, upper=-0.05 * u.volt)

    return jax.value_and_grad(value)(V)


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: FirstSpike(tau_ms=0.0), ConfigError, r"FirstSpike\(tau_ms=...\) must be positive, got 0"),
        (lambda: VanRossum(period_ms=-1.0), ConfigError, r"VanRossum\(period_ms=...\)"),
        (lambda: VanRossum(label_smoothing=1.0), ConfigError, r"VanRossum\(label_smoothing=...\)"),
        (
            lambda: membrane_bounds(jnp.zeros((1, 1, 1)), jnp.ones((1, 1), bool), lower=1.0, upper=1.0),
            DomainError,
            r"needs lower < upper",
        ),
        (
            lambda: membrane_bounds(jnp.zeros((1, 1, 1)) * u.mV, jnp.ones((1, 1), bool), lower=0.0, upper=1.0 * u.mV),
            UnitError,
            r"membrane_bounds\(lower=...\)",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
