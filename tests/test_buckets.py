"""Padding decides what a step costs and never what it computes; nothing is compiled after the first epoch."""

import dataclasses
from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_trainer import bits, metrics_of, trainer

from spiketrain.encoders.direct import Direct
from spiketrain.training import step
from spiketrain.training.buckets import Buckets
from spiketrain.training.compilation import COMPILED
from spiketrain.training.order import WINDOW, order_by_length, order_of_epoch

from runs import dataset, record

pytestmark = pytest.mark.usefixtures("one_ms")

TRIALS, BATCH = 83, 4
LENGTHS = st.lists(st.integers(1, 30), min_size=TRIALS, max_size=TRIALS).map(np.array)


@given(LENGTHS, st.integers(1, 6), st.integers(0, 99))
def test_every_batch_is_padded_to_the_smallest_of_a_few_lengths_that_holds_it(lengths, count, seed):
    buckets = Buckets(lengths, count=count, batch_size=BATCH, seed=seed)
    assert len(buckets.padded) <= count and buckets.padded[-1] == lengths.max()
    for epoch in (0, 5):
        order, steps = buckets.order(epoch)
        assert len(set(np.asarray(order).tolist())) == len(order) == TRIALS // BATCH * BATCH
        for batch, padded in zip(np.asarray(order).reshape(-1, BATCH), steps, strict=True):
            assert padded == min(p for p in buckets.padded if p >= lengths[batch].max())
        again, same = Buckets(lengths, count=count, batch_size=BATCH, seed=seed).order(epoch)
        np.testing.assert_array_equal(order, again)
        assert same == steps
    assert set(buckets.order(0)[1]) == set(buckets.padded.tolist())


@given(LENGTHS, st.integers(0, 99))
def test_trials_move_within_a_window_of_batches_and_are_sorted_there(lengths, seed):
    plain = np.asarray(order_of_epoch(seed, 1, TRIALS))[: TRIALS // BATCH * BATCH]
    order, longest = order_by_length(seed, 1, lengths, BATCH)
    order = np.asarray(order).reshape(-1, BATCH)
    np.testing.assert_array_equal(longest, lengths[order].max(axis=1))
    first = WINDOW * BATCH
    assert 0 < first < len(plain)
    for window in (plain[:first], plain[first:]):
        batches = [batch for batch in order if batch[0] in window]
        assert sorted(np.concatenate(batches)) == sorted(window)
        spans = sorted((lengths[batch].min(), lengths[batch].max()) for batch in batches)
        assert all(end <= start for (_, end), (start, _) in zip(spans, spans[1:], strict=False))


def test_the_batches_of_an_epoch_come_in_an_order_of_seed_and_epoch():
    lengths = np.arange(1, TRIALS + 1)
    longest = {(s, e): np.asarray(order_by_length(s, e, lengths, BATCH)[1]) for s in (0, 1) for e in (0, 1, 7)}
    assert len({order.tobytes() for order in longest.values()}) == len(longest)
    assert not any((np.diff(order[:WINDOW]) > 0).all() for order in longest.values())


def test_short_trials_pay_for_fewer_steps():
    lengths = np.random.default_rng(0).permutation(np.repeat([5, 50, 100], 64))
    for count, most in ((1, 1.0), (2, 0.85), (4, 0.6)):
        steps = np.array(Buckets(lengths, count=count, batch_size=BATCH, seed=0).order(3)[1])
        assert steps.sum() / (len(steps) * 100) <= most


def test_a_step_computes_the_same_at_any_padding():
    """Noise and dropout included: what is drawn for a step of time does not depend on how many follow."""
    t = trainer(batch_size=4)
    split = t.splits["train"]
    rows = np.argsort(split.lengths, kind="stable")[6:10]
    longest = int(split.lengths[rows].max())
    assert longest < split.x.shape[1]
    train_step, data = t.functions.train_step(), step.on_devices(split, t.mesh)
    whole, sums = train_step([leaf.copy() for leaf in t.leaves], data, rows)
    short, of_short = train_step(t.leaves, data, rows, steps=longest)
    assert sums.unpacked()["rate_hz/spiking/0"][0].sum() > 0
    for a, b in zip(jax.tree.leaves((whole, sums)), jax.tree.leaves((short, of_short)), strict=True):
        if not jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("count", [None, 3])
def test_a_run_compiles_each_step_once_and_nothing_after_the_first_epoch(tmp_path, count):
    """Training, evaluation, checkpoints, and the evaluation of what a checkpoint holds."""
    t = trainer(folder=tmp_path, epochs=4, batch_size=4, length_buckets=count, final="best")
    built, after = [], []

    def compiled(event, start, end, fun_name="", **_):
        if event == COMPILED:
            built.append(fun_name)

    end_of_epoch = t._end_epoch
    t._end_epoch = lambda *args: (end_of_epoch(*args), after.append(len(built)))
    jax.monitoring.register_event_time_span_listener(compiled)
    try:
        result = t.fit()
    finally:
        jax.monitoring.unregister_event_time_span_listener(compiled)
    assert record(tmp_path)[-1]["rate_hz/spiking/0"] > 0
    assert after == [len(built)] * 4 and result["compilations"] == len(built) and result["compile_seconds"] > 0
    padded = 1 if count is None else len(t.epochs.padded)
    assert padded == (count or 1)
    assert sum("_train_step" in name for name in built) == padded
    assert sum("evaluate" in name for name in built) == 1


def test_a_run_continued_in_the_middle_of_an_epoch_ends_with_the_same_bits():
    settings = {"length_buckets": 3, "batch_size": 4, "epochs": 3}
    whole, part, rest = (trainer(**settings) for _ in range(3))
    expected = metrics_of(whole.fit())
    train_step, data = part.functions.train_step(), step.on_devices(part.splits["train"], part.mesh)
    assert part.steps_per_epoch == 5
    for n in range(7):
        order, steps = part.epochs.order(n // 5)
        part.leaves, _ = train_step(part.leaves, data, order, steps=steps[n % 5])
    rest.leaves, rest.step = part.leaves, 7
    assert metrics_of(rest.fit()) == expected and bits(rest.leaves) == bits(whole.leaves)


def test_the_longest_trial_fits_even_if_the_first_epoch_leaves_it_out():
    left_out = np.asarray(order_of_epoch(0, 0, TRIALS))[TRIALS // BATCH * BATCH :]
    lengths = np.full(TRIALS, 5)
    lengths[left_out[0]] = 9
    buckets = Buckets(lengths, count=2, batch_size=BATCH, seed=0)
    assert buckets.padded.tolist() == [9] and set(buckets.order(0)[1]) == {9}


def test_a_step_sees_as_many_steps_as_it_is_told():
    t, seen = trainer(batch_size=4), []

    def spy(x, mask, key):
        seen.append((x.shape, mask.shape))
        return Direct()(x, mask)

    functions = dataclasses.replace(t.functions, encoder=spy)
    for steps in (None, 5):
        given = (0, t.leaves, step.on_devices(t.splits["train"], t.mesh), t.epochs.order(0)[0])
        jax.eval_shape(partial(functions._train_step, steps=steps), *given)
    assert seen == [((8, 4, 3), (8, 4)), ((5, 4, 3), (5, 4))]


def test_one_bucket_cuts_what_no_trial_needs():
    given = dataset()
    cut = dataclasses.replace(given.train, lengths=np.minimum(given.train.lengths, 5))
    t = trainer(dataclasses.replace(given, train=cut), length_buckets=1)
    assert t.epochs.order(0)[1] == [5] * t.steps_per_epoch
