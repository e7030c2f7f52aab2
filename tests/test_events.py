"""Events in memory and their way into dense trains: no event is lost, and each is where numpy puts it."""

import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiketrain.data import cache
from spiketrain.data.binning import binned
from spiketrain.data.dataset import Dataset, split_validation
from spiketrain.data.event_dataset import event_dataset, load_events
from spiketrain.data.event_npz import read_events, save_events
from spiketrain.data.event_split import EventSplit
from spiketrain.data.events import Events
from spiketrain.errors import DataError, ShapeError

SIZE = (2, 3, 4)


def some(n=6, seed=0, most=30, longest=9_999):
    """Return trials with 0 to `most` events each, one of them the longest possible."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, most + 1, n)
    counts[0] = most
    trials = [(rng.integers(0, longest + 1, k), rng.integers(0, 24, k)) for k in counts]
    trials[0][0][-1] = longest
    return Events.of_trials(trials, np.arange(n) % 3, SIZE, groups=np.arange(n) % 2)


def reference(events, rows, bin_us, steps):
    """Return the train in float64, event by event."""
    x = np.zeros((steps, len(rows), *events.size))
    for b, i in enumerate(rows):
        for e in range(events.offsets[i], events.offsets[i + 1]):
            step = int(events.times[e]) // bin_us
            if step < steps:
                x[(step, b, *np.unravel_index(int(events.units[e]), events.size))] += 1
    return x


@partial(jax.jit, static_argnames=("bin_us", "steps"))
def on_device(times, units, offsets, rows, bin_us, steps):
    return binned(times, units, offsets, rows, bin_us=bin_us, steps=steps, window=30, size=SIZE)


@given(
    seed=st.integers(0, 10**6),
    rows=st.lists(st.integers(0, 5), min_size=4, max_size=4),
    bin_steps=st.sampled_from([(1000, 10), (333, 31), (1000, 4)]),
)
def test_a_batch_is_what_numpy_counts(seed, rows, bin_steps):
    (bin_us, steps), events = bin_steps, some(seed=seed)
    padding = 180 - len(events.times)  # one shape for all examples; what lies beyond the last offset is no trial's
    times, units = (np.pad(a, (0, padding)) for a in (events.times, events.units))
    x = on_device(times, units, events.offsets.astype(np.int32), np.array(rows), bin_us, steps)
    assert x.shape == (steps, 4, *SIZE) and x.dtype == jnp.float32
    np.testing.assert_array_equal(x, reference(events, rows, bin_us, steps))
    if bin_us * steps > 9_999:
        assert x.sum() == events.counts[rows].sum()


def test_a_train_per_unit_is_a_histogram_over_time_and_units():
    events = some(1, most=400)
    split = EventSplit(events, 700)
    x = split.trials().batch(jnp.array([0]))["x"][0]
    edges = (np.arange(split.steps + 1) * 700, np.arange(25))
    np.testing.assert_array_equal(x, np.histogram2d(events.times, events.units, edges)[0])
    assert x.sum() == 400 and x.max() > 1


@pytest.mark.parametrize("clip, padding", [(False, "after_last_event"), (True, "none")])
def test_events_give_the_batches_of_the_dense_trials(clip, padding):
    split = EventSplit(some(most=200), 1000, clip=clip, padding=padding)
    dense, rows = split.dense(), jnp.array([4, 0, 0, 2])
    assert dense.x.max() == (1 if clip else dense.x.max()) and split.shape == dense.shape == (10, 24)
    of = jax.jit(lambda trials, rows, steps: trials.batch(rows, steps), static_argnums=2)
    for steps in (None, 7):
        ours, theirs = (of(s.trials(), rows, steps) for s in (split, dense))
        assert ours.keys() == theirs.keys() and theirs["x"].shape == (4, steps or 10, 24) and theirs["x"].sum() > 50
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name])
            assert ours[name].dtype == theirs[name].dtype
    part, theirs = split.take([3, 1]), dense.take([3, 1])
    assert part.shape == theirs.shape
    np.testing.assert_array_equal(part.dense().x, theirs.x)
    np.testing.assert_array_equal(part.lengths, theirs.lengths)


def test_what_falls_after_the_last_step_is_counted():
    events = some()
    split = EventSplit(events, 1000, 4)
    assert split.outside == (events.times >= 4000).sum() > 0
    assert split.dense().x.sum() == len(events.times) - split.outside
    assert split.lengths.max() == 4 and EventSplit(events, 1000).outside == 0


def test_a_trial_without_events_is_one_silent_step():
    split = EventSplit(Events.of_trials([([], []), ([], [])], [0, 1], (5,)), 1000)
    batch = split.trials().batch(jnp.array([1, 0]))
    assert split.shape == (1, 5) and batch["x"].shape == (2, 1, 5)
    assert not batch["x"].any() and split.lengths.tolist() == [1, 1]


def test_a_split_takes_bytes_per_event_however_long_and_wide_it_is():
    """What the documentation states: 5 to 8 bytes per event and 12 per trial, against 4 per step and channel."""

    def on_the_device(trials):
        return sum(leaf.nbytes for leaf in jax.tree.leaves(jax.device_put(trials)))

    rng = np.random.default_rng(0)
    for channels, per_event in ((200, 5), (700, 6), (70_000, 8)):
        trials = [(rng.integers(0, 1_000_000, 300), rng.integers(0, channels, 300)) for _ in range(10)]
        split = EventSplit(Events.of_trials(trials, np.zeros(10, int), (channels,)), 10_000, 100)
        assert on_the_device(split.trials()) == per_event * 3000 + 12 * 10 + 4
        if channels == 200:
            assert on_the_device(split.dense().trials()) == 4 * 10 * 100 * 200 + 8 * 10


def test_a_batch_of_events_needs_memory_for_the_batch_alone():
    events = some(n=200, most=300)
    trials = EventSplit(events, 100).trials()
    batch = jax.jit(lambda trials, rows: trials.batch(rows)).lower(trials, jnp.arange(4)).compile().memory_analysis()
    dense_batch, whole = 4 * 4 * 100 * 24, 4 * 200 * 100 * 24
    assert batch.temp_size_in_bytes + batch.output_size_in_bytes < 4 * dense_batch < whole / 10


# The container


def test_trials_are_sorted_stably_and_joined_pooled_and_taken():
    events = Events.of_trials([([5, 1, 5], [7, 0, 3]), ([2.4, np.nan, 1.0], [23, 1, 2])], [1, 0], SIZE, groups=[8, 9])
    assert events.times.tolist() == [1, 5, 5, 1, 2] and events.units.tolist() == [0, 7, 3, 2, 23]
    assert (events.dropped, events.counts.tolist(), events.durations.tolist()) == (1, [3, 2], [5, 2])
    back = events.take([1, 0]).take([1, 0])
    for name in ("times", "units", "offsets", "labels", "groups"):
        np.testing.assert_array_equal(getattr(back, name), getattr(events, name))
    joined = Events.joined(events, events.take([True, False]))
    assert joined.labels.tolist() == [1, 0, 1] and joined.counts.tolist() == [3, 2, 3]
    pooled = events.pooled(1, 3, 2)
    assert pooled.size == (2, 1, 2) and pooled.units.tolist() == [0, 1, 1, 1, 3]
    with pytest.raises(
        ShapeError, match=r"a factor for each axis of size \(2, 3, 4\) that divides it, got \(1, 2, 2\)"
    ):
        events.pooled(1, 2, 2)
    with pytest.raises(ShapeError, match="parts of one size"):
        Events.joined(events, pooled)


@given(seed=st.integers(0, 999), factors=st.sampled_from([(1, 1, 1), (2, 3, 4), (1, 3, 2)]))
def test_pooling_adds_up_neighbours(seed, factors):
    events = some(seed=seed)
    x = EventSplit(events, 1000).dense().x.reshape(6, -1, *SIZE)
    small = EventSplit(events.pooled(*factors), 1000).dense().x
    a, b, c = (n // f for n, f in zip(SIZE, factors, strict=True))
    f, g, h = factors
    np.testing.assert_array_equal(small.reshape(6, -1, a, b, c), x.reshape(6, -1, a, f, b, g, c, h).sum((3, 5, 7)))


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"times": [[1]]}, ShapeError, r"times=...\) expects one axis, got shape \(1, 1\)"),
        ({"times": [1.0, 2, 3]}, DataError, r"times=...\) expects integers, got dtype float64"),
        ({"times": [1, 2, 2**31]}, DataError, r"from 0 to 2147483647, got 2147483648 at times\[2\]"),
        ({"times": [1, 3, 2]}, DataError, r"must not fall within a trial, got 3 and then 2 at times\[2\]"),
        ({"units": [0, 24, 1]}, DataError, r"units=...\) expects values from 0 to 23, got 24 at units\[1\]"),
        ({"units": [0, 1]}, ShapeError, "one unit per time, got 3 and 2"),
        ({"offsets": [0, 2], "labels": [1]}, DataError, r"offsets=...\) must rise from 0 to the number of events, 3"),
        ({"offsets": [0, 2, 1, 3], "labels": [1, 0, 0]}, DataError, "must rise from 0"),
        ({"labels": [0]}, ShapeError, r"expects 2 labels, one fewer than offsets, got 1"),
        ({"labels": [0, -1]}, DataError, r"got -1 at labels\[1\]"),
        ({"groups": [0]}, ShapeError, "expects 2 groups"),
        ({"size": (0,)}, ShapeError, "expects positive sizes"),
    ],
)
def test_events_refuse(changes, error, message):
    given_events = {"times": [4, 1, 2], "units": [0, 5, 1], "offsets": [0, 1, 3], "labels": [1, 0], "size": SIZE}
    Events(**given_events)
    with pytest.raises(error, match=message):
        Events(**(given_events | changes))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"bin_us": 0.5}, "whole number of microseconds, got 0.5"),
        ({"bin_us": 0}, "whole number of microseconds, got 0"),
        ({"padding": "some"}, "one of after_last_event, none, got 'some'"),
        ({"steps": -1}, "must be at least 1, got -1"),
    ],
)
def test_an_event_split_refuses(changes, message):
    with pytest.raises(DataError, match=message):
        EventSplit(some(), **({"bin_us": 1000} | changes))


def test_a_batch_that_no_index_reaches_is_refused():
    with pytest.raises(ShapeError, match=r"\(1000000, 4, 24\)|more than 2\^31"):
        EventSplit(some(), 1000, 10**8).trials().batch(jnp.arange(4))


# Data sets


def test_a_data_set_of_events_has_one_length_and_says_what_is_outside(caplog):
    train, test = some(9), some(4, seed=1, longest=14_500)
    data = event_dataset("a", {"train": train, "test": test}, tuple("abc"), bin_ms=1.0, pool=1)
    assert data.n_steps == 15 and data.train.shape == data.test.shape and not caplog.records
    short = event_dataset("a", {"train": train, "test": test}, tuple("abc"), bin_ms=1.0, steps=10)
    assert short.n_steps == 10
    outside = (test.times >= 10_000).sum()
    assert [record.getMessage() for record in caplog.records] == [
        f"data.steps=10: {outside} of {len(test.times)} events for test fall after the last step."
    ]
    kept, held = split_validation(data.train, 0.34, 0)
    assert sorted([*kept.y, *held.y]) == sorted(train.labels) and len(held) == 3
    for changes, message in (
        ({"bin_ms": 0.0003}, "bin_ms=0.0003 must be a whole number of microseconds"),
        ({"steps": 0}, "data.steps=0 must be at least 1"),
    ):
        with pytest.raises(DataError, match=message):
            event_dataset("a", {"train": train, "test": test}, tuple("abc"), **({"bin_ms": 1.0} | changes))
    with pytest.raises(DataError, match=r"Dataset\(train=...\) has label 2"):
        event_dataset("a", {"train": train, "test": test}, tuple("ab"), bin_ms=1.0)
    with pytest.raises(DataError, match="has no split `test`, only train"):
        event_dataset("a", {"train": train}, tuple("abc"), bin_ms=1.0)


def test_a_validation_set_of_its_own_is_checked_like_the_others():
    data = event_dataset("a", {s: some(6) for s in ("train", "test", "validation")}, tuple("abc"), bin_ms=1.0)
    assert len(data.validation) == 6
    with pytest.raises(ShapeError, match=r"Dataset\(train=..., validation=...\) expects the same \(T, C\)"):
        Dataset("a", data.train, data.test, data.classes, EventSplit(some(), 500))


def test_events_of_ones_own_come_back_from_a_file(tmp_path):
    splits = {"train": some(), "test": some(3, seed=2)}
    save_events(tmp_path / "own.npz", splits, ("a", "b", "c"))
    read, classes = read_events(tmp_path / "own.npz")
    assert classes == ("a", "b", "c") and read.keys() == splits.keys()
    for side, events in splits.items():
        for name in ("times", "units", "offsets", "labels", "groups"):
            np.testing.assert_array_equal(getattr(read[side], name), getattr(events, name))
        assert read[side].size == SIZE
    data = load_events(str(tmp_path / "own.npz"), bin_ms=1.0)
    assert data.name == "own" and data.n_channels == 24
    content = (tmp_path / "own.npz").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
        (tmp_path / "bad.npz").write_bytes(damaged)
        try:
            read_events(tmp_path / "bad.npz")  # a flipped bit of a date changes nothing
        except DataError as error:
            assert "bad.npz" in str(error) and "\n" not in str(error)
    np.savez(tmp_path / "bad.npz", times_train=np.zeros(1, int))
    with pytest.raises(DataError, match="lacks units_train, offsets_train, labels_train, size_train"):
        read_events(tmp_path / "bad.npz")
    np.savez(tmp_path / "bad.npz", times_train=np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match="bad.npz is not a readable .npz: Object arrays cannot be loaded"):
        read_events(tmp_path / "bad.npz")


# The cache


def test_the_cache_gives_what_was_parsed_and_never_something_stale(tmp_path, monkeypatch):
    monkeypatch.setenv("SPIKETRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "LEAST", 0)
    source, parsed = tmp_path / "a.h5", []

    def parse(seed):
        parsed.append(seed)
        return {"train": some(seed=seed)}, ("a", "b", "c")

    def of(seed, **parameters):
        splits, classes = cache.cached([source], {"reader": "test", **parameters}, lambda: parse(seed))
        assert classes == ("a", "b", "c") and splits["train"].times.tolist() == some(seed=seed).times.tolist()

    source.write_bytes(b"one")
    of(1), of(1)
    assert parsed == [1]
    before = os.stat(source)
    source.write_bytes(b"two")
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))  # as old and as large, but another content
    of(2), of(2)
    assert parsed == [1, 2]
    of(3, units=9), of(3, units=9)
    assert parsed == [1, 2, 3]
    monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    of(4)
    assert parsed == [1, 2, 3, 4]
    files = sorted((tmp_path / "cache" / "events").glob("*"))
    assert len(files) == 4 and all(file.suffix == ".npz" for file in files)
    for file in files:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    of(5), of(5)
    assert parsed == [1, 2, 3, 4, 5]
    monkeypatch.setattr(cache, "LIMIT", 2 * len(content))
    of(6, units=1)
    assert 1 <= len(list((tmp_path / "cache" / "events").glob("*"))) <= 3
    of(6, units=1)
    assert parsed[-1] == 6 and len(parsed) == 6
    monkeypatch.setenv("SPIKETRAIN_CACHE", "off")
    of(7)
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("SPIKETRAIN_CACHE", str(tmp_path / "file"))
    of(8)
    assert parsed[-2:] == [7, 8]
