"""Named arrays on disk, through orbax: written from copies on the host, read into the model's own shapes.

Orbax finds its arrays by what the files say. All of that is compared with what is wanted before an array is read. Each
array is files of its own, which say their size: a database of them all (OCDBT) can be forged to unpack into any memory,
and is neither written nor opened.
"""

import logging
import math
import os
import re
import shutil
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from spiketrain.config.files import JSON_BYTES, parse_json, read_bytes
from spiketrain.training.devices import put

Host = dict[str, np.ndarray]


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


def checksum(array: np.ndarray) -> int:
    """Return the CRC-32 of the bytes of an array."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def write(folder: Path, arrays: Host) -> None:
    """Write arrays into a new folder, from this process alone.

    Raises:
        OSError: the disk is full, read-only, gone.
    """
    filled = {name: x for name, x in arrays.items() if x.size}  # orbax stores no others
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


def read(folder: Path, into: Host) -> None:
    """Fill arrays by name with what `write` wrote.

    Raises:
        ValueError: naming an array that is missing, or of another shape or data type.
    """
    wanted = {name: x for name, x in into.items() if x.size}
    try:
        if any(path.name.endswith("ocdbt") for path in folder.rglob("*")):
            raise ValueError("it holds a database")
        for name, x in wanted.items():
            _require_stored_as(folder / name / ".zarray", x, name)
        with _checkpointer() as checkpointer:
            arguments = ocp.args.PyTreeRestore(
                item={name: ocp.utils.to_shape_dtype_struct(x) for name, x in wanted.items()},
                restore_args={name: ocp.RestoreArgs(restore_type=np.ndarray) for name in wanted},
                partial_restore=True,
            )
            found = checkpointer.restore(folder, args=arguments) if wanted else {}
    except Exception as error:  # orbax and tensorstore raise whatever their parsers do
        raise ValueError(" ".join(f"{folder.name}: {error}".split())[:500]) from error
    for name, x in wanted.items():
        x[...] = found[name]


def _require_stored_as(described: Path, x: np.ndarray, name: str) -> None:
    """Refuse an array of another size than the model's before it takes memory."""
    if not described.exists():
        raise ValueError(f"array `{name}` is missing")
    stored = parse_json(read_bytes(described, JSON_BYTES))
    shape, chunks, dtype = (stored[key] for key in ("shape", "chunks", "dtype"))
    if shape != list(x.shape) or np.dtype(dtype) != x.dtype or math.prod(chunks) > x.size or stored["compressor"]:
        raise ValueError(f"array `{name}` is stored as {shape} {dtype} in pieces of {chunks}")


def _checkpointer() -> ocp.Checkpointer:
    for name in ("absl", "orbax"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what they log with a traceback they also raise
    own = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"spiketrain_{own}"
    )
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=False, use_compression=False, multiprocessing_options=alone)
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


def _is_key(x: jax.Array) -> bool:
    return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)


def _whole(x: jax.Array) -> Any:
    if x.is_fully_addressable or x.is_fully_replicated:
        return x
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(x, tiled=True)
