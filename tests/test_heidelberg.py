"""Files of the Heidelberg data sets as they are found: damaged, with names for speakers, not belonging together."""

import numpy as np
import pytest
from event_files import write_hdf5

from spiketrain.data.event_dataset import load_events
from spiketrain.data.event_npz import map_events, read_events, save_events
from spiketrain.data.events import Events
from spiketrain.data.hdf5 import read_hdf5
from spiketrain.data.hdf5_heaps import MARK, check_heaps
from spiketrain.data.inspection import inspect
from spiketrain.data.speech import load_shd, load_spoken_digits, read_speech
from spiketrain.errors import DataError

TRIALS = [([0.01 * (k + 1) for k in range(n)], list(range(n))) for n in (5, 3, 7, 4)]
LABELS = [0, 1, 0, 1]
NAMED = ["0a7c2a8d", "ffd2ba2f", "0a7c2a8d", "5e3dde6b"]


@pytest.fixture(scope="module")
def h5py():
    return pytest.importorskip("h5py", reason="pip install 'spiketrain[hdf5]'")


def write(path, h5py, *, trials=TRIALS, labels=LABELS, **replaced):
    """Write a file in the layout, with `extra/NAME` as given."""
    write_hdf5(path, trials, labels, dtype=np.float32)
    with h5py.File(path, "a") as file:
        for name, value in replaced.items():
            file[f"extra/{name}"] = value
    return path


# Trials


@pytest.mark.parametrize(
    "trials, trial",
    [
        ([([1, 2, 3], [0, 1]), ([4, 5], [2, 3, 4])], 0),  # totals agree
        ([([1, 2], [0, 1]), ([4.0, 5.0, np.nan], [2, 3])], 1),
        ([([3, 2, 1], [0, 1])], 0),
        ([([[1, 2]], [[0, 1]])], 0),
        ([(1, 2)], 0),
    ],
)
def test_a_trial_has_one_unit_for_each_time(trials, trial):
    with pytest.raises(
        DataError, match=rf"^Events, trial {trial}: expects a unit for each time, on one axis, got times"
    ):
        Events.of_trials(trials, [0] * len(trials), (5,))


# Global heaps


def objects(content, at):
    """Return the bytes at which the objects of the collection at `at` begin, the free space as the last."""
    end, places = at + int.from_bytes(content[at + 8 : at + 16], "little"), []
    at += 16
    while at + 16 <= end:
        places.append(at)
        index, size = (int.from_bytes(content[at + a : at + b], "little") for a, b in ((0, 2), (8, 16)))
        at += 16 + -(-size // 8) * 8 if index else size
    return places


@pytest.mark.parametrize("size", [0, 8, 2**16, 2**40, 2**63, 2**64 - 16, 2**64 - 1])
def test_a_size_in_a_global_heap_that_is_damaged_is_no_endless_loop(tmp_path, h5py, size):
    path, bad = write(tmp_path / "a.h5", h5py), tmp_path / "bad.h5"
    content = path.read_bytes()
    places = objects(content, content.index(MARK))
    assert len(places) == 9 and not any(content[places[-1] :][:2])
    for at in places:
        bad.write_bytes(content[: at + 8] + size.to_bytes(8, "little") + content[at + 16 :])
        if size >= 2**16 or at == places[-1]:
            with pytest.raises(DataError, match=rf"bad\.h5, byte {at}: the sizes in a global heap.*do not add up"):
                read_hdf5(bad)
        elif content[at + 8 : at + 16] != size.to_bytes(8, "little"):
            with pytest.raises(DataError, match=r"bad\.h5"):
                read_hdf5(bad)


def test_a_collection_within_another_is_refused(tmp_path):
    def collection(size, content):
        return MARK + bytes(3) + size.to_bytes(8, "little") + content.ljust(size - 16, b"\0")

    def sized(index, size, content=b""):
        return index.to_bytes(8, "little") + size.to_bytes(8, "little") + content

    inner = collection(4096, sized(0, 4080))
    path = tmp_path / "a.h5"
    for first, refused in ((collection(8192, sized(1, 4096, inner) + sized(0, 4064)), True), (inner + inner, False)):
        path.write_bytes(b"head" + first)
        if refused:
            with pytest.raises(DataError, match=rf"a\.h5, byte {4 + 32}: "):
                check_heaps(path, 8)
        else:
            check_heaps(path, 8)


@pytest.mark.parametrize("lengths", [2, 4, 8])
@pytest.mark.parametrize("user_block", [0, 512])
@pytest.mark.parametrize("more", [{}, {"chunks": (3,)}, {"chunks": (3,), "compression": "gzip"}])
def test_valid_files_are_not_refused_wherever_their_heaps_lie(tmp_path, h5py, lengths, user_block, more):
    path = tmp_path / "a.h5"
    kind = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    kind.set_sizes(8, lengths)
    kind.set_userblock(user_block)
    with h5py.File(h5py.h5f.create(bytes(path), h5py.h5f.ACC_TRUNC, kind)) as file:
        file["five_bytes"] = np.frombuffer(MARK, np.uint8)  # the heaps that follow begin at an odd byte
        for name, column, dtype in (("times", 0, "f4"), ("units", 1, "u2")):
            array = file.create_dataset(f"spikes/{name}", (4,), h5py.vlen_dtype(dtype), **more)
            for i, trial in enumerate(TRIALS):
                array[i] = np.asarray(trial[column], dtype)
        file["labels"], file["extra/keys"] = LABELS, np.array([b"zero", b"one"])
        for size in (4095, 2**20, 2**62):  # what looks like a collection, and cannot be one
            file[f"by_chance_{size}"] = np.frombuffer(MARK + bytes(3) + size.to_bytes(8, "little"), np.uint8)
    heap = MARK + bytes(3) + (4096).to_bytes(8, "little")
    assert path.read_bytes().index(heap) % 2 or more
    events, classes = read_hdf5(path)
    assert events.counts.tolist() == [5, 3, 7, 4] and classes == ("zero", "one")
    np.testing.assert_array_equal(events.units, np.concatenate([unit for _, unit in TRIALS]))


@pytest.mark.parametrize("chunks", [None, (3,)])
@pytest.mark.parametrize("name", ["spikes/times", "spikes/units", "extra/speaker"])
def test_a_row_that_says_it_is_longer_than_the_file_takes_no_memory(tmp_path, h5py, name, chunks):
    path = write(tmp_path / "a.h5", h5py, speaker=NAMED)
    with h5py.File(path, "a") as file:
        kind, rows = file[name].dtype, file[name][:]
        del file[name]
        array = file.create_dataset(name, (4,), kind, chunks=chunks)
        for i, row in enumerate(rows):
            array[i] = row
        at = (array.id.get_offset() if chunks is None else array.id.get_chunk_info(0).byte_offset) + 2 * 16
    content = bytearray(path.read_bytes())
    content[at + 3] = 0xC0
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.h5, /{name} row 2 \(byte {at}\): says that it has 32212\d+ entries"):
        read_hdf5(path)


def test_what_cannot_be_read_is_said_with_array_row_and_byte(tmp_path, h5py):
    path = write(tmp_path / "a.h5", h5py)
    with h5py.File(path) as file:
        at = file["spikes/times"].id.get_offset() + 2 * 16
    content = bytearray(path.read_bytes())
    content[at + 12 : at + 16] = (77).to_bytes(4, "little")  # the number of an object that the heap does not have
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.h5, /spikes/times row 2 \(byte {at}\): cannot be read: "):
        read_hdf5(path)
    write_hdf5(path, [([0.1], [7]), ([0.1], [700])], [0, 0])
    with pytest.raises(DataError, match=r"a\.h5, /spikes/times and /spikes/units: Events, trial 1: units must lie"):
        read_hdf5(path, 700)


def test_text_in_the_place_of_times_is_said(tmp_path, h5py):
    path = write(tmp_path / "a.h5", h5py)
    with h5py.File(path, "a") as file:
        del file["spikes/times"]
        file["spikes/times"] = ["a", "b", "c", "d"]
    with pytest.raises(DataError, match=r"a\.h5, /spikes/times: expects arrays of variable length, got dtype object"):
        read_hdf5(path)


# Labels and classes


@pytest.mark.parametrize("label", [2**16, 2**28, -1])
def test_a_label_does_not_decide_how_much_memory_is_taken(tmp_path, h5py, label):
    path = write(tmp_path / "a.h5", h5py)
    with h5py.File(path, "a") as file:
        del file["labels"]
        file["labels"] = np.array([0, 1, label, 1])
    with pytest.raises(DataError, match=rf"a\.h5, /labels row 2 \(byte \d+\): expects .* 0 to 65535, got {label}\."):
        read_hdf5(path)


def test_nor_does_one_in_events_of_your_own(tmp_path):
    path = tmp_path / "own.npz"
    save_events(path, {"train": Events.of_trials(TRIALS, LABELS), "test": Events.of_trials(TRIALS, LABELS)})
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | {"labels_test": np.array([0, 1, 2**28, 1], np.int32)})
    for read in (read_events, map_events):
        with pytest.raises(
            DataError, match=r"own\.npz, arrays of test: .*from 0 to 65535, got 268435456 at labels\[2\]"
        ):
            read(path)
    np.savez(path, **arrays | {"dropped_test": np.inf})
    with pytest.raises(DataError, match=r"own\.npz, arrays of test: cannot convert float infinity"):
        load_events(str(path))


@pytest.mark.parametrize(
    "train, test, expected",
    [
        ("ab", "ba", r"shd_train\.h5 and .*shd_test\.h5: extra/keys call class 0 'a' in one and 'b' in the other"),
        ("ab", "acd", r"shd_test\.h5 and .*shd_train\.h5: extra/keys call class 1 'c' in one and 'b' in the other"),
        ("abc", "ab", ("a", "b", "c")),
        ("ab", "abc", ("a", "b", "c")),
        (None, "ab", ("a", "b")),
        ("ab", None, ("a", "b")),
        (None, None, ("0", "1")),
    ],
)
def test_files_of_one_data_set_call_their_classes_alike(tmp_path, h5py, train, test, expected):
    for side, keys in (("train", train), ("test", test)):
        write(tmp_path / f"shd_{side}.h5", h5py, **({} if keys is None else {"keys": [k.encode() for k in keys]}))
    if isinstance(expected, tuple):
        assert load_shd(str(tmp_path)).classes == expected
    else:
        with pytest.raises(DataError, match=expected):
            load_shd(str(tmp_path))


# Speakers


@pytest.mark.parametrize(
    "speakers, groups",
    [
        (np.array([3, 0, 3, 12], np.uint8), [3, 0, 3, 12]),
        (np.array([s.encode() for s in NAMED]), [0, 2, 0, 1]),
        (NAMED, [0, 2, 0, 1]),  # of variable length
        (np.array([0.5, 2.0, 0.5, 1.0]), [0, 2, 0, 1]),
        (np.array([-1, 5, -1, 2**40]), [0, 2, 0, 1]),
        (np.array([True, False, True, False]), [1, 0, 1, 0]),
    ],
)
def test_speakers_of_any_kind_become_groups(tmp_path, h5py, speakers, groups):
    events, _ = read_hdf5(write(tmp_path / "a.h5", h5py, speaker=speakers))
    assert events.groups.tolist() == groups and events.groups.dtype == np.int32


@pytest.mark.parametrize("stream", [False, True])
def test_a_speaker_has_one_number_in_all_files(tmp_path, h5py, monkeypatch, stream):
    monkeypatch.setenv("SPIKETRAIN_CACHE", str(tmp_path / "cache"))
    write(tmp_path / "fsdd_train.h5", h5py, speaker=NAMED)
    write(tmp_path / "fsdd_test.h5", h5py, speaker=np.array([b"5e3dde6b", b"5e3dde6b", b"ffd2ba2f", b"bb05582b"]))
    splits, _ = read_speech("spoken_digits", str(tmp_path), stream)
    assert splits["train"].groups.tolist() == [0, 3, 0, 1] and splits["test"].groups.tolist() == [1, 1, 3, 2]
    split = load_spoken_digits(str(tmp_path), validation_speaker=3, stream=stream)
    assert (len(split.train), len(split.validation), len(split.test)) == (3, 1, 4)
    if not stream:
        fold = load_spoken_digits(str(tmp_path), held_out_speaker=1)
        assert (len(fold.train), len(fold.test)) == (5, 3)
    with pytest.raises(DataError, match=r"data.validation_speaker=2 leaves no trial.*There are the speakers 0, 1, 3\."):
        load_spoken_digits(str(tmp_path), validation_speaker=2, stream=stream)


def test_numbers_in_one_file_and_names_in_the_other_are_compared_as_text(tmp_path, h5py):
    write(tmp_path / "fsdd_train.h5", h5py, speaker=[7, 2, 7, 2])
    write(tmp_path / "fsdd_test.h5", h5py, speaker=["2", "jackson", "2", "jackson"])
    splits, _ = read_speech("spoken_digits", str(tmp_path))
    assert splits["train"].groups.tolist() == [1, 0, 1, 0] and splits["test"].groups.tolist() == [0, 2, 0, 2]


def test_a_fold_without_a_speaker_needs_speakers_in_both_files(tmp_path, h5py):
    write(tmp_path / "fsdd_train.h5", h5py, speaker=NAMED)
    write(tmp_path / "fsdd_test.h5", h5py)
    with pytest.raises(DataError, match=r"data.held_out_speaker=1: .*have no extra/speaker"):
        load_spoken_digits(str(tmp_path), held_out_speaker=1)


def test_names_that_point_at_the_same_bytes_take_no_more_memory_than_the_file(tmp_path, h5py):
    n = 400
    path = tmp_path / "a.h5"
    write(path, h5py, trials=[([0.1], [1])] * n, labels=[0] * n, speaker=["x" * 20_000] + ["y"] * (n - 1))
    with h5py.File(path) as file:
        at = file["extra/speaker"].id.get_offset()
    content = bytearray(path.read_bytes())
    content[at : at + n * 16] = content[at : at + 16] * n
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.h5, /extra/speaker row \d+ \(byte \d+\): the entries are larger than"):
        read_hdf5(path)


# Events without a finite time


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"stream": True},
        {"validation_speaker": 1},
        {"validation_speaker": 1, "stream": True},
        {"held_out_speaker": 1},
    ],
)
def test_what_is_left_out_is_said_once_for_each_file(tmp_path, h5py, monkeypatch, caplog, arguments):
    monkeypatch.setenv("SPIKETRAIN_CACHE", str(tmp_path / "cache"))
    lost = [([0.01, np.nan], [1, 2]), *TRIALS[1:]]
    for side, trials in (("train", lost), ("test", [*lost[:3], ([0.01, np.inf, np.nan], [1, 2, 3])])):
        write(tmp_path / f"fsdd_{side}.h5", h5py, trials=trials, speaker=[0, 1, 1, 0])
    for _ in range(2):  # the second time from what is kept
        caplog.clear()
        load_spoken_digits(str(tmp_path), **arguments)
        assert [record.getMessage() for record in caplog.records] == [
            f"{tmp_path / 'fsdd_train.h5'}: 1 events have no finite time and are left out.",
            f"{tmp_path / 'fsdd_test.h5'}: 3 events have no finite time and are left out.",
        ]
    caplog.clear()
    assert [part.dropped for part in inspect("spoken_digits", str(tmp_path))] == [1, 3] and not caplog.records
