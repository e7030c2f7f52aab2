"""Named arrays on disk, through orbax: written from copies on the host, read into the model's own shapes.

The bytes of all arrays lie in one row, in the order in which the meta data names them. An array of a model is often
small, and a file for each takes longer than what is in it.

Orbax finds the row by what the files say. All of that is compared with what is wanted before it is read. The row is a
file of its own, which says its size: a database (OCDBT) can be forged to unpack into any memory, and is neither written
nor opened.
"""

import logging
import os
import re
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from spiketrain.config.files import JSON_BYTES, parse_json, read_bytes
from spiketrain.training.devices import put

Host = dict[str, np.ndarray]
Described = Mapping[str, Any]
"""What `describe` returns, by the names of arrays, in the order in which they lie."""

PARAMS = "params/"
"""What the names of parameters begin with."""

ROW = "arrays"
ALIGNED = 8  # each array begins at a multiple of so many bytes


class Copies(NamedTuple):
    """Arrays on the host by name, each a part of the row."""

    named: Host
    row: np.ndarray


def describe(x: Any) -> list[Any]:
    """Return the shape, the data type and the number of bytes of an array, as JSON."""
    bits = _bits(x)
    return [list(x.shape), str(x.dtype), bits.size * bits.dtype.itemsize]


def to_host(named: Mapping[str, jax.Array]) -> Copies:
    """Return copies that outlive the arrays: a training step may donate them. A random key becomes its bits.

    Arrays that are divided over several processes are gathered, so all processes must ask.
    """
    data = {name: jax.random.key_data(x) if _is_key(x) else x for name, x in named.items()}
    for x in data.values():
        if x.is_fully_addressable:
            x.copy_to_host_async()  # all of them at once
    places, size = _places({name: describe(x) for name, x in named.items()})
    row = np.zeros(size, np.uint8)
    copies = Copies({name: _part(row, places[name], x) for name, x in named.items()}, row)
    for name, x in data.items():
        copies.named[name][...] = _whole(x)
    return copies


def to_devices(host: np.ndarray, like: jax.Array) -> jax.Array:
    """Return what `to_host` took, placed as `like` is. Every process holds all of `host`."""
    data = put(host, like.sharding)
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(like)) if _is_key(like) else data


def checksum(array: np.ndarray) -> int:
    """Return the CRC-32 of the bytes of an array."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def write(folder: Path, row: np.ndarray) -> None:
    """Write a row into a new folder, from this process alone.

    Raises:
        OSError: the disk is full, read-only, gone.
    """
    if (free := shutil.disk_usage(folder.parent).free) < row.nbytes:
        raise OSError(28, f"{os.strerror(28)}: {free} bytes are free and {row.nbytes} are needed", str(folder))
    folder.mkdir()
    try:
        _handler().save(folder, args=ocp.args.PyTreeSave({ROW: row}))
    except ValueError as error:  # tensorstore's own, which holds the number of the system's
        if found := re.search(r"os_error_code='(\d+)'", str(error)):
            raise OSError(int(found[1]), os.strerror(int(found[1])), str(folder)) from error
        raise


def read(folder: Path, described: Described, like: Mapping[str, jax.Array]) -> Host:
    """Return some of the arrays that lie in a folder, by name, as they are on the host.

    Args:
        folder: what `write` wrote.
        described: all arrays that it holds.
        like: those that are wanted, each of the shape and data type of its like.

    Raises:
        ValueError: naming what is missing, or of another shape or data type.
    """
    places, size = _places(described)
    if missing := sorted(like.keys() - places.keys()):
        raise ValueError(f"array `{missing[0]}` is missing")
    try:
        if any(path.name.endswith("ocdbt") for path in folder.rglob("*")):
            raise ValueError("it holds a database")
        _require_stored(folder / ROW, size)
        arguments = ocp.args.PyTreeRestore(
            item={ROW: jax.ShapeDtypeStruct((size,), np.uint8)},
            restore_args={ROW: ocp.RestoreArgs(restore_type=np.ndarray)},
        )
        row = _handler().restore(folder, args=arguments)[ROW]
    except Exception as error:  # orbax and tensorstore raise whatever their parsers do
        raise ValueError(" ".join(f"{folder.name}: {error}".split())[:500]) from error
    return {name: _part(row, places[name], x) for name, x in like.items()}


def _require_stored(row: Path, size: int) -> None:
    """Refuse a row that is not one file of so many bytes before it takes memory."""
    if not (row / ".zarray").exists():
        raise ValueError(f"{row.name} is missing")
    stored = parse_json(read_bytes(row / ".zarray", JSON_BYTES))
    shape, chunks, dtype = (stored[key] for key in ("shape", "chunks", "dtype"))
    of_files = sum(path.stat().st_size for path in row.iterdir() if path.name != ".zarray")
    if shape != [size] or chunks != shape or dtype != "|u1" or stored["compressor"] or of_files != size:
        raise ValueError(f"{row.name} is stored as {shape} {dtype} in pieces of {chunks} and {of_files} bytes")


def _places(described: Described) -> tuple[dict[str, slice], int]:
    """Return which bytes of the row each array takes, and the length of the row.

    Raises:
        ValueError: an array is not described as `describe` does.
    """
    places, end = {}, 0
    for name, entry in described.items():
        if not (isinstance(entry, list) and len(entry) == 3 and type(entry[2]) is int and entry[2] >= 0):
            raise ValueError(f"array `{name}` is described as {str(entry)[:100]}")
        places[name] = slice(end, end + entry[2])
        end += -(-entry[2] // ALIGNED) * ALIGNED
    return places, end


def _part(row: np.ndarray, place: slice, like: jax.Array) -> np.ndarray:
    """Return the array that lies at a place of the row.

    Raises:
        ValueError: another number of bytes lies there.
    """
    bits = _bits(like)
    return row[place].view(bits.dtype).reshape(bits.shape)


def _handler() -> ocp.PyTreeCheckpointHandler:
    """Return what writes and reads arrays in a folder; that a folder appears as a whole is not left to orbax."""
    for name in ("absl", "orbax"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what they log with a traceback they also raise
    own = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"spiketrain_{own}"
    )
    return ocp.PyTreeCheckpointHandler(use_ocdbt=False, use_compression=False, multiprocessing_options=alone)


def _bits(x: jax.Array) -> Any:
    """Return what has the shape and the data type of an array on the host."""
    return jax.eval_shape(jax.random.key_data, x) if _is_key(x) else x


def _is_key(x: jax.Array) -> bool:
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)


def _whole(x: jax.Array) -> Any:
    if x.is_fully_addressable or x.is_fully_replicated:
        return x
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(x, tiled=True)
