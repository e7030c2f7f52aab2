"""Data that stay on disk: the same trials, to the bit, as data in memory; never more of them than batches at a time."""

import io
import multiprocessing
import os
import pickle
import signal
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest
from event_files import write_hdf5
from hypothesis import given
from hypothesis import strategies as some

import spiketrain as st
from spiketrain.data import cache, growing
from spiketrain.data.archive import map_arrays, read_arrays
from spiketrain.data.event_npz import map_events, read_events
from spiketrain.data.event_split import EventSplit
from spiketrain.data.events import Events
from spiketrain.data.events_on_disk import EventsOnDisk
from spiketrain.data.npz import load_npz
from spiketrain.data.speech import load_spoken_digits
from spiketrain.errors import DataError, TrainingError
from spiketrain.training import read_ahead, run
from spiketrain.training.epochs import Epochs

from runs import small, write_data

pytestmark = pytest.mark.usefixtures("one_ms")


def events_of(trials, seed, channels=12):
    """Return trials of two classes that differ in which channels fire, of up to 40 ms; some are silent."""
    rng, y = np.random.default_rng(seed), np.arange(trials) % 2
    counts = rng.integers(0, 30, trials)
    half = channels // 2
    made = [
        (rng.uniform(0, 40_000, n), rng.integers(0, half, n) + half * label) for n, label in zip(counts, y, strict=True)
    ]
    return Events.of_trials(made, y, (channels,), groups=y + 5)


@pytest.fixture
def files(tmp_path):
    """Return the paths of the same kinds of trials as dense arrays and as events."""
    write_data(tmp_path / "dense.npz")
    st.save_events(tmp_path / "events.npz", {"train": events_of(24, 0), "test": events_of(10, 1)}, ("left", "right"))
    return {"npz": tmp_path / "dense.npz", "events": tmp_path / "events.npz"}


def config(kind, path, *, stream, **changes):
    data = {"name": kind, "path": str(path), "stream": stream}
    return small(None, data=data | ({"bin_ms": 1.0} if kind == "events" else {}), **changes)


def values(trainer):
    """Return the leaves of a run, the seeds of its random numbers aside, which are equal by construction."""
    return [np.asarray(x) for x in trainer.leaves if not jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)]


def assert_same(one, other):
    for ours, theirs in zip(values(one), values(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("kind", "buckets"), [("npz", None), ("events", 2)])
def test_a_streamed_run_is_the_run_in_memory_to_the_bit(files, kind, buckets):
    pytest.importorskip("grain", reason="pip install 'spiketrain[stream]'")
    runs = []
    for stream in (False, True):
        trainer = run.make_trainer(config(kind, files[kind], stream=stream, trainer__length_buckets=buckets), None)
        assert trainer.splits["train"].streams == stream
        runs.append((trainer, trainer.fit()))
    (memory, expected), (streamed, result) = runs
    assert_same(streamed, memory)
    assert result["test"] == expected["test"] and result["validation"] == expected["validation"]
    assert streamed.step == 8


def test_processes_read_what_a_thread_reads_and_end_with_the_run(files):
    pytest.importorskip("grain", reason="pip install 'spiketrain[stream]'")
    runs = []
    for workers in (0, 2):
        made = config("events", files["events"], stream=True, trainer__workers=workers, trainer__epochs=2)
        trainer = run.make_trainer(made, None)
        runs.append((trainer, trainer.fit()))
        assert not multiprocessing.active_children()
    assert_same(runs[0][0], runs[1][0])
    assert runs[0][1]["test"] == runs[1][1]["test"]


def test_a_process_that_dies_ends_the_run_with_a_message(files):
    pytest.importorskip("grain", reason="pip install 'spiketrain[stream]'")
    split = run.make_trainer(config("events", files["events"], stream=True), None).splits["train"]
    reader = read_ahead.BatchReader(split, 5, [np.arange(5)] * 1000)
    ahead = read_ahead.ReadAhead(reader, workers=1)
    ahead.at(0)
    (child,) = multiprocessing.active_children()
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(TrainingError, match=r"batch \d+ could not be read ahead"):
        for i in range(1, 1000):
            ahead.at(i)
    ahead.close()


def test_a_streamed_run_continues_in_the_middle_of_an_epoch(files, tmp_path):
    pytest.importorskip("grain", reason="pip install 'spiketrain[stream]'")
    made = config("events", files["events"], stream=True, trainer__save_every_steps=2)
    whole = run.make_trainer(made, None)
    whole.fit()
    first = run.make_trainer(made, tmp_path / "run")
    took = first._take_step

    def take_some():
        if first.step == 5:
            raise KeyboardInterrupt
        took()

    first._take_step = take_some
    with pytest.raises(KeyboardInterrupt):
        first.fit()
    second = run.make_trainer(made, tmp_path / "run")
    second.resume()
    assert second.step == 4
    second.fit()
    assert_same(second, whole)


def test_only_the_trials_of_a_batch_are_read_and_none_stay(files, monkeypatch):
    pytest.importorskip("grain", reason="pip install 'spiketrain[stream]'")
    read, in_memory = [], EventsOnDisk.in_memory
    monkeypatch.setattr(EventsOnDisk, "in_memory", lambda self: read.append(len(self)) or in_memory(self))
    trainer = run.make_trainer(config("events", files["events"], stream=True, trainer__eval_batch_size=5), None)
    before = {id(array) for array in jax.live_arrays()}
    trainer.fit()
    assert read and max(read) == 7
    room = trainer.splits["train"].room(7)
    held = [array for array in jax.live_arrays() if id(array) not in before and array.dtype == np.int32]
    assert max(array.size for array in held) <= room.of_all < events_of(24, 0).counts.sum()


def test_the_batch_of_a_loss_that_is_not_finite_is_kept_with_its_places(files, tmp_path):
    pytest.importorskip("grain", reason="pip install 'spiketrain[stream]'")
    parts = dict(np.load(files["npz"]))
    parts["x_train"][:, 0] = np.where(np.arange(3) % 2, 3e38, -3e38)
    np.savez(tmp_path / "large.npz", **parts)
    trainer = run.make_trainer(config("npz", tmp_path / "large.npz", stream=True), tmp_path / "run")
    with pytest.raises(TrainingError, match="is not finite in step 1"):
        trainer.fit()
    saved = np.load(tmp_path / "run" / "not_finite.npz")
    np.testing.assert_array_equal(saved["rows"], trainer.epochs.rows(0))
    np.testing.assert_array_equal(saved["x"], trainer.splits["train"].take(saved["rows"]).dense().x)


def test_an_ensemble_does_not_stream(files):
    with pytest.raises(TrainingError, match=r"Members of an ensemble take different trials, and data\.stream"):
        run.make_trainer(config("events", files["events"], stream=True, ensemble=2), None)


def test_workers_without_data_that_stream_are_refused(files):
    with pytest.raises(TrainingError, match=r"trainer\.workers=2 read data that stream, and these are in memory"):
        run.make_trainer(config("npz", files["npz"], stream=False, trainer__workers=2), None).fit()


def test_without_grain_the_error_says_what_to_install(files, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "grain", None)
    trainer = run.make_trainer(config("events", files["events"], stream=True), None)
    with pytest.raises(DataError, match=r"pip install 'spiketrain\[stream\]'"):
        trainer.fit()


@given(
    seed=some.integers(0, 2**16),
    rows=some.lists(some.integers(0, 8), min_size=1, max_size=12),
    late=some.integers(0, 40_000),
)
def test_events_on_disk_are_the_events(tmp_path_factory, seed, rows, late):
    path = tmp_path_factory.mktemp("events") / "a.npz"
    st.save_events(path, {"train": events_of(9, seed)}, ("left", "right"))
    (memory, _), (disk, _) = read_events(path), map_events(path)
    whole, all_of_it = disk["train"], memory["train"]
    pairs = [(whole, all_of_it), (whole.take(rows), all_of_it.take(rows))]
    for ours, expected in [*pairs, *((a.pooled(3).pooled(2), b.pooled(6)) for a, b in pairs)]:
        read = pickle.loads(pickle.dumps(ours)).in_memory()
        for name in ("times", "units", "offsets", "labels", "groups", "counts", "durations"):
            np.testing.assert_array_equal(getattr(read, name), getattr(expected, name))
            assert getattr(read, name).dtype == getattr(expected, name).dtype
        for name in ("labels", "groups", "counts", "durations"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(expected, name))
        assert ours.size == read.size == expected.size and len(ours) == len(expected)
        assert ours.after(late) == expected.after(late) == (expected.times >= late).sum()


def test_a_thread_that_reads_ahead_changes_no_row_that_another_asks_for():
    epochs = Epochs(np.full(12, 5), batch_size=4, seed=3, buckets=None)
    wanted = [np.asarray(epochs.order(step // 3)[0])[step % 3 * 4 :][:4] for step in range(60)]

    def differ(ahead):
        return sum(not np.array_equal(epochs.rows(s + ahead), wanted[s + ahead]) for _ in range(5) for s in range(56))

    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(differ, [0, 2, 4])) == 0


@given(seed=some.integers(0, 2**16), trials=some.integers(1, 20))
def test_room_is_enough_for_any_trials_in_turn(seed, trials):
    split = EventSplit(events_of(9, seed), 1000)
    room = split.room(trials)
    rows = np.concatenate([np.random.default_rng(seed).permutation(9) for _ in range(3)])[:trials]
    counts = split.take(rows).events.counts
    assert room.of_all >= counts.sum() and room.of_one >= counts.max()
    most = np.argsort(-split.events.counts)[np.arange(trials) % 9]
    assert room.of_all == split.take(most).events.counts.sum()


def test_arrays_that_are_filled_up_are_the_same_batch():
    split = EventSplit(events_of(9, 0), 1000)
    part, at = split.take([4, 1, 7]), np.arange(3)
    filled, own = part.trials(split.room(3)), part.trials()
    assert filled.times.size == split.room(3).of_all > own.times.size
    for name, array in filled.batch(at).items():
        np.testing.assert_array_equal(array, own.batch(at)[name])


def test_events_that_are_collected_in_a_file_are_the_same(monkeypatch):
    expected = events_of(40, 3)
    monkeypatch.setattr(growing, "SPILL", 64)
    monkeypatch.setattr("spiketrain.data.events.PIECE", 7)
    collected = events_of(40, 3)
    assert isinstance(collected.times.base, np.memmap) and isinstance(collected.units.base, np.memmap)
    for name in ("times", "units", "offsets", "labels", "groups"):
        np.testing.assert_array_equal(getattr(collected, name), getattr(expected, name))


def test_a_full_disk_for_what_is_collected_is_said(monkeypatch):
    class Full(io.BytesIO):
        def write(self, content):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(growing.tempfile, "SpooledTemporaryFile", lambda size: Full())
    with pytest.raises(DataError, match="No space left on device. TMPDIR=FOLDER uses another folder"):
        events_of(4, 0)


OF_TWO = int(events_of(2, 1).offsets[-1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offsets_train": np.array([0, 5, 3])}, r"offsets=...\) must rise from 0"),
        ({"labels_train": np.array([0, 1, 0])}, "not one label for each trial"),
        ({"units_train": np.zeros(3, np.uint8)}, "not one label for each trial, or not one unit for each time"),
        ({"labels_train": np.array([0.5, 1])}, r"labels=...\) expects integers, got dtype float64"),
        ({"times_train": np.array(3)}, "not one label for each trial, or not one unit for each time"),
        ({"size_train": None}, "lacks size_train"),
        ({"size_train": np.array([np.inf])}, "arrays of train: cannot convert float infinity to integer"),
        ({"dropped_train": np.array(np.inf)}, "arrays of train: cannot convert float infinity to integer"),
        ({"offsets_train": np.array([0, 0.5, OF_TWO])}, "arrays of train: Cannot cast array data from dtype"),
        ({"offsets_train": np.array([0, 2**64 - 2, OF_TWO], np.uint64)}, r"offsets=...\) must rise from 0"),
        (
            {"offsets_train": np.array([0, 2**62, -(2**63), -(2**62), OF_TWO]), "labels_train": np.zeros(4, int)},
            r"offsets=...\) must rise from 0",  # the differences, wrapped around, are positive
        ),
        ({"times_train": np.zeros(OF_TWO)}, "arrays of train: Cannot cast array data from dtype"),
    ],
)
def test_what_is_wrong_with_trials_on_disk_is_said_when_they_are_opened(tmp_path, changes, message):
    events = events_of(2, 1)
    arrays = {f"{name}_train": getattr(events, name) for name in ("times", "units", "offsets", "labels", "size")}
    arrays |= changes
    np.savez(tmp_path / "a.npz", **{name: a for name, a in arrays.items() if a is not None})
    with pytest.raises(DataError, match=message):
        map_events(tmp_path / "a.npz")


def test_what_is_wrong_with_an_event_on_disk_is_said_when_it_is_read(tmp_path):
    events = events_of(6, 1)
    arrays = {f"{name}_train": getattr(events, name) for name in ("times", "units", "offsets", "labels", "size")}
    wrong = int(events.offsets[4])
    arrays["units_train"] = events.units.copy()
    arrays["units_train"][wrong] = 99
    np.savez(tmp_path / "a.npz", **arrays)
    (splits, _) = map_events(tmp_path / "a.npz")
    splits["train"].take([0, 1, 2]).in_memory()
    with pytest.raises(DataError, match=r"a\.npz, arrays of train, among the 2 trials from 4: .*got 99 at units\[0\]"):
        splits["train"].take([4, 5]).in_memory()


def test_dense_trials_on_disk_are_refused_as_those_in_memory(files, tmp_path):
    parts = dict(np.load(files["npz"]))
    parts["x_train"][3, 0] = np.nan
    np.savez(tmp_path / "nan.npz", **parts)
    data = load_npz(str(tmp_path / "nan.npz"), stream=True)
    assert data.train.take([0, 1]).dense().x.shape == (2, 8, 3)
    with pytest.raises(DataError, match=r"array x_train, among the 2 trials from 3: .*finite"):
        data.train.take([3, 4]).dense()
    parts["lengths_train"] = parts["lengths_train"] * 0
    np.savez(tmp_path / "nan.npz", **parts)
    with pytest.raises(DataError, match="expects values from 1 to 8"):
        load_npz(str(tmp_path / "nan.npz"), stream=True)


def test_a_compressed_or_damaged_file_is_not_mapped(files, tmp_path):
    expected = read_arrays(files["npz"], "")
    for name, array in map_arrays(files["npz"], "").items():
        np.testing.assert_array_equal(array, expected[name])
    np.savez_compressed(tmp_path / "small.npz", **expected)
    with pytest.raises(DataError, match="is compressed, as np.savez_compressed writes it"):
        map_arrays(tmp_path / "small.npz", "")
    np.savez(tmp_path / "objects.npz", x=np.array([{}], object))
    with pytest.raises(DataError, match="holds object"):
        map_arrays(tmp_path / "objects.npz", "")
    with pytest.raises(DataError, match="does not exist. Write it"):
        map_arrays(tmp_path / "none.npz", "Write it.")


@given(at=some.integers(0, 2**20), cut=some.booleans())
def test_any_damage_to_a_mapped_file_is_an_error_or_harmless(tmp_path_factory, at, cut):
    folder = tmp_path_factory.mktemp("damaged")
    st.save_events(folder / "a.npz", {"train": events_of(4, 2)}, ("left", "right"))
    content = bytearray((folder / "a.npz").read_bytes())
    at %= len(content)
    content = content[:at] if cut else content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :]
    (folder / "a.npz").write_bytes(content)
    try:
        for events in map_events(folder / "a.npz")[0].values():
            events.in_memory()
    except DataError:
        pass  # the only error there is


REFUSED = "was removed or written again while it is being read"


def test_a_file_that_is_written_again_is_not_read_on(files):
    (splits, _) = map_events(files["events"])
    sent = pickle.dumps(splits["train"])
    assert len(pickle.loads(sent)) == 24
    st.save_events(files["events"], {"train": events_of(24, 8), "test": events_of(10, 9)})
    with pytest.raises(DataError, match=REFUSED):
        pickle.loads(sent)
    kept = splits["train"].in_memory()  # the file that was opened is there as long as it is open
    np.testing.assert_array_equal(kept.times, events_of(24, 0).times)
    files["events"].unlink()
    with pytest.raises(DataError, match=REFUSED):
        pickle.loads(sent)


def test_a_file_that_is_written_in_place_is_refused_however_long_it_is(files):
    for path in files.values():
        os.utime(path, ns=(10**18, 10**18))
    dense, events = load_npz(str(files["npz"]), stream=True).train, map_events(files["events"])[0]["train"]
    for split, path, read in ((dense, files["npz"], dense.dense), (events, files["events"], events.in_memory)):
        read()
        sent, content = pickle.dumps(split), path.read_bytes()
        path.write_bytes(content)
        for _ in range(2):
            with pytest.raises(DataError, match=f"^{path} {REFUSED}"):
                read()
            with pytest.raises(DataError, match=f"^{path} {REFUSED}"):
                pickle.loads(sent)
            os.truncate(path, 1000)  # where a file that is mapped would end the process


def test_a_disk_that_fails_is_an_error_that_names_the_file(files, monkeypatch):
    def fail(*_):
        raise OSError(5, "Input/output error")

    events = map_events(files["events"])[0]["train"]
    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(DataError, match=r"events\.npz cannot be read: \[Errno 5\] Input/output error"):
        events.in_memory()


@pytest.mark.parametrize("read", [read_arrays, map_arrays])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "a.npz")
    with pytest.raises(DataError, match=r"a\.npz .*it is no regular file\. Write it"):
        read(tmp_path / "a.npz", "Write it.")


def test_a_new_file_may_be_read_by_whoever_may_read_any_new_file(tmp_path):
    (tmp_path / "any").touch()
    st.save_events(tmp_path / "a.npz", {"train": events_of(2, 0)})
    assert os.stat(tmp_path / "a.npz").st_mode == os.stat(tmp_path / "any").st_mode
    assert len(list(tmp_path.iterdir())) == 2


# What is kept


MANY = 400  # trials, of more bytes than zipfile compares by itself when it opens an array


class Kept:
    """A source of events in a folder, and the cache of what is parsed from it."""

    def __init__(self, folder):
        self.source, self.folder, self.parsed = folder / "source", folder / "cache" / "events", 0
        self.source.write_bytes(b"5")

    def parse(self):
        self.parsed += 1
        return {"train": events_of(MANY, int(self.source.read_bytes()))}, ("left", "right")

    def get(self, parse=None, *, stream=True):
        """Return the events of the source, parsed or kept."""
        splits, _ = cache.cached([self.source], {"reader": "test"}, parse or self.parse, stream=stream)
        return splits["train"]

    @property
    def file(self):
        (file,) = self.folder.iterdir()
        return file


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("SPIKETRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "LEAST", 0)
    return Kept(tmp_path)


def assert_events(events, seed):
    np.testing.assert_array_equal(events.in_memory().times, events_of(MANY, seed).times)


def test_a_run_that_finds_what_is_kept_does_not_disturb_one_that_streams_from_it(kept):
    streamed = kept.get()
    sent = pickle.dumps(streamed)
    os.utime(kept.file, ns=(0, os.stat(kept.file).st_mtime_ns))
    for stream in (True, False):
        assert_events(kept.get(stream=stream), 5)
    assert os.stat(kept.file).st_atime_ns > 0  # by which the least recently used is told
    assert_events(streamed, 5), assert_events(pickle.loads(sent), 5)
    assert kept.parsed == 1


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_of_two_runs_that_keep_the_same_the_second_uses_the_file_of_the_first(kept, monkeypatch, links):
    def no_links(*_):
        raise PermissionError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    first = []

    def parse_meanwhile():
        first.append(kept.get())
        return kept.parse()

    second = kept.get(parse_meanwhile)
    assert kept.parsed == 2
    for events in (*first, second):
        assert_events(pickle.loads(pickle.dumps(events)), 5)
    assert kept.file.stat().st_nlink == 1


@pytest.mark.parametrize("stream", [True, False])
def test_a_flipped_bit_in_what_is_kept_is_noticed_and_it_is_made_again(kept, stream):
    expected = kept.get().in_memory()
    content = bytearray(kept.file.read_bytes())
    content[content.index(expected.times[-4:].tobytes())] ^= 1  # still a time, and in order or not
    kept.file.write_bytes(content)
    for _ in range(2):
        assert_events(kept.get(stream=stream), 5)
    assert_events(kept.get(), 5)
    assert kept.parsed == 2


@pytest.mark.parametrize("stream", [True, False])
def test_a_source_that_changes_while_it_is_parsed_is_not_kept(kept, stream, caplog):
    def parse_late():
        kept.source.write_bytes(b"6")
        return kept.parse()

    if stream:
        with pytest.raises(DataError, match="data.stream: .*source, or one beside it, was written again while it"):
            kept.get(parse_late)
    else:
        assert_events(kept.get(parse_late, stream=False), 6)
        assert "Parsed events are not kept" in caplog.text
    assert not kept.folder.exists()
    kept.source.write_bytes(b"5")
    assert_events(kept.get(stream=stream), 5)


def test_a_cache_that_is_only_to_be_read_is_read(kept, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    kept.get()
    monkeypatch.setattr(os, "utime", refuse)
    assert_events(kept.get(), 5), assert_events(kept.get(stream=False), 5)
    assert kept.parsed == 1


def test_only_what_the_cache_has_made_is_removed_from_it(kept, monkeypatch):
    kept.get()
    oldest = kept.file
    names = ("mine.npz", f"{'0' * 40}.txt", f"{'0' * 39}.npz", ".mine.npz.0123.tmp")
    own = [kept.folder / name for name in names]
    new, old = (kept.folder / f".{'0' * 40}.npz.{n}.tmp" for n in ("0123", "4567"))
    for path in (*own, old, new):
        path.write_bytes(bytes(1000))
    for path in (*own, old, oldest):
        os.utime(path, (1, 1))
    monkeypatch.setattr(cache, "LIMIT", 1)
    kept.source.write_bytes(b"6")
    assert_events(kept.get(), 6)
    assert all(path.exists() for path in (*own, new))
    assert not oldest.exists() and not old.exists()


def test_a_source_that_is_a_pipe_is_refused_and_not_waited_for(kept):
    kept.source.unlink()
    os.mkfifo(kept.source)
    with pytest.raises(DataError, match="source cannot be read: it is no regular file"):
        kept.get()


def test_speech_is_read_from_where_its_events_are_kept(tmp_path, monkeypatch):
    pytest.importorskip("h5py", reason="pip install 'spiketrain[hdf5]'")
    rng = np.random.default_rng(0)
    for side, n in (("train", 12), ("test", 4)):
        trials = [(np.sort(rng.uniform(0, 0.79, 20)), rng.integers(0, 64, 20)) for _ in range(n)]
        write_hdf5(tmp_path / f"fsdd_{side}.h5", trials, np.arange(n) % 2, speakers=np.arange(n) % 3, keys=["0", "1"])
    monkeypatch.setenv("SPIKETRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "LIMIT", 1)  # what streams stays, whatever its size
    for _ in range(2):
        streamed = load_spoken_digits(str(tmp_path), pool=2, validation_speaker=1, stream=True)
        expected = load_spoken_digits(str(tmp_path), pool=2, validation_speaker=1)
        for name in ("train", "validation", "test"):
            ours, theirs = getattr(streamed, name), getattr(expected, name)
            assert ours.streams and not theirs.streams and ours.shape == theirs.shape
            np.testing.assert_array_equal(ours.dense().x, theirs.dense().x)
            np.testing.assert_array_equal(ours.lengths, theirs.lengths)
        assert len(list((tmp_path / "cache" / "events").iterdir())) == 1
    with pytest.raises(DataError, match=r"Write `data\.stream=false`"):
        load_spoken_digits(str(tmp_path), held_out_speaker=1, stream=True)
    (tmp_path / "full").write_text("a file where the folder should be")
    monkeypatch.setenv("SPIKETRAIN_CACHE", str(tmp_path / "full"))
    with pytest.raises(DataError, match=r"data\.stream: events cannot be kept"):
        load_spoken_digits(str(tmp_path), stream=True)
    monkeypatch.setenv("SPIKETRAIN_CACHE", "off")
    with pytest.raises(DataError, match="SPIKETRAIN_CACHE=off keeps nothing"):
        load_spoken_digits(str(tmp_path), stream=True)
