"""Named arrays in one file, as safetensors lays it out: a header of JSON, then bytes, neither compressed nor code.

The format is https://huggingface.co/docs/safetensors, so other programs read the file. What it says of itself is
compared with what is wanted before an array is read, and no file can ask for more memory than that.
"""

import contextlib
import json
import math
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import jax
import numpy as np

from spiketrain.config.files import JSON_BYTES, open_regular, parse_json
from spiketrain.errors import CheckpointError
from spiketrain.training.devices import put

Host = dict[str, np.ndarray]

WORDS = {
    **{
        f"{word}{bits}": f"{letter}{bits}" for word, letter in (("uint", "U"), ("int", "I")) for bits in (8, 16, 32, 64)
    },
    **{"bool": "BOOL", "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "complex64": "C64"},
    **{"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"},
}
DTYPES = {word: np.dtype(name) for name, word in WORDS.items()}
"""The types of arrays that the format has."""
LONGEST_SHAPE = 32


def describe(x: Any) -> list[Any]:
    """Return the shape and the data type of an array, as JSON."""
    return [list(x.shape), str(x.dtype)]


def to_host(leaves: list[jax.Array]) -> list[np.ndarray]:
    """Return copies that outlive the arrays: a training step may donate them. A random key becomes its bits.

    Arrays that are divided over several processes are gathered, so all processes must ask.
    """
    data = [jax.random.key_data(x) if _is_key(x) else x for x in leaves]
    for x in data:
        if x.is_fully_addressable:
            x.copy_to_host_async()  # all of them at once
    return [np.array(_whole(x), order="C", copy=True) for x in data]


def empty_like(x: jax.Array) -> np.ndarray:
    """Return an array of the shape and data type that `x` has on the host."""
    shaped = jax.eval_shape(jax.random.key_data, x) if _is_key(x) else x
    return np.empty(shaped.shape, shaped.dtype)


def to_devices(host: np.ndarray, like: jax.Array) -> jax.Array:
    """Return what `to_host` took, placed as `like` is. Every process holds all of `host`."""
    data = put(host, like.sharding)
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(like)) if _is_key(like) else data


def checksum(name: str, array: np.ndarray) -> int:
    """Return the CRC-32 of an array: of its name, type and shape, and of its bytes."""
    return zlib.crc32(_bytes(array), zlib.crc32(f"{name} {array.dtype} {array.shape}".encode()))


def write(path: Path, arrays: Host) -> None:
    """Write arrays into a new file.

    Raises:
        OSError: the disk is full, read-only, gone.
        CheckpointError: an array is of a type that the format does not have, or there are too many.
    """
    for name, x in arrays.items():
        if x.dtype.name not in WORDS:
            raise CheckpointError(f"`{name}` is of type {x.dtype}, and checkpoints hold {', '.join(WORDS)}.")
    header = _header({name: (x.dtype.name, x.shape) for name, x in arrays.items()})
    if len(header) > JSON_BYTES:
        raise CheckpointError(f"The names of {len(arrays)} arrays take {len(header)} bytes, of at most {JSON_BYTES}.")
    needed = len(header) + sum(x.nbytes for x in arrays.values())
    if (free := shutil.disk_usage(path.parent).free) < needed:
        raise OSError(28, f"{os.strerror(28)}: {free} bytes are free and {needed} are needed", str(path))
    with path.open("xb") as file:
        file.write(header)
        for x in arrays.values():
            file.write(_bytes(x))


class Stored(NamedTuple):
    """An open file of arrays, and where in it each of them begins, of which type and shape."""

    file: BinaryIO
    places: Mapping[str, tuple[int, np.dtype, tuple[int, ...]]]

    def read(self, name: str, into: np.ndarray) -> None:
        """Fill an array.

        Raises:
            ValueError: it is missing, or of another shape or data type than `into`.
        """
        if name not in self.places:
            raise ValueError(f"array `{name}` is missing in {Path(self.file.name).name}")
        start, dtype, shape = self.places[name]
        if (dtype, shape) != (into.dtype, into.shape):
            raise ValueError(f"array `{name}` is stored as {list(shape)} {dtype}")
        self.file.seek(start)
        if self.file.readinto(_bytes(into)) != into.nbytes:  # type: ignore[attr-defined]
            raise ValueError(f"array `{name}` ends early")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Stored]:
    """Open a file of arrays. Its header must be, byte for byte, the one that `write` writes for what it says.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such file.
    """
    with open_regular(path) as file:
        length = int.from_bytes(file.read(8), "little")
        if length > JSON_BYTES:
            raise ValueError(f"{path.name} is not what was written")
        content = file.read(length)
        try:
            said = parse_json(content)
            described = {name: (DTYPES[x["dtype"]].name, tuple(x["shape"])) for name, x in said.items()}
            right = all(len(shape) <= LONGEST_SHAPE for _, shape in described.values())
            right = right and all(type(n) is int and 0 <= n < 2**48 for _, shape in described.values() for n in shape)
            right = right and _header(described) == length.to_bytes(8, "little") + content
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            right = False
        if not right:
            raise ValueError(f"{path.name} is not what was written")
        places, start = {}, 8 + length
        for name, (dtype, shape) in described.items():
            places[name] = start, np.dtype(dtype), shape
            start += np.dtype(dtype).itemsize * math.prod(shape)
        if (size := os.fstat(file.fileno()).st_size) != start:
            raise ValueError(f"{path.name} has another size than was written, {size}")
        yield Stored(file, places)


def _header(described: Mapping[str, tuple[str, tuple[int, ...]]]) -> bytes:
    entries, end = {}, 0
    for name, (dtype, shape) in described.items():
        start, end = end, end + np.dtype(dtype).itemsize * math.prod(shape)
        entries[name] = {"dtype": WORDS[dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)  # arrays begin at multiples of eight bytes
    return len(text).to_bytes(8, "little") + text


def _bytes(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _is_key(x: jax.Array) -> bool:
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)


def _whole(x: jax.Array) -> Any:
    if x.is_fully_addressable or x.is_fully_replicated:
        return x
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(x, tiled=True)
