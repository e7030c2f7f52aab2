"""Parsed events kept on disk, under a name that is the hash of all they follow from, so that none is ever stale."""

import contextlib
import hashlib
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from spiketrain.data.archive import compare_checksums
from spiketrain.data.event_npz import map_events, read_events, save_events
from spiketrain.data.events import Events
from spiketrain.data.events_on_disk import EventsOnDisk
from spiketrain.data.source import one_line
from spiketrain.data.stored import regular
from spiketrain.errors import DataError

log = logging.getLogger(__name__)

FORMAT = 2
"""Counted up whenever a reader gives other events for the same file."""

LIMIT = 16 * 2**30
LEAST = 1 << 20  # smaller files are parsed as fast as they are looked up

KEPT = re.compile(r"[0-9a-f]{40}\.npz")
UNFINISHED = re.compile(r"\.+[0-9a-f]{40}\.npz\..+\.tmp")
ABANDONED = 24 * 3600  # seconds in which a run that writes has written something

Parsed = tuple[dict[str, Events], tuple[str, ...]]
Kept = tuple[Mapping[str, Events | EventsOnDisk], tuple[str, ...]]


def cache_folder() -> Path | None:
    """Return where parsed events are kept: `events` in `SPIKETRAIN_CACHE`, or in `spiketrain` in the user's cache.

    It is None where `SPIKETRAIN_CACHE` is `off`.
    """
    chosen = os.environ.get("SPIKETRAIN_CACHE")
    if chosen == "off":
        return None
    if chosen:
        return Path(os.path.expanduser(chosen)) / "events"  # that of Path raises where there is no such user
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "spiketrain" / "events"


def key_of(files: Iterable[Path], parameters: Mapping[str, Any]) -> str:
    """Return the hash of the names and contents of files, of parameters, and of `FORMAT`.

    Raises:
        DataError: a file cannot be read.
    """
    digest = hashlib.blake2b(json.dumps([FORMAT, parameters], sort_keys=True).encode(), digest_size=20)
    for file in files:
        try:
            with open(file, "rb", opener=regular) as stream:
                content = hashlib.file_digest(stream, hashlib.blake2b).digest()
        except OSError as error:
            raise DataError(f"{file} cannot be read: {one_line(error)}") from None
        digest.update(file.name.encode(errors="surrogateescape") + b"\0" + content)
    return digest.hexdigest()


def cached(
    files: Iterable[Path], parameters: Mapping[str, Any], parse: Callable[[], Parsed], *, stream: bool = False
) -> Kept:
    """Return `parse()`, or what it gave before for files of the same content and the same parameters.

    What cannot be kept, or is damaged when it is read, is parsed again. The files that were not used for longest are
    removed, so that `LIMIT` bytes are not exceeded, or this one is the only one.

    Args:
        files: all that `parse` reads, in an order that does not change.
        parameters: all else that the result depends on, as JSON could hold it; the name of the reader among them.
        parse: returns splits of events and the names of their classes.
        stream: whether events stay in the kept file until they are asked for.

    Raises:
        DataError: a file cannot be read, or events are to stay in a file, and none can be kept.
    """
    folder, files = cache_folder(), list(files)
    if folder is None and stream:
        raise DataError("data.stream reads events from where they are kept, and SPIKETRAIN_CACHE=off keeps nothing.")
    if folder is None or not stream and sum(file.stat().st_size for file in files) < LEAST:
        return parse()
    key = key_of(files, parameters)
    kept = folder / f"{key}.npz"
    found = _found(kept, stream)
    if found is not None:
        return found
    parsed = parse()
    if key_of(files, parameters) != key:
        problem = f"{files[0]}, or one beside it, was written again while it was parsed. Start anew."
        if stream:
            raise DataError(f"data.stream: {problem}")
        log.warning("Parsed events are not kept: %s", problem)
        return parsed
    try:
        _keep(kept, parsed)
        _remove_oldest(folder, LIMIT, besides=kept)
        _remove_unfinished(folder)
        return map_events(kept) if stream else parsed
    except OSError as error:
        if stream:
            raise DataError(f"data.stream: events cannot be kept: {error}. Set SPIKETRAIN_CACHE=FOLDER.") from None
        log.warning("Parsed events are not kept: %s. SPIKETRAIN_CACHE=FOLDER keeps them elsewhere.", error)
    return parsed


def _found(kept: Path, stream: bool) -> Kept | None:
    """Return what is kept; None if nothing was, or it is damaged, or another run removes it."""
    found: Kept
    try:
        if stream:
            compare_checksums(kept)
        found = map_events(kept) if stream else read_events(kept)
    except DataError:
        return None
    with contextlib.suppress(OSError):  # it is another user's, or the disk is read-only
        written = kept.stat().st_mtime_ns  # as it is: to who streams from the file, another time is another content
        os.utime(kept, ns=(time.time_ns(), written))
    return found


def _keep(kept: Path, parsed: Parsed) -> None:
    """Write a file, unless another run has done so since: a file that others may stream from is not replaced."""
    own = kept.with_name(f".{kept.name}.{secrets.token_hex(8)}.tmp")
    save_events(own, *parsed)
    try:
        os.link(own, kept)
    except OSError:  # it is there, or the file system has no links
        if _found(kept, stream=True) is None:
            os.replace(own, kept)
    finally:
        own.unlink(missing_ok=True)


def _remove_oldest(folder: Path, limit: int, *, besides: Path) -> None:
    """Remove the files that were not used for longest, `besides` this one, until what is left fits into `limit` bytes."""
    entries = [(found.st_atime_ns, found.st_size, path) for path, found in _named(KEPT, folder)]
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total > limit and path != besides:
            with contextlib.suppress(OSError):  # it is another user's
                path.unlink(missing_ok=True)
                total -= size


def _remove_unfinished(folder: Path) -> None:
    """Remove what runs had begun to write when they were killed."""
    for path, found in _named(UNFINISHED, folder):
        if time.time() - found.st_mtime > ABANDONED:
            with contextlib.suppress(OSError):
                path.unlink()


def _named(pattern: re.Pattern[str], folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for path in folder.iterdir():
        if pattern.fullmatch(path.name):
            with contextlib.suppress(FileNotFoundError):  # another run removes, too
                yield path, path.stat()
