"""One saved step: the whole training state, the configuration and what produced them, in a folder.

It holds `state` (all arrays in a row, as orbax writes it), `meta.json`, which says what lies in it, and a manifest with
size and checksum of every file, the checksum of every array, and its own. Damage is recognised before a number is used:
by the file that differs, or by the array if all files are what was written. No name or size that a file states decides
what is opened.
"""

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from spiketrain.config.files import JSON_BYTES, open_regular, parse_json, read_bytes
from spiketrain.errors import CheckpointError
from spiketrain.training import arrays
from spiketrain.training.state import Layout

FORMAT = 5
STATE, META, MANIFEST = "state", "meta.json", "manifest.json"
BLOCK = 1 << 22


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


def write(folder: Path, copies: arrays.Copies, meta: bytes) -> None:
    """Write a step into a new folder, through to the disk.

    Raises:
        OSError: the disk is full, read-only, gone.
    """
    folder.mkdir()
    arrays.write(folder / STATE, copies.row)
    (folder / META).write_bytes(meta)
    files = _files(folder)
    sizes = {name: _size_and_checksum(path) for name, path in files.items()}
    (folder / MANIFEST).write_bytes(_manifest(sizes, {name: arrays.checksum(x) for name, x in copies.named.items()}))
    for path in [*files.values(), folder / MANIFEST]:
        sync(path)
    for place, _, _ in os.walk(folder):
        sync(place)


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


def read(step_folder: Path, like: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Return some arrays of a step by name, each of the shape and type of its like, and placed as that is.

    Raises:
        CheckpointError: the step is damaged.
    """
    meta, sums = _read(step_folder)
    try:
        _compare_files(step_folder)
        host = arrays.read((step_folder / STATE).absolute(), meta["leaves"], like)
        if wrong := [name for name, x in host.items() if arrays.checksum(x) != sums[name]]:
            raise ValueError(f"array `{wrong[0]}` is not what was written")
    except (OSError, ValueError) as error:
        raise _damaged(step_folder, error) from error
    return {name: arrays.to_devices(host[name], x) for name, x in like.items()}


def verify(step_folder: Path) -> None:
    """Compare every file of a step with its manifest.

    Raises:
        DamagedCheckpointError: naming the file that is missing, differs, or was not written.
    """
    _read(step_folder)
    try:
        _compare_files(step_folder)
    except (OSError, ValueError) as error:
        raise _damaged(step_folder, error) from error


def _read(step_folder: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the meta data, and the checksum of each array, once the manifest has shown them to be whole."""
    if (step_folder / "meta").is_dir():
        raise CheckpointError(f"{step_folder} has checkpoint format 1; this version reads {FORMAT}.")
    try:
        manifest = _read_manifest(step_folder)
        content = read_bytes(step_folder / META, JSON_BYTES)
        if manifest["files"].get(META) != [len(content), zlib.crc32(content)]:
            raise ValueError(f"{META} is not what was written")
        meta = _parsed(META, content)
        if not isinstance(meta, dict):
            raise ValueError(f"{META} holds no meta data")
        if meta.get("format") == FORMAT:
            _require_kinds(step_folder.name, meta, manifest["arrays"])
    except (OSError, ValueError) as error:
        raise _damaged(step_folder, error) from error
    if meta.get("format") != FORMAT:  # whole, so it is no damage
        raise CheckpointError(
            f"{step_folder} has checkpoint format {meta.get('format')!r}; this version reads {FORMAT}."
        )
    return meta, manifest["arrays"]


def _read_manifest(step_folder: Path) -> dict[str, Any]:
    content = read_bytes(step_folder / MANIFEST, JSON_BYTES)
    manifest = _parsed(MANIFEST, content)
    if not isinstance(manifest, dict) or content != _manifest(manifest.get("files"), manifest.get("arrays")):
        raise ValueError(f"{MANIFEST} is not what was written")
    if not isinstance(manifest["files"], dict) or not isinstance(manifest["arrays"], dict):
        raise ValueError(f"{MANIFEST} lists no files")
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


def _compare_files(step_folder: Path) -> None:
    """Compare what lies in the folder with the manifest; sizes first, so that no more is read than was written."""
    wanted, there = _read_manifest(step_folder)["files"], _files(step_folder)
    for name in sorted(wanted.keys() | there.keys()):
        if name not in there:
            raise ValueError(f"{name} is missing")
        if name not in wanted:
            raise ValueError(f"{name} was not written by it")
        size = there[name].stat().st_size
        if not isinstance(wanted[name], list) or [size] != wanted[name][:1]:
            raise ValueError(f"{name} has another size than was written, {size}")
    for name, path in there.items():
        if _size_and_checksum(path) != wanted[name]:
            raise ValueError(f"{name} is not what was written")


def _damaged(step_folder: Path, error: Exception) -> DamagedCheckpointError:
    return DamagedCheckpointError(f"{step_folder} cannot be read: it is damaged ({error}).")


def _manifest(files: Any, sums: Any) -> bytes:
    """Return the one way to write a manifest, its own checksum included."""
    content = {"files": files, "arrays": sums}
    return _json(content | {"checksum": zlib.crc32(_json(content))})


def _files(step_folder: Path) -> dict[str, Path]:
    """Return all files by their names within the folder, but for the manifest itself.

    Raises:
        ValueError: there is a link among them.
    """
    paths = [Path(place, name) for place, folders, names in os.walk(step_folder) for name in sorted(folders + names)]
    if links := [path for path in paths if path.is_symlink()]:
        raise ValueError(f"{links[0].relative_to(step_folder).as_posix()} is a link")
    named = {path.relative_to(step_folder).as_posix(): path for path in paths if not path.is_dir()}
    return {name: path for name, path in named.items() if name != MANIFEST}


def _size_and_checksum(path: Path) -> list[int]:
    checksum, size = 0, 0
    with open_regular(path) as file:
        while block := file.read(BLOCK):
            checksum, size = zlib.crc32(block, checksum), size + len(block)
    return [size, checksum]


def _json(content: Any) -> bytes:
    return (json.dumps(content) + "\n").encode()


def _is_number(x: Any) -> bool:
    return type(x) is float and x == x or type(x) is int and abs(x) < 2**63


def sync(path: Path | str) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
