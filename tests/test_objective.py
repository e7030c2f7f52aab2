"""Encoder, readouts, losses, rate bounds and metrics against float64 numpy; padding counts nowhere."""

from functools import partial

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiketrain import environ, metrics
from spiketrain.config import schema
from spiketrain.encoders.direct import Direct
from spiketrain.errors import ConfigError, DomainError
from spiketrain.hidden import Hidden
from spiketrain.losses import CrossEntropy
from spiketrain.readouts import READOUTS
from spiketrain.regularizers import firing_rates, rate_bounds, spike_counts

T, B, C, N = 6, 4, 3, 5


@pytest.fixture(scope="module")
def dt():
    with environ.context(dt=2.0 * u.ms):
        yield 2.0


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


REFERENCE = {  # of one trial without padding, (T, C) to (C,)
    "mean_over_time": lambda u: u.mean(0),
    "sum_over_time": lambda u: u.sum(0),
    "sum_of_softmax": lambda u: softmax(u).sum(0),
    "last_step": lambda u: u[-1],
    "max_over_time": lambda u: u.max(0),
}


def cross_entropy(z, y, eps):
    log_p = np.log(softmax(z))
    q = np.full(log_p.shape, eps / z.shape[-1])
    q[np.arange(len(y)), y] += 1 - eps
    return -(q * log_p).sum(-1)


def batch(seed, lengths=None):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, T + 1, B) if lengths is None else np.asarray(lengths)
    mask = np.arange(T)[:, None] < lengths
    train = rng.normal(size=(T, B, C)).astype(np.float32)
    spikes = (rng.random((T, B, N)) < 0.3).astype(np.float32)
    return train, spikes, mask, lengths, rng.integers(0, C, B)


seeds = st.integers(0, 2**32 - 1)
garbage = st.sampled_from([0.0, 7.0, -1e30, np.inf, -np.inf, np.nan])


# Readouts and losses


def test_the_schema_knows_every_readout():
    assert set(READOUTS) == set(REFERENCE) == set(schema.READOUTS)


@pytest.mark.parametrize("name", READOUTS)
@given(seed=seeds, filler=garbage)
def test_a_readout_equals_its_reference_trial_by_trial_whatever_the_padding_holds(name, seed, filler):
    train, _, mask, lengths, _ = batch(seed)
    train[~mask] = filler
    got = READOUTS[name](jnp.asarray(train), jnp.asarray(mask))
    for b, length in enumerate(lengths):
        np.testing.assert_allclose(got[b], REFERENCE[name](train[:length, b].astype(np.float64)), rtol=2e-6, atol=2e-6)


@partial(jax.jit, static_argnums=0)
def gradient_of_loss(loss, train, mask, y):
    return jax.grad(lambda train: loss.per_trial(loss.logits(train, mask), y).mean())(train)


@pytest.mark.parametrize("name", READOUTS)
@given(seed=seeds, filler=garbage)
def test_padding_changes_no_gradient_and_gets_none(name, seed, filler):
    train, _, mask, _, y = batch(seed)
    loss = CrossEntropy(name, label_smoothing=0.1)
    clean, dirty = (
        np.asarray(gradient_of_loss(loss, np.where(mask[..., None], train, np.float32(f)), mask, y))
        for f in (0.0, filler)
    )
    np.testing.assert_array_equal(dirty, clean)
    assert (dirty[~mask] == 0).all() and (dirty[mask] != 0).any()


@given(seed=seeds, eps=st.sampled_from([0.0, 0.1, 0.9]), scale=st.sampled_from([0.0, 1.0, 80.0]))
def test_cross_entropy_equals_its_reference(seed, eps, scale):
    rng = np.random.default_rng(seed)
    z, y = (scale * rng.normal(size=(B, C))).astype(np.float32), rng.integers(0, C, B)
    got = CrossEntropy(label_smoothing=eps).per_trial(jnp.asarray(z), jnp.asarray(y))
    wanted = cross_entropy(z.astype(np.float64), y, eps)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"readout": "mean"}, r"CrossEntropy\(readout=...\) must be one of .*'mean_over_time'.*got 'mean'"),
        ({"label_smoothing": 1.0}, r"label_smoothing=...\) must lie in \[0, 1\), got 1.0"),
        ({"rate_weight": -1.0}, r"rate_weight >= 0"),
        ({"synchrony_weight": -1.0}, r"synchrony_weight >= 0"),
        ({"membrane_weight": -1.0}, r"membrane_weight >= 0"),
        ({"membrane_lower": 1.0}, r"membrane_lower < membrane_upper, got 0.0, 0.0, 1.0 and 1.0"),
        ({"rate_lower_hz": 5.0, "rate_upper_hz": 4.0}, r"rate_lower_hz <= rate_upper_hz, got 0.0, 5.0 and 4.0"),
    ],
)
def test_cross_entropy_refuses(arguments, message):
    with pytest.raises(ConfigError, match=message):
        CrossEntropy(**arguments)


# Rates


def rates_in(spikes, mask):
    mask = jnp.asarray(mask)
    return firing_rates(spike_counts(jnp.asarray(spikes), mask), mask)


def rates_of(spikes, mask, dt_ms):
    return spikes.astype(np.float64)[mask].sum(0) / mask.sum() / (dt_ms * 1e-3)


@given(seed=seeds, filler=garbage)
def test_firing_rates_are_in_hertz_over_the_valid_steps(dt, seed, filler):
    _, spikes, mask, _, _ = batch(seed)
    wanted = rates_of(spikes, mask, dt)
    spikes[~mask] = filler
    np.testing.assert_allclose(rates_in(spikes, mask), wanted, rtol=1e-5)


@given(seed=seeds, lower=st.floats(0, 400), width=st.floats(0, 400), weight=st.sampled_from([0.0, 2.0]))
def test_rate_bounds_are_zero_within_and_quadratic_outside(dt, seed, lower, width, weight):
    _, spikes, mask, _, _ = batch(seed)
    r, upper = rates_of(spikes, mask, dt), lower + width
    wanted = np.mean((np.maximum(0, lower - r) / 1e3) ** 2 + (np.maximum(0, r - upper) / 1e3) ** 2)
    got = rate_bounds(rates_in(spikes, mask), lower_hz=lower, upper_hz=upper)
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-9)
    loss = CrossEntropy(rate_weight=weight, rate_lower_hz=lower, rate_upper_hz=upper)
    two_layers = {"a": Hidden(rates_in(spikes, mask)), "b": Hidden(rates_in(spikes, mask))}
    np.testing.assert_allclose(loss.penalty(two_layers), 2 * weight * wanted, rtol=1e-3, atol=1e-9)


@jax.jit
def gradient_of_penalty(spikes, mask):
    loss = CrossEntropy(rate_weight=1.0, rate_lower_hz=100.0, rate_upper_hz=200.0)
    return jax.grad(lambda spikes: loss.penalty({"layer": Hidden(rates_in(spikes, mask))}))(spikes)


@given(seed=seeds, filler=garbage)
def test_padding_changes_no_gradient_of_the_rate_bounds(dt, seed, filler):
    _, spikes, mask, _, _ = batch(seed)
    clean, dirty = (
        np.asarray(gradient_of_penalty(np.where(mask[..., None], spikes, np.float32(f)), mask)) for f in (0.0, filler)
    )
    np.testing.assert_array_equal(dirty, clean)
    assert (dirty[~mask] == 0).all()


# Metrics


@given(seed=seeds, size=st.sampled_from([1, 3, 9]), trials=st.sampled_from([2, 7]), filler=garbage)
def test_metrics_are_exact_over_trials_for_any_batch_size(dt, seed, size, trials, filler):
    rng = np.random.default_rng(seed)
    lengths, y = rng.integers(1, T + 1, trials), rng.integers(0, C, trials)
    z, losses = rng.normal(size=(trials, C)).astype(np.float32), rng.random(trials).astype(np.float32)
    spikes = (rng.random((T, trials, N)) < 0.08).astype(np.float32)
    mask = np.arange(T)[:, None] < lengths
    spikes[~mask] = filler

    sums = []
    for start in range(0, trials, size):
        rows = np.arange(start, start + size)
        weight, rows = (rows < trials).astype(np.float32), rows % trials
        counted = jnp.asarray(mask[:, rows] & (weight > 0))
        sums.append(
            metrics.Packed.of(
                metrics.classification(jnp.asarray(z[rows]), y[rows], losses[rows], weight)
                | metrics.activity({"hidden": Hidden(rates_in(spikes[:, rows], counted))}, counted)
            )
        )
    got = metrics.means(sums)

    rates = rates_of(spikes, mask, dt)
    assert got["accuracy"] == pytest.approx((z.argmax(-1) == y).mean(), rel=1e-6)
    assert got["loss"] == pytest.approx(losses.astype(np.float64).mean(), rel=1e-6)
    assert got["rate_hz/hidden"] == pytest.approx(rates.mean(), rel=1e-5)
    assert got["silent/hidden"] == (rates == 0).mean()


# The direct encoder


@given(seed=seeds, hold=st.integers(1, 3), filler=garbage, keyed=st.booleans())
def test_direct_holds_frames_and_mask_and_zeroes_the_padding(seed, hold, filler, keyed):
    train, _, mask, _, _ = batch(seed)
    dirty = np.where(mask[..., None], train, np.float32(filler))
    key = jax.random.key(seed % 2**31) if keyed else None
    encoder = Direct(hold=hold, noise=0.5, offset=0.5)
    x, held = encoder(jnp.asarray(dirty), jnp.asarray(mask), key)
    clean, _ = encoder(jnp.asarray(np.where(mask[..., None], train, 0)), jnp.asarray(mask), key)
    np.testing.assert_array_equal(held, np.repeat(mask, hold, 0))
    np.testing.assert_array_equal(x, clean)
    assert (np.asarray(x)[~np.asarray(held)] == 0).all()
    np.testing.assert_array_equal(x, np.repeat(np.asarray(x)[::hold], hold, 0))
    if not keyed:
        np.testing.assert_array_equal(np.asarray(x)[np.asarray(held)], np.repeat(train, hold, 0)[np.asarray(held)])


def test_direct_draws_only_with_a_key_and_anew_with_another():
    x, mask = jnp.ones((T, B, C)), jnp.ones((T, B), bool)
    encoder = Direct(noise=0.1, offset=0.1)
    one, same, other = (encoder(x, mask, jax.random.key(k))[0] for k in (0, 0, 1))
    assert (encoder(x, mask)[0] == x).all()
    assert (one == same).all() and (one != other).any() and (one != x).any()


@pytest.mark.parametrize("channels, shifted", [(None, C), (0, 0), (1, 1), (C, C)])
def test_an_offset_is_constant_over_time_and_limited_to_its_channels(channels, shifted):
    x, mask = jnp.zeros((T, B, C)), jnp.ones((T, B), bool)
    offset = np.asarray(Direct(offset=1.0, offset_channels=channels)(x, mask, jax.random.key(0))[0])
    assert (offset == offset[:1]).all()
    assert ((offset[0] != 0) == (np.arange(C) < shifted)).all()
    assert len(np.unique(offset[0][:, :shifted])) == B * shifted


def test_noise_and_offset_have_their_standard_deviations():
    x, mask = jnp.zeros((200, 50, 4)), jnp.ones((200, 50), bool)
    noise = Direct(noise=0.5)(x, mask, jax.random.key(0))[0]
    assert np.std(noise) == pytest.approx(0.5, rel=0.02) and abs(np.mean(noise)) < 0.01
    offset = Direct(offset=2.0)(x[:1].repeat(3, 0), mask[:3], jax.random.key(0))[0]
    assert np.std(offset) == pytest.approx(2.0, rel=0.15)


@pytest.mark.parametrize("arguments", [{"hold": 0}, {"noise": -1.0}, {"offset": -0.1}, {"offset_channels": -1}])
def test_direct_refuses(arguments):
    [name] = arguments
    with pytest.raises(DomainError, match=rf"Direct\({name}=...\)"):
        Direct(**arguments)
