"""Parsed events kept on disk, under a name that is the hash of all they follow from, so that none is ever stale."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from spiketrain.data.event_npz import map_events, read_events, save_events
from spiketrain.data.events import Events
from spiketrain.data.events_on_disk import EventsOnDisk
from spiketrain.errors import DataError

log = logging.getLogger(__name__)

FORMAT = 1
"""Counted up whenever a reader gives other events for the same file."""

LIMIT = 16 * 2**30
LEAST = 1 << 20  # smaller files are parsed as fast as they are looked up

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
        return Path(chosen).expanduser() / "events"
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "spiketrain" / "events"


def key_of(files: Iterable[Path], parameters: Mapping[str, Any]) -> str:
    """Return the hash of the names and contents of files, of parameters, and of `FORMAT`."""
    digest = hashlib.blake2b(json.dumps([FORMAT, parameters], sort_keys=True).encode(), digest_size=20)
    for file in files:
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, hashlib.blake2b).digest()
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
        DataError: events are to stay in a file, and none can be kept.
    """
    folder, files = cache_folder(), list(files)
    if folder is None and stream:
        raise DataError("data.stream reads events from where they are kept, and SPIKETRAIN_CACHE=off keeps nothing.")
    if folder is None or not stream and sum(file.stat().st_size for file in files) < LEAST:
        return parse()
    kept = folder / f"{key_of(files, parameters)}.npz"
    found: Kept
    try:
        found = map_events(kept) if stream else read_events(kept)
        os.utime(kept)
        return found
    except (DataError, OSError):
        pass  # it was never kept, or is damaged, or another run removes it
    parsed = parse()
    try:
        save_events(kept, *parsed)
        _remove_oldest(folder, LIMIT, besides=kept)
        return map_events(kept) if stream else parsed
    except OSError as error:
        if stream:
            raise DataError(f"data.stream: events cannot be kept: {error}. Set SPIKETRAIN_CACHE=FOLDER.") from None
        log.warning("Parsed events are not kept: %s. SPIKETRAIN_CACHE=FOLDER keeps them elsewhere.", error)
    return parsed


def _remove_oldest(folder: Path, limit: int, *, besides: Path) -> None:
    """Remove the files that were not used for longest, `besides` this one, until what is left fits into `limit` bytes."""
    entries = []
    for path in folder.glob("*.npz"):
        try:
            entries.append((path.stat().st_mtime, path.stat().st_size, path))
        except FileNotFoundError:
            continue  # another run removes too
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= limit:
            break
        if path == besides:
            continue
        path.unlink(missing_ok=True)
        total -= size
