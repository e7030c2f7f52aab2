"""Time series as text: what was written is read; what is wrong is said with the file and the line."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiketrain.data.time_series import load_ts, read_ts, read_tsv
from spiketrain.errors import DataError

HEAD = "#A comment\n@problemName Small\n@timeStamps false\n@missing true\n@univariate false\n"


def ts_text(trials, labels, classes="a b"):
    lines = []
    for trial, label in zip(trials, labels, strict=True):
        channels = [",".join("?" if np.isnan(v) else repr(float(v)) for v in channel) for channel in trial.T]
        lines.append(":".join([*channels, label]))
    channels = {trial.shape[1] for trial in trials}.pop()
    head = f"@dimensions {channels}\n@equalLength false\n@seriesLength 9\n@classLabel true {classes}\n@data\n"
    return HEAD + head + "\n".join(lines) + "\n"


def tsv_text(trials, labels):
    longest = max(len(trial) for trial in trials)
    rows = []
    for trial, label in zip(trials, labels, strict=True):
        cells = ["NaN" if np.isnan(v) else repr(float(v)) for v in trial[:, 0]] + ["NaN"] * (longest - len(trial))
        rows.append("\t".join([label, *cells]))
    return "\n".join(rows) + "\n"


def series(lengths, channels, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(2, 3, (n, channels)) for n in lengths]


def write(folder, ending, train, test, labels=("a", "b"), **more):
    for side, trials in (("TRAIN", train), ("TEST", test)):
        text = (ts_text if ending == "ts" else tsv_text)(trials, [labels[i % 2] for i in range(len(trials))], **more)
        (folder / f"Small_{side}.{ending}").write_text(text)


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5), channels=st.integers(1, 3), seed=st.integers(0, 99))
def test_trials_of_any_length_are_read_as_they_were_written(tmp_path_factory, lengths, channels, seed):
    trials, labels = series(lengths, channels, seed), ["ab"[i % 2] for i in range(len(lengths))]
    path = tmp_path_factory.getbasetemp() / "any.ts"
    path.write_text(ts_text(trials, labels))
    read = read_ts(path)
    assert read.labels == labels and read.classes == ("a", "b")
    for ours, theirs in zip(read.trials, trials, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    path.write_text(tsv_text(trials, labels))
    for ours, theirs in zip(read_tsv(path).trials, trials, strict=True):
        np.testing.assert_array_equal(ours, theirs[:, :1])


@pytest.mark.parametrize("ending, channels", [("ts", 2), ("tsv", 1)])
def test_a_pair_of_files_is_a_data_set(tmp_path, ending, channels):
    train, test = series([3, 5, 4], channels), series([6, 2], channels, seed=1)
    write(tmp_path, ending, train, test, labels=("10", "9") if ending == "tsv" else ("a", "b"))
    raw = load_ts(str(tmp_path), standardize=False)
    assert raw.name == "Small" and raw.classes == (("9", "10") if ending == "tsv" else ("a", "b"))
    assert raw.train.x.shape == (3, 6, channels) and raw.test.lengths.tolist() == [6, 2]
    np.testing.assert_allclose(raw.train.x[1, :5], train[1], rtol=1e-6)
    data = load_ts(str(tmp_path / f"Small_TEST.{ending}"))
    frames = np.concatenate(train)
    np.testing.assert_allclose(data.test.x[0], (test[0] - frames.mean(0)) / frames.std(0), rtol=1e-5)
    np.testing.assert_array_equal(data.test.x[1, 2:], 0)


def test_missing_values_are_refused_held_or_zero(tmp_path):
    trial = np.array([[np.nan, 1.0], [3.0, np.nan], [np.nan, 2.0]])
    write(tmp_path, "ts", [trial, trial + 1], [trial])
    with pytest.raises(DataError, match=r"Small_TRAIN.ts, trial 0: 3 values are missing. Write `data.missing=hold`"):
        load_ts(str(tmp_path), standardize=False)
    held = load_ts(str(tmp_path), standardize=False, missing="hold").train.x
    np.testing.assert_array_equal(held[0], [[0, 1], [3, 1], [3, 2]])
    zero = load_ts(str(tmp_path), standardize=False, missing="zero").train.x
    np.testing.assert_array_equal(zero[0], [[0, 1], [3, 0], [0, 2]])
    assert np.isfinite(load_ts(str(tmp_path), missing="hold").train.x).all()


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "ends at line 0 without @data"),
        (HEAD, "ends at line 5 without @data"),
        (HEAD + "@data\n", "ends at line 6 without a trial"),
        ("@timestamps true\n@data\n", "line 1: series with a time stamp per value"),
        ("@targetlabel true\n@data\n", "line 1: the trials have no class"),
        ("hello\n@data\n", "line 1: expects a line that begins with @ or #"),
        ("@data\n1,2:a\n1,x:a\n", "line 3: could not convert string to float: 'x'"),
        ("@data\n1,2:3:a\n", "line 2: the channels have 2, 1 values"),
        ("@data\n1,2\n", "line 2: expects channels and a label"),
        ("@data\n1,inf:a\n", r"line 2: holds a value of size inf, beyond the 3.40282e\+38 of float32"),
        ("@data\n1,-1e300:a\n", r"line 2: holds a value of size 1e\+300, beyond"),
        ("@data\n1_0,2:a\n", "line 2: expects numbers without _, got 1_0,2"),
        ("@dimensions 3\n@data\n1:2:a\n", "line 3: has 2 channels, and the header says @dimensions 3"),
        ("@equalLength true\n@data\n1,2:a\n1:a\n", "line 4: has 1 steps and the first trial 2, .* @equalLength true"),
        ("@seriesLength 3\n@data\n1,2:a\n", "line 3: has 2 steps, and the header says @seriesLength 3"),
        ("@classLabel true a b\n@data\n1,2:c\n", "line 3: the label 'c' is none of a, b"),
    ],
)
def test_a_ts_file_is_refused_by_line(tmp_path, text, message):
    path = tmp_path / "bad.ts"
    path.write_text(text)
    with pytest.raises(DataError, match=f"bad.ts.*{message}"):
        read_ts(path)


def test_every_truncation_is_fewer_trials_or_one_error(tmp_path):
    whole, path = ts_text(series([3, 2], 2), "ab"), tmp_path / "cut.ts"
    refused = 0
    for n in range(len(whole)):
        path.write_text(whole[:n])
        try:
            assert len(read_ts(path).trials) <= 2
        except DataError as error:
            refused += 1
            assert "cut.ts" in str(error) and "line" in str(error)
    assert refused > len(HEAD)


def test_what_does_not_belong_together_is_refused(tmp_path):
    with pytest.raises(DataError, match="must name a folder with one pair .* it has none"):
        load_ts(str(tmp_path))
    write(tmp_path, "ts", series([3], 2), series([3], 1))
    with pytest.raises(
        DataError, match="Small_TEST.ts: has trials of 1 channels, and the first of Small_TRAIN.ts has 2"
    ):
        load_ts(str(tmp_path))
    (tmp_path / "Small_TEST.ts").write_text("@data\n1,2:1,2:zz\n")
    with pytest.raises(DataError, match="has the label zz, and the training set has only a, b"):
        load_ts(str(tmp_path))
    (tmp_path / "bad.tsv").write_bytes(b"1\t2\n\xff")
    with pytest.raises(DataError, match=r"bad.tsv, byte 4: is no text in UTF-8"):
        read_tsv(tmp_path / "bad.tsv")
    (tmp_path / "bad.tsv").write_text("1\t1.25\t2.25\n1\t1.2")
    with pytest.raises(DataError, match=r"line 2: has 1 values, and the lines before have 2. Write NaN at the end"):
        read_tsv(tmp_path / "bad.tsv")
    (tmp_path / "bad.tsv").write_text("1\t2\n1\tNaN\n")
    with pytest.raises(DataError, match="line 2: expects a label and at least one value"):
        read_tsv(tmp_path / "bad.tsv")


def test_a_mark_of_byte_order_is_no_part_of_a_label(tmp_path):
    for side in ("TRAIN", "TEST"):
        (tmp_path / f"Small_{side}.tsv").write_text("\ufeff1\t2\t3\n1\t4\t5\n2\t6\t7\n")
    assert load_ts(str(tmp_path)).classes == ("1", "2")


def test_one_long_trial_among_many_is_refused_before_it_takes_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("spiketrain.data.time_series.LARGEST", 2**20)
    for side, longest in (("TRAIN", 1), ("TEST", 1000)):
        (tmp_path / f"Small_{side}.ts").write_text("@data\n" + "1:a\n" * 200 + "1," * (longest - 1) + "1:a\n")
    with pytest.raises(DataError, match=r"Small_TRAIN.ts: .* 1000 steps, its 201 trials would take 1608000 bytes"):
        load_ts(str(tmp_path))


def test_a_value_that_float32_does_not_hold_after_scaling_is_said_with_its_file(tmp_path):
    write(tmp_path, "ts", [np.array([[0.0], [1e-30]])] * 2, [np.array([[1e38]])])
    with pytest.raises(DataError, match=r"Small_TEST.ts: Split\(x=...\)"):
        load_ts(str(tmp_path))
