import hashlib
import importlib.util
import io
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiketrain.data.dataset import Dataset, Split, split_validation
from spiketrain.data.npz import load_npz
from spiketrain.data.vowels import N_BYTES, SHA256, VENDORED, load_vowels
from spiketrain.errors import DataError, ShapeError

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "build_vowels.py"


def arrays(n=4, T=5, C=3, seed=0):
    x = np.random.default_rng(seed).normal(size=(n, T, C)).astype(np.float32)
    return {"x": x, "lengths": np.full(n, T), "y": np.arange(n) % 2}


# Split and Dataset


def test_a_split_stores_its_dtypes_and_zeroes_the_padding_of_a_copy():
    given_arrays = arrays()
    x = given_arrays["x"].astype(np.float64)
    x[1, 2:] = np.nan
    before = x.copy()
    split = Split(x, np.array([5, 2, 1, 5], np.uint8), given_arrays["y"])
    assert (split.x.dtype, split.lengths.dtype, split.y.dtype) == (np.float32, np.int32, np.int32)
    assert (split.x[1, 2:] == 0).all() and (split.x[2, 1:] == 0).all()
    assert (split.x[1, :2] == given_arrays["x"][1, :2]).all() and (split.x[1, :2] != 0).all()
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("indices", [[2, 0, 2], np.array([False, True, True, False]), slice(1, 3), np.array([3])])
def test_take_indexes_all_three_arrays(indices):
    split = Split(**arrays())
    part = split.take(indices)
    assert len(part) == len(np.arange(4)[indices])
    for name in ("x", "lengths", "y"):
        np.testing.assert_array_equal(getattr(part, name), getattr(split, name)[indices])


@pytest.mark.parametrize(
    "changes, error, message",
    [
        (
            {"x": np.zeros((4, 5))},
            ShapeError,
            r"Split\(x=...\) expects 3 axes, \(n, T, C\), got shape \(4, 5\)",
        ),
        (
            {"lengths": np.full((4, 1), 5)},
            ShapeError,
            r"lengths=...\) expects 1 axes, \(n\), got shape \(4, 1\)",
        ),
        ({"y": np.int32(1)}, ShapeError, r"y=...\) expects 1 axes"),
        ({"y": np.zeros(3, int)}, ShapeError, "4 trials, 4 lengths and 3 labels"),
        ({"lengths": np.full(5, 5)}, ShapeError, "4 trials, 5 lengths and 4 labels"),
        ({"lengths": np.array([5, 6, 5, 5])}, DataError, r"from 1 to 5 \(T\), got 6 at lengths\[1\]"),
        ({"lengths": np.array([5, 5, 0, 5])}, DataError, r"got 0 at lengths\[2\]"),
        (
            {"lengths": np.full(4, 5.0)},
            DataError,
            r"integers, got dtype float64. Write lengths.astype\(np.int32\)",
        ),
        ({"y": np.array([0, -1, 0, 0])}, DataError, r"got -1 at y\[1\]"),
        ({"y": np.array([0, 2**32, 0, 0])}, DataError, r"got 4294967296 at y\[1\]"),
        ({"y": np.array(["a", "b", "a", "b"])}, DataError, "integers, got dtype <U1"),
        ({"x": np.full((4, 5, 3), "a")}, DataError, "real numbers, got dtype <U1"),
        ({"x": np.full((4, 5, 3), 1j)}, DataError, "real numbers, got dtype complex128"),
        ({"x": np.full((4, 5, 3), 1e300)}, DataError, r"got 1e\+300 at x\[0, 0, 0\]"),
        (
            {"x": np.zeros((4, 5, 0))},
            DataError,
            r"at least one trial, step and channel, got shape \(4, 5, 0\)",
        ),
    ],
)
def test_a_split_refuses(changes, error, message):
    with pytest.raises(error, match=message):
        Split(**(arrays() | changes))


def test_a_split_refuses_what_is_not_finite_before_the_padding():
    bad = arrays()
    bad["x"][1, 4, 2] = np.nan
    with pytest.raises(DataError, match=r"finite float32 values up to each trial's length, got nan at x\[1, 4, 2\]"):
        Split(**bad)


def test_a_split_refuses_to_be_empty():
    with pytest.raises(DataError, match="at least one trial"):
        Split(**arrays()).take([])


def test_a_dataset_knows_its_sizes():
    data = Dataset("toy", Split(**arrays(6)), Split(**arrays(4)), ("a", "b", "c"))
    assert (data.n_channels, data.n_steps, data.n_classes) == (3, 5, 3)


def test_a_dataset_refuses_labels_without_a_class():
    with pytest.raises(DataError, match=r"Dataset\(test=...\) has label 1 at y\[1\], but classes=.* names 1"):
        Dataset("toy", Split(**(arrays() | {"y": np.zeros(4, int)})), Split(**arrays()), ("a",))


@pytest.mark.parametrize("other", [arrays(T=6), arrays(C=2)])
def test_a_dataset_refuses_splits_of_different_shape(other):
    with pytest.raises(ShapeError, match=r"the same \(T, C\) in both splits, got \(5, 3\) and"):
        Dataset("toy", Split(**arrays()), Split(**other), ("a", "b"))


# split_validation


def numbered(labels):
    """Trials whose only value is their index."""
    n = len(labels)
    return Split(np.arange(n, dtype=np.float32).reshape(n, 1, 1), np.ones(n, int), np.array(labels))


labels = st.lists(st.integers(0, 3), min_size=1, max_size=60)
fractions = st.floats(0, 1, exclude_max=True)
seeds = st.integers(0, 2**32)


@given(labels, fractions, seeds)
def test_split_validation_is_a_stratified_partition_in_order(labels, fraction, seed):
    split = numbered(labels)
    try:
        train, validation = split_validation(split, fraction, seed)
    except DataError as error:
        rounded = [round(labels.count(label) * fraction) for label in set(labels)]
        if "selects no trial" in str(error):
            assert fraction > 0 and sum(rounded) == 0
        else:
            assert any(k == labels.count(label) for k, label in zip(rounded, set(labels), strict=True))
        return
    if fraction == 0:
        assert train is split and validation is None
        return
    indices = [part.x[:, 0, 0].astype(int) for part in (train, validation)]
    assert sorted(np.concatenate(indices)) == list(range(len(labels)))
    assert all((np.diff(index) > 0).all() for index in indices)
    for label in set(labels):
        assert (validation.y == label).sum() == round(labels.count(label) * fraction)
        assert (train.y == label).any()


@given(seeds)
def test_split_validation_is_a_function_of_the_seed(seed):
    split = numbered([0, 1] * 30)
    once, twice, other = (split_validation(split, 0.5, s)[1].x for s in (seed, seed, seed + 1))
    np.testing.assert_array_equal(once, twice)
    assert (once != other).any()


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, float("nan")])
def test_split_validation_refuses_a_fraction_outside_its_range(fraction):
    with pytest.raises(DataError, match=rf"0 <= fraction < 1, got {fraction}"):
        split_validation(numbered([0, 1] * 5), fraction, 0)


def test_split_validation_leaves_every_class_a_training_trial():
    with pytest.raises(DataError, match="leaves class 1 without a training trial: it has 1 in all"):
        split_validation(numbered([0] * 9 + [1]), 0.6, 0)


def test_split_validation_refuses_a_fraction_that_selects_nothing():
    with pytest.raises(DataError, match="selects no trial: the largest class has 9"):
        split_validation(numbered([0] * 9 + [1]), 0.01, 0)


# Japanese Vowels


def test_vowels_have_the_published_sizes():
    data = load_vowels()
    assert (len(data.train), len(data.test)) == (270, 370)
    assert (data.n_channels, data.n_steps, data.n_classes) == (12, 29, 9)
    lengths = np.concatenate([data.train.lengths, data.test.lengths])
    assert (lengths.min(), lengths.max()) == (7, 29)
    assert np.bincount(data.train.y).tolist() == [30] * 9
    assert np.bincount(data.test.y).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    assert len(set(data.classes)) == 9


def test_vowels_are_standardised_by_the_valid_training_frames_and_padded_with_zero():
    raw, data = load_vowels(standardize=False), load_vowels()
    valid = np.arange(29) < raw.train.lengths[:, None]
    frames = raw.train.x[valid].astype(np.float64)
    assert len(frames) == raw.train.lengths.sum() == 4274
    np.testing.assert_allclose(data.train.x[valid].mean(0, dtype=np.float64), 0, atol=1e-6)
    np.testing.assert_allclose(data.train.x[valid].std(0, dtype=np.float64), 1, atol=1e-6)
    for one, other in ((raw.train, data.train), (raw.test, data.test)):
        mask = np.arange(29) < one.lengths[:, None]
        expected = (one.x[mask] - frames.mean(0)) / frames.std(0)
        np.testing.assert_allclose(other.x[mask], expected, rtol=1e-6, atol=1e-7)
        assert (other.x[~mask] == 0).all() and (one.x[~mask] == 0).all()


def test_the_first_frame_is_the_published_one_up_to_float16():
    published = [1.860936, -0.207383, 0.261557, -0.214562]
    np.testing.assert_allclose(load_vowels(standardize=False).train.x[0, 0, :4], published, atol=8.5e-4)


def refusal(load, path):
    """The message of the one DataError that hides what raised it."""
    with pytest.raises(DataError, match=re.escape(str(path))) as caught:
        load(path)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return str(caught.value)


@pytest.mark.parametrize("size", [1, 3, 4, 22, 30, 127, 128, 4096, N_BYTES // 2, N_BYTES - 22, N_BYTES - 1])
def test_a_truncated_vowels_file_is_refused(tmp_path, size):
    path = tmp_path / "cut.npz"
    path.write_bytes(VENDORED.read_bytes()[:size])
    message = refusal(load_vowels, path)
    assert f"has {size} bytes instead of {N_BYTES}" in message and "python scripts/build_vowels.py" in message


@pytest.mark.parametrize("position", [0, 8, 40, 100, 5000, N_BYTES // 2, N_BYTES - 300, N_BYTES - 1])
def test_a_flipped_bit_in_the_vowels_file_is_refused(tmp_path, position):
    content = bytearray(VENDORED.read_bytes())
    content[position] ^= 16
    path = tmp_path / "flipped.npz"
    path.write_bytes(content)
    assert "is damaged" in refusal(load_vowels, path)


def test_an_empty_missing_or_unreadable_vowels_file_is_refused(tmp_path):
    (tmp_path / "empty.npz").touch()
    assert "is empty" in refusal(load_vowels, tmp_path / "empty.npz")
    assert "cannot be read: No such file" in refusal(load_vowels, tmp_path / "missing.npz")
    assert "cannot be read: " in refusal(load_vowels, tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"values": np.zeros((9961, 12), np.float32)},
        {"values": np.zeros((9961, 12), object)},
        {"labels": np.zeros(3, np.uint8)},
        {"train": None},
    ],
)
def test_a_vowels_file_with_other_arrays_is_refused(tmp_path, changes):
    with np.load(VENDORED) as good:
        content = {name: array for name, array in (dict(good) | changes).items() if array is not None}
    np.savez(tmp_path / "other.npz", **content)
    assert "another file" in refusal(load_vowels, tmp_path / "other.npz")


def test_the_data_package_needs_no_jax():
    code = (
        "import sys, spiketrain.data.npz, spiketrain.data.vowels as v; v.load_vowels(); assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# A user's own .npz


def user_arrays():
    train, test = arrays(6), arrays(4, seed=1)
    return {"x_train": train["x"], "y_train": train["y"], "x_test": test["x"], "y_test": test["y"]}


def save(tmp_path, **content):
    path = str(tmp_path / "mine.npz")
    np.savez(path, **content)
    return path


@pytest.mark.parametrize("savez", [np.savez, np.savez_compressed])
def test_npz_round_trip(tmp_path, savez):
    content = user_arrays()
    path = str(tmp_path / "mine.npz")
    savez(path, **content, lengths_test=np.array([1, 2, 3, 5]))
    data = load_npz(path)
    assert (data.name, data.classes, data.n_steps) == ("mine", ("0", "1"), 5)
    np.testing.assert_array_equal(data.train.x, content["x_train"])
    np.testing.assert_array_equal(data.train.lengths, 5)
    np.testing.assert_array_equal(data.test.lengths, [1, 2, 3, 5])
    np.testing.assert_array_equal(data.test.y, content["y_test"])
    np.testing.assert_array_equal(data.test.x[2, :3], content["x_test"][2, :3])
    assert (data.test.x[2, 3:] == 0).all()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"x_test": None, "y_test": None}, "lacks x_test, y_test. It has x_train, y_train; write x_train"),
        ({"length_test": np.full(4, 5)}, "holds unknown arrays: length_test"),
        ({"x_train": np.zeros((6, 5))}, r"arrays x_train, .*expects 3 axes, \(n, T, C\), got shape \(6, 5\)"),
        ({"y_train": np.zeros(5, int)}, "6 trials, 6 lengths and 5 labels"),
        ({"lengths_test": np.full(4, 9)}, r"x_test, lengths_test and y_test: .*from 1 to 5 \(T\), got 9"),
        ({"x_test": np.zeros((4, 7, 3))}, r"same \(T, C\) in both splits"),
        (
            {"y_train": np.arange(6) % 2 + 1},
            "has label 2 but no trial of class 0. Write labels that count from 0",
        ),
        ({"y_train": np.array([0, 1, 2, 3, 4, 2**31 - 1])}, "has label 2147483647 but no trial of class 5"),
        ({"y_test": np.array([0, 1, 2, 0])}, "has label 2 at y.2., but classes=.* names 2"),
        ({"y_test": np.zeros(4)}, "integers, got dtype float64"),
        ({"x_train": np.full((6, 5, 3), np.inf)}, "finite float32 values"),
    ],
)
def test_npz_refuses_wrong_arrays(tmp_path, changes, message):
    content = {name: array for name, array in (user_arrays() | changes).items() if array is not None}
    assert re.search(message, refusal(load_npz, save(tmp_path, **content)))


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_npz_never_unpickles(tmp_path):
    path = save(tmp_path, **(user_arrays() | {"x_train": np.array([Bomb()], object)}))
    assert "Object arrays cannot be loaded" in refusal(load_npz, path)
    Path(path).write_bytes(pickle.dumps(Bomb()))
    assert "is not a readable .npz: File is not a zip file. Write it again" in refusal(load_npz, path)


def test_npz_refuses_missing_and_empty_files(tmp_path):
    assert "does not exist. Write it again" in refusal(load_npz, str(tmp_path / "none.npz"))
    (tmp_path / "empty.npz").touch()
    assert "is not a readable .npz" in refusal(load_npz, str(tmp_path / "empty.npz"))
    assert "is not a readable .npz" in refusal(load_npz, str(tmp_path))
    assert "lacks x_train" in refusal(load_npz, save(tmp_path))


@pytest.mark.parametrize("savez", [np.savez, np.savez_compressed])
def test_npz_damaged_anywhere_is_refused_or_read_unchanged(tmp_path, savez):
    savez(tmp_path / "good.npz", **user_arrays())
    good = load_npz(str(tmp_path / "good.npz"))
    content = (tmp_path / "good.npz").read_bytes()
    path = tmp_path / "bad.npz"
    refused = 0
    for position in range(0, len(content), 7):
        for damaged in (
            content[:position],
            content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :],
        ):
            path.write_bytes(damaged)
            try:
                data = load_npz(str(path))
            except DataError as error:
                assert str(path) in str(error)
                refused += 1
            else:  # a bit that says nothing, such as a date
                assert len(damaged) == len(content)
                for one, other in ((data.train, good.train), (data.test, good.test)):
                    np.testing.assert_array_equal(one.x, other.x)
                    np.testing.assert_array_equal(one.lengths, other.lengths)
                    np.testing.assert_array_equal(one.y, other.y)
    assert refused > len(content) // 7


# scripts/build_vowels.py

TOY = """#A comment
@problemName Toy
@data
1.5,2.5,3.5:-1,-2,-3:2
0.1,0.25:7,8:1
"""


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("build_vowels", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def toy_wheel(script, monkeypatch, tmp_path):
    wheel = tmp_path / "toy.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in script.SOURCES:
            archive.writestr(member, TOY)
    digest = hashlib.sha256(TOY.encode()).hexdigest()
    monkeypatch.setattr(script, "SOURCES", dict.fromkeys(script.SOURCES, digest))
    return str(wheel)


def test_the_script_converts_ts_files_in_a_wheel(script, monkeypatch, tmp_path):
    output = tmp_path / "toy.npz"
    assert script.main(["--wheel", toy_wheel(script, monkeypatch, tmp_path), "--output", str(output)]) == 0
    with np.load(output) as result:
        frames = np.array([[1.5, -1], [2.5, -2], [3.5, -3], [0.1, 7], [0.25, 8]]).astype(np.float16)
        np.testing.assert_array_equal(result["values"], np.concatenate([frames, frames]))
        assert result["values"].dtype == np.float16
        assert result["lengths"].tolist() == [3, 2, 3, 2] and result["lengths"].dtype == np.uint8
        assert result["labels"].tolist() == [1, 0, 1, 0] and result["labels"].dtype == np.uint8
        assert result["train"] == 2 and result["train"].shape == ()


def test_the_script_checks_without_writing(script, monkeypatch, tmp_path):
    output = tmp_path / "toy.npz"
    arguments = ["--wheel", toy_wheel(script, monkeypatch, tmp_path), "--output", str(output)]
    assert script.main([*arguments, "--check"]) == 1 and not output.exists()
    script.main(arguments)
    assert script.main([*arguments, "--check"]) == 0
    output.write_bytes(output.read_bytes() + b"\0")
    assert script.main([*arguments, "--check"]) == 1 and output.read_bytes()[-1] == 0


def test_the_script_refuses_another_source(script, monkeypatch, tmp_path):
    wheel = toy_wheel(script, monkeypatch, tmp_path)
    monkeypatch.undo()
    with pytest.raises(SystemExit, match="JapaneseVowels_TRAIN.ts in .* has sha256"):
        script.main(["--wheel", wheel, "--check"])
    with pytest.raises(SystemExit, match="Cannot read aeon==1.6.0 from .*none.whl"):
        script.main(["--wheel", str(tmp_path / "none.whl"), "--check"])


def test_the_vendored_file_is_what_the_script_packs(script):
    content = VENDORED.read_bytes()
    assert len(content) == N_BYTES and hashlib.sha256(content).hexdigest() == SHA256
    with np.load(io.BytesIO(content)) as stored:
        assert script.npz(dict(stored)) == content


@pytest.mark.slow
def test_the_vendored_file_is_rebuilt_from_the_published_wheel(script, tmp_path):
    try:
        wheel = script.download(tmp_path)
    except SystemExit as error:
        pytest.skip(f"needs the wheel of {script.PACKAGE}: {error}")
    assert script.main(["--wheel", str(wheel), "--check"]) == 0
