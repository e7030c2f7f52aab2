"""One saved step: the whole training state, the configuration and what produced them, in a folder.

It holds `state.safetensors` (arrays, by name), `meta.json`, and a manifest with the checksums of every array, of
`meta.json`, and its own. Damage is recognised before a number is used, by the file and the array that differ. No name or
size that a file states decides what is opened or how much memory is taken.
"""

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from spiketrain.config.files import JSON_BYTES, parse_json, read_bytes
from spiketrain.errors import CheckpointError
from spiketrain.training import arrays
from spiketrain.training.state import Layout

FORMAT = 3
STATE, META, MANIFEST = "state.safetensors", "meta.json", "manifest.json"
EARLIER = {"meta": 1, "state": 2}
"""The formats of before, each by a folder that only it has."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint cannot be read."""


def describe(step: int, leaves: list[jax.Array], layout: Layout, meta: dict[str, Any]) -> bytes:
    """Return the meta data of a step as JSON.

    Raises:
        CheckpointError: `meta` is larger than a checkpoint may be.
    """
    described = {name: arrays.describe(x) for name, x in zip(layout.names, leaves, strict=True)}
    text = _json({"format": FORMAT, "step": step, "leaves": described, **meta})
    if len(text) > JSON_BYTES:
        raise CheckpointError(f"The meta data of step {step} take {len(text)} bytes, of at most {JSON_BYTES}.")
    return text


def write(folder: Path, state: dict[str, np.ndarray], meta: bytes) -> None:
    """Write a step into a new folder, through to the disk.

    Raises:
        OSError: the disk is full, read-only, gone.
    """
    folder.mkdir()
    arrays.write(folder / STATE, state)
    (folder / META).write_bytes(meta)
    sums = {name: arrays.checksum(name, x) for name, x in state.items()}
    (folder / MANIFEST).write_bytes(_manifest(zlib.crc32(meta), sums))
    for path in (folder / STATE, folder / META, folder / MANIFEST, folder):
        sync(path)


def read_meta(step_folder: Path) -> dict[str, Any]:
    """Return the JSON beside the arrays of a step, whole and of the right kind.

    Raises:
        CheckpointError: it is damaged, or of another format.
    """
    return _read(step_folder)[0]


def restore(step_folder: Path, leaves: list[jax.Array], layout: Layout) -> list[jax.Array]:
    """Return the saved leaves in the order of `layout`, placed as `leaves` are.

    Raises:
        CheckpointError: the step belongs to another model or is damaged.
    """
    wanted = dict(zip(layout.names, leaves, strict=True))
    require_same(step_folder, wanted)
    return list(read(step_folder, wanted).values())


def read(step_folder: Path, like: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Return some arrays of a step by name, each of the shape and type of its like, and placed as that is.

    Raises:
        CheckpointError: the step is damaged.
    """
    return {name: arrays.to_devices(host, like[name]) for name, host in _checked(step_folder, like)}


def verify(step_folder: Path, leaves: list[jax.Array], layout: Layout) -> None:
    """Read a step as `restore` does, and keep nothing of it.

    Raises:
        CheckpointError: the step belongs to another model or is damaged.
    """
    wanted = dict(zip(layout.names, leaves, strict=True))
    require_same(step_folder, wanted)
    for _ in _checked(step_folder, wanted):
        pass


def require_same(step_folder: Path, wanted: Mapping[str, Any], parts: tuple[str, ...] = ("",)) -> None:
    """Refuse a step that has other arrays than `wanted`, by name, shape and type.

    Args:
        step_folder: the step.
        wanted: arrays by name; their shapes and types are enough.
        parts: compare only what begins with one of these.

    Raises:
        CheckpointError: the step belongs to another model, or its meta data is damaged.
    """
    saved = {name: is_ for name, is_ in read_meta(step_folder)["leaves"].items() if name.startswith(parts)}
    own = {name: arrays.describe(x) for name, x in wanted.items() if name.startswith(parts)}
    different = [name for name in sorted(saved.keys() | own.keys()) if saved.get(name) != own.get(name)]
    if different:
        name = different[0]
        raise CheckpointError(
            f"{step_folder} belongs to another model: {len(different)} of {len(own)} arrays differ, first "
            f"`{name}`: saved {str(saved.get(name))[:200]}, needed {own.get(name)}."
        )


def _checked(step_folder: Path, like: dict[str, jax.Array]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield arrays of a step, each read once, and compared with its checksum."""
    sums = _read(step_folder)[1]
    try:
        with arrays.opened(step_folder / STATE) as stored:
            if stored.places.keys() != sums.keys():
                raise ValueError(f"{STATE} does not hold the arrays of {MANIFEST}")
            for name, x in like.items():
                host = arrays.empty_like(x)
                stored.read(name, host)
                if arrays.checksum(name, host) != sums[name]:
                    raise ValueError(f"array `{name}` in {STATE} is not what was written")
                yield name, host
    except (OSError, ValueError) as error:
        raise _damaged(step_folder, error) from error


def _read(step_folder: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the meta data, and the checksum of each array, once the manifest has shown them to be whole."""
    for name, number in EARLIER.items():
        if (step_folder / name).is_dir():
            raise _of_another_format(step_folder, number)
    try:
        manifest = _read_manifest(step_folder)
        content = read_bytes(step_folder / META, JSON_BYTES)
        if manifest["meta"] != zlib.crc32(content):
            raise ValueError(f"{META} is not what was written")
        meta = _parsed(META, content)
        if not isinstance(meta, dict):
            raise ValueError(f"{META} holds no meta data")
        if meta.get("format") == FORMAT:
            _require_kinds(step_folder.name, meta, manifest["arrays"])
    except (OSError, ValueError) as error:
        raise _damaged(step_folder, error) from error
    if meta.get("format") != FORMAT:  # whole, so it is no damage
        raise _of_another_format(step_folder, meta.get("format"))
    return meta, manifest["arrays"]


def _read_manifest(step_folder: Path) -> dict[str, Any]:
    content = read_bytes(step_folder / MANIFEST, JSON_BYTES)
    manifest = _parsed(MANIFEST, content)
    if not isinstance(manifest, dict) or content != _manifest(manifest.get("meta"), manifest.get("arrays")):
        raise ValueError(f"{MANIFEST} is not what was written")
    if not isinstance(manifest["arrays"], dict):
        raise ValueError(f"{MANIFEST} lists no arrays")
    return manifest


def _parsed(name: str, content: bytes) -> Any:
    try:
        return parse_json(content)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _require_kinds(name: str, meta: dict[str, Any], sums: dict[str, Any]) -> None:
    metrics = meta.get("metrics")
    right = {
        "step": type(meta.get("step")) is int and 0 <= meta["step"] < 2**31,
        "leaves": isinstance(meta.get("leaves"), dict),
        "config": isinstance(meta.get("config"), dict),
        "metrics": isinstance(metrics, dict) and all(map(_is_number, metrics.values())),
    }
    if wrong := [key for key, fine in right.items() if not fine]:
        raise ValueError(f"{wrong[0]!r} in {META} is {'wrong' if wrong[0] in meta else 'missing'}")
    if name.isdecimal() and name != str(meta["step"]):
        raise ValueError(f"it is step {meta['step']}")
    if sums.keys() != meta["leaves"].keys():
        raise ValueError(f"{MANIFEST} does not list the arrays of {META}")


def _damaged(step_folder: Path, error: Exception) -> DamagedCheckpointError:
    return DamagedCheckpointError(f"{step_folder} cannot be read: it is damaged ({error}).")


def _of_another_format(step_folder: Path, number: Any) -> CheckpointError:
    return CheckpointError(f"{step_folder} has checkpoint format {number!r}; this version reads {FORMAT}.")


def _manifest(meta: Any, sums: Any) -> bytes:
    """Return the one way to write a manifest, its own checksum included."""
    content = {"meta": meta, "arrays": sums}
    return _json(content | {"checksum": zlib.crc32(_json(content))})


def _json(content: Any) -> bytes:
    return (json.dumps(content) + "\n").encode()


def _is_number(x: Any) -> bool:
    return type(x) is float and x == x or type(x) is int and abs(x) < 2**63


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
