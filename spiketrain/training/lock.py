"""One process per run folder: a lock that the system takes back when its process ends, however it ends."""

import contextlib
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from spiketrain.config.files import parse_json, read_bytes
from spiketrain.errors import ConfigError

NAME = "run.lock"


class RunLock:
    """Keeps other processes out of a run folder within a `with` block.

    The lock is one of the system (`flock`), so nothing is left to clean up after a kill. The file says who holds it.
    On a file system without such locks that record alone decides: a process that is gone from this host is followed,
    one of another host has to be removed by hand.

    Args:
        folder: the run folder, which exists.

    Raises:
        ConfigError: on entering, when another process has the folder.
    """

    def __init__(self, folder: Path):
        self.path = folder / NAME
        self._file: int | None = None

    def __enter__(self) -> "RunLock":
        self._file = _open_locked(self.path)
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.truncate(self._file, 0)
        os.write(self._file, json.dumps(holder).encode())
        return self

    def __exit__(self, *_: Any) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # the folder is gone, or its disk
                self.path.unlink()  # before the lock is released: whoever waits for this file sees that it is gone
            os.close(self._file)
            self._file = None


def _open_locked(path: Path) -> int:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            locked = _lock(file)
            if locked is False or locked is None and _may_live(_holder(path)):
                raise _in_use(path, by_hand=locked is None)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), os.stat(path)):  # else its holder has just removed it
                    return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _lock(file: int) -> bool | None:
    """Return whether the lock was free, or None where the system has none."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


def _holder(path: Path) -> dict[str, Any]:
    try:
        holder = parse_json(read_bytes(path, 1000))
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _may_live(holder: dict[str, Any]) -> bool:
    if holder.get("host") != socket.gethostname() or type(holder.get("pid")) is not int:
        return bool(holder)
    try:
        os.kill(holder["pid"], 0)
    except PermissionError:  # it is another user's
        return True
    except (OSError, OverflowError):
        return False
    return holder["pid"] > 0


def _in_use(path: Path, *, by_hand: bool) -> ConfigError:
    holder = _holder(path)
    who = f"process {holder.get('pid')} on {holder.get('host')}, since {holder.get('since')}" if holder else "a process"
    gone = f" If that process is gone, remove {path}." if by_hand else ""
    return ConfigError(f"{path.parent} is in use by {who}. Let it end or stop it, or choose another folder.{gone}")
