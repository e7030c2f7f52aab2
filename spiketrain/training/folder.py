"""The folder of a run: settled before anything is built or compiled, then held by one process."""

import contextlib
import itertools
import json
import os
import traceback
from collections.abc import Iterator
from pathlib import Path

from spiketrain.errors import ConfigError
from spiketrain.training.lock import RunLock
from spiketrain.training.provenance import provenance
from spiketrain.training.recorded import FAILURE

LONGEST = 1 << 13  # characters of an error or of its traceback


def settle(folder: Path, *, named: bool = True, resume: bool = False) -> Path:
    """Return the absolute path of a run folder in which a run could be recorded. Writes nothing.

    Args:
        folder: the folder, or where it will be.
        named: whether that very folder is wanted.
        resume: whether a run in it is continued.

    Raises:
        ConfigError: it is read-only, no folder, on a disk that is not there, or holds another run already; or, on
            resuming, it holds links, through which a run would write outside of it.
    """
    folder = folder.absolute()
    try:
        _require_writable(next(place for place in (folder, *folder.parents) if os.path.lexists(place)))
        if resume:
            _refuse_links(folder)
        elif named:
            _refuse_used(folder)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be a run folder: {error}.") from error
    return folder


@contextlib.contextmanager
def held(folder: Path, *, named: bool = True, resume: bool = False) -> Iterator[Path]:
    """Make a settled run folder and keep other processes out of it.

    Args:
        folder: the folder.
        named: whether that very folder is wanted; otherwise a run that finds it taken gets `folder_2`, `folder_3`.
        resume: whether a run in it is continued.

    Raises:
        ConfigError: another process has it, or was faster.
    """
    folder = folder if named or resume else _new(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with RunLock(folder):
        if not resume:
            _refuse_used(folder)
        yield folder


@contextlib.contextmanager
def failure_recorded(folder: Path) -> Iterator[None]:
    """Leave what ended a run in its `error.txt`: the error, what ran, the traceback. The error goes on as it is."""
    (folder / FAILURE).unlink(missing_ok=True)  # that of an attempt before
    try:
        yield
    except Exception as error:
        what, where = f"{type(error).__name__}: {error}"[:LONGEST], traceback.format_exc()[-LONGEST:]
        text = f"{what}\n\n{json.dumps(provenance(), indent=1)}\n\n{where}"
        with contextlib.suppress(OSError):  # a full disk, which is the error itself
            (folder / FAILURE).write_text(text, encoding="utf-8", errors="replace")
        raise


def _new(folder: Path) -> Path:
    """Make a folder of its own. Two runs that start in the same second want the same one."""
    for n in itertools.count(1):
        candidate = folder if n == 1 else folder.with_name(f"{folder.name}_{n}")
        with contextlib.suppress(FileExistsError):
            candidate.mkdir(parents=True)
            break
    return candidate


def _require_writable(place: Path) -> None:
    if place.is_symlink() and not place.exists():
        raise ConfigError(f"{place} is a link to {os.readlink(place)}, which is not there. Is its disk mounted?")
    if not place.is_dir():
        raise ConfigError(f"{place} is a file, and a run needs a folder. Choose another.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ConfigError(f"{place} cannot be written to: it is read-only, or another user's. Choose another folder.")


def _refuse_used(folder: Path) -> None:
    if (folder / "config.yaml").exists() or (folder / "checkpoints").exists():
        raise ConfigError(
            f"{folder} already holds a run. Write `resume={folder}` to continue it, or choose another folder."
        )


def _refuse_links(folder: Path) -> None:
    for place, folders, files in os.walk(folder):
        for name in folders + files:
            path = Path(place, name)
            if path.is_symlink():
                raise ConfigError(
                    f"{path} is a link, and a run writes nothing outside of its folder. Replace it by what it stands for."
                )
