"""Named arrays on disk, through orbax: written from copies on the host, read into the model's own shapes.

Arrays of one data type lie one after the other in a row, in the order in which the meta data names them, and parameters
in rows of their own. An array of a model is often small, and a file for each takes longer than what is in it.

Orbax finds its arrays by what the files say. All of that is compared with what is wanted before an array is read. Each
row is files of its own, which say their size: a database of them all (OCDBT) can be forged to unpack into any memory,
and is neither written nor opened.
"""

import logging
import math
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


class Copies(NamedTuple):
    """Arrays on the host by name, each a part of one of the rows."""

    named: Host
    rows: Host


class Place(NamedTuple):
    """Where an array lies: in which row, from which element to which."""

    row: str
    start: int
    stop: int


def describe(x: Any) -> list[Any]:
    """Return the shape and the data type of an array, as JSON."""
    return [list(x.shape), str(x.dtype)]


def to_host(named: Mapping[str, jax.Array]) -> Copies:
    """Return copies that outlive the arrays: a training step may donate them. A random key becomes its bits.

    Arrays that are divided over several processes are gathered, so all processes must ask.
    """
    data = {name: jax.random.key_data(x) if _is_key(x) else x for name, x in named.items()}
    for x in data.values():
        if x.is_fully_addressable:
            x.copy_to_host_async()  # all of them at once
    described = {name: describe(x) for name, x in named.items()}
    rows = {row: np.empty(like.shape, like.dtype) for row, like in _rows(named, described).items()}
    copies = Copies(_parts(rows, named, described), rows)
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


def write(folder: Path, rows: Host) -> None:
    """Write rows into a new folder, from this process alone.

    Raises:
        OSError: the disk is full, read-only, gone.
    """
    filled = {row: x for row, x in rows.items() if x.size}  # orbax stores no others
    needed = sum(x.nbytes for x in filled.values())
    if (free := shutil.disk_usage(folder.parent).free) < needed:
        raise OSError(28, f"{os.strerror(28)}: {free} bytes are free and {needed} are needed", str(folder))
    try:
        with _checkpointer() as checkpointer:
            checkpointer.save(folder, args=ocp.args.PyTreeSave(filled))
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
        ValueError: naming a row that is missing, or of another shape or data type.
    """
    rows = _rows(like, described)
    filled = {row: x for row, x in rows.items() if x.size}
    try:
        if any(path.name.endswith("ocdbt") for path in folder.rglob("*")):
            raise ValueError("it holds a database")
        for row, x in filled.items():
            _require_stored_as(folder / row, x)
        with _checkpointer() as checkpointer:
            arguments = ocp.args.PyTreeRestore(
                item=filled,
                restore_args={row: ocp.RestoreArgs(restore_type=np.ndarray) for row in filled},
                partial_restore=True,
            )
            found = checkpointer.restore(folder, args=arguments) if filled else {}
    except Exception as error:  # orbax and tensorstore raise whatever their parsers do
        raise ValueError(" ".join(f"{folder.name}: {error}".split())[:500]) from error
    empty = {row: np.empty(x.shape, x.dtype) for row, x in rows.items() if not x.size}
    return _parts(found | empty, like, described)


def _require_stored_as(row: Path, like: jax.ShapeDtypeStruct) -> None:
    """Refuse a row that is not one file of the size that is wanted before it takes memory."""
    name = f"row `{row.parent.name}/{row.name}`"
    if not (row / ".zarray").exists():
        raise ValueError(f"{name} is missing")
    stored = parse_json(read_bytes(row / ".zarray", JSON_BYTES))
    shape, chunks, dtype = (stored[key] for key in ("shape", "chunks", "dtype"))
    of_files = sum(path.stat().st_size for path in row.iterdir() if path.name != ".zarray")
    if (
        shape != list(like.shape)
        or chunks != shape
        or np.dtype(dtype) != like.dtype
        or stored["compressor"]
        or of_files != like.size * like.dtype.itemsize
    ):
        raise ValueError(f"{name} is stored as {shape} {dtype} in pieces of {chunks} and {of_files} bytes")


def _places(described: Described) -> dict[str, Place]:
    """Return where each array lies.

    Raises:
        ValueError: an array is not described as `describe` does.
    """
    ends: dict[str, int] = {}
    places = {}
    for name, entry in described.items():
        try:
            shape, dtype = entry
            if not all(type(n) is int and n >= 0 for n in shape):
                raise ValueError
            row = f"{'params' if name.startswith(PARAMS) else 'training'}/{re.sub('[^a-z0-9]+', '_', dtype).strip('_')}"
        except (TypeError, ValueError):
            raise ValueError(f"array `{name}` is described as {str(entry)[:100]}") from None
        start = ends.get(row, 0)
        ends[row] = start + math.prod(shape)
        places[name] = Place(row, start, ends[row])
    return places


def _rows(like: Mapping[str, jax.Array], described: Described) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the shapes and data types of the rows in which some arrays lie."""
    places, rows = _places(described), {}
    lengths = {place.row: place.stop for place in places.values()}  # the last place of a row ends it
    for name, x in like.items():
        if name not in places:
            raise ValueError(f"array `{name}` is missing")
        bits, row = _bits(x), places[name].row
        rows[row] = jax.ShapeDtypeStruct((lengths[row], *bits.shape[x.ndim :]), bits.dtype)
    return rows


def _parts(rows: Host, like: Mapping[str, jax.Array], described: Described) -> Host:
    """Return arrays as parts of their rows."""
    places = _places(described)
    return {name: rows[(p := places[name]).row][p.start : p.stop].reshape(_bits(x).shape) for name, x in like.items()}


def _checkpointer() -> ocp.Checkpointer:
    for name in ("absl", "orbax"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what they log with a traceback they also raise
    own = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"spiketrain_{own}"
    )
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=False, use_compression=False, multiprocessing_options=alone)
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


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
