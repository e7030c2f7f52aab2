"""Readers of event files: what was written is read, no event is lost, damage is one error that says where."""

import builtins
import os
import struct
from itertools import count

import numpy as np
import pytest
from event_files import (
    aedat2_bytes,
    aedat3_bytes,
    aedat3_packet,
    bin_bytes,
    dat_bytes,
    write_gesture,
    write_hdf5,
)
from hypothesis import given
from hypothesis import strategies as st

from spiketrain.data.aedat import read_aedat
from spiketrain.data.atis_bin import read_bin
from spiketrain.data.event_dataset import event_dataset
from spiketrain.data.event_split import EventSplit
from spiketrain.data.events import Events
from spiketrain.data.gesture import load_gesture, read_gesture, read_windows
from spiketrain.data.hdf5 import read_hdf5
from spiketrain.data.prophesee import read_dat
from spiketrain.data.recordings import load_nmnist, load_recordings, read_recording, read_recordings
from spiketrain.data.speech import load_shd, load_spoken_digits, load_ssc
from spiketrain.errors import DataError

SIZE = (2, 34, 34)


def recording(n=12, seed=0, height=34, width=34, longest=300_000):
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(0, longest, n))
    return times, rng.integers(0, width, n), rng.integers(0, height, n), rng.integers(0, 2, n)


def units(x, y, p, size):
    return np.ravel_multi_index((p, y, x), size)


def npz_bytes(times, x, y, p):
    import io

    file = io.BytesIO()
    np.savez(file, t=times, x=x, y=y, p=p)
    return file.getvalue()


# name: writer, reader to (times, units), size, whether times count from the first event
CAMERAS = {
    "nmnist.bin": (bin_bytes, lambda f: read_bin(f, SIZE), SIZE, False),
    "dvs128.aedat": (aedat2_bytes, read_aedat, (2, 128, 128), True),
    "gesture.aedat": (aedat3_bytes, read_aedat, (2, 128, 128), False),
    "v2.dat": (dat_bytes, lambda f: read_dat(f)[0], (2, 240, 304), True),
    "v1.dat": (lambda *a: dat_bytes(*a, version=1), lambda f: read_dat(f)[0], (2, 240, 304), True),
    "v0.dat": (lambda *a: dat_bytes(*a, version=0), lambda f: read_dat(f)[0], (2, 240, 304), True),
    "own.npz": (npz_bytes, lambda f: read_recording(f, SIZE), SIZE, True),
}


@pytest.mark.parametrize("name", CAMERAS)
@given(n=st.integers(1, 20), seed=st.integers(0, 99), longest=st.sampled_from([1, 5_000, 2**24]))
def test_every_event_is_read_as_it_was_written(tmp_path_factory, name, n, seed, longest):
    write, read, size, from_first = CAMERAS[name]
    times, x, y, p = recording(n, seed, *size[1:], longest)
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(write(times, x, y, p))
    read_times, read_units = read(path)
    assert len(read_times) == n
    np.testing.assert_array_equal(read_times, times - times[0] * from_first)
    np.testing.assert_array_equal(read_units, units(x, y, p, size))


@pytest.mark.parametrize("name", CAMERAS)
def test_a_file_cut_at_any_byte_is_one_error_or_fewer_whole_events(tmp_path, name):
    write, read, size, _ = CAMERAS[name]
    whole = write(*recording(6, 0, *size[1:]))
    path, refused = tmp_path / name, 0
    cuts = range(0, len(whole), 29 if name == "own.npz" else 1)
    for n in cuts:
        path.write_bytes(whole[:n])
        try:
            assert len(read(path)[0]) <= 6
        except DataError as error:
            refused += 1
            assert name in str(error) and "\n" not in str(error)
            assert name == "own.npz" or "byte" in str(error), error
        else:  # the cut fell between two events, or packets, which nothing in these formats tells
            assert n > 0 and name != "own.npz"
    assert refused > len(cuts) / 2


@pytest.mark.parametrize("name", CAMERAS)
@given(data=st.data())
def test_a_damaged_file_is_read_or_one_error(tmp_path_factory, name, data):
    write, read, size, _ = CAMERAS[name]
    content = bytearray(write(*recording(6, 0, *size[1:])))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    try:
        times, places = read(path)
        assert len(times) == len(places) and (times >= 0).all()
        assert len(places) == 0 or 0 <= places.min() <= places.max() < np.prod(size) or name[1:] == "2.dat"
    except DataError as error:
        assert name in str(error) and "\n" not in str(error)


def test_what_is_no_event_is_skipped(tmp_path):
    times, x, y, p = recording(9, 1, 128, 128)
    path = tmp_path / "a.aedat"
    path.write_bytes(aedat2_bytes(times, x, y, p, signals=(0, 4)))
    np.testing.assert_array_equal(read_aedat(path)[1], units(x, y, p, (2, 128, 128)))
    path.write_bytes(aedat3_bytes(times, x, y, p, invalid=(2, 5)))
    kept = np.delete(np.arange(9), [2, 5])
    np.testing.assert_array_equal(read_aedat(path)[1], units(x[kept], y[kept], p[kept], (2, 128, 128)))


def test_a_clock_of_32_bits_that_begins_anew_goes_on(tmp_path):
    path = tmp_path / "a.aedat"
    path.write_bytes(aedat2_bytes([2**32 - 3, 2**32 + 4], [1, 2], [3, 4], [0, 1]))
    np.testing.assert_array_equal(read_aedat(path)[0], [0, 7])


@pytest.mark.parametrize("name", [name for name in CAMERAS if name != "nmnist.bin"])
def test_times_of_a_recording_count_from_its_first_event(tmp_path, name):
    write, _, size, _ = CAMERAS[name]
    path = tmp_path / name.upper()
    path.write_bytes(write([80_000_000, 80_001_000], [1, 1], [1, 1], [0, 1]))
    np.testing.assert_array_equal(read_recording(path, size)[0], [0, 1000])


def test_a_recording_that_begins_as_gzip_does_is_none(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes([0x1F, 0x8B, 0x80, 0, 5]) + bytes([3, 4, 0, 0, 9]))
    times, places = read_bin(path, (2, 180, 240))
    np.testing.assert_array_equal(times, [5, 9])
    np.testing.assert_array_equal(places, units([31, 3], [139, 4], [1, 0], (2, 180, 240)))


AEDAT3 = b"#!AER-DAT3.1\r\n#!END-HEADER\r\n"


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.bin", b"", r"byte 0: the file ends without an event"),
        ("a.bin", bytes([0, 240, 0, 0, 0]), r"byte 5: the file ends without an event"),
        ("a.bin", bytes(5) + bytes([40, 1, 0, 0, 9]), r"byte 5: an event at x 40, y 1 lies outside"),
        ("a.aedat", b"", r"ends at byte 0, within the first line"),
        ("a.aedat", b"#!AER-DAT4.0\r\n", r"byte 0: expects #!AER-DAT2.0 or #!AER-DAT3.1"),
        ("a.aedat", b"#!AER-DAT2.0\r\n\x00\x02\x00\x00" + bytes(4), r"byte 14: 0x00020000 is no address of a DVS128"),
        ("a.aedat", b"#!AER-DAT3.1\r\n", r"ends at byte 14, within the header"),
        (
            "a.aedat",
            b"#!AER-DAT3.1\r\n#!END-HEADER\r\n" + struct.pack("<hhiiiiii", 1, 0, 8, 4, 0, 2**30, 2**30, 0),
            r"ends at byte 56, within the events of a packet: 8589934592 bytes from byte 56",
        ),
        (
            "a.aedat",
            b"#!AER-DAT3.1\r\n#!END-HEADER\r\n" + struct.pack("<hhiiiiii", 1, 0, 8, 4, 0, 1, 2, 2),
            r"byte 28: a packet says 2 events of 8 bytes in room for 1",
        ),
        (
            "a.aedat",
            b"#!AER-DAT3.1\r\n#!END-HEADER\r\n" + aedat3_packet(1, bytes(12), size=12),
            r"byte 28: polarity events have 8 bytes, not 12",
        ),
        ("a.aedat", b"#!AER-DAT2.0\r\n# made by a test\r\n", r"byte 32: the file ends without an event"),
        ("a.aedat", AEDAT3, r"byte 28: the file ends without an event"),
        ("a.aedat", AEDAT3 + aedat3_packet(1, bytes(8)), r"byte 64: the file ends without an event"),
        (
            "a.aedat",
            AEDAT3 + aedat3_packet(1, struct.pack("<IiIiIi", 1, 3, 0, -9, 1, -5)),
            r"byte 72: an event has the negative time -5",
        ),
        ("a.dat", b"", r"byte 0: the file ends without an event"),
        ("a.dat", dat_bytes([], [], [], []), r"byte \d+: the file ends without an event"),
        ("a.dat", dat_bytes([1], [1], [1], [1], size=(0, 304)), r"byte 46: expects a height from 1 to 16384, got 0"),
        (
            "a.dat",
            dat_bytes([1], [1], [1], [1], size=(9, 999999)),
            r"byte 57: expects a width from 1 to .*, got 999999",
        ),
        (
            "a.dat",
            dat_bytes([0, 2**31 + 5], [1, 1], [1, 1], [0, 1]),
            r"the last event is 2147483653 microseconds after",
        ),
        ("a.dat", b"% Version 2\n\x07\x08", r"byte 12: expects events of type 0 or 12 and of 8 bytes, got 07 08"),
        ("a.npz", npz_bytes([1], [1], [1], [0])[:-9], "is not a readable .npz"),
        ("a.npz", npz_bytes(*[np.zeros(0, int)] * 4), "ends without an event"),
        ("a.npz", npz_bytes([1.5], [1], [1], [0]), "array t: expects 1 whole numbers on one axis, got float64"),
        ("a.txt", b"", "ends in none of"),
    ],
    ids=count(),
)
def test_what_is_wrong_is_said_with_file_and_byte(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}.*{message}"):
        read_recording(path, (2, 128, 128) if name.endswith("aedat") else SIZE)
    with pytest.raises(DataError, match=r"nowhere.* (cannot be read|does not exist|ends in none)"):
        read_recording(tmp_path / f"nowhere{path.suffix}", SIZE)


# Heidelberg Digits


def spoken(n=8, channels=20, seed=0):
    rng = np.random.default_rng(seed)
    counts = rng.integers(3, 9, n)
    trials = [(np.sort(rng.uniform(0, 0.09, k)), rng.integers(0, channels, k)) for k in counts]
    return trials, np.arange(n) % 4, np.arange(n) % 3


@pytest.fixture(scope="module")
def h5py():
    return pytest.importorskip("h5py", reason="pip install 'spiketrain[hdf5]'")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_seconds_of_any_width_become_microseconds(tmp_path, h5py, dtype):
    trials, labels, speakers = spoken()
    trials[2] = (np.array([0.25, 65.0, 700.0]), [1, 2, 3])  # 1e6 times these are beyond float16
    path = tmp_path / "a.h5"
    write_hdf5(path, trials, labels, speakers=speakers, keys=["a", "b", "c", "d"], dtype=dtype)
    events, classes = read_hdf5(path)
    assert classes == ("a", "b", "c", "d") and events.dropped == 0
    np.testing.assert_array_equal(events.labels, labels)
    np.testing.assert_array_equal(events.groups, speakers)
    np.testing.assert_array_equal(events.counts, [len(t) for t, _ in trials])
    expected = [np.rint(np.asarray(t).astype(dtype).astype(np.float64) * 1e6) for t, _ in trials]
    np.testing.assert_array_equal(events.times, np.concatenate(expected))
    np.testing.assert_array_equal(events.units, np.concatenate([unit for _, unit in trials]))
    assert events.size == (events.units.max() + 1,) and read_hdf5(path, units=700)[0].size == (700,)


def test_times_that_are_not_finite_are_dropped_and_counted_and_the_rest_sorted(tmp_path, h5py):
    trials = [([0.03, np.nan, 0.01, np.inf], [3, 9, 1, 9]), ([-np.inf], [9]), ([], []), ([0.01, 0.01], [2, 1])]
    write_hdf5(tmp_path / "a.h5", trials, [0, 1, 0, 1], dtype=np.float32)
    events, classes = read_hdf5(tmp_path / "a.h5")
    assert events.dropped == 3 and classes == ("0", "1")
    np.testing.assert_array_equal(events.times, [10_000, 30_000, 10_000, 10_000])
    np.testing.assert_array_equal(events.units, [1, 3, 2, 1])
    np.testing.assert_array_equal(events.offsets, [0, 2, 2, 2, 4])


def test_damaged_hdf5_is_one_error_that_names_the_file(tmp_path, h5py):
    whole, path = tmp_path / "whole.h5", tmp_path / "bad.h5"
    write_hdf5(whole, *spoken()[:2])
    content = whole.read_bytes()
    for n in (0, 1, 8, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:n])
        with pytest.raises(DataError, match=r"bad\.h5 \(\d+ bytes\) is no readable HDF5 file"):
            read_hdf5(path)
    rng = np.random.default_rng(0)
    for _ in range(40):
        damaged = bytearray(content)
        for at in rng.integers(0, len(content), 3):
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            assert len(read_hdf5(path)[0]) <= 8
        except DataError as error:
            assert "bad.h5" in str(error) and "\n" not in str(error)
    with pytest.raises(DataError, match=r"nowhere\.h5 cannot be read"):
        read_hdf5(tmp_path / "nowhere.h5")


def test_hdf5_of_another_layout_is_refused_array_by_array(tmp_path, h5py):
    path = tmp_path / "a.h5"

    def changed(change, message):
        write_hdf5(path, *spoken()[:2])
        with h5py.File(path, "a") as file:
            change(file)
        with pytest.raises(DataError, match=rf"a\.h5.*{message}"):
            read_hdf5(path)

    def replaced(name, value):
        def change(file):
            file.pop(name, None)
            file[name] = value

        return change

    changed(lambda file: file.__delitem__("labels"), "labels is missing")
    changed(replaced("labels", np.zeros(3, int)), r"expects shape \(3,\), one entry per label")
    changed(replaced("labels", np.zeros(8)), "expects integers, got dtype float64")
    changed(replaced("labels", h5py.ExternalLink("/etc/hostname", "/x")), "labels points elsewhere")
    changed(replaced("spikes/times", np.zeros(8)), "arrays of variable length, got dtype float64")
    changed(replaced("extra/keys", np.array([b"one"])), "extra/keys holds 1 names, and labels go up to 3")

    def one_spike_more(file):
        file["spikes/units"][5] = np.zeros(40, np.uint16)

    changed(one_spike_more, r"trial 5: /spikes/times has \d+ entries and /spikes/units 40")

    def bomb(file):
        del file["labels"], file["spikes"]
        for name, kind in (("times", np.float16), ("units", np.uint16)):
            file.create_dataset(f"spikes/{name}", (2**40,), h5py.vlen_dtype(kind), chunks=(1024,))
        file.create_dataset("labels", (2**40,), np.uint16, chunks=(1024,))

    changed(bomb, "one entry per label, got")
    write_hdf5(path, [([0.1], [700])], [0])
    with pytest.raises(DataError, match="trial 0: units must lie between 0 and 699, got 700"):
        read_hdf5(path, 700)
    write_hdf5(path, [([-0.1], [7])], [0])
    with pytest.raises(DataError, match="trial 0: times must lie between 0 and"):
        read_hdf5(path, 700)


def test_without_h5py_the_error_says_what_to_install(tmp_path, monkeypatch):
    imported = builtins.__import__

    def without(name, *rest):
        if name == "h5py":
            raise ImportError
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=r"pip install 'spiketrain\[hdf5\]'"):
        read_hdf5(tmp_path / "a.h5")


def test_the_heidelberg_sets_load_from_files_in_their_layout(tmp_path, h5py):
    for name in ("shd_train", "shd_test", "ssc_train", "ssc_valid", "ssc_test", "fsdd_train", "fsdd_test"):
        write_hdf5(tmp_path / f"{name}.h5", *spoken(seed=len(name))[:2], speakers=spoken()[2], keys="abcd")
    shd = load_shd(str(tmp_path), bin_ms=10, pool=5, validation_speaker=1)
    assert (shd.n_channels, shd.n_steps, shd.classes) == (140, 9, tuple("abcd"))
    assert len(shd.train) == 5 and len(shd.validation) == 3 and len(shd.test) == 8
    ssc = load_ssc(str(tmp_path))
    assert len(ssc.validation) == 8 and ssc.n_channels == 700
    for speaker in range(3):
        fold = load_spoken_digits(str(tmp_path), held_out_speaker=speaker)
        assert len(fold.train) + len(fold.test) == 16 and len(fold.test) == 2 * (np.arange(8) % 3 == speaker).sum()
    with pytest.raises(DataError, match=r"data.held_out_speaker=9 leaves no trial.*speakers 0, 1, 2"):
        load_spoken_digits(str(tmp_path), held_out_speaker=9)


# Folders


def test_gestures_are_cut_out_by_their_labels(tmp_path):
    counts = write_gesture(tmp_path)
    data = load_gesture(str(tmp_path), bin_ms=10, pool=32)
    assert (data.n_classes, data.n_channels, data.n_steps) == (11, 2 * 4 * 4, 9)
    for side, name in (("train", "trials_to_train.txt"), ("test", "trials_to_test.txt")):
        split = getattr(data, side)
        np.testing.assert_array_equal(split.y, np.arange(11))
        assert split.dense().x.sum(axis=(1, 2)).tolist() == counts[name] and min(counts[name]) > 0


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "line 1: expects class,startTime_usec,endTime_usec"),
        ("class,startTime_usec,endTime_usec\n", "line 2: the file ends without a gesture"),
        ("class,startTime_usec,endTime_usec\n1,2\n", "line 2: expects three whole numbers, got '1,2'"),
        ("class,startTime_usec,endTime_usec\n1,0,5\n12,5,9\n", "line 3: expects a class from 1 to 11"),
        ("class,startTime_usec,endTime_usec\n1,5,5\n", "line 2: .*start < end, .* got 1, 5, 5"),
        ("class,startTime_usec,endTime_usec\n1,0,5\n2,700,80", "line 3: .*start < end, .* got 2, 700, 80"),
        ("class,startTime_usec,endTime_usec\n1,0,5\n2,", "line 3: expects three whole numbers, got '2,'"),
        ("class,startTime_usec,endTime_usec\n1,0,5\n2", "line 3: expects three whole numbers, got '2'"),
        ("class,startTime_usec,endTime_usec\n1,0,5_0\n", "line 2: expects three whole numbers, got '1,0,5_0'"),
        ("class,startTime_usec,endTime_usec\n1,0," + "9" * 200_000, "line 2: expects three whole numbers, got '1,0,9"),
        (
            "class,startTime_usec,endTime_usec\n1,0,2147483648\n",
            "line 2: .* at most 2147483647 later, got 1, 0, 2147483648",
        ),
        ("class,startTime_usec,endTime_usec\n" + "1,0,5\n" * 180_000, "byte 1048576: the file is too large"),
    ],
    ids=count(),
)
def test_labels_of_gestures_are_refused_by_line(tmp_path, text, message):
    path = tmp_path / "user01_led_labels.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"user01_led_labels.csv, {message}"):
        read_windows(path)


def test_a_list_that_names_a_missing_recording_says_so(tmp_path):
    write_gesture(tmp_path)
    (tmp_path / "user24_led_labels.csv").unlink()
    with pytest.raises(
        DataError, match=r"lists user24_led.aedat, but .*user24_led_labels.csv is missing. Get it: http"
    ):
        load_gesture(str(tmp_path))
    (tmp_path / "trials_to_train.txt").write_text("x" * 5000)
    with pytest.raises(DataError, match=r"trials_to_train.txt lists x{80}, but x{80} is missing"):
        load_gesture(str(tmp_path))


def test_a_recording_that_ends_before_its_labels_is_refused(tmp_path):
    write_gesture(tmp_path)
    path = tmp_path / "user01_led.aedat"
    content = path.read_bytes()
    start = content.index(b"#!END-HEADER\r\n") + 14
    path.write_bytes(content[: start + 28 + 50 * 8])  # one packet of the five
    with pytest.raises(
        DataError, match=r"user01_led_labels.csv, line \d+: no event of user01_led.aedat lies from .* cut short"
    ):
        read_gesture(str(tmp_path))


@pytest.fixture
def kept(monkeypatch, tmp_path):
    monkeypatch.setenv("SPIKETRAIN_CACHE", str(tmp_path / "kept"))


def test_gestures_that_are_kept_are_those_of_the_lists(tmp_path, kept):
    write_gesture(tmp_path)
    write_gesture(tmp_path, users=(7, 9))
    lists = tmp_path / "trials_to_train.txt", tmp_path / "trials_to_test.txt"
    for users in (((1, 7), (24,)), ((1,), (7, 24))):  # the same recordings in the same order
        for path, of in zip(lists, users, strict=True):
            path.write_text("\ufeff" + "".join(f"user{user:02}_led.aedat\n" for user in of))
        splits, _ = read_gesture(str(tmp_path), stream=True)
        assert [sorted(set(splits[side].groups)) for side in ("train", "test")] == [list(of) for of in users]


def one_recording(folder, *classes):
    for side in ("train", "test"):
        for name in classes:
            (folder / side / name).mkdir(parents=True)
            (folder / side / name / "0.bin").write_bytes(bin_bytes(*recording(3)))
    return folder


def test_recordings_that_are_kept_are_those_of_the_classes(tmp_path, kept):
    one_recording(tmp_path, "a", "c")
    assert read_recordings(tmp_path, SIZE, stream=True)[0]["train"].labels.tolist() == [0, 1]
    (tmp_path / "train" / "b").mkdir()
    splits, classes = read_recordings(tmp_path, SIZE, stream=True)
    assert classes == ("a", "b", "c") and splits["train"].labels.tolist() == [0, 2]


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("nowhere", path)])
def test_what_is_named_as_a_recording_is_one(tmp_path, make):
    make(one_recording(tmp_path, "a") / "train" / "a" / "1.bin")
    with pytest.raises(DataError, match=r"train/a/1.bin is no regular file, or a link to nothing"):
        read_recordings(tmp_path, SIZE)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda events: EventSplit(events, 1), r"at most 2147483647 steps, got 2147483648. Write a larger bin_us"),
        (lambda events: EventSplit(events, 10, 2**40), r"at most 2147483647 steps, got 1099511627776"),
        (lambda events: of_bins(events, float("nan")), r"data.bin_ms=nan must be a whole number of microseconds"),
        (lambda events: of_bins(events, float("inf")), r"data.bin_ms=inf must be a whole number of microseconds"),
        (lambda events: of_bins(events, 3e6), r"data.bin_ms=3000000.0 must be .* at most 2147483647"),
    ],
    ids=count(),
)
def test_more_steps_than_can_be_counted_are_refused(make, message):
    events = Events.of_trials([([2**31 - 1], [0])], [0], (4,))
    assert EventSplit(events, 2).lengths.tolist() == [2**30] and EventSplit(events, 2).lengths.dtype == np.int32
    with pytest.raises(DataError, match=message):
        make(events)


def of_bins(events, bin_ms):
    return event_dataset("a", {"train": events, "test": events}, ("a",), bin_ms=bin_ms)


def test_folders_of_recordings_are_classes_in_the_order_of_their_names(tmp_path):
    rng = np.random.default_rng(0)
    n_events = {}
    for side in ("Train", "Test"):
        for label in ("0", "1", "7"):
            (tmp_path / side / label).mkdir(parents=True)
            for i in range(2):
                n = int(rng.integers(5, 9))
                (tmp_path / side / label / f"{i:05}.{'binBIN'[3 * i :][:3]}").write_bytes(bin_bytes(*recording(n, n)))
                n_events[side, label, i] = n
    data = load_nmnist(str(tmp_path), pool=2)
    assert data.classes == ("0", "1", "7") and data.n_channels == 2 * 17 * 17
    np.testing.assert_array_equal(data.train.y, [0, 0, 1, 1, 2, 2])
    assert data.train.dense().x.sum(axis=(1, 2)).tolist() == [
        n for (side, *_), n in n_events.items() if side == "Train"
    ]
    other = load_recordings(str(tmp_path), height=34, width=34, pool=2)
    np.testing.assert_array_equal(other.test.dense().x, data.test.dense().x)
    (tmp_path / "Test" / "8").mkdir()
    with pytest.raises(DataError, match="has the class 8, and the training set has only 0, 1, 7"):
        load_nmnist(str(tmp_path))
    with pytest.raises(DataError, match=r"data=nmnist lacks Train/\*/\*, Test/\*/\* in .*Get it: https"):
        load_nmnist(str(tmp_path / "nowhere"))
