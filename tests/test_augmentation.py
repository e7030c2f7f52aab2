"""What augmentations conserve, permute and remove; padding stays silent, labels stay distributions, keys decide."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from spiketrain.augmentation.base import in_order
from spiketrain.augmentation.channels import ChannelRoll
from spiketrain.augmentation.drop import ChannelMask, EventDrop, NeuronMask, TimeMask
from spiketrain.augmentation.mix import CutMix, Mixup
from spiketrain.augmentation.time import Jitter, TimeShift, TimeStretch
from spiketrain.config import build, registry
from spiketrain.config.check import check
from spiketrain.encoders.direct import Direct
from spiketrain.errors import ConfigError, DomainError
from spiketrain.losses import CrossEntropy
from spiketrain.training.step import BEHIND_THE_ENCODER, Functions

pytestmark = [pytest.mark.usefixtures("one_ms"), pytest.mark.slow]

T, B, C = 12, 5, 4
ALL = {
    "time_shift": TimeShift(3),
    "time_stretch": TimeStretch(1.5),
    "jitter": Jitter(2),
    "event_drop": EventDrop(0.3),
    "neuron_mask": NeuronMask(0.4),
    "time_mask": TimeMask(4, 2),
    "channel_mask": ChannelMask(2, 2),
    "channel_roll": ChannelRoll(2),
    "mixup": Mixup(1.0),
    "cut_mix": CutMix(1.0),
}
seeds = st.integers(0, 2**31 - 1)
few = settings(max_examples=15)


def batch(seed):
    """Return counts of events, masks and labels; every event has a size of its own."""
    rng = np.random.default_rng(seed)
    mask = np.arange(T)[:, None] < rng.integers(1, T + 1, B)
    x = np.where(rng.random((T, B, C)) < 0.4, rng.integers(1, 100, (T, B, C)), 0) * mask[..., None]
    return x.astype(np.float32), mask, np.eye(B, dtype=np.float32)  # a class of its own for every trial


@partial(jax.jit, static_argnums=0)
def compiled(augment, x, mask, y, seed):
    """Return the changed batch and the gradient of the sum of its squares, in one program."""

    def loss(x):
        changed = augment(x, mask, y, jax.random.key(seed))
        return (changed[0] ** 2).sum(), changed

    gradient, changed = jax.grad(loss, has_aux=True)(x)
    return changed, gradient


def run(augment, x, mask, y, seed):
    return compiled(augment, x, mask, y, seed)[0]


def changed(name, seed):  # a batch before and after
    x, mask, y = batch(seed)
    return x, mask, y, *map(np.asarray, run(ALL[name], x, mask, y, seed))


@pytest.mark.parametrize("name", ALL)
@few
@given(seed=seeds)
def test_what_holds_for_every_augmentation(name, seed):
    x, mask, y, x2, mask2, y2 = changed(name, seed)
    assert x2.shape == x.shape and x2.dtype == x.dtype and mask2.dtype == bool
    assert (x2[~mask2] == 0).all()  # padding is silent
    assert (mask2[:-1] >= mask2[1:]).all() and mask2[0].all()  # and at the end
    np.testing.assert_allclose(y2.sum(-1), 1.0, rtol=1e-6)
    assert (y2 >= 0).all()
    again = run(ALL[name], x, mask, y, seed)
    for a, b in zip((x2, mask2, y2), again, strict=True):
        np.testing.assert_array_equal(a, b)
    if name not in ("mixup", "cut_mix"):
        np.testing.assert_array_equal(y2, y)
        alone = run(ALL[name], x * (np.arange(B) == 0)[:, None], mask, y, seed)[0]  # no trial sees another
        np.testing.assert_array_equal(alone[:, 0], x2[:, 0])


@pytest.mark.parametrize("name", ALL)
def test_another_key_changes_a_batch_otherwise(name):
    x, mask, y = batch(0)
    mask[:], x = True, np.abs(x) + 1
    one, other = (np.asarray(run(ALL[name], x, mask, y, seed)[0]) for seed in (1, 2))
    assert (one != other).any() and (one != x).any()


@pytest.mark.parametrize("name", ALL)
def test_the_gradient_is_finite_and_passes(name):
    x, mask, y = batch(3)
    found = np.asarray(compiled(ALL[name], x, mask, y, 0)[1])
    assert np.isfinite(found).all() and (found != 0).any()
    assert name in ("mixup", "cut_mix") or (found[~mask] == 0).all()  # beside another trial, padding is its silence


# Times


@few
@given(seed=seeds)
def test_a_shift_keeps_what_stays_within_the_trial_and_loses_the_rest(seed):
    x, mask, _, x2, mask2, _ = changed("time_shift", seed)
    np.testing.assert_array_equal(mask2, mask)
    for b, length in enumerate(mask.sum(0)):
        candidates = []
        for k in range(-3, 4):
            moved = np.zeros((T, C), np.float32)
            for t in range(length):
                if 0 <= t + k < length:
                    moved[t + k] = x[t, b]
            candidates.append((moved == x2[:, b]).all())
        assert any(candidates)


def test_shifts_are_drawn_from_the_whole_range():
    x = np.zeros((T, 400, 1), np.float32)
    x[5] = 1.0
    mask = np.ones((T, 400), bool)
    at = np.asarray(TimeShift(3)(x, mask, np.ones((400, 1)), jax.random.key(0))[0]).argmax(0)[:, 0]
    assert set(at) == set(range(2, 9))


@few
@given(seed=seeds)
def test_a_stretch_conserves_events_that_fit_and_their_order(seed):
    x, mask, _, x2, mask2, _ = changed("time_stretch", seed)
    for b, (before, after) in enumerate(zip(mask.sum(0), mask2.sum(0), strict=True)):
        assert before / 1.5 - 1e-4 <= after <= np.ceil(before * 1.5)
        if after < T:
            assert x2[:, b].sum() == x[:, b].sum()
        assert x2[:, b].sum() <= x[:, b].sum()
        cumulated, first = x2[:, b].cumsum(0)[-1], x[:, b].cumsum(0)
        assert all(total in [0.0, *first[:, c]] for c, total in enumerate(cumulated))  # what is lost is lost at the end


@few
@given(seed=seeds)
def test_jitter_conserves_the_events_of_every_channel_and_moves_them_a_little(seed):
    x, mask, _, x2, mask2, _ = changed("jitter", seed)
    np.testing.assert_array_equal(x2.sum(0), x.sum(0))
    np.testing.assert_array_equal(mask2, mask)
    early, late = np.cumsum(np.pad(x, ((2, 2), (0, 0), (0, 0))), 0), np.cumsum(x2, 0)
    assert (late <= early[4:] + 0).all() and (late >= early[:-4] + 0).all()  # by two steps at most


# Removal


@pytest.mark.parametrize("name", ["event_drop", "neuron_mask", "time_mask", "channel_mask"])
@few
@given(seed=seeds)
def test_masks_only_remove(name, seed):
    x, mask, _, x2, mask2, _ = changed(name, seed)
    assert ((x2 == x) | (x2 == 0)).all()
    np.testing.assert_array_equal(mask2, mask)
    gone = (x2 == 0) & (x != 0)
    if name == "neuron_mask":
        assert all((x2[:, b, c] == 0).all() for b, c in np.argwhere(gone.any(0)))
    if name == "time_mask":
        assert gone.any(-1).sum(0).max() <= 8 and all((x2[t, b] == 0).all() for t, b in np.argwhere(gone.any(-1)))
    if name == "channel_mask":
        assert gone.any(0).sum(-1).max() <= 4


@pytest.mark.parametrize("augment", [EventDrop(0.3), NeuronMask(0.3)])
def test_the_rate_is_that_of_removal(augment):
    x = np.ones((50, 40, 30), np.float32)
    kept = augment(x, np.ones((50, 40), bool), np.ones((40, 1)), jax.random.key(0))[0]
    assert float(np.mean(kept)) == pytest.approx(0.7, abs=0.03)


# Channels and mixtures


@few
@given(seed=seeds)
def test_a_roll_permutes_channels(seed):
    x, _, _, x2, _, _ = changed("channel_roll", seed)
    for b in range(B):
        assert any((np.roll(x[:, b], k, -1) == x2[:, b]).all() for k in range(-2, 3))


@few
@given(seed=seeds)
def test_mixup_mixes_trials_as_it_mixes_labels(seed):
    x, mask, y = batch(seed)
    x2, mask2, y2 = map(np.asarray, run(ALL["mixup"], x, mask, y, seed))
    np.testing.assert_allclose(x2, np.einsum("bk,tkc->tbc", y2, x), rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(mask2, np.einsum("bk,tk->tb", y2 > 0, mask) > 0)
    assert ((y2 > 0).sum(-1) <= 2).all()


@few
@given(seed=seeds)
def test_cutmix_weighs_labels_by_steps(seed):
    x, mask, y = batch(seed)
    x += mask[..., None] * (1 + np.arange(B)[:, None]) * 1000  # every valid step says whose it is
    x2, mask2, y2 = map(np.asarray, run(ALL["cut_mix"], x, mask, y, seed))
    np.testing.assert_array_equal(mask2, mask)
    of = (x2[..., 0] // 1000).astype(int)  # 0 where the other trial has ended
    for b in range(B):
        counts = np.bincount(of[:, b], minlength=B + 1)[1:]
        np.testing.assert_allclose(y2[b], counts / counts.sum(), rtol=1e-5)
        foreign = np.flatnonzero((of[:, b] != b + 1) & mask[:, b])
        assert len(foreign) == 0 or foreign[-1] - foreign[0] + 1 == len(foreign)  # one window
        for t in np.flatnonzero(of[:, b]):
            np.testing.assert_array_equal(x2[t, b], x[t, of[t, b] - 1])


# Several, and by name


def test_several_are_applied_in_order_with_keys_of_their_own():
    x, mask, y = map(jnp.asarray, batch(0))
    key = jax.random.key(7)
    drop, silence = ALL["event_drop"], ALL["neuron_mask"]
    twice = in_order([drop, silence])(x, mask, y, key)[0]
    once = drop(x, mask, y, jax.random.fold_in(key, 0))[0]
    np.testing.assert_array_equal(twice, silence(once, mask, y, jax.random.fold_in(key, 1))[0])
    assert (np.asarray(twice) != np.asarray(once)).any()
    np.testing.assert_array_equal(in_order([])(x, mask, y, key)[0], x)


class Sum(nnx.Module):
    takes_mask = True

    def __call__(self, x, mask):
        return jnp.where(mask[..., None], x[..., :2], 0)


def test_training_augments_behind_the_encoder_and_evaluation_never_does():
    x, mask, _ = batch(0)
    trials = {
        "x": x.swapaxes(0, 1),
        "lengths": mask.sum(0),
        "y": np.array([0, 1, 1, 0, 1]),
        "weight": np.ones(B, np.float32),
    }
    loss, augment = CrossEntropy(label_smoothing=0.1), in_order([ALL["event_drop"], ALL["mixup"]])
    settings = {"tx": None, "mesh": None, "placed": [], "seed": 0, "batch_size": B, "classes": 2}
    plain, changed = (Functions(None, Direct(hold=2), loss, augmentation=a, **settings) for a in (None, augment))
    key = jax.random.key(3)
    assert changed._loss(Sum(), trials, None)[0] == plain._loss(Sum(), trials, None)[0]
    frames, held = Direct(hold=2)(jnp.asarray(x), jnp.asarray(mask), key)
    y = jax.nn.one_hot(trials["y"], 2)
    x2, mask2, y2 = augment(frames, held, y, jax.random.fold_in(key, BEHIND_THE_ENCODER))
    wanted = loss.per_trial(loss.logits(Sum()(x2, mask2), mask2), y2).mean()
    got = changed._loss(Sum(), trials, key)[0]
    np.testing.assert_allclose(got, wanted, rtol=1e-6)
    assert got != plain._loss(Sum(), trials, key)[0]


def test_augmentations_are_built_in_the_order_of_the_configuration():
    assert build.augmentation(check({})) is None
    config = check({"augmentations": {"late": {"name": "jitter", "steps": 2}, "event_drop": None}})
    assert list(config["augmentations"]) == ["late", "event_drop"]
    built = build.augmentation(config)
    x, mask, y = map(jnp.asarray, batch(0))
    wanted = in_order([Jitter(2), EventDrop(0.1)])(x, mask, y, jax.random.key(0))
    np.testing.assert_array_equal(built(x, mask, y, jax.random.key(0))[0], wanted[0])
    with pytest.raises(ConfigError, match=r"augmentations.jiter must say which augmentation.*Did you mean `jitter`"):
        check({"augmentations": {"jiter": {}}})


def test_every_augmentation_is_registered():
    assert set(registry.names("augmentation")) == set(ALL)
    for name, wanted in ALL.items():
        assert type(registry.lookup("augmentation", name, name).load()()) is type(wanted)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: TimeShift(0), r"TimeShift\(steps=...\) must be at least 1"),
        (lambda: TimeStretch(1.0), r"TimeStretch\(factor=...\) must lie between 1 and 100"),
        (lambda: Jitter(0), r"Jitter\(steps=...\)"),
        (lambda: EventDrop(1.0), r"EventDrop\(rate=...\) must lie in"),
        (lambda: NeuronMask(-0.1), r"NeuronMask\(rate=...\)"),
        (lambda: TimeMask(count=0), r"TimeMask\(count=...\)"),
        (lambda: ChannelMask(channels=0), r"ChannelMask\(channels=...\)"),
        (lambda: ChannelRoll(0), r"ChannelRoll\(channels=...\)"),
        (lambda: Mixup(0.0), r"Mixup\(alpha=...\) must be positive"),
        (lambda: CutMix(-1.0), r"CutMix\(alpha=...\)"),
    ],
)
def test_augmentations_refuse(make, message):
    with pytest.raises(DomainError, match=message):
        make()
