"""Encoders against plain numpy loops, in float64 where it matters."""

import dataclasses
import math

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hy

import spiketrain as st
from spiketrain import environ
from spiketrain.config import build, registry
from spiketrain.config.check import check
from spiketrain.encoders.base import channels_of

T, B, C = 3, 4, 5
ENCODERS = [
    st.Direct(hold=2),
    st.Image(width=C, shift=1, mirror=True, std=0.5, hold=2),
    st.Rate(steps=4),
    st.Rate(steps=4, rate_hz=300.0),
    st.Latency(steps=7),
    st.LogLatency(steps=30, tau=5.0),
    st.RankOrder(steps=4),
    st.Phase(steps=6),
    st.GaussianPopulation(4),
    st.GaussianPopulation(5, low=-1.0, then=st.Latency(steps=9, threshold=0.1)),
    st.DeltaModulation(),
    st.StepForward(),
]
every_encoder = pytest.mark.parametrize("encoder", ENCODERS, ids=repr)


def values(seed=0, frames=T, low=0.0, high=1.0):
    return np.random.default_rng(seed).uniform(low, high, (frames, B, C)).astype(np.float32)


def lengths_mask(frames=T):
    return np.arange(frames)[:, None] < np.array([frames, 1, 2, frames])


def coded(encoder, x, mask=None, key=None):
    """Return the train as float64, checking the mask on the way."""
    mask = np.ones(x.shape[:2], bool) if mask is None else mask
    train, held = encoder(jnp.asarray(x), jnp.asarray(mask), key)
    assert train.dtype == x.dtype and held.dtype == bool and train.shape[:2] == held.shape
    np.testing.assert_array_equal(held, np.repeat(mask, train.shape[0] // x.shape[0], 0))
    return np.asarray(train, np.float64)


# What holds for all of them


def test_every_registered_encoder_is_tested_here():
    registered = {registry.lookup("encoder", name, "encoder").load() for name in registry.names("encoder")}
    assert {type(e) for e in ENCODERS} == registered
    for cls in registered:
        assert getattr(st, cls.__name__) is cls


@every_encoder
def test_padding_is_silent_and_never_read(encoder, dt):
    x, mask, key = values(), lengths_mask(), jax.random.key(7)
    dirty = np.where(mask[..., None], x, np.float32(np.nan))
    clean = coded(encoder, np.where(mask[..., None], x, np.float32(0)), mask, key)
    train = coded(encoder, dirty, mask, key)
    np.testing.assert_array_equal(train, clean)
    held = np.repeat(mask, train.shape[0] // T, 0)
    assert (train[~held] == 0).all() and train[held].any()


@every_encoder
def test_a_code_is_binary_a_static_value_and_the_same_under_jit(encoder, dt):
    x, mask = jnp.asarray(values()), jnp.ones((T, B), bool)
    train, _ = encoder(x, mask)
    np.testing.assert_array_equal(jax.jit(encoder)(x, mask)[0], train)
    injects = isinstance(encoder, st.Direct | st.Image) or encoder == st.GaussianPopulation(4)
    assert injects or set(np.unique(train)) == {0.0, 1.0}
    again = dataclasses.replace(encoder)
    assert again == encoder and hash(again) == hash(encoder)
    assert channels_of(encoder, C) == train.shape[-1]


@pytest.mark.parametrize("encoder", [st.Latency(3), st.Phase(2), st.StepForward()], ids=repr)
def test_whole_numbers_give_a_floating_train(encoder):
    train, _ = encoder(jnp.arange(T)[:, None, None] % 2 * jnp.ones((B, C), int), jnp.ones((T, B), bool))
    assert train.dtype == jnp.float32 and train.any()


@every_encoder
def test_evaluation_can_be_repeated(encoder, dt):
    x = values()
    np.testing.assert_array_equal(coded(encoder, x), coded(encoder, x))


@pytest.mark.parametrize("name", registry.names("encoder"))
def test_a_configuration_builds_what_the_constructor_does(name):
    section = check({"encoder": name})["encoder"]
    built = build.build("encoder", section)
    plain = type(built)()
    assert built == plain or (name == "gaussian_population" and built == st.GaussianPopulation(then=st.Direct()))


def test_a_configuration_nests_encoders_and_has_its_units_in_the_name():
    nested = {"name": "gaussian_population", "n": 6, "then": {"name": "log_latency", "tau_ms": 7.0}}
    built = build.build("encoder", check({"encoder": nested})["encoder"])
    assert built == st.GaussianPopulation(6, then=st.LogLatency(tau=7.0))
    assert built.then == st.LogLatency(tau=7.0 * u.ms) == st.LogLatency(tau=0.007 * u.second)


# Image


def moved(image, down, right):
    """Return an image moved by whole pixels, with zeros where it was not."""
    height, width = image.shape
    padded = np.pad(image, ((height, height), (width, width)))
    return padded[height - down : 2 * height - down, width - right : 2 * width - right]


@pytest.mark.parametrize("mirror", [False, True])
def test_an_image_is_moved_and_mirrored_alike_whether_its_rows_or_all_of_it_are_a_step(mirror):
    height, width, trials, shift = 4, 5, 200, 1
    images = np.random.default_rng(0).uniform(1, 2, (trials, height, width)).astype(np.float32)
    encoder, key = st.Image(width=width, shift=shift, mirror=mirror), jax.random.key(1)
    rows = coded(encoder, images.swapaxes(0, 1), key=key).swapaxes(0, 1)
    np.testing.assert_array_equal(coded(encoder, images.reshape(1, trials, -1), key=key)[0].reshape(rows.shape), rows)
    seen = set()
    for image, row in zip(images, rows, strict=True):
        candidates = {
            (down, right, flip): moved(image, down, right)[:, :: -1 if flip else 1]
            for down in (-1, 0, 1) for right in (-1, 0, 1) for flip in range(1 + mirror)
        }  # fmt: skip
        [found] = [name for name, candidate in candidates.items() if (candidate == row).all()]
        seen.add(found)
    assert len(seen) == 9 * (1 + mirror)


def test_an_image_is_standardised_and_held_as_it_is_in_evaluation():
    x = values(frames=1)
    train = coded(st.Image(width=C, shift=2, mirror=True, mean=0.3, std=0.2, hold=3), x)
    np.testing.assert_allclose(train, np.repeat((x - np.float32(0.3)) / np.float32(0.2), 3, 0), rtol=1e-6)


# Rate


def test_rates_are_those_of_the_values_and_all_draws_are_independent():
    steps = 4000
    x = np.array([0.0, 0.1, 0.5, 1.0, -0.3], np.float32) * np.ones((1, B, 1), np.float32)
    train = coded(st.Rate(steps=steps), x)
    p = np.clip(x[0, 0], 0, 1)
    assert not train[..., [0, 4]].any() and train[..., 3].all()
    np.testing.assert_allclose(train.mean(0), np.tile(p, (B, 1)), atol=5 * 0.5 / math.sqrt(steps))
    drawn = train[..., 1:3].reshape(steps, -1)
    correlation = np.corrcoef(drawn.T) - np.eye(2 * B)
    assert np.abs(correlation).max() < 5 / math.sqrt(steps)
    successive = np.corrcoef(drawn[1:, 1], drawn[:-1, 1])[0, 1]
    assert abs(successive) < 5 / math.sqrt(steps)


@pytest.mark.parametrize("dt_ms", [0.1, 1.0])
def test_a_rate_in_hertz_does_not_depend_on_dt(dt_ms):
    x = np.full((1, B, C), 0.5, np.float32)
    steps = 20_000
    with environ.context(dt=dt_ms * u.ms):
        train = coded(st.Rate(steps=steps, rate_hz=100.0), x)
    p = 50 * dt_ms * 1e-3
    error = 5 * math.sqrt(p / (steps * B * C))
    np.testing.assert_allclose(train.mean(), p, atol=error)
    np.testing.assert_allclose(
        train.sum(0).var(), steps * p * (1 - p), rtol=1.0
    )  # a count per channel, not one for all


def test_a_rate_above_one_spike_per_step_saturates(dt):
    assert coded(st.Rate(rate_hz=2000.0), np.full((T, B, C), 0.6, np.float32)).all()


def test_rate_draws_anew_with_another_key_and_fixedly_without():
    x = values()
    encoder = st.Rate(steps=4)
    one, same, other = (coded(encoder, x, key=jax.random.key(k)) for k in (3, 3, 4))
    assert (one == same).all() and (one != other).any()
    np.testing.assert_array_equal(coded(encoder, x), coded(encoder, x, key=jax.random.key(0)))


# Codes in time


@pytest.mark.parametrize("threshold", [0.0, 0.3])
def test_latency_falls_linearly_with_the_value(threshold):
    n = 11
    x = np.array([[[1.0, 0.5, 0.1, 0.0, 2.0], [0.95, 0.3, 0.31, -1.0, 0.64]]], np.float32)
    expected = np.zeros((n, *x.shape[1:]))
    for b, c in np.ndindex(2, C):
        if x[0, b, c] > np.float32(threshold):
            expected[int(np.round((1 - min(x[0, b, c], 1.0)) * (n - 1))), b, c] = 1
    np.testing.assert_array_equal(coded(st.Latency(n, threshold=threshold), x), expected)
    assert expected[0, 0, 0] == 1 and expected[:, 0, 3].sum() == 0


@pytest.mark.parametrize("dt_ms", [0.5, 1.0])
@pytest.mark.parametrize("tau", [4.0, 8.0 * u.ms])
def test_log_latency_is_when_a_charging_membrane_passes_threshold(dt_ms, tau):
    """Against the membrane itself, integrated exactly on a fine grid."""
    n, theta, tau_ms = 40, 0.05, float(u.get_mantissa(tau))
    x = values(1, 2, 0.0, 0.5)
    with environ.context(dt=dt_ms * u.ms):
        train = coded(st.LogLatency(n, tau=tau, threshold=theta), x)
    fine = 1000
    time = (np.arange(n * fine) + 1) * dt_ms / fine
    expected = np.zeros_like(train)
    for t, b, c in np.ndindex(*x.shape):
        passed = np.flatnonzero(x[t, b, c] * (1 - np.exp(-time / tau_ms)) > theta)
        if passed.size:
            expected[t * n + passed[0] // fine, b, c] = 1
    np.testing.assert_array_equal(train, expected)
    per_frame = train.reshape(2, n, B, C).sum(1)
    assert set(np.unique(per_frame)) == {0.0, 1.0}


def test_rank_order_fires_the_largest_first_and_each_channel_once():
    x = np.array([[[0.3, 0.9, 0.0, 0.3, 0.5]], [[-1.0, 0.1, 0.2, 0.0, 0.0]]], np.float32)
    train = coded(st.RankOrder(4), x)[:, 0]
    assert [list(np.flatnonzero(step)) for step in train] == [[1], [4], [0], [3], [2], [1], [], []]
    train = coded(st.RankOrder(2), x)[:, 0]
    assert [list(np.flatnonzero(step)) for step in train] == [[1], [4], [2], [1]]


@given(seed=hy.integers(0, 1000))
@settings(max_examples=10)
def test_rank_order_forgets_everything_but_the_order(seed):
    x = values(seed, low=0.01)
    np.testing.assert_array_equal(coded(st.RankOrder(C), x), coded(st.RankOrder(C), x**3 / 7))


@pytest.mark.parametrize("n", [1, 8, 24])
def test_phases_weighted_by_their_powers_of_two_sum_to_the_value(n):
    x = np.concatenate([values(2), np.array([0.0, 0.5, 0.75, 1.0, 7.0], np.float32) * np.ones((1, B, 1), np.float32)])
    train = coded(st.Phase(n), x).reshape(-1, n, B, C)
    value = np.einsum("tkbc,k->tbc", train, 2.0 ** -(np.arange(n) + 1))
    kept = np.clip(np.floor(x.astype(np.float64) * 2**n), 0, 2**n - 1) / 2**n
    np.testing.assert_array_equal(value, kept)
    assert not coded(st.Phase(n), -x[:1]).any()


# Populations


def test_receptive_fields_are_gaussians_of_bohte():
    n, low, high, beta = 6, -1.0, 2.0, 1.5
    x = values(3, low=-1.5, high=2.5)
    a = coded(st.GaussianPopulation(n, low=low, high=high, beta=beta), x)
    assert a.shape == (T, B, C * n)
    for c in range(C):
        for i in range(1, n + 1):
            mu = low + (2 * i - 3) / 2 * (high - low) / (n - 2)
            sigma = (high - low) / (beta * (n - 2))
            expected = np.exp(-((x[..., c].astype(np.float64) - mu) ** 2) / (2 * sigma**2))
            np.testing.assert_allclose(a[..., c * n + i - 1], expected, rtol=1e-4, atol=1e-7)


def test_activations_are_coded_by_the_encoder_that_follows():
    x, key = values(4), jax.random.key(1)
    fields = coded(st.GaussianPopulation(5), x).astype(np.float32)
    for then in (st.Latency(steps=9, threshold=0.1), st.Rate(steps=4)):
        np.testing.assert_array_equal(
            coded(st.GaussianPopulation(5, then=then), x, key=key), coded(then, fields, key=key)
        )


# Changes


def test_delta_modulation_fires_on_and_off_where_a_value_jumps():
    x = np.array([0.0, 0.25, 0.25, 0.0, 0.125, 1.0], np.float32)[:, None, None]
    train = coded(st.DeltaModulation(0.25), x)[:, 0]
    np.testing.assert_array_equal(train, [[0, 0], [1, 0], [0, 0], [0, 1], [0, 0], [1, 0]])
    signal = np.cumsum(np.random.default_rng(0).normal(0, 0.2, (50, B, C)), 0).astype(np.float32)
    change = np.concatenate([0 * signal[:1], signal[1:] - signal[:-1]])
    expected = np.concatenate([change >= np.float32(0.1), change <= -np.float32(0.1)], -1)
    np.testing.assert_array_equal(coded(st.DeltaModulation(0.1), signal), expected)


@pytest.mark.parametrize("theta", [0.05, 0.2])
def test_step_forward_is_the_loop_of_its_definition(theta):
    signal = np.cumsum(np.random.default_rng(1).normal(0, 0.1, (60, B, C)), 0).astype(np.float32)
    baseline, theta = signal[0] - signal[0], np.float32(theta)
    expected = np.zeros((60, B, 2 * C))
    for t, x in enumerate(signal - signal[:1]):
        up, down = x > baseline + theta, x < baseline - theta
        expected[t] = np.concatenate([up, down], -1)
        baseline = baseline + theta * (up.astype(np.float32) - down)
    np.testing.assert_array_equal(coded(st.StepForward(float(theta)), signal), expected)
    assert expected[..., :C].any() and expected[..., C:].any()


def test_step_forward_spikes_rebuild_a_slow_signal_within_one_threshold():
    theta = 0.05
    t = np.linspace(0, 2 * np.pi, 400)[:, None, None]
    signal = (np.sin(t + np.arange(B)[:, None]) + 0 * np.arange(C)).astype(np.float32)
    train = coded(st.StepForward(theta), signal)
    rebuilt = signal[0] + theta * np.cumsum(train[..., :C] - train[..., C:], 0)
    assert np.abs(rebuilt - signal).max() < theta * 1.01


@pytest.mark.parametrize(
    "wrong, error, says",
    [
        (lambda: st.Rate(steps=0), st.DomainError, r"Rate\(steps=...\) must be at least 1, got 0"),
        (lambda: st.Rate(rate_hz=0.0), st.DomainError, r"Rate\(rate_hz=...\) must be positive, got 0.0"),
        (lambda: st.Latency(threshold=1.0), st.DomainError, r"Latency\(threshold=...\) must lie in \[0, 1\), got 1.0"),
        (lambda: st.LogLatency(tau=0.0 * u.ms), st.DomainError, r"LogLatency\(tau=...\) must be positive"),
        (lambda: st.LogLatency(tau=3.0 * u.mV), st.UnitError, r"LogLatency\(tau=...\) expects a quantity in units of"),
        (lambda: st.LogLatency(threshold=0.0), st.DomainError, r"LogLatency\(threshold=...\) must be positive"),
        (lambda: st.Image(hold=0), st.DomainError, r"Image\(hold=...\) must be at least 1"),
        (lambda: st.Image(width=0), st.DomainError, r"Image\(width=...\) must be positive"),
        (lambda: st.Image(std=0.0), st.DomainError, r"Image\(std=...\) must be positive"),
        (lambda: st.Image(shift=-1), st.DomainError, r"Image\(shift=...\) must be at least 0, got -1"),
        (
            lambda: coded(st.Image(28), values()),
            st.ShapeError,
            r"Image\(width=28\) expects frames of whole rows, got 5",
        ),
        (lambda: st.RankOrder(-1), st.DomainError, r"RankOrder\(steps=...\) must be at least 1"),
        (lambda: st.Phase(25), st.DomainError, r"Phase\(steps=...\) must lie in \[1, 24\], got 25"),
        (lambda: st.GaussianPopulation(2), st.DomainError, r"\(n=...\) must be at least 3, got 2"),
        (lambda: st.GaussianPopulation(low=1.0), st.DomainError, "needs low < high, got 1.0 and 1.0"),
        (lambda: st.GaussianPopulation(beta=0.0), st.DomainError, r"\(beta=...\) must be positive"),
        (lambda: st.DeltaModulation(0.0), st.DomainError, r"DeltaModulation\(threshold=...\) must be positive"),
        (lambda: st.StepForward(-1.0), st.DomainError, r"StepForward\(threshold=...\) must be positive"),
    ],
)
def test_what_codes_nothing_is_refused_by_name(wrong, error, says):
    with pytest.raises(error, match=says):
        wrong()
