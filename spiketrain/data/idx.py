"""IDX, the files of the MNIST family: images as trials, their rows or pixels as time."""

import math
import os
from pathlib import Path

import numpy as np

from spiketrain.data.catalogue import CATALOGUE, locate
from spiketrain.data.dataset import Dataset, Split
from spiketrain.data.source import LARGEST, Source, naming
from spiketrain.errors import DataError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

MOST_AXES = 32  # fewer than any NumPy has

FASHION = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
CLASSES = {"mnist": tuple(str(digit) for digit in range(10)), "fashion": FASHION}


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """Read one array, gzipped or not, in the byte order of this computer.

    Bytes 0 and 1 are zero, byte 2 is the type of number, byte 3 the number of axes; their sizes follow as unsigned
    32-bit integers, then the numbers, all with the most significant byte first.

    Raises:
        DataError: the file is missing, cut short, too long or no IDX, naming the byte.
    """
    with Source(path) as source:
        start = source.read(4, "the type and the number of axes")
        if start[:2] != b"\x00\x00" or start[2] not in TYPES or not 1 <= start[3] <= MOST_AXES:
            raise source.wrong(
                0,
                f"an IDX file begins with 00 00, a type and a number of axes up to {MOST_AXES}, got {start.hex(' ')}.",
            )
        shape = tuple(source.array(">u4", start[3], "the sizes of the axes").tolist())
        dtype = np.dtype(TYPES[start[2]])
        # NumPy bounds an array without numbers as if its empty axes had one entry.
        if (size := math.prod(max(n, 1) for n in shape) * dtype.itemsize) > LARGEST:
            raise source.wrong(4, f"the shape {shape} would take {size} bytes, more than the {LARGEST} that are read.")
        array = source.array(dtype.str, math.prod(shape), f"the numbers of shape {shape}")
        source.end()
    return array.reshape(shape).astype(dtype.newbyteorder("="))


def load_idx(
    path: str | None = None,
    source: str = "mnist",
    layout: str = "rows",
    permute_seed: int | None = None,
    pool: int = 1,
) -> Dataset:
    """Load a data set of the MNIST family: 28 x 28 pixels with values in [0, 1] and ten classes.

    Args:
        path: the folder of the four files; found by `spiketrain.data.catalogue` unless it is given.
        source: `mnist` or `fashion`, which names the classes and where to look.
        layout: `rows` makes every row a time step, (n, 28, 28) in all; `pixels` every pixel, (n, 784, 1), row by row;
            `image` makes the whole image one step, (n, 1, 784), for an encoder that holds it.
        permute_seed: the seed of one fixed permutation of the pixels, for `layout="pixels"`.
        pool: how many neighbouring rows and columns become one pixel, their mean; divides 28.

    Raises:
        DataError: a file is missing or damaged, or the files do not belong together.

    References: LeCun et al. (1998), https://doi.org/10.1109/5.726791; Xiao, Rasul and Vollgraf (2017),
        https://arxiv.org/abs/1708.07747; rows, pixels and their permutation as time: Le, Jaitly and Hinton (2015),
        https://arxiv.org/abs/1504.00941.
    """
    for name, given, words in (("source", source, CLASSES), ("layout", layout, ("rows", "pixels", "image"))):
        if given not in words:
            raise DataError(f"load_idx({name}=...) expects one of {', '.join(words)}, got {given!r}.")
    if permute_seed is not None and layout != "pixels":
        raise DataError(
            f"load_idx(permute_seed={permute_seed}) permutes pixels. Write layout='pixels', or no permute_seed."
        )
    files = locate(CATALOGUE[source], path)
    train, test = (_split(files[i], files[i + 1], layout, permute_seed, pool) for i in (0, 2))
    name = source if permute_seed is None else f"{source}_permuted"
    with naming(files[0].parent):
        return Dataset(name, train, test, CLASSES[source])


def _split(images: Path, labels: Path, layout: str, permute_seed: int | None, pool: int) -> Split:
    x, y = read_idx(images), read_idx(labels)
    if x.ndim != 3 or x.dtype != np.uint8 or len(x) == 0 or 0 in x.shape:
        raise DataError(f"{images}, byte 2: images are bytes of shape (n, height, width), got {x.dtype} of {x.shape}.")
    if y.shape != x.shape[:1] or y.dtype.kind not in "iu":
        raise DataError(f"{labels}, byte 2: expects {len(x)} labels, one per image, got {y.dtype} of shape {y.shape}.")
    if pool < 1 or x.shape[1] % pool or x.shape[2] % pool:
        raise DataError(f"load_idx(pool=...) must divide images of {x.shape[1]} x {x.shape[2]} pixels, got {pool}.")
    x = x.reshape(len(x), x.shape[1] // pool, pool, x.shape[2] // pool, pool).mean((2, 4), np.float32)
    pixels = x.shape[1] * x.shape[2]
    shape = {"rows": x.shape[1:], "pixels": (pixels, 1), "image": (1, pixels)}[layout]
    x = x.reshape(len(x), pixels)
    if permute_seed is not None:
        x = x[:, np.random.default_rng(permute_seed).permutation(pixels)]
    with naming(labels):
        return Split(x.reshape(-1, *shape) / np.float32(255), np.full(len(x), shape[0]), y)
